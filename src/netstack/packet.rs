//! What a packet from the tunnel is, as far as it decides what becomes of it. Whatever smoltcp
//! would drop without a word is told apart here, before it.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IPV4_HEADER_LEN, Icmpv4Message, Icmpv4Packet, IpAddress, IpProtocol, Ipv4Packet, TcpControl,
    TcpPacket, TcpRepr,
};
use std::net::Ipv4Addr;

use super::drop::Drop;

/// A connection, by who begins it and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub from: Ipv4Addr,
    pub from_port: u16,
    pub port: u16,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first packet of a connection, or one more.
    Begins(Flow),
    Tcp(Flow),
    Echo,
    Udp,
}

/// Looks at a packet for `own`.
pub fn look(bytes: &[u8], own: Ipv4Addr) -> Result<Seen, Drop> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => {}
        Some(6) => return Err(Drop::NotIpv4),
        _ => return Err(Drop::Malformed),
    }
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    if usize::from(packet.header_len()) < IPV4_HEADER_LEN || !packet.verify_checksum() {
        return Err(Drop::Malformed);
    }
    let from = packet.src_addr();
    if packet.dst_addr() != own {
        return Err(Drop::NotOurs);
    }
    let nobody = from.is_unspecified() || from.is_multicast() || from.is_broadcast();
    if nobody || from.is_loopback() || from == own {
        return Err(Drop::BadSource);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(Drop::Fragment);
    }
    match packet.next_header() {
        IpProtocol::Tcp => tcp(packet.payload(), from, own),
        IpProtocol::Icmp => echo(packet.payload()),
        IpProtocol::Udp => Ok(Seen::Udp),
        _ => Err(Drop::Protocol),
    }
}

fn tcp(bytes: &[u8], from: Ipv4Addr, own: Ipv4Addr) -> Result<Seen, Drop> {
    let packet = TcpPacket::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    let (from, own) = (IpAddress::Ipv4(from), IpAddress::Ipv4(own));
    let all = ChecksumCapabilities::default();
    let segment = TcpRepr::parse(&packet, &from, &own, &all).map_err(|_| Drop::Malformed)?;
    let IpAddress::Ipv4(from) = from;
    let flow = Flow { from, from_port: segment.src_port, port: segment.dst_port };
    let begins = segment.control == TcpControl::Syn && segment.ack_number.is_none();
    Ok(if begins { Seen::Begins(flow) } else { Seen::Tcp(flow) })
}

fn echo(bytes: &[u8]) -> Result<Seen, Drop> {
    let packet = Icmpv4Packet::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    match (packet.msg_type(), packet.msg_code(), packet.verify_checksum()) {
        (_, _, false) => Err(Drop::Malformed),
        (Icmpv4Message::EchoRequest, 0, _) => Ok(Seen::Echo),
        _ => Err(Drop::Protocol),
    }
}

/// Of a packet of ours with bytes of a connection: which, the first one's number, how many.
pub fn bytes_in(packet: &[u8]) -> Option<(Flow, u32, u32)> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    let tcp = packet.next_header() == IpProtocol::Tcp;
    let count = u32::try_from(segment.payload().len()).ok().filter(|count| tcp && *count > 0)?;
    let (from, port) = (packet.dst_addr(), segment.src_port());
    let flow = Flow { from, from_port: segment.dst_port(), port };
    Some((flow, segment.seq_number().0 as u32, count))
}
