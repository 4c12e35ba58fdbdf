//! The frozen transcripts, byte by byte, through a whole device on either side: entropy and time
//! come from the file, so a transcript is a pure function. What the files are: `README.md`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hopbox::wg::{
    Arrival, Device, Drop, Endpoint, Entropy, HANDSHAKE_QUEUE, HEADROOM, Inbound, Now, Outbound,
    PeerUpdate, Sink, TAILROOM, Time, Wall,
};

const NO_PSK: &str = include_str!("handshake.txt");
const WITH_PSK: &str = include_str!("handshake_psk.txt");
const COOKIE_V4: &str = include_str!("cookie_v4.txt");
const COOKIE_V6: &str = include_str!("cookie_v6.txt");
const ROTATION: &str = include_str!("rotation.txt");

/// Traffic class of handshake messages, told again (R83).
const AF41: u8 = 0x88;

fn hex(s: &str) -> Vec<u8> {
    assert!(s.len() % 2 == 0);
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

/// The values of a `name = hex` file.
struct Vector(BTreeMap<&'static str, Vec<u8>>);

impl Vector {
    fn read(text: &'static str) -> Vector {
        let lines = text.lines().filter(|l| !l.starts_with('#'));
        Vector(lines.map(|l| l.split_once(" = ").unwrap()).map(|(n, v)| (n, hex(v))).collect())
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.get(name).try_into().unwrap_or_else(|_| panic!("size of {name}"))
    }

    /// The moment `name` stands for: boot time runs along with wall time.
    fn now(&self, name: &str) -> Now {
        let (secs, nanos) = self.get(name).split_at(8);
        let secs = u64::from_le_bytes(secs.try_into().unwrap());
        let nanos = u32::from_le_bytes(nanos.try_into().unwrap());
        let boot = secs * 1_000_000_000 - 1_600_000_000_000_000_000 + u64::from(nanos);
        Now { boot: Time::from_nanos(boot), wall: Wall { secs, nanos } }
    }
}

fn later(now: Now, d: Duration) -> Now {
    let wall = Wall { secs: now.wall.secs + d.as_secs(), ..now.wall };
    Now { boot: now.boot.after(d), wall }
}

/// Hands out what the file says, by size: 32 bytes are an ephemeral or a cookie secret, 4 an
/// index, 24 a nonce. 8 are jitter: always none.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl Script {
    fn push(&self, v: &Vector, names: &[&str]) {
        self.0.lock().unwrap().extend(names.iter().map(|n| v.get(n).to_vec()));
    }

    fn is_used_up(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl Entropy for Script {
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() == 8 {
            return out.fill(0);
        }
        let mut left = self.0.lock().unwrap();
        let at = left.iter().position(|v| v.len() == out.len());
        let value = at.and_then(|at| left.remove(at));
        out.copy_from_slice(&value.unwrap_or_else(|| panic!("{} unplanned bytes", out.len())));
    }
}

#[derive(Default)]
struct Wire(Vec<(SocketAddr, u8, Vec<u8>)>);

impl Sink for Wire {
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]) {
        self.0.push((to.remote, tos, datagram.to_vec()));
    }

    fn to_tun(&mut self, _: &[u8]) {
        panic!("no ICMP error belongs here");
    }
}

/// One device with one peer, which is played by the file.
struct Side {
    device: Device,
    script: Script,
    wire: Wire,
    now: Now,
    /// Where the other side is.
    there: SocketAddr,
    other: [u8; 32],
}

fn i_address() -> SocketAddr {
    "192.0.2.7:51820".parse().unwrap()
}

fn r_address() -> SocketAddr {
    "198.51.100.1:51820".parse().unwrap()
}

