//! What this machine is beside the tunnel, for `hop doctor`: read from files alone, without rights,
//! and judged by whoever asks.
//!
//! sshd's version is taken from its program, since no way to ask for it is understood by all
//! releases. The file may be newer than what runs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::manager::{self, Absent, Manager};
use crate::rpc::types::server::{Disk, Server, Sshd};
use crate::sys::{bounded, clock, free_space, process};

/// The first that is there runs: Alpine has one more that is built with PAM.
const SSHD: [&str; 3] = ["/usr/sbin/sshd.pam", "/usr/sbin/sshd", "/usr/bin/sshd"];
/// Larger than any that is built, with its symbols, too.
const SSHD_BYTES: u64 = 32 * 1024 * 1024;
const CONFIG: &str = "/etc/ssh/sshd_config";
const MORE_CONFIG: &str = "/etc/ssh/sshd_config.d";
/// Files of it that are looked at.
const CONFIGS: usize = 64;
/// There where version 2 is the only one.
const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";

pub fn look() -> Server {
    let login = process::login();
    let name = login.as_ref().map_or(OsStr::new(""), |login| &login.name);
    let home = login.as_ref().map(|login| PathBuf::from(&login.home));
    Server {
        unix_ms: clock::wall_ms(),
        sshd: SSHD.iter().find_map(|path| sshd(Path::new(path))),
        is_unified: Path::new(UNIFIED).exists(),
        lingers: lingers(name),
        login: text(name),
        disks: disks([Some(PathBuf::from("/")), home, Some(PathBuf::from("/var"))]),
    }
}

fn text(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Root's services are the machine's own.
fn lingers(login: &OsStr) -> Option<bool> {
    if process::is_root() || matches!(Manager::find(), Err(Absent::NoSystemd)) {
        return None;
    }
    Some(manager::lingers(login))
}

/// Each file system once, by the first path that leads there.
fn disks(paths: [Option<PathBuf>; 3]) -> Vec<Disk> {
    let mut seen = Vec::new();
    let disks = paths.into_iter().flatten().filter_map(|path| {
        let device = fs::metadata(&path).ok()?.dev();
        if seen.contains(&device) {
            return None;
        }
        seen.push(device);
        let free = free_space::at(&path).ok()?;
        Some(Disk {
            path: text(path.as_os_str()),
            free_bytes: free.bytes,
            bytes: free.all_bytes,
            free_files: free.files,
        })
    });
    disks.collect()
}

fn sshd(path: &Path) -> Option<Sshd> {
    let program = bounded::read(path, SSHD_BYTES).ok()?;
    let knows_pam = holds(&program, b"libpam.so");
    Some(Sshd {
        version: version(&program),
        is_musl: holds(&program, b"/ld-musl-"),
        has_pam: knows_pam && is_pam_used(),
    })
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// `OpenSSH_` and two numbers, `p` and one more; others in there are of peers with faults.
fn version(program: &[u8]) -> Option<String> {
    let name = b"OpenSSH_";
    let places = program.windows(name.len()).enumerate().filter(|(_, window)| *window == name);
    let mut words = places.filter_map(|(at, _)| {
        let rest = program.get(at + name.len()..)?;
        let is_part = |byte: &&u8| byte.is_ascii_digit() || b".p".contains(*byte);
        let word: String = rest.iter().take(16).take_while(is_part).map(|b| *b as char).collect();
        numbers(&word).map(|_| format!("OpenSSH_{word}"))
    });
    words.next()
}

/// Of `9.2p1`.
fn numbers(word: &str) -> Option<[u32; 3]> {
    let (version, patch) = word.split_once('p')?;
    let (major, minor) = version.split_once('.')?;
    Some([major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?])
}

/// What is said first counts, and what is included is said before the rest as systems ship it.
fn is_pam_used() -> bool {
    let entries = fs::read_dir(MORE_CONFIG).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).take(CONFIGS).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    files.sort();
    files.push(CONFIG.into());
    let texts = files.iter().filter_map(|path| bounded::text(path).ok());
    texts.filter_map(|text| pam(&text)).next().unwrap_or(false)
}

/// What a file of sshd's says of PAM, if anything.
fn pam(text: &str) -> Option<bool> {
    text.lines().find_map(|line| {
        let mut words = line.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
        let is_it = words.next()?.eq_ignore_ascii_case("usepam");
        is_it.then(|| words.next().is_some_and(|word| word.eq_ignore_ascii_case("yes")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_of_three_numbers() {
        let table: [(&[u8], Option<&str>); 6] = [
            (b"\0OpenSSH_9.2\0OpenSSH_9.2p1 Debian-2\0", Some("OpenSSH_9.2p1")),
            (b"OpenSSH_2.*,OpenSSH_3.0*\0OpenSSH_10.2p1\0", Some("OpenSSH_10.2p1")),
            (b"OpenSSH_10.6p2", Some("OpenSSH_10.6p2")),
            (b"OpenSSH_7.4*\0OpenSSH_\0OpenSSH_p1", None),
            (b"OpenSSH_99999999999.1p1", None),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(version(bytes).as_deref(), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_first_word_of_pam_counts() {
        let table = [
            ("# UsePAM no\n\tUsePAM\tyes\nUsePAM no\n", Some(true)),
            ("usepam=no\nUsePAM yes", Some(false)),
            ("UsePAM \"yes\"", Some(true)),
            ("UsePAM", Some(false)),
            ("UsePAMx yes\nPort 22\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(pam(text), expected, "{text:?}");
        }
    }

    #[test]
    fn this_machine_is_described() {
        let server = look();
        assert!(server.unix_ms > 1_700_000_000_000 && !server.disks.is_empty(), "{server:?}");
        assert!(server.disks.iter().all(|disk| disk.bytes >= disk.free_bytes), "{server:?}");
        match &server.sshd {
            Some(sshd) => {
                let version = sshd.version.as_deref().unwrap_or_default();
                assert!(version.starts_with("OpenSSH_"), "{sshd:?}");
            }
            None => println!("SKIP this_machine_is_described: no sshd is here"),
        }
    }
}
