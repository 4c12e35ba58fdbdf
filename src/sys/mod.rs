//! The only door to the operating system: typed wrappers over nix and libc.
//!
//! Together with `simd`, the only place where `unsafe` may stand. Nothing here knows WireGuard,
//! hosts or commands. What is handed out is owned (`OwnedFd`, `SocketAddr`); raw descriptor
//! numbers do not leave this folder. Platform differences end here.
#![allow(unsafe_code)]

pub mod clock;
pub mod cmsg;
pub mod icmp;
pub mod iface;
pub mod inotify;
pub mod ioctl;
pub mod life;
pub mod lock;
pub mod mmsg;
pub mod netlink;
pub mod poll;
pub mod proc;
pub mod random;
pub mod rtnl;
pub mod signal;
pub mod sock;
pub mod tun_node;

/// The error number of an I/O error; EIO if it has none.
pub fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

/// Error numbers that callers tell apart, so that they need no libc of their own.
pub mod code {
    pub use libc::{
        EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADF, EBADFD, EBUSY, EHOSTUNREACH, EINTR,
        EINVAL, EIO, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOPROTOOPT,
        ENOSPC, ENXIO, EOPNOTSUPP, EPERM, EPROTO, ETIMEDOUT,
    };
}
