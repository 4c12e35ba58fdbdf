//! Packets that are longer than the tunnel takes: several segments of one connection, which cost
//! one turn of smoltcp and one system call. Whoever reads them from the pair cuts them by their
//! length, and computes their checksums, as a TUN's are (`tunnel::gso`). smoltcp makes them because
//! it believes in longer segments than the two sides have agreed on.

use smoltcp::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet,
    TCP_HEADER_LEN, TcpPacket,
};

/// In one packet. Only Linux has them cut.
const SEGMENTS: usize = if cfg!(target_os = "linux") { 16 } else { 1 };
/// In front of the bytes of every segment with bytes: smoltcp has no options there.
const HEAD: usize = IPV4_HEADER_LEN + TCP_HEADER_LEN;
const HEAD_V6: usize = IPV6_HEADER_LEN + TCP_HEADER_LEN;
/// Of options (RFC 9293, 3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT: [u8; 2] = [2, 4];

/// What the longest has where `mtu` is what the tunnel takes.
pub fn longest(mtu: u16) -> usize {
    HEAD + segment(HEAD, mtu) * count(mtu)
}

fn count(mtu: u16) -> usize {
    SEGMENTS.min((usize::from(u16::MAX) - HEAD) / segment(HEAD, mtu)).max(1)
}

fn segment(head: usize, mtu: u16) -> usize {
    usize::from(mtu).saturating_sub(head).max(1)
}

/// The first packet of either side of a connection, for smoltcp: a side that takes segments as long
/// as the tunnel's packets is sent several at once. Its checksum, which was looked at, is not kept.
pub fn raise(packet: &mut [u8], mtu: u16) {
    agree(packet, |head, it| {
        let one = segment(head, mtu);
        if usize::from(it) >= one { narrow(one * count(mtu)) } else { it }
    });
}

/// A packet of smoltcp's that leaves: what it could not know, and checksums of TCP.
pub fn finish(bytes: &mut [u8], mtu: u16) {
    agree(bytes, |head, it| it.min(narrow(segment(head, mtu))));
    let count = bytes.len();
    let Some(Tcp { from, to, head, bytes }) = tcp(bytes) else { return };
    let mut packet = TcpPacket::new_unchecked(bytes);
    if count <= usize::from(mtu) {
        return packet.fill_checksum(&from, &to);
    }
    // What is to be finished begins with the sum over the pseudo-header (RFC 9293, 3.1).
    let length = (count + TCP_HEADER_LEN).saturating_sub(head) as u32;
    let sum = words(&from) + words(&to) + u32::from(u8::from(IpProtocol::Tcp)) + length;
    let folded = (sum & 0xffff) + (sum >> 16);
    packet.set_checksum(((folded & 0xffff) + (folded >> 16)) as u16);
}

/// The sum of an address's words.
fn words(address: &IpAddress) -> u32 {
    let sum = |octets: &[u8]| {
        let words = octets.chunks_exact(2).filter_map(<[u8]>::first_chunk::<2>);
        words.map(|word| u32::from(u16::from_be_bytes(*word))).sum()
    };
    match address {
        IpAddress::Ipv4(ip) => sum(&ip.octets()),
        IpAddress::Ipv6(ip) => sum(&ip.octets()),
    }
}

fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// A packet that is TCP's: its ends, the length of its headers without options, and what IP has in
/// it.
struct Tcp<'a> {
    from: IpAddress,
    to: IpAddress,
    head: usize,
    bytes: &'a mut [u8],
}

fn tcp(bytes: &mut [u8]) -> Option<Tcp<'_>> {
    if bytes.first()? >> 4 == 6 {
        let packet = Ipv6Packet::new_checked(bytes).ok()?;
        let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
        let is_tcp = packet.next_header() == IpProtocol::Tcp;
        let head = HEAD_V6;
        let bytes = packet.into_inner().get_mut(IPV6_HEADER_LEN..)?;
        return is_tcp.then_some(Tcp { from, to, head, bytes });
    }
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
    let (is_tcp, start) = (packet.next_header() == IpProtocol::Tcp, packet.header_len());
    let bytes = packet.into_inner().get_mut(usize::from(start)..)?;
    is_tcp.then_some(Tcp { from, to, head: HEAD, bytes })
}

/// What the first packet of either side says of the length of segments.
fn agree(bytes: &mut [u8], what: impl FnOnce(usize, u16) -> u16) {
    let Some(Tcp { head, bytes, .. }) = tcp(bytes) else { return };
    let Ok(mut segment) = TcpPacket::new_checked(bytes) else { return };
    if !segment.syn() {
        return;
    }
    if let Some(said) = said(segment.options_mut()) {
        *said = what(head, u16::from_be_bytes(*said)).to_be_bytes();
    }
}

/// Where that stands. Options are 40 bytes at most.
fn said(options: &mut [u8]) -> Option<&mut [u8; 2]> {
    let mut at = 0;
    loop {
        let left = options.get(at..)?;
        at += match left {
            [END, ..] | [] | [_] => return None,
            [NOTHING, ..] => 1,
            [kind, len, ..] if [*kind, *len] == SEGMENT => {
                return options.get_mut(at + 2..)?.first_chunk_mut();
            }
            [_, len, ..] => usize::from(*len).max(2),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        for front in [&[][..], &[1, 1], &[4, 2], &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let mut options = [front, &[2, 4, 5, 6, 1, 3, 3, 7]].concat();
            assert_eq!(said(&mut options), Some(&mut [5, 6]), "{front:?}");
        }
        for none in [&[][..], &[0, 2, 4, 5, 6], &[1], &[2, 4], &[2, 4, 5], &[2, 3, 4, 5], &[8, 0]] {
            assert_eq!(said(&mut none.to_vec()), None, "{none:?}");
        }
    }

    #[test]
    fn what_is_finished_later_has_the_right_checksum() {
        for count in [1421, 5000, 22_120] {
            let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 10, 0, 2];
            packet.extend([192, 168, 255, 254, 0, 80, 0x9c, 0x40, 0, 0, 0, 7, 0, 0, 0, 9]);
            packet.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            packet.extend((packet.len()..count).map(|n| ((n * n) >> 3) as u8));
            packet[2..4].copy_from_slice(&(count as u16).to_be_bytes());
            let mut whole = packet.clone();
            finish(&mut whole, u16::MAX);
            finish(&mut packet, 1420);
            let words = packet[IPV4_HEADER_LEN..].chunks(2);
            let word = |at: &[u8]| u32::from(at[0]) << 8 | at.get(1).map_or(0, |it| (*it).into());
            let mut sum: u32 = words.map(word).sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            let its = tcp(&mut whole).map(|it| TcpPacket::new_unchecked(it.bytes).checksum());
            assert_eq!(its, Some(!(sum as u16)), "{count}");
        }
    }

    #[test]
    fn it_has_whole_segments() {
        let most = if cfg!(target_os = "linux") { 16 } else { 1 };
        assert_eq!(longest(1420), 40 + most * 1380);
        assert_eq!(longest(65_535), 65_535);
        assert!(longest(9000) <= 65_535 && (longest(9000) - 40) % 8960 == 0);
        assert!([0, 40, 41].iter().all(|mtu| longest(*mtu) > 40));
    }
}
