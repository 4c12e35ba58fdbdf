//! The programs that run on a server, in its own words: what a laptop compares with its own. A
//! server that wants to can tell anything.

use serde_json::{Value, json};

use super::{Message, opt_meant, read_list, to_list};
use crate::base::json::{Fields, ReadError};
use crate::base::{b2sum, field};

/// More than there are.
const PROGRAMS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// In the words of `uname -m`.
    pub machine: String,
    pub programs: Vec<Program>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub version: String,
    /// As b2sum(1) prints it; `None` where it is not known.
    pub digest: Option<String>,
    /// Whether it is what lies in its place; `None` from one that does not tell where that is.
    pub is_on_disk: Option<bool>,
}

impl Message for Program {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "version": self.version, "b2sum": self.digest,
            "on_disk": self.is_on_disk,
        })
    }

    fn read(fields: &mut Fields) -> Result<Program, ReadError> {
        let is_on_disk = match fields.take("on_disk") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(is)) => Some(is),
            Some(_) => return Err(fields.error("on_disk", "must be true, false or null")),
        };
        Ok(Program {
            name: fields.meant("name", field::word)?,
            version: fields.meant("version", field::word)?,
            digest: opt_meant(fields, "b2sum", b2sum::read)?,
            is_on_disk,
        })
    }
}

impl Message for Running {
    fn to_json(&self) -> Value {
        json!({"machine": self.machine, "programs": to_list(&self.programs)})
    }

    fn read(fields: &mut Fields) -> Result<Running, ReadError> {
        Ok(Running {
            machine: fields.meant("machine", field::word)?,
            programs: read_list(fields, "programs", PROGRAMS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let program = Program {
            name: "hop-agent".to_owned(),
            version: "0.2.0".to_owned(),
            digest: Some("0".repeat(128)),
            is_on_disk: Some(true),
        };
        let untold = Program { digest: None, is_on_disk: None, ..program.clone() };
        let running = Running { machine: "x86_64".to_owned(), programs: vec![program, untold] };
        assert_eq!(Running::of(running.to_json()).unwrap(), running);
        for (key, bad) in [
            ("b2sum", json!("0")),
            ("b2sum", json!(7)),
            ("on_disk", json!("yes")),
            ("name", json!("a b")),
            ("version", json!("\u{1b}[2J")),
        ] {
            let mut told = running.to_json();
            told["programs"][0][key] = bad;
            assert!(Running::of(told).is_err(), "{key}");
        }
    }
}
