//! Frozen transcripts of an independent implementation, byte by byte, and what must fail.
//! The files, and how they were made: `tests/vectors/README.md`.

use std::collections::BTreeMap;

use super::*;

const NO_PSK: &str = include_str!("../../../tests/vectors/handshake.txt");
const WITH_PSK: &str = include_str!("../../../tests/vectors/handshake_psk.txt");
const OTHER_NOISE: &str = include_str!("../../../tests/vectors/noise_ikpsk2_own.json");

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

    fn get<const N: usize>(&self, name: &str) -> [u8; N] {
        self.0[name].as_slice().try_into().unwrap_or_else(|_| panic!("size of {name}"))
    }

    fn index(&self, name: &str) -> u32 {
        u32::from_le_bytes(self.get(name))
    }
}

/// Both sides of a vector, ready for a handshake.
struct Pair {
    v: Vector,
    i: Identity,
    r: Identity,
    ss: Secret,
    psk: Secret,
}

impl Pair {
    fn new(text: &'static str) -> Pair {
        let v = Vector::read(text);
        let (i, r) = (Identity::new(v.get("i_private")), Identity::new(v.get("r_private")));
        let ss = i.static_static(&r.public).unwrap();
        let psk = Secret::new(v.get("psk"));
        Pair { v, i, r, ss, psk }
    }

    fn initiate(&self) -> (Initiated, Initiation) {
        let to = Remote { public: &self.r.public, static_static: &self.ss, preshared: &self.psk };
        let stamp = Tai64n(self.v.get("timestamp"));
        let ephemeral = Ephemeral::new(self.v.get("i_ephemeral"), to.public).unwrap();
        initiate(&self.i, &to, self.v.index("i_index"), ephemeral, stamp)
    }

    fn consume(&self, m: &Initiation) -> Result<Consumed, Drop> {
        let claimed = open_static(&self.r, m)?;
        let ss = self.r.static_static(&claimed.public).ok_or(Drop::LowOrder)?;
        claimed.authenticate(&ss, m)
    }

    fn respond(&self, consumed: Consumed) -> (Response, SessionKeys) {
        self.respond_with(consumed, &self.psk)
    }

    fn respond_with(&self, consumed: Consumed, psk: &Secret) -> (Response, SessionKeys) {
        let to = Remote { public: &self.i.public, static_static: &self.ss, preshared: psk };
        let ephemeral = Ephemeral::new(self.v.get("r_ephemeral"), to.public).unwrap();
        respond(consumed, &to, self.v.index("r_index"), ephemeral).unwrap()
    }

    fn finish(&self, state: &Initiated, m: &Response) -> Result<SessionKeys, Drop> {
        state.finish(&self.i, &self.psk, m)
    }
}

#[test]
fn whole_handshakes_are_byte_exact_on_both_sides() {
    // R03 R05 R09–R13 R22
    for text in [NO_PSK, WITH_PSK] {
        let p = Pair::new(text);
        assert_eq!(p.i.public, p.v.get("i_public"));
        assert_eq!(p.r.public, p.v.get("r_public"));
        assert_eq!(p.r.static_static(&p.i.public).unwrap().bytes(), p.ss.bytes());

        let (state, m1) = p.initiate();
        // The two MACs at the end are the cookie module's.
        assert_eq!(m1.write()[..116], p.v.get::<148>("initiation")[..116]);
        assert_eq!(state.index, p.v.index("i_index"));

        let claimed = open_static(&p.r, &m1).unwrap();
        assert_eq!(claimed.public, p.i.public);
        let consumed = claimed.authenticate(&p.ss, &m1).unwrap();
        assert_eq!(consumed.timestamp.0, p.v.get("timestamp"));
        assert_eq!(consumed.sender, p.v.index("i_index"));

        let (m2, r_keys) = p.respond(consumed);
        assert_eq!(m2.write()[..60], p.v.get::<92>("response")[..60]);

        let i_keys = p.finish(&state, &m2).unwrap();
        for (name, sends, receives) in [
            ("key_i_to_r", &i_keys.send, &r_keys.receive),
            ("key_r_to_i", &r_keys.send, &i_keys.receive),
        ] {
            assert_eq!(*sends.bytes(), p.v.get(name), "{name}");
            assert_eq!(*receives.bytes(), p.v.get(name), "{name}");
        }
    }
}

