//! TCP sockets of a network namespace by the kernel's word, over sock_diag(7): all that listen, who
//! of them would be given a connection, and whose one connection is. What is connected is not
//! looked at, however much of it there is: 100 µs, where the table in /proc takes milliseconds. One
//! socket is found by its hash, so that the number of others costs nothing.
//!
//! Nothing is waited for: the kernel answers while it is asked. Bound: 16384 listeners.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use super::listener::Listener;
use super::netlink::u32_at;

const MOST: usize = 16 * 1024;
const ROOM: usize = 32 * 1024;
/// linux/sock_diag.h, linux/netlink.h, net/tcp_states.h.
const BY_FAMILY: u16 = 20;
/// The older question, of both families at once: the kernel goes through its table once, which is
/// large and in no cache when it is asked so seldom.
const OF_TCP: u16 = 18;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ALL: u16 = 0x300;
const LISTENS: u8 = 10;
const ESTABLISHED: u8 = 1;
const SYN_RECEIVED: u8 = 3;
const TIME_WAIT: u8 = 6;
const HEADER: usize = 16;
/// Within a `struct inet_diag_msg`.
const LENGTH: usize = 72;
const USER_AT: usize = 64;
/// Of one that listens: how many wait to be accepted, and how many may.
const WAITING_AT: usize = 56;

/// The namespace in which it was opened is asked, whoever does it. After an error the rest of an
/// answer may be in it.
pub struct SockDiag(OwnedFd);

impl From<OwnedFd> for SockDiag {
    fn from(fd: OwnedFd) -> SockDiag {
        SockDiag(fd)
    }
}

impl From<SockDiag> for OwnedFd {
    fn from(SockDiag(fd): SockDiag) -> OwnedFd {
        fd
    }
}

/// What is asked.
struct Question {
    ends: [SocketAddr; 2],
    /// Of an interface by which it comes in; 0: any.
    index: u32,
}

impl SockDiag {
    pub fn open() -> io::Result<SockDiag> {
        let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
        socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkSockDiag)
            .map(SockDiag)
            .map_err(io::Error::from)
    }

    /// All that listen, of both families, or those at one port.
    pub fn listeners(&self, port: Option<u16>) -> io::Result<Vec<Listener>> {
        let mut found = Vec::new();
        self.each_listener(port, &mut |message| found.extend(listener(message)))?;
        Ok(found)
    }

    fn each_listener(&self, port: Option<u16>, tell: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let count = Cell::new(0);
        let at = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let ends = [at(port.unwrap_or(0)), at(0)];
        self.ask(&Question { ends, index: 0 }.all_that_listen())?;
        let mut counted = |message: &[u8]| {
            count.set(count.get() + 1);
            tell(message);
        };
        while self.hear(&mut counted)? {
            if count.get() > MOST {
                return Err(ErrorKind::QuotaExceeded.into());
            }
        }
        Ok(())
    }

    /// The socket that has this end of a connection to `remote`; nothing if there is none any more.
    pub fn end_of(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<End>> {
        self.one([local, remote], 0)
    }

    /// The user of the socket that a connection from `from` to `to` would be given, which comes in
    /// by the interface of this index; none if nobody listens for it.
    pub fn user_who_listens(
        &self,
        from: IpAddr,
        to: SocketAddr,
        index: u32,
    ) -> io::Result<Option<u32>> {
        // The other side's port is none that a connection can have.
        let found = self.one([to, SocketAddr::new(from, 0)], index)?;
        Ok(found.filter(|end| end.state == LISTENS).map(|end| end.user))
    }

    fn one(&self, ends: [SocketAddr; 2], index: u32) -> io::Result<Option<End>> {
        self.ask(&Question { ends, index }.one())?;
        let mut end = None;
        match self.hear(&mut |message| end = End::read(message)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            heard => heard.map(|_| end),
        }
    }

    /// Whether the program at the other end of this connection has it, and not the kernel for it.
    pub fn is_accepted(&self, stream: &TcpStream) -> io::Result<Accepted> {
        let (there, here) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(match self.end_of(there, here)? {
            // A socket has a number when a process has it.
            Some(End { inode: 0, state: ESTABLISHED, .. }) => Accepted::No,
            Some(End { inode: 0, state: SYN_RECEIVED, .. }) => Accepted::NotBegun,
            // What has gone, or goes, was accepted before.
            _ => Accepted::Yes,
        })
    }

    /// Whether one that listens there has more connections waiting than it wants.
    pub fn is_full(&self, port: u16) -> io::Result<bool> {
        let mut is_full = false;
        self.each_listener(Some(port), &mut |message| {
            let queue = (u32_at(message, WAITING_AT), u32_at(message, WAITING_AT + 4));
            is_full |= matches!(queue, (Some(waiting), Some(most)) if waiting > most);
        })?;
        Ok(is_full)
    }

    fn ask(&self, question: &[u8]) -> io::Result<()> {
        let sent = send(self.0.as_raw_fd(), question, MsgFlags::empty())?;
        if sent == question.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    /// One datagram of an answer. False with its end.
    fn hear(&self, tell: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut room = vec![0; ROOM];
        let count = recv(self.0.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT)?;
        read(room.get(..count).unwrap_or_default(), tell)
    }
}

/// One end of a connection.
pub struct End {
    state: u8,
    user: u32,
    inode: u32,
}

/// How far the other side is with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Yes,
    No,
    /// The kernel waits for more before it offers it to the program: there is no room, or the
    /// program wants to see a first byte (TCP_DEFER_ACCEPT).
    NotBegun,
}

