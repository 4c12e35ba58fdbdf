//! YAML text → a tree of checked values that know where they stand. The only file that knows the
//! parser; what the keys mean is the reader's business.
//!
//! Strict where YAML is treacherous: one document, no anchors and aliases (they can grow without
//! end), no tags, no key twice. `yes`, `no` and `1.10` are text; a number with a leading zero is
//! text. Bounds: 256 KiB, 32 levels. Files of other programs may have anchors, within a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle};

pub const TEXT_BYTES: usize = 256 * 1024;
const DEPTH: usize = 32;
const SYNTAX: &str = "indent with spaces, and quote text that has : # or brackets in it";
const WRITE_OUT: &str = "write it out where it is used";
/// The key that brings in the keys of other maps.
const MERGE: &str = "<<";
/// Most values of a file of another program's, with all that its aliases stand for.
pub const FOREIGN_NODES: usize = 50_000;
/// More than anybody mends at once.
pub const ERRORS: usize = 32;

/// Where a text begins.
pub const START: Place = Place { line: 1, column: 1 };
/// What was not read from a text.
pub const NOWHERE: Place = Place { line: 0, column: 0 };

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
    /// What to write.
    pub fix: &'static str,
}

impl fmt::Display for YamlError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: {}", self.at.line, self.at.column, self.why)
    }
}

/// Reads a text that is one document; an empty one is an empty map.
pub fn parse(text: &str) -> Result<Node, YamlError> {
    let (root, mut wrong) = read(text);
    wrong.sort_by_key(|wrong| wrong.at);
    match wrong.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(root.unwrap_or(Node { at: START, value: Value::Map(Vec::new()) })),
    }
}

/// A file of another program's, in which anchors, aliases, merge keys (`<<`) and tags are usual:
/// they are resolved, within [`FOREIGN_NODES`] values. Tags are passed over.
pub fn parse_foreign(text: &str) -> Result<Node, YamlError> {
    let mut tree = Tree { foreign: Some(Foreign::default()), ..Tree::default() };
    tree.read(text)?;
    match tree.wrong.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(tree.root.unwrap_or(Node { at: START, value: Value::Map(Vec::new()) })),
    }
}

/// The tree and everything that is wrong with it, at most [`ERRORS`]. Without a tree nothing more
/// can be said about the text; with one, what is wrong has been left out of it.
pub fn read(text: &str) -> (Option<Node>, Vec<YamlError>) {
    let mut tree = Tree::default();
    match tree.read(text) {
        Ok(()) => {
            let nothing = Node { at: START, value: Value::Map(Vec::new()) };
            (Some(tree.root.unwrap_or(nothing)), tree.wrong)
        }
        Err(last) => {
            tree.wrong.push(last);
            (None, tree.wrong)
        }
    }
}

/// The same tree from JSON, where nothing has a place. Quotes are what they are in YAML: a text
/// means no number. `None` where it is deeper than a text may be.
pub fn of_json(json: &serde_json::Value) -> Option<Node> {
    json_node(json, DEPTH)
}

fn json_node(json: &serde_json::Value, deeper: usize) -> Option<Node> {
    use serde_json::Value as Json;
    let scalar = |text: String, plain| Value::Scalar { text, plain };
    let value = match json {
        Json::Null => scalar("null".to_owned(), true),
        Json::Bool(value) => scalar(value.to_string(), true),
        Json::Number(number) => scalar(number.to_string(), true),
        Json::String(text) => scalar(text.clone(), false),
        Json::Array(list) => {
            let deeper = deeper.checked_sub(1)?;
            let list = list.iter().map(|item| json_node(item, deeper));
            Value::List(list.collect::<Option<_>>()?)
        }
        Json::Object(map) => {
            let deeper = deeper.checked_sub(1)?;
            let entry = |(key, value): (&String, &Json)| {
                Some(Entry { key: key.clone(), at: NOWHERE, node: json_node(value, deeper)? })
            };
            Value::Map(map.iter().map(entry).collect::<Option<_>>()?)
        }
    };
    Some(Node { at: NOWHERE, value })
}

