//! Many datagrams in one system call, each with its pinned source address and traffic class, and
//! each perhaps a run of datagrams of equal length that the kernel cuts up (UDP_SEGMENT) or has put
//! together (UDP_GRO).
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
/// Room for a packet info, a traffic class and a segment size, with their headers.
const CONTROL_LEN: usize = 128;
const WORD: usize = size_of::<usize>();
/// Length (a word), level, type: the kernel's `struct cmsghdr`.
const CONTROL_HEADER: usize = WORD + 8;

/// One datagram to send.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub to: SocketAddr,
    /// Address to send from, and the interface to force (0 = routing decides).
    pub from: Option<(IpAddr, u32)>,
    /// The whole traffic class byte.
    pub tos: u8,
    /// `data` is a run of datagrams of this length, the last perhaps shorter; 0 for one datagram.
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
    /// It is a run of datagrams of this length, the last perhaps shorter; 0 for one datagram.
    pub segment: usize,
    /// It was longer than its buffer, and the rest is lost.
    pub truncated: bool,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([u8; NAME_LEN]);

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Room([u8; CONTROL_LEN]);

/// The kernel's view of a batch, kept to be filled again.
pub struct Batch {
    names: [Name; BATCH],
    controls: [Room; BATCH],
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

// SAFETY: the pointers inside are set at the start of each call that uses them, to memory that is
// borrowed for that call, and never followed by our code.
unsafe impl Send for Batch {}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            names: [Name([0; NAME_LEN]); BATCH],
            controls: [Room([0; CONTROL_LEN]); BATCH],
            vectors: [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH],
            // SAFETY: mmsghdr is plain data of the C library; all zero is its empty value.
            headers: unsafe { std::mem::zeroed() },
        }
    }

    /// Receive at most `space.len() / stride` (and [`BATCH`]) datagrams, the i-th into
    /// `space[i * stride..]`. Returns how many; [`Batch::received`] describes them.
    pub fn receive(&mut self, socket: &Udp, space: &mut [u8], stride: usize) -> io::Result<usize> {
        let mut n = 0;
        for (i, buf) in space.chunks_exact_mut(stride.max(1)).take(BATCH).enumerate() {
            self.vectors[i] = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
            self.set_header(i, NAME_LEN, CONTROL_LEN);
            n = i + 1;
        }
        let fd = socket.as_fd().as_raw_fd();
        let headers = self.headers.as_mut_ptr();
        // SAFETY: the first `n` headers point to names, controls and vectors of `self` and to
        // disjoint parts of `space`; all of them outlive the call. No timeout is passed.
        let got = unsafe {
            libc::recvmmsg(fd, headers, n as _, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// The `i`-th datagram of the last [`Batch::receive`]; None if its sender cannot be read.
    pub fn received(&self, i: usize) -> Option<Received> {
        let header = self.headers.get(i)?;
        let named = (header.msg_hdr.msg_namelen as usize).min(NAME_LEN);
        let from = read_name(self.names.get(i)?.0.get(..named)?)?;
        #[allow(clippy::unnecessary_cast)] // musl has it as u32
        let filled = (header.msg_hdr.msg_controllen as usize).min(CONTROL_LEN);
        let facts = read_control(self.controls.get(i)?.0.get(..filled)?);
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let len = header.msg_len as usize;
        let Control { local, tos, segment } = facts;
        Some(Received { from, local, tos, len, segment, truncated })
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
        let n = n.min(BATCH);
        for i in 0..n {
            let m = message(i);
            if m.to.is_ipv4() != (socket.family() == Family::V4) {
                return if i == 0 {
                    Err(io::ErrorKind::InvalidInput.into())
                } else {
                    self.push(socket, i)
                };
            }
            let named = write_name(&mut self.names[i].0, &m.to);
            let filled = write_control(&mut self.controls[i].0, &m);
            let base = m.data.as_ptr().cast_mut().cast();
            self.vectors[i] = libc::iovec { iov_base: base, iov_len: m.data.len() };
            self.set_header(i, named, filled);
        }
        self.push(socket, n)
    }

    fn push(&mut self, socket: &Udp, n: usize) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the first `n` headers point to names, controls and vectors of `self` and to the
        // data slices that the caller of `send` lent for its whole duration; sending only reads.
        let sent = unsafe {
            libc::sendmmsg(fd, self.headers.as_mut_ptr(), n as _, libc::MSG_DONTWAIT as _)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// `i < BATCH`: both callers count within it.
    fn set_header(&mut self, i: usize, named: usize, filled: usize) {
        let h = &mut self.headers[i];
        h.msg_len = 0;
        h.msg_hdr.msg_name = self.names[i].0.as_mut_ptr().cast();
        h.msg_hdr.msg_namelen = named as _;
        h.msg_hdr.msg_iov = &raw mut self.vectors[i];
        h.msg_hdr.msg_iovlen = 1;
        h.msg_hdr.msg_control = self.controls[i].0.as_mut_ptr().cast();
        h.msg_hdr.msg_controllen = filled as _;
        if filled == 0 {
            h.msg_hdr.msg_control = std::ptr::null_mut();
        }
        h.msg_hdr.msg_flags = 0;
    }
}

fn write_name(out: &mut [u8; NAME_LEN], to: &SocketAddr) -> usize {
    out.fill(0);
    out[2..4].copy_from_slice(&to.port().to_be_bytes());
    match to {
        SocketAddr::V4(a) => {
            out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[4..8].copy_from_slice(&a.ip().octets());
            NAME4_LEN
        }
        SocketAddr::V6(a) => {
            out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out[8..24].copy_from_slice(&a.ip().octets());
            out[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
            NAME_LEN
        }
    }
}

fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(word(name, 0)?));
    let port = u16::from_be_bytes(word(name, 2)?);
    if family == libc::AF_INET {
        return Some(SocketAddr::from((Ipv4Addr::from(word::<4>(name, 4)?), port)));
    }
    if family != libc::AF_INET6 {
        return None;
    }
    let ip = Ipv6Addr::from(word::<16>(name, 8)?);
    let scope = u32::from_ne_bytes(word(name, 24)?);
    Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
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
            at = put_control(out, at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
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
    if m.segment != 0 {
        at = put_control(out, at, libc::SOL_UDP, libc::UDP_SEGMENT, &m.segment.to_ne_bytes());
    }
    at
}

/// The messages written above need 36 + 4, 24 and 24 bytes, so they always fit.
fn put_control(
    out: &mut [u8; CONTROL_LEN],
    at: usize,
    level: i32,
    kind: i32,
    data: &[u8],
) -> usize {
    let len = CONTROL_HEADER + data.len();
    let end = at + len.next_multiple_of(WORD);
    let Some(room) = out.get_mut(at..end) else { return at };
    room.fill(0);
    room[..WORD].copy_from_slice(&len.to_ne_bytes());
    room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    room[WORD + 4..CONTROL_HEADER].copy_from_slice(&kind.to_ne_bytes());
    room[CONTROL_HEADER..len].copy_from_slice(data);
    end
}

/// What control messages tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Control {
    /// Local address with interface.
    local: Option<(IpAddr, u32)>,
    tos: u8,
    segment: usize,
}

fn read_control(mut rest: &[u8]) -> Control {
    let mut facts = Control::default();
    while let Some((level, kind, data, next)) = next_control(rest) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => facts.local = read_info4(data).or(facts.local),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                facts.local = read_info6(data).or(facts.local);
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => facts.tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => facts.tos = number(data) as u8,
            (libc::SOL_UDP, libc::UDP_GRO) => {
                facts.segment = usize::try_from(number(data)).unwrap_or(0);
            }
            _ => {}
        }
        rest = next;
    }
    facts
}

