//! A socket that listens, as a system tells of it.

use std::net::IpAddr;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub ip: IpAddr,
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
    pub inode: u64,
}