fn place(line: usize, column_from_0: usize) -> Place {
    Place { line, column: column_from_0 + 1 }
}

fn error(at: Place, why: impl Into<String>, fix: &'static str) -> YamlError {
    YamlError { at, why: why.into(), fix }
}

#[derive(Default)]
struct Tree {
    open: Vec<Frame>,
    root: Option<Node>,
    wrong: Vec<YamlError>,
    /// Where anchors are allowed.
    foreign: Option<Foreign>,
}

/// What anchors name.
#[derive(Default)]
struct Foreign {
    named: BTreeMap<usize, Node>,
    taken: usize,
}

/// A list or map whose end has not come yet, and its anchor.
struct Frame {
    at: Place,
    anchor: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map(Vec<Entry>, BTreeSet<String>, Option<Key>),
}

/// A key that waits for its value.
struct Key {
    text: String,
    at: Place,
    /// It was there before: its value is left out.
    again: bool,
}

impl Tree {
    fn read(&mut self, text: &str) -> Result<(), YamlError> {
        if text.len() > TEXT_BYTES {
            return Err(error(START, format!("longer than {TEXT_BYTES} bytes"), "shorten it"));
        }
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => {
                    self.take(event, place(span.start.line(), span.start.col()))?
                }
                Err(wrong) => {
                    let marker = wrong.marker();
                    let at = place(marker.line(), marker.col());
                    return Err(error(at, wrong.info(), SYNTAX));
                }
            }
            if self.wrong.len() >= ERRORS {
                return Err(error(START, "and more is wrong", "mend these first"));
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, at: Place) -> Result<(), YamlError> {
        let anchor = self.marks(&event, at);
        let node = match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                return Err(error(at, "a second document begins: only one is read", "remove it"));
            }
            Event::Scalar(text, style, ..) => {
                let plain = matches!(style, ScalarStyle::Plain);
                Node { at, value: Value::Scalar { text: text.into_owned(), plain } }
            }
            Event::SequenceStart(..) => return self.open(at, anchor, Open::List(Vec::new())),
            Event::MappingStart(..) => {
                return self.open(at, anchor, Open::Map(Vec::new(), BTreeSet::new(), None));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.open.pop() else {
                    return Err(error(at, "an end without a beginning", SYNTAX));
                };
                let value = match frame.open {
                    Open::List(list) => Value::List(list),
                    Open::Map(map, ..) => Value::Map(self.merged(map)?),
                };
                return self.named(Node { at: frame.at, value }, frame.anchor);
            }
            Event::Alias(anchor) if self.foreign.is_some() => self.alias(anchor, at)?,
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd => return Ok(()),
            // Version 1 has an event for comments; version 2 has no name for it in this build.
            other if format!("{other:?}").starts_with("Comment(") => return Ok(()),
            // Aliases of every kind; what a later parser adds is not known to be harmless.
            _ => return Err(error(at, "aliases are not allowed", WRITE_OUT)),
        };
        self.named(node, anchor)
    }

    /// Puts it in its place, and keeps it for aliases.
    fn named(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        if let (Some(foreign), true) = (&mut self.foreign, anchor != 0) {
            foreign.take(&node)?;
            foreign.named.insert(anchor, node.clone());
        }
        self.place(node)
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Result<Node, YamlError> {
        let Some(foreign) = &mut self.foreign else {
            return Err(error(at, "aliases are not allowed", WRITE_OUT));
        };
        let Some(node) = foreign.named.get(&anchor).cloned() else {
            return Err(error(at, "an alias within what it stands for", WRITE_OUT));
        };
        foreign.take(&node)?;
        if depth(&node) + self.open.len() > DEPTH {
            return Err(error(at, format!("nested deeper than {DEPTH} levels"), "flatten it"));
        }
        Ok(node)
    }

    /// With what its `<<` bring in; its own keys win, and of those the first.
    fn merged(&mut self, map: Vec<Entry>) -> Result<Vec<Entry>, YamlError> {
        let Some(foreign) = &mut self.foreign else { return Ok(map) };
        let (merges, mut own): (Vec<Entry>, Vec<Entry>) =
            map.into_iter().partition(|entry| entry.key == MERGE);
        let mut known: BTreeSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let sources = match merge.node.value {
                Value::List(list) => list,
                _ => vec![merge.node],
            };
            for source in sources {
                let null = source.is_null();
                match source.value {
                    Value::Map(entries) => {
                        for entry in entries {
                            if known.insert(entry.key.clone()) {
                                foreign.take(&entry.node)?;
                                own.push(entry);
                            }
                        }
                    }
                    _ if null => {}
                    _ => return Err(error(source.at, "<< takes a map", WRITE_OUT)),
                }
            }
        }
        Ok(own)
    }

    /// The anchor of a value. In a file of ours neither it nor a tag is allowed.
    fn marks(&mut self, event: &Event<'_>, at: Place) -> usize {
        let (anchor, tag) = match event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(_, anchor, tag) | Event::MappingStart(_, anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => return 0,
        };
        if self.foreign.is_some() {
            return anchor;
        }
        if anchor != 0 {
            self.wrong.push(error(at, "anchors are not allowed", WRITE_OUT));
        }
        if tag {
            self.wrong.push(error(at, "tags are not allowed", "remove it"));
        }
        0
    }

    fn open(&mut self, at: Place, anchor: usize, open: Open) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH {
            return Err(error(at, format!("nested deeper than {DEPTH} levels"), "flatten it"));
        }
        self.open.push(Frame { at, anchor, open });
        Ok(())
    }

    /// Puts a value where it belongs: into the list, after its key, or as the next key.
    fn place(&mut self, node: Node) -> Result<(), YamlError> {
        match self.open.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::List(list)) => list.push(node),
            Some(Open::Map(map, seen, waiting)) => match waiting.take() {
                Some(Key { again: true, .. }) => {}
                Some(Key { text: key, at, .. }) => map.push(Entry { key, at, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(error(node.at, "a key must be text", "write key: value"));
                    };
                    // Two of them are usual in files of others.
                    let merge = self.foreign.is_some() && text == MERGE;
                    let again = !seen.insert(text.clone()) && !merge;
                    if again {
                        let why = format!("the key {text:?} occurs twice");
                        self.wrong.push(error(node.at, why, "remove one of them"));
                    }
                    *waiting = Some(Key { text, at: node.at, again });
                }
            },
        }
        Ok(())
    }
}