#[test]
fn private_keys_and_ephemerals_are_clamped() {
    // R15
    let p = Pair::new(NO_PSK);
    let mut loose = p.v.get::<32>("i_private");
    loose[0] ^= 7;
    loose[31] ^= 0xc0;
    let me = Identity::new(loose);
    assert_eq!(me.public, p.i.public);
    assert_eq!(me.private().bytes(), p.i.private().bytes());
    let b = me.private().bytes();
    assert_eq!((b[0] & 7, b[31] & 0xc0), (0, 0x40));
}

#[test]
fn the_preshared_key_counts_and_zeros_mean_unset() {
    // R13: message 1 does not depend on it; message 2 does.
    let (a, b) = (Pair::new(NO_PSK), Pair::new(WITH_PSK));
    assert_eq!(a.v.get::<32>("psk"), [0; 32]);
    let (state, m1) = b.initiate();
    let (m2, _) = b.respond_with(b.consume(&m1).unwrap(), &a.psk);
    assert_eq!(b.finish(&state, &m2).err(), Some(Drop::HandshakeForged));
    let (m2, _) = b.respond(b.consume(&m1).unwrap());
    assert!(state.finish(&b.i, &a.psk, &m2).is_err());
    assert!(b.finish(&state, &m2).is_ok());
}

/// Flips every bit of `field` in turn.
fn each_flip<const N: usize>(field: [u8; N]) -> impl Iterator<Item = [u8; N]> {
    (0..N * 8).map(move |bit| {
        let mut f = field;
        f[bit / 8] ^= 1 << (bit % 8);
        f
    })
}

#[test]
fn one_flipped_bit_of_message_1_is_refused() {
    // R17. The index is covered by mac1 alone. An ephemeral's top bit does not change the point,
    // but the hash covers it.
    let p = Pair::new(WITH_PSK);
    let (_, good) = p.initiate();
    let copy = || Initiation { ..p.initiate().1 };
    for (n, ephemeral) in each_flip(good.ephemeral).enumerate().filter(|(n, _)| n % 8 == 7) {
        let got = p.consume(&Initiation { ephemeral, ..copy() });
        assert_eq!(got.err(), Some(Drop::HandshakeForged), "ephemeral bit {n}");
    }
    for (n, static_key) in each_flip(good.static_key).enumerate() {
        let got = p.consume(&Initiation { static_key, ..copy() });
        assert_eq!(got.err(), Some(Drop::HandshakeForged), "static bit {n}");
    }
    for (n, timestamp) in each_flip(good.timestamp).enumerate().filter(|(n, _)| n % 4 == 1) {
        let got = p.consume(&Initiation { timestamp, ..copy() });
        assert_eq!(got.err(), Some(Drop::HandshakeForged), "timestamp bit {n}");
    }
    assert!(p.consume(&good).is_ok());
}

#[test]
fn forged_responses_are_refused_and_cost_the_initiator_nothing() {
    // R17 R18: the state outlives any number of forgeries.
    let p = Pair::new(WITH_PSK);
    let (state, m1) = p.initiate();
    let (good, _) = p.respond(p.consume(&m1).unwrap());
    let make = |ephemeral, empty| Response {
        sender: good.sender,
        receiver: good.receiver,
        ephemeral,
        empty,
    };
    for ephemeral in each_flip(good.ephemeral).step_by(5) {
        let got = p.finish(&state, &make(ephemeral, good.empty));
        assert_eq!(got.err(), Some(Drop::HandshakeForged));
    }
    for empty in each_flip(good.empty) {
        let got = p.finish(&state, &make(good.ephemeral, empty));
        assert_eq!(got.err(), Some(Drop::HandshakeForged));
    }
    let keys = p.finish(&state, &good).unwrap();
    assert_eq!(*keys.send.bytes(), p.v.get("key_i_to_r"));
}

