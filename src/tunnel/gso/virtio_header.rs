//! The virtio-net header in front of each packet of a TUN: what one side left for the other to do.
//!
//! Layout and meaning are those of `struct virtio_net_hdr_v1_hash_tunnel` (`linux/virtio_net.h`),
//! numbers in the machine's byte order. Nothing in it is believed before it was held against the
//! packet.

use super::checksum::{TCP_CSUM, UDP_CSUM};

/// Bytes of the header.
pub const HEADER_LEN: usize = 24;
/// "Nothing to do", for packets that we write.
pub const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

/// Headers of IP, of TCP without options.
const IPV4_LEN: u16 = 20;
const IPV6_LEN: u16 = 40;
const TCP_LEN: u16 = 20;
const TCP: u8 = 6;
const NEEDS_CSUM: u8 = 1;
/// The outer datagram of a tunnel has a checksum, which is left to us, too.
const TUNNEL_CSUM: u8 = 8;
/// May be set beside a kind: what is to be cut is in a UDP tunnel over IPv4, or over IPv6.
const TUNNEL4: u8 = 0x20;
const TUNNEL6: u8 = 0x40;
/// May be set beside a kind: CWR is to stand in the first segment only, as it always is here.
const ECN: u8 = 0x80;

/// How a packet that is longer than the MTU is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is one packet.
    Whole,
    Tcp4,
    Tcp6,
    /// Datagrams of equal length, over IPv4 or IPv6.
    Udp,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Kind::Whole => 0,
            Kind::Tcp4 => 1,
            Kind::Tcp6 => 4,
            Kind::Udp => 5,
        }
    }

    /// Where the checksum stands in its transport's header.
    pub fn checksum_offset(self) -> usize {
        if self == Kind::Udp { UDP_CSUM } else { TCP_CSUM }
    }
}

/// Where in an outer datagram the packet lies that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The outer network is IPv6.
    pub v6: bool,
    /// Where the outer UDP header begins, and where the inner network header does.
    pub udp: u16,
    pub network: u16,
    /// The outer datagrams have a checksum; the field holds the sum over the pseudo-header.
    pub checksum: bool,
}

/// The header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// Payload bytes of each segment but the last.
    pub segment: u16,
    /// Bytes in front of the payload.
    pub head: u16,
    /// Where the transport header begins and where in it the checksum stands, if that is left to
    /// us; the field then holds the sum over the pseudo-header.
    pub checksum: Option<(u16, u16)>,
    /// For a packet in a tunnel; kernels hand it out, but take it from Ethernet devices only.
    pub tunnel: Option<Tunnel>,
}

impl Header {
    /// `None` for what we never asked for.
    pub fn read(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
        let ([flags, kind, h0, h1, g0, g1, s0, s1, o0, o1], [.., u0, u1, n0, n1]) =
            (*bytes.first_chunk()?, *bytes);
        let tunnel = match kind & (TUNNEL4 | TUNNEL6) {
            0 => None,
            both if both == TUNNEL4 | TUNNEL6 => return None,
            which => Some(Tunnel {
                v6: which == TUNNEL6,
                // These two are always in this order.
                udp: u16::from_le_bytes([u0, u1]),
                network: u16::from_le_bytes([n0, n1]),
                checksum: flags & TUNNEL_CSUM != 0,
            }),
        };
        let number = kind & !(ECN | TUNNEL4 | TUNNEL6);
        let kinds = [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp];
        let kind = kinds.into_iter().find(|k| k.number() == number)?;
        let at = (u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([o0, o1]));
        Some(Header {
            kind,
            segment: u16::from_ne_bytes([g0, g1]),
            head: u16::from_ne_bytes([h0, h1]),
            checksum: (flags & NEEDS_CSUM != 0).then_some(at),
            tunnel,
        })
    }

    /// What it would say of a packet that comes without, if that is longer than `mtu` and to be
    /// cut into such packets: TCP, over IPv4 or IPv6, neither with options.
    pub fn by_length(packet: &[u8], mtu: u16) -> Option<Header> {
        if packet.len() <= usize::from(mtu) {
            return None;
        }
        let at = |n: u16| packet.get(usize::from(n)).copied();
        let (kind, start, protocol) = match at(0)? {
            0x45 => (Kind::Tcp4, IPV4_LEN, at(9)?),
            first if first >> 4 == 6 => (Kind::Tcp6, IPV6_LEN, at(6)?),
            _ => return None,
        };
        let is_plain = protocol == TCP && at(start + 12)? >> 4 == 5;
        let head = start + TCP_LEN;
        let segment = mtu.checked_sub(head).filter(|segment| is_plain && *segment > 0)?;
        let checksum = Some((start, TCP_CSUM as u16));
        Some(Header { kind, segment, head, checksum, tunnel: None })
    }

    /// Without a tunnel.
    pub fn write(&self) -> [u8; HEADER_LEN] {
        let (start, offset) = self.checksum.unwrap_or((0, 0));
        let mut bytes = PLAIN;
        bytes[0] = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        bytes[1] = self.kind.number();
        bytes[2..4].copy_from_slice(&self.head.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment.to_ne_bytes());
        bytes[6..8].copy_from_slice(&start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_nobody_asked_for_is_refused() {
        let mut h = PLAIN;
        h[1] = 3;
        assert_eq!(Header::read(&h), None);
    }

    #[test]
    fn headers_survive_the_round_trip() {
        for kind in [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp] {
            for checksum in [None, Some((40, 16))] {
                let h = Header { kind, segment: 1380, head: 60, checksum, tunnel: None };
                assert_eq!(Header::read(&h.write()), Some(h));
            }
        }
        assert_eq!(Header::read(&PLAIN).map(|h| h.write()), Some(PLAIN));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_header_of_a_tunnel_is_read() {
        // As Linux 6.18 gave it out for TCP in a VXLAN with checksums.
        let mut bytes = *b"\x09\x21\x66\0\x08\x05\x46\0\x10\0\0\0\0\0\0\0\0\0\0\0\x14\0\x32\0";
        let tunnel = Some(Tunnel { v6: false, udp: 20, network: 50, checksum: true });
        let checksum = Some((70, 16));
        let want = Header { kind: Kind::Tcp4, segment: 1288, head: 102, checksum, tunnel };
        assert_eq!(Header::read(&bytes), Some(want));
        bytes[1] |= TUNNEL6;
        assert_eq!(Header::read(&bytes), None, "over both at once");
    }
}
