//! Why the services of a workspace do not run on this server, though they are known here: the
//! workspace has moved to another one, or is on its way here. It is on the disk before anybody acts
//! upon it, in `move/` beside what else is kept of the workspace.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::services::{Done, failed, unable};
use super::state;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::rpc::code::Code;
use crate::rpc::types::details::list;
use crate::rpc::types::migration::Held;
use crate::sys::bounded;

const ROOM: &str = "move";
const FILE: &str = "held.json";
const BYTES: u64 = 256 * 1024;
const SERVICES: usize = 1024;

/// What is kept of its moves.
pub fn room(workspace: &str) -> io::Result<PathBuf> {
    let dir = state::own_dir()?.join(workspace).join(ROOM);
    state::private_dir(&dir)?;
    Ok(dir)
}

/// Services of a workspace do not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// They run on another server.
    Left(Leaving),
    /// It is on its way here; or was, and is on its way back. It may have left before.
    Coming { id: String, before: Option<Leaving> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub id: String,
    pub to: String,
    /// Those that ran.
    pub services: Vec<String>,
}

impl Leaving {
    fn to_json(&self) -> Value {
        json!({"id": self.id, "to": self.to, "services": self.services})
    }

    fn read(fields: &mut Fields) -> Result<Leaving, ReadError> {
        let name = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Leaving {
            id: fields.string("id")?,
            to: fields.string("to")?,
            services: list(fields, "services", SERVICES, name)?,
        })
    }
}

impl Hold {
    pub fn id(&self) -> &str {
        match self {
            Hold::Left(Leaving { id, .. }) | Hold::Coming { id, .. } => id,
        }
    }

    pub fn told(&self) -> Held {
        match self {
            Hold::Left(Leaving { to, .. }) => Held::Left { to: to.clone() },
            Hold::Coming { .. } => Held::Coming,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Hold::Left(leaving) => json!({"left": leaving.to_json()}),
            Hold::Coming { id, before } => {
                json!({"coming": id, "left": before.as_ref().map(Leaving::to_json)})
            }
        }
    }

    fn read(text: &str) -> Result<Hold, ReadError> {
        let mut fields = Fields::parse(text)?;
        let left = match fields.take("left") {
            None | Some(Value::Null) => None,
            Some(left) => Some(Leaving::read(&mut Fields::of(left, "left")?)?),
        };
        match (fields.opt_string("coming")?, left) {
            (Some(id), before) => Ok(Hold::Coming { id, before }),
            (None, Some(left)) => Ok(Hold::Left(left)),
            (None, None) => Err(fields.error("left", "is missing")),
        }
    }

    /// One that cannot be read is an error: nothing may be started twice.
    pub fn load(workspace: &str) -> io::Result<Option<Hold>> {
        let path = state::own_dir()?.join(workspace).join(ROOM).join(FILE);
        let bytes = match bounded::read(path, BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let bad = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let text = String::from_utf8(bytes).map_err(|_| bad("it is no text".to_owned()))?;
        Hold::read(&text).map(Some).map_err(|error| bad(error.to_string()))
    }

    pub fn put(&self, workspace: &str) -> io::Result<()> {
        file::replace(&room(workspace)?.join(FILE), self.to_json().to_string().as_bytes())
    }

    pub fn remove(workspace: &str) -> io::Result<()> {
        match fs::remove_file(room(workspace)?.join(FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

pub fn hold(workspace: &str) -> Done<Option<Hold>> {
    Hold::load(workspace).map_err(failed("whether the workspace has moved cannot be read"))
}

/// Its services may run here, or why not.
pub fn check(workspace: &str) -> Done<()> {
    let why = match hold(workspace)? {
        None => return Ok(()),
        Some(Hold::Left(Leaving { to, .. })) => format!(
            "{workspace} has moved to {to} and runs there: hop to --rollback, on the laptop that \
             moved it, brings it back"
        ),
        Some(Hold::Coming { .. }) => format!(
            "{workspace} is on its way here: hop to, on the laptop that moves it, goes on with it"
        ),
    };
    Err(unable(Code::Moved, why))
}

/// Of one that cannot be read as well.
pub fn is_held(workspace: &str) -> bool {
    !matches!(Hold::load(workspace), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_read_again_and_half_of_one_is_none() {
        let (id, to) = ("0123456789abcdef".to_owned(), "new".to_owned());
        let left = Leaving { id: id.clone(), to, services: vec!["db".to_owned()] };
        let all = [
            Hold::Left(left.clone()),
            Hold::Coming { id: id.clone(), before: None },
            Hold::Coming { id, before: Some(left) },
        ];
        for hold in all {
            let text = hold.to_json().to_string();
            assert_eq!(Hold::read(&text).unwrap(), hold);
            for cut in 0..text.len() {
                assert!(Hold::read(&text[..cut]).is_err());
            }
        }
        assert!(Hold::read("{}").is_err());
    }
}
