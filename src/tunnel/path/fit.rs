//! What becomes of a packet that is longer than what passes (R104), but for the TCP that `gso`
//! cuts, and of the largest segment that a beginning TCP announces. IPv4.

use crate::tunnel::gso::checksum;

const IP_LEN: usize = 20;
const TCP_LEN: usize = 20;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const FORBIDDEN: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Options of TCP (RFC 9293).
const END: u8 = 0;
const NOTHING: u8 = 1;
const LARGEST: u8 = 2;

/// The fragments of `packet`, each of `limit` bytes at most, as a router makes them (RFC 791).
/// `None` if it forbids that, or has options, which are for routers to copy or not. At most 65,535
/// divided by what `limit` leaves, which is 119.
pub fn fragments(packet: &[u8], limit: u16) -> Option<Vec<Vec<u8>>> {
    let (ip, body) = packet.split_first_chunk::<IP_LEN>()?;
    let place = u16::from_be_bytes([ip[6], ip[7]]);
    let room = usize::from(limit).checked_sub(IP_LEN)? & !7;
    if ip[0] != 0x45 || place & FORBIDDEN != 0 || room == 0 {
        return None;
    }
    let pieces = body.chunks(room).count();
    let one = |(number, piece): (usize, &[u8])| {
        let offset = u16::try_from(number * room / 8).ok()?.checked_add(place & OFFSET)?;
        if offset > OFFSET {
            return None;
        }
        let more = if number + 1 < pieces { MORE } else { place & MORE };
        let mut ip = *ip;
        let len = u16::try_from(IP_LEN + piece.len()).ok()?;
        (ip[2], ip[3]) = len.to_be_bytes().into();
        (ip[6], ip[7]) = (more | offset).to_be_bytes().into();
        (ip[10], ip[11]) = (0, 0);
        (ip[10], ip[11]) = (!checksum::sum(&ip)).to_be_bytes().into();
        Some([&ip[..], piece].concat())
    };
    body.chunks(room).enumerate().map(one).collect()
}

/// Lowers the largest segment that a SYN announces to what fits into `limit` bytes. Right
/// checksums stay right, and wrong ones wrong.
pub fn clamp(packet: &mut [u8], limit: u16) {
    let Some((at, announced)) = announcement(packet) else { return };
    let most = limit.saturating_sub((IP_LEN + TCP_LEN) as u16);
    if announced <= most {
        return;
    }
    let Some(field) = packet.get_mut(at..).and_then(|p| p.first_chunk_mut()) else { return };
    *field = most.to_be_bytes();
    let header = header_len(packet);
    // In a sum of words, one that stands across two of them counts with its bytes exchanged.
    let turned = |word: u16| if (at - header) % 2 == 0 { word } else { word.swap_bytes() };
    let Some(sum) = packet.get_mut(header + 16..).and_then(|p| p.first_chunk_mut::<2>()) else {
        return;
    };
    // RFC 1624.
    let kept = checksum::add(!u16::from_be_bytes(*sum), !turned(announced));
    *sum = (!checksum::add(kept, turned(most))).to_be_bytes();
}

fn header_len(packet: &[u8]) -> usize {
    packet.first().map_or(0, |first| usize::from(first & 15) * 4)
}

