//! What is read of an inner packet before it is merged: where its headers end, which flow it
//! belongs to, and whether it continues another packet of that flow.

use super::checksum;
use super::rewrite::PSH;
use super::virtio_header::Kind;

const FIN_SYN_RST_URG_CWR: u8 = 0x01 | 0x02 | 0x04 | 0x20 | 0x80;

const ACK: u8 = 0x10;
/// The flag "don't fragment" in the first byte of its word.
const DF: u8 = 0x40;
const V4_LEN: usize = 20;
const V6_LEN: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP segment or UDP datagram that is not a fragment and has no IP options or extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Equal for packets of one flow; seldom equal for others.
    pub flow: u64,
    pub kind: Kind,
    /// Where the transport header begins, and where the payload does.
    pub transport: usize,
    pub head: usize,
    /// Nothing in its headers keeps it from standing before or after others.
    pub ordinary: bool,
    /// TCP wants what came up to here delivered.
    pub push: bool,
}

/// How the ids of IPv4 headers go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    Counting,
    /// Always the same one, which is as good for packets that are never fragmented (RFC 6864).
    Fixed,
}

impl Shape {
    /// `packet` is exactly as long as its header says.
    pub fn of(packet: &[u8]) -> Option<Shape> {
        let (transport, protocol, addresses) = match packet.first()? {
            0x45 => {
                let ip = packet.first_chunk::<V4_LEN>()?;
                // A fragment: more to come, or not the first.
                if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
                    return None;
                }
                (V4_LEN, ip[9], ip.get(12..20)?)
            }
            first if first >> 4 == 6 => {
                let ip = packet.first_chunk::<V6_LEN>()?;
                (V6_LEN, ip[6], ip.get(8..40)?)
            }
            _ => return None,
        };
        let rest = packet.get(transport..)?;
        let ports = u32::from_be_bytes(*rest.first_chunk()?);
        let mut hash = u64::from(ports) << 32 | u64::from(protocol);
        for word in addresses.chunks_exact(4) {
            let word = word.first_chunk().map_or(0, |w| u32::from_be_bytes(*w));
            hash = hash.rotate_left(7).wrapping_add(u64::from(word));
        }
        match protocol {
            TCP => Shape::tcp(hash, transport, rest),
            UDP => Shape::udp(hash, transport, rest),
            _ => None,
        }
    }

    fn tcp(flow: u64, transport: usize, rest: &[u8]) -> Option<Shape> {
        let tcp = rest.first_chunk::<20>()?;
        let len = usize::from(tcp[12] >> 4) * 4;
        if len < 20 || len > rest.len() {
            return None;
        }
        let flags = tcp[13];
        let ordinary = flags & FIN_SYN_RST_URG_CWR == 0 && flags & ACK != 0 && len < rest.len();
        let kind = if transport == V4_LEN { Kind::Tcp4 } else { Kind::Tcp6 };
        let (head, push) = (transport + len, flags & PSH != 0);
        Some(Shape { flow, kind, transport, head, ordinary, push })
    }

    fn udp(flow: u64, transport: usize, rest: &[u8]) -> Option<Shape> {
        let udp = rest.first_chunk::<8>()?;
        let whole = usize::from(u16::from_be_bytes([udp[4], udp[5]])) == rest.len();
        // Without a checksum there is nothing to know it right by.
        let ordinary = whole && rest.len() > 8 && (udp[6], udp[7]) != (0, 0);
        let head = transport + 8;
        Some(Shape { flow, kind: Kind::Udp, transport, head, ordinary, push: false })
    }

    pub fn is_v4(&self) -> bool {
        self.transport == V4_LEN
    }

    /// Sum over the pseudo-header of a packet with these headers, for `len` bytes of transport.
    pub fn pseudo(&self, packet: &[u8], len: u16) -> u16 {
        let (addresses, protocol) =
            if self.is_v4() { (packet.get(12..20), TCP) } else { (packet.get(8..40), TCP) };
        let protocol = if self.kind == Kind::Udp { UDP } else { protocol };
        let addresses = checksum::sum(addresses.unwrap_or_default());
        checksum::add(addresses, checksum::add(u16::from(protocol), len))
    }

    /// Whether every checksum of the packet is right.
    pub fn is_sound(&self, packet: &[u8]) -> bool {
        let Some((network, transport)) = packet.split_at_checked(self.transport) else {
            return false;
        };
        let Ok(len) = u16::try_from(transport.len()) else { return false };
        let pseudo = self.pseudo(packet, len);
        (!self.is_v4() || checksum::sum(network) == 0xffff)
            && checksum::add(pseudo, checksum::sum(transport)) == 0xffff
    }

    /// Whether the headers of `next`, which has this very shape, say the same as those of `first`
    /// in all that a packet cut off later will have in common with the one in front of it.
    pub fn agrees(&self, first: &[u8], next: &[u8]) -> bool {
        let same = |from: usize, to: usize| match (first.get(from..to), next.get(from..to)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        };
        // All but lengths, ids, checksums, sequence number and PSH.
        let network = match self.is_v4() {
            true => same(0, 2) && same(6, 10) && same(12, 20),
            false => same(0, 4) && same(6, 40),
        };
        let t = self.transport;
        let (first_flags, next_flags) = (first.get(t + 13), next.get(t + 13));
        network
            && same(t, t + 4)
            && (self.kind == Kind::Udp
                || same(t + 8, t + 13)
                    && first_flags.map(|f| f & !PSH) == next_flags.map(|f| f & !PSH)
                    && same(t + 14, t + 16)
                    && same(t + 18, self.head))
    }

    /// The TCP sequence number.
    pub fn sequence(&self, packet: &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(*packet.get(self.transport + 4..)?.first_chunk()?))
    }
}

/// Whether the id of `next` fits `n` packets behind `first`, and how they go on then. `so_far` is
/// what was found before.
pub fn ids(first: &[u8], next: &[u8], n: u16, so_far: Option<Ids>) -> Option<Ids> {
    let id = |p: &[u8]| Some(u16::from_be_bytes(*p.get(4..)?.first_chunk()?));
    let (a, b) = (id(first)?, id(next)?);
    let df = first.get(6)? & DF != 0;
    let found = if b == a.wrapping_add(n) {
        Ids::Counting
    } else if df && a == b {
        Ids::Fixed
    } else {
        return None;
    };
    so_far.is_none_or(|s| s == found).then_some(found)
}
