//! What single texts may be: a host's name, a key, a token, an address, a login, a path. The same
//! for files, requests, answers and the command line; an error says what the text should be.

use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::key::{self, Secret};

/// Longest host name: a DNS label.
const LABEL_BYTES: usize = 63;
/// What Linux has at most (LOGIN_NAME_MAX).
const LOGIN_BYTES: usize = 256;
/// Longest word of another program's that is kept.
const WORD_CHARS: usize = 64;
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// Checks a host name by the rule the helper has for names: one DNS label in lower case, so that
/// every name that is accepted here can become `<name>.hop`, a file name and a socket name.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let why = if name.is_empty() || name.len() > LABEL_BYTES {
        "must have 1 to 63 characters"
    } else if !name.bytes().all(plain) {
        "may only hold a-z, 0-9 and -"
    } else if name.starts_with('-') || name.ends_with('-') {
        "must not begin or end with -"
    } else if name == "localhost" {
        "must not be localhost"
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        "must not be a number"
    } else {
        return Ok(());
    };
    Err(format!("a host name {why}"))
}

/// Key material in a JSON field. The text is not repeated in the error: it may be a secret.
pub fn key(text: &str) -> Result<Secret, String> {
    key::decode(text).ok_or_else(|| "must be a key of 44 base64 characters".to_owned())
}

/// An API token: long enough for 256 bits, and safe inside an HTTP header field.
pub fn token(text: &str) -> Result<Zeroizing<String>, String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    if TOKEN_CHARS.contains(&text.len()) && text.bytes().all(safe) {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    Err("must be 43 to 128 characters of base64 or hex".to_owned())
}

/// What a laptop is called, for people.
pub fn label(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=63).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("must have 1 to 63 letters, digits, dots, hyphens or underscores".to_owned())
}

/// A version, or a word of the protocol. It goes on to whoever asks a session, whose answers have
/// a limit.
pub fn word(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    let fits = (1..=WORD_CHARS).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("must be a word".to_owned()) }
}

/// An address one machine can have.
pub fn unicast(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<Ipv4Addr>() {
        Err(_) => Err(format!("must be an IPv4 address, not {text:?}")),
        Ok(ip)
            if ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_broadcast() =>
        {
            Err(format!("{ip} cannot be an address of a tunnel"))
        }
        Ok(ip) => Ok(ip),
    }
}

/// What ssh(1) can be given as its destination, and cannot take for an option.
pub fn ssh_address(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%".contains(&byte);
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-');
    if fits { Ok(text.to_owned()) } else { Err("must be an address or a name".to_owned()) }
}

/// A login name that every ssh(1) can be told: it refuses what a shell would read, some versions
/// have tokens in it. Directory services have names such as `alice@corp.example.com`, `CORP\bob`.
pub fn login(text: &str) -> Result<String, String> {
    let is_blank = |c: char| c.is_whitespace();
    let why = if text.is_empty() || text.len() > LOGIN_BYTES {
        "must have 1 to 256 bytes"
    } else if text.starts_with('-') || text.split(is_blank).skip(1).any(|w| w.starts_with('-')) {
        "must not begin with -, nor a word of it: ssh refuses that"
    } else if text.starts_with(is_blank) || text.ends_with(is_blank) {
        "must not begin or end with a blank"
    } else if text.ends_with('\\') {
        "must not end with a backslash: ssh refuses that"
    } else if text.contains(|c: char| c.is_control() || "'`\";&<>|(){}".contains(c)) {
        "must not hold control characters, quotes or any of ;&<>|(){}: ssh refuses them"
    } else if text.contains('%') {
        "must not hold %: some versions of ssh replace what follows"
    } else {
        return Ok(text.to_owned());
    };
    Err(why.to_owned())
}

/// A path that a host file can hold.
pub fn absolute(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.len() <= 4096 && !text.contains(char::is_control);
    let why = "must be an absolute path without control characters";
    if fits { Ok(text.to_owned()) } else { Err(why.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_label_rule() {
        for good in ["a", "mybox", "my-box-2", "2a", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        let bad = ["", "A", "my_box", "-a", "a-", "localhost", "42", "a.b", "../x", "ä", &long];
        for name in bad {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
