//! Netlink, of routing and of nf_tables: messages built and taken apart by hand, one exchange at a
//! time.
//!
//! What the kernel sends is parsed as if it were hostile: nothing is indexed, a length that does
//! not fit ends the walk, and only datagrams from port id 0 with the sequence number of our
//! request count. Must not know: devices of ours, leases, pools.

use crate::sys;
use libc::c_int;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Longest that one exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(2);
/// Most datagrams and most records of one dump.
const DATAGRAMS_MAX: usize = 8192;
const RECORDS_MAX: usize = 65_536;
/// The kernel fills at most 32 KiB per datagram of a dump.
const DATAGRAM_BYTES: usize = 65_536;
/// How often a dump is asked for again because the tables changed under it.
const DUMP_TRIES: usize = 4;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const ATTR_TYPE: u16 = 0x3fff;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;
const DUMP_INTR: u16 = 0x10;

/// What follows the netlink header of a request, under construction.
#[derive(Clone)]
pub struct Message(Vec<u8>);

impl Message {
    /// `head` is the fixed struct of the message type (ifinfomsg, ifaddrmsg, rtmsg).
    pub fn new(head: &[u8]) -> Message {
        Message(head.to_vec())
    }

    /// The same from words of 32 bits; without any, a list of attributes alone.
    pub fn of(words: &[u32]) -> Message {
        Message(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    pub fn attr(mut self, kind: u16, value: &[u8]) -> Message {
        let len = (value.len() + 4) as u16;
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute that holds attributes.
    pub fn nest(self, kind: u16, inner: Message) -> Message {
        self.attr(kind | NESTED, &inner.0)
    }

    fn finish(self, kind: u16, flags: u16, seq: u32) -> Vec<u8> {
        let len = (HEADER + self.0.len()) as u32;
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(seq.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.0);
        bytes
    }
}

/// One message of an answer: its type and what follows the netlink header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: u16,
    pub body: Vec<u8>,
}

impl Record {
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.body.get(at).copied()
    }

    pub fn u32(&self, at: usize) -> Option<u32> {
        u32_at(&self.body, at)
    }

    /// The attribute `kind` behind a fixed struct of `head` bytes.
    pub fn attr(&self, head: usize, kind: u16) -> Option<&[u8]> {
        attr(self.body.get(head..)?, kind)
    }
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first attribute `kind` in a run of attributes.
pub fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = bytes;
    // Each turn takes at least the four bytes of an attribute's header.
    while let (Some(len), Some(found)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let value = rest.get(4..usize::from(len))?;
        if found & ATTR_TYPE == kind {
            return Some(value);
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..)?;
    }
    None
}

/// What one request has brought so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    records: Vec<Record>,
    /// The tables changed during the dump: the records are not one consistent picture.
    interrupted: bool,
}

