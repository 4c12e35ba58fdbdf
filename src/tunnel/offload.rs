//! The virtio-net header in front of each packet of a TUN: what one side left for the other to do.
//!
//! Layout and meaning are those of `struct virtio_net_hdr` (`linux/virtio_net.h`), numbers in the
//! machine's byte order. Nothing in it is believed before it was held against the packet.

use super::sum;

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 10;
/// "Nothing to do", for packets that we write.
pub(super) const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

const NEEDS_CSUM: u8 = 1;
/// May be set beside a kind: CWR is to stand in the first segment only, as it always is here.
const ECN: u8 = 0x80;

/// Where the checksum stands in a TCP and in a UDP header.
pub(super) const TCP_CSUM: usize = 16;
pub(super) const UDP_CSUM: usize = 6;

/// How a packet that is longer than the MTU is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
}

/// The header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    /// Payload bytes of each segment but the last.
    pub segment: u16,
    /// Bytes in front of the payload.
    pub head: u16,
    /// Where the transport header begins and where in it the checksum stands, if that is left to
    /// us; the field then holds the sum over the pseudo-header.
    pub checksum: Option<(u16, u16)>,
}

impl Header {
    /// `None` for what we never asked for.
    pub fn read(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        let number = kind & !ECN;
        let kinds = [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp];
        let kind = kinds.into_iter().find(|k| k.number() == number)?;
        let at = (u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([o0, o1]));
        Some(Header {
            kind,
            segment: u16::from_ne_bytes([g0, g1]),
            head: u16::from_ne_bytes([h0, h1]),
            checksum: (flags & NEEDS_CSUM != 0).then_some(at),
        })
    }

    pub fn write(&self) -> [u8; HEADER_LEN] {
        let (start, offset) = self.checksum.unwrap_or((0, 0));
        let flags = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        let ([h0, h1], [g0, g1]) = (self.head.to_ne_bytes(), self.segment.to_ne_bytes());
        let ([s0, s1], [o0, o1]) = (start.to_ne_bytes(), offset.to_ne_bytes());
        [flags, self.kind.number(), h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

/// Finish the checksum over `packet[start..]` at `offset` of it, where the field holds the sum over
/// the pseudo-header. False if it does not lie within the packet.
pub(super) fn finish(packet: &mut [u8], (start, offset): (u16, u16)) -> bool {
    let Some(covered) = packet.get_mut(usize::from(start)..) else { return false };
    let total = sum::sum(covered);
    let at = usize::from(offset);
    let Some(field) = covered.get_mut(at..).and_then(|c| c.first_chunk_mut()) else { return false };
    *field = closed(total, at == UDP_CSUM).to_be_bytes();
    true
}

/// The checksum for a sum. UDP reads zero as "no checksum"; all ones is the same number (RFC 768).
pub(super) fn closed(total: u16, udp: bool) -> u16 {
    if udp && total == 0xffff { 0xffff } else { !total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_checksum_is_finished() {
        // IPv4 header (20 bytes, ignored) and a UDP datagram 192.0.2.1:1 → 192.0.2.2:2, "hi".
        let mut p = vec![0u8; 20];
        p.extend([0, 1, 0, 2, 0, 10, 0, 0, b'h', b'i']);
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, 17, 0, 10];
        p[26..28].copy_from_slice(&sum::sum(&pseudo).to_be_bytes());
        assert!(finish(&mut p, (20, 6)));
        let whole: Vec<u8> = pseudo.iter().chain(&p[20..]).copied().collect();
        assert_eq!(sum::sum(&whole), 0xffff, "sum over pseudo header and datagram is all ones");
    }

    #[test]
    fn contradictions_are_refused() {
        for at in [(2, 0), (3, 0), (9, 0), (0, u16::MAX)] {
            assert!(!finish(&mut [1, 2, 3], at), "{at:?}");
        }
        let mut h = PLAIN;
        h[1] = 3;
        assert_eq!(Header::read(&h), None, "a kind that we never asked for");
    }

    #[test]
    fn headers_survive_the_round_trip() {
        for kind in [Kind::Whole, Kind::Tcp4, Kind::Tcp6, Kind::Udp] {
            for checksum in [None, Some((40, 16))] {
                let h = Header { kind, segment: 1380, head: 60, checksum };
                assert_eq!(Header::read(&h.write()), Some(h));
            }
        }
        assert_eq!(Header::read(&PLAIN).map(|h| h.write()), Some(PLAIN));
    }
}
