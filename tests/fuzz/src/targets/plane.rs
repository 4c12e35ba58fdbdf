//! The way of many packets as one, compiled here as it is: it is private to the tunnel.
//!
//! Merging and cutting again must give back every packet as it was, in the order of its flow, and
//! wrong checksums must stay wrong. Cutting what a kernel says must not panic, whatever it says.

use super::bytes::Bytes;
use super::test_packets::{self, TestPacket};
use gso::{Coalescer, HEADER_LEN, Header, Segments};
use hopbox::tunnel::Offload;

#[allow(dead_code, unused_imports)] // some of it is for the tunnel alone
#[path = "../../../../src/tunnel/gso/mod.rs"]
mod gso;

/// Bytes in front of a packet in the receive buffer.
const ROOM: usize = 32;
/// Bytes of all packets of one input: more would only be slow.
const BYTES: usize = 400_000;

/// One flow of the script: what its next packet would be.
struct Flow {
    next: TestPacket,
    size: usize,
}

impl Flow {
    fn new(b: &mut Bytes, number: u8) -> Flow {
        let kind = b.u8();
        let mut next = match kind & 3 {
            0 => TestPacket::udp(kind & 4 != 0, 0),
            _ => TestPacket::tcp(
                kind & 4 != 0,
                (u32::MAX - 3000).wrapping_add(u32::from(b.u16())),
                0,
            ),
        };
        next.fragment = if kind & 8 != 0 { test_packets::DF } else { 0 };
        next.id = b.u16();
        // Some flows differ in nothing but one of these.
        next.ports[0] = u16::from(number >> 1);
        next.hosts[0] = number & 1;
        let size = [1, 7, 100, 536, 1380, 1460, 9000, 30_000][usize::from(b.u8() & 7)];
        Flow { next, size }
    }

    /// The next packet, odd in one way or another every now and then.
    fn packet(&mut self, b: &mut Bytes) -> Vec<u8> {
        let (what, how) = (b.u8(), b.u8());
        let mut c = self.next.clone();
        let len = if what & 0x30 == 0x30 { usize::from(how) * 8 } else { self.size };
        c.payload = (0..len).map(|i| (i as u8).wrapping_mul(how | 1)).collect();
        let step = c.payload.len() as u32;
        match what & 15 {
            0 => c.flags |= 1 << (how & 7),
            1 => c.flags |= 0x08,
            2 => c.seq = c.seq.wrapping_sub(step),
            3 => c.seq = c.seq.wrapping_add(u32::from(how)),
            4 => c.ack = u32::from(how),
            5 => c.window = u16::from(how),
            6 => c.ttl = how,
            7 => c.tos = how,
            8 if !c.v6 => c.fragment = u16::from(how) << 8 | u16::from(how & 3),
            9 if !c.udp => c.options = vec![how; usize::from(how & 3) * 4],
            10 => c.id = c.id.wrapping_add(u16::from(how)),
            11 => (c.flags, c.urgent) = (c.flags | 0x20, u16::from(how)),
            _ => {}
        }
        self.next.seq = c.seq.wrapping_add(step);
        self.next.id = if what & 0x40 == 0 { c.id.wrapping_add(1) } else { c.id };
        let mut packet = c.packet();
        if what & 15 == 12 {
            let at = usize::from(how) * 7 % packet.len();
            // The length is held against the packet before merging sees it.
            let length = if c.v6 { 4..6 } else { 2..4 };
            if !length.contains(&at) {
                packet[at] ^= 1 << (how & 7);
            }
        }
        packet
    }
}

/// What must come out as it went in, and in which row: IPv4 ids say nothing where fragments are
/// forbidden (RFC 6864), so they may be counted instead.
fn essence(packet: &[u8]) -> Vec<u8> {
    let mut p = packet.to_vec();
    let atomic = p.len() >= 20 && p[0] == 0x45 && p[6] == 0x40 && p[7] == 0;
    if atomic
        && (0..10).map(|i| u32::from(p[2 * i]) << 8 | u32::from(p[2 * i + 1])).sum::<u32>() % 0xffff
            == 0
    {
        p[4..6].fill(0);
        p[10..12].fill(0);
    }
    p
}

