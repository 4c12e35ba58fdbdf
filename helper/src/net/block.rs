//! The managed block of a hosts file: planned as a pure function, with bytes in and writes out.
//!
//! Bytes outside the block are never rewritten and never move.
//!
//! A file that does not end in a newline gets one before the block. That byte is not the
//! block's by its form, so `joined` remembers where it was put; when the last entry goes and the
//! block still starts behind it, it goes too, and the file is what it was, byte for byte. When
//! the memory is lost or text was inserted before the block, it stays.
//!
//! Where the file cannot be cut, blank lines are left. `blank` remembers them, so that the next
//! block takes their place: without that, somebody who only keeps the file open makes it grow for
//! ever. Blank lines of others are text like any other.
//!
//! Must not know: files, users, devices.

use crate::core::paths::HOSTS;
use crate::proto::OpError;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::ops::Range;

const START: &str = "# --- hopbox managed start ---";
const END: &str = "# --- hopbox managed end ---";
/// Most runs of blank lines that are remembered.
const BLANKS_MAX: usize = 8;

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
    /// None: there is nothing to do. One: the block, in its place. Two: there is too little room
    /// between other text, so a new one is made elsewhere and the old one becomes blank lines.
    pub writes: Vec<Write>,
    pub len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub at: usize,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// Which bytes outside the block are ours, for as long as they are newlines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newline that was put before the block, if there had to be one.
    pub joined: Option<usize>,
    /// Blank lines in the place of blocks that are gone, in order.
    pub blank: Vec<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub edit: Edit,
    pub memory: Memory,
}

/// Plans the edit that makes the block of `text` hold exactly `entries`; without entries there
/// is no block. Refuses when the markers are damaged.
pub fn plan(text: &[u8], entries: &[Entry], memory: &Memory) -> Result<Plan, OpError> {
    let block = find_block(text)?;
    let wanted = render(entries);
    let joined = memory.joined.filter(|at| {
        text.get(*at) == Some(&b'\n') && block.as_ref().is_some_and(|block| block.start == at + 1)
    });
    let blank = memory.valid(text);
    if text.get(block.clone().unwrap_or(0..0)) == Some(wanted.as_slice()) {
        let edit = Edit { writes: Vec::new(), len: text.len() };
        return Ok(Plan { edit, memory: Memory { joined, blank } });
    }
    // The block with the blank lines of ours around it, and the newline before it.
    let own = block.map(|block| {
        let start = joined.unwrap_or(block.start);
        let before = blank.iter().find(|range| range.end == start).map_or(start, |r| r.start);
        let behind = blank.iter().find(|range| range.start == block.end);
        before..behind.map_or(block.end, |range| range.end)
    });
    let fits = |room: &Range<usize>| {
        let need = wanted.len() + usize::from(!wanted.is_empty() && opens(text, room.start));
        room.end == text.len() || need <= room.len()
    };
    let end = text.len()..text.len();
    let rooms = own.iter().chain(&blank).cloned();
    let room = rooms.into_iter().find(fits).unwrap_or(end);
    Ok(place(text, wanted, room, own, blank))
}

/// Whether a line has begun before `at`, which a block must not go on with.
fn opens(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|b| *b != b'\n')
}

/// The block at the start of `room`, blank lines in the rest of it and in all of `old`, if that is
/// elsewhere. A room at the end of the file is as long as it has to be.
fn place(
    text: &[u8],
    block: Vec<u8>,
    room: Range<usize>,
    old: Option<Range<usize>>,
    blank: Vec<Range<usize>>,
) -> Plan {
    let open_line = !block.is_empty() && opens(text, room.start);
    let mut bytes = if open_line { vec![b'\n'] } else { Vec::new() };
    bytes.extend(block);
    let used = room.start + bytes.len();
    let len = if room.end == text.len() { used } else { text.len() };
    // Padded, so that no moment shows a cut line of the old block.
    bytes.resize(bytes.len().max(room.len()), b'\n');
    let rest = used..room.end.max(used);
    let old = old.filter(|old| *old != room);
    let gone = old.clone().map(|old| Write::over(text, old.start, vec![b'\n'; old.len()]));
    let covered =
        |range: &Range<usize>, by: &Range<usize>| by.start <= range.start && range.end <= by.end;
    let kept = blank
        .into_iter()
        .filter(|range| !covered(range, &room) && !old.iter().any(|old| covered(range, old)));
    let blank = merged(kept.chain([rest]).chain(old.clone()).collect());
    let writes = [Write::over(text, room.start, bytes)].into_iter().chain(gone).collect();
    let memory = Memory { joined: open_line.then_some(room.start), blank };
    Plan { edit: Edit { writes, len }, memory }
}

