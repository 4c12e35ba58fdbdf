//! Many datagrams in one call, each with its pinned source address and traffic class. This system
//! has one call for each of them.
//!
//! Control messages and socket addresses are written and read as bytes in the kernel's layout, so
//! that no pointer arithmetic is needed.

use super::sock::{Family, Udp};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams of one call, at most.
pub const BATCH: usize = 64;

const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();
const NAME4_LEN: usize = size_of::<libc::sockaddr_in>();
const CONTROL_LEN: usize = 128;
/// Length, level, type, of 32 bits each; messages stand at multiples of 32 bits.
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
/// netinet6/in6.h: RFC 3542's option.
const IPV6_PKTINFO: i32 = 46;

/// One datagram to send.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub to: SocketAddr,
    /// Address to send from, and the interface to force (0 = routing decides).
    pub from: Option<(IpAddr, u32)>,
    /// The whole traffic class byte.
    pub tos: u8,
    /// Always 0 here: the kernel cuts no runs.
    pub segment: u16,
    pub data: &'a [u8],
}

/// What is known of one received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub from: SocketAddr,
    /// The local address it came to, and the interface.
    pub local: Option<(IpAddr, u32)>,
    pub tos: u8,
    pub len: usize,
    /// Always 0 here: the kernel makes no runs.
    pub segment: usize,
    /// It was longer than its buffer, and the rest is lost.
    pub truncated: bool,
}

/// What the last [`Batch::receive`] brought.
pub struct Batch {
    received: Vec<Option<Received>>,
}

#[repr(C, align(8))]
struct Name([u8; NAME_LEN]);

#[repr(C, align(8))]
struct Room([u8; CONTROL_LEN]);

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    pub fn new() -> Batch {
        Batch { received: Vec::with_capacity(BATCH) }
    }

    /// Receive at most `space.len() / stride` (and [`BATCH`]) datagrams, the i-th into
    /// `space[i * stride..]`. Returns how many; [`Batch::received`] describes them.
    pub fn receive(&mut self, socket: &Udp, space: &mut [u8], stride: usize) -> io::Result<usize> {
        self.received.clear();
        for buf in space.chunks_exact_mut(stride.max(1)).take(BATCH) {
            match receive_one(socket, buf) {
                Ok(received) => self.received.push(received),
                Err(e) if self.received.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(self.received.len())
    }

    /// The `i`-th datagram of the last [`Batch::receive`]; None if its sender cannot be read.
    pub fn received(&self, i: usize) -> Option<Received> {
        *self.received.get(i)?
    }

    /// Send `n` datagrams (at most [`BATCH`]), described by `message`. Returns how many the kernel
    /// took; an error concerns the first one only, the others were not tried.
    /// A destination of the other family than the socket's is `InvalidInput`.
    pub fn send<'a>(
        &mut self,
        socket: &Udp,
        n: usize,
        message: impl Fn(usize) -> Outgoing<'a>,
    ) -> io::Result<usize> {
        for i in 0..n.min(BATCH) {
            match send_one(socket, &message(i)) {
                Ok(()) => {}
                Err(e) if i == 0 => return Err(e),
                Err(_) => return Ok(i),
            }
        }
        Ok(n.min(BATCH))
    }
}

fn receive_one(socket: &Udp, buf: &mut [u8]) -> io::Result<Option<Received>> {
    let (mut name, mut control) = (Name([0; NAME_LEN]), Room([0; CONTROL_LEN]));
    // SAFETY: the zeroed header gets pointers to name, control and buf, which are writable for the
    // lengths given and outlive the call; the kernel says how much of each it filled.
    let (got, header) = unsafe {
        let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = name.0.as_mut_ptr().cast();
        header.msg_namelen = NAME_LEN as libc::socklen_t;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN as libc::socklen_t;
        let fd = socket.as_fd().as_raw_fd();
        (libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT), header)
    };
    let len = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let named = name.0.get(..header.msg_namelen as usize).unwrap_or_default();
    let filled = control.0.get(..header.msg_controllen as usize).unwrap_or_default();
    let (local, tos) = read_control(filled);
    let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
    Ok(read_name(named).map(|from| Received { from, local, tos, len, segment: 0, truncated }))
}

