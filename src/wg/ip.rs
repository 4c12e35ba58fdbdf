//! Inner packets: version, addresses, true length and ECN (R78, R81, R82), and the ICMP error for
//! packets that no peer owns. Transport headers are none of our business (R85).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Types and codes of ICMP (RFC 792).
const HOST_UNREACHABLE: [u8; 2] = [3, 1];
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// ECN code points, RFC 3168.
pub const ECN_NOT_ECT: u8 = 0;
pub const ECN_ECT0: u8 = 2;
pub const ECN_CE: u8 = 3;

/// What the protocol reads of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// The packet's own idea of its length in bytes, at most the bytes at hand.
    pub len: usize,
    pub ecn: u8,
}

/// `None` unless `packet` begins with a whole IPv4 or IPv6 header and holds as many bytes as that
/// header says; more bytes are padding (R78).
pub fn view(packet: &[u8]) -> Option<View> {
    match packet.first()? >> 4 {
        4 => {
            let h = packet.first_chunk::<V4_HEADER>()?;
            let len = usize::from(u16::from_be_bytes([h[2], h[3]]));
            let view = View {
                src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
                dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
                len,
                ecn: h[1] & 3,
            };
            (V4_HEADER <= len && len <= packet.len()).then_some(view)
        }
        6 => {
            let h = packet.first_chunk::<V6_HEADER>()?;
            // In usize: a payload length near 65,535 plus the header must not wrap.
            let len = V6_HEADER + usize::from(u16::from_be_bytes([h[4], h[5]]));
            let (_, src) = h[..24].split_last_chunk::<16>()?;
            let (_, dst) = h.split_last_chunk::<16>()?;
            let view = View {
                src: IpAddr::V6(Ipv6Addr::from(*src)),
                dst: IpAddr::V6(Ipv6Addr::from(*dst)),
                len,
                ecn: h[1] >> 4 & 3,
            };
            (len <= packet.len()).then_some(view)
        }
        _ => None,
    }
}

/// What a UDP datagram carries, or the first fragment of one; `None` for anything else.
pub fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    const UDP: u8 = 17;
    const UDP_HEADER: usize = 8;
    const FRAGMENT: u8 = 44;
    let (protocol, offset, header) = match packet.first()? >> 4 {
        4 => {
            let h = packet.first_chunk::<V4_HEADER>()?;
            let offset = u16::from_be_bytes([h[6], h[7]]) & 0x1fff;
            (h[9], offset, usize::from(h[0] & 15) * 4)
        }
        6 if *packet.get(6)? == FRAGMENT => {
            let h = packet.get(V6_HEADER..)?.first_chunk::<8>()?;
            (h[0], u16::from_be_bytes([h[2], h[3]]) >> 3, V6_HEADER + 8)
        }
        6 => (*packet.get(6)?, 0, V6_HEADER),
        _ => return None,
    };
    if protocol != UDP || offset != 0 {
        return None;
    }
    packet.get(header + UDP_HEADER..)
}

/// ECN of the outer packet for an inner packet with `inner` (R81, RFC 6040 compatibility mode as
/// the kernel has it): the inner code point, with CE sent as ECT(0).
pub fn ecn_encapsulate(inner: u8) -> u8 {
    if inner & 3 == ECN_CE { ECN_ECT0 } else { inner & 3 }
}

/// Marks the inner packet when the outer one was marked CE and the inner is ECN-capable (R82).
/// The IPv4 header checksum is kept right.
pub fn ecn_decapsulate(outer: u8, packet: &mut [u8]) {
    if outer & 3 != ECN_CE {
        return;
    }
    match packet.first().map(|b| b >> 4) {
        Some(4) => {
            let Some(h) = packet.first_chunk_mut::<V4_HEADER>() else { return };
            let old = h[1];
            if matches!(old & 3, ECN_NOT_ECT | ECN_CE) {
                return;
            }
            h[1] = old | ECN_CE;
            // RFC 1624: HC' = ~(~HC + ~m + m'), on the 16-bit word that holds the TOS byte.
            let sum = u32::from(!u16::from_be_bytes([h[10], h[11]]))
                + u32::from(!u16::from_be_bytes([h[0], old]))
                + u32::from(u16::from_be_bytes([h[0], h[1]]));
            let [a, b] = (!fold(sum)).to_be_bytes();
            (h[10], h[11]) = (a, b);
        }
        Some(6) => {
            let Some(h) = packet.first_chunk_mut::<V6_HEADER>() else { return };
            if !matches!(h[1] >> 4 & 3, ECN_NOT_ECT | ECN_CE) {
                h[1] |= ECN_CE << 4;
            }
        }
        _ => {}
    }
}

