//! What of a TCP connection the standard library has no word for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{Backlog, listen};

use super::listeners::address;

/// Of each table of sockets.
const TABLE_BYTES: u64 = 4 << 20;
/// States of net/tcp_states.h: who listens, and what is a connection, as long as either side may
/// say something: established, asked for, and half closed.
const LISTEN: u8 = 10;
const STATES: [u8; 7] = [1, 2, 4, 5, 8, 9, 11];

/// So many connections may be there that nobody has taken yet. The kernel tells whoever is one more
/// nothing: they try again after a second, then after three. The system has a bound of its own.
pub fn let_wait(listener: &TcpListener, most: i32) -> io::Result<()> {
    Ok(listen(listener, Backlog::new(most)?)?)
}

/// A connection of which the other side acknowledges nothing for so long has ended. The kernel's
/// own limit is a number of tries, some 15 minutes of them.
#[cfg(target_os = "linux")]
pub fn end_unacknowledged(stream: &TcpStream, after: Duration) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    let ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(stream, sockopt::TcpUserTimeout, &ms)?)
}

#[cfg(all(test, target_os = "linux"))]
pub fn unacknowledged_limit(stream: &TcpStream) -> io::Result<Duration> {
    use nix::sys::socket::{getsockopt, sockopt};
    let ms = getsockopt(stream, sockopt::TcpUserTimeout)?;
    Ok(Duration::from_millis(ms.into()))
}

/// Servers alone want it, which are none of this system's.
#[cfg(target_os = "macos")]
pub fn end_unacknowledged(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}

/// An idle connection whose other side is gone ends within an hour and a half. One over which a
/// laptop sleeps for less goes on.
pub fn ask_now_and_then(stream: &TcpStream) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    #[cfg(target_os = "linux")]
    setsockopt(stream, sockopt::TcpKeepIdle, &3600)?;
    Ok(())
}

/// Bytes that have come on it and that nobody has read yet, as far as they are 32 KiB; 0 where that
/// is not known.
pub fn unread(stream: &TcpStream) -> usize {
    use nix::sys::socket::{MsgFlags, recv};
    let mut room = vec![0; 32 * 1024];
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(stream.as_raw_fd(), &mut room, look).unwrap_or(0)
}

/// Connections of the calling thread's network that were made from this address: by which port
/// here, and to where. Those that were taken at a port that listens are none of them. At most what
/// 4 MiB of the system's tables list; where it has no such tables, none.
pub fn made_from(ip: Ipv4Addr) -> Vec<(u16, SocketAddrV4)> {
    let of = |name: &str| {
        let table = File::open(format!("/proc/thread-self/net/{name}")).map(BufReader::new);
        table.map(|table| rows(table.take(TABLE_BYTES))).unwrap_or_default()
    };
    select(ip, &[of("tcp"), of("tcp6")].concat())
}

/// Addresses, and the state.
type Row = (SocketAddr, SocketAddr, u8);

fn select(ip: Ipv4Addr, rows: &[Row]) -> Vec<(u16, SocketAddrV4)> {
    // Whoever listens at another address has nothing of this one's.
    let is_here = |at: &SocketAddr| at.ip() == ip || at.ip().is_unspecified();
    let listens = rows.iter().filter(|(at, _, state)| *state == LISTEN && is_here(at));
    let listening: BTreeSet<u16> = listens.map(|(at, ..)| at.port()).collect();
    let mine = rows.iter().filter(|(at, _, state)| at.ip() == ip && STATES.contains(state));
    let made = mine.filter(|(at, ..)| !listening.contains(&at.port()));
    made.filter_map(|(at, to, _)| match to {
        SocketAddr::V4(to) => Some((at.port(), *to)),
        SocketAddr::V6(_) => None,
    })
    .collect()
}

fn rows(table: impl BufRead) -> Vec<Row> {
    table.lines().map_while(Result::ok).filter_map(|line| row(&line)).collect()
}

/// Number, own address, other address, state, …
fn row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace().skip(1);
    let mut at = || {
        let (ip, port) = words.next()?.split_once(':')?;
        Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
    };
    let (here, there) = (at()?, at()?);
    Some((here, there, u8::from_str_radix(words.next()?, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 124 1
   1: 01000A0A:9C40 02000A0A:1068 01 00000000:00000000 00:00000000 00000000  1000        0 125 1
   2: 01000A0A:0016 02000A0A:C350 01 00000000:00000000 00:00000000 00000000     0        0 126 1
   3: 0100007F:9C41 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 127 1
   4: 01000A0A:9C42 02000A0A:1068 06 00000000:00000000 00:00000000 00000000     0        0 0 3
   5: 0100007F:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 128 1
";
    const MAPPED: &str = "\
  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF000001000A0A:9C43 0000000000000000FFFF000002000A0A:0050 08 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn connections_that_were_made_from_an_address_are_found() {
        let table = [rows(TABLE.as_bytes()), rows(MAPPED.as_bytes())].concat();
        let there = |port| SocketAddrV4::new(Ipv4Addr::new(10, 10, 0, 2), port);
        let found = select(Ipv4Addr::new(10, 10, 0, 1), &table);
        assert_eq!(found, [(0x9c40, there(0x1068)), (0x9c43, there(80))]);
        for odd in ["", "x", "0: 01:1 02:1 01", "0: 01000A0A:zz 02000A0A:1 01", "\0\u{ff}: :"] {
            assert!(rows(odd.as_bytes()).is_empty(), "{odd:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_is_found_by_whoever_made_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let taken = listener.accept().unwrap();
        let of = |stream: &TcpStream| stream.local_addr().unwrap().port();
        let is_it =
            |(port, there): &(u16, SocketAddrV4)| *port == of(&stream) && to == (*there).into();
        // The kernel's table has no moment: a row may be missed while others go.
        let looks = (0..100).map(|_| made_from(Ipv4Addr::LOCALHOST));
        let found = looks.into_iter().find(|found| found.iter().any(is_it)).unwrap();
        assert!(!found.iter().any(|(port, _)| *port == of(&taken.0)), "{found:?}");
    }
}
