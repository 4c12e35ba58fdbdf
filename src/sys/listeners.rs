//! Who listens in one network namespace, look after look: whoever listens all the time is there at
//! each of them.
//!
//! The kernel's answer is no snapshot. It comes in pieces, between which it counts how many of a
//! place of its table it has told: where one of them has ended meanwhile, the next one is left out,
//! and no flag says so (inet_diag sets no NLM_F_DUMP_INTR). So what a look misses is asked for once
//! more by its port alone, of which all fits into one piece.
//!
//! Bound: 256 ports of which that is asked at a look. What else is missing is taken for there until
//! the next one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

pub use super::listener::Listener;
use super::sock_diag::SockDiag;

const ASKED_AGAIN: usize = 256;
/// Of the table of sockets. Those that listen stand first in it; what follows is not read.
const TABLE_BYTES: u64 = 4 << 20;
/// TCP_LISTEN (net/tcp_states.h).
const LISTENS: &str = "0A";

/// All of the calling thread's network namespace. Where the system has no such table, none.
pub fn all() -> io::Result<Vec<Listener>> {
    if let Ok(all) = SockDiag::open().and_then(|kernel| kernel.listeners(None)) {
        return Ok(all);
    }
    by_table()
}

/// The same of a kernel that answers no question.
fn by_table() -> io::Result<Vec<Listener>> {
    table_of("thread-self")
}

/// All of the network namespace of a process, or of what else is so called in /proc.
pub fn of(process: &str) -> io::Result<Vec<Listener>> {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let is_ours = network(process).is_some_and(|its| Some(its) == network("thread-self"));
    if is_ours { all() } else { table_of(process) }
}

/// By default of the calling thread's namespace.
#[derive(Default)]
pub struct Listeners {
    kernel: Option<SockDiag>,
    known: Vec<Listener>,
    /// Another one's, which cannot be asked by a new socket.
    is_elsewhere: bool,
}

impl Listeners {
    /// Whether others listen than at the last look. Where nobody can say, all is as it was.
    pub fn look(&mut self) -> io::Result<bool> {
        let mut now = self.ask(None)?;
        in_order(&mut now);
        if now == self.known {
            return Ok(false);
        }
        let known = std::mem::take(&mut self.known);
        let looked = add_missed(&known, &mut now, |port| self.ask(Some(port)));
        let is_new = looked.is_ok() && now != known;
        self.known = if looked.is_ok() { now } else { known };
        looked.map(|()| is_new)
    }

    /// Of the namespace in which this socket of sock_diag(7) was made.
    pub fn asked_by(fd: OwnedFd) -> Listeners {
        Listeners { kernel: Some(fd.into()), known: Vec::new(), is_elsewhere: true }
    }

    /// All that listen, in order.
    pub fn known(&self) -> &[Listener] {
        &self.known
    }

    /// Of one port, or of all.
    fn ask(&mut self, port: Option<u16>) -> io::Result<Vec<Listener>> {
        let kernel = match self.kernel.take() {
            Some(kernel) => Ok(kernel),
            None if self.is_elsewhere => Err(ErrorKind::NotConnected.into()),
            None => SockDiag::open(),
        };
        let answer = kernel.and_then(|kernel| Ok((kernel.listeners(port)?, kernel)));
        match answer {
            Ok((found, kernel)) => {
                self.kernel = Some(kernel);
                Ok(found)
            }
            // What is left of an answer is in its socket.
            Err(error) if self.is_elsewhere => Err(error),
            Err(_) => by_table(),
        }
    }
}

fn in_order(all: &mut Vec<Listener>) {
    all.sort_unstable();
    all.dedup();
}

/// Adds to `now` those that `known` has and it has not, as far as they are there.
fn add_missed(
    known: &[Listener],
    now: &mut Vec<Listener>,
    mut ask: impl FnMut(u16) -> io::Result<Vec<Listener>>,
) -> io::Result<()> {
    let place = |one: &Listener| (one.ip, one.port, one.uid);
    let there: BTreeSet<_> = now.iter().map(place).collect();
    let missed = || known.iter().filter(|one| !there.contains(&place(one)));
    let ports: BTreeSet<u16> = missed().map(|one| one.port).collect();
    let asked: BTreeSet<u16> = ports.iter().copied().take(ASKED_AGAIN).collect();
    for port in &asked {
        now.extend(ask(*port)?.into_iter().filter(|one| one.port == *port));
    }
    now.extend(missed().filter(|one| !asked.contains(&one.port)));
    in_order(now);
    Ok(())
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn of(port: u16, inode: u64) -> Listener {
        Listener { ip: Ipv4Addr::LOCALHOST.into(), port, uid: 1, inode }
    }

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
        let one_of = |ip, port, uid, inode| Listener { ip, port, uid, inode };
        let (one, any) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into());
        assert_eq!(found, [one_of(one, 8080, 1000, 123), one_of(any, 22, 0, 124)]);
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
    fn who_listens_here_is_known() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let at = listener.local_addr().unwrap();
            let uid = crate::sys::process::uid();
            let is_own = |one: &Listener| (one.ip, one.port, one.uid) == (at.ip(), at.port(), uid);
            let pid = std::process::id().to_string();
            for found in [all(), super::of(&pid), table_of(&pid)] {
                assert!(found.unwrap().iter().any(is_own), "{at}");
            }
        }
    }

    #[test]
    fn what_an_answer_leaves_out_is_there_and_what_has_ended_is_not() {
        let known: Vec<Listener> = (1..=1000).map(|port| of(port, 7)).collect();
        let is_there = |port: u16| port % 2 == 0;
        // Torn at every place at once, and half of it is gone.
        let mut now = vec![of(2000, 8)];
        let mut looks = 0;
        loop {
            let before = now.clone();
            let mut asked = 0;
            let ask = |port: u16| {
                asked += 1;
                Ok(if is_there(port) { vec![of(port, 7)] } else { Vec::new() })
            };
            let last = if looks == 0 { &known } else { &before };
            let mut next: Vec<Listener> = vec![of(2000, 8)];
            add_missed(last, &mut next, ask).unwrap();
            assert!(asked <= ASKED_AGAIN);
            for port in (1..=1000).filter(|port| is_there(*port)) {
                assert!(next.contains(&of(port, 7)), "{port} listens");
            }
            now = next;
            looks += 1;
            if looks == 4 {
                break;
            }
        }
        assert!(now.contains(&of(2000, 8)));
        // Another socket at the same place is no reason to ask.
        let mut now = vec![of(5, 9)];
        add_missed(&[of(5, 7)], &mut now, |_| panic!("asked")).unwrap();
        assert_eq!(now, [of(5, 9)]);
        // Nobody can say: nothing is concluded.
        let error = || io::Error::from_raw_os_error(libc::EMFILE);
        assert!(add_missed(&[of(5, 7)], &mut Vec::new(), |_| Err(error())).is_err());
    }

    #[test]
    fn who_listens_is_there_at_each_look_until_it_ends() {
        let mut listeners = Listeners::default();
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let is_own = |all: &[Listener]| all.iter().any(|one| one.port == port);
        for _ in 0..3 {
            listeners.look().unwrap();
            assert!(is_own(listeners.known()));
        }
        assert!(listeners.ask(Some(port)).unwrap().iter().all(|one| one.port == port));
        // As if the last one had been another's.
        listeners.known.push(of(1, 7));
        listeners.look().unwrap();
        assert!(is_own(listeners.known()) && !listeners.known().contains(&of(1, 7)));
        drop(own);
        assert!(listeners.look().unwrap() && !is_own(listeners.known()));
    }
}
