//! What only a look inside can show: counters near their limits, padding, and what a refused
//! message leaves behind.

use super::*;
use crate::limiter::Bucket;
use crate::noise;
use crate::session::Session;
use crate::{Device, HEADROOM, Inbound, Outbound, PeerUpdate, TAILROOM};

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for b in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *b = (self.0 >> 56) as u8;
        }
    }
}

#[derive(Default)]
struct Out(Vec<Vec<u8>>);

impl Sink for Out {
    fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
        self.0.push(datagram.to_vec());
    }

    fn to_tun(&mut self, _: &[u8]) {}
}

const FROM: Arrival = Arrival {
    remote: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1),
    local: None,
    ecn: 0,
};

fn at(secs: u64) -> Now {
    Now { boot: Time::from_nanos(secs * 1_000_000_000), wall: Wall { secs, nanos: 0 } }
}

fn shared(seed: u64) -> Shared {
    let mut identities = LocalIdentities::default();
    identities.set_main(Some([seed as u8; 32]));
    Shared {
        identities,
        entropy: Box::new(Seeded(seed)),
        issuer: Issuer::default(),
        indices: Indices::default(),
        drops: Counters::default(),
        icmp: Bucket::full(Time::ZERO, 1, 1),
        mtu: 1420,
        unprepared: BTreeSet::new(),
    }
}

/// One side: a peer and its surroundings.
struct Side {
    peer: Peer,
    shared: Shared,
    out: Out,
    now: Now,
}

impl Side {
    fn new(seed: u64, other: u64) -> Side {
        let shared = shared(seed);
        let public = Identity::new([other as u8; 32]).public;
        let mut peer = Peer::new(PeerId(1), public, shared.identities.main());
        peer.set_endpoint(FROM.remote);
        Side { peer, shared, out: Out::default(), now: at(1000) }
    }

    fn act<T>(&mut self, f: impl FnOnce(&mut Peer, &mut Env) -> T) -> T {
        f(&mut self.peer, &mut Env { now: self.now, shared: &mut self.shared, sink: &mut self.out })
    }

    fn send(&mut self) -> Option<Ready> {
        let mut buf = [0; HEADROOM + 20 + TAILROOM];
        self.act(|p, env| p.send_data(env, &mut buf, 20, 0))
    }

    fn keys(&mut self) -> &mut Session {
        self.peer.keys.current().expect("a session")
    }

    fn initiations(&self) -> usize {
        self.out.0.iter().filter(|d| d.len() == INITIATION_LEN).count()
    }

    /// As if the last initiation had been long ago (R62).
    fn rested(mut self) -> Side {
        self.peer.timers.permit_initiation();
        self.out.0.clear();
        self
    }
}

/// Both sides of a session that the first initiated and whose first packet has arrived.
fn pair() -> (Side, Side) {
    let (mut a, mut b) = (Side::new(1, 2), Side::new(2, 1));
    a.act(|p, env| p.want_handshake(env));
    let d = a.out.0.remove(0);
    let Some(crate::msg::Message::Initiation(m)) = crate::msg::Message::parse(&d) else {
        panic!("an initiation")
    };
    let claimed = noise::open_static(b.shared.identities.main().unwrap(), &m).ok().unwrap();
    b.act(|p, env| p.receive_initiation(env, claimed, &m, &FROM)).unwrap();
    let d = b.out.0.remove(0);
    let Some(crate::msg::Message::Response(m)) = crate::msg::Message::parse(&d) else {
        panic!("a response")
    };
    a.act(|p, env| p.receive_response(env, &m, &FROM)).unwrap();
    let mut d = a.out.0.remove(0);
    let header = DataHeader::read(&d).unwrap();
    b.act(|p, env| p.receive_data(env, &header, &mut d, None, &FROM)).unwrap();
    (a.rested(), b.rested())
}

