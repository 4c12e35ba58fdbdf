//! What two agents say to each other while a tree moves from one to the other: frames of a byte
//! that says which, four of a length, and what it says. Numbers are big-endian. Nothing here
//! touches a file.
//!
//! The source tells entries in the order of a walk: a directory, then what is in it by the order of
//! the names' bytes, each with its depth alone, so that no path crosses. The target answers each
//! regular file, in their order; what it wants follows, in that order, too. Entries go ahead of
//! content, [`AHEAD`] at most after the first file that is not done. Between any two frames either
//! may say that it is there.
//!
//! Bounds: 200 KiB of a frame, 255 bytes of a name, 4096 of a path and of a link's, 128 KiB of
//! content at a time, 128 KiB of attributes.

use std::ffi::CString;
use std::io::{self, ErrorKind, Read, Write};

use super::attributes::Attributes;
use super::stamps::{Hash, Mark};

/// Of this protocol; another one is another protocol.
pub const VERSION: u8 = 2;
pub const FRAME_BYTES: usize = 200 * 1024;
pub const BLOCK: usize = 128 * 1024;
/// Blocks that are compared at a time.
pub const BLOCKS: usize = 64;
pub const AHEAD: usize = 1024;
pub const NAME_BYTES: usize = 255;
pub const PATH_BYTES: usize = 4096;
pub const DEPTH: usize = 256;
const ATTRIBUTES: usize = 256;
const ATTRIBUTE_BYTES: usize = 64 * 1024;
const SENTENCE_BYTES: usize = 4000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Dir,
    /// `number` where it has more than one name: [`What::Same`] follows by that.
    File {
        bytes: u64,
        mark: Option<Mark>,
        number: Option<u64>,
    },
    Symlink {
        to: Vec<u8>,
        number: Option<u64>,
    },
    Fifo {
        number: Option<u64>,
    },
    /// One more name of what has this number.
    Same {
        number: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 0 is the place itself, which has no name.
    pub depth: u16,
    pub name: Vec<u8>,
    pub what: What,
    pub attributes: Attributes,
}

/// What the source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Hello {
        version: u8,
        is_root: bool,
    },
    /// What follows is in this place, as the workspace's file has it.
    Place(String),
    Entry(Box<Entry>),
    Data {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// A hole.
    Zero {
        offset: u64,
        bytes: u64,
    },
    /// Of blocks from this one on.
    Digests {
        first: u64,
        all: Vec<Hash>,
    },
    /// All of a file; not whole where it was changed meanwhile.
    End {
        is_whole: bool,
    },
    Finished,
    Failed(String),
    /// It is there.
    Beat,
}

/// What the target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Welcome {
        version: u8,
        is_root: bool,
    },
    Have,
    Whole,
    Blocks,
    /// Of the digests that were told, by bits from the lowest on.
    Wanted(u64),
    Finished,
    Failed(String),
    /// It is there.
    Beat,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the other agent is not understood: {why}"))
}

/// Pieces of a frame that is made.
#[derive(Default)]
struct Made(Vec<u8>);

impl Made {
    fn byte(mut self, byte: u8) -> Made {
        self.0.push(byte);
        self
    }

