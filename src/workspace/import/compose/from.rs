//! What a whole file is read with: its notes, its names, its variables.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::yaml::{Node, Value};
use crate::workspace::import::names::label;
use crate::workspace::import::note::Notes;
use crate::workspace::import::variables::{self, Replaced};

pub struct From {
    pub notes: Notes,
    pub workspace: String,
    /// By what they are called in the file.
    pub names: BTreeMap<String, String>,
    /// Ports that a service has already.
    pub published: BTreeSet<u16>,
    /// Where relative paths of each file begin.
    pub dirs: Vec<String>,
}

impl From {
    pub fn new(name: &str, dirs: Vec<String>) -> From {
        From {
            dirs,
            notes: Notes::default(),
            workspace: label(name),
            names: BTreeMap::new(),
            published: BTreeSet::new(),
        }
    }

    /// Where relative paths of this node begin, from the project's directory.
    pub fn dir(&self, node: &Node) -> &str {
        self.dirs.get(usize::from(node.at.file)).map_or("", String::as_str)
    }

    pub fn note(&mut self, node: &Node, path: &str, what: impl Into<String>) {
        self.notes.add(node, path, what);
    }

    /// A text, number or truth value with its variables replaced; noted where that cannot be.
    pub fn value(&mut self, node: &Node, path: &str) -> Option<String> {
        let Some(text) = word(node) else {
            if !node.is_null() {
                self.note(node, path, "left out: it should be a text");
            }
            return None;
        };
        let replaced = self.replaced(node, path, text)?;
        if replaced.missing.is_empty() {
            return Some(replaced.text);
        }
        let names = replaced.missing.join(", ");
        self.note(node, path, format!("left out: it needs {names}, which has no default here"));
        None
    }

    /// The same, but what to do with variables that have no default is the caller's business.
    pub fn replaced(&mut self, node: &Node, path: &str, text: &str) -> Option<Replaced> {
        match variables::replace(text) {
            Err(why) => {
                self.note(node, path, format!("left out: {why}"));
                None
            }
            Ok(replaced) => {
                if !replaced.usual.is_empty() && replaced.missing.is_empty() {
                    let names = replaced.usual.join(", ");
                    self.note(node, path, format!("has the default of {names}"));
                }
                Some(replaced)
            }
        }
    }

    /// A value with a meaning; noted where it has none here.
    pub fn meant<T>(
        &mut self,
        node: &Node,
        path: &str,
        read: impl FnOnce(&str) -> Result<T, crate::workspace::wrong::Refusal>,
    ) -> Option<T> {
        let text = self.value(node, path)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.note(node, path, format!("left out: {}", refusal.why));
                None
            }
        }
    }
}

pub fn word(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text),
        _ => None,
    }
}

/// What the nearest layer says; those before it are what it extends.
pub fn last<'n>(layers: &[&'n Node], key: &str) -> Option<&'n Node> {
    layers.iter().rev().find_map(|layer| layer.get(key).ok().flatten())
}

pub fn all<'n>(layers: &[&'n Node], key: &str) -> Vec<&'n Node> {
    layers.iter().filter_map(|layer| layer.get(key).ok().flatten()).collect()
}
