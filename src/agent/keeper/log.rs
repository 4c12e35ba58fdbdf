//! What a service says, kept: files of a bounded size, the newest called `log`, the one before
//! it `log.1`, and so on. A line is `TIME STREAM TEXT`: milliseconds since 1970; `o` or `e`, with a
//! `+` where the line goes on in the next of its stream; the bytes as they came. Lines with `k` are
//! the keeper's own. What is longer than [`LINE_BYTES`] is cut there and goes on in the next line.
//!
//! Nothing waits in this process: what was read is written before the next is read. Where the disk
//! is full the oldest files go first; what cannot be written then is counted and told.

use crate::sys::clock;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LOG;
use super::spec::LogBounds;

/// Of the text of one line.
pub const LINE_BYTES: usize = 8 * 1024;
/// Whoever has said half a line and nothing more has meant it, such as a question.
pub const PAUSE: Duration = Duration::from_millis(200);
/// What is written at once.
const BATCH: usize = 64 * 1024;

/// Whose words they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Out,
    Err,
    Keeper,
}

impl Voice {
    pub fn letter(self) -> char {
        match self {
            Voice::Out => 'o',
            Voice::Err => 'e',
            Voice::Keeper => 'k',
        }
    }

    pub fn of(letter: u8) -> Option<Voice> {
        let all = [Voice::Out, Voice::Err, Voice::Keeper];
        all.into_iter().find(|voice| voice.letter() as u8 == letter)
    }
}

/// The half of a line that a stream has said so far.
#[derive(Default)]
pub struct Half {
    bytes: Vec<u8>,
    since: Option<Instant>,
}

pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    bounds: LogBounds,
    /// The file does not end with a whole line.
    is_torn: bool,
    /// Not written, since the last time that this was told, and in all.
    untold: u64,
    lost: u64,
    batch: Vec<u8>,
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

fn older(path: &Path, n: u32) -> PathBuf {
    match n {
        0 => path.to_owned(),
        n => path.with_file_name(format!("{LOG}.{n}")),
    }
}

impl Log {
    pub fn open(dir: &Path, bounds: LogBounds, lost: u64) -> io::Result<Log> {
        let path = dir.join(LOG);
        let file = open(&path)?;
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        let is_torn = last != [b'\n'];
        let batch = Vec::new();
        Ok(Log { path, file, size, bounds, is_torn, untold: 0, lost, batch })
    }

    /// Bytes that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What a stream has said, lines or not.
    pub fn hear(&mut self, voice: Voice, half: &mut Half, mut said: &[u8]) {
        let now = clock::wall_ms();
        while !said.is_empty() {
            let room = LINE_BYTES.saturating_sub(half.bytes.len());
            let piece = said.get(..room.min(said.len())).unwrap_or(said);
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(piece.len());
            let text = piece.get(..taken).unwrap_or_default();
            match end {
                Some(_) => {
                    self.line(now, voice, "", &half.bytes, text);
                    half.bytes.clear();
                }
                None if taken == room => {
                    self.line(now, voice, "+", &half.bytes, text);
                    half.bytes.clear();
                }
                None => half.bytes.extend_from_slice(text),
            }
            said = said.get(taken + usize::from(end.is_some())..).unwrap_or_default();
        }
        half.since = (!half.bytes.is_empty()).then(Instant::now);
        self.flush();
    }

    /// When a half is to be written as it is.
    pub fn is_due(half: &Half) -> Option<Instant> {
        half.since.map(|since| since + PAUSE)
    }

    /// `is_over`: the stream says nothing more.
    pub fn pause(&mut self, voice: Voice, half: &mut Half, is_over: bool) {
        if half.since.take().is_some() {
            let more = if is_over { "" } else { "+" };
            self.line(clock::wall_ms(), voice, more, &half.bytes, b"");
            half.bytes = Vec::new();
            self.flush();
        }
    }

    /// The keeper's own word.
    pub fn note(&mut self, text: &str) {
        self.line(clock::wall_ms(), Voice::Keeper, "", text.as_bytes(), b"");
        self.flush();
    }

    fn line(&mut self, now: u64, voice: Voice, more: &str, first: &[u8], then: &[u8]) {
        // Into memory, which does not fail.
        let _ = write!(self.batch, "{now} {}{more} ", voice.letter());
        self.batch.extend_from_slice(first);
        self.batch.extend_from_slice(then);
        self.batch.push(b'\n');
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if self.untold > 0 && self.is_writable() {
            let told =
                format!("{} k {} bytes could not be written\n", clock::wall_ms(), self.untold);
            if self.put(told.as_bytes()).is_ok() {
                self.untold = 0;
            }
        }
        if let Err((left, _)) = self.put(&batch) {
            let left = left as u64;
            self.untold = self.untold.saturating_add(left);
            self.lost = self.lost.saturating_add(left);
        }
        self.batch = batch;
        self.batch.clear();
        self.batch.shrink_to(2 * BATCH);
    }

    /// A line end, if one is missing.
    fn is_writable(&mut self) -> bool {
        !self.is_torn || self.write(b"\n").is_ok()
    }

    /// Whole lines. What is left where they cannot be written.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.size > 0 && self.size.saturating_add(bytes.len() as u64) > self.bounds.bytes {
            self.rotate();
        }
        if !self.is_writable() {
            self.make_room();
        }
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if self.make_room() => {}
                Err(error) => return Err((bytes.len(), error)),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&self.file).write(bytes)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        self.size = self.size.saturating_add(count as u64);
        self.is_torn = bytes.get(count - 1) != Some(&b'\n');
        Ok(count)
    }

    /// The oldest goes, each becomes one older, and a new one begins. A reader that follows has the
    /// file open and finds the next by its name.
    fn rotate(&mut self) {
        let files = self.bounds.files;
        let _ = fs::remove_file(older(&self.path, files.max(1)));
        for n in (0..files).rev() {
            let _ = fs::rename(older(&self.path, n), older(&self.path, n + 1));
        }
        if files == 0 {
            let _ = fs::remove_file(&self.path);
        }
        // Where no other can be opened this one goes on.
        if let Ok(file) = open(&self.path) {
            self.size = file.metadata().map_or(0, |found| found.len());
            self.file = file;
            self.is_torn = false;
        }
    }

    /// One older file less; false if there is none.
    fn make_room(&mut self) -> bool {
        let gone = |n| fs::remove_file(older(&self.path, n)).is_ok();
        (1..=self.bounds.files).rev().any(gone)
    }
}

#[cfg(test)]
mod tests;