/// Addresses, protocol and ports.
fn row(packet: &[u8]) -> Vec<u8> {
    match packet.first().map(|b| b >> 4) {
        Some(4) => {
            packet.get(9..10).into_iter().chain(packet.get(12..24)).flatten().copied().collect()
        }
        Some(6) => {
            packet.get(6..7).into_iter().chain(packet.get(8..44)).flatten().copied().collect()
        }
        _ => Vec::new(),
    }
}

/// The packets that `written` stands for.
fn cut(written: &[u8], out: &mut Vec<Vec<u8>>) {
    let mut bytes = written.to_vec();
    let (header, packet) = bytes.split_first_chunk_mut::<HEADER_LEN>().expect("a header");
    let header = Header::read(header).expect("a header of ours");
    let mut split = Segments::new(&header, packet).expect("a header that fits");
    while let Some(len) = split.next_len() {
        let mut p = vec![0; len];
        assert_eq!(split.next(&mut p), Some(len));
        out.push(p);
    }
}

pub fn split_merge(data: &[u8]) {
    let mut b = Bytes::new(data);
    let levels = [Offload::Tunnels, Offload::Tcp, Offload::Checksums, Offload::Nothing];
    let how = b.u8();
    if how & 0x80 != 0 {
        return lies(b);
    }
    let level = levels[usize::from(how & 3)];
    let mut flows: Vec<Flow> = (0..=how >> 2 & 7).map(|n| Flow::new(&mut b, n)).collect();
    let (mut space, mut sent, mut places) = (Vec::new(), Vec::new(), Vec::new());
    while !b.is_empty() && space.len() < BYTES {
        let n = flows.len();
        // A byte chooses a flow and how many packets of it follow each other.
        let choice = b.u8();
        for _ in 0..=choice >> 4 {
            let packet = flows[usize::from(choice & 15) % n].packet(&mut b);
            space.extend([0xdd; ROOM]);
            places.push((space.len(), packet.len()));
            space.extend(&packet);
            sent.push(packet);
        }
    }
    let (mut merge, mut written) = (Coalescer::new(level), Vec::new());
    let join =
        |parts: &[std::io::IoSlice<'_>]| parts.iter().flat_map(|p| p.to_vec()).collect::<Vec<u8>>();
    for (start, len) in places {
        if merge.is_full() {
            merge.drain(&mut space, |parts| written.push(join(parts)));
        }
        merge.push(&space, start, len);
    }
    merge.drain(&mut space, |parts| written.push(join(parts)));
    let mut came = Vec::new();
    for w in &written {
        cut(w, &mut came);
    }
    compare(&sent, &came);
}

fn compare(sent: &[Vec<u8>], came: &[Vec<u8>]) {
    assert_eq!(sent.len(), came.len(), "as many packets as before");
    let rows = |list: &[Vec<u8>]| {
        let mut rows = std::collections::BTreeMap::<_, Vec<_>>::new();
        for p in list {
            rows.entry(row(p)).or_default().push(essence(p));
        }
        rows
    };
    assert!(rows(sent) == rows(came), "a packet changed, or changed places in its flow");
}

/// A header and a packet of anybody's making.
fn lies(mut b: Bytes) {
    let header: [u8; HEADER_LEN] = b.array();
    let mut packet = b.take(usize::MAX).to_vec();
    let Some(header) = Header::read(&header) else { return };
    let len = packet.len();
    let Some(mut split) = Segments::new(&header, &mut packet) else { return };
    let mut rounds = 0;
    while let Some(n) = split.next_len() {
        assert!(n <= len, "no piece is longer than the whole");
        let mut p = vec![0; n];
        if split.next(&mut p).is_none() {
            return;
        }
        rounds += 1;
        assert!(rounds <= len + 1, "and there is an end");
    }
}
