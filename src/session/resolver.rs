//! Looks the VPS's name up, on a thread of its own: the system's resolver has no limit of ours and
//! cannot be interrupted.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::limits;
use super::requests::WhileStarting;
use crate::base::failure::{Failure, Fault};
use crate::base::task::Tasks;
use crate::base::time_text::took;
use crate::fix;
use crate::host::config::{Endpoint, HostConfig};

/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// For people.
pub fn joined(remotes: &[SocketAddr]) -> String {
    remotes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Looks an endpoint up; readable when an answer is to be fetched. One look-up at a time.
pub struct Resolver {
    endpoint: Endpoint,
    second_port: Option<u16>,
    question: Tasks<io::Result<Vec<SocketAddr>>>,
}

impl Resolver {
    /// `second_port`: another that the endpoint has.
    pub fn new(endpoint: &Endpoint, second_port: Option<u16>) -> io::Result<Resolver> {
        let endpoint = endpoint.clone();
        Ok(Resolver { endpoint, second_port, question: Tasks::new("resolver", 1)? })
    }

    pub fn name(&self) -> &str {
        &self.endpoint.host
    }

    /// The address that stands in the host file, when it is no name, with each of its ports.
    pub fn literal(&self) -> Option<Vec<SocketAddr>> {
        literal(&self.endpoint, self.second_port)
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
        let second_port = self.second_port;
        self.question.take().map(|found| found.map(|all| with_second(all, second_port)))
    }
}

impl AsFd for Resolver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.question.as_fd()
    }
}

fn literal(endpoint: &Endpoint, second_port: Option<u16>) -> Option<Vec<SocketAddr>> {
    let ip = endpoint.host.parse().ok()?;
    Some(with_second(vec![SocketAddr::new(ip, endpoint.port)], second_port))
}

/// Each address with the second port after it, where the VPS has one: they are tried side by side.
pub fn with_second(remotes: Vec<SocketAddr>, second_port: Option<u16>) -> Vec<SocketAddr> {
    let both = |at: SocketAddr| {
        let second = second_port.map(|port| SocketAddr::new(at.ip(), port));
        std::iter::once(at).chain(second.filter(|second| *second != at))
    };
    remotes.into_iter().flat_map(both).take(ADDRESSES).collect()
}

/// The VPS's addresses, which the protocol never looks up itself (R93).
pub fn first(
    host: &HostConfig,
    requests: &mut WhileStarting<'_>,
) -> Result<Vec<SocketAddr>, Failure> {
    let fail = |why: String| {
        let what = format!("cannot find the address of {}", host.endpoint.host);
        let next = fix!("cat /etc/resolv.conf && getent hosts {}", host.endpoint.host);
        Failure::new(Fault::Unreachable, what, why, next)
    };
    let resolver = Resolver::new(&host.endpoint, host.second_port);
    let mut resolver = resolver.map_err(|error| fail(error.to_string()))?;
    if let Some(addresses) = resolver.literal() {
        return Ok(addresses);
    }
    resolver.ask();
    let end = Instant::now() + limits::RESOLVE;
    loop {
        match resolver.take() {
            Some(Ok(found)) if found.is_empty() => {
                return Err(fail("the name has no address".to_owned()));
            }
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => return Err(fail(error.to_string())),
            None => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(fail(format!("no answer from the resolver in {}", took(limits::RESOLVE))));
        }
        if requests.pause(Some(resolver.as_fd()), left) {
            return Err(Failure { fault: Fault::Interrupted, ..fail("stopped".to_owned()) });
        }
    }
}

/// A host's addresses, for whoever waits for nothing else; at most [`limits::RESOLVE`].
pub fn now(host: &HostConfig) -> io::Result<Vec<SocketAddr>> {
    let endpoint = &host.endpoint;
    if let Some(addresses) = literal(endpoint, host.second_port) {
        return Ok(addresses);
    }
    let (name, port) = (endpoint.host.clone(), endpoint.port);
    let mut question = Tasks::one("resolver", move || look_up(&name, port))?;
    match question.wait(limits::RESOLVE) {
        Some(Ok(found)) if found.is_empty() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address"))
        }
        Some(found) => found.map(|all| with_second(all, host.second_port)),
        None => Err(io::ErrorKind::TimedOut.into()),
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
    use crate::sys::poll::{self, Interest};
    use std::time::Duration;

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
            Resolver::new(&Endpoint { host: "localhost".to_owned(), port: 7 }, None).unwrap();
        resolver.ask();
        let wait = poll::wait_one(resolver.as_fd(), Interest::READ, Some(Duration::from_secs(10)));
        assert!(wait.unwrap());
        let found = resolver.take().unwrap().unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 7), "{found:?}");
        let endpoint = Endpoint { host: "203.0.113.7".to_owned(), port: 7 };
        let at = |port| SocketAddr::from(([203, 0, 113, 7], port));
        let literal = |second| Resolver::new(&endpoint, second).unwrap().literal();
        assert_eq!(literal(None), Some(vec![at(7)]));
        assert_eq!(literal(Some(443)), Some(vec![at(7), at(443)]));
        assert_eq!(literal(Some(7)), Some(vec![at(7)]));
    }
}