/// Takes one datagram of the answer to request `seq` apart; true when the answer is complete.
fn take(datagram: &[u8], seq: u32, answer: &mut Answer) -> io::Result<bool> {
    let mut rest = datagram;
    // Each turn takes at least the sixteen bytes of a message's header.
    while let (Some(len), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let Some(body) = rest.get(HEADER..len as usize) else {
            return Err(io::Error::other("the kernel's answer is cut short"));
        };
        let (flags, theirs) = (u16_at(rest, 6).unwrap_or(0), u32_at(rest, 8));
        rest = rest.get((len as usize).next_multiple_of(4)..).unwrap_or_default();
        if theirs != Some(seq) {
            continue;
        }
        answer.interrupted |= flags & DUMP_INTR != 0;
        match libc::c_int::from(kind) {
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                return match u32_at(body, 0).map_or(0, |code| (code as i32).saturating_neg()) {
                    0 => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
            libc::NLMSG_NOOP => {}
            libc::NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            _ if answer.records.len() >= RECORDS_MAX => {
                return Err(io::Error::other("the kernel's tables are too long"));
            }
            _ => answer.records.push(Record { kind, body: body.to_vec() }),
        }
    }
    Ok(false)
}

/// A netlink socket. Its namespace is the one that the process was started in.
pub struct Netlink {
    socket: UnixDatagram,
    seq: u32,
}

impl Netlink {
    /// Of one of the NETLINK_* protocols.
    pub fn open(protocol: c_int) -> io::Result<Netlink> {
        // Of the calls that std has for sockets; none of them looks at addresses.
        let socket = UnixDatagram::from(sys::netlink(protocol, 0)?);
        socket.set_read_timeout(Some(EXCHANGE_MAX))?;
        socket.set_write_timeout(Some(EXCHANGE_MAX))?;
        Ok(Netlink { socket, seq: 0 })
    }

    /// See `sys::netns_cookie`.
    pub fn netns_cookie(&self) -> io::Result<Option<u64>> {
        sys::netns_cookie(self.socket.as_fd())
    }

    /// Sends a request that changes or gets one thing; the kernel's refusal is an OS error.
    pub fn request(&mut self, kind: u16, flags: u16, message: Message) -> io::Result<Vec<Record>> {
        // With ACK every request has an end that can be waited for.
        Ok(self.exchange(kind, flags | ACK, message)?.records)
    }

    /// Sends messages (type, flags, content) that the kernel does together or not at all.
    pub fn batch(&mut self, messages: &[(u16, u16, Message)]) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        // All have one number, and only the last one is confirmed: then all of them are done.
        let last = messages.len().saturating_sub(2);
        let one = |(at, (kind, flags, message)): (usize, &(u16, u16, Message))| {
            let ack = if at == last { ACK } else { 0 };
            message.clone().finish(*kind, flags | ack | REQUEST, self.seq)
        };
        let bytes: Vec<u8> = messages.iter().enumerate().flat_map(one).collect();
        self.converse(&bytes).map(|_| ())
    }

    /// Asks for a table, again when it changed meanwhile.
    pub fn dump(&mut self, kind: u16, message: Message) -> io::Result<Vec<Record>> {
        for _ in 0..DUMP_TRIES {
            let answer = self.exchange(kind, DUMP, message.clone())?;
            if !answer.interrupted {
                return Ok(answer.records);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn exchange(&mut self, kind: u16, flags: u16, message: Message) -> io::Result<Answer> {
        self.seq = self.seq.wrapping_add(1);
        self.converse(&message.finish(kind, flags | REQUEST, self.seq))
    }

    /// Sends bytes that carry our number, and waits for the end of the answer.
    fn converse(&self, bytes: &[u8]) -> io::Result<Answer> {
        let started = Instant::now();
        if self.socket.send(bytes)? != bytes.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        let mut answer = Answer::default();
        let mut buf = vec![0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_MAX {
            if started.elapsed() > EXCHANGE_MAX {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            let (len, from) = sys::netlink_receive(self.socket.as_fd(), &mut buf)?;
            let Some(datagram) = buf.get(..len) else {
                return Err(io::Error::other("the kernel's answer is cut short"));
            };
            // Any process may send to a netlink port; only the kernel has port id 0.
            if from == 0 && take(datagram, self.seq, &mut answer)? {
                return Ok(answer);
            }
        }
        Err(io::Error::other("the kernel's answer does not end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
        Message(body.to_vec()).finish(kind, flags, seq)
    }

    fn taken(datagram: &[u8]) -> (Result<bool, Option<i32>>, Answer) {
        let mut answer = Answer::default();
        let done = take(datagram, 7, &mut answer).map_err(|e| e.raw_os_error());
        (done, answer)
    }

    #[test]
    fn an_answer_ends_with_done_or_error() {
        let done = message(libc::NLMSG_DONE as u16, 0, 7, &[0; 4]);
        assert_eq!(taken(&done).0, Ok(true));
        let refused = message(libc::NLMSG_ERROR as u16, 0, 7, &(-libc::EEXIST).to_ne_bytes());
        assert_eq!(taken(&refused).0, Err(Some(libc::EEXIST)));
        let failed = message(libc::NLMSG_DONE as u16, 0, 7, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(taken(&failed).0, Err(Some(libc::EPERM)));
        let worst = message(libc::NLMSG_ERROR as u16, 0, 7, &i32::MIN.to_ne_bytes());
        assert!(taken(&worst).0.is_err());
    }

    #[test]
    fn only_our_sequence_number_counts() {
        let mut datagram = message(16, 0, 6, b"not ours");
        datagram.extend(message(libc::NLMSG_ERROR as u16, 0, 8, &(-1_i32).to_ne_bytes()));
        datagram.extend(message(16, DUMP_INTR, 7, b"ours"));
        let (done, answer) = taken(&datagram);
        assert_eq!(done, Ok(false));
        assert_eq!(answer.records, [Record { kind: 16, body: b"ours".to_vec() }]);
        assert!(answer.interrupted);
    }

    #[test]
    fn lengths_that_do_not_fit_are_an_error_not_a_panic() {
        let whole = message(16, 0, 7, &[1; 20]);
        for cut in 0..whole.len() {
            let (done, answer) = taken(&whole[..cut]);
            assert!(answer.records.is_empty() && done != Ok(true), "{cut}");
        }
        for len in [0_u32, 1, 15, 37, u32::MAX] {
            let mut bad = whole.clone();
            bad[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(taken(&bad).0.is_err(), "{len}");
        }
    }

    #[test]
    fn attributes_are_found_or_not() {
        let built = Message(Vec::new())
            .attr(1, b"abc")
            .nest(2, Message::of(&[]).attr(5, &[9]).attr(6, &7_u32.to_ne_bytes()))
            .attr(3, b"");
        let bytes = &built.0;
        assert_eq!(attr(bytes, 1), Some(&b"abc"[..]));
        assert_eq!(attr(bytes, 3), Some(&b""[..]));
        assert_eq!(attr(bytes, 4), None);
        let inner = attr(bytes, 2).unwrap();
        assert_eq!(attr(inner, 6).and_then(|v| u32_at(v, 0)), Some(7));
        for cut in 0..bytes.len() {
            let _ = (attr(&bytes[..cut], 3), attr(&bytes[..cut], 2));
        }
        // A length below its own header must not loop.
        assert_eq!(attr(&[0, 0, 9, 0, 4, 0, 1, 0], 1), None);
    }

    #[test]
    fn garbage_never_panics() {
        let mut state = 1_u64;
        for _ in 0..100_000 {
            let mut bytes = message(16, 0, 7, &[0; 48]);
            for _ in 0..4 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            bytes.truncate((state >> 40) as usize % 80);
            let (_, answer) = taken(&bytes);
            for record in answer.records {
                let _ = (record.attr(16, 3), record.u32(4), record.attr(99, 1));
            }
        }
    }
}
