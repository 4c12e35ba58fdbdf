//! Does a backend do what the crate does? Asked before it is used, once in a process.
//!
//! It guards against a processor, a hypervisor or a compiler that lies; tests do the rest.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

use super::backend::Backend;
use super::forged::Forged;
use super::packet::Packet;

/// Around the borders of blocks, of passes, and of what a pass or the key stream held can do.
const LENGTHS: [usize; 14] = [0, 1, 15, 64, 129, 255, 256, 448, 449, 961, 1420, 1472, 1473, 2000];

/// The last bytes and the tag of 96 bytes of 0x5a under the key 0, 1, 2, … 31 and the counter
/// 0x0123456789abcdef, computed by `tests/oracle/wg.py`.
const KNOWN: ([u8; 8], [u8; 16]) = (
    [0x58, 0x80, 0xe2, 0x14, 0x1c, 0x33, 0x60, 0xf4],
    [
        0xef, 0x6b, 0xb0, 0x4a, 0xf4, 0x9d, 0x93, 0xd4, 0x87, 0x01, 0x7b, 0x89, 0xb4, 0xd0, 0xac,
        0xc4,
    ],
);

/// Seals and opens texts of many lengths both ways. `false` on the first difference.
pub fn agrees(backend: Backend) -> bool {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    known_answer(backend)
        && LENGTHS.iter().all(|len| agrees_on(backend, *len, &mut noise))
        && agrees_on_all(backend, &mut noise)
}

/// All lengths together, there and back, are what they are one by one.
fn agrees_on_all(backend: Backend, noise: &mut Noise) -> bool {
    let mut key = [0; 32];
    noise.fill(&mut key);
    let nonce = |n: usize| {
        let [a, b, c, d, e, f, g, h] = (n as u64).to_le_bytes();
        [0, 0, 0, 0, a, b, c, d, e, f, g, h]
    };
    let mut plain = LENGTHS.map(|len| vec![0; len]);
    plain.iter_mut().for_each(|text| noise.fill(text));
    let (mut one_by_one, mut together) = (plain.clone(), plain.clone());
    let mut tags = [[0; 16]; LENGTHS.len()];
    let mut found = tags;
    for (n, (text, tag)) in one_by_one.iter_mut().zip(&mut tags).enumerate() {
        *tag = backend.seal(&key, &nonce(n), &[], text);
    }
    let texts = together.iter_mut().zip(&mut found).enumerate();
    let mut packets: Vec<_> =
        texts.map(|(n, (text, tag))| Packet::new(nonce(n), text, tag)).collect();
    backend.seal_all(&key, &mut packets);
    if found != tags || together != one_by_one {
        return false;
    }
    // One of them is forged.
    let forged = LENGTHS.len() / 2;
    found[forged][0] ^= 1;
    let texts = together.iter_mut().zip(&mut found).enumerate();
    let mut packets: Vec<_> =
        texts.map(|(n, (text, tag))| Packet::new(nonce(n), text, tag)).collect();
    backend.open_all(&key, &mut packets);
    let is_told = packets.iter().enumerate().all(|(n, its)| its.is_authentic() == (n != forged));
    plain[forged].clone_from(&one_by_one[forged]);
    is_told && together == plain
}

fn known_answer(backend: Backend) -> bool {
    let mut text = [0x5a; 96];
    let key = std::array::from_fn(|i| i as u8);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
    let tag = backend.seal(&key, &nonce, &[], &mut text);
    text[88..] == KNOWN.0 && tag == KNOWN.1
}

fn agrees_on(backend: Backend, len: usize, noise: &mut Noise) -> bool {
    let (mut key, mut nonce, mut aad, mut text) = ([0; 32], [0; 12], [0; 32], [0; 2000]);
    noise.fill(&mut key);
    noise.fill(&mut nonce);
    noise.fill(&mut aad);
    noise.fill(&mut text);
    let Some(text) = text.get_mut(..len) else { return false };
    // Data packets have no associated data, handshakes have 32 bytes.
    let aad = if len % 2 == 0 { &aad[..0] } else { &aad[..] };
    let (before, mut theirs) = (text.to_vec(), text.to_vec());
    let reference = ChaCha20Poly1305::new(&key.into());
    let Ok(tag) =
        reference.encrypt_inout_detached(&nonce.into(), aad, theirs.as_mut_slice().into())
    else {
        return false;
    };
    let ours = backend.seal(&key, &nonce, aad, text);
    let mut bad = ours;
    bad[len % 16] ^= 1 << (len % 8);
    if ours[..] != tag[..] || *text != theirs {
        return false;
    }
    if backend.open(&key, &nonce, aad, text, &bad) != Err(Forged) || *text != theirs {
        return false;
    }
    backend.open(&key, &nonce, aad, text, &ours).is_ok() && *text == before
}

/// Bytes without a pattern (xorshift64*), the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
