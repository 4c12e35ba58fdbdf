//! The handshake: Noise IKpsk2 with the protocol's prologue (R09–R14, R17, R21, R22).
//!
//! Four steps, each a function from state and message to new state and message. A step works on
//! temporaries; nothing here changes a peer. What a caller drops is wiped.

use super::consts::TAG_LEN;
use super::crypto::{self, Aead, Secret};
use super::drop::Drop;
use super::msg::{Initiation, Response};
use super::tai64n::{TAI64N_LEN, Tai64n};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Our static key pair.
pub struct Identity {
    private: Secret,
    pub public: [u8; 32],
}

impl Identity {
    pub fn new(private: [u8; 32]) -> Identity {
        let private = Secret::clamped(private);
        let public = crypto::public_key(&private);
        Identity { private, public }
    }

    pub fn private(&self) -> &Secret {
        &self.private
    }

    /// The precomputed static-static secret; `None` for a peer key of low order (R14).
    pub fn static_static(&self, peer: &[u8; 32]) -> Option<Secret> {
        crypto::dh(&self.private, peer)
    }
}

/// What the handshake needs to know of the other side.
pub struct Remote<'a> {
    pub public: &'a [u8; 32],
    pub static_static: &'a Secret,
    /// 32 zeros when unset; mixed in always (R13).
    pub preshared: &'a Secret,
}

/// A key pair for one handshake with one peer, in either role, and its secret with that peer's
/// static key. It needs nothing of the handshake itself, so it can be made ahead of it. Whoever
/// uses it uses it up, so that none serves twice (R16).
pub struct Ephemeral {
    private: Secret,
    pub public: [u8; 32],
    /// "es" for an initiator, "se" for a responder.
    with_static: Secret,
}

impl Ephemeral {
    /// `private` is fresh randomness. `None` if `peer` has low order (R14).
    pub fn new(private: [u8; 32], peer: &[u8; 32]) -> Option<Ephemeral> {
        let private = Secret::clamped(private);
        let with_static = crypto::dh(&private, peer)?;
        let public = crypto::public_key(&private);
        Some(Ephemeral { private, public, with_static })
    }
}

/// What an initiator remembers until the response.
pub struct Initiated {
    pub index: u32,
    transcript: Transcript,
    ephemeral: Secret,
}

/// An initiation whose static key was opened; its sender is claimed, not yet proven.
pub struct Claimed {
    pub public: [u8; 32],
    transcript: Transcript,
}

/// An initiation that its sender proved to have made.
pub struct Consumed {
    pub sender: u32,
    pub timestamp: Tai64n,
    transcript: Transcript,
    ephemeral: [u8; 32],
}

/// The two keys of a session, as this side uses them (R22).
pub struct SessionKeys {
    pub send: Secret,
    pub receive: Secret,
}

/// Message 1; `ephemeral` was made for this peer.
pub fn initiate(
    me: &Identity,
    remote: &Remote,
    index: u32,
    ephemeral: Ephemeral,
    timestamp: Tai64n,
) -> (Initiated, Initiation) {
    let Ephemeral { private, public, with_static } = ephemeral;
    let mut t = Transcript::new(remote.public);
    t.mix_ephemeral(&public);
    let key = t.mix_dh(&with_static);
    let static_key = t.seal(&key, &me.public);
    let key = t.mix_dh(remote.static_static);
    let timestamp = t.seal(&key, &timestamp.0);
    let message = Initiation { sender: index, ephemeral: public, static_key, timestamp };
    (Initiated { index, transcript: t, ephemeral: private }, message)
}

/// First half of receiving message 1: who claims to have sent it?
pub fn open_static(me: &Identity, m: &Initiation) -> Result<Claimed, Drop> {
    let mut t = Transcript::new(&me.public);
    t.mix_ephemeral(&m.ephemeral);
    let shared = crypto::dh(&me.private, &m.ephemeral).ok_or(Drop::LowOrder)?;
    let key = t.mix_dh(&shared);
    let public = t.open::<32, { 32 + TAG_LEN }>(&key, &m.static_key)?;
    Ok(Claimed { public, transcript: t })
}

impl Claimed {
    /// Second half: is it true? Flood and replay checks are the caller's, by the timestamp.
    pub fn authenticate(self, static_static: &Secret, m: &Initiation) -> Result<Consumed, Drop> {
        let mut t = self.transcript;
        let key = t.mix_dh(static_static);
        let stamp = t.open::<TAI64N_LEN, { TAI64N_LEN + TAG_LEN }>(&key, &m.timestamp)?;
        Ok(Consumed {
            sender: m.sender,
            timestamp: Tai64n(stamp),
            transcript: t,
            ephemeral: m.ephemeral,
        })
    }
}

