//! utun devices on macOS: create, address, route, take down; by ioctl(2) and the routing socket.
//!
//! A utun lives exactly as long as its descriptor, and no other way of ending it is known: it is
//! revoked by taking its address and routes and bringing it down, which only root can undo. What
//! was set is read back before it is reported. Never runs another program. Must not know: who
//! asks, leases, the pools; the bytes are `xnu`'s.

use crate::core::access::Access;
use crate::macos::xnu::{self, Dump, Link};
use crate::net::link::{Device, DeviceStatus, Layers, failed};
use crate::net::pool::{Endpoints, Net, View};
use crate::proto::{Code, OpError};
use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

const CONTROL: &str = "com.apple.net.utun_control";
/// Most reports of changes read at once.
const NEWS_PER_TURN: usize = 256;

/// Nothing has to be allowed here.
pub const IOCTLS: &[u32] = &[];

pub fn paths() -> Vec<(PathBuf, Access)> {
    Vec::new()
}

/// The kernel's links, addresses and routes.
pub struct Links {
    watch: File,
    requests: File,
    seq: u32,
}

impl Links {
    pub fn open() -> io::Result<Links> {
        Ok(Links { watch: sys::route_watch()?, requests: sys::route_requests()?, seq: 0 })
    }

    /// Readable when an interface, an address or a route has changed.
    pub fn watches(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.watch.as_fd())
    }

    /// Nothing here does that.
    pub fn confine(
        &mut self,
        _: &Device,
        _: Option<Endpoints>,
    ) -> Result<Vec<&'static str>, OpError> {
        Ok(Vec::new())
    }

    /// Nor that.
    pub fn guard_addresses(&mut self, _: &[(String, Ipv4Addr)]) -> bool {
        false
    }

    pub fn layers(&self) -> Layers {
        Layers::default()
    }

    /// Reads the news away: whoever cares looks at the interfaces themselves.
    pub fn drain(&self) {
        let mut buf = [0; 2048];
        for _ in 0..NEWS_PER_TURN {
            if !(&self.watch).read(&mut buf).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    /// There is one network on this system.
    pub fn netns_cookie(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Not asked for here: what this side knows is in SECURITY.md.
    pub fn neighbours(&mut self) -> Result<Vec<(Ipv4Addr, u32)>, OpError> {
        Ok(Vec::new())
    }

    /// Makes a utun that lives as long as the returned descriptor. It is down and has no address.
    pub fn create(&mut self, name: Option<&str>, mtu: u16) -> Result<(Device, OwnedFd), OpError> {
        if name.is_some() {
            let why = "macOS names its tunnels itself; leave the name out";
            return Err(OpError::new(Code::NotSupported, why));
        }
        let (fd, name) = sys::utun(CONTROL).map_err(failed("create the device"))?;
        // From here on an error drops `fd`, and the device with it.
        let argument = &mut xnu::request_number(&name, mtu.into());
        sys::interface(xnu::SIOCSIFMTU, argument).map_err(failed("set the MTU"))?;
        let Some(link) = self.link(&name)? else {
            return Err(OpError::kernel("the new device is not there"));
        };
        if link.mtu != u32::from(mtu) {
            return Err(OpError::kernel("the device did not take the MTU"));
        }
        Ok((Device { name, ifindex: link.ifindex, mtu }, fd))
    }

    /// Gives the device address and route, and brings it up.
    pub fn apply(
        &mut self,
        device: &Device,
        ends: Endpoints,
        _replace: bool,
    ) -> Result<(), OpError> {
        let Device { name, ifindex, mtu } = device;
        let argument = &mut xnu::request_number(name, (*mtu).into());
        sys::interface(xnu::SIOCSIFMTU, argument).map_err(failed("set the MTU"))?;
        let there = dump()?.addresses.contains(&(ends.local, *ifindex));
        if !there {
            let argument = &mut xnu::alias(name, ends.local, ends.peer);
            sys::interface(xnu::SIOCAIFADDR, argument).map_err(failed("add the address"))?;
        }
        set_up(name, true).map_err(failed("bring up"))?;
        match self.route(xnu::RTM_ADD, ends.route(), *ifindex) {
            // The kernel's own route to the other end, ours from before, or somebody else's:
            // reading back tells.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(failed("add the route")),
        }
    }

    /// What became of the device of a lease.
    pub fn status(&mut self, device: &Device) -> Result<DeviceStatus, OpError> {
        let there = self.there(device)?.is_some();
        Ok(if there { DeviceStatus::Held } else { DeviceStatus::Gone })
    }

    /// A utun cannot be left behind.
    pub fn orphans(&mut self, _known: &[u32]) -> Result<Vec<Device>, OpError> {
        Ok(Vec::new())
    }

    /// Nor can its routes.
    pub fn drop_stray_routes(&mut self, _known: &[u32]) -> Result<usize, OpError> {
        Ok(0)
    }

    /// Takes back what `configure` did; whether there was something to take. The device goes when
    /// its holder does.
    pub fn delete(&mut self, device: &Device) -> Result<bool, OpError> {
        if self.there(device)?.is_none() {
            return Ok(false);
        }
        // Without an address of ours it may be a stranger's by now, with the old number: hands off.
        if self.clear(device) {
            set_up(&device.name, false).map_err(failed("take down"))?;
        }
        if !self.view()?.of(device.ifindex).1.is_empty() {
            return Err(OpError::kernel("the address is still there"));
        }
        Ok(true)
    }

    pub fn remove_route(&mut self, ifindex: u32, net: Net) -> io::Result<()> {
        self.route(xnu::RTM_DELETE, net, ifindex)
    }

    /// False where it was not there.
    pub fn remove_address(&mut self, device: &Device, ip: Ipv4Addr) -> bool {
        sys::interface(xnu::SIOCDIFADDR, &mut xnu::request_address(&device.name, ip)).is_ok()
    }

    fn route(&mut self, kind: u8, net: Net, ifindex: u32) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        self.requests.write_all(&xnu::route(kind, net, ifindex, self.seq))
    }

    /// What the kernel says of a device, if that is still there.
    pub fn there(&mut self, device: &Device) -> Result<Option<Link>, OpError> {
        Ok(self.link(&device.name)?.filter(|link| link.ifindex == device.ifindex))
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, OpError> {
        Ok(dump()?.links.into_iter().find(|link| link.name == name))
    }

    /// All routes that somebody has asked for, and local addresses.
    pub fn view(&mut self) -> Result<View, OpError> {
        let Dump { routes, addresses, .. } = dump()?;
        // Neighbours and name servers are not looked at here.
        Ok(View { routes, addresses, ..View::default() })
    }

    /// The name of an interface, or its number where it has none any more.
    pub fn name_of(&mut self, ifindex: u32) -> String {
        let links = dump().unwrap_or_default().links;
        let link = links.into_iter().find(|link| link.ifindex == ifindex);
        link.map_or_else(|| format!("number {ifindex}"), |link| link.name)
    }
}

fn set_up(name: &str, up: bool) -> io::Result<()> {
    let mut argument = xnu::request_number(name, 0);
    sys::interface(xnu::SIOCGIFFLAGS, &mut argument)?;
    let others = xnu::flags(&argument) & !xnu::IFF_UP;
    let flags = if up { others | xnu::IFF_UP } else { others };
    sys::interface(xnu::SIOCSIFFLAGS, &mut xnu::request_number(name, flags))
}

/// Interfaces and addresses in one answer of the kernel, routes in another.
fn dump() -> Result<Dump, OpError> {
    let of = |what| sys::route_dump(what).map(|bytes| xnu::read_dump(&bytes));
    let links = of(libc::NET_RT_IFLIST).map_err(failed("list interfaces"))?;
    let routes = of(libc::NET_RT_DUMP).map_err(failed("list routes"))?.routes;
    Ok(Dump { routes, ..links })
}