impl End {
    fn read(message: &[u8]) -> Option<End> {
        let (user, inode) = (u32_at(message, USER_AT)?, u32_at(message, USER_AT + 4)?);
        Some(End { state: *message.get(1)?, user, inode })
    }

    /// One that waits for its end is nobody's.
    pub fn user(&self) -> Option<u32> {
        Some(self.user).filter(|_| self.state != TIME_WAIT)
    }
}

impl Question {
    /// A `struct inet_diag_req_v2`.
    fn one(&self) -> Vec<u8> {
        let is_v4 = self.ends[0].is_ipv4();
        let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 };
        let mut rest = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
        rest.extend(u32::MAX.to_ne_bytes());
        rest.extend(self.id());
        message(BY_FAMILY, REQUEST, rest)
    }

    /// A `struct inet_diag_req`, whose family the kernel does not look at.
    fn all_that_listen(&self) -> Vec<u8> {
        let mut rest = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
        rest.extend(self.id());
        rest.extend([1 << LISTENS, 0_u32].map(u32::to_ne_bytes).concat());
        message(OF_TCP, REQUEST | ALL, rest)
    }

    /// A `struct inet_diag_sockid`.
    fn id(&self) -> Vec<u8> {
        let mut all = self.ends.map(|end| end.port().to_be_bytes()).concat();
        all.extend(self.ends.map(|end| octets(end.ip())).concat());
        // No cookie: whichever socket it is.
        all.extend([self.index, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat());
        all
    }
}

fn message(kind: u16, flags: u16, rest: Vec<u8>) -> Vec<u8> {
    let mut all = ((HEADER + rest.len()) as u32).to_ne_bytes().to_vec();
    all.extend([kind, flags].map(u16::to_ne_bytes).concat());
    all.extend([1_u32, 0].map(u32::to_ne_bytes).concat());
    all.extend(rest);
    all
}

/// An address in room for the longest.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96).to_be_bytes(),
    }
}

