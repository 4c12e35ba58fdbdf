//! The bytes of a pipe: after a line that says which language this is, frames of a kind, a length
//! of 16 bits, and so many bytes. Whatever else comes is an error, and the end.

use std::fmt;
use std::ops::Range;

/// What each end says first. A login's shell may have said something before it.
pub const HELLO: &[u8] = b"hopbox-datagrams 1\n";
/// Kind and length.
pub const HEADER: usize = 3;
/// The longest datagram that IPv4 has room for.
pub const LONGEST: usize = 65_507;
/// With the ECN field of its IP header in the two low bits.
const DATAGRAM: u8 = 0;
const LAST_DATAGRAM: u8 = DATAGRAM + 3;
const TAKEN: u8 = 4;
const BEAT: u8 = 5;
/// A whole frame, and as much as is read at a time besides.
const ROOM: usize = 160 * 1024;

/// Why a stream is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// More than so many bytes came, and not the hello.
    NoHello(usize),
    /// A frame of a kind that there is none of.
    Kind(u8),
    /// One whose length its kind cannot have.
    Length(u8, usize),
    /// It took more than it was sent.
    Taken,
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::NoHello(bytes) => write!(out, "no hello within {bytes} bytes"),
            Bad::Kind(kind) => write!(out, "a frame of kind {kind}"),
            Bad::Length(kind, len) => write!(out, "a frame of kind {kind} and {len} bytes"),
            Bad::Taken => out.write_str("more was taken than was sent"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Where its bytes are, for [`Reader::bytes`].
    Datagram { ecn: u8, at: Range<usize> },
    /// So many bytes of frames with datagrams were taken since the beginning.
    Taken(u64),
    /// Nothing but that somebody is there.
    Beat,
}

/// At most [`LONGEST`] bytes of them are kept.
pub fn put_datagram(out: &mut Vec<u8>, ecn: u8, bytes: &[u8]) {
    put(out, DATAGRAM | ecn & 3, bytes.get(..LONGEST).unwrap_or(bytes));
}

pub fn put_taken(out: &mut Vec<u8>, total: u64) {
    put(out, TAKEN, &total.to_be_bytes());
}

pub fn put_beat(out: &mut Vec<u8>) {
    put(out, BEAT, &[]);
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Makes frames of what comes.
pub struct Reader {
    buffer: Vec<u8>,
    /// What came and is no frame yet.
    rest: Range<usize>,
    /// Bytes that may come before the hello; `None` after it.
    noise: Option<usize>,
    allowed: usize,
}

impl Reader {
    /// `noise`: so many bytes may come before the hello.
    pub fn new(noise: usize) -> Reader {
        Reader { buffer: vec![0; ROOM], rest: 0..0, noise: Some(noise), allowed: noise }
    }

    /// Whether the hello came.
    pub fn has_begun(&self) -> bool {
        self.noise.is_none()
    }

    /// Where to read to: room for more than a frame, after all frames were taken.
    pub fn room(&mut self) -> &mut [u8] {
        if self.rest.start > 0 {
            self.buffer.copy_within(self.rest.clone(), 0);
            self.rest = 0..self.rest.len();
        }
        self.buffer.get_mut(self.rest.end..).unwrap_or_default()
    }

    /// So many bytes were read there.
    pub fn filled(&mut self, count: usize) {
        self.rest.end = (self.rest.end + count).min(self.buffer.len());
    }

    /// The bytes of a datagram; theirs until the next [`Reader::room`].
    pub fn bytes(&self, at: &Range<usize>) -> &[u8] {
        self.buffer.get(at.clone()).unwrap_or_default()
    }

    /// The next frame, if all of it is there.
    pub fn next(&mut self) -> Result<Option<Frame>, Bad> {
        if !self.find_hello()? {
            return Ok(None);
        }
        let came = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let Some([kind, high, low]) = came.first_chunk::<HEADER>().copied() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let fits = match kind {
            DATAGRAM..=LAST_DATAGRAM => (1..=LONGEST).contains(&len),
            TAKEN => len == size_of::<u64>(),
            BEAT => len == 0,
            _ => return Err(Bad::Kind(kind)),
        };
        if !fits {
            return Err(Bad::Length(kind, len));
        }
        let Some(body) = came.get(HEADER..HEADER + len) else { return Ok(None) };
        let frame = match (kind, body.first_chunk()) {
            (TAKEN, Some(total)) => Frame::Taken(u64::from_be_bytes(*total)),
            (BEAT, _) => Frame::Beat,
            _ => {
                let from = self.rest.start + HEADER;
                Frame::Datagram { ecn: kind & 3, at: from..from + len }
            }
        };
        self.rest.start += HEADER + len;
        Ok(Some(frame))
    }

    /// Skips what comes before the hello, and the hello. False while it has not come.
    fn find_hello(&mut self) -> Result<bool, Bad> {
        let Some(noise) = self.noise else { return Ok(true) };
        let came = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let at = came.windows(HELLO.len()).position(|bytes| bytes == HELLO);
        // Its beginning may be the end of what came.
        let skipped = at.unwrap_or_else(|| came.len().saturating_sub(HELLO.len() - 1));
        let left = noise.checked_sub(skipped).ok_or(Bad::NoHello(self.allowed))?;
        self.rest.start += skipped + if at.is_some() { HELLO.len() } else { 0 };
        self.noise = if at.is_some() { None } else { Some(left) };
        Ok(at.is_some())
    }
}

#[cfg(test)]
mod tests;