/// Message 2 and the responder's keys; `ephemeral` was made for this peer. `None` if a result would
/// have low order.
pub fn respond(
    consumed: Consumed,
    remote: &Remote,
    index: u32,
    ephemeral: Ephemeral,
) -> Option<(Response, SessionKeys)> {
    let Ephemeral { private, public, with_static } = ephemeral;
    let mut t = consumed.transcript;
    t.mix_ephemeral(&public);
    let _ = t.mix_dh(&crypto::dh(&private, &consumed.ephemeral)?);
    let _ = t.mix_dh(&with_static);
    let key = t.mix_preshared(remote.preshared);
    let empty = t.seal::<0, TAG_LEN>(&key, &[]);
    let message = Response { sender: index, receiver: consumed.sender, ephemeral: public, empty };
    let [receive, send] = t.split();
    Some((message, SessionKeys { send, receive }))
}

impl Initiated {
    /// Receiving message 2: the initiator's keys. The state stays as it is, so that a forged
    /// response costs nothing (R17, R18).
    pub fn finish(
        &self,
        me: &Identity,
        preshared: &Secret,
        m: &Response,
    ) -> Result<SessionKeys, Drop> {
        let mut t = self.transcript.clone();
        t.mix_ephemeral(&m.ephemeral);
        let ee = crypto::dh(&self.ephemeral, &m.ephemeral).ok_or(Drop::LowOrder)?;
        let _ = t.mix_dh(&ee);
        let se = crypto::dh(&me.private, &m.ephemeral).ok_or(Drop::LowOrder)?;
        let _ = t.mix_dh(&se);
        let key = t.mix_preshared(preshared);
        t.open::<0, TAG_LEN>(&key, &m.empty)?;
        let [send, receive] = t.split();
        Ok(SessionKeys { send, receive })
    }
}

/// The running hash and chaining key of Noise's symmetric state.
#[derive(Clone)]
struct Transcript {
    hash: Secret,
    chain: Secret,
}

impl Transcript {
    /// Construction, identifier and the responder's static key, in this order (R09).
    fn new(responder: &[u8; 32]) -> Transcript {
        let chain = crypto::hash(&[CONSTRUCTION]);
        Transcript::with(chain, IDENTIFIER, responder)
    }

    fn with(chain: [u8; 32], prologue: &[u8], responder: &[u8; 32]) -> Transcript {
        let hash = crypto::hash(&[&chain, prologue]);
        let hash = crypto::hash(&[&hash, responder]);
        Transcript { hash: Secret::new(hash), chain: Secret::new(chain) }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Secret::new(crypto::hash(&[self.hash.bytes(), data]));
    }

    /// With a preshared-key pattern the ephemeral goes into the chain, too (R11).
    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        let [chain] = crypto::kdf(&self.chain, public);
        self.chain = chain;
    }

    fn mix_dh(&mut self, shared: &Secret) -> Secret {
        let [chain, key] = crypto::kdf(&self.chain, shared.bytes());
        self.chain = chain;
        key
    }

    fn mix_preshared(&mut self, preshared: &Secret) -> Secret {
        let [chain, hashed, key] = crypto::kdf(&self.chain, preshared.bytes());
        self.chain = chain;
        self.mix_hash(hashed.bytes());
        key
    }

    /// Seals under nonce 0 with the hash as associated data (R05). `OUT` = `IN` + tag.
    fn seal<const IN: usize, const OUT: usize>(
        &mut self,
        key: &Secret,
        text: &[u8; IN],
    ) -> [u8; OUT] {
        const { assert!(OUT == IN + TAG_LEN) };
        let mut out = [0; OUT];
        out[..IN].copy_from_slice(text);
        let tag = Aead::new(key).seal(0, self.hash.bytes(), &mut out[..IN]);
        out[IN..].copy_from_slice(&tag);
        self.mix_hash(&out);
        out
    }

    fn open<const OUT: usize, const IN: usize>(
        &mut self,
        key: &Secret,
        sealed: &[u8; IN],
    ) -> Result<[u8; OUT], Drop> {
        const { assert!(IN == OUT + TAG_LEN) };
        let mut text = [0; OUT];
        text.copy_from_slice(&sealed[..OUT]);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&sealed[OUT..]);
        Aead::new(key)
            .open(0, self.hash.bytes(), &mut text, &tag)
            .map_err(|_| Drop::HandshakeForged)?;
        self.mix_hash(sealed);
        Ok(text)
    }

    /// The two transport keys: initiator → responder first (R22).
    fn split(self) -> [Secret; 2] {
        crypto::kdf(&self.chain, &[])
    }
}

/// The public key of a private one, which is clamped first (R15).
pub fn public_key(private: &[u8; 32]) -> [u8; 32] {
    Identity::new(*private).public
}

#[cfg(test)]
mod tests;
