//! Frames: how a run crosses once its connection is no HTTP any more (`Upgrade: hopbox-run`), the
//! same on the way to the agent and between its processes. One byte says what it is, three how long
//! the rest is, most significant first.
//!
//! | kind | from | rest |
//! |---|---|---|
//! | 0 beat | both | nothing: this side lives |
//! | 1 data | both | channel (0 in, 1 out, 2 err), bytes; none: no more will come, or is wanted |
//! | 2 room | who reads | channel, how many bytes more it may be sent (u32) |
//! | 3 signal | laptop | its word, such as `INT` |
//! | 4 size | laptop | columns, rows (u16 each) of its terminal |
//! | 5 end | agent | JSON: `rpc::types::run::Ended`, or a refusal; nothing follows |
//!
//! Nobody sends more of a channel than there is room for, so each side always reads on: a beat, a
//! signal or the end never waits behind what somebody does not read. Each sends a beat where it has
//! sent nothing for 5 s, and takes the other for gone after 60 s without a byte.
//!
//! Bounds: 32 KiB of data in a frame; what is sent into room is 1 MiB a channel at most.

use std::time::Duration;

/// The name of this in HTTP.
pub const PROTOCOL: &str = "hopbox-run";
/// Most that is in one frame beside its head.
pub const REST: usize = 1 + PIECE;
/// Most bytes of a channel in one frame.
pub const PIECE: usize = 32 * 1024;
pub const BEAT: Duration = Duration::from_secs(5);
pub const SILENCE: Duration = Duration::from_secs(60);
/// Room for a channel at its beginning, which the other side counts on.
pub const IN_ROOM: u32 = 256 * 1024;
pub const OUT_ROOM: u32 = 1024 * 1024;
const HEAD: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    In,
    Out,
    Err,
}

impl Channel {
    fn of(byte: u8) -> Option<Channel> {
        [Channel::In, Channel::Out, Channel::Err].into_iter().find(|known| *known as u8 == byte)
    }
}

/// A signal that goes to the other side, by what it means there, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Hangup,
    Quit,
    User1,
    User2,
    Suspend,
    Continue,
}

const SIGNALS: [(Signal, &str); 8] = [
    (Signal::Interrupt, "INT"),
    (Signal::Terminate, "TERM"),
    (Signal::Hangup, "HUP"),
    (Signal::Quit, "QUIT"),
    (Signal::User1, "USR1"),
    (Signal::User2, "USR2"),
    (Signal::Suspend, "TSTP"),
    (Signal::Continue, "CONT"),
];

impl Signal {
    fn word(self) -> &'static str {
        SIGNALS.iter().find(|(known, _)| *known == self).map_or("TERM", |(_, word)| word)
    }

    fn of(word: &[u8]) -> Option<Signal> {
        SIGNALS.iter().find(|(_, known)| known.as_bytes() == word).map(|(signal, _)| *signal)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Beat,
    Data(Channel, Vec<u8>),
    Room(Channel, u32),
    Signal(Signal),
    Size(u16, u16),
    End(Vec<u8>),
}

/// What came is no frame. What follows cannot be read, either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

fn begin(kind: u8, length: usize, into: &mut Vec<u8>) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    into.push(kind);
    into.extend_from_slice(length.get(1..).unwrap_or_default());
}

/// At most [`PIECE`] bytes.
pub fn put_data(channel: Channel, bytes: &[u8], into: &mut Vec<u8>) {
    begin(1, 1 + bytes.len(), into);
    into.push(channel as u8);
    into.extend_from_slice(bytes);
}

impl Frame {
    pub fn put(&self, into: &mut Vec<u8>) {
        match self {
            Frame::Beat => begin(0, 0, into),
            Frame::Data(channel, bytes) => put_data(*channel, bytes, into),
            Frame::Room(channel, more) => {
                begin(2, 5, into);
                into.push(*channel as u8);
                into.extend_from_slice(&more.to_be_bytes());
            }
            Frame::Signal(signal) => {
                let word = signal.word().as_bytes();
                begin(3, word.len(), into);
                into.extend_from_slice(word);
            }
            Frame::Size(columns, rows) => {
                begin(4, 4, into);
                into.extend_from_slice(&columns.to_be_bytes());
                into.extend_from_slice(&rows.to_be_bytes());
            }
            Frame::End(json) => {
                begin(5, json.len(), into);
                into.extend_from_slice(json);
            }
        }
    }

