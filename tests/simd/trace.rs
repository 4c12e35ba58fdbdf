//! Constant time, shown: the processor takes the very same instructions, in the same order,
//! whatever the key, the text and the tag are. Every instruction of a child is stepped through.
//!
//! What it cannot show is which addresses were read; `tests/ct.sh` does, under valgrind.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use hopbox::simd::{self, Backend};

use super::{Noise, backends};

const NONCE: [u8; 12] = [77; 12];

/// The number of instructions and a digest of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace(usize, u64);

/// Steps through `work` in a child. `None` where tracing is forbidden.
fn trace(mut work: impl FnMut()) -> Option<Trace> {
    // SAFETY: the child only computes on its own memory, without allocation or locks, and exits.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(3);
            }
            libc::raise(libc::SIGSTOP);
            work();
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        let mut seen = Trace(0, 0xcbf2_9ce4_8422_2325);
        while libc::WIFSTOPPED(status) {
            let mut registers: libc::user_regs_struct = std::mem::zeroed();
            libc::ptrace(libc::PTRACE_GETREGS, child, 0, &mut registers);
            seen = Trace(seen.0 + 1, (seen.1 ^ registers.rip).wrapping_mul(0x0100_0000_01b3));
            assert!(seen.0 < 1_000_000, "the child does not come to an end");
            if libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) != 0 {
                libc::kill(child, libc::SIGKILL);
            }
            libc::waitpid(child, &mut status, 0);
        }
        let done = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        done.then_some(seen)
    }
}

#[derive(Clone, Copy)]
struct Packet {
    key: [u8; 32],
    text: [u8; 2000],
    len: usize,
    tag: [u8; 16],
}

fn sealed(backend: Backend, noise: &mut Noise, len: usize, kind: usize) -> Packet {
    let mut packet = Packet { key: [0; 32], text: [0; 2000], len, tag: [0; 16] };
    match kind {
        0 => {}
        1 => {
            packet.key.fill(0xff);
            packet.text.fill(0xff);
        }
        _ => {
            noise.fill(&mut packet.key);
            noise.fill(&mut packet.text);
        }
    }
    packet.tag = backend.seal(&packet.key, &NONCE, &[], &mut packet.text[..len]);
    packet
}

/// Opens and seals again.
fn there_and_back(backend: Backend, packet: &mut Packet) {
    let text = &mut packet.text[..packet.len];
    let opened = backend.open(&packet.key, &NONCE, &[], text, &packet.tag);
    packet.tag = backend.seal(&packet.key, &NONCE, &[], text);
    assert!(opened.is_ok());
}

#[test]
fn the_same_instructions_for_all_keys_and_texts() {
    let mut noise = Noise(5);
    for backend in backends() {
        for len in [0, 64, 100, 448, 700, 1420, 2000] {
            let mut first = None;
            for kind in 0..6 {
                let mut packet = sealed(backend, &mut noise, len, kind);
                let Some(seen) = trace(|| there_and_back(backend, &mut packet)) else {
                    println!("SKIP simd trace: ptrace is not permitted here");
                    return;
                };
                assert!(seen.0 > 500, "{seen:?}");
                assert_eq!(*first.get_or_insert(seen), seen, "{} {len} {kind}", backend.name());
            }
        }
    }
}

/// Three packets of this length and one of two bytes, sealed and opened together.
fn together(backend: Backend, packet: &mut Packet) {
    let Packet { key, text, len, .. } = packet;
    let (mut tags, mut texts) = ([[0; 16]; 4], [*text; 4]);
    for opens in [false, true] {
        let [a, b, c, d] = texts.each_mut();
        let [e, f, g, h] = tags.each_mut();
        let mut all = [
            simd::Packet::new(NONCE, &mut a[..*len], e),
            simd::Packet::new([78; 12], &mut b[..*len], f),
            simd::Packet::new([79; 12], &mut c[..2], g),
            simd::Packet::new([80; 12], &mut d[..*len], h),
        ];
        if opens {
            backend.open_all(key, &mut all);
            assert!(all.iter().all(simd::Packet::is_authentic));
        } else {
            backend.seal_all(key, &mut all);
        }
    }
}

#[test]
fn the_same_instructions_for_all_bursts() {
    let mut noise = Noise(9);
    for backend in backends() {
        for len in [0, 100, 1420] {
            let mut first = None;
            for kind in 0..4 {
                let mut packet = sealed(backend, &mut noise, len, kind);
                let Some(seen) = trace(|| together(backend, &mut packet)) else { return };
                assert!(seen.0 > 500, "{seen:?}");
                assert_eq!(*first.get_or_insert(seen), seen, "{} {len} {kind}", backend.name());
            }
        }
    }
}

#[test]
fn the_same_instructions_for_all_forgeries() {
    let mut noise = Noise(6);
    for backend in backends() {
        let mut first = None;
        for bit in [0, 7, 8, 63, 64, 120, 127] {
            let mut packet = sealed(backend, &mut noise, 300, 2);
            packet.tag[bit / 8] ^= 1 << (bit % 8);
            let seen = trace(|| {
                let text = &mut packet.text[..300];
                assert!(backend.open(&packet.key, &NONCE, &[], text, &packet.tag).is_err());
            });
            let Some(seen) = seen else { return };
            assert_eq!(*first.get_or_insert(seen), seen, "{} bit {bit}", backend.name());
        }
    }
}

#[test]
fn a_comparison_that_stops_early_is_found_out() {
    // The method itself: without this the tests above could not fail.
    let early = |a: [u8; 16]| {
        trace(|| {
            for byte in std::hint::black_box(a) {
                if std::hint::black_box(byte) != 0 {
                    break;
                }
            }
        })
    };
    let (Some(front), Some(back)) = (early([1; 16]), early(*b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"))
    else {
        return;
    };
    assert_ne!(front, back);
}
