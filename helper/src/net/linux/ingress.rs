//! Which packets a tunnel's device may bring into the machine, as a program for the kernel's
//! classifier `bpf` (classic BPF, its return value is the verdict).
//!
//! What the holder of a device writes must change nothing but what is routed to it. So nothing
//! comes in but unicast IPv4 from where the device's route leads to the device's own address. A
//! load past the packet's end would return 0, which lets it in: every load has a test of the length
//! before it. Pure. Must not know: netlink, devices.

use crate::core::bpf::Step::{Do, If};
use crate::core::bpf::{AND, ANY_BIT, AT_LEAST, BYTE, EQUAL, HALF, LENGTH, To, WORD, assemble};
use crate::net::pool::Endpoints;
use libc::sock_filter;

const PASS: u32 = 0;
const DROP: u32 = 2;

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

/// The program for a device with these ends; without ends nothing comes in.
pub fn program(ends: Option<Endpoints>) -> Vec<sock_filter> {
    const PASSED: To = To::End(0);
    const DROPPED: To = To::End(1);
    let verdicts = [PASS, DROP];
    let Some(ends) = ends else {
        return assemble(&[If(EQUAL, 0, DROPPED, DROPPED)], &verdicts);
    };
    let (local, route) = (u32::from(ends.local), ends.route());
    let (base, mask) = (u32::from(route.base()), u32::from(route.mask()));
    let must = |code, k| If(code, k, To::Next, DROPPED);
    let mut steps = vec![
        Do(LENGTH, 0),
        must(AT_LEAST, HEADER),
        Do(BYTE, 0),
        must(EQUAL, PLAIN),
        Do(WORD, 16),
        must(EQUAL, local),
        Do(WORD, 12),
        If(EQUAL, local, DROPPED, To::Next),
        Do(AND, mask),
        must(EQUAL, base),
        Do(BYTE, 9),
    ];
    steps.extend(OF_ROUTERS.map(|protocol| If(EQUAL, protocol, DROPPED, To::Next)));
    steps.extend([
        If(EQUAL, ICMP, To::Next, PASSED),
        // What a datagram is stands in its first fragment; the rest is nothing without that.
        Do(HALF, 6),
        If(ANY_BIT, FRAGMENT_OFFSET, PASSED, To::Next),
        Do(LENGTH, 0),
        must(AT_LEAST, QUOTED),
        Do(BYTE, HEADER),
    ]);
    steps.extend(ECHOES.map(|kind| If(EQUAL, kind, PASSED, To::Next)));
    // An error counts for the flow that it quotes: that must be one of this tunnel, whole.
    steps.extend([
        If(EQUAL, UNREACHABLE, To::Skip(2), To::Next),
        If(EQUAL, TIME_EXCEEDED, To::Skip(1), To::Next),
        must(EQUAL, PARAMETER_PROBLEM),
        Do(HALF, 6),
        If(ANY_BIT, MORE_FRAGMENTS, DROPPED, To::Next),
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
    assemble(&steps, &verdicts)
}

#[cfg(test)]
#[path = "ingress_tests.rs"]
mod tests;