/// Tells each socket of a datagram. Stops at the first message that does not fit.
fn read(mut rest: &[u8], tell: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let mut is_all = false;
    while let Some(length) = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = rest.get(..length).and_then(|all| all.get(HEADER..)) else { break };
        let word = |at| rest.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b));
        match word(4).unwrap_or_default() {
            BY_FAMILY | OF_TCP => tell(message),
            DONE => is_all = true,
            ERROR => {
                let code = u32_at(message, 0).map_or(libc::EPROTO, |code| code as i32);
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(!is_all)
}

fn listener(message: &[u8]) -> Option<Listener> {
    let message = message.get(..LENGTH)?;
    let port = u16::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let ip = match i32::from(*message.first()?) {
        libc::AF_INET => Ipv4Addr::from(*message.get(8..)?.first_chunk::<4>()?).into(),
        _ => Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?).to_canonical(),
    };
    let uid = u32_at(message, USER_AT)?;
    Some(Listener { ip, port, uid, inode: u32_at(message, USER_AT + 4)?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn user(kernel: &SockDiag, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        kernel.end_of(local, remote).unwrap().and_then(|end| end.user())
    }

    #[test]
    fn the_kernel_tells_who_listens_and_whose_a_connection_is() {
        let kernel = SockDiag::open().unwrap();
        let own = crate::sys::process::uid();
        for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let at = listener.local_addr().unwrap();
            let is_it = |one: &Listener| (one.ip, one.port, one.uid) == (at.ip(), at.port(), own);
            assert_eq!(
                kernel.listeners(None).unwrap().into_iter().filter(is_it).count(),
                1,
                "{at}"
            );
            // Also before somebody has accepted it.
            let here = TcpStream::connect(at).unwrap();
            assert_eq!(kernel.is_accepted(&here).unwrap(), Accepted::No);
            let ends = (here.peer_addr().unwrap(), here.local_addr().unwrap());
            assert_eq!(user(&kernel, ends.0, ends.1), Some(own), "{at}");
            let (there, _) = listener.accept().unwrap();
            assert_eq!(kernel.is_accepted(&here).unwrap(), Accepted::Yes);
            // Also when it has closed it meanwhile.
            drop(there);
            assert_eq!(kernel.is_accepted(&here).unwrap(), Accepted::Yes);
            assert!(!kernel.is_full(at.port()).unwrap());
            drop(listener);
            let none = SocketAddr::new(ends.1.ip(), 1);
            assert_eq!(user(&kernel, ends.0, none), None);
            assert!(!kernel.listeners(None).unwrap().iter().any(is_it), "{at}");
        }
    }

    #[test]
    fn the_kernel_says_who_would_be_given_a_connection() {
        let lookup = SockDiag::open().unwrap();
        let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let own = crate::sys::process::uid();
        for (bind, asked, found) in [
            ("127.0.0.1:0", v4, true),
            ("127.0.0.1:0", "127.0.0.2".parse().unwrap(), false),
            ("0.0.0.0:0", "127.0.0.2".parse().unwrap(), true),
            ("[::1]:0", v6, true),
            ("[::1]:0", v4, false),
            ("[::]:0", v4, true),
            ("[::]:0", v6, true),
        ] {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let port = listener.local_addr().unwrap().port();
            let ask = || {
                let to = SocketAddr::new(asked, port);
                lookup.user_who_listens(asked, to, 1).unwrap()
            };
            assert_eq!(ask(), found.then_some(own), "{bind} for {asked}");
            // One that has a connection does not listen for another.
            let at = SocketAddr::new(asked, port);
            let held = found.then(|| std::net::TcpStream::connect(at).unwrap());
            let taken = held.as_ref().map(|_| listener.accept().unwrap());
            drop(listener);
            assert_eq!(ask(), None, "{bind} for {asked}, which is closed");
            drop((held, taken));
        }
    }

    #[test]
    fn no_answer_breaks_the_reader() {
        let mut good = ((HEADER + LENGTH) as u32).to_ne_bytes().to_vec();
        good.extend(BY_FAMILY.to_ne_bytes());
        good.resize(HEADER + LENGTH, 0);
        let of = |bytes: &[u8]| {
            let mut found = Vec::new();
            let more = read(bytes, &mut |message| found.extend(listener(message)));
            (more.is_ok(), found.len())
        };
        assert_eq!(of(&good), (true, 1));
        for n in 0..good.len() {
            assert_eq!(of(&good[..n]), (true, 0), "{n}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                of(&bad);
            }
        }
        assert_eq!(of(&[good.clone(), good].concat()), (true, 2));
    }
}
