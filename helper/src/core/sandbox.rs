//! What the helper gives up before it answers the first request: new privileges, all files but
//! the few it writes, all system calls but the few it makes.
//!
//! The service's own sandbox may be there or not; this one is, wherever the kernel knows how.
//! What it does not know is left out and told by `daemon.health`. Must not know: requests.

use crate::core::access::{Access, SandboxPaths};
use crate::core::bpf::Step::{Do, If};
use crate::core::bpf::{ANY_BIT, AT_LEAST, EQUAL, To, WORD, assemble};
use crate::core::say::tell;
use crate::sys;
use libc::{c_long, sock_filter};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What happens to a system call that is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It fails with EPERM: a library that tries something new does not end every tunnel.
    Refuse,
    /// The process ends, so that a test cannot miss it.
    Kill,
}

/// Debug builds, which the tests run, must not make a call that is not on the list.
pub const STRICTNESS: Strictness =
    if cfg!(debug_assertions) { Strictness::Kill } else { Strictness::Refuse };

/// Which layers are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// No program can gain rights by being run.
    privileges: bool,
    pub seccomp: bool,
    /// Version of the kernel's interface; 0 when off.
    pub landlock: u32,
}

impl Layers {
    pub fn to_json(self) -> Value {
        json!({"seccomp": self.seccomp, "landlock": self.landlock})
    }
}

/// Takes effect for the rest of the process's life.
pub fn enter(paths: &SandboxPaths, ioctls: &[u32], strictness: Strictness) -> Layers {
    let layers = confine(paths);
    let filter = program(ioctls, strictness).filter(|_| layers.privileges);
    let seccomp = filter.is_some_and(|program| {
        sys::seccomp(&program).inspect_err(|e| lacks("system call filter", e)).is_ok()
    });
    Layers { seccomp, ..layers }
}

/// The files alone, for whoever runs another program, which makes the calls that it makes.
pub fn confine(paths: &SandboxPaths) -> Layers {
    let privileges =
        sys::no_new_privileges().inspect_err(|e| lacks("lock on privileges", e)).is_ok();
    let landlock = if privileges { landlock(paths) } else { Ok(0) };
    let landlock = landlock.inspect_err(|e| lacks("Landlock", e)).unwrap_or(0);
    Layers { privileges, seccomp: false, landlock }
}

fn lacks(layer: &str, e: &std::io::Error) {
    tell(&format!("no {layer}: {e}"));
}

// Access rights of Landlock, by the bits of the kernel's ABI.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_REG: u64 = 1 << 8;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Returns the interface's version.
fn landlock(paths: &SandboxPaths) -> std::io::Result<u32> {
    let abi = sys::landlock_abi()?;
    // Everything that this kernel can refuse is refused, and then little allowed.
    let files = match abi {
        0 | 1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1_u64 << 16) - 1,
    };
    // TCP: no bind, no connect. Scope: no abstract sockets and no signals of others.
    let handled = [files, 0b11, 0b11];
    let known = match abi {
        0..=3 => 1,
        4 | 5 => 2,
        _ => 3,
    };
    let ruleset = sys::landlock_ruleset(handled.get(..known).unwrap_or(&[files]))?;
    for (path, access) in paths {
        // What is not there cannot be used; when it comes, a new start can.
        if let Ok(file) = open_path(path) {
            sys::landlock_allow(ruleset.as_fd(), file.as_fd(), rights(*access) & files)?;
        }
    }
    sys::landlock_restrict(ruleset.as_fd())?;
    Ok(abi)
}

fn rights(access: Access) -> u64 {
    match access {
        Access::Read => READ_FILE,
        Access::Look => READ_FILE | READ_DIR,
        Access::Run => EXECUTE | READ_FILE | READ_DIR,
        Access::Write => WRITE_FILE,
        Access::Edit => READ_FILE | WRITE_FILE | TRUNCATE,
        Access::Device => READ_FILE | WRITE_FILE | IOCTL_DEV,
        Access::Remove => REMOVE_FILE,
        Access::Own => READ_FILE | WRITE_FILE | READ_DIR | REMOVE_FILE | MAKE_REG | TRUNCATE,
    }
}

fn open_path(path: &Path) -> std::io::Result<File> {
    // With musl std takes O_PATH for an access mode and drops it: then a pipe must not hang us.
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Calls that are allowed whatever their arguments. Not among them, on purpose: recvmsg (it
/// could bring descriptors), execve, fork, connect, bind, mount, chmod, chown, kill, ptrace.
const CALLS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_fcntl,
    libc::SYS_umask,
    libc::SYS_ppoll,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCH: Option<u32> = Some(0xc000_003e);
/// Older forms of the same, which aarch64 never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_rename,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const ARCH: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: Option<u32> = None;
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// The calls whose one argument decides, and its place: requests to devices, and families of
/// sockets, of which one is left, for the word to the service manager.
const CHOSEN: &[(c_long, u32)] = &[(libc::SYS_ioctl, 1), (libc::SYS_socket, 0)];
const FAMILIES: &[u32] = &[libc::AF_UNIX as u32];

/// The calls that must not make memory executable; the place of `prot`.
const MAPPING: &[(c_long, u32)] = &[(libc::SYS_mmap, 2), (libc::SYS_mprotect, 2)];

// struct seccomp_data: nr, arch, instruction pointer, six arguments of 64 bits each. Both
// architectures are little-endian, so that the low half of an argument comes first.
const NR: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
/// Numbers from here on are those of x32, a second way to the same calls.
const X32: u32 = 0x4000_0000;

/// The filter, or `None` on an architecture without a table.
fn program(ioctls: &[u32], strictness: Strictness) -> Option<Vec<sock_filter>> {
    const REFUSED: To = To::End(0);
    const ALLOWED: To = To::End(1);
    const KILLED: To = To::End(2);
    let refuse = match strictness {
        Strictness::Refuse => ERRNO | libc::EPERM as u32,
        Strictness::Kill => KILL,
    };
    let mut steps = vec![
        Do(WORD, ARCHITECTURE),
        If(EQUAL, ARCH?, To::Next, KILLED),
        Do(WORD, NR),
        If(AT_LEAST, X32, KILLED, To::Next),
    ];
    let listed = CALLS.iter().chain(OLDER);
    steps.extend(listed.map(|call| If(EQUAL, *call as u32, ALLOWED, To::Next)));
    for ((call, place), values) in CHOSEN.iter().zip([ioctls, FAMILIES]) {
        let skip = To::Skip(values.len() as u8 + 2);
        steps.extend([If(EQUAL, *call as u32, To::Next, skip), Do(WORD, ARGUMENTS + 8 * place)]);
        steps.extend(values.iter().map(|value| If(EQUAL, *value, ALLOWED, To::Next)));
        steps.push(If(EQUAL, 0, REFUSED, REFUSED));
    }
    for (call, place) in MAPPING {
        steps.extend([
            If(EQUAL, *call as u32, To::Next, To::Skip(2)),
            Do(WORD, ARGUMENTS + 8 * place),
            If(ANY_BIT, libc::PROT_EXEC as u32, REFUSED, ALLOWED),
        ]);
    }
    Some(assemble(&steps, &[refuse, ALLOW, KILL]))
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