impl Foreign {
    fn take(&mut self, node: &Node) -> Result<(), YamlError> {
        self.taken = self.taken.saturating_add(size(node));
        match self.taken <= FOREIGN_NODES {
            true => Ok(()),
            false => Err(error(node.at, "aliases make it larger than can be read", WRITE_OUT)),
        }
    }
}

fn depth(node: &Node) -> usize {
    let inner = match &node.value {
        Value::Scalar { .. } => return 0,
        Value::List(list) => list.iter().map(depth).max(),
        Value::Map(map) => map.iter().map(|entry| depth(&entry.node)).max(),
    };
    inner.unwrap_or(0).saturating_add(1)
}

/// How many values it is.
fn size(node: &Node) -> usize {
    let inner: usize = match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(list) => list.iter().map(size).sum(),
        Value::Map(map) => map.iter().map(|entry| size(&entry.node)).sum(),
    };
    inner.saturating_add(1)
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
            _ => Err(error(self.at, "must be a map (key: value)", "")),
        }
    }

    pub fn is_null(&self) -> bool {
        self.plain().is_some_and(|text| matches!(text, "" | "~" | "null"))
    }

    /// The text of a scalar that means no number, truth value or nothing.
    pub fn text(&self) -> Result<&str, YamlError> {
        match &self.value {
            Value::Scalar { plain: true, text } if self.is_special() => {
                Err(error(self.at, format!("must be text: write \"{text}\" with quotes"), ""))
            }
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(error(self.at, "must be text", "")),
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
mod tests;
