//! The answer to a datagram for a port that nobody has, which here are all of them.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

/// How much of it is sent back (RFC 792: 64 bits beyond the header).
const SENT_BACK: usize = 8;
const HOP_LIMIT: u8 = 64;

pub fn port(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.first()? >> 4 == 6 { port_v6(bytes) } else { port_v4(bytes) }
}

fn port_v4(bytes: &[u8]) -> Option<Vec<u8>> {
    let none = ChecksumCapabilities::ignored();
    let asked = Ipv4Packet::new_checked(bytes).ok()?;
    let header = Ipv4Repr::parse(&asked, &none).ok()?;
    let data = asked.payload();
    let data = data.get(..SENT_BACK.min(data.len()))?;
    let reason = Icmpv4DstUnreachable::PortUnreachable;
    let answer = Icmpv4Repr::DstUnreachable { reason, header, data };
    let own = Ipv4Repr {
        src_addr: header.dst_addr,
        dst_addr: header.src_addr,
        next_header: IpProtocol::Icmp,
        payload_len: answer.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let mut packet = vec![0; own.buffer_len() + answer.buffer_len()];
    let sums = ChecksumCapabilities::default();
    own.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &sums);
    let rest = packet.get_mut(own.buffer_len()..)?;
    answer.emit(&mut Icmpv4Packet::new_unchecked(rest), &sums);
    Some(packet)
}

fn port_v6(bytes: &[u8]) -> Option<Vec<u8>> {
    let asked = Ipv6Packet::new_checked(bytes).ok()?;
    let header = Ipv6Repr::parse(&asked).ok()?;
    let data = asked.payload();
    let data = data.get(..SENT_BACK.min(data.len()))?;
    let reason = Icmpv6DstUnreachable::PortUnreachable;
    let answer = Icmpv6Repr::DstUnreachable { reason, header, data };
    let own = Ipv6Repr {
        src_addr: header.dst_addr,
        dst_addr: header.src_addr,
        next_header: IpProtocol::Icmpv6,
        payload_len: answer.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let mut packet = vec![0; own.buffer_len() + answer.buffer_len()];
    own.emit(&mut Ipv6Packet::new_unchecked(&mut packet[..]));
    let rest = Icmpv6Packet::new_unchecked(packet.get_mut(own.buffer_len()..)?);
    let sums = ChecksumCapabilities::default();
    answer.emit(&own.src_addr, &own.dst_addr, &mut { rest }, &sums);
    Some(packet)
}
