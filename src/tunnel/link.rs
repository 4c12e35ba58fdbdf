//! The interface beside its packets: name, and whether we are told of its changes.

use crate::sys::netlink::Monitor;
use crate::sys::{iface, ioctl};

/// What is known of the interface.
pub(super) struct Link {
    pub name: String,
    pub index: Option<u32>,
    /// None where netlink is closed to us.
    pub monitor: Option<Monitor>,
    /// It is in our network namespace, so that the monitor sees it.
    pub here: bool,
    /// Packets that its queue had no room for, when last asked.
    overflows: u64,
}

impl Link {
    /// The interface of this name in the calling thread's network namespace.
    pub fn new(name: String) -> Link {
        let index = ioctl::index(&name);
        let monitor = Monitor::open().ok();
        let here = index.is_some() && monitor.is_some();
        let overflows = iface::queue_drops(&name).unwrap_or(0);
        Link { name, index, monitor, here, overflows }
    }

    /// Of what stands in for an interface: there is nothing to look after but the network around.
    pub fn none(name: String) -> Link {
        let monitor = Monitor::open().ok();
        Link { name, index: None, monitor, here: true, overflows: 0 }
    }

    /// How many more packets its queue had no room for.
    pub fn new_overflows(&mut self) -> u64 {
        let now = Some(&self.name).filter(|_| self.here).and_then(|name| iface::queue_drops(name));
        let now = now.unwrap_or(self.overflows);
        now.saturating_sub(std::mem::replace(&mut self.overflows, now))
    }

    /// Whether a message is about our interface. One that left us may have come back; then its
    /// name must be right too, for the index may be somebody else's by now.
    pub fn is(&self, index: u32, name: Option<&str>) -> bool {
        Some(index) == self.index && (self.here || name == Some(&self.name))
    }
}
