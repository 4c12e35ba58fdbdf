//! What devices are, on every platform; how they are made is `link_linux` and `link_macos`.

use hop_helper::proto::{Code, OpError};
use std::io;
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
pub use crate::link_linux::Links;
#[cfg(target_os = "macos")]
pub use crate::link_macos::Links;

/// A device just made, with the one descriptor that keeps it alive.
#[derive(Debug)]
pub struct Device {
    pub name: String,
    pub ifindex: u32,
    pub mtu: u16,
    /// Packets carry a virtio-net header of ten bytes.
    pub vnet_hdr: bool,
    pub fd: OwnedFd,
}

/// What became of a device that a lease speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Held,
    /// Made persistent and let go: nobody will ever use it again.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "a utun ends with its holder"))]
    Abandoned,
    Gone,
    /// Another device has its name.
    Replaced,
}

/// `kernel_error` with the step and the errno's name.
pub fn failed(step: &str) -> impl FnOnce(io::Error) -> OpError {
    move |e| OpError::new(Code::KernelError, format!("{step}: {}", errno_name(&e)))
}

pub fn errno_name(e: &io::Error) -> String {
    let name = match e.raw_os_error() {
        None => return e.to_string(),
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::ENXIO) => "ENXIO",
        Some(libc::EAGAIN) => "EAGAIN",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EBUSY) => "EBUSY",
        Some(libc::EEXIST) => "EEXIST",
        Some(libc::ENODEV) => "ENODEV",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::ENFILE) => "ENFILE",
        Some(libc::ERANGE) => "ERANGE",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(libc::ENETDOWN) => "ENETDOWN",
        Some(libc::ENETUNREACH) => "ENETUNREACH",
        Some(libc::ENOBUFS) => "ENOBUFS",
        Some(libc::ESRCH) => "ESRCH",
        Some(libc::ETIMEDOUT) => "ETIMEDOUT",
        Some(other) => return format!("errno {other}"),
    };
    name.to_string()
}
