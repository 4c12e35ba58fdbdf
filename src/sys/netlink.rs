//! Link, address and route changes, as rtnetlink tells them. Listens only, asks nothing.

use super::ioctl;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Messages taken from the socket in one go; what is left makes the next poll return at once.
const READS: usize = 16;
const BUFFER_BYTES: usize = 32 * 1024;

const HEADER_LEN: usize = 16;
const LINK_BODY_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;
const IFF_UP: u32 = 1;

/// What happened to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link exists, or something about it changed.
    Link { index: u32, name: Option<String>, up: bool, mtu: Option<u32> },
    /// A link left this network namespace: deleted, or moved to another one.
    LinkGone { index: u32 },
    /// An address or a route came or went.
    PathChanged,
    /// The kernel dropped messages: any of the above may have happened.
    Lost,
}

/// Readable when something changed in the network namespace it was opened in.
pub struct Monitor {
    socket: File,
    buffer: Box<[u8]>,
}

impl Monitor {
    pub fn open() -> io::Result<Monitor> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Monitor { socket: File::from(fd), buffer: vec![0; BUFFER_BYTES].into() })
    }

    /// Append what happened since; returns after a bounded number of messages.
    pub fn read(&mut self, out: &mut Vec<Event>) {
        for _ in 0..READS {
            match self.socket.read(&mut self.buffer) {
                // Only the kernel, or who has CAP_NET_ADMIN here, can send to this socket.
                Ok(n) if n > 0 => parse(self.buffer.get(..n).unwrap_or_default(), out),
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

/// Stops at the first message that does not fit: nothing after it can be trusted.
fn parse(mut rest: &[u8], out: &mut Vec<Event>) {
    while let Some((message, next)) = split(rest, u32_at(rest, 0), HEADER_LEN) {
        let kind =
            message.get(4..6).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_ne_bytes(*b));
        let body = message.get(HEADER_LEN..).unwrap_or_default();
        match kind {
            libc::RTM_NEWLINK => out.extend(link(body)),
            libc::RTM_DELLINK => out.extend(u32_at(body, 4).map(|index| Event::LinkGone { index })),
            libc::RTM_NEWADDR | libc::RTM_DELADDR | libc::RTM_NEWROUTE | libc::RTM_DELROUTE
                // A burst of them is one fact.
                if out.last() != Some(&Event::PathChanged) =>
            {
                out.push(Event::PathChanged);
            }
            _ => {}
        }
        rest = next;
    }
}

fn link(body: &[u8]) -> Option<Event> {
    let index = u32_at(body, 4)?;
    let up = u32_at(body, 8)? & IFF_UP != 0;
    let (mut name, mut mtu) = (None, None);
    let mut rest = body.get(LINK_BODY_LEN..)?;
    let length = |b: &[u8]| Some(u32::from(u16::from_ne_bytes(*b.first_chunk()?)));
    while let Some((attribute, next)) = split(rest, length(rest), ATTRIBUTE_LEN) {
        let kind = attribute.get(2..4)?.first_chunk().map_or(0, |b| u16::from_ne_bytes(*b));
        let value = attribute.get(ATTRIBUTE_LEN..)?;
        match kind {
            libc::IFLA_IFNAME => {
                let text = value.split(|b| *b == 0).next().unwrap_or_default();
                name = Some(String::from_utf8_lossy(text).into_owned());
            }
            libc::IFLA_MTU => mtu = u32_at(value, 0),
            _ => {}
        }
        rest = next;
    }
    Some(Event::Link { index, name, up, mtu })
}

/// The first `len` bytes, and what follows their 4-byte alignment. None if `len` lies.
pub(super) fn split(rest: &[u8], len: Option<u32>, least: usize) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(len?).ok().filter(|l| *l >= least)?;
    let first = rest.get(..len)?;
    Some((first, rest.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_link(name: &[u8], mtu: u32) -> Vec<u8> {
        let mut attributes = Vec::new();
        for (kind, value) in [(libc::IFLA_IFNAME, name), (libc::IFLA_MTU, &mtu.to_ne_bytes()[..])] {
            attributes.extend(((ATTRIBUTE_LEN + value.len()) as u16).to_ne_bytes());
            attributes.extend(kind.to_ne_bytes());
            attributes.extend(value);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        }
        let mut m = Vec::new();
        m.extend(((HEADER_LEN + LINK_BODY_LEN + attributes.len()) as u32).to_ne_bytes());
        m.extend(libc::RTM_NEWLINK.to_ne_bytes());
        m.extend([0; 10]);
        m.extend([0; 4]);
        m.extend(7u32.to_ne_bytes());
        m.extend(IFF_UP.to_ne_bytes());
        m.extend([0; 4]);
        m.extend(attributes);
        m
    }

    #[test]
    fn a_link_message_is_read() {
        let mut out = Vec::new();
        let mut two = new_link(b"wg0\0", 1420);
        two.extend(new_link(b"x\0", 9000));
        parse(&two, &mut out);
        assert_eq!(out.len(), 2);
        let want = Event::Link { index: 7, name: Some("wg0".into()), up: true, mtu: Some(1420) };
        assert_eq!(out[0], want);
    }

    #[test]
    fn no_truncation_and_no_flip_breaks_the_parser() {
        let good = new_link(b"wg0\0", 1420);
        let mut out = Vec::new();
        for n in 0..good.len() {
            parse(&good[..n], &mut out);
        }
        assert!(out.is_empty());
        for i in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[i] ^= 1 << bit;
                parse(&bad, &mut out);
            }
        }
    }
}