fn send_one(socket: &Udp, m: &Outgoing<'_>) -> io::Result<()> {
    if m.to.is_ipv4() != (socket.family() == Family::V4) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut name, mut control) = (Name([0; NAME_LEN]), Room([0; CONTROL_LEN]));
    let named = write_name(&mut name.0, &m.to);
    let filled = write_control(&mut control.0, m);
    // SAFETY: the zeroed header gets pointers to name, control and data, which are readable for the
    // lengths given and outlive the call; sending only reads.
    let sent = unsafe {
        let base = m.data.as_ptr().cast_mut().cast();
        let mut iov = libc::iovec { iov_base: base, iov_len: m.data.len() };
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = name.0.as_mut_ptr().cast();
        header.msg_namelen = named as libc::socklen_t;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        if filled > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = filled as libc::socklen_t;
        }
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Length, family, port, address: unlike Linux's, the first byte is the length.
fn write_name(out: &mut [u8; NAME_LEN], to: &SocketAddr) -> usize {
    out[2..4].copy_from_slice(&to.port().to_be_bytes());
    let (family, len) = match to {
        SocketAddr::V4(a) => {
            out[4..8].copy_from_slice(&a.ip().octets());
            (libc::AF_INET, NAME4_LEN)
        }
        SocketAddr::V6(a) => {
            out[8..24].copy_from_slice(&a.ip().octets());
            out[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
            (libc::AF_INET6, NAME_LEN)
        }
    };
    out[..2].copy_from_slice(&[len as u8, family as u8]);
    len
}

fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(word(name, 2)?);
    match i32::from(*name.get(1)?) {
        libc::AF_INET => Some(SocketAddr::from((Ipv4Addr::from(word::<4>(name, 4)?), port))),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(word::<16>(name, 8)?);
            let scope = u32::from_ne_bytes(word(name, 24)?);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        }
        _ => None,
    }
}

/// Returns how many bytes are filled.
fn write_control(out: &mut [u8; CONTROL_LEN], m: &Outgoing<'_>) -> usize {
    let mut at = 0;
    match (m.from, m.to.is_ipv4()) {
        (Some((IpAddr::V4(ip), ifindex)), true) => {
            let mut info = [0u8; 12];
            info[..4].copy_from_slice(&ifindex.to_ne_bytes());
            info[4..8].copy_from_slice(&ip.octets());
            at = put_control(out, at, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        (Some((IpAddr::V6(ip), ifindex)), false) => {
            let mut info = [0u8; 20];
            info[..16].copy_from_slice(&ip.octets());
            info[16..].copy_from_slice(&ifindex.to_ne_bytes());
            at = put_control(out, at, libc::IPPROTO_IPV6, IPV6_PKTINFO, &info);
        }
        _ => {}
    }
    if m.tos != 0 {
        let (level, kind) = match m.to.is_ipv4() {
            true => (libc::IPPROTO_IP, libc::IP_TOS),
            false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        at = put_control(out, at, level, kind, &i32::from(m.tos).to_ne_bytes());
    }
    at
}

/// The messages written above need 32 and 16 bytes, so they always fit.
fn put_control(
    out: &mut [u8; CONTROL_LEN],
    at: usize,
    level: i32,
    kind: i32,
    data: &[u8],
) -> usize {
    let len = CONTROL_HEADER + data.len();
    let end = at + len.next_multiple_of(4);
    let Some(room) = out.get_mut(at..end) else { return at };
    room[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    room[4..8].copy_from_slice(&level.to_ne_bytes());
    room[8..CONTROL_HEADER].copy_from_slice(&kind.to_ne_bytes());
    room[CONTROL_HEADER..len].copy_from_slice(data);
    end
}

/// Local address with interface, and traffic class.
fn read_control(mut rest: &[u8]) -> (Option<(IpAddr, u32)>, u8) {
    let (mut local, mut tos) = (None, 0);
    while let Some((level, kind, data, next)) = next_control(rest) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => local = read_info4(data).or(local),
            (libc::IPPROTO_IPV6, IPV6_PKTINFO) => local = read_info6(data).or(local),
            (libc::IPPROTO_IP, libc::IP_RECVTOS) => tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                tos = word(data, 0).map_or(0, i32::from_ne_bytes) as u8;
            }
            _ => {}
        }
        rest = next;
    }
    (local, tos)
}

fn next_control(rest: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(word(rest, 0)?) as usize;
    let level = i32::from_ne_bytes(word(rest, 4)?);
    let kind = i32::from_ne_bytes(word(rest, 8)?);
    let data = rest.get(CONTROL_HEADER..len)?;
    let next = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((level, kind, data, next))
}

fn read_info4(data: &[u8]) -> Option<(IpAddr, u32)> {
    let ifindex = u32::from_ne_bytes(word(data, 0)?);
    Some((Ipv4Addr::from(word::<4>(data, 4)?).into(), ifindex))
}

fn read_info6(data: &[u8]) -> Option<(IpAddr, u32)> {
    let ifindex = u32::from_ne_bytes(word(data, 16)?);
    Some((Ipv6Addr::from(word::<16>(data, 0)?).into(), ifindex))
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
