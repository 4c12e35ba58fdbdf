//! Bytes as digits, for names and comparisons.

/// Two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::encode(&[]), "");
        assert_eq!(super::encode(&[0, 0x0a, 0xff]), "000aff");
    }
}
