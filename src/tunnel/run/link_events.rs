//! What becomes of the interface and of the network around it.

use super::Loop;
use crate::sys::ioctl;
use crate::sys::netlink::Event;
use crate::wg::Now;

impl Loop {
    pub(super) fn link_events(&mut self, now: Now) {
        self.read_link_events();
        self.follow_link(now);
    }

    fn read_link_events(&mut self) {
        let mut events = Vec::new();
        if let Some(monitor) = &mut self.link.monitor {
            monitor.read(&mut events);
        }
        for event in events {
            match event {
                Event::Link { index, name, up, mtu } if self.link.is(index, name.as_deref()) => {
                    self.link.here = true;
                    self.link.name = name.unwrap_or_else(|| std::mem::take(&mut self.link.name));
                    self.note_mtu(mtu);
                    // Down and up again within one turn still ends every session (R95).
                    if !up {
                        self.down();
                    }
                }
                Event::LinkGone { index } if Some(index) == self.link.index => {
                    self.link.here = false;
                }
                Event::PathChanged => self.io.udp.forget_source_addrs(),
                Event::Lost => {
                    self.io.udp.forget_source_addrs();
                    self.note_mtu(ioctl::mtu(&self.link.name).ok());
                }
                // Its MTU may have changed.
                Event::Link { .. } => self.io.udp.sockets.try_batches_again(),
                Event::LinkGone { .. } => {}
            }
        }
    }

    fn note_mtu(&mut self, mtu: Option<u32>) {
        if let Some(mtu) = mtu.and_then(|m| u16::try_from(m).ok()) {
            self.device.set_mtu(mtu);
        }
    }

    /// Make the device run exactly while the interface is up.
    pub(super) fn follow_link(&mut self, now: Now) {
        match (self.io.tun.is_up(), self.device.is_running()) {
            (true, false) => {
                // What is told of the time before is no news for a device that starts only now. To
                // start it twice is to initiate twice, and the second is too soon for the peer.
                self.read_link_events();
                self.device.start(now, &mut self.io);
            }
            (false, true) => self.down(),
            _ => {}
        }
    }

    fn down(&mut self) {
        self.device.stop();
        self.handshakes.clear();
    }
}
