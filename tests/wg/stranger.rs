//! WireGuard once more, in the fewest lines: the hostile or honest stranger at the other end.
//!
//! Shares no code with the engine, only the primitives' crates, so that an error in the engine's
//! handshake cannot cancel itself out. Can do what no engine would: choose indices, timestamps and
//! counters, seal any plaintext, answer with cookies at will.

use blake2::digest::{Digest, KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, XChaCha20Poly1305};
use x25519_dalek::{PublicKey, StaticSecret};

use hopbox::wg::{Inbound, PeerUpdate};

use super::sim::*;

type Key = [u8; 32];

fn hash(parts: &[&[u8]]) -> Key {
    let mut h = Blake2s256::new();
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into()
}

pub fn mac(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut m = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).unwrap();
    Mac::update(&mut m, text);
    m.finalize().into_bytes().into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let pad =
        |with: u8| -> [u8; 64] { std::array::from_fn(|i| key.get(i).copied().unwrap_or(0) ^ with) };
    let mut inner = vec![pad(0x36).to_vec()];
    inner.extend(parts.iter().map(|p| p.to_vec()));
    hash(&[&pad(0x5c), &hash(&[&inner.concat()])])
}

fn kdf(chain: &Key, input: &[u8]) -> [Key; 3] {
    let secret = hmac(chain, &[input]);
    let one = hmac(&secret, &[&[1]]);
    let two = hmac(&secret, &[&one, &[2]]);
    [one, two, hmac(&secret, &[&two, &[3]])]
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut n = [0; 12];
    n[4..].copy_from_slice(&counter.to_le_bytes());
    n
}

fn seal(key: &Key, counter: u64, aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let aead = ChaCha20Poly1305::new(&(*key).into());
    let tag =
        aead.encrypt_inout_detached(&nonce(counter).into(), aad, (&mut out[..]).into()).unwrap();
    out.extend(tag.iter());
    out
}

fn open(key: &Key, counter: u64, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (text, tag) = sealed.split_last_chunk::<16>()?;
    let mut out = text.to_vec();
    ChaCha20Poly1305::new(&(*key).into())
        .decrypt_inout_detached(&nonce(counter).into(), aad, (&mut out[..]).into(), &(*tag).into())
        .ok()?;
    Some(out)
}

fn dh(private: &Key, public: &Key) -> Key {
    StaticSecret::from(*private).diffie_hellman(&PublicKey::from(*public)).to_bytes()
}