    fn put(mut self, bytes: &[u8]) -> Made {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(self, number: u64) -> Made {
        self.put(&number.to_be_bytes())
    }

    /// With its length.
    fn text(self, bytes: &[u8]) -> Made {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(&length.to_be_bytes()).put(bytes)
    }

    fn opt_number(self, number: Option<u64>) -> Made {
        match number {
            Some(number) => self.byte(1).number(number),
            None => self.byte(0),
        }
    }

    fn mark(self, mark: &Option<Mark>) -> Made {
        match mark {
            None => self.byte(0),
            Some(Mark { ino, changed: (s, ns), bytes }) => {
                let made = self.byte(1).number(*ino).put(&s.to_be_bytes());
                made.put(&ns.to_be_bytes()).number(*bytes)
            }
        }
    }

    fn attributes(self, it: &Attributes) -> Made {
        let mut made = self.put(&it.mode.to_be_bytes()).put(&it.uid.to_be_bytes());
        made = made.put(&it.gid.to_be_bytes());
        made = made.put(&it.changed.0.to_be_bytes()).put(&it.changed.1.to_be_bytes());
        made = made.number(it.all.len() as u64);
        it.all.iter().fold(made, |made, (name, value)| made.text(name.to_bytes()).text(value))
    }

    fn what(self, what: &What) -> Made {
        match what {
            What::Dir => self.byte(1),
            What::File { bytes, mark, number } => {
                self.byte(2).number(*bytes).mark(mark).opt_number(*number)
            }
            What::Symlink { to, number } => self.byte(3).text(to).opt_number(*number),
            What::Fifo { number } => self.byte(4).opt_number(*number),
            What::Same { number } => self.byte(5).number(*number),
        }
    }

    fn frame(self, kind: u8, to: &mut dyn Write) -> io::Result<()> {
        if self.0.len() > FRAME_BYTES {
            return Err(bad("a frame of ours is too long"));
        }
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        to.write_all(&[kind])?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(&self.0)
    }
}

impl Said {
    pub fn put(&self, to: &mut dyn Write) -> io::Result<()> {
        let made = Made::default();
        let (kind, made) = match self {
            Said::Hello { version, is_root } => (1, made.byte(*version).byte(u8::from(*is_root))),
            Said::Place(text) => (2, made.text(text.as_bytes())),
            Said::Entry(it) => {
                let made = made.put(&it.depth.to_be_bytes()).text(&it.name);
                (3, made.what(&it.what).attributes(&it.attributes))
            }
            Said::Data { offset, bytes } => (4, made.number(*offset).text(bytes)),
            Said::Zero { offset, bytes } => (5, made.number(*offset).number(*bytes)),
            Said::Digests { first, all } => {
                (6, all.iter().fold(made.number(*first), |made, one| made.put(one)))
            }
            Said::End { is_whole } => (7, made.byte(u8::from(*is_whole))),
            Said::Finished => (8, made),
            Said::Failed(why) => (9, made.text(cut(why).as_bytes())),
            Said::Beat => (10, made),
        };
        made.frame(kind, to)
    }

    pub fn read(from: &mut dyn Read) -> io::Result<Said> {
        let (kind, bytes) = frame(from)?;
        let mut left = Left(&bytes);
        let said = match kind {
            1 => Said::Hello { version: left.byte()?, is_root: left.is()? },
            2 => Said::Place(left.string(PATH_BYTES)?),
            3 => Said::Entry(Box::new(left.entry()?)),
            4 => Said::Data { offset: left.number()?, bytes: left.text(BLOCK)? },
            5 => Said::Zero { offset: left.number()?, bytes: left.number()? },
            6 => Said::Digests { first: left.number()?, all: left.hashes()? },
            7 => Said::End { is_whole: left.is()? },
            8 => Said::Finished,
            9 => Said::Failed(left.sentence()?),
            10 => Said::Beat,
            _ => return Err(bad("a frame of an unknown kind")),
        };
        left.end().map(|()| said)
    }
}

impl Answer {
    pub fn put(&self, to: &mut dyn Write) -> io::Result<()> {
        let made = Made::default();
        let (kind, made) = match self {
            Answer::Welcome { version, is_root } => {
                (1, made.byte(*version).byte(u8::from(*is_root)))
            }
            Answer::Have => (2, made),
            Answer::Whole => (3, made),
            Answer::Blocks => (4, made),
            Answer::Wanted(bits) => (5, made.number(*bits)),
            Answer::Finished => (6, made),
            Answer::Failed(why) => (7, made.text(cut(why).as_bytes())),
            Answer::Beat => (8, made),
        };
        made.frame(kind, to)
    }

    pub fn read(from: &mut dyn Read) -> io::Result<Answer> {
        let (kind, bytes) = frame(from)?;
        let mut left = Left(&bytes);
        let answer = match kind {
            1 => Answer::Welcome { version: left.byte()?, is_root: left.is()? },
            2 => Answer::Have,
            3 => Answer::Whole,
            4 => Answer::Blocks,
            5 => Answer::Wanted(left.number()?),
            6 => Answer::Finished,
            7 => Answer::Failed(left.sentence()?),
            8 => Answer::Beat,
            _ => return Err(bad("an answer of an unknown kind")),
        };
        left.end().map(|()| answer)
    }
}

fn cut(why: &str) -> String {
    why.chars().take(SENTENCE_BYTES / 4).collect()
}

fn frame(from: &mut dyn Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES {
        return Err(bad("a frame is too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok((kind, bytes))
}

/// What is left of a frame.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count).ok_or_else(|| bad("it is cut"))?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| bad("it is cut"))
    }

    fn end(&self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(bad("more than there should be")) }
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn is(&mut self) -> io::Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(bad("neither yes nor no")),
        }
    }

