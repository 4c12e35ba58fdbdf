//! Link, address and route changes, as the routing socket tells them. Listens only, asks nothing.

use super::ioctl;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Messages taken from the socket in one go; what is left makes the next poll return at once.
const READS: usize = 16;
const BUFFER_BYTES: usize = 2048;
const RTM_VERSION: u8 = 5;
/// Offsets in struct if_msghdr (net/if.h).
const FLAGS_AT: usize = 8;
const INDEX_AT: usize = 12;
const MTU_AT: usize = 24;

/// What happened to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link exists, or something about it changed.
    Link { index: u32, name: Option<String>, up: bool, mtu: Option<u32> },
    /// A link left the machine. Never told here: the last address of a link goes with it.
    LinkGone { index: u32 },
    /// An address or a route came or went.
    PathChanged,
    /// The kernel dropped messages: any of the above may have happened.
    Lost,
}

/// Readable when something changed.
pub struct Monitor {
    socket: File,
    buffer: Box<[u8]>,
}

impl Monitor {
    pub fn open() -> io::Result<Monitor> {
        // SAFETY: takes three numbers.
        let fd = unsafe { libc::socket(libc::PF_ROUTE, libc::SOCK_RAW, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        super::fd::own(fd.as_fd())?;
        Ok(Monitor { socket: File::from(fd), buffer: vec![0; BUFFER_BYTES].into() })
    }

    /// Append what happened since; returns after a bounded number of messages.
    pub fn read(&mut self, out: &mut Vec<Event>) {
        for _ in 0..READS {
            match self.socket.read(&mut self.buffer) {
                Ok(n) if n > 0 => out.extend(
                    // A burst of them is one fact.
                    parse(self.buffer.get(..n).unwrap_or_default())
                        .filter(|e| *e != Event::PathChanged || out.last() != Some(e)),
                ),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => out.push(Event::Lost),
                _ => return,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// State of one interface, for callers that need it before the first event.
pub fn link_mtu(name: &str) -> Option<u32> {
    ioctl::mtu(name).ok()
}

/// One message is one read.
fn parse(message: &[u8]) -> Option<Event> {
    let kind = i32::from(*message.get(3)?);
    if message.get(2) != Some(&RTM_VERSION) {
        return None;
    }
    match kind {
        libc::RTM_IFINFO => {
            let index = u16::from_ne_bytes(*message.get(INDEX_AT..)?.first_chunk()?).into();
            let word = |at: usize| message.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b));
            let up = word(FLAGS_AT)? & libc::IFF_UP as u32 != 0;
            Some(Event::Link { index, name: None, up, mtu: word(MTU_AT) })
        }
        libc::RTM_NEWADDR
        | libc::RTM_DELADDR
        | libc::RTM_ADD
        | libc::RTM_DELETE
        | libc::RTM_CHANGE => Some(Event::PathChanged),
        _ => None,
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(libc::if_msghdr, ifm_flags) == FLAGS_AT);
    assert!(offset_of!(libc::if_msghdr, ifm_index) == INDEX_AT);
    let data = offset_of!(libc::if_msghdr, ifm_data);
    assert!(data + offset_of!(libc::if_data, ifi_mtu) == MTU_AT);
    assert!(libc::RTM_VERSION == RTM_VERSION as i32);
};
