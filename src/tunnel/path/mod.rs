//! How long a packet may be to pass whole between here and a peer: found out by one side, told to
//! the other, and kept to by both (R103, R104).
//!
//! `search` (which sizes are asked about, when, and what the answers mean) → `echo` (what a
//! question and its answer are in bytes) → `fit` (what becomes of a packet that is longer).
//!
//! The laptop seeks and the server heeds. A question is an ICMP echo of the size in question, so
//! who knows nothing of this answers it, too; there TCP is held to the limit by what is announced
//! as either side's largest segment. A limit is of an address within the tunnel: one laptop in a
//! bad place makes no other's packets small. No device's MTU is changed for it, so nobody has to be
//! asked, and one step back is all it takes when a network is good again.
//!
//! What is between the two knows neither question nor limit: both are in the tunnel. IPv6 within a
//! tunnel is left alone: those that seek have none.

mod echo;
mod fit;
mod search;

pub use fit::{clamp, fragments};
pub use search::PathState;

use super::io::Io;
use crate::wg::{Device, HEADROOM, Now, Outbound, Reached, TAILROOM, Time};
use echo::Secret;
use search::{LEAST, Search};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Limits that are remembered; peers that are told apart have one each.
const LIMITS: usize = 4096;

/// Who finds out, and where the two ends are within the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtu {
    /// Packets are as long as the interface has them.
    #[default]
    Fixed,
    Seek {
        own: Ipv4Addr,
        peer: Ipv4Addr,
    },
    Heed {
        own: Ipv4Addr,
    },
}

/// What comes of a packet from a peer.
pub enum Taken {
    /// It is for others.
    No,
    Done,
    /// It was a question, and has become the answer.
    Answered,
}

#[derive(Default)]
pub struct Path {
    role: PathMtu,
    search: Search,
    secret: Secret,
    /// By address within the tunnel.
    limits: BTreeMap<Ipv4Addr, u16>,
}

impl Path {
    /// `random` tells questions of this tunnel from others.
    pub fn new(role: PathMtu, random: [u8; 10]) -> Path {
        let secret = Secret::new(random);
        Path { role, search: Search::default(), secret, limits: BTreeMap::new() }
    }

    /// What `packet`, which goes to a peer, must not be longer than.
    pub fn limit_to(&self, packet: &[u8]) -> Option<u16> {
        self.limit(packet, 16)
    }

    /// What an answer to `packet`, which came from a peer, must not be longer than.
    pub fn limit_from(&self, packet: &[u8]) -> Option<u16> {
        self.limit(packet, 12)
    }

    fn limit(&self, packet: &[u8], address_at: usize) -> Option<u16> {
        if self.limits.is_empty() || packet.first()? >> 4 != 4 {
            return None;
        }
        let address: [u8; 4] = *packet.get(address_at..)?.first_chunk()?;
        self.limits.get(&Ipv4Addr::from(address)).copied()
    }

    /// Whether this packet of a peer is one of ours.
    pub fn takes(&mut self, now: Time, packet: &mut [u8]) -> Taken {
        match self.role {
            PathMtu::Fixed => Taken::No,
            PathMtu::Seek { own, peer } => {
                let Some(answer) = echo::read(packet, echo::ANSWER, peer, own) else {
                    return Taken::No;
                };
                if let Some((number, told)) = self.secret.own(&answer) {
                    self.search.answered(now, number, told);
                    self.keep(peer);
                }
                Taken::Done
            }
            PathMtu::Heed { own } => {
                let Some(question) = echo::read(packet, echo::QUESTION, echo::source(packet), own)
                else {
                    return Taken::No;
                };
                self.set(echo::source(packet), question.limit);
                echo::turn(packet);
                Taken::Answered
            }
        }
    }

    /// The network is another one.
    pub fn network_changed(&mut self) {
        self.search.network_changed();
    }

