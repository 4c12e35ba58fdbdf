//! What a service takes of its server, and says last: what is looked at when it is asked for, and
//! no part of its state.

use serde_json::{Map, Value, json};

use super::opt_number;
use crate::base::json::{Fields, ReadError};

/// More than are told of one service.
pub const PORTS: usize = 64;
pub const LAST_LINES: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Of all its processes, as far as the kernel tells.
    pub cpu_ms: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// At which they listen (TCP).
    pub ports: Vec<u16>,
    /// Of one that failed.
    pub last_lines: Vec<String>,
}

impl Details {
    pub fn put(&self, into: &mut Map<String, Value>) {
        let values = [
            ("cpu_ms", json!(self.cpu_ms)),
            ("memory_bytes", json!(self.memory_bytes)),
            ("ports", json!(self.ports)),
            ("last_lines", json!(self.last_lines)),
        ];
        into.extend(values.map(|(name, value)| (name.to_owned(), value)));
    }

    /// Nothing of it where an earlier agent tells none.
    pub fn read(fields: &mut Fields) -> Result<Details, ReadError> {
        let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
        let line = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Details {
            cpu_ms: opt_number(fields, "cpu_ms")?,
            memory_bytes: opt_number(fields, "memory_bytes")?,
            ports: list(fields, "ports", PORTS, port)?,
            last_lines: list(fields, "last_lines", LAST_LINES, line)?,
        })
    }
}

/// At most so many values of one kind; nothing is none.
pub fn list<T>(
    fields: &mut Fields,
    name: &str,
    most: usize,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, ReadError> {
    let all = match fields.take(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) if list.len() <= most => list.iter().map(read).collect(),
        Some(_) => None,
    };
    all.ok_or_else(|| fields.error(name, format!("must be a list of at most {most}")))
}
