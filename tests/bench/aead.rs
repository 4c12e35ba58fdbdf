//! Nanoseconds per packet of every backend of `src/simd` and of the crate:
//! `cargo bench --bench aead`. Beside ring:
//! `cargo run --release --manifest-path tests/bench/ring/Cargo.toml`.
//!
//! Short interleaved rounds and their medians, because the machine has other work too; compare
//! within one run only. To open, the sealed text is copied first, alike for all (some 10 ns at 1420
//! bytes). All work on the same sixteen packets, `x16` on all of them together.
//!
//! `aead once BACKEND LENGTH SEED` seals and opens one packet, then four together, for
//! `tests/ct.sh`.
#![allow(dead_code)]

use std::hint::black_box;
use std::time::Instant;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hopbox::simd::{Backend, Packet};

const KEY: [u8; 32] = [7; 32];
const COUNTER: u64 = 9;
const LENGTHS: [usize; 3] = [64, 256, 1420];
const ROUNDS: usize = 301;
/// Packets that are there at once, as those of one read are in a tunnel.
const BURST: usize = 16;
const BURSTS: usize = 12;

pub type Seal = dyn Fn(&mut [u8]) -> [u8; 16];
pub type Open = dyn Fn(&mut [u8], &[u8; 16]) -> bool;

pub struct Candidate {
    pub name: String,
    pub way: Way,
}

/// Packets one by one, or all of a burst together.
pub enum Way {
    Alone(Box<Seal>, Box<Open>),
    Together(Backend),
}

impl Way {
    fn seal(&self, texts: &mut [Vec<u8>], tags: &mut [[u8; 16]]) {
        let each = texts.iter_mut().zip(tags);
        match self {
            Way::Alone(seal, _) => each.for_each(|(text, tag)| *tag = seal(black_box(text))),
            Way::Together(backend) => {
                let mut all: Vec<_> =
                    each.map(|(text, tag)| Packet::new(nonce(), text, tag)).collect();
                backend.seal_all(&KEY, black_box(&mut all));
            }
        }
    }

    fn open(&self, texts: &mut [Vec<u8>], tags: &mut [[u8; 16]]) {
        let each = texts.iter_mut().zip(tags);
        match self {
            Way::Alone(_, open) => each.for_each(|(text, tag)| assert!(open(text, tag))),
            Way::Together(backend) => {
                let mut all: Vec<_> =
                    each.map(|(text, tag)| Packet::new(nonce(), text, tag)).collect();
                backend.open_all(&KEY, &mut all);
                assert!(all.iter().all(Packet::is_authentic));
            }
        }
    }
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
    let seal = move |text: &mut [u8]| {
        let tag = to_seal.encrypt_inout_detached(&nonce().into(), &[], text.into());
        tag.expect("short").into()
    };
    let open = move |text: &mut [u8], tag: &[u8; 16]| {
        let tag = (*tag).into();
        to_open.decrypt_inout_detached(&nonce().into(), &[], text.into(), &tag).is_ok()
    };
    Candidate { name: "crate".to_owned(), way: Way::Alone(Box::new(seal), Box::new(open)) }
}

fn of(backend: Backend) -> [Candidate; 2] {
    let seal = move |text: &mut [u8]| backend.seal(&KEY, &nonce(), &[], text);
    let open =
        move |text: &mut [u8], tag: &[u8; 16]| backend.open(&KEY, &nonce(), &[], text, tag).is_ok();
    let alone = Way::Alone(Box::new(seal), Box::new(open));
    let together = format!("{} x{BURST}", backend.name());
    [
        Candidate { name: backend.name().to_owned(), way: alone },
        Candidate { name: together, way: Way::Together(backend) },
    ]
}

/// Nanoseconds per packet of one short round.
fn round(mut burst: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..BURSTS {
        burst();
    }
    start.elapsed().as_nanos() as f64 / (BURSTS * BURST) as f64
}

pub fn measure(strangers: Vec<Candidate>) {
    let mut all = vec![of_the_crate()];
    all.extend(strangers);
    all.extend(Backend::all().into_iter().flat_map(of));
    // [candidate][length][seal, open]
    let mut times = vec![[const { [const { Vec::new() }; 2] }; LENGTHS.len()]; all.len()];
    for _ in 0..ROUNDS {
        for (candidate, times) in all.iter().zip(&mut times) {
            for (len, times) in LENGTHS.into_iter().zip(times) {
                let (mut texts, mut tags) = (vec![vec![0x5a; len]; BURST], [[0; 16]; BURST]);
                times[0].push(round(|| candidate.way.seal(&mut texts, &mut tags)));
                let mut one = vec![0x5a; len];
                tags.fill(sealed(&mut one));
                times[1].push(round(|| {
                    texts.iter_mut().for_each(|text| text.copy_from_slice(black_box(&one)));
                    candidate.way.open(&mut texts, &mut tags);
                }));
            }
        }
    }
    println!("median ns per packet, seal / open, of {ROUNDS} rounds of {BURSTS} x {BURST} packets");
    println!("{:9}{}", "", LENGTHS.map(|len| format!("{len:>14} B ")).concat());
    for (candidate, times) in all.iter().zip(&mut times) {
        print!("{:9}", candidate.name);
        for [seal, open] in times {
            print!(" {:7.0} /{:6.0}", median(seal), median(open));
        }
        println!();
    }
}

/// By the crate, whoever opens it.
fn sealed(text: &mut [u8]) -> [u8; 16] {
    let aead = ChaCha20Poly1305::new(&KEY.into());
    aead.encrypt_inout_detached(&nonce().into(), &[], text.into()).expect("short").into()
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
    let (mut texts, mut tags) = (vec![text; 4], [[0; 16]; 4]);
    for opens in [false, true] {
        let each = texts.iter_mut().zip(&mut tags).enumerate();
        let mut all: Vec<_> =
            each.map(|(n, (text, tag))| Packet::new([n as u8; 12], text, tag)).collect();
        if opens {
            backend.open_all(&key, &mut all);
            assert!(all.iter().all(Packet::is_authentic));
        } else {
            backend.seal_all(&key, &mut all);
        }
    }
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
