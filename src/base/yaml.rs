//! YAML text → a tree of checked values that know where they stand. What the keys mean is the
//! reader's business.
//!
//! Strict where YAML is treacherous: one document, no anchors and aliases (they can grow without
//! end), no tags, no key twice. `yes`, `no` and `1.10` are text; a number with a leading zero is
//! text. Bounds: 256 KiB, 32 levels. Files of other programs may have anchors, within a bound.
//!
//! Reading order: `node` (the values) → `tree` (events → values) → this file (texts → trees).

mod node;
mod tree;

pub use node::{Entry, NOWHERE, Node, Place, START, Value, YamlError};
use tree::{DEPTH, Tree};
pub use tree::{ERRORS, FOREIGN_NODES, TEXT_BYTES};

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
    let mut tree = Tree::of_others();
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

#[cfg(test)]
mod tests;