    /// `None` for a kind of a later version.
    fn of(kind: u8, rest: &[u8]) -> Result<Option<Frame>, Garbled> {
        let frame = match kind {
            0 => Frame::Beat,
            1 => {
                let (channel, bytes) = rest.split_first().ok_or(Garbled)?;
                Frame::Data(Channel::of(*channel).ok_or(Garbled)?, bytes.to_vec())
            }
            2 => {
                let (channel, more) = rest.split_first().ok_or(Garbled)?;
                let more = more.try_into().map_err(|_| Garbled)?;
                Frame::Room(Channel::of(*channel).ok_or(Garbled)?, u32::from_be_bytes(more))
            }
            // One of a later version is none of ours.
            3 => return Ok(Signal::of(rest).map(Frame::Signal)),
            4 => match *rest {
                [a, b, c, d] => Frame::Size(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
                _ => return Err(Garbled),
            },
            5 => Frame::End(rest.to_vec()),
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }
}

/// Frames out of what has come.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    at: usize,
}

impl Inbox {
    pub fn add(&mut self, bytes: &[u8]) {
        // What was taken is dropped once for all that comes at a time.
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    pub fn take(&mut self) -> Result<Option<Frame>, Garbled> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some((head, rest)) = rest.split_at_checked(HEAD) else { return Ok(None) };
            let [kind, a, b, c] = *head else { return Ok(None) };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > REST {
                return Err(Garbled);
            }
            let Some(rest) = rest.get(..length) else { return Ok(None) };
            let frame = Frame::of(kind, rest)?;
            self.at += HEAD + length;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Frame> {
        vec![
            Frame::Beat,
            Frame::Data(Channel::In, Vec::new()),
            Frame::Data(Channel::Err, (0..=255).collect()),
            Frame::Data(Channel::Out, vec![7; PIECE]),
            Frame::Room(Channel::Out, u32::MAX),
            Frame::Signal(Signal::Continue),
            Frame::Size(211, 0),
            Frame::End(b"{}".to_vec()),
        ]
    }

    #[test]
    fn frames_are_the_same_in_single_bytes() {
        let mut bytes = Vec::new();
        every().iter().for_each(|frame| frame.put(&mut bytes));
        for step in [1, 3, 1000, bytes.len()] {
            let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
            for piece in bytes.chunks(step) {
                inbox.add(piece);
                while let Some(frame) = inbox.take().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, every(), "{step}");
            assert_eq!(inbox.at, inbox.bytes.len());
        }
    }

    #[test]
    fn what_is_no_frame_is_said_to_be_none() {
        let first = |bytes: &[u8]| {
            let mut inbox = Inbox::default();
            inbox.add(bytes);
            inbox.take()
        };
        for bad in [
            &[1, 0, 0, 0][..],
            &[1, 0, 0, 1, 3],
            &[2, 0, 0, 1, 0],
            &[2, 0, 0, 5, 9, 0, 0, 0, 0],
            &[4, 0, 0, 3, 0, 0, 0],
            &[0, 0xff, 0xff, 0xff],
            b"HTTP/1.1 200 OK",
        ] {
            assert_eq!(first(bad), Err(Garbled), "{bad:?}");
        }
        // Of a later version: a kind, a signal.
        for skipped in [&[9, 0, 0, 2, 1, 2, 0, 0, 0, 0][..], b"\x03\0\0\x02XY\0\0\0\0"] {
            assert_eq!(first(skipped), Ok(Some(Frame::Beat)));
        }
        assert_eq!(first(&[1, 0, 0]), Ok(None));
    }
}
