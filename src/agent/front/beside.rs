//! What answers beside the tunnel's device, so that nothing of ours listens at its address, where a
//! program of the user's may want every port. A connection to a port at which the system has nobody
//! listen for it, but the agent's user listens on loopback, ends in `netstack`, which connects to
//! that listener; all else is the system's, as if this were not here. Asked when a connection
//! begins: a server that is restarted at another address is answered where it is then, and
//! connections stay where they began.
//!
//! What it goes past is the server's packet filter: as with `ssh -L`, who has the user's token and
//! key reaches what that user listens at.
//!
//! Bounds: 2,000 questions to the kernel a second and 1,000 at once, each of three look-ups by hash
//! (some 10 µs); what is beyond that is the system's. Connections: those of `netstack`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::netstack::door::{self, Doors};
use crate::netstack::{self, Flow, Flows, Netstack, Own, SERVED_BYTES, Settings};
use crate::sys::sock_diag::SockDiag;
use crate::sys::{ioctl, packet_pair, process, random};
use crate::tunnel::{Beside, Takes};

const QUESTIONS: u32 = 1000;
/// How often there may be one more.
const EVERY: Duration = Duration::from_micros(500);
/// Of loopback, in every network namespace.
const LOOPBACK: u32 = 1;

/// A stack beside the device of this name, and what the tunnel is to be told of it.
pub fn open(own: Ipv4Addr, mtu: u16, device: &str) -> io::Result<(Netstack, Beside)> {
    let (ours, theirs) = packet_pair()?;
    let mut seed = [0; 8];
    random::fill(&mut seed)?;
    let seed = u64::from_ne_bytes(seed);
    let addresses = Own { v4: Some(own), v6: None };
    let settings = Settings { own: addresses, mtu, seed, buffer_bytes: SERVED_BYTES };
    let user = process::uid();
    let stack = netstack::start(ours, &settings, Box::new(Loopback { user }))?;
    let choice = Choice {
        own,
        user,
        index: ioctl::index(device).unwrap_or(0),
        flows: stack.flows(),
        kernel: SockDiag::open()?,
        asked: Budget { left: QUESTIONS, since: Instant::now() },
    };
    Ok((stack, Beside { end: theirs, takes: Box::new(choice) }))
}

/// Whether the kernel tells who listens: it must know of this listener of ours.
pub fn is_told(at: SocketAddr) -> bool {
    let asked = SockDiag::open().and_then(|kernel| kernel.user_who_listens(at.ip(), at, 0));
    matches!(asked, Ok(Some(_)))
}

struct Loopback {
    user: u32,
}

impl Doors for Loopback {
    fn open(&mut self, flow: Flow) -> Option<TcpStream> {
        door::to_listener_of(self.user, flow.port)
    }
}

struct Choice {
    own: Ipv4Addr,
    user: u32,
    index: u32,
    flows: Flows,
    kernel: SockDiag,
    asked: Budget,
}

impl Takes for Choice {
    fn takes(&mut self, packet: &[u8]) -> bool {
        let Some((flow, begins)) = netstack::glance(packet, self.own) else { return false };
        self.flows.has(&flow)
            || begins && self.asked.one_more() && self.is_ours(flow).unwrap_or(false)
    }
}

impl Choice {
    /// Whether nobody listens for it but the user, on loopback. The order is that of `door`.
    fn is_ours(&mut self, flow: Flow) -> io::Result<bool> {
        let Choice { own, user, index, kernel, .. } = self;
        let at = |ip: IpAddr| SocketAddr::new(ip, flow.port);
        if kernel.user_who_listens(flow.from, at((*own).into()), *index)?.is_some() {
            return Ok(false);
        }
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            if let Some(found) = kernel.user_who_listens(ip, at(ip), LOOPBACK)? {
                return Ok(found == *user);
            }
        }
        Ok(false)
    }
}

/// So many questions at once, and one more each [`EVERY`].
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn one_more(&mut self) -> bool {
        let more = self.since.elapsed().as_micros() / EVERY.as_micros();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(QUESTIONS);
            self.left = self.left.saturating_add(more).min(QUESTIONS);
            self.since = Instant::now();
        }
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_bounded_and_come_back() {
        let mut budget = Budget { left: QUESTIONS, since: Instant::now() };
        let began = Instant::now();
        let asked = (0..100_000).filter(|_| budget.one_more()).count();
        let most = QUESTIONS as usize + 1 + began.elapsed().as_micros() as usize / 500;
        assert!((QUESTIONS as usize..=most).contains(&asked), "{asked} of at most {most}");
        budget.since = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        assert!(budget.one_more() && budget.left == QUESTIONS - 1);
    }
}
