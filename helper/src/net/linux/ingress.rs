//! Which packets a tunnel's device may bring into the machine, as a program for the kernel's
//! classifier `bpf` (classic BPF, its return value is the verdict).
//!
//! What the holder of a device writes must change nothing but what is routed to it. So nothing
//! comes in but unicast IPv4 from where the device's route leads to the device's own address. A
//! load past the packet's end would return 0, which lets it in: every load has a test of the length
//! before it. Pure. Must not know: netlink, devices.

use crate::net::pool::Endpoints;
use libc::sock_filter;

const PASS: u32 = 0;
const DROP: u32 = 2;

const LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// IPv4 with a header of twenty bytes: no options.
const PLAIN: u32 = 0x45;
const HEADER: u32 = 20;
const ICMP: u32 = 1;
/// IGMP, OSPF, PIM and VRRP: what routers say to each other.
const OF_ROUTERS: [u32; 4] = [2, 89, 103, 112];
const FRAGMENT_OFFSET: u32 = 0x1fff;
const MORE_FRAGMENTS: u32 = 0x2000;
const ECHOES: [u32; 2] = [0, 8];
const UNREACHABLE: u32 = 3;
const TIME_EXCEEDED: u32 = 11;
const PARAMETER_PROBLEM: u32 = 12;
/// Where an ICMP error quotes a packet, and the least of that: its header and eight bytes.
const QUOTED: u32 = HEADER + 8;
const QUOTED_LEAST: u32 = QUOTED + HEADER + 8;

/// Where a test leads.
#[derive(Clone, Copy)]
enum To {
    Next,
    Skip(usize),
    Pass,
    Drop,
}

#[derive(Clone, Copy)]
enum Step {
    Do(u16, u32),
    If(u16, u32, To, To),
}

/// The program for a device with these ends; without ends nothing comes in.
pub fn program(ends: Option<Endpoints>) -> Vec<sock_filter> {
    use Step::{Do, If};
    let Some(ends) = ends else {
        return assemble(&[If(EQUAL, 0, To::Drop, To::Drop)]);
    };
    let (local, route) = (u32::from(ends.local), ends.route());
    let (base, mask) = (u32::from(route.base()), u32::from(route.mask()));
    let must = |code, k| If(code, k, To::Next, To::Drop);
    let mut steps = vec![
        Do(LENGTH, 0),
        must(AT_LEAST, HEADER),
        Do(BYTE, 0),
        must(EQUAL, PLAIN),
        Do(WORD, 16),
        must(EQUAL, local),
        Do(WORD, 12),
        If(EQUAL, local, To::Drop, To::Next),
        Do(AND, mask),
        must(EQUAL, base),
        Do(BYTE, 9),
    ];
    steps.extend(OF_ROUTERS.map(|protocol| If(EQUAL, protocol, To::Drop, To::Next)));
    steps.extend([
        If(EQUAL, ICMP, To::Next, To::Pass),
        // What a datagram is stands in its first fragment; the rest is nothing without that.
        Do(HALF, 6),
        If(ANY_BIT, FRAGMENT_OFFSET, To::Pass, To::Next),
        Do(LENGTH, 0),
        must(AT_LEAST, QUOTED),
        Do(BYTE, HEADER),
    ]);
    steps.extend(ECHOES.map(|kind| If(EQUAL, kind, To::Pass, To::Next)));
    // An error counts for the flow that it quotes: that must be one of this tunnel, whole.
    steps.extend([
        If(EQUAL, UNREACHABLE, To::Skip(2), To::Next),
        If(EQUAL, TIME_EXCEEDED, To::Skip(1), To::Next),
        must(EQUAL, PARAMETER_PROBLEM),
        Do(HALF, 6),
        If(ANY_BIT, MORE_FRAGMENTS, To::Drop, To::Next),
        Do(LENGTH, 0),
        must(AT_LEAST, QUOTED_LEAST),
        Do(BYTE, QUOTED),
        must(EQUAL, PLAIN),
        Do(WORD, QUOTED + 12),
        must(EQUAL, local),
        Do(WORD, QUOTED + 16),
        Do(AND, mask),
        must(EQUAL, base),
    ]);
    assemble(&steps)
}

/// The steps, then the two ends: let in, and drop.
fn assemble(steps: &[Step]) -> Vec<sock_filter> {
    let end = steps.len();
    let offset = |at: usize, to: To| {
        let offset = match to {
            To::Next => 0,
            To::Skip(count) => count,
            To::Pass => end - at - 1,
            To::Drop => end - at,
        };
        offset as u8
    };
    let place = |(at, step): (usize, &Step)| match *step {
        Step::Do(code, k) => sock_filter { code, jt: 0, jf: 0, k },
        Step::If(code, k, yes, no) => {
            sock_filter { code, jt: offset(at, yes), jf: offset(at, no), k }
        }
    };
    let ret = |k| sock_filter { code: RETURN, jt: 0, jf: 0, k };
    steps.iter().enumerate().map(place).chain([ret(PASS), ret(DROP)]).collect()
}

#[cfg(test)]
#[path = "ingress_tests.rs"]
mod tests;
