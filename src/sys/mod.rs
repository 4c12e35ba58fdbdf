//! The only door to the operating system: typed wrappers over nix and libc.
//!
//! Together with `simd`, the only place where `unsafe` may stand. Nothing here knows WireGuard,
//! hosts or commands. What is handed out is owned (`OwnedFd`, `SocketAddr`); raw descriptor
//! numbers do not leave this folder. Platform differences end here.
#![allow(unsafe_code)]

pub mod bounded;
pub mod child;
#[cfg_attr(target_os = "macos", path = "darwin/clock.rs")]
pub mod clock;
pub mod cmsg;
pub mod icmp;
pub mod iface;
#[cfg_attr(target_os = "macos", path = "darwin/inotify.rs")]
pub mod inotify;
#[cfg_attr(target_os = "macos", path = "darwin/ioctl.rs")]
pub mod ioctl;
pub mod line;
pub mod lock;
#[cfg_attr(target_os = "macos", path = "darwin/mmsg.rs")]
pub mod mmsg;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg_attr(target_os = "macos", path = "darwin/netlink.rs")]
pub mod netlink;
pub mod poll;
pub mod process;
#[cfg_attr(target_os = "macos", path = "darwin/random.rs")]
pub mod random;
pub mod signal;
#[cfg_attr(target_os = "macos", path = "darwin/sock.rs")]
pub mod sock;
pub mod through;
#[cfg(target_os = "linux")]
pub mod tun_node;
#[cfg(target_os = "linux")]
pub mod veth;

/// The error number of an I/O error; EIO if it has none.
pub fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

/// Opens what is there for reading. A link is not followed, and a pipe is not waited for.
pub fn open_no_link(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Error numbers that callers tell apart, so that they need no libc of their own.
pub mod code {
    /// The device is detached; a utun says so with ENXIO, and has no such number.
    #[cfg(target_os = "macos")]
    pub const EBADFD: i32 = -1;
    #[cfg(target_os = "linux")]
    pub use libc::EBADFD;
    pub use libc::{
        EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADF, EBUSY, EHOSTUNREACH, EINTR, EINVAL, EIO,
        EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOPROTOOPT, ENOSPC,
        ENXIO, EOPNOTSUPP, EPERM, EPROTO, ETIMEDOUT,
    };
}
