//! The managed block of /etc/hosts: planned as a pure function, applied in place.
//!
//! In place, because a rename would lose the file's inode (ACLs, SELinux label, Docker's bind
//! mount) and would need the right to create files in /etc. Bytes outside the block are never
//! rewritten and never move.
//!
//! A file that does not end in a newline gets one before the block. That byte is not the
//! block's by its form, so `joined` remembers where it was put; when the last entry goes and the
//! block still starts behind it, it goes too, and the file is what it was, byte for byte. When
//! the memory is lost or text was inserted before the block, it stays.
//!
//! A kill or a power cut in the middle of an edit leaves a mixture of old and new. The journal,
//! which the caller keeps on the disk until the edit is done, says what it is a mixture of.
//!
//! While an edit lasts, the kernel keeps others from opening the file (a lease, in the words of
//! fcntl(2)), so that nothing of theirs can be written over or cut off. Where somebody keeps it
//! open all the time, looks before and after the edit must do.
//!
//! Must not know: who asked for a name, leases of devices.

use crate::sys;
use hop_helper::proto::{Code, OpError};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

const PATH: &str = if cfg!(target_os = "macos") { "/private/etc/hosts" } else { "/etc/hosts" };
const START: &str = "# --- hopbox managed start ---";
const END: &str = "# --- hopbox managed end ---";
/// Largest file that is edited, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// How often and how long to wait for a moment in which nobody else has the file open.
const LEASE_TRIES: usize = 5;
const LEASE_PAUSE: Duration = Duration::from_millis(1);
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

/// An edit under way: the bytes before and after, place by place in the order of writing, and
/// the length of the file when all is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    writes: Vec<Write>,
    len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    at: usize,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Journal {
    pub fn of(text: &[u8], edit: &Edit) -> Journal {
        let old = |range: Range<usize>| text.get(range).unwrap_or_default().to_vec();
        match edit {
            Edit::Nothing => Journal { writes: Vec::new(), len: text.len() },
            Edit::Tail { at, bytes, len } => {
                let write = Write { at: *at, old: old(*at..text.len()), new: bytes.clone() };
                Journal { writes: vec![write], len: *len }
            }
            Edit::Move { bytes, blank } => {
                let new = vec![b'\n'; blank.len()];
                let blanked = Write { at: blank.start, old: old(blank.clone()), new };
                let added = Write { at: text.len(), old: Vec::new(), new: bytes.clone() };
                Journal { len: text.len() + bytes.len(), writes: vec![added, blanked] }
            }
        }
    }

    /// Whether `text` can be what the edit left behind, wherever it was interrupted. If not,
    /// somebody else has written since.
    fn fits(&self, text: &[u8]) -> bool {
        let end = self.writes.iter().map(Write::end).max().unwrap_or(0);
        text.len() <= end && self.writes.iter().all(|write| write.fits(text))
    }

    pub fn to_json(&self) -> Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let row = |write: &Write| json!([write.at, hex(&write.old), hex(&write.new)]);
        json!({"len": self.len, "writes": self.writes.iter().map(row).collect::<Vec<Value>>()})
    }

    pub fn from_json(value: &Value) -> Option<Journal> {
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
        Some(Journal { writes, len: place(value.get("len")?)? })
    }

    #[cfg(test)]
    pub fn example() -> Journal {
        Journal::of(b"abc", &Edit::Tail { at: 1, bytes: b"xyz".to_vec(), len: 3 })
    }
}

impl Write {
    fn end(&self) -> usize {
        self.at + self.old.len().max(self.new.len())
    }

    fn fits(&self, text: &[u8]) -> bool {
        let Some(found) = text.get(self.at..text.len().min(self.end())) else {
            return false;
        };
        let known = |(i, b): (usize, &u8)| self.old.get(i) == Some(b) || self.new.get(i) == Some(b);
        found.iter().enumerate().all(known)
    }
}

/// The file, and the memory that belongs to it.
#[derive(Debug)]
pub struct Hosts {
    pub joined: Option<usize>,
    /// It could be opened for writing once.
    worked: bool,
    /// It cannot any more, for a reason that a new start of the helper mends: the sandbox lets us
    /// write one file, and somebody has put another one in its place.
    pub detached: bool,
}

impl Hosts {
    pub fn new(joined: Option<usize>) -> Hosts {
        Hosts { joined, worked: false, detached: false }
    }

