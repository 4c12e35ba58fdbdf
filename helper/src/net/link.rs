//! What devices are and how they are configured, on every platform; each step of it is in `linux`
//! and `macos`. What was set is read back before it is reported. Must not know: who asks,
//! leases, the pools.

use crate::net::pool::{Endpoints, Net};
use crate::proto::OpError;
use serde_json::{Value, json};
use std::io;
use std::os::fd::OwnedFd;

#[cfg(target_os = "macos")]
pub use crate::macos::link::{IOCTLS, Links, paths};
#[cfg(target_os = "linux")]
pub use crate::net::linux::{IOCTLS, IPV6_SETTINGS, Links, paths};

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

/// Why a layer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "macos", expect(dead_code, reason = "there are no such layers"))]
pub enum Why {
    NoSchIngress,
    NoClsBpf,
    NoNfTables,
    NoArpTables,
    NotWritable,
    Refused,
}

impl Why {
    /// The part of the system that is missing; the word for it in the protocol.
    pub fn what(self) -> &'static str {
        match self {
            Why::NoSchIngress => "sch_ingress",
            Why::NoClsBpf => "cls_bpf",
            Why::NoNfTables => "nf_tables",
            Why::NoArpTables => "nf_tables_arp",
            Why::NotWritable => "proc_sys",
            Why::Refused => "refused",
        }
    }
}

/// Whether one of the things that keep tunnels' packets in their place is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// There was no tunnel yet that needed it.
    #[default]
    Idle,
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "there are no such layers"))]
    On,
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "there are no such layers"))]
    Missing(Why),
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
            Layer::Missing(why) => json!({"state": "missing", "reason": why.what()}),
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
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "a utun ends with its holder"))]
    Abandoned,
    Gone,
    /// Another device has its name.
    Replaced,
}

/// `kernel_error` with the step and the system's words.
pub fn failed(step: &str) -> impl FnOnce(io::Error) -> OpError {
    move |e| OpError::kernel(format!("{step}: {e}"))
}

impl Links {
    /// Brings the device up with its address and the route to its peer, in place of all that it
    /// has. Returns the routes of the device as the kernel has them.
    pub fn configure(
        &mut self,
        name: &str,
        ifindex: u32,
        ends: Endpoints,
    ) -> Result<Vec<Net>, OpError> {
        if self.link(name)?.is_none_or(|link| link.ifindex != ifindex) {
            return Err(OpError::conflict("the device of this lease is gone"));
        }
        if self.view()?.of(ifindex) != (vec![ends.route()], vec![ends.local]) {
            // Nothing comes in while the ends change.
            self.confine(name, ifindex, None)?;
            self.clear(name, ifindex);
        }
        let result = self.apply(name, ifindex, ends);
        let result = result.and_then(|()| self.confine(name, ifindex, Some(ends)));
        let result = result.and_then(|_| self.read_back(name, ifindex, ends));
        if result.is_err() {
            let _ = self.confine(name, ifindex, None);
            self.clear(name, ifindex);
        }
        result
    }

    /// Whether the device still is as it was configured.
    pub fn verify(&mut self, name: &str, ifindex: u32, ends: Endpoints) -> bool {
        self.read_back(name, ifindex, ends).is_ok()
    }

    fn read_back(
        &mut self,
        name: &str,
        ifindex: u32,
        ends: Endpoints,
    ) -> Result<Vec<Net>, OpError> {
        if !self.link(name)?.is_some_and(|link| link.ifindex == ifindex && link.up) {
            return Err(OpError::kernel("the device did not come up"));
        }
        let (routes, addresses) = self.view()?.of(ifindex);
        if !addresses.contains(&ends.local) {
            return Err(OpError::kernel("the address is not on the device"));
        }
        if routes.contains(&ends.route()) {
            return Ok(routes);
        }
        let why = format!("another interface has the route to {}", ends.route());
        Err(OpError::conflict(why))
    }

    /// Takes our routes and all addresses off the device; whether an address was there. What is
    /// already gone stays gone; errors have no remedy here, and the end of the lease ends the
    /// device in any case.
    pub fn clear(&mut self, name: &str, ifindex: u32) -> bool {
        let (routes, addresses) = self.view().unwrap_or_default().of(ifindex);
        for net in routes {
            let _ = self.remove_route(ifindex, net);
        }
        addresses.into_iter().filter(|ip| self.remove_address(name, ifindex, *ip)).count() > 0
    }
}
