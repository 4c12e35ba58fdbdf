//! A program that may read what a system's programs are made of, write below one directory, and
//! open TCP connections to one port. Landlock and a filter of system calls see to it, for it and
//! for all that it starts; nothing that it is told later changes that.
//!
//! TCP needs Landlock's fourth version (Linux 6.7); where that is missing nothing is started.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// linux/landlock.h, as of the fourth version.
const EXECUTE: u64 = 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const WRITE_FILE: u64 = 1 << 1;
const TRUNCATE: u64 = 1 << 14;
const ALL_FILES: u64 = (1 << 15) - 1;
const BIND: u64 = 1;
const CONNECT: u64 = 1 << 1;
const PATH_BENEATH: libc::c_uint = 1;
const NET_PORT: libc::c_uint = 2;
const NEEDED: i64 = 4;

const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// What may be done to a file that is no directory.
const OF_FILE: u64 = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE;

/// What may be reached.
pub struct Reach<'a> {
    /// Below these it may read and execute, as far as they are there.
    pub read: &'a [&'a Path],
    /// Below these it may write, too; they may be devices.
    pub write: &'a [&'a Path],
    /// The port of this machine, or of any other, that it may connect to by TCP.
    pub port: u16,
}

/// Confines what `command` starts. `Unsupported` where the kernel cannot.
pub fn confine<'a>(command: &'a mut Command, reach: &Reach<'_>) -> io::Result<&'a mut Command> {
    if version() < NEEDED {
        let why = "this kernel cannot confine a browser (Linux 6.7 and later can)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let rules = ruleset(&[ALL_FILES, BIND | CONNECT])?;
    reach.read.iter().try_for_each(|path| allow(&rules, path, READ))?;
    reach.write.iter().try_for_each(|path| allow(&rules, path, ALL_FILES))?;
    allow_port(&rules, reach.port, CONNECT)?;
    // To listen where the kernel chooses.
    allow_port(&rules, 0, BIND)?;
    let filter = no_datagrams();
    let give_up = move || {
        // SAFETY: prctl(2) with this option takes plain numbers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        // SAFETY: the call takes a descriptor, which the closure owns, and flags.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })?;
        let len = filter.len() as libc::c_ushort;
        let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program is readable for the call, and the kernel copies it.
        check(unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
        })?;
        Ok(())
    };
    // SAFETY: the closure allocates nothing and makes system calls alone.
    Ok(unsafe { command.pre_exec(give_up) })
}

fn check(result: impl Into<i64>) -> io::Result<i64> {
    let result = result.into();
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn version() -> i64 {
    let none = std::ptr::null::<u64>();
    // SAFETY: with this flag (the version) the kernel reads no memory.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, 1) };
    check(version).unwrap_or(0)
}

fn ruleset(handled: &[u64]) -> io::Result<OwnedFd> {
    let (at, size) = (handled.as_ptr(), size_of_val(handled));
    // SAFETY: handled is readable for size bytes, and the struct of that size is so many u64.
    let fd = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, at, size, 0) })?;
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// What is not there is not allowed.
fn allow(rules: &OwnedFd, path: &Path, access: u64) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_PATH).open(path);
    let Ok(file) = opened else { return Ok(()) };
    let access = if file.metadata()?.is_dir() { access } else { access & OF_FILE };
    // struct landlock_path_beneath_attr is packed: 64 bits of access, then the descriptor.
    let mut rule = access.to_ne_bytes().to_vec();
    rule.extend(file.as_raw_fd().to_ne_bytes());
    add(rules, PATH_BENEATH, &rule)
}

fn allow_port(rules: &OwnedFd, port: u16, access: u64) -> io::Result<()> {
    let mut rule = access.to_ne_bytes().to_vec();
    rule.extend(u64::from(port).to_ne_bytes());
    add(rules, NET_PORT, &rule)
}

fn add(rules: &OwnedFd, kind: libc::c_uint, rule: &[u8]) -> io::Result<()> {
    let (set, at) = (rules.as_raw_fd(), rule.as_ptr());
    // SAFETY: rule is readable for the bytes that the kernel copies for this kind.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, set, kind, at, 0) }).map(drop)
}

