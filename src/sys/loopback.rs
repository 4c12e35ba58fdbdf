//! Who listens on this machine's loopback, by the kernel's word, and connections to them.

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrStorage, sockopt};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

pub use super::listening::Listener;
#[cfg(target_os = "linux")]
use super::sock_diag::SockDiag;

/// Of the table of sockets. Those that listen stand first in it; what follows is not read.
const TABLE_BYTES: u64 = 4 << 20;
/// TCP_LISTEN (net/tcp_states.h).
const LISTENS: &str = "0A";

/// All of the calling thread's network namespace. Where the system has no such table, none.
pub fn listeners() -> io::Result<Vec<Listener>> {
    #[cfg(target_os = "linux")]
    if let Ok(all) = SockDiag::open().and_then(|kernel| kernel.listeners(None)) {
        return Ok(all);
    }
    listeners_by_table()
}

/// The same of a kernel that answers no question.
pub(super) fn listeners_by_table() -> io::Result<Vec<Listener>> {
    table_of("thread-self")
}

/// All of the network namespace of a process, or of what else is so called in /proc.
pub fn listeners_of(process: &str) -> io::Result<Vec<Listener>> {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let is_ours = network(process).is_some_and(|its| Some(its) == network("thread-self"));
    if is_ours { listeners() } else { table_of(process) }
}

/// Whose the socket at the other end is of a connection within this machine; nothing where that is
/// not known any more, or to nobody.
pub fn user_at_other_end(stream: &TcpStream) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        let (there, here) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        let end = SockDiag::open().and_then(|kernel| kernel.end_of(there, here));
        end.ok().flatten().and_then(|end| end.user())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        None
    }
}

/// By the kernel's table, which takes it milliseconds: it goes through all places where something
/// could be.
fn table_of(process: &str) -> io::Result<Vec<Listener>> {
    let mut all = Vec::new();
    for name in ["tcp", "tcp6"] {
        match File::open(format!("/proc/{process}/net/{name}")) {
            Ok(table) => all.extend(read(BufReader::new(table).take(TABLE_BYTES))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// As far as it has rows of those that listen.
fn read(table: impl BufRead) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for row in table.split(b'\n').skip(1) {
        match std::str::from_utf8(&row?).ok().and_then(listener) {
            Some(one) => found.push(one),
            None => break,
        }
    }
    Ok(found)
}

/// Number, own address, other address, state, queues, timer, retransmits, user, …
fn listener(row: &str) -> Option<Listener> {
    let mut words = row.split_whitespace().skip(1);
    let (ip, port) = words.next()?.split_once(':')?;
    let uid = words.nth(5)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let state = row.split_whitespace().nth(3)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENS).then_some(Listener { ip: address(ip)?, port, uid, inode })
}

/// Numbers of 32 bits in the machine's order, each of bytes in the network's.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match <[u8; 16]>::try_from(&bytes[..]) {
        Ok(v6) => Some(Ipv6Addr::from(v6).to_canonical()),
        Err(_) => <[u8; 4]>::try_from(&bytes[..]).ok().map(|v4| Ipv4Addr::from(v4).into()),
    }
}

/// A connection that is made, or is being made: it is writable when that is decided.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => socket::AddressFamily::Inet,
        SocketAddr::V6(_) => socket::AddressFamily::Inet6,
    };
    let fd = super::sock::tcp(family)?;
    socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error.into()),
    }
}

/// Closes it so that the other side is told of a reset.
pub fn reset(stream: TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    // What is no TCP is closed as it is.
    let _ = socket::setsockopt(&stream.as_fd(), sockopt::Linger, &now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 124 1
   2: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 125 1
   3: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 126 1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_is_read_as_far_as_it_lists_who_listens() {
        let found = read(TABLE.as_bytes()).unwrap();
        let of = |ip, port, uid, inode| Listener { ip, port, uid, inode };
        let (one, any) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into());
        assert_eq!(found, [of(one, 8080, 1000, 123), of(any, 22, 0, 124)]);
        for odd in ["", "x", "x\n0: 0100007F 0 0A", "x\n0: 01:zz 0:0 0A 0 0 0 0", "x\n\0\u{ff}"] {
            assert_eq!(read(odd.as_bytes()).unwrap(), [], "{odd:?}");
        }
        let v6 = "00000000000000000000000001000000";
        assert_eq!(address(v6), Some(Ipv6Addr::LOCALHOST.into()));
        let mapped = "0000000000000000FFFF00000100007F";
        assert_eq!(address(mapped), Some(one));
        assert_eq!(address("0100007"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_listens_here_is_known() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let at = listener.local_addr().unwrap();
            let uid = crate::sys::process::uid();
            let is_own = |one: &Listener| (one.ip, one.port, one.uid) == (at.ip(), at.port(), uid);
            let pid = std::process::id().to_string();
            for all in [listeners(), listeners_of(&pid), table_of(&pid)] {
                assert!(all.unwrap().iter().any(is_own), "{at}");
            }
            let stream = connect(at).unwrap();
            assert_eq!(user_at_other_end(&stream), Some(uid), "{at}");
            let (other, _) = listener.accept().unwrap();
            reset(other);
            let gone = io::Read::read(&mut &stream, &mut [0; 1]).unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
