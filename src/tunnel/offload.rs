//! The virtio-net header in front of each packet of a TUN.
//!
//! No offload is switched on yet, so the kernel should hand out finished packets; what is left
//! undone in one is finished here all the same. Splitting and merging come here later.

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 10;
/// "Nothing to do", for packets that we write.
pub(super) const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

const NEEDS_CSUM: u8 = 1;

/// Finish the transport checksum where the header says that it is left to us. A packet that is
/// larger than the MTU because it waits for segmentation is a valid packet once its checksum is
/// right, so it goes out whole. False if the header contradicts the packet.
pub(super) fn finish(header: &[u8; HEADER_LEN], packet: &mut [u8]) -> bool {
    let [flags, _gso_type, _, _, _, _, s0, s1, o0, o1] = *header;
    if flags & NEEDS_CSUM == 0 {
        return true;
    }
    let start = usize::from(u16::from_ne_bytes([s0, s1]));
    let offset = usize::from(u16::from_ne_bytes([o0, o1]));
    let Some(covered) = packet.get_mut(start..) else { return false };
    if covered.len() < offset.saturating_add(2) {
        return false;
    }
    // The field holds the pseudo-header's sum, so that summing over everything includes it.
    let sum = match fold(covered) {
        // UDP reads zero as "no checksum"; all ones is the same number (RFC 768).
        0xffff if offset == 6 => 0xffff,
        sum => !sum,
    };
    match covered.get_mut(offset..offset + 2) {
        Some(field) => field.copy_from_slice(&sum.to_be_bytes()),
        None => return false,
    }
    true
}

/// One's complement sum of 16-bit words (RFC 1071).
fn fold(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut words = bytes.chunks_exact(2);
    for w in &mut words {
        sum += w.first_chunk().map_or(0, |w| u64::from(u16::from_be_bytes(*w)));
    }
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
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
        let partial = fold(&pseudo);
        p[26..28].copy_from_slice(&partial.to_be_bytes());
        let mut h = PLAIN;
        h[0] = NEEDS_CSUM;
        h[6..8].copy_from_slice(&20u16.to_ne_bytes());
        h[8..10].copy_from_slice(&6u16.to_ne_bytes());
        assert!(finish(&h, &mut p));
        let whole: Vec<u8> = pseudo.iter().chain(&p[20..]).copied().collect();
        assert_eq!(fold(&whole), 0xffff, "sum over pseudo header and datagram is all ones");
    }

    #[test]
    fn contradictions_are_refused_and_plain_passes() {
        let mut h = PLAIN;
        assert!(finish(&h, &mut [1, 2, 3]));
        h[0] = NEEDS_CSUM;
        h[6..8].copy_from_slice(&2u16.to_ne_bytes());
        assert!(!finish(&h, &mut [1, 2, 3]));
        h[6..8].copy_from_slice(&9u16.to_ne_bytes());
        assert!(!finish(&h, &mut [1, 2, 3]));
        h[8..10].copy_from_slice(&u16::MAX.to_ne_bytes());
        assert!(!finish(&h, &mut [0; 32]));
    }
}
