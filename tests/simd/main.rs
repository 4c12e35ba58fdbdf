//! The vector code of `src/simd` against the crate, every backend that this processor has.
//!
//! Bound: 30 seconds on two busy cores. `HOP_SIMD_CASES` sets the number of random cases, 20,000
//! without it.

mod trace;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hopbox::simd::{self, Backend, Forged, Packet};

/// Bytes without a pattern (xorshift64*), the same in every run: a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

fn reference(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), aad, text.into())
        .unwrap()
        .into()
}

/// Every backend that is there, by force; one that is not is named. No failure even in CI: a
/// processor cannot be installed.
fn backends() -> Vec<Backend> {
    let all = Backend::all();
    let known: &[&str] =
        if cfg!(target_arch = "aarch64") { &["neon"] } else { &["avx512", "avx2"] };
    for name in known {
        if !all.iter().any(|b| b.name() == *name) {
            println!("SKIP simd {name}: not in this processor or not in this build");
        }
    }
    all
}

/// Seal, open, and one forgery, against the crate.
fn compare(backend: Backend, noise: &mut Noise, len: usize, buffers: &mut [Vec<u8>; 3]) {
    let [plain, sealed, ours] = buffers.each_mut().map(|b| &mut b[..len]);
    let (mut key, mut nonce, mut aad) = ([0; 32], [0; 12], [0; 100]);
    noise.fill(&mut key);
    noise.fill(&mut nonce);
    noise.fill(&mut aad);
    noise.fill(plain);
    // Mostly none, as in data packets.
    let aad = match noise.below(4) {
        0 => &aad[..noise.below(101)],
        _ => &aad[..0],
    };
    sealed.copy_from_slice(plain);
    ours.copy_from_slice(plain);
    let tag = reference(&key, &nonce, aad, sealed);
    let what = || {
        let (name, aad) = (backend.name(), aad.len());
        format!("{name} {len} bytes, {aad} beside, key {key:02x?}, nonce {nonce:02x?}")
    };
    assert_eq!(backend.seal(&key, &nonce, aad, ours), tag, "tag: {}", what());
    assert!(ours == sealed, "text: {}", what());

    let (mut bad, at) = (tag, noise.below(128 + 8 * len));
    if at < 128 {
        bad[at / 8] ^= 1 << (at % 8);
        let opened = backend.open(&key, &nonce, aad, ours, &bad);
        assert_eq!(opened, Err(Forged), "bit {at}: {}", what());
        assert!(ours == sealed, "forged tag: {}", what());
    } else {
        let at = at - 128;
        ours[at / 8] ^= 1 << (at % 8);
        sealed[at / 8] ^= 1 << (at % 8);
        let opened = backend.open(&key, &nonce, aad, ours, &tag);
        assert_eq!(opened, Err(Forged), "bit {at}: {}", what());
        assert!(ours == sealed, "forged text: {}", what());
        ours[at / 8] ^= 1 << (at % 8);
    }
    assert_eq!(backend.open(&key, &nonce, aad, ours, &tag), Ok(()), "open: {}", what());
    assert!(ours == plain, "opened: {}", what());
}

fn buffers() -> [Vec<u8>; 3] {
    [vec![0; 65_535], vec![0; 65_535], vec![0; 65_535]]
}

#[test]
fn the_chosen_backend_is_the_first_one() {
    let first = Backend::all().first().map(|b| b.name());
    assert_eq!(Backend::detect().map(|b| b.name()), first, "{}", simd::status());
    assert_eq!(simd::status(), first.unwrap_or(simd::status()));
    println!("in use: {}", simd::status());
}

#[test]
fn every_length_to_2048() {
    let (mut noise, mut buffers) = (Noise(1), buffers());
    for backend in backends() {
        for len in 0..=2048 {
            compare(backend, &mut noise, len, &mut buffers);
        }
    }
}

#[test]
fn random_lengths_against_the_crate() {
    let cases = std::env::var("HOP_SIMD_CASES").map_or(20_000, |n| n.parse().expect("a number"));
    let (mut noise, mut buffers) = (Noise(2), buffers());
    let backends = backends();
    for case in 0..cases {
        // Mostly packets of a tunnel, now and then the longest that there can be.
        let len = match case % 64 {
            0 => noise.below(65_536),
            1..16 => noise.below(9_001),
            _ => noise.below(1_501),
        };
        for backend in &backends {
            compare(*backend, &mut noise, len, &mut buffers);
        }
    }
}

#[test]
fn nonces_at_their_ends() {
    for backend in backends() {
        for word in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut nonce = [word as u8; 12];
            nonce[4..].copy_from_slice(&word.to_le_bytes());
            let (mut ours, mut theirs) = ([7; 100], [7; 100]);
            let tag = backend.seal(&[9; 32], &nonce, &[], &mut ours);
            assert_eq!(tag, reference(&[9; 32], &nonce, &[], &mut theirs), "{nonce:?}");
            assert_eq!(ours, theirs, "{nonce:?}");
        }
    }
}

