//! WireGuard keys on disk: one line of base64, mode 0600, as `wg genkey` writes it.
//!
//! A key file is created once and never replaced here; one that cannot be read is an error that
//! names the file. Encoding and decoding take the same time whatever the key is: no table is
//! indexed by a secret and no branch depends on one.

use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::failure::{Failure, Fault};
use super::file;
use crate::fix;

pub const KEY_BYTES: usize = 32;
/// Characters of a key in base64, the padding included.
pub const KEY_CHARS: usize = 44;

/// A private or preshared key. Wiped when dropped.
pub type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// Reads the private key in `path`.
pub fn load(path: &Path) -> Result<Secret, Failure> {
    parse(&file::read_private(path)?, path)
}

/// The key that is the text of a key file; `path` is for errors.
pub fn parse(text: &str, path: &Path) -> Result<Secret, Failure> {
    decode(text.strip_suffix('\n').unwrap_or(text)).ok_or_else(|| {
        let why = "it must hold one line of 44 base64 characters";
        let what = format!("{} holds no key", path.display());
        Failure::new(Fault::Config, what, why, fix!("ls -l {}", path))
    })
}

/// Writes a new key file. Fails when there is one: a key is never silently replaced.
pub fn store_new(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), Failure> {
    let mut line = encode(key);
    line.push('\n');
    file::create(path, line.as_bytes()).map_err(|error| Failure::io("create", path, &error))
}

/// 32 bytes as 44 characters.
pub fn encode(key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    // One spare byte, so that the newline of a key file does not move the text to a new place
    // and leave the old one unwiped.
    let mut text = Zeroizing::new(String::with_capacity(KEY_CHARS + 1));
    for group in key.chunks(3) {
        let mut bits = 0u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..=group.len() {
            text.push(char::from(digit(bits >> (18 - 6 * place) & 63)));
        }
    }
    text.push('=');
    text
}

/// The key that exactly these 44 characters mean; `None` for any other text. The two unused bits
/// at the end must be zero, so that a key has one form only.
pub fn decode(text: &str) -> Option<Secret> {
    let digits = text.as_bytes().strip_suffix(b"=")?;
    if text.len() != KEY_CHARS {
        return None;
    }
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    let mut bad = 0i32;
    let mut held = 0u32;
    let mut held_bits = 0u32;
    let mut out = key.iter_mut();
    for byte in digits {
        let value = value(*byte);
        bad |= value >> 31;
        held = held << 6 | (value & 63) as u32;
        held_bits += 6;
        if held_bits >= 8 {
            held_bits -= 8;
            if let Some(place) = out.next() {
                *place = (held >> held_bits) as u8;
            }
            held &= (1 << held_bits) - 1;
        }
    }
    bad |= held as i32;
    held.zeroize();
    (bad == 0).then_some(key)
}

/// All ones when `value >= least`, else zero.
fn at_least(value: i32, least: i32) -> i32 {
    (least - 1 - value) >> 31
}

/// The character of a value below 64: `A-Z`, `a-z`, `0-9`, `+`, `/`.
fn digit(value: u32) -> u8 {
    let value = value as i32;
    let mut character = i32::from(b'A') + value;
    character += at_least(value, 26) & 6;
    character -= at_least(value, 52) & 75;
    character -= at_least(value, 62) & 15;
    character += at_least(value, 63) & 3;
    character as u8
}

/// The value of a character, or -1.
fn value(character: u8) -> i32 {
    let character = i32::from(character);
    let part = |first: u8, last: u8, base: i32| {
        let inside =
            at_least(character, i32::from(first)) & !at_least(character, i32::from(last) + 1);
        inside & (character - i32::from(first) + base + 1)
    };
    part(b'A', b'Z', 0)
        + part(b'a', b'z', 26)
        + part(b'0', b'9', 52)
        + part(b'+', b'+', 62)
        + part(b'/', b'/', 63)
        - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    #[test]
    fn every_character_has_its_value_and_back() {
        for byte in 0..=255u8 {
            let place = ALPHABET.iter().position(|known| *known == byte);
            assert_eq!(value(byte), place.map_or(-1, |place| place as i32), "{byte}");
        }
        for (place, known) in ALPHABET.iter().enumerate() {
            assert_eq!(digit(place as u32), *known);
        }
    }

    #[test]
    fn known_answers() {
        // RFC 7748 §6.1, Alice's private key, as base64(1) prints it.
        let key = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let text = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        assert_eq!(encode(&key).as_str(), text);
        assert_eq!(*decode(text).unwrap(), key);
        assert_eq!(encode(&[0; 32]).as_str(), format!("{}=", "A".repeat(43)));
        assert_eq!(encode(&[255; 32]).as_str(), format!("{}8=", "/".repeat(42)));
    }

    #[test]
    fn every_other_text_is_refused() {
        let good = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let tail = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCp=";
        let long = format!("{good}=");
        for text in
            ["", "=", &good[..43], tail, &long, &good.replace('C', "-"), &good.replace('=', "A")]
        {
            assert!(decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_file_is_created_once_and_must_be_private() {
        let dir = std::env::temp_dir().join(format!("hopbox-keys-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("mybox.key");
        store_new(&path, &[7; 32]).unwrap();
        assert_eq!(*load(&path).unwrap(), [7; 32]);
        assert_eq!(store_new(&path, &[8; 32]).unwrap_err().fault, Fault::Exists);
        assert_eq!(*load(&path).unwrap(), [7; 32]);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let error = load(&path).err().unwrap();
        assert!(error.to_string().contains("mybox.key"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short\n").unwrap();
        let error = load(&path).err().unwrap();
        assert!(error.to_string().contains("mybox.key") && !error.to_string().contains("short"));
        assert_eq!(load(&dir.join("none.key")).err().unwrap().fault, Fault::NotFound);
        fs::remove_dir_all(&dir).unwrap();
    }
}