pub fn public(private: &Key) -> Key {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

/// TAI64N of a Unix time.
pub fn stamp(secs: u64, nanos: u32) -> [u8; 12] {
    let mut t = [0; 12];
    t[..8].copy_from_slice(&((1u64 << 62) + 10 + secs).to_be_bytes());
    t[8..].copy_from_slice(&nanos.to_be_bytes());
    t
}

/// The running hash and chaining key.
#[derive(Clone)]
struct Noise {
    hash: Key,
    chain: Key,
}

impl Noise {
    fn new(responder: &Key) -> Noise {
        let chain = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let h = hash(&[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        Noise { hash: hash(&[&h, responder]), chain }
    }

    fn absorb(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix(&mut self, input: &[u8]) -> Key {
        let [chain, key, _] = kdf(&self.chain, input);
        self.chain = chain;
        key
    }

    fn ephemeral(&mut self, public: &Key) {
        self.absorb(public);
        let _ = self.mix(public);
    }

    fn psk(&mut self, psk: &Key) -> Key {
        let [chain, tau, key] = kdf(&self.chain, psk);
        self.chain = chain;
        self.absorb(&tau);
        key
    }

    fn seal(&mut self, key: &Key, text: &[u8]) -> Vec<u8> {
        let out = seal(key, 0, &self.hash, text);
        self.absorb(&out);
        out
    }

    fn open(&mut self, key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        let out = open(key, 0, &self.hash, sealed)?;
        self.absorb(sealed);
        Some(out)
    }
}

/// A session as the stranger holds it.
#[derive(Clone)]
pub struct Keys {
    send: Key,
    receive: Key,
    /// The index the device chose.
    pub remote: u32,
    /// The index the stranger chose.
    pub local: u32,
}

impl Keys {
    /// A data message with any counter and any plaintext.
    pub fn data(&self, counter: u64, text: &[u8]) -> Vec<u8> {
        let mut d = vec![4, 0, 0, 0];
        d.extend(self.remote.to_le_bytes());
        d.extend(counter.to_le_bytes());
        d.extend(seal(&self.send, counter, &[], text));
        d
    }

    /// The plaintext with its padding.
    pub fn open(&self, d: &[u8]) -> Option<Vec<u8>> {
        let counter = u64::from_le_bytes(d.get(8..16)?.try_into().ok()?);
        let mine = d[..4] == [4, 0, 0, 0] && d[4..8] == self.local.to_le_bytes();
        open(&self.receive, counter, &[], &d[16..]).filter(|_| mine)
    }
}

pub struct Pending {
    noise: Noise,
    ephemeral: Key,
    index: u32,
}

/// One who holds a private key and knows one device's public key.
pub struct Stranger {
    pub private: Key,
    pub device: Key,
    pub psk: Key,
    /// The static public key to claim, if not the own one.
    pub claim: Option<Key>,
    /// The static-static secret to use, if not the true one.
    pub static_secret: Option<Key>,
    rng: Rng,
}

impl Stranger {
    pub fn new(private: Key, device: Key) -> Stranger {
        let rng = Rng(u64::from_le_bytes(private[..8].try_into().unwrap()));
        Stranger { private, device, psk: [0; 32], claim: None, static_secret: None, rng }
    }

    /// An initiation with valid mac1 and zero mac2.
    pub fn initiation(&mut self, index: u32, stamp: [u8; 12]) -> (Pending, Vec<u8>) {
        let ephemeral = self.rng.bytes();
        let mut n = Noise::new(&self.device);
        let e = public(&ephemeral);
        let mut d = vec![1, 0, 0, 0];
        d.extend(index.to_le_bytes());
        d.extend(e);
        n.ephemeral(&e);
        let key = n.mix(&dh(&ephemeral, &self.device));
        d.extend(n.seal(&key, &self.claim.unwrap_or(public(&self.private))));
        let shared = self.static_secret.unwrap_or(dh(&self.private, &self.device));
        let key = n.mix(&shared);
        d.extend(n.seal(&key, &stamp));
        self.macs(&mut d);
        (Pending { noise: n, ephemeral, index }, d)
    }

    /// The session from the device's response.
    pub fn finish(&self, p: &Pending, d: &[u8]) -> Option<Keys> {
        if d.len() != 92 || d[8..12] != p.index.to_le_bytes() {
            return None;
        }
        let mut n = p.noise.clone();
        let e: Key = d[12..44].try_into().ok()?;
        n.ephemeral(&e);
        let _ = n.mix(&dh(&p.ephemeral, &e));
        let _ = n.mix(&dh(&self.private, &e));
        let key = n.psk(&self.psk);
        n.open(&key, &d[44..60])?;
        let [send, receive, _] = kdf(&n.chain, &[]);
        Some(Keys { send, receive, remote: word(d, 4), local: p.index })
    }

    /// Opens an initiation of the device: its static key and timestamp, and the state to answer.
    pub fn read(&self, d: &[u8]) -> Option<(Pending, Key, [u8; 12])> {
        let mut n = Noise::new(&public(&self.private));
        let e: Key = d[8..40].try_into().ok()?;
        n.ephemeral(&e);
        let key = n.mix(&dh(&self.private, &e));
        let peer: Key = n.open(&key, &d[40..88])?.try_into().ok()?;
        let key = n.mix(&dh(&self.private, &peer));
        let stamp = n.open(&key, &d[88..116])?.try_into().ok()?;
        Some((Pending { noise: n, ephemeral: e, index: word(d, 4) }, peer, stamp))
    }

    /// A response to an initiation of the device.
    pub fn response(&mut self, initiation: &[u8], index: u32) -> Option<(Keys, Vec<u8>)> {
        let (p, peer, _) = self.read(initiation)?;
        let (mut n, theirs, ephemeral) = (p.noise, p.ephemeral, self.rng.bytes());
        let e = public(&ephemeral);
        let mut d = vec![2, 0, 0, 0];
        d.extend(index.to_le_bytes());
        d.extend(p.index.to_le_bytes());
        d.extend(e);
        n.ephemeral(&e);
        let _ = n.mix(&dh(&ephemeral, &theirs));
        let _ = n.mix(&dh(&ephemeral, &peer));
        let key = n.psk(&self.psk);
        d.extend(n.seal(&key, &[]));
        self.macs(&mut d);
        let [receive, send, _] = kdf(&n.chain, &[]);
        Some((Keys { send, receive, remote: p.index, local: index }, d))
    }

    fn macs(&self, d: &mut Vec<u8>) {
        let mac1 = mac(&hash(&[b"mac1----", &self.device]), d);
        d.extend(mac1);
        d.extend([0; 16]);
    }

    /// The message with its MACs made right again after a change.
    pub fn remac(&self, d: &[u8]) -> Vec<u8> {
        let mut out = d[..d.len() - 32].to_vec();
        self.macs(&mut out);
        out
    }

    /// Is mac1 of a message from the device right?
    pub fn mac1_is_right(&self, d: &[u8]) -> bool {
        let at = d.len() - 32;
        let key = hash(&[b"mac1----", &public(&self.private)]);
        d[at..at + 16] == mac(&key, &d[..at])
    }

    /// The cookie in the device's reply to `message`.
    pub fn cookie(&self, reply: &[u8], message: &[u8]) -> Option<[u8; 16]> {
        let key = hash(&[b"cookie--", &self.device]);
        let nonce: [u8; 24] = reply[8..32].try_into().ok()?;
        let mut cookie: [u8; 16] = reply[32..48].try_into().ok()?;
        let tag: [u8; 16] = reply[48..64].try_into().ok()?;
        let mac1 = &message[message.len() - 32..message.len() - 16];
        XChaCha20Poly1305::new(&key.into())
            .decrypt_inout_detached(&nonce.into(), mac1, (&mut cookie[..]).into(), &tag.into())
            .ok()?;
        Some(cookie)
    }

    /// A cookie reply to `message` of the device, as only the owner of the private key's public
    /// half can be believed to have made it.
    pub fn cookie_reply(&mut self, message: &[u8], mut cookie: [u8; 16]) -> Vec<u8> {
        let key = hash(&[b"cookie--", &public(&self.private)]);
        let nonce: [u8; 24] = self.rng.bytes();
        let mac1 = &message[message.len() - 32..message.len() - 16];
        let tag = XChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce.into(), mac1, (&mut cookie[..]).into())
            .unwrap();
        let mut d = vec![3, 0, 0, 0];
        d.extend(&message[4..8]);
        d.extend(nonce);
        d.extend(cookie);
        d.extend(tag.iter());
        d
    }
}

/// Puts mac2 into a message.
pub fn with_cookie(message: &[u8], cookie: &[u8; 16]) -> Vec<u8> {
    let mut d = message.to_vec();
    let at = d.len() - 16;
    let mac2 = mac(cookie, &d[..at]);
    d[at..].copy_from_slice(&mac2);
    d
}

pub fn mac2_is_right(message: &[u8], cookie: &[u8; 16]) -> bool {
    with_cookie(message, cookie) == message
}

pub fn word(d: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(d[at..at + 4].try_into().unwrap())
}

/// Where the stranger lives.
pub const ADDRESS: u8 = 9;
/// Its inner addresses are those of a device with this number.
pub const INNER: Dev = 8;

/// A stranger that `dev` has as a peer, without an endpoint.
pub fn introduce(s: &mut Sim, dev: Dev) -> Stranger {
    let private = s.rng.bytes();
    let mut u = PeerUpdate::default();
    u.public_key = public(&private);
    u.allowed_ips = vec![(inner(INNER), 32, true), (inner6(INNER), 128, true)];
    s.act(dev, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    Stranger::new(private, s.nodes[dev].public)
}

/// A stranger with a session that it initiated now; `dev` has not heard data on it yet.
pub fn join(s: &mut Sim, dev: Dev, who: &mut Stranger, index: u32) -> Keys {
    let (pending, d) = who.initiation(index, stamp(1_700_000_000, 0).later(s.now));
    let from = s.wire.len();
    assert_eq!(s.inject(dev, v4(ADDRESS), &d), Inbound::Consumed);
    let answer = s.wire[from..].iter().find(|w| w.kind() == Kind::Response).expect("an answer");
    who.finish(&pending, &answer.bytes).expect("a response that opens")
}

/// Two strangers' worth of set-up in one: device B, its peer, and a confirmed session.
pub fn joined() -> (Sim, Stranger, Keys) {
    let mut s = Sim::strangers(3, 2);
    let mut who = introduce(&mut s, B);
    let keys = join(&mut s, B, &mut who, 0x1111);
    assert_eq!(s.inject(B, v4(ADDRESS), &keys.data(0, &[])), Inbound::Consumed);
    s.forget();
    (s, who, keys)
}

/// Moves a timestamp by nanoseconds.
pub trait Later {
    fn later(self, ns: u64) -> Self;
}

impl Later for [u8; 12] {
    fn later(self, ns: u64) -> Self {
        let secs = u64::from_be_bytes(self[..8].try_into().unwrap());
        let nanos = u32::from_be_bytes(self[8..].try_into().unwrap());
        let total = u64::from(nanos) + ns;
        let mut out = self;
        out[..8].copy_from_slice(&(secs + total / SEC).to_be_bytes());
        out[8..].copy_from_slice(&((total % SEC) as u32).to_be_bytes());
        out
    }
}

/// An inner packet from the stranger to `dev`.
pub fn letter(dev: Dev, text: &[u8]) -> Vec<u8> {
    packet(inner(INNER), inner(dev), 0, text)
}