fn number(data: &[u8]) -> i32 {
    word(data, 0).map_or(0, i32::from_ne_bytes)
}

fn next_control(rest: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(word(rest, 0)?);
    let level = i32::from_ne_bytes(word(rest, WORD)?);
    let kind = i32::from_ne_bytes(word(rest, WORD + 4)?);
    let data = rest.get(CONTROL_HEADER..len)?;
    let next = rest.get(len.next_multiple_of(WORD)..).unwrap_or_default();
    Some((level, kind, data, next))
}

/// The address to answer from is "specified destination": for a broadcast it differs from the
/// header's destination, which nobody may send from.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for text in ["192.0.2.7:51820", "[2001:db8::1]:1", "[fe80::1%7]:65535"] {
            let a: SocketAddr = text.parse().expect("address");
            let mut name = [0xaa; NAME_LEN];
            let n = write_name(&mut name, &a);
            assert_eq!(read_name(&name[..n]), Some(a), "{text}");
        }
        assert_eq!(read_name(&[]), None);
        assert_eq!(read_name(&[0xff; NAME_LEN]), None);
    }

    #[test]
    fn control_messages_survive_the_round_trip_and_garbage_is_harmless() {
        for (to, from) in [("192.0.2.7:1", "192.0.2.1"), ("[2001:db8::1]:1", "2001:db8::2")] {
            let from = Some((from.parse().expect("ip"), 9));
            let to = to.parse().expect("address");
            let mut c = [0xaa; CONTROL_LEN];
            let n =
                write_control(&mut c, &Outgoing { to, from, tos: 0x8a, segment: 1452, data: &[] });
            let facts = Control { local: from, tos: 0x8a, segment: 0 };
            assert_eq!(read_control(&c[..n]), facts);
            let mut gro = [0; CONTROL_LEN];
            let size = 1452i32.to_ne_bytes();
            let n = put_control(&mut gro, 0, libc::SOL_UDP, libc::UDP_GRO, &size);
            assert_eq!(read_control(&gro[..n]), Control { segment: 1452, ..Control::default() });
        }
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut bytes = [0u8; CONTROL_LEN];
            for b in &mut bytes {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *b = if seed >> 62 == 0 { (seed >> 33) as u8 } else { 0 };
            }
            let _ = read_control(&bytes);
        }
    }
}
