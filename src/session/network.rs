//! Finding the VPS again after the network changed or the machine slept: when to try, and where.
//!
//! [`Recovery`] decides when and is given the time; [`Resolver`] looks names up in a thread of its
//! own, because the system's resolver has no limit of ours and cannot be interrupted.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::layers::source_for;
use crate::base::task::Tasks;
use crate::host::config::Endpoint;

/// From one attempt to the next, while the network is new; the last one stays.
const PAUSES_MS: [u64; 5] = [250, 500, 1000, 2000, 5000];
/// Attempts are at least this far apart, however often the network changes.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// What the boot clock may gain on the other one without anybody having slept.
const JUMP: Duration = Duration::from_secs(1);

/// When to try to reach the VPS anew. Idle until something says that it may be out of reach.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Since when it is tried, how often it was, and when next.
    trying: Option<(Duration, usize, Duration)>,
    last: Option<Duration>,
}

impl Recovery {
    /// The network changed, or the machine slept: attempts start over, at once.
    pub fn disturbed(&mut self, now: Duration) {
        let next = self.last.map_or(now, |last| (last + LEAST_PAUSE).max(now));
        self.trying = Some((now, 0, next));
    }

    /// The agent did not answer, and nobody knows why: as after the last of several attempts.
    pub fn missed(&mut self, now: Duration) {
        if self.trying.is_none() {
            let next = self.last.map_or(now, |last| (last + pause(usize::MAX)).max(now));
            self.trying = Some((now, PAUSES_MS.len(), next));
        }
    }

    /// The agent answered a question that was put at `asked`: good unless that was before the
    /// latest trouble.
    pub fn answered(&mut self, asked: Duration) {
        if self.trying.is_some_and(|(since, ..)| asked >= since) {
            self.trying = None;
        }
    }

    pub fn is_trying(&self) -> bool {
        self.trying.is_some()
    }

    pub fn due(&self) -> Option<Duration> {
        self.trying.map(|(.., next)| next)
    }

    /// Whether to try now.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let Some((since, attempts, next)) = self.trying else { return false };
        if now < next {
            return false;
        }
        self.last = Some(now);
        self.trying = Some((since, attempts.saturating_add(1), now + pause(attempts)));
        true
    }
}

fn pause(attempts: usize) -> Duration {
    let last = PAUSES_MS.len() - 1;
    Duration::from_millis(PAUSES_MS.get(attempts.min(last)).copied().unwrap_or(5000))
}

/// Notices that the machine slept: the boot clock went on and the other did not.
pub struct Sleep {
    ahead: Duration,
}

impl Sleep {
    pub fn new(boot: Duration, awake: Duration) -> Sleep {
        Sleep { ahead: boot.saturating_sub(awake) }
    }

    /// How long it slept since the last look, if it did.
    pub fn look(&mut self, boot: Duration, awake: Duration) -> Option<Duration> {
        let ahead = boot.saturating_sub(awake);
        let slept = ahead.saturating_sub(self.ahead);
        self.ahead = ahead;
        (slept >= JUMP).then_some(slept)
    }
}

/// The addresses that datagrams to the VPS would leave from, one for each of its addresses. When
/// that is another than before, the network changed for this tunnel, and not somewhere else.
pub fn ways(remotes: &[SocketAddr]) -> Vec<Option<IpAddr>> {
    remotes.iter().map(|remote| source_for(remote.ip()).ok()).collect()
}

pub fn joined(remotes: &[SocketAddr]) -> String {
    remotes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Looks an endpoint up; readable when an answer is to be fetched. One look-up at a time.
pub struct Resolver {
    endpoint: Endpoint,
    question: Tasks<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    pub fn new(endpoint: &Endpoint) -> io::Result<Resolver> {
        Ok(Resolver { endpoint: endpoint.clone(), question: Tasks::new("resolver", 1)? })
    }

    /// The address that stands in the host file, when it is no name.
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip = self.endpoint.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.endpoint.port))
    }

    /// Sends the question off, unless it is out already or needs no answer.
    pub fn ask(&mut self) {
        if self.literal().is_none() {
            let (name, port) = (self.endpoint.host.clone(), self.endpoint.port);
            // Where it cannot be sent, the next attempt asks again.
            let _ = self.question.start(move || look_up(&name, port));
        }
    }

    pub fn take(&mut self) -> Option<io::Result<Vec<SocketAddr>>> {
        self.question.take()
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.question.as_fd()
    }
}

fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (name, port).to_socket_addrs().map(in_turns)
}

/// The first addresses, each once, and both families among them however many one of them has.
fn in_turns(all: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut v6, mut v4) = (Vec::new(), Vec::new());
    for address in all {
        let family = if address.is_ipv6() { &mut v6 } else { &mut v4 };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let mut mixed = Vec::new();
    for n in 0..v6.len().max(v4.len()) {
        mixed.extend(v6.get(n).into_iter().chain(v4.get(n)).copied());
    }
    mixed.truncate(ADDRESSES);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// When attempts are made until `end`, without any answer.
    fn attempts(recovery: &mut Recovery, end: Duration) -> Vec<u64> {
        let mut made = Vec::new();
        while let Some(due) = recovery.due().filter(|due| *due <= end) {
            assert!(recovery.take_due(due) && !recovery.take_due(due));
            made.push(due.as_millis() as u64);
        }
        made
    }

    #[test]
    fn a_change_is_tried_at_once_then_ever_more_slowly() {
        let mut recovery = Recovery::default();
        assert_eq!(recovery.due(), None);
        recovery.disturbed(ms(1000));
        let made = attempts(&mut recovery, ms(20_000));
        assert_eq!(made, [1000, 1250, 1750, 2750, 4750, 9750, 14_750, 19_750]);
        recovery.disturbed(ms(19_800));
        assert_eq!(recovery.due(), Some(ms(20_000)), "not sooner than 250 ms after the last");
        assert_eq!(attempts(&mut recovery, ms(20_300)), [20_000, 20_250]);
    }

    #[test]
    fn only_an_answer_to_a_later_question_ends_it() {
        let mut recovery = Recovery::default();
        recovery.disturbed(ms(1000));
        recovery.answered(ms(999));
        assert!(recovery.is_trying());
        recovery.answered(ms(1000));
        assert!(!recovery.is_trying() && !recovery.take_due(ms(5000)));
    }

    #[test]
    fn a_silent_agent_is_tried_every_five_seconds() {
        let mut recovery = Recovery::default();
        recovery.missed(ms(8000));
        assert_eq!(attempts(&mut recovery, ms(10_000)), [8000]);
        recovery.missed(ms(10_500));
        assert_eq!(attempts(&mut recovery, ms(24_000)), [13_000, 18_000, 23_000]);
        recovery.answered(ms(24_000));
        recovery.missed(ms(25_000));
        assert_eq!(recovery.due(), Some(ms(28_000)), "flapping does not make it faster");
    }

    #[test]
    fn sleep_is_what_one_clock_gains() {
        let mut sleep = Sleep::new(ms(5000), ms(4000));
        assert_eq!(sleep.look(ms(9000), ms(8000)), None);
        assert_eq!(sleep.look(ms(70_500), ms(9500)), Some(ms(60_000)));
        assert_eq!(sleep.look(ms(71_000), ms(10_000)), None);
        assert_eq!(sleep.look(ms(71_900), ms(10_000)), None, "a little is no sleep");
    }

    #[test]
    fn both_families_are_among_the_first() {
        let at = |n: u8| SocketAddr::from(([203, 0, 113, n], 1));
        let six = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 1));
        let all: Vec<_> = (1..=20).map(at).chain([six(1), six(1), six(2)]).collect();
        let found = in_turns(all.into_iter());
        assert_eq!(found[..5], [six(1), at(1), six(2), at(2), at(3)]);
        assert_eq!(found.len(), ADDRESSES);
    }

    #[test]
    fn a_name_is_looked_up_and_an_address_is_not() {
        let mut resolver =
            Resolver::new(&Endpoint { host: "localhost".to_owned(), port: 7 }).unwrap();
        resolver.ask();
        let wait = crate::sys::poll::wait_one(
            resolver.as_fd(),
            crate::sys::poll::Interest::READ,
            Some(Duration::from_secs(10)),
        );
        assert!(wait.unwrap());
        let found = resolver.take().unwrap().unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7), "{found:?}");
        let literal = Resolver::new(&Endpoint { host: "203.0.113.7".to_owned(), port: 7 }).unwrap();
        assert_eq!(literal.literal(), Some(SocketAddr::from(([203, 0, 113, 7], 7))));
    }
}
