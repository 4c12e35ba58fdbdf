//! The layouts of the three messages of a handshake (paper §5.4): checked views for reading, plain
//! structs for writing. The fourth message is the session's.
//!
//! Sizes are checked once, at the door ([`Message::parse`]); nothing after it can fail
//! (R01, R02, R03, R08).

use super::consts::*;
use super::tai64n::TAI64N_LEN;

pub const MAC_LEN: usize = 16;
const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;
const COOKIE: u32 = 3;

/// Is this an initiation, a response or a cookie reply, by its first four bytes and its length
/// alone? It may wait behind data, and costs public-key work (R01, R02).
pub fn is_handshake(datagram: &[u8]) -> bool {
    let word = datagram.first_chunk().map(|w| u32::from_le_bytes(*w));
    matches!(
        (word, datagram.len()),
        (Some(INITIATION), INITIATION_LEN)
            | (Some(RESPONSE), RESPONSE_LEN)
            | (Some(COOKIE), COOKIE_LEN)
    )
}

pub struct Initiation {
    pub sender: u32,
    pub ephemeral: [u8; 32],
    /// Sealed static key and its tag.
    pub static_key: [u8; 32 + TAG_LEN],
    /// Sealed timestamp and its tag.
    pub timestamp: [u8; TAI64N_LEN + TAG_LEN],
}

pub struct Response {
    pub sender: u32,
    pub receiver: u32,
    pub ephemeral: [u8; 32],
    pub empty: [u8; TAG_LEN],
}

pub struct CookieReply {
    pub receiver: u32,
    pub nonce: [u8; 24],
    pub cookie: [u8; 16 + TAG_LEN],
}

/// A datagram of the right size and type.
pub enum Message {
    Initiation(Initiation),
    Response(Response),
    Cookie(CookieReply),
}

impl Message {
    /// `None` for everything that is not exactly one of the three (R01, R02).
    pub fn parse(datagram: &[u8]) -> Option<Message> {
        if !is_handshake(datagram) {
            return None;
        }
        let mut r = Reader(datagram);
        Some(match u32::from_le_bytes(r.take()?) {
            INITIATION => Message::Initiation(Initiation {
                sender: u32::from_le_bytes(r.take()?),
                ephemeral: r.take()?,
                static_key: r.take()?,
                timestamp: r.take()?,
            }),
            RESPONSE => Message::Response(Response {
                sender: u32::from_le_bytes(r.take()?),
                receiver: u32::from_le_bytes(r.take()?),
                ephemeral: r.take()?,
                empty: r.take()?,
            }),
            _ => Message::Cookie(CookieReply {
                receiver: u32::from_le_bytes(r.take()?),
                nonce: r.take()?,
                cookie: r.take()?,
            }),
        })
    }
}

/// The two MACs that end an initiation and a response.
pub struct Macs<'a> {
    /// What mac1 covers.
    pub body: &'a [u8],
    /// What mac2 covers: the body and mac1.
    pub with_mac1: &'a [u8],
    pub mac1: [u8; MAC_LEN],
    pub mac2: [u8; MAC_LEN],
}

impl Macs<'_> {
    /// `None` only for a datagram shorter than two MACs.
    pub fn of(datagram: &[u8]) -> Option<Macs<'_>> {
        let (with_mac1, mac2) = datagram.split_last_chunk::<MAC_LEN>()?;
        let (body, mac1) = with_mac1.split_last_chunk::<MAC_LEN>()?;
        Some(Macs { body, with_mac1, mac1: *mac1, mac2: *mac2 })
    }
}

impl Initiation {
    /// The message with both MACs zero.
    pub fn write(&self) -> [u8; INITIATION_LEN] {
        let mut w = Writer::new(INITIATION);
        w.put(&self.sender.to_le_bytes());
        w.put(&self.ephemeral);
        w.put(&self.static_key);
        w.put(&self.timestamp);
        w.out
    }
}

impl Response {
    /// The message with both MACs zero.
    pub fn write(&self) -> [u8; RESPONSE_LEN] {
        let mut w = Writer::new(RESPONSE);
        w.put(&self.sender.to_le_bytes());
        w.put(&self.receiver.to_le_bytes());
        w.put(&self.ephemeral);
        w.put(&self.empty);
        w.out
    }
}

impl CookieReply {
    pub fn write(&self) -> [u8; COOKIE_LEN] {
        let mut w = Writer::new(COOKIE);
        w.put(&self.receiver.to_le_bytes());
        w.put(&self.nonce);
        w.put(&self.cookie);
        w.out
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

/// Fills a message of fixed size from the front; what is not put stays zero.
struct Writer<const N: usize> {
    out: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn new(kind: u32) -> Writer<N> {
        let mut w = Writer { out: [0; N], at: 0 };
        w.put(&kind.to_le_bytes());
        w
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        assert!(end <= N, "message layouts are fixed");
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_exact_sizes() {
        // R01 R02: every length from 0 to 200 with every first word that matters.
        for word in [0u32, 1, 2, 3, 4, 5, 255, 256 + 1, (1 << 24) + 4, u32::MAX] {
            for len in 0..200 {
                let mut d = vec![0xa5; len];
                for (d, w) in d.iter_mut().zip(word.to_le_bytes()) {
                    *d = w;
                }
                let want = matches!((word, len), (1, 148) | (2, 92) | (3, 64));
                assert_eq!(is_handshake(&d), want, "type {word} length {len}");
                assert_eq!(Message::parse(&d).is_some(), want);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        // R03
        let m = Initiation {
            sender: 0x0403_0201,
            ephemeral: [7; 32],
            static_key: [8; 48],
            timestamp: [9; 28],
        };
        let d = m.write();
        assert_eq!(d[..8], [1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(d[116..], [0; 32]);
        let Some(Message::Initiation(back)) = Message::parse(&d) else { panic!("type") };
        assert_eq!((back.sender, back.ephemeral), (m.sender, m.ephemeral));
        assert_eq!((back.static_key, back.timestamp), (m.static_key, m.timestamp));
    }
}
