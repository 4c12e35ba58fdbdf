//! Errors of the system as numbers.

/// The error number of an I/O error; EIO if it has none.
pub fn errno(e: &std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
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
        ENXIO, EOPNOTSUPP, EPERM, EPIPE, EPROTO, ETIMEDOUT,
    };
}
