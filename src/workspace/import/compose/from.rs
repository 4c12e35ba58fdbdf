//! What a whole file is read with: its notes, its names, its variables.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::given::{Given, is_secret};
use crate::base::yaml::{Node, TEXT_BYTES, Value};
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
    /// What stands for variables in each.
    given: Vec<Rc<Given>>,
    /// Those of `COMPOSE_PROFILES`.
    pub profiles: BTreeSet<String>,
    /// So much more text may be made of variables: as much as a manifest has.
    left: usize,
}

/// A text, or what it would need.
pub enum Made {
    Text(Replaced),
    Without { needed: Vec<String>, secret: bool },
}

impl From {
    pub fn new(name: &str, dirs: Vec<String>, given: Vec<Rc<Given>>) -> From {
        From {
            dirs,
            given,
            profiles: BTreeSet::new(),
            left: TEXT_BYTES,
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

    /// What stands for variables in this node's file.
    pub fn given(&self, node: &Node) -> Rc<Given> {
        self.given.get(usize::from(node.at.file)).cloned().unwrap_or_default()
    }

    /// The same in those that were named.
    pub fn root_given(&self) -> Option<Rc<Given>> {
        self.given.first().cloned()
    }

    pub fn is_active(&self, profile: &Node) -> bool {
        self.profiles.contains("*")
            || word(profile).is_some_and(|name| self.profiles.contains(name))
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
        match self.replaced(node, path, text)? {
            Made::Text(replaced) => {
                self.told(node, path, &replaced);
                Some(replaced.text)
            }
            Made::Without { needed, secret } => {
                let why = match secret {
                    true => "and no secret is copied into this file",
                    false => "which has no default here",
                };
                let names = needed.join(", ");
                self.note(node, path, format!("left out: it needs {names}, {why}"));
                None
            }
        }
    }

    /// The same, but what to say of variables is the caller's business.
    pub fn replaced(&mut self, node: &Node, path: &str, text: &str) -> Option<Made> {
        let given = self.given(node);
        let made = variables::replace(text, &given.values).and_then(|replaced| {
            let bytes = if replaced.given.is_empty() { 0 } else { replaced.text.len() };
            let left = self.left.checked_sub(bytes);
            self.left = left.ok_or("more text is made of variables than a manifest may have")?;
            Ok(replaced)
        });
        let replaced = match made {
            Ok(replaced) => replaced,
            Err(why) => {
                self.note(node, path, format!("left out: {why}"));
                return None;
            }
        };
        let is_secret = |name: &&String| is_secret(name, given.get(name).unwrap_or_default());
        let secrets: Vec<String> = replaced.given.iter().filter(is_secret).cloned().collect();
        if secrets.is_empty() && replaced.missing.is_empty() {
            return Some(Made::Text(replaced));
        }
        let secret = !secrets.is_empty();
        Some(Made::Without { needed: [replaced.missing, secrets].concat(), secret })
    }

    /// Of which variables a value is made.
    pub fn told(&mut self, node: &Node, path: &str, replaced: &Replaced) {
        for (names, what) in [(&replaced.usual, "default"), (&replaced.given, "value in .env")] {
            if !names.is_empty() {
                self.note(node, path, format!("has the {what} of {}", names.join(", ")));
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
