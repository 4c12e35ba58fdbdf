//! What a process gives up: privileges, system calls, files.

use super::check;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// No program that this process could ever run gains rights by being run.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with this option takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(|_| ())
}

/// Filters the system calls of this thread and all that it starts.
pub fn seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: program points to len instructions, which the kernel only reads, and copies.
    check(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0)
    })
    .map(|_| ())
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Version of the kernel's Landlock.
pub fn landlock_abi() -> io::Result<u32> {
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<u64>();
    // SAFETY: with this flag the kernel reads no memory.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    check_long(abi).map(|abi| abi as u32)
}

/// A set of rules that refuses what `handled` names: files, then TCP, then scopes, as far as
/// the kernel's version goes.
pub fn landlock_ruleset(handled: &[u64]) -> io::Result<OwnedFd> {
    let size = size_of_val(handled);
    // SAFETY: handled is readable for size bytes, and the struct of that size is so many u64.
    let fd = check_long(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), size, 0)
    })?;
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Allows `access` to a file, or beneath a directory.
pub fn landlock_allow(ruleset: BorrowedFd, path: BorrowedFd, access: u64) -> io::Result<()> {
    const PATH_BENEATH: libc::c_uint = 1;
    // struct landlock_path_beneath_attr is packed: 64 bits of access, then the descriptor.
    let mut rule = access.to_ne_bytes().to_vec();
    rule.extend(path.as_raw_fd().to_ne_bytes());
    // SAFETY: rule is readable for the twelve bytes that the kernel copies for this type.
    check_long(unsafe {
        let (set, rule) = (ruleset.as_raw_fd(), rule.as_ptr());
        libc::syscall(libc::SYS_landlock_add_rule, set, PATH_BENEATH, rule, 0)
    })
    .map(|_| ())
}

/// From now on this thread, and all that it starts, may touch only what the rules allow.
pub fn landlock_restrict(ruleset: BorrowedFd) -> io::Result<()> {
    // SAFETY: the call takes a descriptor and flags.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    check_long(done).map(|_| ())
}

/// Gives up all capabilities, and with them the rights of root but those to its files.
pub fn no_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    // Version and process (this one); then twice effective, permitted and inheritable.
    let (head, none) = ([VERSION_3, 0], [0_u32; 6]);
    // SAFETY: both are as long as the kernel reads for this version; it copies them.
    let done = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), none.as_ptr()) };
    check_long(done).map(|_| ())
}
