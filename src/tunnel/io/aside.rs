//! Who stands beside the TUN: takes some of the packets that would be written to it, and sends some
//! of its own, as the TUN's are sent. Which are taken is for another to say.

use super::tun::{Tun, TunDevice, TunError};
use crate::sys::ioctl::Offload;
use std::io;
use std::os::fd::OwnedFd;

/// Says which packets of the tunnel are not for the TUN. Asked about each, so it may not wait.
pub trait Takes: Send {
    fn takes(&mut self, packet: &[u8]) -> bool;
}

/// What stands beside the TUN, as it is handed over: an end of a pair of packets
/// (`sys::packet_pair`), and the choice.
pub struct Beside {
    pub end: OwnedFd,
    pub takes: Box<dyn Takes>,
}

/// The same in use.
pub struct Aside {
    pub tun: Tun,
    takes: Box<dyn Takes>,
}

impl Aside {
    pub fn new(beside: Beside, mtu: u16) -> io::Result<Aside> {
        let Beside { end, takes } = beside;
        let device = TunDevice { fd: end, name: String::new(), mtu, vnet_hdr: false };
        Ok(Aside { tun: Tun::new(device, Offload::Nothing)?, takes })
    }

    /// Hands a packet over if it is taken; `None` if it is the TUN's.
    pub fn offer(&mut self, packet: &[u8]) -> Option<Result<(), TunError>> {
        self.takes.takes(packet).then(|| self.tun.write(packet))
    }
}
