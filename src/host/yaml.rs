//! YAML text → a tree of checked values that know where they stand. The only file that knows the
//! parser; what the keys mean is the reader's business.
//!
//! Strict where YAML is treacherous: one document, no anchors and aliases (they can grow without
//! end), no tags, no key twice. `yes`, `no` and `1.10` are text; a number with a leading zero is
//! text. Bounds: 256 KiB, 32 levels.

use std::collections::BTreeSet;
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle};

pub const TEXT_BYTES: usize = 256 * 1024;
const DEPTH: usize = 32;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub at: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Scalar {
        text: String,
        /// Without quotes, so that it may mean a number, a truth value or nothing.
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the text; no key occurs twice.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub at: Place,
    pub node: Node,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    pub at: Place,
    pub why: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: {}", self.at.line, self.at.column, self.why)
    }
}

/// Reads a text that is one document; an empty one is an empty map.
pub fn parse(text: &str) -> Result<Node, YamlError> {
    let mut tree = Tree::default();
    if text.len() > TEXT_BYTES {
        return Err(error(Place { line: 1, column: 1 }, format!("longer than {TEXT_BYTES} bytes")));
    }
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => tree.take(event, place(span.start.line(), span.start.col()))?,
            Err(wrong) => {
                let marker = wrong.marker();
                return Err(error(place(marker.line(), marker.col()), wrong.info().to_owned()));
            }
        }
    }
    let at = Place { line: 1, column: 1 };
    Ok(tree.root.unwrap_or(Node { at, value: Value::Map(Vec::new()) }))
}

fn place(line: usize, column_from_0: usize) -> Place {
    Place { line, column: column_from_0 + 1 }
}

fn error(at: Place, why: impl Into<String>) -> YamlError {
    YamlError { at, why: why.into() }
}

#[derive(Default)]
struct Tree {
    open: Vec<Frame>,
    root: Option<Node>,
}

/// A list or map whose end has not come yet.
enum Frame {
    List(Place, Vec<Node>),
    Map(Place, Vec<Entry>, BTreeSet<String>, Option<(String, Place)>),
}

impl Tree {
    fn take(&mut self, event: Event<'_>, at: Place) -> Result<(), YamlError> {
        let node = match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                return Err(error(at, "a second document begins: only one is read"));
            }
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(_, anchor, _)
            | Event::MappingStart(_, anchor, _)
                if anchor != 0 =>
            {
                return Err(error(at, "anchors are not allowed"));
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => return Err(error(at, "tags are not allowed")),
            Event::Scalar(text, style, ..) => {
                let plain = matches!(style, ScalarStyle::Plain);
                Node { at, value: Value::Scalar { text: text.into_owned(), plain } }
            }
            Event::SequenceStart(..) => return self.open(at, Frame::List(at, Vec::new())),
            Event::MappingStart(..) => {
                return self.open(at, Frame::Map(at, Vec::new(), BTreeSet::new(), None));
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Frame::List(at, list)) => Node { at, value: Value::List(list) },
                Some(Frame::Map(at, map, ..)) => Node { at, value: Value::Map(map) },
                None => return Err(error(at, "an end without a beginning")),
            },
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd => return Ok(()),
            // Version 1 has an event for comments; version 2 has no name for it in this build.
            other if format!("{other:?}").starts_with("Comment(") => return Ok(()),
            // Aliases of every kind; what a later parser adds is not known to be harmless.
            _ => return Err(error(at, "aliases are not allowed")),
        };
        self.place(node)
    }

    fn open(&mut self, at: Place, frame: Frame) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH {
            return Err(error(at, format!("nested deeper than {DEPTH} levels")));
        }
        self.open.push(frame);
        Ok(())
    }

    /// Puts a value where it belongs: into the list, after its key, or as the next key.
    fn place(&mut self, node: Node) -> Result<(), YamlError> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List(_, list)) => list.push(node),
            Some(Frame::Map(_, map, seen, waiting)) => match waiting.take() {
                Some((key, at)) => map.push(Entry { key, at, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(error(node.at, "a key must be text"));
                    };
                    if !seen.insert(text.clone()) {
                        return Err(error(node.at, format!("the key {text:?} occurs twice")));
                    }
                    *waiting = Some((text, node.at));
                }
            },
        }
        Ok(())
    }
}

impl Node {
    /// The value of a key; `None` without that key, or when it is left empty.
    pub fn get(&self, key: &str) -> Result<Option<&Node>, YamlError> {
        match &self.value {
            Value::Map(map) => {
                let found = map.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
                Ok(found.filter(|node| !node.is_null()))
            }
            _ if self.is_null() => Ok(None),
            _ => Err(error(self.at, "must be a map (key: value)")),
        }
    }

    pub fn is_null(&self) -> bool {
        self.plain().is_some_and(|text| matches!(text, "" | "~" | "null"))
    }

    /// The text of a scalar that means no number, truth value or nothing.
    pub fn text(&self) -> Result<&str, YamlError> {
        match &self.value {
            Value::Scalar { plain: true, text } if self.is_special() => {
                Err(error(self.at, format!("must be text: write \"{text}\" with quotes")))
            }
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(error(self.at, "must be text")),
        }
    }

    pub fn int(&self) -> Option<i64> {
        let text = self.plain()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let zero_led = digits.len() > 1 && digits.starts_with('0');
        if is_number && !zero_led { text.parse().ok() } else { None }
    }

    pub fn boolean(&self) -> Option<bool> {
        match self.plain()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn is_special(&self) -> bool {
        self.is_null() || self.int().is_some() || self.boolean().is_some()
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(
            get("t").text().unwrap_err().to_string().contains("line 6, column 4: must be text")
        );
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
}
