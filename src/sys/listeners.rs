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
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use super::loopback;
use super::loopback::Listener;
#[cfg(target_os = "linux")]
use super::sock_diag::SockDiag;

const ASKED_AGAIN: usize = 256;

/// By default of the calling thread's namespace.
#[derive(Default)]
pub struct Listeners {
    #[cfg(target_os = "linux")]
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
    #[cfg(target_os = "linux")]
    pub fn asked_by(fd: OwnedFd) -> Listeners {
        Listeners { kernel: Some(fd.into()), known: Vec::new(), is_elsewhere: true }
    }

    #[cfg(not(target_os = "linux"))]
    pub fn asked_by(_: OwnedFd) -> Listeners {
        Listeners { known: Vec::new(), is_elsewhere: true }
    }

    /// All that listen, in order.
    pub fn known(&self) -> &[Listener] {
        &self.known
    }

    /// Of one port, or of all.
    #[cfg(target_os = "linux")]
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
            Err(_) => loopback::listeners_by_table(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn ask(&mut self, _port: Option<u16>) -> io::Result<Vec<Listener>> {
        if self.is_elsewhere {
            return Err(ErrorKind::Unsupported.into());
        }
        loopback::listeners_by_table()
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn of(port: u16, inode: u64) -> Listener {
        Listener { ip: Ipv4Addr::LOCALHOST.into(), port, uid: 1, inode }
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