    /// Makes the block hold exactly `entries`. Returns only after a fresh look at the file
    /// shows them; an edit by somebody else meanwhile is kept and ours made again. `keep` gets
    /// each edit, and the new `joined`, before its first byte is written.
    pub fn set(
        &mut self,
        entries: &[Entry],
        keep: &mut dyn FnMut(Journal, Option<usize>) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        for _ in 0..TRIES {
            let file = self.open()?;
            let first = plan(&read(&file)?, entries, self.joined)?;
            if first.edit == Edit::Nothing {
                self.joined = first.joined;
                return Ok(());
            }
            let held = hold(&file);
            let text = read(&file)?;
            let plan = plan(&text, entries, self.joined)?;
            if unchanged(&file, text.len())? {
                keep(Journal::of(&text, &plan.edit), plan.joined)?;
                let write = if held { write } else { write_beside_others };
                write(&file, text.len(), &plan.edit).map_err(|e| failed("write", &e))?;
                self.joined = plan.joined;
            }
        }
        let why = format!("{PATH} keeps being changed by another program");
        Err(OpError::new(Code::KernelError, why))
    }

    /// Finishes an edit that was interrupted; false when the file is not what it left behind.
    pub fn redo(&mut self, journal: &Journal) -> Result<bool, OpError> {
        let file = self.open()?;
        hold(&file);
        if !journal.fits(&read(&file)?) {
            return Ok(false);
        }
        let redo = || {
            for write in &journal.writes {
                file.write_all_at(&write.new, write.at as u64)?;
                file.sync_all()?;
            }
            file.set_len(journal.len as u64)?;
            file.sync_all()
        };
        redo().map_err(|e| failed("write", &e))?;
        Ok(true)
    }

    fn open(&mut self) -> Result<File, OpError> {
        let refused = |why: &str| {
            Err(OpError::new(Code::NotSupported, format!("{PATH} is {why}; it is left alone")))
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(PATH);
        let file = match opened {
            Ok(file) => file,
            Err(e) => {
                let errno = e.raw_os_error();
                return match errno {
                    Some(libc::ELOOP) => refused("a symbolic link"),
                    Some(libc::EISDIR) => refused("a directory"),
                    // When it comes, the sandbox of a new start will have it.
                    Some(libc::ENOENT) => {
                        self.worked = true;
                        Err(failed("open", &e))
                    }
                    Some(libc::EROFS | libc::EACCES) if self.worked => {
                        self.detached = true;
                        Err(OpError { retry: true, ..failed("open", &e) })
                    }
                    _ => Err(failed("open", &e)),
                };
            }
        };
        let meta = file.metadata().map_err(|e| failed("look at", &e))?;
        match meta {
            meta if !meta.is_file() => refused("not a regular file"),
            meta if meta.uid() != 0 => refused("not owned by root"),
            meta if meta.mode() & 0o022 != 0 => refused("writable by others than root"),
            meta if meta.len() > SIZE_MAX => refused("larger than 1 MiB"),
            _ => {
                self.worked = true;
                Ok(file)
            }
        }
    }
}

/// Until the file is closed nobody else opens it; false where that cannot be had, also because
/// somebody keeps it open for reading. Nobody gets us to wait for long.
fn hold(file: &File) -> bool {
    for _ in 0..LEASE_TRIES {
        match sys::lease(file) {
            Ok(()) => return true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LEASE_PAUSE),
            Err(_) => return false,
        }
    }
    false
}

/// As `write`, while others may append: the file grows at its end alone, in one call, and is never
/// cut. What was meant to be cut off stays as blank lines.
fn write_beside_others(file: &File, len: usize, edit: &Edit) -> io::Result<()> {
    match edit {
        Edit::Nothing => return Ok(()),
        Edit::Tail { at, bytes, .. } => {
            let more = (at + bytes.len()).saturating_sub(len);
            append_line(file, &vec![b'\n'; more])?;
            // Longer than that, and somebody was there before us: the next look finds another way.
            if file.metadata()?.len() == (len + more) as u64 {
                file.write_all_at(bytes, *at as u64)?;
            }
        }
        Edit::Move { bytes, blank } => {
            append_line(file, bytes)?;
            file.sync_all()?;
            file.write_all_at(&vec![b'\n'; blank.len()], blank.start as u64)?;
        }
    }
    file.sync_all()
}

fn append_line(file: &File, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut end = OpenOptions::new().append(true).custom_flags(flags).open(PATH)?;
    let (ours, theirs) = (file.metadata()?, end.metadata()?);
    if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) || bytes.is_empty() {
        return Ok(());
    }
    end.write_all(bytes)
}

fn failed(step: &str, e: &io::Error) -> OpError {
    OpError::new(Code::KernelError, format!("{step} {PATH}: {e}"))
}

fn read(file: &File) -> Result<Vec<u8>, OpError> {
    let (mut text, mut file) = (Vec::new(), file);
    file.seek(SeekFrom::Start(0)).map_err(|e| failed("read", &e))?;
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
