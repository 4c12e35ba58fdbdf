//! The Internet checksum (RFC 1071): sums, and the fields that they are for. Knows no header but
//! where in one of the transport the field stands.

/// Where the checksum stands in a TCP and in a UDP header.
pub const TCP_CSUM: usize = 16;
pub const UDP_CSUM: usize = 6;

/// One's complement sum of the 16-bit words of `bytes`, an odd last byte filled up with zero.
pub fn sum(bytes: &[u8]) -> u16 {
    // The sum does not care about the byte order until the end, and 32-bit words into 64-bit sums
    // are what compilers turn into vector code. A packet has at most 2^14 of them.
    let mut total = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (t, w) in total.iter_mut().zip(block.chunks_exact(4)) {
            *t += w.first_chunk().map_or(0, |w| u64::from(u32::from_ne_bytes(*w)));
        }
    }
    let mut total: u64 = total.iter().sum();
    let mut words = blocks.remainder().chunks_exact(2);
    for w in &mut words {
        total += w.first_chunk().map_or(0, |w| u64::from(u16::from_ne_bytes(*w)));
    }
    if let [last] = words.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    u16::from_be(fold(total))
}

/// Adds two sums.
pub fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

/// Takes `b`, which is part of `a`, out of it.
pub fn take(a: u16, b: u16) -> u16 {
    add(a, !b)
}

/// Finish the checksum over `packet[start..]` at `offset` of it, where the field holds the sum over
/// the pseudo-header. False if it does not lie within the packet.
pub fn finish(packet: &mut [u8], (start, offset): (u16, u16)) -> bool {
    let Some(covered) = packet.get_mut(usize::from(start)..) else { return false };
    let total = sum(covered);
    let at = usize::from(offset);
    let Some(field) = covered.get_mut(at..).and_then(|c| c.first_chunk_mut()) else { return false };
    *field = closed(total, at == UDP_CSUM).to_be_bytes();
    true
}

/// The checksum for a sum. UDP reads zero as "no checksum"; all ones is the same number (RFC 768).
pub fn closed(total: u16, udp: bool) -> u16 {
    if udp && total == 0xffff { 0xffff } else { !total }
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_offset_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * 167 + 13) as u8).collect();
        for from in 0..3 {
            for to in from..bytes.len() {
                let words = bytes[from..to].chunks(2);
                let plain: u64 = words
                    .map(|w| u64::from(w[0]) << 8 | u64::from(w.get(1).copied().unwrap_or(0)))
                    .sum();
                assert_eq!(sum(&bytes[from..to]), fold(plain), "{from}..{to}");
            }
        }
        assert_eq!(sum(&[0xff; 65_535]), add(sum(&[0xff; 65_534]), 0xff00));
        assert_eq!(take(add(0x1234, 0xfff0), 0xfff0), 0x1234);
    }

    #[test]
    fn a_partial_checksum_is_finished() {
        // IPv4 header (20 bytes, ignored) and a UDP datagram 192.0.2.1:1 → 192.0.2.2:2, "hi".
        let mut p = vec![0u8; 20];
        p.extend([0, 1, 0, 2, 0, 10, 0, 0, b'h', b'i']);
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, 17, 0, 10];
        p[26..28].copy_from_slice(&sum(&pseudo).to_be_bytes());
        assert!(finish(&mut p, (20, 6)));
        let whole: Vec<u8> = pseudo.iter().chain(&p[20..]).copied().collect();
        assert_eq!(sum(&whole), 0xffff, "sum over pseudo header and datagram is all ones");
    }

    #[test]
    fn what_does_not_lie_in_the_packet_is_refused() {
        for at in [(2, 0), (3, 0), (9, 0), (0, u16::MAX)] {
            assert!(!finish(&mut [1, 2, 3], at), "{at:?}");
        }
    }
}
