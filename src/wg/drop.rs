//! Reasons for silence. Nothing on the wire is ever answered by an error; instead every refusal
//! has a name here and is counted (R08).

/// Why a packet or datagram went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Drop {
    // The wire, before any secret is touched.
    /// Not one of the four message types, or of the wrong size (R01, R02).
    Malformed,
    /// The device is stopped.
    NotRunning,
    /// The device has no private key.
    NoPrivateKey,
    /// A handshake message's first MAC is wrong (R29).
    BadMac1,
    /// Under load, and a cookie was sent instead of an answer (R39).
    CookieSent,
    /// Under load, cookie valid, but the source sends too much (R39).
    RateLimited,
    // Handshakes.
    /// A message that should have been sealed for us was not (R17).
    HandshakeForged,
    /// A low-order point or key (R14).
    LowOrder,
    /// The initiator's static key is not a peer of ours (R19).
    UnknownPeer,
    /// The initiation's timestamp is not above the last one (R25).
    OldTimestamp,
    /// Initiations of this peer come too fast (R26).
    InitiationFlood,
    /// A response, cookie or data message names an index that we did not give out (R18, R45).
    UnknownIndex,
    /// A cookie reply that belongs to no message of ours, or is forged (R35).
    BadCookie,
    // Data.
    /// Counter at or beyond the limit (R53).
    CounterLimit,
    /// The session is older than 180 s (R53).
    Expired,
    /// The tag is wrong.
    Forged,
    /// Seen before, or too old to tell (R55, R56).
    Replayed,
    /// The plaintext is no IP packet, or shorter than it says (R78).
    InnerMalformed,
    /// The source address does not belong to the peer that sent it (R77).
    WrongSource,
    // From the TUN.
    /// No peer owns the destination (R75).
    NoRoute,
    /// The peer has no endpoint yet (R76).
    NoEndpoint,
    /// The peer's public key has low order: nothing is ever sent to it (R14).
    PeerLowOrder,
    /// The way to the peer's endpoint leads into the tunnel to this very peer.
    RoutingLoop,
    /// Pushed out of the staging queue by newer packets (R42).
    StagedOverflow,
    /// Staged packets given up with the handshake, or purged by a stop (R65, R95).
    StagedPurged,
    /// A packet of the TUN that is no IP packet, or longer than its buffer.
    TunMalformed,
    // The shell's.
    /// The queue of waiting handshakes is full (R42).
    HandshakeQueueFull,
    /// A datagram longer than any we take.
    Oversize,
    /// The socket refused a datagram (R84).
    SendFailed,
    /// A datagram too big for the path, and not fragmentable (R84).
    SendTooBig,
    /// A packet longer than what passes to its peer, which forbids to be fragmented (R104).
    TooLong,
    /// The TUN took no packet.
    TunFull,
    // The shield's, of what came from a peer.
    /// Not for the one address that is ours, or not of IPv4.
    WrongDestination,
    /// It answers nothing that was sent from here.
    Unsolicited,
    /// A fragment behind none that was let in, out of order, or cut as nobody cuts.
    StrayFragment,
    /// ICMP that is neither an answer nor an error about what was sent from here.
    RefusedIcmp,
    /// IPv4 options, such as a route to take.
    IpOptions,
    // The kernel's queues in front of us.
    /// Packets came to the TUN faster than they were read.
    TunOverflow,
    /// Datagrams, or runs of them, came to a socket faster than they were read.
    SocketOverflow,
}

/// All reasons, in the order of the counters, with their stable names.
const NAMES: [(Drop, &str); 39] = [
    (Drop::Malformed, "malformed"),
    (Drop::NotRunning, "not_running"),
    (Drop::NoPrivateKey, "no_private_key"),
    (Drop::BadMac1, "bad_mac1"),
    (Drop::CookieSent, "cookie_sent"),
    (Drop::RateLimited, "rate_limited"),
    (Drop::HandshakeForged, "handshake_forged"),
    (Drop::LowOrder, "low_order"),
    (Drop::UnknownPeer, "unknown_peer"),
    (Drop::OldTimestamp, "old_timestamp"),
    (Drop::InitiationFlood, "initiation_flood"),
    (Drop::UnknownIndex, "unknown_index"),
    (Drop::BadCookie, "bad_cookie"),
    (Drop::CounterLimit, "counter_limit"),
    (Drop::Expired, "expired"),
    (Drop::Forged, "forged"),
    (Drop::Replayed, "replayed"),
    (Drop::InnerMalformed, "inner_malformed"),
    (Drop::WrongSource, "wrong_source"),
    (Drop::NoRoute, "no_route"),
    (Drop::NoEndpoint, "no_endpoint"),
    (Drop::PeerLowOrder, "peer_low_order"),
    (Drop::RoutingLoop, "routing_loop"),
    (Drop::StagedOverflow, "staged_overflow"),
    (Drop::StagedPurged, "staged_purged"),
    (Drop::TunMalformed, "tun_malformed"),
    (Drop::HandshakeQueueFull, "ring_full"),
    (Drop::Oversize, "oversize"),
    (Drop::SendFailed, "send_failed"),
    (Drop::SendTooBig, "send_too_big"),
    (Drop::TooLong, "too_long"),
    (Drop::TunFull, "tun_full"),
    (Drop::WrongDestination, "wrong_destination"),
    (Drop::Unsolicited, "unsolicited"),
    (Drop::StrayFragment, "stray_fragment"),
    (Drop::RefusedIcmp, "refused_icmp"),
    (Drop::IpOptions, "ip_options"),
    (Drop::TunOverflow, "tun_overflow"),
    (Drop::SocketOverflow, "socket_overflow"),
];

impl Drop {
    /// The name used in `hop status --json`; never changes.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(d, _)| *d == self).map_or("unnamed", |(_, n)| n)
    }
}

/// One counter a reason.
pub struct Counters([u64; NAMES.len()]);

impl Default for Counters {
    fn default() -> Counters {
        Counters([0; NAMES.len()])
    }
}

impl Counters {
    pub fn count(&mut self, why: Drop) {
        self.add(why, 1);
    }

    pub fn add(&mut self, why: Drop, n: u64) {
        if let Some(c) = self.0.get_mut(why as usize) {
            *c = c.saturating_add(n);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().zip(&self.0).map(|((_, name), n)| (*name, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (i, (d, name)) in NAMES.iter().enumerate() {
            assert_eq!(*d as usize, i, "{d:?} stands in the wrong place");
            assert_eq!(d.name(), *name);
            assert_eq!(NAMES.iter().filter(|(_, n)| n == name).count(), 1);
        }
        let mut c = Counters::default();
        c.add(Drop::SocketOverflow, 2);
        assert_eq!(c.iter().last(), Some(("socket_overflow", 2)));
    }
}
