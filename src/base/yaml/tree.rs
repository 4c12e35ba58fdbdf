//! The parser's events → values. The only file that knows the parser.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle};

use super::node::{Entry, Node, Place, START, Value, YamlError, error};

pub const TEXT_BYTES: usize = 256 * 1024;
pub const DEPTH: usize = 32;
/// Most values of a file of another program's, with all that its aliases stand for.
pub const FOREIGN_NODES: usize = 50_000;
/// More than anybody mends at once.
pub const ERRORS: usize = 32;
/// The key that brings in the keys of other maps.
const MERGE: &str = "<<";
const SYNTAX: &str = "indent with spaces, and quote text that has : # or brackets in it";
const WRITE_OUT: &str = "write it out where it is used";

#[derive(Default)]
pub struct Tree {
    open: Vec<Frame>,
    pub root: Option<Node>,
    /// What was left out of it.
    pub wrong: Vec<YamlError>,
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
    /// In which anchors are allowed.
    pub fn of_others() -> Tree {
        Tree { foreign: Some(Foreign::default()), ..Tree::default() }
    }

    pub fn read(&mut self, text: &str) -> Result<(), YamlError> {
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

fn place(line: usize, column_from_0: usize) -> Place {
    Place { line, column: column_from_0 + 1, ..START }
}
