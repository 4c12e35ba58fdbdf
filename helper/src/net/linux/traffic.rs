//! The classifier on a device's way in, as the bytes of routing netlink. Numbers are those of
//! linux/pkt_sched.h, pkt_cls.h and rtnetlink.h.
//!
//! Pure. Must not know: sockets, what the program in it says.

use crate::net::linux::netlink::{Message, Record, attr, u32_at};
use libc::sock_filter;

/// The place of a device where both ways can be classified: handle, and parent of the way in.
const CLSACT: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;
const WAY_IN: u32 = 0xffff_fff2;
/// Before every other filter, and for packets of every protocol.
const FIRST: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;
const HANDLE: u32 = 1;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's return value is the verdict.
const DIRECT: u32 = 1;
const TCMSG: usize = 20;

/// struct tcmsg
fn head(ifindex: u32, handle: u32, parent: u32, info: u32) -> Message {
    Message::of(&[0, ifindex, handle, parent, info])
}

/// For RTM_NEWQDISC: makes room for filters.
pub fn room(ifindex: u32) -> Message {
    head(ifindex, CLSACT, CLSACT_PARENT, 0).attr(TCA_KIND, b"clsact\0")
}

/// For RTM_NEWTFILTER: this program decides first, in place of the one before it.
pub fn filter(ifindex: u32, program: &[sock_filter]) -> Message {
    let count = program.len() as u16;
    let options = Message::of(&[])
        .attr(TCA_BPF_OPS_LEN, &count.to_ne_bytes())
        .attr(TCA_BPF_OPS, &bytes(program))
        .attr(TCA_BPF_FLAGS, &DIRECT.to_ne_bytes());
    head(ifindex, HANDLE, WAY_IN, FIRST).attr(TCA_KIND, b"bpf\0").nest(TCA_OPTIONS, options)
}

/// For a dump of RTM_GETTFILTER.
pub fn filters(ifindex: u32) -> Message {
    head(ifindex, 0, WAY_IN, 0)
}

/// Whether the first filter on the way in is this program.
pub fn decides_first(records: &[Record], program: &[sock_filter]) -> bool {
    // Each kind of filter is named once before its filters, which alone have a handle.
    let first = records.iter().find(|record| record.u32(8).is_some_and(|handle| handle != 0));
    first.is_some_and(|record| {
        let options = record.attr(TCMSG, TCA_OPTIONS).unwrap_or_default();
        let flags = attr(options, TCA_BPF_FLAGS).and_then(|flags| u32_at(flags, 0));
        record.kind == libc::RTM_NEWTFILTER
            && record.u32(16) == Some(FIRST)
            && record.attr(TCMSG, TCA_KIND) == Some(b"bpf\0")
            && flags.is_some_and(|flags| flags & DIRECT != 0)
            && attr(options, TCA_BPF_OPS) == Some(&bytes(program))
    })
}

/// The program as the kernel has it in memory.
fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let one = |step: &sock_filter| {
        let [a, b] = step.code.to_ne_bytes();
        let [c, d, e, f] = step.k.to_ne_bytes();
        [a, b, step.jt, step.jf, c, d, e, f]
    };
    program.iter().flat_map(one).collect()
}
