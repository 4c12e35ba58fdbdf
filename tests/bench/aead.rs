//! Nanoseconds per packet of every backend of `src/simd` and of the crate:
//! `cargo bench --bench aead`. Beside ring:
//! `cargo run --release --manifest-path tests/bench/ring/Cargo.toml`.
//!
//! Short interleaved rounds and their medians, because the machine has other work too; compare
//! within one run only. To open, the sealed text is copied first, alike for all (some 10 ns at 1420
//! bytes).
//!
//! `aead once BACKEND LENGTH SEED` seals and opens one packet, for `tests/ct.sh`.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::Instant;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hopbox::simd::Backend;

const KEY: [u8; 32] = [7; 32];
const COUNTER: u64 = 9;
const LENGTHS: [usize; 3] = [64, 256, 1420];
const ROUNDS: usize = 301;
const PACKETS: usize = 200;

pub type Seal = dyn Fn(&mut [u8]) -> [u8; 16];
pub type Open = dyn Fn(&mut [u8], &[u8; 16]) -> bool;

pub struct Candidate {
    pub name: &'static str,
    pub seal: Box<Seal>,
    pub open: Box<Open>,
}

pub const fn nonce() -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = COUNTER.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

pub const fn key() -> &'static [u8; 32] {
    &KEY
}

fn of_the_crate() -> Candidate {
    let (to_seal, to_open) =
        (ChaCha20Poly1305::new(&KEY.into()), ChaCha20Poly1305::new(&KEY.into()));
    Candidate {
        name: "crate",
        seal: Box::new(move |text| {
            let tag = to_seal.encrypt_inout_detached(&nonce().into(), &[], text.into());
            tag.expect("short").into()
        }),
        open: Box::new(move |text, tag| {
            let tag = (*tag).into();
            to_open.decrypt_inout_detached(&nonce().into(), &[], text.into(), &tag).is_ok()
        }),
    }
}

fn of(backend: Backend) -> Candidate {
    Candidate {
        name: backend.name(),
        seal: Box::new(move |text| backend.seal(&KEY, &nonce(), &[], text)),
        open: Box::new(move |text, tag| backend.open(&KEY, &nonce(), &[], text, tag).is_ok()),
    }
}

/// Nanoseconds per packet of one short round.
fn round(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..PACKETS {
        work();
    }
    start.elapsed().as_nanos() as f64 / PACKETS as f64
}

pub fn measure(strangers: Vec<Candidate>) {
    let mut all = vec![of_the_crate()];
    all.extend(strangers);
    all.extend(Backend::all().into_iter().map(of));
    // [candidate][length][seal, open]
    let mut times = vec![[const { [const { Vec::new() }; 2] }; LENGTHS.len()]; all.len()];
    for _ in 0..ROUNDS {
        for (candidate, times) in all.iter().zip(&mut times) {
            for (len, times) in LENGTHS.into_iter().zip(times) {
                let mut text = vec![0x5a; len];
                times[0].push(round(|| {
                    black_box((candidate.seal)(black_box(&mut text)));
                }));
                let tag = (candidate.seal)(&mut text);
                let sealed = text.clone();
                times[1].push(round(|| {
                    black_box(&mut text).copy_from_slice(black_box(&sealed));
                    assert!((candidate.open)(&mut text, &tag));
                }));
            }
        }
    }
    println!("median ns per packet, seal / open, of {ROUNDS} rounds of {PACKETS} packets");
    println!("{:8}{}", "", LENGTHS.map(|len| format!("{len:>14} B ")).concat());
    for (candidate, times) in all.iter().zip(&mut times) {
        print!("{:8}", candidate.name);
        for [seal, open] in times {
            print!(" {:7.0} /{:6.0}", median(seal), median(open));
        }
        println!();
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One packet there and back, with a key and a text that depend on the seed without a branch.
fn once(backend: &str, len: usize, seed: u64) {
    let backend = Backend::all().into_iter().find(|b| b.name() == backend);
    let backend = backend.expect("a backend that this processor has");
    let byte = |i: usize| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * i as u64) >> 56) as u8;
    let key = std::array::from_fn(byte);
    let mut text: Vec<u8> = (0..len).map(|i| byte(i + 32)).collect();
    let tag = backend.seal(&key, &nonce(), &[], &mut text);
    assert!(backend.open(&key, &nonce(), &[], &mut text, &tag).is_ok());
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|a| a == "once").map(|at| &args[at + 1..]) {
        Some([backend, len, seed]) => {
            once(backend, len.parse().expect("a length"), seed.parse().expect("a number"))
        }
        Some(_) => panic!("once BACKEND LENGTH SEED"),
        None => measure(Vec::new()),
    }
}