impl Side {
    fn new(v: &Vector, me: char, now: Now, there: SocketAddr) -> Side {
        let (own, other, inner) =
            if me == 'i' { ("i_private", "r_public", 2) } else { ("r_private", "i_public", 1) };
        let script = Script::default();
        let mut device = Device::new(Box::new(script.clone()));
        let mut wire = Wire::default();
        device.set_private_key(now, Some(v.array(own)), &mut wire);
        let other = v.array(other);
        let mut update = PeerUpdate::default();
        update.public_key = other;
        update.preshared_key = Some(v.array("psk"));
        update.endpoint = (me == 'i').then_some(there);
        update.allowed_ips = vec![(IpAddr::V4(Ipv4Addr::new(10, 0, 0, inner)), 32, true)];
        device.update_peer(now, &update, &mut wire).unwrap();
        device.start(now, &mut wire);
        assert!(wire.0.is_empty());
        Side { device, script, wire, now, there, other }
    }

    fn initiator(v: &Vector, now: Now) -> Side {
        Side::new(v, 'i', now, r_address())
    }

    fn responder(v: &Vector, now: Now) -> Side {
        Side::new(v, 'r', now, i_address())
    }

    /// Wants a keepalive out at once, and no more of them.
    fn nudge(&mut self) {
        for secs in [25, 0] {
            let mut update = PeerUpdate::default();
            update.public_key = self.other;
            update.persistent_keepalive = Some(secs);
            self.device.update_peer(self.now, &update, &mut self.wire).unwrap();
        }
    }

    /// What left since the last look: it must be exactly this, in this order, to the peer.
    fn expect(&mut self, tos: u8, want: &[&[u8]]) {
        let sent = std::mem::take(&mut self.wire.0);
        assert_eq!(sent.len(), want.len(), "number of datagrams");
        for ((to, t, datagram), want) in sent.iter().zip(want) {
            assert_eq!((*to, *t), (self.there, tos));
            assert_eq!(datagram, want);
        }
    }

    fn hear_from(&mut self, remote: SocketAddr, datagram: &[u8]) -> (Inbound, Vec<u8>) {
        let mut buf = datagram.to_vec();
        let from = Arrival { remote, local: None, ecn: 0 };
        let what = self.device.from_wire(self.now, &mut buf, &from, &mut self.wire);
        let packet = match what {
            Inbound::Packet { start, len } => buf[start..start + len].to_vec(),
            _ => Vec::new(),
        };
        (what, packet)
    }

    fn hear(&mut self, datagram: &[u8]) -> Inbound {
        self.hear_from(self.there, datagram).0
    }

    /// A datagram that must deliver this packet.
    fn deliver(&mut self, datagram: &[u8], want: &[u8]) {
        let (what, packet) = self.hear_from(self.there, datagram);
        assert!(matches!(what, Inbound::Packet { .. }), "{what:?}");
        assert_eq!(packet, want);
    }