/// Sockets of IPv4 and IPv6 are of TCP or are refused, and so is what gets around such a filter.
fn no_datagrams() -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    #[cfg(target_arch = "x86_64")]
    const ARCH: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCH: u32 = 0xc000_00b7;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    const ARCH: u32 = 0;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EACCES as u32;
    let (inet, inet6) = (libc::AF_INET as u32, libc::AF_INET6 as u32);
    // struct seccomp_data: the number at 0, the architecture at 4, arguments from 16 on.
    vec![
        step(LOAD, 0, 0, 4),
        step(EQUAL, 0, 13, ARCH),
        step(LOAD, 0, 0, 0),
        step(EQUAL, 11, 0, libc::SYS_io_uring_setup as u32),
        step(EQUAL, 0, 9, libc::SYS_socket as u32),
        step(LOAD, 0, 0, 16),
        step(EQUAL, 1, 0, inet),
        step(EQUAL, 0, 6, inet6),
        step(LOAD, 0, 0, 24),
        step(AND, 0, 0, 0xf),
        step(EQUAL, 0, 4, libc::SOCK_STREAM as u32),
        // TCP as it is, the one kind of stream that is looked at below.
        step(LOAD, 0, 0, 32),
        step(EQUAL, 1, 0, 0),
        step(EQUAL, 0, 1, libc::IPPROTO_TCP as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, refuse),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a shell with Python says under it.
    fn said(reach: &Reach<'_>, script: &str) -> Option<String> {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script]);
        match confine(&mut command, reach) {
            Ok(command) => {
                let out = command.output().unwrap();
                let err = String::from_utf8_lossy(&out.stderr).into_owned();
                Some(String::from_utf8_lossy(&out.stdout).trim().to_owned() + &err)
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                println!("SKIP confine: {error}");
                None
            }
        }
    }

    #[test]
    fn what_is_confined_reaches_its_directory_and_one_port() {
        let [near, far] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [near, far] = [near, far].map(|one| (one.local_addr().unwrap().port(), one));
        let root = std::env::temp_dir().join(format!("hopbox-confine-{}", std::process::id()));
        let (own, other) = (root.join("own"), root.join("other"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join("secret"), "x").unwrap();
        let read = [Path::new("/usr"), Path::new("/lib"), Path::new("/lib64"), Path::new("/etc")];
        let reach = Reach { read: &read, write: &[&own, Path::new("/dev/null")], port: near.0 };
        let script = format!(
            r#"
import socket
def tries(name, act):
    try: act(); print(name, end=' ')
    except OSError as e: print(name + '!', end=' ')
S, D = socket.SOCK_STREAM, socket.SOCK_DGRAM
tries('near', lambda: socket.create_connection(('127.0.0.1', {near})))
tries('far', lambda: socket.create_connection(('127.0.0.1', {far})))
tries('udp', lambda: socket.socket(socket.AF_INET, D))
tries('udp6', lambda: socket.socket(socket.AF_INET6, D | socket.SOCK_NONBLOCK))
tries('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tries('other', lambda: socket.socket(socket.AF_INET, S, socket.IPPROTO_SCTP))
tries('unix', lambda: socket.socket(socket.AF_UNIX, D))
tries('any', lambda: socket.socket(socket.AF_INET, S).bind(('127.0.0.1', 0)))
tries('fixed', lambda: socket.socket(socket.AF_INET, S).bind(('127.0.0.1', 48080)))
tries('own', lambda: open('{own}/x', 'w').close())
tries('read', lambda: open('{other}/secret').close())
tries('write', lambda: open('{other}/new', 'w').close())
tries('list', lambda: __import__('os').listdir('{other}'))
"#,
            near = near.0,
            far = far.0,
            own = own.display(),
            other = other.display(),
        );
        if let Some(said) = said(&reach, &script) {
            let expected =
                "near far! udp! udp6! raw! other! unix any fixed! own read! write! list!";
            assert_eq!(said, expected);
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