#[test]
fn a_message_for_somebody_else_is_refused() {
    // R09 R19: the responder's static key is in the hash from the start.
    let p = Pair::new(NO_PSK);
    let (state, m1) = p.initiate();
    let other = Identity::new([0x42; 32]);
    assert_eq!(open_static(&other, &m1).err(), Some(Drop::HandshakeForged));
    // A claimed key without its static-static secret proves nothing.
    let wrong = p.r.static_static(&other.public).unwrap();
    let claimed = open_static(&p.r, &m1).unwrap();
    assert_eq!(claimed.authenticate(&wrong, &m1).err(), Some(Drop::HandshakeForged));
    // A response finished with another static key, too.
    let (m2, _) = p.respond(p.consume(&m1).unwrap());
    assert_eq!(state.finish(&other, &p.psk, &m2).err(), Some(Drop::HandshakeForged));
}

#[test]
fn low_order_points_abort_every_dh() {
    // R14: es and ee by the sender's ephemeral, ss and es by the configured key, se.
    let p = Pair::new(NO_PSK);
    let mut one = [0; 32];
    one[0] = 1;
    for bad in [[0; 32], one] {
        assert!(p.i.static_static(&bad).is_none());
        assert!(Ephemeral::new([9; 32], &bad).is_none());

        let (state, m1) = p.initiate();
        let m = Initiation { ephemeral: bad, ..p.initiate().1 };
        assert_eq!(open_static(&p.r, &m).err(), Some(Drop::LowOrder));

        // ee and se in message 2, made by a responder that got this far with bad points.
        let mut consumed = p.consume(&m1).unwrap();
        consumed.ephemeral = bad;
        let good = Remote { public: &p.i.public, static_static: &p.ss, preshared: &p.psk };
        let ephemeral = Ephemeral::new([9; 32], &p.i.public).unwrap();
        assert!(respond(consumed, &good, 1, ephemeral).is_none());

        let (m2, _) = p.respond(p.consume(&m1).unwrap());
        let m2 = Response { ephemeral: bad, ..m2 };
        assert_eq!(p.finish(&state, &m2).err(), Some(Drop::LowOrder));
    }
}

#[test]
fn every_input_of_message_1_shows_on_the_wire() {
    // R11 R16: other ephemeral, index or timestamp, other message.
    let p = Pair::new(NO_PSK);
    let to = Remote { public: &p.r.public, static_static: &p.ss, preshared: &p.psk };
    let make = |index, e: u8, stamp: u8| {
        let ephemeral = Ephemeral::new([e; 32], to.public).unwrap();
        initiate(&p.i, &to, index, ephemeral, Tai64n([stamp; 12])).1.write()
    };
    let base = make(1, 2, 3);
    assert_eq!(base, make(1, 2, 3), "a pure function");
    let (index, stamp, ephemeral) = (make(9, 2, 3), make(1, 2, 9), make(1, 99, 3));
    assert_eq!((base[..4] == index[..4], base[8..] == index[8..]), (true, true));
    assert_eq!(base[..88], stamp[..88]);
    assert_ne!(base[88..116], stamp[88..116]);
    for (from, to) in [(8, 40), (40, 88), (88, 116)] {
        assert_ne!(base[from..to], ephemeral[from..to]);
    }
}

// The same core under another prologue and with payloads: any Noise IKpsk2.

/// A payload of any length, as [`Transcript::seal`] does it for fixed ones.
fn seal_any(t: &mut Transcript, key: &Secret, text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let tag = Aead::new(key).seal(0, t.hash.bytes(), &mut out);
    out.extend(tag);
    t.mix_hash(&out);
    out
}

fn open_any(t: &mut Transcript, key: &Secret, sealed: &[u8]) -> Vec<u8> {
    let (text, tag) = sealed.split_last_chunk().unwrap();
    let mut text = text.to_vec();
    Aead::new(key).open(0, t.hash.bytes(), &mut text, tag).expect("authentic");
    t.mix_hash(sealed);
    text
}

