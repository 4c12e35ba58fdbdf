//! What a packet from the tunnel is, as far as it decides what becomes of it. Whatever smoltcp
//! would drop without a word is told apart here, before it.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IPV4_HEADER_LEN, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpAddress,
    IpProtocol, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::drop::Drop;

/// Our addresses, one of each family at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Own {
    /// The one that somebody at `other` speaks with.
    pub fn towards(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// A connection: its other side, and our port. Ours is the address of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub from: IpAddr,
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
pub fn look(bytes: &[u8], own: &Own) -> Result<Seen, Drop> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => look_v4(bytes, own.v4),
        Some(6) => look_v6(bytes, own.v6.ok_or(Drop::NotIpv4)?),
        _ => Err(Drop::Malformed),
    }
}

fn look_v4(bytes: &[u8], own: Option<Ipv4Addr>) -> Result<Seen, Drop> {
    let packet = Ipv4Packet::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    if usize::from(packet.header_len()) < IPV4_HEADER_LEN || !packet.verify_checksum() {
        return Err(Drop::Malformed);
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if Some(to) != own {
        return Err(Drop::NotOurs);
    }
    let nobody = from.is_unspecified() || from.is_multicast() || from.is_broadcast();
    if nobody || from.is_loopback() || from == to {
        return Err(Drop::BadSource);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(Drop::Fragment);
    }
    match packet.next_header() {
        IpProtocol::Tcp => tcp(packet.payload(), from.into(), to.into()),
        IpProtocol::Icmp => echo(packet.payload()),
        IpProtocol::Udp => Ok(Seen::Udp),
        _ => Err(Drop::Protocol),
    }
}

fn look_v6(bytes: &[u8], own: Ipv6Addr) -> Result<Seen, Drop> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if to != own {
        return Err(Drop::NotOurs);
    }
    // An address of IPv4 has no business in an IPv6 packet.
    let nobody = from.is_unspecified() || from.is_multicast() || from.to_ipv4_mapped().is_some();
    if nobody || from.is_loopback() || from == to {
        return Err(Drop::BadSource);
    }
    match packet.next_header() {
        IpProtocol::Tcp => tcp(packet.payload(), from.into(), to.into()),
        IpProtocol::Icmpv6 => echo_v6(packet.payload(), from, to),
        IpProtocol::Udp => Ok(Seen::Udp),
        IpProtocol::Ipv6Frag => Err(Drop::Fragment),
        _ => Err(Drop::Protocol),
    }
}

/// Whether a packet is TCP's for `own`, of which connection, and whether it would begin one. Looks
/// at what `look` would look at first, and at no checksum: who takes it, looks.
pub fn glance(bytes: &[u8], own: Ipv4Addr) -> Option<(Flow, bool)> {
    let header = bytes.first_chunk::<IPV4_HEADER_LEN>()?;
    // Most packets of a tunnel end here: what is no TCP, and parts of packets.
    if header[0] >> 4 != 4 || header[9] != TCP || header[6] & PART | header[7] != 0 {
        return None;
    }
    let len = usize::from(header[0] & 15) * 4;
    if header[16..] != own.octets() || len < IPV4_HEADER_LEN {
        return None;
    }
    let tcp = bytes.get(len..)?.first_chunk::<TCP_HEADER_LEN>()?;
    let from = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let from_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    let port = u16::from_be_bytes([tcp[2], tcp[3]]);
    Some((Flow { from: from.into(), from_port, port }, tcp[13] & (FIN | SYN | RST | ACK) == SYN))
}

const TCP: u8 = 6;
/// More of it follows, or was before (RFC 791, 3.1); with the next byte.
const PART: u8 = 0x3f;
const TCP_HEADER_LEN: usize = 20;
/// RFC 9293, 3.1.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn tcp(bytes: &[u8], from: IpAddr, own: IpAddr) -> Result<Seen, Drop> {
    let packet = TcpPacket::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    let all = ChecksumCapabilities::default();
    let segment = TcpRepr::parse(&packet, &IpAddress::from(from), &IpAddress::from(own), &all)
        .map_err(|_| Drop::Malformed)?;
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

fn echo_v6(bytes: &[u8], from: Ipv6Addr, own: Ipv6Addr) -> Result<Seen, Drop> {
    let packet = Icmpv6Packet::new_checked(bytes).map_err(|_| Drop::Malformed)?;
    match (packet.msg_type(), packet.msg_code(), packet.verify_checksum(&from, &own)) {
        (_, _, false) => Err(Drop::Malformed),
        (Icmpv6Message::EchoRequest, 0, _) => Ok(Seen::Echo),
        _ => Err(Drop::Protocol),
    }
}

/// Of a packet of ours with bytes of a connection: which, the first one's number, how many.
pub fn bytes_in(packet: &[u8]) -> Option<(Flow, u32, u32)> {
    let (from, protocol, payload): (IpAddr, _, _) = match packet.first()? >> 4 {
        6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            (packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        _ => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            (packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
    };
    let segment = TcpPacket::new_checked(payload).ok()?;
    let tcp = protocol == IpProtocol::Tcp;
    let count = u32::try_from(segment.payload().len()).ok().filter(|count| tcp && *count > 0)?;
    let flow = Flow { from, from_port: segment.dst_port(), port: segment.src_port() };
    Some((flow, segment.seq_number().0 as u32, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    /// With right checksums, whatever stands where.
    fn packet(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut all = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, TCP, 0, 0, 10, 10, 0, 1];
        all.extend(OWN.octets());
        all.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 2, 0, 0, 0, 0, 0]);
        change(&mut all);
        let (from, own) = (IpAddress::Ipv4(Ipv4Addr::new(10, 10, 0, 1)), IpAddress::Ipv4(OWN));
        if (20..=40).contains(&(usize::from(all[0] & 15) * 4)) {
            Ipv4Packet::new_unchecked(&mut all[..]).fill_checksum();
        }
        TcpPacket::new_unchecked(&mut all[20..]).fill_checksum(&from, &own);
        all
    }

    #[test]
    fn a_glance_sees_what_a_look_sees() {
        let flow = Flow { from: [10, 10, 0, 1].into(), from_port: 40_000, port: 80 };
        assert_eq!(glance(&packet(|_| ()), OWN), Some((flow, true)));
        for byte in 0..40 {
            for bit in 0..8 {
                let all = packet(|all| all[byte] ^= 1 << bit);
                let glanced = glance(&all, OWN);
                match look(&all, &Own { v4: Some(OWN), v6: None }) {
                    Ok(Seen::Begins(flow)) => assert_eq!(glanced, Some((flow, true)), "{all:?}"),
                    Ok(Seen::Tcp(flow)) => assert_eq!(glanced, Some((flow, false)), "{all:?}"),
                    // Another's, or what the stack counts and drops; never more than that.
                    _ => assert!(glanced.is_none_or(|(seen, _)| seen.port == 80), "{all:?}"),
                }
            }
        }
        for n in 0..40 {
            assert_eq!(glance(&packet(|_| ())[..n], OWN), None, "{n}");
        }
    }
}
