//! What the files of users' rows have in common, whatever the rows are of: where a row stands, and
//! how a file is read that nobody's row may be lost of. Must not know: what a row says.

use crate::core::state_file::StateFile;
use serde_json::{Map, Value};

/// Where a row stands, whose thing is made or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not answered yet: a new start takes it back.
    Pending,
    Applied,
    /// Its end has begun: a new start completes it.
    Removing,
}

impl Status {
    const ALL: [Status; 3] = [Status::Pending, Status::Applied, Status::Removing];

    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Applied => "applied",
            Status::Removing => "removing",
        }
    }

    pub fn read(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// What `parse` makes of a file of at most `max` bytes; nothing where there is none. What cannot
/// be understood stops the start: `kept` says what is not lost, as in "the rules in it are not
/// dropped".
pub fn load<T: Default>(
    file: &StateFile,
    max: u64,
    kept: &str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, String> {
    let why = match file.read(max) {
        Ok(None) => return Ok(T::default()),
        Ok(Some(text)) => match parse(&text) {
            Some(state) => return Ok(state),
            None => "is not what this version writes".to_owned(),
        },
        Err(why) => why,
    };
    let path = file.path.display();
    Err(format!("{path} {why}; {kept}: look at it, then sudo mv {path} {path}.old"))
}

pub fn has_only(row: &Map<String, Value>, keys: &[&str]) -> bool {
    row.keys().all(|key| keys.contains(&key.as_str()))
}
