//! What devices are and how they are configured, on every platform; each step of it is in `linux`
//! and `macos`. What was set is read back before it is reported. Must not know: who asks,
//! leases, the pools.

use crate::net::pool::{Endpoints, View};
use crate::proto::OpError;
use serde_json::{Value, json};
use std::io;

#[cfg(target_os = "macos")]
pub use crate::macos::link::{IOCTLS, Links, paths};
#[cfg(target_os = "linux")]
pub use crate::net::linux::{IOCTLS, IPV6_SETTINGS, Links, paths};

/// A device as it was made: its name may be another's by now, its index never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub ifindex: u32,
    pub mtu: u16,
}

/// Packets carry a plain `virtio_net_hdr` of ten bytes in front.
pub const VNET_HDR: bool = cfg!(target_os = "linux");

/// Whether one of the things that keep tunnels' packets in their place is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// There was no tunnel yet that needed it.
    #[default]
    Idle,
    On,
    /// The part of the system that it would need, or `refused`: a word of the protocol.
    Missing(&'static str),
}

/// All of them, as the last look found them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub ingress_filter: Layer,
    pub ipv6_off: Layer,
    pub rp_filter: Layer,
    pub lan_guard: Layer,
}

impl Layer {
    /// Word and reason.
    fn to_json(self) -> Value {
        match self {
            Layer::Idle => json!({"state": "idle"}),
            Layer::On => json!({"state": "on"}),
            Layer::Missing(reason) => json!({"state": "missing", "reason": reason}),
        }
    }
}

impl Layers {
    pub fn to_json(self) -> Value {
        json!({
            "ingress_filter": self.ingress_filter.to_json(), "ipv6_off": self.ipv6_off.to_json(),
            "rp_filter": self.rp_filter.to_json(), "lan_guard": self.lan_guard.to_json(),
        })
    }
}

/// What became of a device that a lease speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    Held,
    /// Made persistent and let go: nobody will ever use it again.
    Abandoned,
    /// Another device may have its name.
    Gone,
}

/// `kernel_error` with the step and the system's words.
pub fn failed(step: &str) -> impl FnOnce(io::Error) -> OpError {
    move |e| OpError::kernel(format!("{step}: {e}"))
}

pub fn gone() -> OpError {
    OpError::conflict("the device of this lease is gone")
}

impl Links {
    /// Brings the device up with its address and the route to its peer, in place of all that it
    /// has.
    pub fn configure(&mut self, device: &Device, ends: Endpoints) -> Result<(), OpError> {
        self.there(device)?.ok_or_else(gone)?;
        if self.view()?.of(device.ifindex) != (vec![ends.route()], vec![ends.local]) {
            // Nothing comes in while the ends change.
            self.confine(device, None)?;
            self.clear(device);
        }
        let result = self.apply(device, ends, false);
        let result = result.and_then(|()| self.confine(device, Some(ends)));
        let result = result.and_then(|_| self.read_back(device, ends));
        if result.is_err() {
            let _ = self.confine(device, None);
            self.clear(device);
        }
        result
    }

    /// Puts back what others have changed, also in place of a route that another program has put
    /// in the place of ours.
    pub fn restore(&mut self, device: &Device, ends: Endpoints) -> Result<(), OpError> {
        self.apply(device, ends, true)?;
        self.read_back(device, ends)
    }

    fn read_back(&mut self, device: &Device, ends: Endpoints) -> Result<(), OpError> {
        let view = self.view()?;
        match self.lost(device, ends, &view)?.as_slice() {
            [] => Ok(()),
            ["route"] => {
                let why = format!("another interface has the route to {}", ends.route());
                Err(OpError::conflict(why))
            }
            lost => Err(OpError::kernel(format!("the device did not take: {}", lost.join(", ")))),
        }
    }

    /// What is not as it was configured, with routes and addresses as they were found in `view`.
    pub fn lost(
        &mut self,
        device: &Device,
        ends: Endpoints,
        view: &View,
    ) -> Result<Vec<&'static str>, OpError> {
        let link = self.there(device)?.ok_or_else(gone)?;
        let (routes, addresses) = view.of(device.ifindex);
        let all = [
            ("MTU", link.mtu == u32::from(device.mtu)),
            ("up", link.up),
            ("address", addresses.contains(&ends.local)),
            ("route", routes.contains(&ends.route())),
        ];
        Ok(all.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect())
    }

    /// Takes our routes and all addresses off the device; whether an address was there. What is
    /// already gone stays gone; errors have no remedy here, and the end of the lease ends the
    /// device in any case.
    pub fn clear(&mut self, device: &Device) -> bool {
        let (routes, addresses) = self.view().unwrap_or_default().of(device.ifindex);
        for net in routes {
            let _ = self.remove_route(device.ifindex, net);
        }
        addresses.into_iter().filter(|ip| self.remove_address(device, *ip)).count() > 0
    }
}
