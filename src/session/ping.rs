//! Round trips to a host through its tunnel, and the largest packet that passes whole.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::host::config::HostConfig;
use crate::rpc::client::Client;
use crate::sys::icmp::Echo;
use crate::sys::through::Link;

/// IPv4 header without options.
const IP_HEADER: u16 = 20;
/// Every IPv4 path carries this much.
const LEAST_MTU: u16 = 576;
/// Tries for each size: one lost packet is no limit.
const TRIES: u16 = 3;

/// How round trips are measured.
pub enum Pinger {
    Echo(Echo),
    /// Where this user may not send ICMP: the agent's `/health`.
    Agent(Client),
}

impl Pinger {
    pub fn new(host: &HostConfig, link: Link) -> Pinger {
        match Echo::through(IpAddr::V4(host.peer_ip), Some(link.ifindex)) {
            Ok(echo) => Pinger::Echo(echo),
            Err(_) => Pinger::Agent(Client::through(link, host.peer_ip, host.api_port)),
        }
    }

    pub fn method(&self) -> &'static str {
        match self {
            Pinger::Echo(_) => "icmp",
            Pinger::Agent(_) => "agent",
        }
    }

    /// One round trip; `None` when nothing came back in time, or the system refused to send.
    pub fn ping(&mut self, seq: u16, limit: Duration) -> Option<Duration> {
        match self {
            Pinger::Echo(echo) => echo.ping(seq, limit).ok().flatten(),
            Pinger::Agent(client) => {
                let began = Instant::now();
                client.health(limit).ok().map(|_| began.elapsed())
            }
        }
    }
}

/// The largest packet, up to `most` bytes, that goes through the tunnel and back without being cut
/// in pieces inside it; `None` where this user may not send ICMP, or not even small ones pass.
/// At most 11 sizes, each tried three times for `limit`.
pub fn path_mtu(host: &HostConfig, link: Link, limit: Duration) -> Option<u16> {
    let mut echo = Echo::through(IpAddr::V4(host.peer_ip), Some(link.ifindex)).ok()?;
    echo.forbid_fragments().ok()?;
    let mut seq = 0x4000;
    let mut passes = |size: u16| {
        (0..TRIES).any(|_| {
            seq += 1;
            let len = usize::from(size.saturating_sub(IP_HEADER));
            matches!(echo.ping_sized(seq, len, limit), Ok(Some(_)))
        })
    };
    largest(LEAST_MTU, host.mtu.max(LEAST_MTU), &mut passes)
}

/// How many packets of a train come back through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    pub sent: usize,
    pub came: usize,
}

/// Packets of the train, their size, and the time from one to the next: 0.5 Mbit/s, which whoever
/// works with a server has. Fewer than half of them pass where somebody throttles.
const TRAIN: u16 = 64;
const TRAIN_BYTES: u16 = 1200;
const TRAIN_PACE: Duration = Duration::from_millis(19);
const TRAIN_WAIT: Duration = Duration::from_secs(1);

impl Train {
    /// Small ones pass, as it seems, and most of these do not.
    pub fn is_throttled(self) -> bool {
        self.came * 2 < self.sent
    }
}

/// Sends it, in some two seconds; `None` where this user may not send ICMP.
pub fn train(host: &HostConfig, link: Link) -> Option<Train> {
    let mut echo = Echo::through(IpAddr::V4(host.peer_ip), Some(link.ifindex)).ok()?;
    let len = usize::from(TRAIN_BYTES - IP_HEADER);
    let came = echo.train(0x6000..0x6000 + TRAIN, len, TRAIN_PACE, TRAIN_WAIT).ok()?;
    Some(Train { sent: usize::from(TRAIN), came })
}

/// The largest size that passes, by halving; the whole is tried first.
fn largest(least: u16, most: u16, passes: &mut dyn FnMut(u16) -> bool) -> Option<u16> {
    if passes(most) {
        return Some(most);
    }
    if !passes(least) {
        return None;
    }
    let (mut good, mut bad) = (least, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if passes(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// Whether an address answers ping; `None` where this user may not send one.
pub fn answers_ping(to: IpAddr, limit: Duration) -> Option<bool> {
    let mut echo = Echo::open(to).ok()?;
    let answered = (1..=2).any(|seq| matches!(echo.ping(seq, limit / 2), Ok(Some(_))));
    Some(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_is_found_in_few_steps() {
        for limit in [576, 577, 1280, 1372, 1419, 1420] {
            let mut asked = 0;
            let mut passes = |size| {
                asked += 1;
                size <= limit
            };
            assert_eq!(largest(576, 1420, &mut passes), Some(limit));
            assert!(asked <= 12, "{asked} sizes");
        }
        assert_eq!(largest(576, 1420, &mut |_| false), None);
        assert_eq!(largest(576, 576, &mut |_| true), Some(576));
    }
}