#[test]
fn every_bit_of_the_tag_counts_and_the_text_stays() {
    let mut noise = Noise(3);
    for backend in backends() {
        for len in [0, 1, 63, 64, 447, 449, 960, 1420, 1472, 1473, 5000] {
            let (mut key, mut text) = ([0; 32], vec![0; len]);
            noise.fill(&mut key);
            noise.fill(&mut text);
            let tag = backend.seal(&key, &[5; 12], &[], &mut text);
            let sealed = text.clone();
            for bit in 0..128 {
                let mut bad = tag;
                bad[bit / 8] ^= 1 << (bit % 8);
                let opened = backend.open(&key, &[5; 12], &[], &mut text, &bad);
                assert_eq!(opened, Err(Forged), "{len}, {bit}");
                assert!(text == sealed, "{len} bytes, tag bit {bit}");
            }
            let mut open = |nonce, aad: &[u8]| backend.open(&key, &nonce, aad, &mut text, &tag);
            assert_eq!(open([6; 12], &[]), Err(Forged), "{len}");
            assert_eq!(open([5; 12], &[0]), Err(Forged), "{len}");
            assert_eq!(open([5; 12], &[]), Ok(()), "{len}");
        }
    }
}

#[test]
fn nothing_is_written_beside_the_text_at_any_alignment() {
    let mut noise = Noise(4);
    for backend in backends() {
        for case in 0..2000 {
            let (at, len) = (64 + case % 64, noise.below(1_600));
            let mut room = vec![0xa5; 64 + 64 + len + 64];
            let tag = backend.seal(&[1; 32], &[1; 12], &[], &mut room[at..at + len]);
            assert!(room[..at].iter().chain(&room[at + len..]).all(|b| *b == 0xa5));
            let text = &mut room[at..at + len];
            backend.open(&[1; 32], &[1; 12], &[], text, &tag).unwrap();
            assert!(room.iter().all(|b| *b == 0xa5), "{at} {len}");
        }
    }
}

/// Packets of these lengths under one key, sealed and opened together, against the crate; some are
/// forged: those, and no others, are told to be, and stay as they were.
fn compare_all(backend: Backend, noise: &mut Noise, lengths: &[usize]) {
    let (mut key, mut nonces) = ([0; 32], vec![[0; 12]; lengths.len()]);
    noise.fill(&mut key);
    nonces.iter_mut().for_each(|nonce| noise.fill(nonce));
    // All of them in one buffer, as datagrams stand behind each other.
    let at = |n: usize| 7 + lengths[..n].iter().map(|len| len + 16 + 3).sum::<usize>();
    let mut plain = vec![0; at(lengths.len())];
    noise.fill(&mut plain);
    let mut sealed = plain.clone();
    for (n, (len, nonce)) in lengths.iter().zip(&nonces).enumerate() {
        let (text, tag) = sealed[at(n)..at(n) + len + 16].split_at_mut(*len);
        tag.copy_from_slice(&reference(&key, nonce, &[], text));
    }
    let packets = |room: &mut [u8], work: &mut dyn FnMut(&mut [Packet<'_>]) -> Vec<bool>| {
        let (mut rest, mut done, mut all) = (room, 0, Vec::new());
        for (n, (len, nonce)) in lengths.iter().zip(&nonces).enumerate() {
            let (datagram, behind) = rest[at(n) - done..].split_at_mut(len + 16);
            let (text, tag) = datagram.split_last_chunk_mut().unwrap();
            all.push(Packet::new(*nonce, text, tag));
            (rest, done) = (behind, at(n) + len + 16);
        }
        work(&mut all)
    };
    let mut ours = plain.clone();
    packets(&mut ours, &mut |all| {
        backend.seal_all(&key, all);
        Vec::new()
    });
    assert!(ours == sealed, "sealed by {}: {lengths:?}", backend.name());
    let forged: Vec<bool> = lengths.iter().map(|_| noise.below(5) == 0).collect();
    let mut want = plain;
    for (n, len) in lengths.iter().enumerate() {
        let all = at(n)..at(n) + len + 16;
        if forged[n] {
            ours[at(n) + noise.below(len + 16)] ^= 1 << noise.below(8);
            want[all.clone()].copy_from_slice(&ours[all]);
        } else {
            // The tags stay.
            let tag = at(n) + len..all.end;
            want[tag.clone()].copy_from_slice(&sealed[tag]);
        }
    }
    let told = packets(&mut ours, &mut |all| {
        backend.open_all(&key, all);
        all.iter().map(|packet| !packet.is_authentic()).collect()
    });
    assert_eq!(told, forged, "told by {}: {lengths:?}", backend.name());
    assert!(ours == want, "opened by {}: {lengths:?}", backend.name());
}

#[test]
fn packets_together_are_what_they_are_alone() {
    let mut noise = Noise(7);
    for backend in backends() {
        compare_all(backend, &mut noise, &[]);
        // Of one length, as in a burst of segments: every border of blocks, passes and pieces.
        for len in (0..=600).chain(1400..=1500).chain([2047, 2048, 2049, 4096, 65_519]) {
            compare_all(backend, &mut noise, &[len]);
            compare_all(backend, &mut noise, &[len; 9]);
        }
        // More packets than there is room for keys, and more key stream than is kept.
        for (len, count) in [(0, 300), (1, 100), (64, 100), (448, 70), (500, 70), (1984, 9)] {
            compare_all(backend, &mut noise, &vec![len; count]);
        }
    }
}

#[test]
fn random_bursts_against_the_crate() {
    let cases = std::env::var("HOP_SIMD_CASES").map_or(20_000, |n| n.parse().expect("a number"));
    let (mut noise, backends) = (Noise(8), backends());
    for case in 0..cases / 10 {
        let most = [80, 300, 1500, 2200, 9000][case % 5];
        let lengths: Vec<usize> =
            (0..noise.below(24)).map(|_| noise.below(most) * noise.below(4) / 3).collect();
        for backend in &backends {
            compare_all(*backend, &mut noise, &lengths);
        }
    }
}
