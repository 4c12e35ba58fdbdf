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
    assert_eq!(get("n").at, Place { line: 1, column: 4, ..START });
    assert_eq!(get("f").at, Place { line: 9, column: 4, ..START });
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

#[test]
fn files_of_others_have_anchors_merges_and_tags() {
    let text = "x: &a {k: 1, l: [2]}\ny: &b {k: 3, m: 4}\nz:\n  <<: [*a, *b]\n  l: 5\n\
                w:\n  <<: *b\n  <<: *a\nv: *a\nu: !reset [&s t, *s]\nn: {<<: }\n";
    let root = parse_foreign(text).unwrap();
    let int = |map: &str, key: &str| {
        let map = root.get(map).unwrap().unwrap();
        map.get(key).unwrap().and_then(Node::int)
    };
    let z = (int("z", "k"), int("z", "l"), int("z", "m"), int("z", "<<"));
    assert_eq!(z, (Some(1), Some(5), Some(4), None));
    assert_eq!((int("w", "k"), int("w", "m"), int("v", "k")), (Some(3), Some(4), Some(1)));
    let Value::List(list) = &root.get("u").unwrap().unwrap().value else { panic!("no list") };
    assert_eq!((list[0].text(), list[1].text()), (Ok("t"), Ok("t")));
    assert!(wrong(text).contains("not allowed"));
    let said = |text: &str| parse_foreign(text).map_err(|error| error.to_string());
    for bad in ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: *b\n", "a: {<<: 7}\n", "a: 1\na: 2\n"] {
        assert!(said(bad).unwrap_err().starts_with("line "), "{bad}");
    }
}

/// Ten levels of ten aliases each are ten thousand million values.
#[test]
fn aliases_do_not_grow_without_end() {
    let item = |n: usize| format!("*l{}", n - 1);
    let level = |n: usize| match n {
        0 => "l0: &l0 [x]\n".to_owned(),
        n => format!("l{n}: &l{n} [{}]\n", vec![item(n); 10].join(", ")),
    };
    let bomb: String = (0..10).map(level).collect();
    let said = parse_foreign(&bomb).unwrap_err().to_string();
    assert!(said.contains("larger than can be read"), "{said}");
    let merges: String =
        (1..10).map(|n| format!("m{n}: &m{n} {{<<: *m{}, k{n}: *m{}}}\n", n - 1, n - 1)).collect();
    let list = vec!["x"; 1000].join(", ");
    let said = parse_foreign(&format!("m0: &m0 {{a: [{list}]}}\n{merges}"));
    assert!(said.unwrap_err().to_string().contains("larger than can be read"));
    let deep: String = (1..40).map(|n| format!("d{n}: &d{n} [*d{}]\n", n - 1)).collect();
    // Each is one level deeper than the last.
    let said = parse_foreign(&format!("d0: &d0 x\n{deep}")).unwrap_err().to_string();
    assert!(said.contains("nested deeper"), "{said}");
}