// R60: more than 2^60 messages, on either side, and not one earlier.
#[test]
fn both_roles_renew_after_two_to_the_60_messages() {
    let (a, b) = pair();
    for mut side in [a, b] {
        side.keys().preset_counter((1 << 60) - 1);
        assert!(side.send().is_some());
        assert_eq!(side.initiations(), 0, "2^60 messages");
        assert!(side.send().is_some());
        assert_eq!(side.initiations(), 1, "2^60 + 1 messages");
    }
}

// R52; boringtun #478, gotatun #143: the limit that was absent.
#[test]
fn nothing_is_sealed_at_the_counter_limit() {
    let (mut a, _) = pair();
    a.keys().preset_counter(u64::MAX - 8192 - 1);
    assert!(a.send().is_some(), "the last one");
    a = a.rested();
    assert!(a.send().is_none());
    assert_eq!(a.initiations(), 1);
    assert!(!a.peer.staged.is_empty());
    a.act(|p, env| p.send_keepalive(env));
    assert!(a.out.0.iter().all(|d| d.len() == INITIATION_LEN), "no keepalive either");
}

// R54: the whole counter is used, in 64 bits; boringtun #468 had a pointer's width.
#[test]
fn counters_beyond_32_bits_are_written_in_full() {
    let (mut a, mut b) = pair();
    for n in [u64::from(u32::MAX), 1 << 32, (1 << 45) + 7] {
        a.keys().preset_counter(n);
        let mut buf = [0; HEADROOM + 20 + TAILROOM];
        buf[HEADROOM] = 0x45;
        let ready = a.act(|p, env| p.send_data(env, &mut buf, 20, 0)).unwrap();
        assert_eq!(buf[8..16], n.to_le_bytes());
        let datagram = &mut buf[..ready.len];
        ready.sealing.seal(datagram);
        let header = DataHeader::read(datagram).unwrap();
        let len = b.act(|p, env| p.receive_data(env, &header, datagram, None, &FROM));
        assert_eq!(len, Ok(32));
    }
}

// R59 R60 R61 R23: a session that may not send is no reason to renew it by age.
#[test]
fn sessions_forbidden_to_send_ask_for_no_renewal() {
    let (mut a, _) = pair();
    let now = a.now.boot.after(Duration::from_secs(170));
    assert!(a.keys().wants_rekey_on_send(now) && a.keys().wants_rekey_on_receive(now));
    a.keys().forbid_sending();
    assert!(!a.keys().wants_rekey_on_send(now) && !a.keys().wants_rekey_on_receive(now));
    let now = a.now.boot;
    assert!(!a.keys().can_send(now));
}

// R59 R61: by role and by age, to the nanosecond.
#[test]
fn renewal_by_age_is_the_initiators_alone() {
    let (mut a, mut b) = pair();
    let born = a.keys().born;
    let after = |ns: u64| born.after(Duration::from_nanos(ns));
    let s = 1_000_000_000;
    assert!(!a.keys().wants_rekey_on_send(after(120 * s - 1)));
    assert!(a.keys().wants_rekey_on_send(after(120 * s)));
    assert!(!a.keys().wants_rekey_on_receive(after(165 * s - 1)));
    assert!(a.keys().wants_rekey_on_receive(after(165 * s)));
    assert!(a.keys().can_send(after(180 * s - 1)) && !a.keys().can_send(after(180 * s)));
    assert!(!b.keys().wants_rekey_on_send(after(179 * s)));
    assert!(!b.keys().wants_rekey_on_receive(after(179 * s)));
}

// R07 R87
#[test]
fn padding_is_to_16_within_the_mtu() {
    for (len, mtu, want) in [
        (0, 1420, 0),
        (1, 1420, 16),
        (16, 1420, 16),
        (17, 1420, 32),
        (1419, 1420, 1420),
        (1420, 1420, 1420),
        (1421, 1420, 1421),
        (5, 0, 5),
        (65_535, 65_535, 65_535),
    ] {
        assert_eq!(padded_len(len, mtu), want, "{len} at {mtu}");
    }
}

// R64: both ends of the range occur.
#[test]
fn jitter_reaches_from_0_to_333_ms() {
    let mut s = shared(3);
    let all: Vec<u128> = (0..20_000).map(|_| s.jitter().as_millis()).collect();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&0), Some(&333)));
}

