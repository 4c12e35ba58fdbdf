//! The named operations of the protocol over the three crypto crates (R04, R05, R10, R14, R15).
//!
//! No key type here has `Debug`, and all are wiped on drop (R21, R99). Comparisons of secrets go
//! through [`equal`] (R41).

use blake2::Blake2s256;
use blake2::digest::{Digest, KeyInit, Mac, consts::U16};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, XChaCha20Poly1305};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use super::consts::TAG_LEN;
use hopbox_simd::Backend;
pub use hopbox_simd::{Forged, Packet};

pub const KEY_LEN: usize = 32;
/// BLAKE2s block size in bytes, which HMAC needs.
const BLOCK_LEN: usize = 64;

/// 32 secret bytes, wiped on drop. No `Debug`, no `Display`, no `Copy`.
#[derive(Clone)]
pub struct Secret([u8; KEY_LEN]);

impl Secret {
    pub const ZERO: Secret = Secret([0; KEY_LEN]);

    pub fn new(bytes: [u8; KEY_LEN]) -> Secret {
        Secret(bytes)
    }

    /// A Curve25519 private key, clamped as it is set (R15).
    pub fn clamped(mut bytes: [u8; KEY_LEN]) -> Secret {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Secret(bytes)
    }

    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Constant-time equality (R41).
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub fn public_key(private: &Secret) -> [u8; KEY_LEN] {
    PublicKey::from(&StaticSecret::from(private.0)).to_bytes()
}

/// X25519; `None` when the result is all zero, that is, when the peer's point has low order (R14).
pub fn dh(private: &Secret, public: &[u8; KEY_LEN]) -> Option<Secret> {
    let shared = StaticSecret::from(private.0).diffie_hellman(&PublicKey::from(*public));
    shared.was_contributory().then(|| Secret(shared.to_bytes()))
}

/// BLAKE2s-256 over the concatenation of `parts`.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Blake2s256::new();
    for p in parts {
        h.update(p);
    }
    h.finalize().into()
}

/// Keyed BLAKE2s-128 (the paper's MAC). `key` is 32 or 16 bytes here; longer than 32 is our bug.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut m) = <blake2::Blake2sMac<U16> as KeyInit>::new_from_slice(key) else {
        unreachable!("MAC keys are 16 or 32 bytes")
    };
    for p in parts {
        Mac::update(&mut m, p);
    }
    m.finalize().into_bytes().into()
}

/// HMAC-BLAKE2s, RFC 2104. Keys of this protocol are 32 bytes, never longer than a block.
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut pad = [0x36u8; BLOCK_LEN];
    for (p, k) in pad.iter_mut().zip(key) {
        *p ^= k;
    }
    let mut inner = Blake2s256::new();
    inner.update(pad);
    for p in parts {
        inner.update(p);
    }
    for p in &mut pad {
        *p ^= 0x36 ^ 0x5c;
    }
    let mut digest: [u8; 32] = inner.finalize().into();
    let out = hash(&[&pad, &digest]);
    pad.zeroize();
    digest.zeroize();
    out
}

/// HKDF with one to three outputs (paper §5.4, KDFn).
pub fn kdf<const N: usize>(key: &Secret, input: &[u8]) -> [Secret; N] {
    assert!(0 < N && N <= 3, "the protocol derives one to three keys at a time");
    let mut prk = hmac(&key.0, &[input]);
    let mut previous = [0u8; 32];
    let mut counter = 0u8;
    let out = std::array::from_fn(|_| {
        counter += 1;
        let prefix: &[u8] = if counter == 1 { &[] } else { &previous };
        let next = hmac(&prk, &[prefix, &[counter]]);
        previous = next;
        Secret(next)
    });
    prk.zeroize();
    previous.zeroize();
    out
}

/// ChaCha20-Poly1305 under one key, with the protocol's 64-bit counter nonces.
pub struct Aead {
    key: Secret,
    /// Where there is none, the crate seals and opens; it has nothing to prepare for a key.
    vector: Option<Backend>,
}

impl Aead {
    pub fn new(key: &Secret) -> Aead {
        Aead { key: key.clone(), vector: Backend::detect() }
    }

    /// As where there is no vector code.
    #[cfg(test)]
    fn plain(key: &Secret) -> Aead {
        Aead { key: key.clone(), vector: None }
    }

    /// Encrypts `text` in place and returns the tag (R04).
    pub fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = nonce(counter);
        match self.vector {
            Some(vector) => vector.seal(&self.key.0, &nonce, aad, text),
            None => self.seal_by_crate(&nonce, aad, text),
        }
    }

    /// Seals packets, each of which is given its tag (R04): quicker than one by one.
    pub fn seal_all(&self, packets: &mut [Packet<'_>]) {
        match self.vector {
            Some(vector) => vector.seal_all(&self.key.0, packets),
            None => packets
                .iter_mut()
                .for_each(|packet| packet.seal(|n, t| self.seal_by_crate(n, &[], t))),
        }
    }

    /// Opens packets, as far as they are authentic, which each is told: quicker than one by one.
    pub fn open_all(&self, packets: &mut [Packet<'_>]) {
        match self.vector {
            Some(vector) => vector.open_all(&self.key.0, packets),
            None => packets
                .iter_mut()
                .for_each(|packet| packet.open(|n, t, tag| self.open_by_crate(n, &[], t, tag))),
        }
    }

    /// Checks the tag, then decrypts `text` in place. On [`Forged`] the text is as it was.
    pub fn open(
        &self,
        counter: u64,
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Forged> {
        let nonce = nonce(counter);
        match self.vector {
            Some(vector) => vector.open(&self.key.0, &nonce, aad, text, tag),
            None => self.open_by_crate(&nonce, aad, text, tag),
        }
    }

    fn seal_by_crate(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let aead = ChaCha20Poly1305::new(&self.key.0.into());
        match aead.encrypt_inout_detached(nonce.into(), aad, text.into()) {
            Ok(tag) => tag.into(),
            // Only a text of 256 GiB or more can fail; a datagram never is.
            Err(_) => unreachable!("AEAD input is bounded by a datagram"),
        }
    }

    fn open_by_crate(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Forged> {
        let aead = ChaCha20Poly1305::new(&self.key.0.into());
        aead.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into()).map_err(|_| Forged)
    }
}

/// What seals and opens data packets here, and whether that is less than the processor could do.
pub fn cipher() -> (&'static str, bool) {
    (hopbox_simd::status(), hopbox_simd::is_broken())
}

/// XChaCha20-Poly1305 for cookie replies (R05).
pub fn xseal(key: &Secret, nonce: &[u8; 24], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let aead = XChaCha20Poly1305::new(&key.0.into());
    match aead.encrypt_inout_detached(&(*nonce).into(), aad, text.into()) {
        Ok(tag) => tag.into(),
        Err(_) => unreachable!("AEAD input is bounded by a datagram"),
    }
}

pub fn xopen(
    key: &Secret,
    nonce: &[u8; 24],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Forged> {
    let aead = XChaCha20Poly1305::new(&key.0.into());
    aead.decrypt_inout_detached(&(*nonce).into(), aad, text.into(), &(*tag).into())
        .map_err(|_| Forged)
}

/// Of the packet with this counter (R04).
pub fn nonce(counter: u64) -> [u8; 12] {
    let mut n = [0; 12];
    n[4..].copy_from_slice(&counter.to_le_bytes());
    n
}

#[cfg(test)]
mod tests;
