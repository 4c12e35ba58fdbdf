//! The managed block of a hosts file: planned as a pure function, with bytes in and writes out.
//!
//! Bytes outside the block are never rewritten and never move.
//!
//! A file that does not end in a newline gets one before the block. That byte is not the
//! block's by its form, so `joined` remembers where it was put; when the last entry goes and the
//! block still starts behind it, it goes too, and the file is what it was, byte for byte. When
//! the memory is lost or text was inserted before the block, it stays.
//!
//! Must not know: files, users, devices.

use crate::proto::OpError;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::ops::Range;

/// The one file that is edited.
pub const PATH: &str = if cfg!(target_os = "macos") { "/private/etc/hosts" } else { "/etc/hosts" };
const START: &str = "# --- hopbox managed start ---";
const END: &str = "# --- hopbox managed end ---";

/// One line of the block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub ip: Ipv4Addr,
}

/// What to do to the file: writes in this order, and the length of the file when all is done. Also
/// the journal of what may have been interrupted, as each write knows the bytes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// None: there is nothing to do. One: the block is the end of the file. Two: text follows the
    /// block, so a new one is appended and the old one becomes blank lines.
    pub writes: Vec<Write>,
    pub len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub at: usize,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// A plan, and where the newline is that it put before the block, if it had to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub edit: Edit,
    pub joined: Option<usize>,
}

/// Plans the edit that makes the block of `text` hold exactly `entries`; without entries there
/// is no block. Refuses when the markers are damaged.
pub fn plan(text: &[u8], entries: &[Entry], joined: Option<usize>) -> Result<Plan, OpError> {
    let block = find_block(text)?;
    let wanted = render(entries);
    let joined = joined.filter(|at| {
        text.get(*at) == Some(&b'\n') && block.as_ref().is_some_and(|block| block.start == at + 1)
    });
    if text.get(block.clone().unwrap_or(0..0)) == Some(wanted.as_slice()) {
        return Ok(Plan { edit: Edit { writes: Vec::new(), len: text.len() }, joined });
    }
    let block = match block {
        Some(block) if block.end == text.len() => block,
        old => return Ok(append(text, wanted, old)),
    };
    let at = if wanted.is_empty() { joined.unwrap_or(block.start) } else { block.start };
    let len = at + wanted.len();
    // Padded to the old length, so that no moment shows a cut line of the old block.
    let mut bytes = wanted;
    bytes.resize(bytes.len().max(text.len() - at), b'\n');
    let joined = joined.filter(|_| len > at);
    Ok(Plan { edit: Edit { writes: vec![Write::over(text, at, bytes)], len }, joined })
}

/// The new block at the end; blank lines in the place of the old one.
fn append(text: &[u8], block: Vec<u8>, old: Option<Range<usize>>) -> Plan {
    let at = text.len();
    let open_line = !block.is_empty() && text.last().is_some_and(|last| *last != b'\n');
    let mut bytes = if open_line { vec![b'\n'] } else { Vec::new() };
    bytes.extend(block);
    let len = at + bytes.len();
    let blank = old.map(|old| Write::over(text, old.start, vec![b'\n'; old.len()]));
    let writes = [Write::over(text, at, bytes)].into_iter().chain(blank).collect();
    Plan { edit: Edit { writes, len }, joined: open_line.then_some(at) }
}

/// The block's bytes, from its start marker through the newline of its end marker. A marker
/// counts with white space around it: an editor may have turned the file into CRLF lines.
pub fn find_block(text: &[u8]) -> Result<Option<Range<usize>>, OpError> {
    let (mut start, mut end, mut at) = (None, None, 0);
    for (number, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        let next = at + line.len();
        let trimmed = line.trim_ascii();
        if trimmed == START.as_bytes() && start.replace(at).is_some() {
            return Err(damaged(number, "a second start marker"));
        }
        if trimmed == END.as_bytes() {
            if start.is_none() {
                return Err(damaged(number, "an end marker without a start"));
            }
            if end.replace(next).is_some() {
                return Err(damaged(number, "a second end marker"));
            }
        }
        at = next;
    }
    match (start, end) {
        (Some(start), Some(end)) => Ok(Some(start..end)),
        (Some(_), None) => {
            let why = format!("{PATH} has a hopbox start marker without an end; remove it by hand");
            Err(OpError::conflict(why))
        }
        _ => Ok(None),
    }
}

/// The line outside the block that has `name` already, counted from 1: it would win over ours.
pub fn named_outside(text: &[u8], name: &str) -> Option<usize> {
    let block = find_block(text).ok().flatten().unwrap_or(0..0);
    let mut at = 0;
    text.split_inclusive(|b| *b == b'\n')
        .position(|line| {
            let ours = block.contains(&at);
            at += line.len();
            let words = line.split(|b| *b == b'#').next().unwrap_or_default();
            let words = words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            !ours && words.skip(1).any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
        })
        .map(|line| line + 1)
}

fn damaged(number: usize, what: &str) -> OpError {
    let line = number + 1;
    let why = format!("{PATH} line {line} has {what} of the hopbox block; repair it by hand");
    OpError::conflict(why)
}

/// The block for sorted `entries`; nothing for none.
pub fn render(entries: &[Entry]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut sorted = entries.to_vec();
    sorted.sort();
    let lines: String = sorted.iter().map(|e| format!("{}\t{}\n", e.ip, e.name)).collect();
    format!("{START}\n{lines}{END}\n").into_bytes()
}

impl Edit {
    /// How long the file is before it is cut.
    pub fn end(&self) -> usize {
        self.writes.iter().map(Write::end).max().unwrap_or(0)
    }

    /// Whether `text` can be what the edit left behind, wherever it was interrupted. If not,
    /// somebody else has written since.
    pub fn fits(&self, text: &[u8]) -> bool {
        text.len() <= self.end() && self.writes.iter().all(|write| write.fits(text))
    }

    pub fn to_json(&self) -> Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let row = |write: &Write| json!([write.at, hex(&write.old), hex(&write.new)]);
        json!({"len": self.len, "writes": self.writes.iter().map(row).collect::<Vec<Value>>()})
    }

    pub fn from_json(value: &Value) -> Option<Edit> {
        let place = |n: &Value| usize::try_from(n.as_u64()?).ok().filter(|n| *n <= 4 << 20);
        let hex = |text: &Value| {
            let pairs = text.as_str()?.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            pairs.map(byte).collect::<Option<Vec<u8>>>()
        };
        let row = |row: &Value| {
            let [at, old, new] = row.as_array()?.as_slice() else {
                return None;
            };
            Some(Write { at: place(at)?, old: hex(old)?, new: hex(new)? })
        };
        let writes = value.get("writes")?.as_array()?;
        let writes = writes.iter().map(row).collect::<Option<Vec<Write>>>()?;
        Some(Edit { writes, len: place(value.get("len")?)? })
    }
}

impl Write {
    /// `new` over what `text` has there.
    fn over(text: &[u8], at: usize, new: Vec<u8>) -> Write {
        let end = text.len().min(at + new.len());
        Write { at, old: text.get(at..end).unwrap_or_default().to_vec(), new }
    }

    fn end(&self) -> usize {
        self.at + self.old.len().max(self.new.len())
    }

    fn fits(&self, text: &[u8]) -> bool {
        let Some(found) = text.get(self.at..text.len().min(self.end())) else {
            return false;
        };
        // Zeroes are what some file systems leave of bytes that the power cut caught.
        let known = |(i, b): (usize, &u8)| {
            *b == 0 || self.old.get(i) == Some(b) || self.new.get(i) == Some(b)
        };
        found.iter().enumerate().all(known)
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
