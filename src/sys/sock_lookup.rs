//! Who would be given a new connection, by the kernel's own look-up among those that listen
//! (sock_diag(7)): one socket is asked for and found by its hash, so that the number of others
//! costs nothing.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::netlink::u32_at;
use super::sock_diag::octets;

/// linux/sock_diag.h, linux/netlink.h, net/tcp_states.h.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const LISTENS: u8 = 10;
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + 56;
/// Of an answer: where its state and its user stand (struct inet_diag_msg).
const STATE_AT: usize = HEADER_LEN + 1;
const USER_AT: usize = HEADER_LEN + 64;
/// Answers of earlier questions that nobody waited for.
const STALE: usize = 4;

/// One socket for all questions; nothing is waited for, since the kernel answers while it is asked.
pub struct SockLookup {
    socket: OwnedFd,
    number: u32,
}

impl SockLookup {
    /// About the calling thread's network namespace.
    pub fn open() -> io::Result<SockLookup> {
        let socket = nix::sys::socket::socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkSockDiag,
        )?;
        Ok(SockLookup { socket, number: 0 })
    }

    /// The user of the socket that a connection from `from` to `to` would be given, which comes in
    /// by the interface of this index; none if nobody listens for it. A kernel without sock_diag
    /// says the same of all.
    pub fn listener(
        &mut self,
        from: IpAddr,
        to: SocketAddr,
        index: u32,
    ) -> io::Result<Option<u32>> {
        self.number = self.number.wrapping_add(1);
        let request = request(self.number, from, to, index);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut room = [0; 1024];
        for _ in 0..STALE {
            let count = recv(self.socket.as_raw_fd(), &mut room, MsgFlags::empty())?;
            let answer = room.get(..count).unwrap_or_default();
            if u32_at(answer, 8) == Some(self.number) {
                return read(answer);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// struct inet_diag_req_v2 for one socket. The other side's port is none that a connection can
/// have, so only those that listen are found.
fn request(number: u32, from: IpAddr, to: SocketAddr, index: u32) -> Vec<u8> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut all = Vec::with_capacity(REQUEST_LEN);
    all.extend((REQUEST_LEN as u32).to_ne_bytes());
    all.extend([BY_FAMILY, REQUEST].map(u16::to_ne_bytes).concat());
    all.extend([number, 0].map(u32::to_ne_bytes).concat());
    all.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    all.extend(u32::MAX.to_ne_bytes());
    all.extend(to.port().to_be_bytes());
    all.extend([0; 2]);
    all.extend(octets(to.ip()));
    all.extend(octets(from));
    all.extend(index.to_ne_bytes());
    // No cookie: whichever socket it is.
    all.extend([u32::MAX; 2].map(u32::to_ne_bytes).concat());
    all
}

fn read(answer: &[u8]) -> io::Result<Option<u32>> {
    let kind = answer.get(4..6).and_then(|b| b.first_chunk()).map(|b| u16::from_ne_bytes(*b));
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    match kind {
        Some(BY_FAMILY) if answer.get(STATE_AT) == Some(&LISTENS) => {
            u32_at(answer, USER_AT).map(Some).ok_or_else(malformed)
        }
        Some(BY_FAMILY) => Ok(None),
        Some(ERROR) => match u32_at(answer, HEADER_LEN).map(|code| (code as i32).wrapping_neg()) {
            Some(libc::ENOENT) => Ok(None),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Err(malformed()),
        },
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    #[test]
    fn the_kernel_says_who_would_be_given_a_connection() {
        let mut lookup = SockLookup::open().unwrap();
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
            let ask = |lookup: &mut SockLookup| {
                lookup.listener(asked, SocketAddr::new(asked, port), 1).unwrap()
            };
            assert_eq!(ask(&mut lookup), found.then_some(own), "{bind} for {asked}");
            // One that has a connection does not listen for another.
            let at = SocketAddr::new(asked, port);
            let held = found.then(|| std::net::TcpStream::connect(at).unwrap());
            let taken = held.as_ref().map(|_| listener.accept().unwrap());
            drop(listener);
            assert_eq!(ask(&mut lookup), None, "{bind} for {asked}, which is closed");
            drop((held, taken));
        }
    }

    #[test]
    fn no_answer_breaks_the_reader() {
        let mut good = vec![0; HEADER_LEN + 72];
        good[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        good[STATE_AT] = LISTENS;
        good[USER_AT..USER_AT + 4].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(read(&good).unwrap(), Some(1000));
        for n in 0..USER_AT + 4 {
            assert!(!matches!(read(&good[..n]), Ok(Some(_))), "{n}");
        }
        good[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        good[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(read(&good).unwrap(), None);
        good[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(read(&good).is_err());
    }
}
