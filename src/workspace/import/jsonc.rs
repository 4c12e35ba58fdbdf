//! JSON with comments and trailing commas, as editors write it. Comments become blanks, so that
//! every value keeps its place.

use crate::base::yaml::{self, Node, Place, START};
use crate::workspace::wrong::{Refusal, Wrong};

pub fn parse(text: &str) -> Result<Node, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > yaml::TEXT_BYTES {
        let why = format!("longer than {} bytes", yaml::TEXT_BYTES);
        return Err(Refusal::new(why, "shorten it").at(START, ""));
    }
    let plain = plain(text);
    let json: serde_json::Value = serde_json::from_str(&plain).map_err(|error| {
        let at = Place { line: error.line().max(1), column: error.column().max(1), ..START };
        Refusal::new(format!("not valid JSON: {error}"), "mend it there").at(at, "")
    })?;
    // JSON is YAML, but for pairs of surrogates and keys that occur twice; there the last wins, and
    // nothing has a place.
    let tree = yaml::parse(&plain).ok().or_else(|| yaml::of_json(&json));
    tree.ok_or_else(|| Refusal::new("nested too deeply", "flatten it").at(START, ""))
}

/// The same text without comments and trailing commas, line by line as long as it was.
fn plain(text: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                out.push(c);
                while let Some(c) = rest.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => {
                out.push(' ');
                while rest.next_if(|c| *c != '\n' && *c != '\r').is_some() {
                    out.push(' ');
                }
            }
            ('/', Some('*')) => {
                out.push(' ');
                let mut last = ' ';
                rest.next();
                out.push(' ');
                for c in rest.by_ref() {
                    out.push(if c == '\n' { c } else { ' ' });
                    if (last, c) == ('*', '/') {
                        break;
                    }
                    last = c;
                }
            }
            ('}' | ']', _) => {
                let before = out.iter().rposition(|c| !c.is_ascii_whitespace());
                if let Some(comma) = before.and_then(|at| out.get_mut(at)).filter(|c| **c == ',') {
                    *comma = ' ';
                }
                out.push(c);
            }
            // YAML does not take one everywhere.
            ('\t', _) => out.push(' '),
            (c, _) => out.push(c),
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_commas_go_and_places_stay() {
        let text = "\u{feff}// a\r\n{\r\n\t\"a\": 1, // b \"c\"\n  /* d\n * \"e\": */ \"f\": [\"//x\", \"/*\", \
                    \"\\\"\", \",]\",\n ], \"g\": {\"h\": true,},\n}\n";
        let root = parse(text).unwrap();
        let get = |key| root.get(key).unwrap().unwrap();
        assert_eq!(get("a").int(), Some(1));
        assert_eq!(get("a").at, Place { line: 3, column: 7, ..START });
        let yaml::Value::List(list) = &get("f").value else { panic!("no list") };
        let list: Vec<_> = list.iter().map(|node| node.text().unwrap()).collect();
        assert_eq!(list, ["//x", "/*", "\"", ",]"]);
        assert_eq!(get("g").get("h").unwrap().unwrap().boolean(), Some(true));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, line) in [
            ("", 1),
            ("{\n\"a\": }", 2),
            ("[1,,]", 1),
            ("{\"a\": 1} x", 1),
            ("/* ", 1),
            ("{\"a\": \"", 1),
            ("{'a': 1}", 1),
        ] {
            let wrong = parse(text).expect_err(text);
            assert_eq!(wrong.at.line, line, "{text}: {wrong}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"/*".repeat(100_000)).is_err());
        assert!(parse(&format!("[{}", "],".repeat(100_000))).is_err());
        // Not YAML, and JSON all the same.
        let root = parse("{\"a\": \"\\ud83e\\udd80\", \"b\": 1, \"b\": 2}").unwrap();
        assert_eq!(root.get("a").unwrap().unwrap().text(), Ok("🦀"));
        assert_eq!(root.get("b").unwrap().unwrap().int(), Some(2));
    }
}