    /// A packet of a local program that must leave at once as this datagram.
    fn send(&mut self, packet: &[u8], want: &[u8]) {
        // Dirt behind the packet shows padding that was not zeroed (R07).
        let mut buf = vec![0xee; HEADROOM + packet.len() + TAILROOM];
        buf[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        match self.device.from_tun(self.now, &mut buf, packet.len(), &mut self.wire) {
            Outbound::Send { to, tos, len } => {
                assert_eq!((to.remote, tos), (self.there, 0));
                assert_eq!(buf[..len], *want);
            }
            other => panic!("{other:?}"),
        }
    }

    fn last_handshake(&self) -> Option<Wall> {
        self.device.peers()[0].last_handshake
    }
}

#[test]
fn as_initiator() {
    // R03 R04 R07 R11–R13 R22 R51 R79 R87 R100
    for text in [NO_PSK, WITH_PSK] {
        let v = Vector::read(text);
        let mut i = Side::initiator(&v, v.now("wall"));
        i.script.push(&v, &["i_ephemeral", "i_index"]);
        i.nudge();
        i.expect(AF41, &[v.get("initiation")]);
        assert_eq!(i.last_handshake(), None);
        assert_eq!(i.hear(v.get("response")), Inbound::Consumed);
        assert_eq!(i.last_handshake(), Some(i.now.wall));
        i.expect(0, &[v.get("i_data_0")]);
        for n in 1..=4 {
            i.send(v.get(&format!("i_packet_{n}")), v.get(&format!("i_data_{n}")));
        }
        for n in 0..=3 {
            i.deliver(v.get(&format!("r_data_{n}")), v.get(&format!("r_packet_{n}")));
        }
        assert_eq!(i.hear(v.get("r_data_4")), Inbound::Consumed);
        i.expect(0, &[]);
        assert!(i.script.is_used_up());
        assert_eq!(i.device.live_indices(), 1);
    }
}

#[test]
fn as_responder() {
    // R03 R04 R07 R11–R13 R22 R49 R50 R79 R88 R92
    for text in [NO_PSK, WITH_PSK] {
        let v = Vector::read(text);
        let mut r = Side::responder(&v, v.now("wall"));
        r.script.push(&v, &["r_ephemeral", "r_index"]);
        assert_eq!(r.hear(v.get("initiation")), Inbound::Consumed);
        r.expect(AF41, &[v.get("response")]);
        assert_eq!(r.last_handshake(), None, "not confirmed yet");
        assert_eq!(r.hear(v.get("i_data_0")), Inbound::Consumed);
        assert_eq!(r.last_handshake(), Some(r.now.wall));
        // Out of order: the window does not mind (R56).
        for n in [3, 1, 4, 2] {
            r.deliver(v.get(&format!("i_data_{n}")), v.get(&format!("i_packet_{n}")));
        }
        for n in 0..=3 {
            r.send(v.get(&format!("r_packet_{n}")), v.get(&format!("r_data_{n}")));
        }
        r.nudge();
        r.expect(0, &[v.get("r_data_4")]);
        assert!(r.script.is_used_up());
        assert_eq!(r.device.live_indices(), 1);
    }
}

#[test]
fn data_sizes_are_as_told() {
    // R07 R87: padded to 16, not past the MTU; a keepalive is 32 bytes.
    let v = Vector::read(NO_PSK);
    let size = |name: &str| v.get(name).len();
    assert_eq!([0, 1, 2, 3, 4].map(|n| size(&format!("i_packet_{n}"))), [0, 21, 64, 1419, 1420]);
    let want = [32, 32 + 32, 64 + 32, 1420 + 32, 1420 + 32];
    assert_eq!([0, 1, 2, 3, 4].map(|n| size(&format!("i_data_{n}"))), want);
}

#[test]
fn everything_heard_twice_is_heard_once() {
    // R18 R25 R55 R56
    let v = Vector::read(WITH_PSK);
    let mut i = Side::initiator(&v, v.now("wall"));
    i.script.push(&v, &["i_ephemeral", "i_index"]);
    i.nudge();
    i.hear(v.get("response"));
    i.wire.0.clear();
    assert_eq!(i.hear(v.get("response")), Inbound::Dropped(Drop::UnknownIndex));
    i.deliver(v.get("r_data_0"), v.get("r_packet_0"));
    assert_eq!(i.hear(v.get("r_data_0")), Inbound::Dropped(Drop::Replayed));

    let mut r = Side::responder(&v, v.now("wall"));
    r.script.push(&v, &["r_ephemeral", "r_index"]);
    r.hear(v.get("initiation"));
    r.wire.0.clear();
    r.now = later(r.now, Duration::from_secs(1));
    assert_eq!(r.hear(v.get("initiation")), Inbound::Dropped(Drop::OldTimestamp));
    assert_eq!(r.hear(v.get("i_data_0")), Inbound::Consumed);
    assert_eq!(r.hear(v.get("i_data_0")), Inbound::Dropped(Drop::Replayed));
    assert!(i.wire.0.is_empty() && r.wire.0.is_empty());
}

#[test]
fn damage_meets_silence_and_leaves_no_trace() {
    // R01 R02 R08 R17 R29 R94: any byte flipped, a byte missing, a byte too many. Then the
    // undamaged message still works, so nothing was used up.
    let v = Vector::read(NO_PSK);
    let mut r = Side::responder(&v, v.now("wall"));
    let good = v.get("initiation");
    // mac2 is not looked at without load (R40).
    for at in 0..132 {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let want = if at < 4 { Drop::Malformed } else { Drop::BadMac1 };
        assert_eq!(r.hear(&bad), Inbound::Dropped(want), "byte {at}");
    }
    assert_eq!(r.hear(&good[..147]), Inbound::Dropped(Drop::Malformed));
    assert_eq!(r.hear(&[good, &[0]].concat()), Inbound::Dropped(Drop::Malformed));
    assert!(r.wire.0.is_empty() && r.script.is_used_up());
    assert_eq!((r.device.live_indices(), r.device.peers()[0].endpoint), (0, None));
    r.script.push(&v, &["r_ephemeral", "r_index"]);
    assert_eq!(r.hear(good), Inbound::Consumed);
    r.expect(AF41, &[v.get("response")]);

    let good = v.get("i_data_1");
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let why = r.hear(&bad);
        assert!(matches!(why, Inbound::Dropped(_)), "byte {at}");
    }
    assert_eq!(r.last_handshake(), None, "forged data confirms nothing");
    r.deliver(good, v.get("i_packet_1"));

