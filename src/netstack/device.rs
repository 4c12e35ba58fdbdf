//! smoltcp's device: a place for one packet that arrived, and those that leave.
//!
//! It always takes one more, since smoltcp counts on that between an arrival and the next deadline
//! (see `stack`). So who asks it to send looks first at how many wait.

use smoltcp::phy::{
    self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::time::Instant;
use std::collections::VecDeque;

use super::large;

pub struct Device {
    /// What the tunnel takes.
    pub mtu: u16,
    pub arrived: Option<Vec<u8>>,
    pub leaving: VecDeque<Vec<u8>>,
}

impl Device {
    pub fn new(mtu: u16) -> Device {
        Device { mtu, arrived: None, leaving: VecDeque::new() }
    }
}

pub struct Arrived(Vec<u8>);

pub struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>, u16);

impl phy::Device for Device {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        Some((Arrived(self.arrived.take()?), Leaving(&mut self.leaving, self.mtu)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving, self.mtu))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        all.medium = Medium::Ip;
        all.max_transmission_unit = large::longest(self.mtu);
        // Those of what arrives were looked at before; `large` writes those of TCP.
        let mut sums = ChecksumCapabilities::default();
        (sums.ipv4, sums.tcp) = (Checksum::Tx, Checksum::None);
        (sums.icmpv4, sums.icmpv6) = (Checksum::Tx, Checksum::Tx);
        all.checksum = sums;
        all
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut packet = vec![0; len];
        let filled = fill(&mut packet);
        large::finish(&mut packet, self.1);
        self.0.push_back(packet);
        filled
    }
}
