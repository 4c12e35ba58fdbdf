//! What users' rows have in common, whatever they are of: what one is called, where it stands, how
//! many there may be, how a file is read that nobody's row may be lost of, and what of them fits
//! into a reply. Must not know: what a row says.

use crate::core::state_file::StateFile;
use crate::proto::{Code, OpError};
use crate::sys;
use serde_json::{Map, Value};

/// Longest list that is answered, in bytes; a reply has at most 65,536.
const LIST_MAX: usize = 60_000;

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

/// 16 hexadecimal digits that nobody can foresee.
pub fn draw() -> Result<String, OpError> {
    let drawn = sys::random().map_err(|e| OpError::kernel(format!("random: {e}")))?;
    Ok(format!("{drawn:016x}"))
}

/// Whether it is this, "-" and what `draw` gives.
pub fn is_id(text: &str, kind: &str) -> bool {
    let hex = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')).unwrap_or("");
    hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Refuses one more of these, where a user has as many as it may, or there are as many of all.
pub fn room(own: usize, all: usize, limits: (usize, usize), what: &str) -> Result<(), OpError> {
    let (of_one, of_all) = limits;
    if own < of_one && all < of_all {
        return Ok(());
    }
    let why = format!("a user has at most {of_one} {what}, all of them {of_all}");
    Err(OpError::new(Code::LimitExceeded, why))
}

/// As many as fit into a reply, and whether there are more.
pub fn fitting(all: impl Iterator<Item = Value>) -> (Vec<Value>, bool) {
    let (mut told, mut length) = (Vec::new(), 0);
    for one in all {
        length += one.to_string().len() + 1;
        if length > LIST_MAX {
            return (told, true);
        }
        told.push(one);
    }
    (told, false)
}

pub fn has_only(row: &Map<String, Value>, keys: &[&str]) -> bool {
    row.keys().all(|key| keys.contains(&key.as_str()))
}
