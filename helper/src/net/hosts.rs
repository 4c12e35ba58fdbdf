//! /etc/hosts edited in place, as `block` plans it.
//!
//! In place, because a rename would lose the file's inode (ACLs, SELinux label, Docker's bind
//! mount) and would need the right to create files in /etc.
//!
//! A kill or a power cut in the middle of an edit leaves a mixture of old and new. The journal,
//! which the caller keeps on the disk until the edit is done, says what it is a mixture of.
//!
//! While an edit lasts, the kernel keeps others from opening the file (a lease, in the words of
//! fcntl(2)), so that nothing of theirs can be written over or cut off. Where somebody keeps it
//! open all the time, looks before and after the edit must do.
//!
//! Must not know: who asked for a name, leases of devices.

use crate::core::files::Stamp;
use crate::core::paths::HOSTS;
use crate::net::block::{self, Edit, Entry, Memory};
use crate::proto::{Code, OpError};
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Largest file that is edited, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// How often and how long to wait for a moment in which nobody else has the file open.
const LEASE_TRIES: usize = 5;
const LEASE_PAUSE: Duration = Duration::from_millis(1);
/// How often an edit is tried again because somebody else wrote meanwhile.
const TRIES: usize = 4;

/// The file, and the memory that belongs to it.
#[derive(Debug)]
pub struct Hosts {
    pub memory: Memory,
    /// It could be opened for writing once.
    worked: bool,
    /// It cannot any more, for a reason that a new start of the helper mends: the sandbox lets us
    /// write one file, and somebody has put another one in its place.
    pub detached: bool,
    /// How often it was written.
    pub edits: u64,
    /// What the file was at the last look.
    stamp: Option<Stamp>,
}

impl Hosts {
    pub fn new(memory: Memory) -> Hosts {
        Hosts { memory, worked: false, detached: false, edits: 0, stamp: None }
    }

    /// Makes the block hold exactly `entries`. Returns only after a fresh look at the file
    /// shows them; an edit by somebody else meanwhile is kept and ours made again. `keep` gets
    /// each edit, and what is to be remembered, before its first byte is written.
    pub fn set(
        &mut self,
        entries: &[Entry],
        keep: &mut dyn FnMut(Edit, &Memory) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        for _ in 0..TRIES {
            let file = self.open()?;
            let first = block::plan(&read(&file)?, entries, &self.memory)?;
            if first.edit.writes.is_empty() {
                self.memory = first.memory;
                return Ok(());
            }
            let held = hold(&file);
            let text = read(&file)?;
            let plan = block::plan(&text, entries, &self.memory)?;
            if unchanged(&file, text.len())? {
                keep(plan.edit.clone(), &plan.memory)?;
                let written = match held {
                    true => write(&file, &plan.edit),
                    false => write_beside_others(&file, text.len(), &plan.edit),
                };
                written.map_err(|e| failed("write", &e))?;
                self.edits += 1;
                self.memory = plan.memory;
                let now = file.metadata().map_err(|e| failed("look at", &e))?;
                self.memory.cut(now.len() as usize);
            }
        }
        let why = format!("{HOSTS} keeps being changed by another program");
        Err(OpError::kernel(why))
    }

    /// Whether it may have changed since this was last asked.
    pub fn is_stirred(&mut self) -> bool {
        let stamp = Stamp::of(Path::new(HOSTS));
        stamp != std::mem::replace(&mut self.stamp, stamp)
    }

    /// Refuses a name that the file has outside the block.
    pub fn check_free(&mut self, name: &str) -> Result<(), OpError> {
        let file = self.open()?;
        match block::named_outside(&read(&file)?, name) {
            None => Ok(()),
            Some(line) => {
                let why = format!("{HOSTS} line {line} names {name} already");
                Err(OpError::conflict(why))
            }
        }
    }

    /// Finishes an edit that was interrupted; false when the file is not what it left behind.
    pub fn redo(&mut self, edit: &Edit) -> Result<bool, OpError> {
        let file = self.open()?;
        hold(&file);
        if !edit.fits(&read_any(&file)?) {
            return Ok(false);
        }
        write(&file, edit).map_err(|e| failed("write", &e))?;
        Ok(true)
    }

    fn open(&mut self) -> Result<File, OpError> {
        let refused = |why: &str| {
            Err(OpError::new(Code::NotSupported, format!("{HOSTS} is {why}; it is left alone")))
        };
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(HOSTS);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return refused("a symbolic link"),
            Err(e) if e.raw_os_error() == Some(libc::EISDIR) => return refused("a directory"),
            Err(e) => {
                // When one comes that was missing, the sandbox of a new start will have it.
                let kept_out = matches!(e.raw_os_error(), Some(libc::EROFS | libc::EACCES));
                self.detached |= kept_out && self.worked;
                self.worked |= e.kind() == io::ErrorKind::NotFound;
                return Err(OpError { retry: self.detached, ..failed("open", &e) });
            }
        };
        match file.metadata().map_err(|e| failed("look at", &e))? {
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
    let mut now = len;
    for write in &edit.writes {
        let more = (write.at + write.new.len()).saturating_sub(now);
        if write.at == len && edit.writes.len() > 1 {
            append_line(file, &write.new)?;
        } else {
            append_line(file, &vec![b'\n'; more])?;
            now += more;
            // Longer than that, and somebody was there before us: the next look finds another way.
            if more > 0 && file.metadata()?.len() != now as u64 {
                return Ok(());
            }
            file.write_all_at(&write.new, write.at as u64)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

fn append_line(file: &File, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut end = OpenOptions::new().append(true).custom_flags(flags).open(HOSTS)?;
    let (ours, theirs) = (file.metadata()?, end.metadata()?);
    if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) || bytes.is_empty() {
        return Ok(());
    }
    end.write_all(bytes)
}

fn failed(step: &str, e: &io::Error) -> OpError {
    OpError::kernel(format!("{step} {HOSTS}: {e}"))
}

fn read_any(file: &File) -> Result<Vec<u8>, OpError> {
    let (mut text, mut file) = (Vec::new(), file);
    file.seek(SeekFrom::Start(0)).map_err(|e| failed("read", &e))?;
    file.take(SIZE_MAX + 1).read_to_end(&mut text).map_err(|e| failed("read", &e))?;
    Ok(text)
}

fn read(file: &File) -> Result<Vec<u8>, OpError> {
    let text = read_any(file)?;
    if text.len() as u64 > SIZE_MAX || text.contains(&0) {
        let why = format!("{HOSTS} is too large or not a text file; it is left alone");
        return Err(OpError::new(Code::NotSupported, why));
    }
    Ok(text)
}

/// Whether the path still leads to this file, with the length that was read. The window
/// between this look and the write is what the look afterwards is for.
fn unchanged(file: &File, len: usize) -> Result<bool, OpError> {
    let ours = file.metadata().map_err(|e| failed("look at", &e))?;
    let now = std::fs::symlink_metadata(HOSTS).map_err(|e| failed("look at", &e))?;
    let same = (ours.dev(), ours.ino()) == (now.dev(), now.ino());
    Ok(same && now.len() == len as u64)
}

fn write(file: &File, edit: &Edit) -> io::Result<()> {
    for write in &edit.writes {
        file.write_all_at(&write.new, write.at as u64)?;
        file.sync_all()?;
    }
    // Longer than that, and somebody appended just now: the blank lines may stay.
    if edit.len < edit.end() && file.metadata()?.len() == edit.end() as u64 {
        file.set_len(edit.len as u64)?;
        file.sync_all()?;
    }
    Ok(())
}
