use super::*;

fn wrong(text: &str) -> String {
    parse(text).map(|node| format!("accepted: {node:?}")).unwrap_or_else(|e| e.to_string())
}

#[test]
fn scalars_mean_what_they_say() {
    let text = "n: 7\nm: -7\no: 010\nv: 1.10\nc: no\nt: true\nq: \"7\"\ne:\nf: 'x'\n";
    let root = parse(text).unwrap();
    let get = |key| root.get(key).unwrap().unwrap();
    assert_eq!((get("n").int(), get("m").int(), get("q").int()), (Some(7), Some(-7), None));
    for (key, text) in [("o", "010"), ("v", "1.10"), ("c", "no"), ("q", "7"), ("f", "x")] {
        assert_eq!(get(key).text(), Ok(text), "{key}");
    }
    assert_eq!(get("t").boolean(), Some(true));
    assert_eq!(root.get("e").unwrap(), None);
    assert_eq!(root.get("absent").unwrap(), None);
    assert_eq!(get("n").at, Place { line: 1, column: 4 });
    assert_eq!(get("f").at, Place { line: 9, column: 4 });
    assert!(get("t").text().unwrap_err().to_string().contains("line 6, column 4: must be text"));
    assert!(get("n").get("x").is_err());
}

#[test]
fn what_is_treacherous_is_refused_with_its_place() {
    let cases = [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key \"a\" occurs twice"),
        ("a: &x 1\n", "line 1, column 7: anchors are not allowed"),
        ("a: !!binary aGk=\n", "line 1, column 13: tags are not allowed"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins"),
        ("? [a]\n: b\n", "line 1, column 3: a key must be text"),
    ];
    for (text, expected) in cases {
        assert!(wrong(text).starts_with(expected), "{text:?}: {}", wrong(text));
    }
    for text in ["a: *x\n", "a: [1, 2\nb: }\n", "a:\n\tb: 1\n", "a: \0b\n", "a: b: c\n"] {
        assert!(wrong(text).starts_with("line "), "{text:?}: {}", wrong(text));
    }
    let deep = (0..40).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    assert!(wrong(&deep).contains("nested deeper than 32 levels"), "{}", wrong(&deep));
    for hostile in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(50_000)] {
        assert!(wrong(&hostile).starts_with("line "), "{}", wrong(&hostile));
    }
    assert!(wrong(&"a".repeat(TEXT_BYTES + 1)).contains("longer than"));
}

#[test]
fn crlf_a_mark_and_nothing_at_all_are_fine() {
    let root = parse("\u{feff}a: 1\r\nb:\r\n  - x\r\n").unwrap();
    assert_eq!(root.get("a").unwrap().unwrap().int(), Some(1));
    for text in ["", "\n", "# only a comment\n", "---\n"] {
        let root = parse(text).unwrap();
        assert_eq!(root.get("host"), Ok(None), "{text:?}");
    }
}
