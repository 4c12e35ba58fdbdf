//! The Internet checksum (RFC 1071), as far as splitting and merging need it.

/// One's complement sum of the 16-bit words of `bytes`, an odd last byte filled up with zero.
pub(super) fn sum(bytes: &[u8]) -> u16 {
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
pub(super) fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

/// Takes `b`, which is part of `a`, out of it.
pub(super) fn take(a: u16, b: u16) -> u16 {
    add(a, !b)
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
}