    /// What is to be asked now of whoever is at the peer's end; empty for most calls. `mtu` is the
    /// interface's.
    pub fn questions(
        &mut self,
        now: Time,
        mtu: u16,
        reached: impl FnOnce(Ipv4Addr) -> Option<Reached>,
    ) -> Vec<Vec<u8>> {
        let PathMtu::Seek { own, peer } = self.role else { return Vec::new() };
        let asked = self.search.turn(now, mtu, reached(peer));
        self.keep(peer);
        let limit = self.search.limit();
        let question = |(number, size)| self.secret.question(own, peer, number, limit, size);
        asked.into_iter().map(question).collect()
    }

    /// When to ask [`questions`](Self::questions) at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.search.next_deadline()
    }

    /// `None` where nothing is sought.
    pub fn state(&self) -> Option<PathState> {
        matches!(self.role, PathMtu::Seek { .. }).then(|| self.search.state())
    }

    fn keep(&mut self, peer: Ipv4Addr) {
        self.set(peer, self.search.limit());
    }

    fn set(&mut self, peer: Ipv4Addr, limit: Option<u16>) {
        match limit {
            None => drop(self.limits.remove(&peer)),
            Some(limit) => {
                // They are told again with every handshake.
                if self.limits.len() >= LIMITS && !self.limits.contains_key(&peer) {
                    self.limits.clear();
                }
                self.limits.insert(peer, limit.max(LEAST));
            }
        }
    }
}

/// Sends a packet of ours whole or not at all (R103). Without a session it is not sent: what is
/// staged goes out as others do.
pub fn send_whole(now: Now, packet: &[u8], device: &mut Device, io: &mut Io) {
    let mut datagram = vec![0; HEADROOM + packet.len() + TAILROOM];
    if let Some(room) = datagram.get_mut(HEADROOM..HEADROOM + packet.len()) {
        room.copy_from_slice(packet);
    }
    if let Outbound::Send { to, tos, len } = device.from_tun(now, &mut datagram, packet.len(), io) {
        io.send_whole(&to, tos, datagram.get(..len).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    /// A packet between two, as far as anybody looks here.
    fn packet(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&from.octets());
        packet[16..20].copy_from_slice(&to.octets());
        packet
    }

    /// R104: what a laptop says is of its own packets alone, and has a floor.
    #[test]
    fn a_limit_is_of_who_asked_and_of_nobody_else() {
        let [one, other] = [1, 3].map(|n| Ipv4Addr::new(10, 10, 0, n));
        let mut server = Path::new(PathMtu::Heed { own: SERVER }, [1; 10]);
        let secret = Secret::new([2; 10]);
        for (told, kept) in [(Some(1232), Some(1232)), (Some(1), Some(576)), (None, None)] {
            let mut question = secret.question(one, SERVER, 1, told, 600);
            assert!(matches!(server.takes(Time::ZERO, &mut question), Taken::Answered));
            assert_eq!(echo::source(&question), SERVER, "it is the answer");
            assert_eq!(server.limit_to(&packet(SERVER, one)), kept);
            assert_eq!(server.limit_from(&packet(one, SERVER)), kept);
            assert_eq!(server.limit_to(&packet(SERVER, other)), None);
        }
        // One for somebody behind it, and other packets.
        let mut passing = secret.question(one, other, 1, Some(600), 600);
        assert!(matches!(server.takes(Time::ZERO, &mut passing), Taken::No));
        assert!(matches!(server.takes(Time::ZERO, &mut packet(one, SERVER)), Taken::No));
        let mut fixed = Path::default();
        let mut question = secret.question(one, SERVER, 1, Some(600), 600);
        assert!(matches!(fixed.takes(Time::ZERO, &mut question), Taken::No));
    }

    #[test]
    fn limits_are_bounded_in_number() {
        let mut server = Path::new(PathMtu::Heed { own: SERVER }, [1; 10]);
        for n in 0..=LIMITS as u32 {
            server.set(Ipv4Addr::from(n), Some(1000));
        }
        assert_eq!(server.limits.len(), 1);
    }
}