    let mut i = Side::initiator(&v, v.now("wall"));
    i.script.push(&v, &["i_ephemeral", "i_index"]);
    i.nudge();
    i.wire.0.clear();
    let good = v.get("response");
    for at in 0..76 {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        assert!(matches!(i.hear(&bad), Inbound::Dropped(_)), "byte {at}");
    }
    i.expect(0, &[]);
    assert_eq!(i.hear(good), Inbound::Consumed);
    i.expect(0, &[v.get("i_data_0")]);
}

fn cookie_vectors() -> [(Vector, SocketAddr); 2] {
    [COOKIE_V4, COOKIE_V6].map(|text| {
        let v = Vector::read(text);
        let ip = match v.get("i_address").len() {
            4 => IpAddr::from(v.array::<4>("i_address")),
            _ => IpAddr::from(v.array::<16>("i_address")),
        };
        let at = SocketAddr::new(ip, u16::from_be_bytes(v.array("i_port")));
        (v, at)
    })
}

#[test]
fn cookie_exchange_as_the_loaded_responder() {
    // R29 R32–R34 R38–R40
    for (v, at) in cookie_vectors() {
        let mut r = Side::new(&v, 'r', v.now("first_wall"), at);
        r.device.set_queued(r.now, HANDSHAKE_QUEUE);
        r.script.push(&v, &["cookie_secret", "cookie_nonce"]);
        assert_eq!(r.hear(v.get("first_initiation")), Inbound::Dropped(Drop::CookieSent));
        r.expect(AF41, &[v.get("cookie_reply")]);
        assert_eq!(r.device.peers()[0].endpoint, None, "nobody has authenticated");

        // Still loaded at the retry. From another port its mac2 is worth nothing (R32).
        r.now = v.now("wall");
        r.device.set_queued(r.now, HANDSHAKE_QUEUE);
        r.script.push(&v, &["cookie_nonce"]);
        let elsewhere = SocketAddr::new(at.ip(), at.port() ^ 1);
        let (what, _) = r.hear_from(elsewhere, v.get("initiation"));
        assert_eq!(what, Inbound::Dropped(Drop::CookieSent));
        let (to, _, other) = r.wire.0.pop().unwrap();
        assert_eq!((to, other.len()), (elsewhere, 64));
        assert_ne!(other[32..], v.get("cookie_reply")[32..]);

        r.script.push(&v, &["r_ephemeral", "r_index"]);
        assert_eq!(r.hear(v.get("initiation")), Inbound::Consumed);
        r.expect(AF41, &[v.get("response")]);
        assert!(r.script.is_used_up());
    }
}