/// In order, and in one piece what touches; not more than are remembered.
fn merged(mut blank: Vec<Range<usize>>) -> Vec<Range<usize>> {
    blank.retain(|range| !range.is_empty());
    blank.sort_by_key(|range| range.start);
    let mut whole: Vec<Range<usize>> = Vec::new();
    for range in blank {
        match whole.last_mut().filter(|last| last.end >= range.start) {
            Some(last) => last.end = last.end.max(range.end),
            None => whole.push(range),
        }
    }
    if whole.len() > BLANKS_MAX {
        // The shortest is given up, and stays as it is.
        let least = whole.iter().enumerate().min_by_key(|(_, range)| range.len());
        least.map(|(at, _)| at).map(|at| whole.remove(at));
    }
    whole
}

impl Memory {
    /// What is still ours of it: whole lines, and blank.
    fn valid(&self, text: &[u8]) -> Vec<Range<usize>> {
        let ours = |range: &&Range<usize>| {
            let bytes = text.get((*range).clone());
            bytes.is_some_and(|bytes| !bytes.is_empty() && bytes.iter().all(|b| *b == b'\n'))
        };
        self.blank.iter().filter(ours).cloned().collect()
    }

    /// Forgets what a file of this length does not have any more.
    pub fn cut(&mut self, len: usize) {
        self.blank.retain(|range| range.end <= len);
    }

    pub fn blank_json(&self) -> Value {
        let range = |range: &Range<usize>| json!([range.start, range.end]);
        self.blank.iter().map(range).collect()
    }

    /// What `blank_json` made; nothing where an older helper wrote nothing.
    pub fn read(joined: &Value, blank: Option<&Value>) -> Option<Memory> {
        let range = |range: &Value| match range.as_array()?.as_slice() {
            [start, end] => Some(place_of(start)?..place_of(end)?),
            _ => None,
        };
        let blank = blank.map_or(Some(&[][..]), |blank| blank.as_array().map(Vec::as_slice))?;
        let joined = if joined.is_null() { None } else { Some(place_of(joined)?) };
        Some(Memory { joined, blank: blank.iter().map(range).collect::<Option<_>>()? })
    }
}

/// A place in the file.
fn place_of(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok().filter(|at| *at <= 4 << 20)
}

/// The block's bytes, from its start marker through the newline of its end marker. A marker
/// counts with white space around it: an editor may have turned the file into CRLF lines.
pub fn find_block(text: &[u8]) -> Result<Option<Range<usize>>, OpError> {
    let (mut markers, mut end) = (Vec::new(), 0);
    for (number, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        let start = end;
        end += line.len();
        let is = |marker: &&str| line.trim_ascii() == marker.as_bytes();
        let found = [START, END].iter().position(is);
        markers.extend(found.map(|which| (which, number + 1, start..end)));
    }
    match markers.as_slice() {
        [] => Ok(None),
        [(0, _, first), (1, _, last)] => Ok(Some(first.start..last.end)),
        [.., (_, line, _)] => Err(OpError::conflict(format!(
            "{HOSTS} line {line} has a marker of the hopbox block that is there twice, or without \
             the other one before or behind it; repair it by hand"
        ))),
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
        self.writes.iter().map(Write::end).max().unwrap_or(0).max(self.len)
    }

    /// Whether `text` can be what the edit left behind, wherever it was interrupted. If not,
    /// somebody else has written since. What was appended behind it does no harm unless it is cut.
    pub fn fits(&self, text: &[u8]) -> bool {
        let cuts = self.len < self.end();
        !(cuts && text.len() > self.end()) && self.writes.iter().all(|write| write.fits(text))
    }

    pub fn to_json(&self) -> Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let row = |write: &Write| json!([write.at, hex(&write.old), hex(&write.new)]);
        json!({"len": self.len, "writes": self.writes.iter().map(row).collect::<Vec<Value>>()})
    }

    pub fn from_json(value: &Value) -> Option<Edit> {
        let hex = |text: &Value| {
            let pairs = text.as_str()?.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            pairs.map(byte).collect::<Option<Vec<u8>>>()
        };
        let row = |row: &Value| {
            let [at, old, new] = row.as_array()?.as_slice() else {
                return None;
            };
            Some(Write { at: place_of(at)?, old: hex(old)?, new: hex(new)? })
        };
        let writes = value.get("writes")?.as_array()?;
        let writes = writes.iter().map(row).collect::<Option<Vec<Write>>>()?;
        Some(Edit { writes, len: place_of(value.get("len")?)? })
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