/// Where a SYN announces its largest segment, and which.
fn announcement(packet: &[u8]) -> Option<(usize, u16)> {
    let ip = packet.first_chunk::<IP_LEN>()?;
    let is_first = u16::from_be_bytes([ip[6], ip[7]]) & OFFSET == 0;
    if ip[9] != TCP || ip[0] >> 4 != 4 || !is_first {
        return None;
    }
    let header = header_len(packet);
    let tcp = packet.get(header..).filter(|_| header >= IP_LEN)?;
    if tcp.get(13)? & SYN == 0 {
        return None;
    }
    let end = usize::from(tcp.get(12)? >> 4) * 4;
    let mut at = TCP_LEN;
    // Each turn takes a byte at least, of 40.
    while at < end {
        match *tcp.get(at)? {
            END => return None,
            NOTHING => at += 1,
            LARGEST if *tcp.get(at + 1)? == 4 && at + 4 <= end => {
                let value = u16::from_be_bytes(*tcp.get(at + 2..)?.first_chunk()?);
                return Some((header + at + 2, value));
            }
            _ => at += usize::from(*tcp.get(at + 1)?).max(2),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, place: u16, body: &[u8]) -> Vec<u8> {
        let mut p = vec![0x45, 0, 0, 0, 0xab, 0xcd, 0, 0, 64, protocol, 0, 0];
        p.extend([10, 10, 0, 1, 10, 10, 0, 2]);
        p.extend(body);
        let len = u16::try_from(p.len()).unwrap();
        p[2..4].copy_from_slice(&len.to_be_bytes());
        p[6..8].copy_from_slice(&place.to_be_bytes());
        let sum = !checksum::sum(&p[..20]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
        p
    }

    /// R104
    #[test]
    fn fragments_are_what_a_router_makes() {
        let body: Vec<u8> = (0..4000u32).map(|i| (i * 7) as u8).collect();
        for (place, limit) in [(0, 576), (0, 1232), (MORE | 10, 1000), (10, 583)] {
            let whole = packet(17, place, &body);
            let cut = fragments(&whole, limit).expect("fragments");
            let mut there: Vec<u8> = Vec::new();
            for (number, piece) in cut.iter().enumerate() {
                assert!(piece.len() <= limit.into(), "{} of {limit}", piece.len());
                assert_eq!(checksum::sum(&piece[..20]), 0xffff);
                assert_eq!(usize::from(u16::from_be_bytes([piece[2], piece[3]])), piece.len());
                assert_eq!(piece[4..6], [0xab, 0xcd]);
                let at = u16::from_be_bytes([piece[6], piece[7]]);
                let offset = usize::from(at & OFFSET) - usize::from(place & OFFSET);
                assert_eq!(offset * 8, there.len());
                let last = number + 1 == cut.len();
                assert_eq!(at & MORE, if last { place & MORE } else { MORE });
                there.extend(&piece[20..]);
            }
            assert_eq!(there, body);
        }
    }

    #[test]
    fn what_forbids_it_or_has_options_is_not_cut() {
        assert_eq!(fragments(&packet(17, FORBIDDEN, &[0; 900]), 576), None);
        let mut options = packet(17, 0, &[0; 900]);
        options[0] = 0x46;
        assert_eq!(fragments(&options, 576), None);
        assert_eq!(fragments(&[0x45; 19], 576), None);
        // Behind the last place that there is.
        assert_eq!(fragments(&packet(17, OFFSET, &[0; 900]), 576), None);
    }

    fn syn(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0; TCP_LEN];
        (tcp[12], tcp[13]) = ((((TCP_LEN + options.len()) / 4) << 4) as u8, flags);
        tcp.extend(options);
        let mut p = packet(TCP, FORBIDDEN, &tcp);
        let pseudo = checksum::add(checksum::sum(&p[12..20]), 6 + tcp.len() as u16);
        let sum = !checksum::add(pseudo, checksum::sum(&p[20..]));
        p[36..38].copy_from_slice(&sum.to_be_bytes());
        p
    }

    fn is_right(p: &[u8]) -> bool {
        let pseudo = checksum::add(checksum::sum(&p[12..20]), 6 + (p.len() - 20) as u16);
        checksum::add(pseudo, checksum::sum(&p[20..])) == 0xffff
    }

    /// R104
    #[test]
    fn the_largest_segment_is_lowered_and_never_raised() {
        let even = [2, 4, 0x05, 0x64, 1, 1, 4, 2];
        let odd = [1, 2, 4, 0x05, 0x64, 1, 4, 2];
        for (options, at) in [(even, 42), (odd, 43)] {
            for flags in [SYN, SYN | 0x10] {
                let mut p = syn(flags, &options);
                assert!(is_right(&p));
                clamp(&mut p, 1232);
                assert_eq!(u16::from_be_bytes([p[at], p[at + 1]]), 1192);
                assert!(is_right(&p), "{at}");
                let low = p.clone();
                clamp(&mut p, 1420);
                assert_eq!(p, low);
            }
        }
        let others: [(u8, &[u8]); 5] = [
            (0x10, &even),
            (SYN, &[0, 2, 4, 5]),
            (SYN, &[3, 0, 2, 0]),
            (SYN, &[2, 4, 0x05, 0x64][..3]),
            (SYN, &[8, 200, 0, 0]),
        ];
        for (flags, options) in others {
            let mut p = syn(flags, options);
            let before = p.clone();
            clamp(&mut p, 576);
            assert_eq!(p, before, "{options:?}");
        }
        for len in 0..60 {
            clamp(&mut syn(SYN, &even)[..len.min(48)], 576);
        }
    }
}
