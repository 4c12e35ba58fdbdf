//! The managed block of /etc/hosts: planned as a pure function, applied in place.
//!
//! In place, because a rename would lose the file's inode (ACLs, SELinux label, Docker's bind
//! mount) and would need the right to create files in /etc. Bytes outside the block are never
//! rewritten and never move.
//!
//! A file that does not end in a newline gets one before the block. That byte is not the
//! block's by its form, so `joined` remembers where it was put; when the last entry goes and the
//! block still starts behind it, it goes too, and the file is what it was, byte for byte. When
//! the memory is lost (helper restarted) or text was inserted before the block, it stays.
//!
//! Must not know: who asked for a name, leases.

use hop_helper::proto::{Code, OpError};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

const PATH: &str = "/etc/hosts";
const START: &str = "# --- hopbox managed start ---";
const END: &str = "# --- hopbox managed end ---";
/// Largest file that is edited, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// How often an edit is tried again because somebody else wrote meanwhile.
const TRIES: usize = 4;

/// One line of the block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub ip: Ipv4Addr,
}

/// What to do to the file, as writes that keep every byte outside the block in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Nothing,
    /// The block is the end of the file: write `bytes` at `at`, then cut the file to `len`.
    Tail {
        at: usize,
        bytes: Vec<u8>,
        len: usize,
    },
    /// Text follows the block: append `bytes`, then blank out the old block.
    Move {
        bytes: Vec<u8>,
        blank: Range<usize>,
    },
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
    let Some(block) = block else {
        return Ok(append(text, wanted));
    };
    if text.get(block.clone()) == Some(wanted.as_slice()) {
        return Ok(Plan { edit: Edit::Nothing, joined });
    }
    if block.end < text.len() {
        let Plan { edit, joined } = append(text, wanted);
        let bytes = match edit {
            Edit::Tail { bytes, .. } => bytes,
            _ => Vec::new(),
        };
        return Ok(Plan { edit: Edit::Move { bytes, blank: block }, joined });
    }
    let at = if wanted.is_empty() { joined.unwrap_or(block.start) } else { block.start };
    let len = at + wanted.len();
    // Padded to the old length, so that no moment shows a cut line of the old block.
    let mut bytes = wanted;
    bytes.resize(bytes.len().max(text.len() - at), b'\n');
    let joined = joined.filter(|_| len > at);
    Ok(Plan { edit: Edit::Tail { at, bytes, len }, joined })
}

fn append(text: &[u8], block: Vec<u8>) -> Plan {
    if block.is_empty() {
        return Plan { edit: Edit::Nothing, joined: None };
    }
    let at = text.len();
    let open_line = text.last().is_some_and(|last| *last != b'\n');
    let mut bytes = if open_line { vec![b'\n'] } else { Vec::new() };
    bytes.extend(block);
    let len = at + bytes.len();
    Plan { edit: Edit::Tail { at, bytes, len }, joined: open_line.then_some(at) }
}

/// The block's bytes, from its start marker through the newline of its end marker. A marker
/// counts with white space around it: an editor may have turned the file into CRLF lines.
fn find_block(text: &[u8]) -> Result<Option<Range<usize>>, OpError> {
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
            Err(OpError::new(Code::StateConflict, why))
        }
        _ => Ok(None),
    }
}

fn damaged(number: usize, what: &str) -> OpError {
    let line = number + 1;
    let why = format!("{PATH} line {line} has {what} of the hopbox block; repair it by hand");
    OpError::new(Code::StateConflict, why)
}

/// The block for sorted `entries`; nothing for none.
fn render(entries: &[Entry]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut sorted = entries.to_vec();
    sorted.sort();
    let lines: String = sorted.iter().map(|e| format!("{}\t{}\n", e.ip, e.name)).collect();
    format!("{START}\n{lines}{END}\n").into_bytes()
}

/// The file, and the memory that belongs to it.
#[derive(Debug, Default)]
pub struct Hosts {
    joined: Option<usize>,
}

impl Hosts {
    /// Makes the block hold exactly `entries`. Returns only after a fresh look at the file
    /// shows them; an edit by somebody else meanwhile is kept and ours made again.
    pub fn set(&mut self, entries: &[Entry]) -> Result<(), OpError> {
        for _ in 0..TRIES {
            let file = open()?;
            let text = read(&file)?;
            let plan = plan(&text, entries, self.joined)?;
            if plan.edit == Edit::Nothing {
                self.joined = plan.joined;
                return Ok(());
            }
            if unchanged(&file, text.len())? {
                write(&file, text.len(), &plan.edit).map_err(|e| failed("write", &e))?;
                self.joined = plan.joined;
            }
        }
        let why = format!("{PATH} keeps being changed by another program");
        Err(OpError::new(Code::KernelError, why))
    }
}

fn failed(step: &str, e: &io::Error) -> OpError {
    OpError::new(Code::KernelError, format!("{step} {PATH}: {e}"))
}

fn open() -> Result<File, OpError> {
    let refused = |why: &str| {
        Err(OpError::new(Code::NotSupported, format!("{PATH} is {why}; it is left alone")))
    };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(PATH) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return refused("a symbolic link"),
        Err(e) if e.raw_os_error() == Some(libc::EISDIR) => return refused("a directory"),
        result => result.map_err(|e| failed("open", &e))?,
    };
    let meta = file.metadata().map_err(|e| failed("look at", &e))?;
    match meta {
        meta if !meta.is_file() => refused("not a regular file"),
        meta if meta.uid() != 0 => refused("not owned by root"),
        meta if meta.mode() & 0o022 != 0 => refused("writable by others than root"),
        meta if meta.len() > SIZE_MAX => refused("larger than 1 MiB"),
        _ => Ok(file),
    }
}

fn read(file: &File) -> Result<Vec<u8>, OpError> {
    let mut text = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut text).map_err(|e| failed("read", &e))?;
    if text.len() as u64 > SIZE_MAX || text.contains(&0) {
        let why = format!("{PATH} is too large or not a text file; it is left alone");
        return Err(OpError::new(Code::NotSupported, why));
    }
    Ok(text)
}

/// Whether the path still leads to this file, with the length that was read. The window
/// between this look and the write is what the look afterwards is for.
fn unchanged(file: &File, len: usize) -> Result<bool, OpError> {
    let ours = file.metadata().map_err(|e| failed("look at", &e))?;
    let now = std::fs::symlink_metadata(PATH).map_err(|e| failed("look at", &e))?;
    let same = (ours.dev(), ours.ino()) == (now.dev(), now.ino());
    Ok(same && now.len() == len as u64)
}

fn write(file: &File, len: usize, edit: &Edit) -> io::Result<()> {
    match edit {
        Edit::Nothing => return Ok(()),
        Edit::Tail { at, bytes, len } => {
            file.write_all_at(bytes, *at as u64)?;
            // Longer than that, and somebody appended just now: the blank lines may stay.
            if file.metadata()?.len() == (at + bytes.len()) as u64 {
                file.set_len(*len as u64)?;
            }
        }
        Edit::Move { bytes, blank } => {
            file.write_all_at(bytes, len as u64)?;
            file.sync_all()?;
            file.write_all_at(&vec![b'\n'; blank.len()], blank.start as u64)?;
        }
    }
    file.sync_all()
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
