//! `~/.config/hopbox/known_hosts`: the host keys that setup saw on a connection that ssh(1) had
//! verified. One alias per host, so that addresses and names play no part.

use std::path::{Path, PathBuf};

use crate::base::failure::Failure;
use crate::base::file;
use crate::sys::bounded;

/// A server has a handful; a text of more is not a list of host keys.
const KEYS: usize = 16;
const KEY_CHARS: usize = 8192;

/// The name under which a host's keys are pinned.
pub fn alias(host: &str) -> String {
    format!("hopbox-{host}")
}

/// One key as `ssh-ed25519 AAAA…`, without its comment; `None` if it is not one.
pub fn parse(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte);
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let prefix = ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    let fits = prefix && kind.len() <= 64 && kind.bytes().all(plain);
    let fits = fits && (16..=KEY_CHARS).contains(&key.len()) && key.bytes().all(base64);
    fits.then(|| format!("{kind} {key}"))
}

/// Alias and file of a host's pinned keys, if there are any.
pub fn pinned(file: &Path, host: &str) -> Result<Option<(String, PathBuf)>, Failure> {
    let alias = alias(host);
    let has = read(file)?.lines().any(|line| of(line, &alias));
    Ok(has.then(|| (alias, file.to_owned())))
}

/// Whether one of these keys is pinned for a host.
pub fn knows(file: &Path, host: &str, keys: &[String]) -> Result<bool, Failure> {
    let (text, alias) = (read(file)?, alias(host));
    let key = |line: &str| parse(line.strip_prefix(&alias)?.trim_start());
    Ok(text.lines().filter_map(key).any(|key| keys.contains(&key)))
}

/// Pins exactly these keys under the alias, instead of those before. False if nothing changed.
pub fn pin(file: &Path, alias: &str, keys: &[String]) -> Result<bool, Failure> {
    let old = read(file)?;
    let mut new = kept(&old, alias);
    for key in keys.iter().take(KEYS) {
        new += &format!("{alias} {key}\n");
    }
    write(file, &old, &new)
}

/// Forgets an alias. False if it was not there.
pub fn forget(file: &Path, alias: &str) -> Result<bool, Failure> {
    let old = read(file)?;
    let new = kept(&old, alias);
    write(file, &old, &new)
}

fn of(line: &str, alias: &str) -> bool {
    line.split_ascii_whitespace().next() == Some(alias)
}

/// The lines of others.
fn kept(text: &str, alias: &str) -> String {
    text.lines().filter(|line| !of(line, alias)).map(|line| format!("{line}\n")).collect()
}

fn read(file: &Path) -> Result<String, Failure> {
    match bounded::text(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|error| Failure::io("read", file, &error)),
    }
}

fn write(file: &Path, old: &str, new: &str) -> Result<bool, Failure> {
    if old == new {
        return Ok(false);
    }
    let written = match new.is_empty() {
        true => std::fs::remove_file(file),
        false => file::replace(file, new.as_bytes()),
    };
    written.map(|()| true).map_err(|error| Failure::io("write", file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned_by_alias_and_forgotten() {
        let file = std::env::temp_dir().join(format!("hopbox-keys-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let key = parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA root@vps\n").unwrap();
        assert_eq!(key, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA");
        let (a, b) = (alias("a"), alias("a-b"));
        assert!(pinned(&file, "a").unwrap().is_none() && !forget(&file, &a).unwrap());
        assert!(pin(&file, &a, std::slice::from_ref(&key)).unwrap());
        assert!(!pin(&file, &a, std::slice::from_ref(&key)).unwrap());
        assert!(pin(&file, &b, &[key.clone(), key.replace("AAAA", "BBBB")]).unwrap());
        assert!(knows(&file, "a", std::slice::from_ref(&key)).unwrap());
        assert!(!knows(&file, "c", std::slice::from_ref(&key)).unwrap());
        assert!(!knows(&file, "a", &[key.replace("AAAA", "CCCC")]).unwrap());
        assert!(forget(&file, &a).unwrap() && pinned(&file, "a").unwrap().is_none());
        assert_eq!(read(&file).unwrap().lines().count(), 2);
        assert!(forget(&file, &b).unwrap() && !file.exists());
    }

    #[test]
    fn what_is_no_key_is_not_pinned() {
        let long = format!("ssh-rsa {}", "A".repeat(KEY_CHARS + 1));
        for text in [
            "",
            "ssh-rsa",
            "* ssh-rsa AAAAAAAAAAAAAAAAAAAA",
            "ssh-rsa AAAA AAAA",
            "ssh-rsa AAAAAAAAAAAA,AAAAAAAAA",
            "@cert-authority * x",
            &long,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
