//! What the laptop keeps about its hosts: where the files are, what they say, the keys.
//!
//! Reading order: `paths` (where) → `atomic` (how a file is written) → `keys` → `config` →
//! `renewal`.
//! Knows nothing of tunnels, sessions or the agent's API.

pub mod atomic;
pub mod autostart;
pub mod config;
pub mod keys;
pub mod numbers;
pub mod paths;
pub mod renewal;
pub mod workspace;
pub mod yaml;

use std::fmt;
use std::path::Path;

use crate::fix;
use crate::text::fix::Fix;

/// Longest host name: a DNS label.
const LABEL_BYTES: usize = 63;

/// What kind of trouble a file is in; chooses the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The content, the owner or the mode is not what it must be.
    Config,
    /// There is no such file.
    NotFound,
    /// It exists already and must not be replaced.
    Exists,
    /// The operating system refused.
    Io,
}

/// What is the matter with a file that cannot be used, for who decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Others may read a secret.
    Open,
    /// A later version of hop wrote it.
    Newer,
    /// Everything else.
    Other,
}

/// Why something on disk could not be used, in the three parts a user is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    pub kind: Kind,
    pub fault: Fault,
    pub what: String,
    pub why: String,
    /// One command that fixes it.
    pub next: Fix,
}

impl HostError {
    pub(crate) fn new(
        kind: Kind,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<Fix>,
    ) -> HostError {
        let fault = Fault::Other;
        HostError { kind, fault, what: what.into(), why: why.into(), next: next.into() }
    }

    /// The operating system's refusal to do `act` to `path`.
    pub(crate) fn io(act: &str, path: &Path, error: &std::io::Error) -> HostError {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::AlreadyExists => Kind::Exists,
            _ => Kind::Io,
        };
        let what = format!("cannot {act} {}", path.display());
        HostError::new(kind, what, error.to_string(), fix!("ls -la {}", path))
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for HostError {}

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