/// The ICMP "address unreachable" that tells a local program that no peer owns its packet's
/// destination (the kernel's `wg_xmit` answers so too). It comes from the packet's own destination
/// address. `None` for what must not be answered: ICMP errors, broadcast, multicast, and IPv4
/// fragments but the first.
pub fn unreachable(packet: &[u8]) -> Option<Vec<u8>> {
    let v = view(packet)?;
    if v.src.is_unspecified() || v.src.is_multicast() || v.dst.is_multicast() {
        return None;
    }
    match (v.src, v.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            error_v4(packet.get(..v.len)?, src, dst, HOST_UNREACHABLE, 0)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => unreachable_v6(packet.get(..v.len)?, src, dst),
        _ => None,
    }
}

/// The ICMP "fragmentation needed" (RFC 1191) for a packet that may not be cut in pieces and is
/// longer than `mtu`, as from its destination. `None` for what [`unreachable`] does not answer
/// either, and for IPv6.
pub fn too_long(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let v = view(packet)?;
    match (v.src, v.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst))
            if !src.is_unspecified() && !src.is_multicast() && !dst.is_multicast() =>
        {
            error_v4(packet.get(..v.len)?, src, dst, FRAGMENTATION_NEEDED, mtu)
        }
        _ => None,
    }
}

/// An ICMP error of this type and code; `mtu` is 0 where it has none to tell.
fn error_v4(
    packet: &[u8],
    src: Ipv4Addr,
    dst: Ipv4Addr,
    what: [u8; 2],
    mtu: u16,
) -> Option<Vec<u8>> {
    const ICMP: u8 = 1;
    let header = usize::from(packet[0] & 15) * 4;
    let fragment_offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
    let is_error = packet[9] == ICMP && !matches!(packet.get(header)?, 0 | 8 | 13 | 14);
    let broadcast = src.is_broadcast() || dst.is_broadcast();
    if header < V4_HEADER || fragment_offset != 0 || broadcast || is_error {
        return None;
    }
    let quote = packet.get(..packet.len().min(header + 8))?;
    let mut out = vec![0; V4_HEADER + 8 + quote.len()];
    let total = u16::try_from(out.len()).ok()?.to_be_bytes();
    out[0] = 0x45;
    out[1] = 0xc0;
    out[2..4].copy_from_slice(&total);
    out[8] = 64;
    out[9] = ICMP;
    out[12..16].copy_from_slice(&dst.octets());
    out[16..20].copy_from_slice(&src.octets());
    let sum = checksum(0, &out[..V4_HEADER]);
    out[10..12].copy_from_slice(&sum);
    out[20..22].copy_from_slice(&what);
    out[26..28].copy_from_slice(&mtu.to_be_bytes());
    out[28..].copy_from_slice(quote);
    let sum = checksum(0, &out[V4_HEADER..]);
    out[22..24].copy_from_slice(&sum);
    Some(out)
}

fn unreachable_v6(packet: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<Vec<u8>> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    const REDIRECT: u8 = 137;
    const ADDRESS_UNREACHABLE: [u8; 2] = [1, 3];
    /// An error never exceeds the smallest IPv6 MTU.
    const MAX_QUOTE: usize = 1280 - V6_HEADER - 8;
    // An error may hide behind extension headers, so only what shows its kind is answered.
    let answerable = match packet[6] {
        TCP | UDP => true,
        ICMPV6 => !matches!(*packet.get(V6_HEADER)?, 0..128 | REDIRECT),
        _ => false,
    };
    if !answerable {
        return None;
    }
    let quote = packet.get(..packet.len().min(MAX_QUOTE))?;
    let mut out = vec![0; V6_HEADER + 8 + quote.len()];
    let payload = u16::try_from(8 + quote.len()).ok()?;
    out[0] = 0x60;
    out[4..6].copy_from_slice(&payload.to_be_bytes());
    out[6] = ICMPV6;
    out[7] = 64;
    out[8..24].copy_from_slice(&dst.octets());
    out[24..40].copy_from_slice(&src.octets());
    out[40..42].copy_from_slice(&ADDRESS_UNREACHABLE);
    out[48..].copy_from_slice(quote);
    // Pseudo-header: addresses, payload length, next header.
    let pseudo = u32::from(payload) + u32::from(ICMPV6);
    let sum = checksum(pseudo, &out[8..]);
    out[42..44].copy_from_slice(&sum);
    Some(out)
}

/// Internet checksum of `bytes` on top of `sum`, in wire order.
fn checksum(mut sum: u32, bytes: &[u8]) -> [u8; 2] {
    for pair in bytes.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes(word));
    }
    (!fold(sum)).to_be_bytes()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
