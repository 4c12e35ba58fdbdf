use super::*;

fn read(text: &str) -> Vec<(String, String)> {
    let env = parse(text).unwrap_or_else(|wrongs| panic!("{text:?}: {wrongs:?}"));
    env.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What node 24.11 said of the same bytes (`node --env-file`).
#[test]
fn what_node_reads_is_read_as_node_does() {
    for (text, expected) in [
        ("A=a#b\n", &[("A", "a")][..]),
        ("A=a #b\n", &[("A", "a")]),
        ("A= a b  \n", &[("A", "a b")]),
        ("A=\"a#b\" # c\n", &[("A", "a#b")]),
        ("A='a#b' # c\n", &[("A", "a#b")]),
        ("A=`a#b` # c\n", &[("A", "a#b")]),
        ("A='x\\ny'\n", &[("A", "x\\ny")]),
        ("A=\"x\\ny\"\n", &[("A", "x\ny")]),
        ("A=x\\ny\n", &[("A", "x\\ny")]),
        ("A=\"x\\ty\"\n", &[("A", "x\\ty")]),
        ("A=$B\nB=${A}\nC=\"$A\"\n", &[("A", "$B"), ("B", "${A}"), ("C", "$A")]),
        ("export A=1\n", &[("A", "1")]),
        ("export  A=1\n", &[("A", "1")]),
        ("exportA=1\n", &[("exportA", "1")]),
        ("A=\"x\ny\"\nB=2\n", &[("A", "x\ny"), ("B", "2")]),
        ("A='x\ny'\nB=2\n", &[("A", "x\ny"), ("B", "2")]),
        ("A=`x\n\ny` # z\nB=2", &[("A", "x\n\ny"), ("B", "2")]),
        ("A=1\r\nB=\"2\r\n3\"\r\nC=3\r\n", &[("A", "1"), ("B", "2\n3"), ("C", "3")]),
        ("A=\nB=2\n", &[("A", ""), ("B", "2")]),
        ("A=\"\"\n", &[("A", "")]),
        ("A-B=1\nA.B=2\n", &[("A-B", "1"), ("A.B", "2")]),
        ("A\t=\t1\t\n", &[("A", "1")]),
        ("A=1\nA=2\n", &[("A", "2")]),
        (
            "A=\"it's\"\nB='say \"x\"'\nC=it's\nD=a\"b\"c\n",
            &[("A", "it's"), ("B", "say \"x\""), ("C", "it's"), ("D", "a\"b\"c")],
        ),
        ("A= # only comment\nB=#x\n", &[("A", ""), ("B", "")]),
        ("A=1;B=2\n", &[("A", "1;B=2")]),
        ("A==b=\n", &[("A", "=b=")]),
        ("# c \"\nA=1\n", &[("A", "1")]),
        ("A=x # \"q\"\nB=1\n", &[("A", "x"), ("B", "1")]),
        ("A=\"x\" \nB=2\n", &[("A", "x"), ("B", "2")]),
        ("A=ü", &[("A", "ü")]),
        ("", &[]),
    ] {
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(read(text), expected, "{text:?}");
    }
}

/// There node makes part of a name of what is before it.
#[test]
fn a_mark_and_indented_lines_are_what_they_look_like() {
    assert_eq!(read("\u{feff}A=1\n"), [("A".to_owned(), "1".to_owned())]);
    assert_eq!(read("  # B=2\n\t C=3\n"), [("C".to_owned(), "3".to_owned())]);
}

/// Node leaves each of these out, or makes another text of it, and says nothing.
#[test]
fn what_node_drops_is_refused_with_its_line() {
    for (text, expected) in [
        ("A=1\nB\nC=2\n", "line 2, column 1: has no ="),
        ("A: 1\n", "line 1, column 1: has no ="),
        ("\n=1\n", "line 2, column 1: \"\" is no name of a variable"),
        ("A B=1\n", "line 1, column 1: \"A B\" is no name of a variable"),
        ("1A=1\n", "line 1, column 1: \"1A\" is no name of a variable"),
        ("A=\"x\nB=2\n", "line 1, column 1: \" is never closed"),
        ("A=1\nB='x\n", "line 2, column 1: ' is never closed"),
        ("A=\"a\" b\n", "line 1, column 1: something follows the closing quote"),
        ("A=\"x\\\"y\"\n", "line 1, column 1: something follows the closing quote"),
        ("A='x\ny\nz'\n\nB\n", "line 5, column 1: has no ="),
        ("export\n", "line 1, column 1: has no ="),
        ("A=\0\n", "line 1, column 1: A: holds a zero byte"),
    ] {
        let wrongs = parse(text).expect_err(text);
        assert!(wrongs[0].to_string().starts_with(expected), "{text:?}: {}", wrongs[0]);
        assert!(!wrongs[0].fix.is_empty(), "{text:?}");
    }
    let all = parse("A\nB=1\nC\nD='\n").unwrap_err();
    assert_eq!(all.iter().map(|wrong| wrong.at.line).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn a_value_is_never_repeated_and_everything_has_a_bound() {
    for text in ["A=\"hunter2\" x\n", "A=\"hunter2\n", "A=hunter2\0\n"] {
        assert!(!format!("{:?}", parse(text)).contains("hunter2"), "{text:?}");
    }
    let env = parse("A=hunter2\n").unwrap();
    assert_eq!(format!("{env:?}"), "{\"A\"}");
    assert!(parse(&"A".repeat(TEXT_BYTES + 1)).is_err());
    let many = (0..=VARIABLES).map(|n| format!("A{n}=1\n")).collect::<String>();
    assert!(parse(&many).is_err());
    assert!(parse(&format!("A={}\n", "x".repeat(100 * 1024))).is_err());
    let wrongs = parse(&"A\n".repeat(10_000)).unwrap_err();
    assert_eq!(wrongs.len(), crate::workspace::wrong::MOST + 1);
    // Quadratic reading would take minutes here.
    let quotes = "A='\n".repeat(TEXT_BYTES / 4);
    assert_eq!(read(&quotes), [("A".to_owned(), "\nA=".to_owned())]);
    assert!(parse(&"A=\"x\n".repeat(TEXT_BYTES / 8)).is_err());
}