#[test]
fn cookie_exchange_as_the_initiator() {
    // R31 R35–R37 R16: nothing is sent at once; the retry is a new message and carries mac2.
    for (v, _) in cookie_vectors() {
        let mut i = Side::initiator(&v, v.now("first_wall"));
        i.script.push(&v, &["first_i_ephemeral", "first_i_index"]);
        i.nudge();
        i.expect(AF41, &[v.get("first_initiation")]);
        let mut bad = v.get("cookie_reply").to_vec();
        for at in 8..64 {
            bad[at] ^= 1;
            assert_eq!(i.hear(&bad), Inbound::Dropped(Drop::BadCookie), "byte {at}");
            bad[at] ^= 1;
        }
        assert_eq!(i.hear(v.get("cookie_reply")), Inbound::Consumed);
        let again = i.hear(v.get("cookie_reply"));
        assert_eq!(again, Inbound::Dropped(Drop::BadCookie), "one reply for one mac1");
        i.expect(AF41, &[]);
        i.now = v.now("wall");
        i.script.push(&v, &["i_ephemeral", "i_index"]);
        i.device.on_time(i.now, &mut i.wire);
        i.expect(AF41, &[v.get("initiation")]);
        assert_eq!(i.hear(v.get("response")), Inbound::Consumed);
        assert_eq!(i.wire.0.len(), 1, "the keepalive that confirms");
        assert!(i.script.is_used_up());
    }
}

#[test]
fn rotation_as_initiator() {
    // R47 R58 R59: the packet that finds the session 120 s old still goes out on it.
    let v = Vector::read(ROTATION);
    let mut i = Side::initiator(&v, v.now("first_wall"));
    i.script.push(&v, &["first_i_ephemeral", "first_i_index"]);
    i.nudge();
    i.expect(AF41, &[v.get("first_initiation")]);
    i.hear(v.get("first_response"));
    i.expect(0, &[v.get("first_i_data_0")]);

    i.now = v.now("second_wall");
    i.script.push(&v, &["second_i_ephemeral", "second_i_index"]);
    i.send(v.get("i_packet"), v.get("first_i_data_1"));
    i.expect(AF41, &[v.get("second_initiation")]);
    assert_eq!(i.hear(v.get("second_response")), Inbound::Consumed);
    i.expect(0, &[v.get("second_i_data_0")]);
    i.deliver(v.get("second_r_data_0"), v.get("r_packet"));
    // A late packet of the first session.
    i.deliver(v.get("first_r_data_0"), v.get("r_packet"));
    assert_eq!(i.hear(v.get("first_r_data_0")), Inbound::Dropped(Drop::Replayed));
    i.send(v.get("i_packet"), v.get("second_i_data_1"));
    i.expect(0, &[]);
    assert_eq!(i.device.live_indices(), 2);
}

#[test]
fn rotation_as_responder() {
    // R48–R50 R58 R59: the responder stays with the first session until the second is confirmed.
    let v = Vector::read(ROTATION);
    let mut r = Side::responder(&v, v.now("first_wall"));
    r.script.push(&v, &["first_r_ephemeral", "first_r_index"]);
    r.hear(v.get("first_initiation"));
    r.expect(AF41, &[v.get("first_response")]);
    assert_eq!(r.hear(v.get("first_i_data_0")), Inbound::Consumed);
    r.now = v.now("second_wall");
    // At 120 s the responder does not start a handshake by itself.
    r.send(v.get("r_packet"), v.get("first_r_data_0"));
    r.expect(0, &[]);
    r.script.push(&v, &["second_r_ephemeral", "second_r_index"]);
    assert_eq!(r.hear(v.get("second_initiation")), Inbound::Consumed);
    r.expect(AF41, &[v.get("second_response")]);
    assert_eq!(r.device.live_indices(), 2);
    assert_eq!(r.hear(v.get("second_i_data_0")), Inbound::Consumed);
    r.send(v.get("r_packet"), v.get("second_r_data_0"));
    r.deliver(v.get("first_i_data_1"), v.get("i_packet"));
    r.deliver(v.get("second_i_data_1"), v.get("i_packet"));
    r.expect(0, &[]);
    assert_eq!(r.device.live_indices(), 2);
}
