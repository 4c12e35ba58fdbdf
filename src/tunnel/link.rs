//! The interface beside its packets: name, MTU, and whether we are told of its changes.

use crate::sys::ioctl;
use crate::sys::netlink::Monitor;

/// What is known of the interface.
pub(super) struct Link {
    pub name: String,
    pub index: Option<u32>,
    pub mtu: u16,
    /// None where netlink is closed to us.
    pub monitor: Option<Monitor>,
    /// It is in our network namespace, so that the monitor sees it.
    pub here: bool,
}

impl Link {
    /// The interface of this name in the calling thread's network namespace.
    pub fn new(name: String, mtu: u16) -> Link {
        let index = ioctl::index(&name);
        let monitor = Monitor::open().ok();
        let here = index.is_some() && monitor.is_some();
        Link { name, index, mtu, monitor, here }
    }

    /// Whether a message is about our interface. One that left us may have come back; then its
    /// name must be right too, for the index may be somebody else's by now.
    pub fn is(&self, index: u32, name: Option<&str>) -> bool {
        Some(index) == self.index && (self.here || name == Some(&self.name))
    }
}
