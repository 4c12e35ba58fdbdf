//! The values of a tree, each with its place in the text.

use std::fmt;

/// Where a text begins.
pub const START: Place = Place { file: 0, line: 1, column: 1 };
/// What was not read from a text.
pub const NOWHERE: Place = Place { file: 0, line: 0, column: 0 };

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of several texts that are read together.
    pub file: u8,
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

pub fn error(at: Place, why: impl Into<String>, fix: &'static str) -> YamlError {
    YamlError { at, why: why.into(), fix }
}

impl Node {
    /// It and all in it are of another text than the first.
    pub fn of_file(&mut self, file: u8) {
        self.at.file = file;
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(list) => list.iter_mut().for_each(|node| node.of_file(file)),
            Value::Map(map) => map.iter_mut().for_each(|entry| {
                entry.at.file = file;
                entry.node.of_file(file);
            }),
        }
    }

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