// R16 R21 R57: what was made ahead goes into one message, and is wiped with the sessions.
#[test]
fn a_prepared_ephemeral_is_used_once_and_does_not_outlive_the_sessions() {
    let (a, _) = pair();
    let mut side = a;
    let mut seen = BTreeSet::new();
    for prepared in [true, true, false, true, false, false, true] {
        let mut ahead = None;
        if prepared {
            side.peer.prepare(&mut side.shared);
            ahead = side.peer.ephemeral.as_ref().map(|e| e.public);
            assert!(ahead.is_some());
            side.peer.prepare(&mut side.shared);
            assert_eq!(side.peer.ephemeral.as_ref().map(|e| e.public), ahead, "made once");
        }
        side = side.rested();
        side.act(|p, env| p.want_handshake(env));
        let sent: [u8; 32] = side.out.0[0][8..40].try_into().unwrap();
        assert_eq!(ahead.unwrap_or(sent), sent);
        assert!(side.peer.ephemeral.is_none());
        assert!(seen.insert(sent), "a fresh one for each");
    }
    side.peer.prepare(&mut side.shared);
    side.act(|p, env| p.fire(env, Timer::Wipe));
    assert!(side.peer.ephemeral.is_none());
    side.peer.prepare(&mut side.shared);
    side.peer.stop(&mut side.shared);
    assert!(side.peer.ephemeral.is_none());
}

// R44 R57 R96: what a peer holds, it gives back.
#[test]
fn stop_gives_every_index_back_and_purges_what_waits() {
    let (mut a, _) = pair();
    a.act(|p, env| p.want_handshake(env));
    assert_eq!(a.shared.indices.len(), 2);
    a.keys().forbid_sending();
    assert!(a.send().is_none());
    let Side { peer, shared, .. } = &mut a;
    peer.stop(shared);
    assert_eq!(shared.indices.len(), 0);
    assert!(peer.staged.is_empty());
    assert_eq!(peer.timers.next(), None);
    assert_eq!(
        shared.drops.iter().find(|(n, _)| *n == "staged_purged"),
        Some(("staged_purged", 1))
    );
}

// R23 R50: a session that waits as next is forbidden to send as well.
#[test]
fn a_change_of_our_key_reaches_the_session_that_waits() {
    let (mut a, mut b) = pair();
    a.now = at(2000);
    b.now = at(2000);
    a.act(|p, env| p.want_handshake(env));
    let d = a.out.0.remove(0);
    let Some(crate::msg::Message::Initiation(m)) = crate::msg::Message::parse(&d) else {
        panic!("an initiation")
    };
    let claimed = noise::open_static(b.shared.identities.main().unwrap(), &m).ok().unwrap();
    b.act(|p, env| p.receive_initiation(env, claimed, &m, &FROM)).unwrap();
    let next = b.peer.keys.slots()[2].expect("a waiting session");
    b.act(|p, env| p.identity_changed(env));
    let now = b.now.boot;
    assert!(!b.peer.keys.find(next).unwrap().can_send(now));
}

// R08 R29
#[test]
fn a_device_keeps_nothing_of_a_message_that_was_refused() {
    let mut device = Device::new(Box::new(Seeded(9)));
    let mut out = Out::default();
    device.set_private_key(at(1), Some([9; 32]), &mut out);
    let mut update = PeerUpdate::default();
    update.public_key = Identity::new([1; 32]).public;
    device.update_peer(at(1), &update, &mut out).unwrap();
    device.start(at(1), &mut out);
    let mut d = [0u8; INITIATION_LEN];
    d[0] = 1;
    assert_eq!(device.from_wire(at(1), &mut d, &FROM, &mut out), Inbound::Dropped(Drop::BadMac1));
    assert_eq!((device.live_indices(), device.next_deadline()), (0, None));
    assert!(matches!(
        device.from_tun(at(1), &mut [0; 100], 30, &mut out),
        Outbound::Dropped(Drop::TunMalformed)
    ));
    assert!(out.0.is_empty());
}
