//! Poly1305 of every backend against the definition in other limbs, on numbers that make carries.
//! Whole packets are compared with the crate in `tests/simd`.

use super::Backend;
use super::check;
use super::choice::choose_of;
use super::poly1305::{Mac, Scalar};

/// RFC 8439 §2.5.1, in ten limbs of 13 bits: slow, and of another kind than the code.
fn by_definition(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let number = |bytes: &[u8]| {
        let mut limbs = [0u64; 11];
        for bit in 0..8 * bytes.len() {
            limbs[bit / 13] |= u64::from(bytes[bit / 8] >> (bit % 8) & 1) << (bit % 13);
        }
        limbs
    };
    let mut r = <[u8; 16]>::try_from(&key[..16]).unwrap();
    for i in [3, 7, 11, 15] {
        r[i] &= 15;
    }
    for i in [4, 8, 12] {
        r[i] &= 252;
    }
    let (r, mut h) = (number(&r), [0u64; 11]);
    let lengths = [[0; 8], (text.len() as u64).to_le_bytes()].concat();
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(16), 0);
    padded.extend(lengths);
    for block in padded.chunks(16) {
        let block = number(&[block, &[1]].concat());
        let mut product = [0u64; 20];
        for i in 0..10 {
            for j in 0..10 {
                product[i + j] += (h[i] + block[i]) * r[j];
            }
        }
        h = [0; 11];
        for i in 0..10 {
            h[i] = product[i] + 5 * product[i + 10];
        }
        for _ in 0..4 {
            for i in 0..10 {
                let carry = h[i] >> 13;
                h[i] &= 0x1fff;
                if i == 9 { h[0] += 5 * carry } else { h[i + 1] += carry }
            }
        }
    }
    // p is all ones but for its lowest limb.
    if h[0] >= 0x1ffb && h[1..10].iter().all(|limb| *limb == 0x1fff) {
        h[0] -= 0x1ffb;
        h[1..10].fill(0);
    }
    let mut low = 0u128;
    for (i, limb) in h[..10].iter().enumerate() {
        low = low.wrapping_add(u128::from(*limb) << (13 * i));
    }
    low.wrapping_add(u128::from_le_bytes(key[16..].try_into().unwrap())).to_le_bytes()
}

fn every_way(key: &[u8; 32], text: &[u8]) {
    let (want, lengths) = (by_definition(key, text), [0, text.len()]);
    let mac: Scalar = Mac::<()>::new((), key, &[]);
    assert_eq!(Mac::<()>::finish(mac, text, lengths), want, "plain, {key:?} {text:?}");
    #[cfg(all(feature = "avx512", target_arch = "x86_64"))]
    if let Some(cpu) = super::avx512::Avx512::detect() {
        let mac = super::avx512::Ifma::new(cpu, key, &[]);
        assert_eq!(mac.finish(text, lengths), want, "ifma, {key:?} {text:?}");
        // The front as associated data, which is absorbed another way.
        let (front, back) = text.split_at((text.len() / 2) & !15);
        let mac = super::avx512::Ifma::new(cpu, key, front);
        assert_eq!(mac.finish(back, lengths), want, "ifma in two parts, {key:?} {text:?}");
    }
}

#[test]
fn a_backend_that_is_wrong_is_not_used() {
    let here = Backend::all();
    assert!(here.iter().all(|b| check::agrees(*b)));
    let (none, why) = choose_of(&here, |_| false);
    assert!(none.is_none() && why.contains("wrong answers"), "{why}");
    assert!(choose_of(&[], |_| true).0.is_none());
    if let [fastest, next, ..] = here[..] {
        assert_eq!(choose_of(&here, |_| true).1, fastest.name());
        let (chosen, why) = choose_of(&here, |b| b.name() != fastest.name());
        assert_eq!(chosen.map(|b| b.name()), Some(next.name()));
        assert!(why.contains("wrong answers"), "{why}");
    }
}

#[test]
fn poly1305_where_carries_run_through() {
    // Numbers of ones, of zeros, just below and above 2^130 - 5: bytes of few kinds.
    let kinds = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfe, 0xff];
    let mut noise = 1u64;
    let mut draw = |n: usize| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 33) as usize % n
    };
    for case in 0..4000 {
        let mut key = [0xff; 32];
        match case % 4 {
            0 => {}
            1 => key[..16].copy_from_slice(&(draw(8) as u128).to_le_bytes()),
            2 => key.iter_mut().for_each(|b| *b = kinds[draw(kinds.len())]),
            _ => key.iter_mut().for_each(|b| *b = draw(256) as u8),
        }
        let mut text = vec![0xff; draw(700)];
        for block in text.chunks_mut(16) {
            let kind = kinds[draw(kinds.len())];
            match draw(3) {
                0 => block.fill(0xff),
                1 => block.fill(kind),
                _ => block.iter_mut().for_each(|b| *b = kinds[draw(kinds.len())]),
            }
        }
        every_way(&key, &text);
    }
}

#[test]
fn poly1305_reduces_fully() {
    // With r = 1 a tag without pad is a sum: all blocks around the one that makes it 0 mod p.
    // One block and the lengths are 2^129 + 16 + b, so b = 2^129 - 21 would be p: out of a block's
    // reach; with two blocks, 3 · 2^128 + 32 + b + b', p is b + b' = 2^128 - 37.
    let mut key = [0; 32];
    key[0] = 1;
    for near in 0..80u128 {
        let text = [(u128::MAX - near).to_le_bytes(), [0; 16]].concat();
        every_way(&key, &text);
        let mut many = [text, vec![0; 16 * 40]].concat();
        every_way(&key, &many);
        many.rotate_right(16);
        every_way(&key, &many);
    }
}

#[cfg(all(feature = "avx512", target_arch = "x86_64"))]
#[test]
fn a_square_is_a_product() {
    let mut poly = super::poly1305::Poly1305::new(&[0xff; 32]);
    let [r, square] = poly.powers();
    poly.start_at(r);
    assert_eq!(poly.powers()[1], square);
}