    fn short(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn number(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn signed(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn moment(&mut self) -> io::Result<(i64, i64)> {
        match (self.signed()?, self.signed()?) {
            (s, ns @ 0..=999_999_999) => Ok((s, ns)),
            _ => Err(bad("a time that is none")),
        }
    }

    fn text(&mut self, most: usize) -> io::Result<Vec<u8>> {
        match self.short()? as usize {
            length if length <= most => self.take(length).map(<[u8]>::to_vec),
            _ => Err(bad("a text is too long")),
        }
    }

    fn string(&mut self, most: usize) -> io::Result<String> {
        String::from_utf8(self.text(most)?).map_err(|_| bad("a text is none"))
    }

    fn sentence(&mut self) -> io::Result<String> {
        let text = self.text(SENTENCE_BYTES)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn opt<T>(&mut self, read: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<Option<T>> {
        if self.is()? { read(self).map(Some) } else { Ok(None) }
    }

    fn mark(&mut self) -> io::Result<Mark> {
        Ok(Mark { ino: self.number()?, changed: self.moment()?, bytes: self.number()? })
    }

    fn hashes(&mut self) -> io::Result<Vec<Hash>> {
        let count = self.0.len() / size_of::<Hash>();
        match (1..=BLOCKS).contains(&count) {
            true => (0..count).map(|_| self.array()).collect(),
            false => Err(bad("no number of blocks")),
        }
    }

    fn entry(&mut self) -> io::Result<Entry> {
        let depth = self.array().map(u16::from_be_bytes)?;
        let name = self.text(NAME_BYTES)?;
        let is_fit = match depth {
            0 => name.is_empty(),
            _ => is_name(&name) && usize::from(depth) <= DEPTH,
        };
        if !is_fit {
            return Err(bad("a name that is none"));
        }
        let what = self.what()?;
        Ok(Entry { depth, name, what, attributes: self.attributes()? })
    }

    fn what(&mut self) -> io::Result<What> {
        Ok(match self.byte()? {
            1 => What::Dir,
            2 => What::File {
                bytes: self.number()?,
                mark: self.opt(Left::mark)?,
                number: self.opt(Left::number)?,
            },
            3 => match self.text(PATH_BYTES)? {
                to if to.is_empty() || to.contains(&0) => return Err(bad("a link to nothing")),
                to => What::Symlink { to, number: self.opt(Left::number)? },
            },
            4 => What::Fifo { number: self.opt(Left::number)? },
            5 => What::Same { number: self.number()? },
            _ => return Err(bad("an entry of an unknown kind")),
        })
    }

    fn attributes(&mut self) -> io::Result<Attributes> {
        let (mode, uid, gid) = (self.short()?, self.short()?, self.short()?);
        let (changed, count) = (self.moment()?, self.number()?);
        if mode & !Attributes::MODE != 0 || count > ATTRIBUTES as u64 {
            return Err(bad("attributes that are none"));
        }
        let mut all = Vec::new();
        for _ in 0..count {
            let name = CString::new(self.text(NAME_BYTES)?).map_err(|_| bad("a name"))?;
            if !Attributes::is_kept(&name) {
                return Err(bad("an attribute that is the system's"));
            }
            all.push((name, self.text(ATTRIBUTE_BYTES)?));
        }
        Ok(Attributes { mode, uid, gid, changed, all })
    }
}

/// Of what may lie in a directory of a tree; our own rooms are none of it.
fn is_name(name: &[u8]) -> bool {
    let is_bad = matches!(name, b"" | b"." | b"..");
    let is_ours = name == crate::agent::work::snap::place::ROOM.as_bytes();
    !(is_bad || is_ours || name.iter().any(|byte| matches!(byte, b'/' | 0)))
}

#[cfg(test)]
mod tests;