fn run_ikpsk2(v: &serde_json::Value) {
    let text = |name: &str| v[name].as_str().unwrap_or_else(|| panic!("{name}"));
    let key = |name: &str| -> [u8; 32] { hex(text(name)).try_into().unwrap() };
    let message = |n: usize| {
        let m = &v["messages"][n];
        (hex(m["payload"].as_str().unwrap()), hex(m["ciphertext"].as_str().unwrap()))
    };
    let [psk, same] = ["init_psks", "resp_psks"].map(|n| hex(v[n][0].as_str().unwrap()));
    assert_eq!(psk, same);
    let psk = Secret::new(psk.try_into().unwrap());
    let chain = crypto::hash(&[text("protocol_name").as_bytes()]);
    assert_eq!(text("protocol_name").as_bytes(), CONSTRUCTION);
    let (i, r) = (Identity::new(key("init_static")), Identity::new(key("resp_static")));
    assert_eq!(r.public, key("init_remote_static"));
    let i_e = Identity::new(key("init_ephemeral"));
    let r_e = Identity::new(key("resp_ephemeral"));
    let dh = |a: &Identity, b: &[u8; 32]| a.static_static(b).unwrap();

    // Message 1, sent and received.
    let mut a = Transcript::with(chain, &hex(text("init_prologue")), &r.public);
    let mut b = Transcript::with(chain, &hex(text("resp_prologue")), &r.public);
    let (payload, wire) = message(0);
    let mut sent = i_e.public.to_vec();
    a.mix_ephemeral(&i_e.public);
    let k = a.mix_dh(&dh(&i_e, &r.public));
    sent.extend(a.seal::<32, 48>(&k, &i.public));
    let k = a.mix_dh(&dh(&i, &r.public));
    sent.extend(seal_any(&mut a, &k, &payload));
    assert_eq!(sent, wire);
    let e: [u8; 32] = wire[..32].try_into().unwrap();
    b.mix_ephemeral(&e);
    let k = b.mix_dh(&dh(&r, &e));
    let s = b.open::<32, 48>(&k, wire[32..80].try_into().unwrap()).unwrap();
    let k = b.mix_dh(&dh(&r, &s));
    assert_eq!(open_any(&mut b, &k, &wire[80..]), payload);

    // Message 2.
    let (payload, wire) = message(1);
    let mut sent = r_e.public.to_vec();
    b.mix_ephemeral(&r_e.public);
    let _ = b.mix_dh(&dh(&r_e, &e));
    let _ = b.mix_dh(&dh(&r_e, &s));
    let k = b.mix_preshared(&psk);
    sent.extend(seal_any(&mut b, &k, &payload));
    assert_eq!(sent, wire);
    let e: [u8; 32] = wire[..32].try_into().unwrap();
    a.mix_ephemeral(&e);
    let _ = a.mix_dh(&dh(&i_e, &e));
    let _ = a.mix_dh(&dh(&i, &e));
    let k = a.mix_preshared(&psk);
    assert_eq!(open_any(&mut a, &k, &wire[32..]), payload);

    assert_eq!(a.hash.bytes()[..], hex(text("handshake_hash")));
    assert_eq!(a.hash.bytes(), b.hash.bytes());
    let (a, b) = (a.split(), b.split());
    let count = v["messages"].as_array().unwrap().len();
    assert!(count >= 6, "two transport messages each way");
    for n in 2..count {
        // In turn, the initiator first.
        let (payload, wire) = message(n);
        let (way, counter) = (n % 2, (n / 2 - 1) as u64);
        let mut buf = payload.clone();
        let tag = Aead::new(&a[way]).seal(counter, &[], &mut buf);
        assert_eq!([&buf[..], &tag].concat(), wire, "message {n}");
        Aead::new(&b[way]).open(counter, &[], &mut buf, &tag).unwrap();
        assert_eq!(buf, payload);
    }
}

#[test]
fn the_core_is_noise_ikpsk2_whatever_prologue_and_payloads() {
    // R09–R12 R22. HOPBOX_NOISE_VECTORS may name a further file in cacophony's format.
    let foreign = std::env::var_os("HOPBOX_NOISE_VECTORS")
        .map(|path| std::fs::read_to_string(path).expect("HOPBOX_NOISE_VECTORS is readable"));
    for text in [Some(OTHER_NOISE.to_string()), foreign].into_iter().flatten() {
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert!(!vectors.is_empty());
        vectors.iter().for_each(run_ikpsk2);
    }
}
