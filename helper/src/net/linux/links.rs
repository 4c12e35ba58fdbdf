//! TUN devices on Linux: create, address, route, delete; all by rtnetlink and the TUN driver.
//!
//! What was set is read back before it is reported. Never runs another program, never opens an
//! AF_INET socket. Must not know: who asks, leases, the pools.

use super::netlink::{Message, Netlink, Record};
use super::rtnetlink::{self, CREATE, EXCL, Link, REPLACE};
use crate::core::access::Access;
use crate::net::link::{Device, DeviceStatus, Layers, failed};
use crate::net::pool::{Endpoints, Net, View};
use crate::proto::{Code, OpError, valid_device};
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

const NODE: &str = "/dev/net/tun";
/// Devices named by us are hopbox0 to hopbox63.
const NAMES_MAX: u32 = 64;
/// Most reports of changed interfaces read at once.
const NEWS_PER_TURN: usize = 256;
/// Groups of routing netlink, a bit for the number of each: links, classifiers, addresses, routes,
/// and settings of IPv4. IPv6 settings and redirects change without news.
const NEWS: u32 = group(1) | group(4) | group(5) | group(7) | group(24);
const NEWS_OF_NF_TABLES: u32 = group(7);
/// What is asked of devices: of TUN's, and that no socket makes us wait.
pub const IOCTLS: &[u32] = &[libc::FIONBIO as u32, libc::TUNSETIFF as u32];

/// The IPv6 settings of every interface: where our unit shows them, and the usual place.
pub const IPV6_SETTINGS: [&str; 2] = ["/run/hopbox-helper/ipv6", "/proc/sys/net/ipv6/conf"];

/// What must be in reach.
pub fn paths() -> Vec<(PathBuf, Access)> {
    let settings = IPV6_SETTINGS.map(|dir| (PathBuf::from(dir), Access::Write));
    settings.into_iter().chain([(PathBuf::from(NODE), Access::Device)]).collect()
}

const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

/// The kernel's links, addresses and routes.
pub struct Links {
    pub(super) netlink: Netlink,
    /// Where the kernel has nf_tables.
    pub(super) nft: Option<Netlink>,
    watches: Vec<OwnedFd>,
    pub(super) layers: Layers,
}

impl Links {
    pub fn open() -> io::Result<Links> {
        let mut watches = vec![sys::netlink_watch(libc::NETLINK_ROUTE, NEWS)?];
        watches.extend(sys::netlink_watch(libc::NETLINK_NETFILTER, NEWS_OF_NF_TABLES));
        let nft = Netlink::open(libc::NETLINK_NETFILTER).ok();
        let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
        Ok(Links { netlink, nft, watches, layers: Layers::default() })
    }

    /// One of them is readable when something about an interface has changed.
    pub fn watches(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.watches.iter().map(|watch| watch.as_fd())
    }

    /// Reads the news away: whoever cares looks at the interfaces themselves, which also covers
    /// news that were lost.
    pub fn drain(&self) {
        let mut buf = [0; 4096];
        for watch in self.watches() {
            let more = |e: io::Error| e.kind() != io::ErrorKind::WouldBlock;
            let mut next = || sys::netlink_receive(watch, &mut buf).map_or_else(more, |_| true);
            let _ = (0..NEWS_PER_TURN).all(|_| next());
        }
    }

    /// The network namespace in which everything here happens; see `sys::netns_cookie`.
    pub fn netns_cookie(&self) -> io::Result<Option<u64>> {
        self.netlink.netns_cookie()
    }

    /// Makes a TUN device that lives as long as the returned descriptor. Without a name it
    /// gets the lowest free hopboxN. It is down and has no address.
    pub fn create(&mut self, name: Option<&str>, mtu: u16) -> Result<(Device, OwnedFd), OpError> {
        let tun = open_node()?;
        // A new one: the header before its packets is the plain one of ten bytes.
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL | libc::IFF_VNET_HDR;
        let name = match name {
            Some(name) => self.attach(&tun, name, flags)?.then(|| name.to_string()),
            None => self.attach_lowest(&tun, flags)?,
        };
        let Some(name) = name else {
            return Err(OpError::conflict("the device name is in use"));
        };
        // From here on an error drops `tun`, and the device with it.
        let Some(link) = self.link(&name)?.filter(|link| link.kind == "tun") else {
            return Err(OpError::kernel("the new device is not there"));
        };
        let device = Device { name, ifindex: link.ifindex, mtu };
        self.prepare(&device)?;
        // Before anybody can hold it.
        self.confine(&device, None)?;
        if self.there(&device)?.is_none_or(|link| link.mtu != u32::from(mtu)) {
            return Err(OpError::kernel("the device did not take the MTU"));
        }
        Ok((device, tun.into()))
    }

    fn attach_lowest(&mut self, tun: &File, flags: i32) -> Result<Option<String>, OpError> {
        // "hopbox%d" would let the kernel choose, but also let a busy system hand out wg names.
        for n in 0..NAMES_MAX {
            let name = format!("hopbox{n}");
            if self.attach(tun, &name, flags)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// False when the name is taken.
    fn attach(&mut self, tun: &File, name: &str, flags: i32) -> Result<bool, OpError> {
        if self.link(name)?.is_some() {
            return Ok(false);
        }
        match sys::tun_set_interface(tun, name, flags) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                let why = format!(
                    "create the device: {e}: the unit must leave CAP_NET_ADMIN, and not set \
                     PrivateUsers"
                );
                Err(OpError::new(Code::NotSupported, why))
            }
            Err(e) => Err(failed("create the device")(e)),
        }
    }

    /// MTU, and no IPv6 link-local address.
    fn prepare(&mut self, device: &Device) -> Result<(), OpError> {
        let of = device.ifindex;
        self.set("set the MTU", 0, libc::RTM_SETLINK, 0, rtnetlink::mtu(of, device.mtu))?;
        // The kernel or this device (MTU below 1280) has no IPv6: nothing to turn off.
        let none = libc::EAFNOSUPPORT;
        let message = rtnetlink::no_ipv6_addresses(of);
        self.set("turn off IPv6 addresses", none, libc::RTM_SETLINK, 0, message).map(|_| ())
    }

    /// Brings the device up, with address and route, if so in the place of another's route.
    pub fn apply(
        &mut self,
        device: &Device,
        ends: Endpoints,
        replace: bool,
    ) -> Result<(), OpError> {
        let of = device.ifindex;
        self.set("set the MTU", 0, libc::RTM_SETLINK, 0, rtnetlink::mtu(of, device.mtu))?;
        self.set("bring up", 0, libc::RTM_NEWLINK, 0, rtnetlink::up(of))?;
        let (address, route) = (rtnetlink::address(of, ends), rtnetlink::route_to_peer(of, ends));
        self.set("add the address", 0, libc::RTM_NEWADDR, CREATE | REPLACE, address)?;
        // Our own route from before, or somebody else's: reading back tells.
        let (there, how) = (libc::EEXIST, if replace { REPLACE } else { EXCL });
        self.set("add the route", there, libc::RTM_NEWROUTE, CREATE | how, route).map(|_| ())
    }

    /// Has the kernel do one step; false where it says `but`.
    pub(super) fn set(
        &mut self,
        step: &str,
        but: libc::c_int,
        kind: u16,
        flags: u16,
        message: Message,
    ) -> Result<bool, OpError> {
        match self.netlink.request(kind, flags, message) {
            Err(e) if e.raw_os_error() == Some(but) => Ok(false),
            result => result.map(|_| true).map_err(failed(step)),
        }
    }

    fn list(&mut self, what: &str, kind: u16, all: Message) -> Result<Vec<Record>, OpError> {
        self.netlink.dump(kind, all).map_err(failed(what))
    }

    /// What became of the device of a lease.
    pub fn status(&mut self, device: &Device) -> Result<DeviceStatus, OpError> {
        Ok(match self.there(device)? {
            None => DeviceStatus::Gone,
            Some(link) if link.persists && !link.carrier => DeviceStatus::Abandoned,
            Some(_) => DeviceStatus::Held,
        })
    }

    /// Devices with a name of ours that are none of `known`, persistent, and held by nobody: what
    /// a holder may leave behind while no helper runs.
    pub fn orphans(&mut self, known: &[u32]) -> Result<Vec<Device>, OpError> {
        let links = self.list("list devices", libc::RTM_GETLINK, rtnetlink::link(0))?;
        let orphan = |link: &Link| {
            let ours = link.name.starts_with("hopbox") && valid_device(&link.name);
            let alone = link.kind == "tun" && link.persists && !link.carrier;
            ours && alone && !known.contains(&link.ifindex)
        };
        let orphans = links.iter().filter_map(rtnetlink::read_link).filter(orphan);
        let device = |link: Link| Device { name: link.name, ifindex: link.ifindex, mtu: 0 };
        Ok(orphans.map(device).collect())
    }

    /// Deletes routes that carry our mark on devices that are none of `known`; how many.
    pub fn drop_stray_routes(&mut self, known: &[u32]) -> Result<usize, OpError> {
        let routes = self.routes()?;
        let marked = routes.iter().filter(|record| rtnetlink::has_our_mark(record));
        let stray = marked.filter_map(rtnetlink::read_route).filter(|(_, of)| !known.contains(of));
        Ok(stray.filter(|(net, of)| self.remove_route(*of, *net).is_ok()).count())
    }

    /// Removes a route of ours.
    pub fn remove_route(&mut self, ifindex: u32, net: Net) -> io::Result<()> {
        self.netlink.request(libc::RTM_DELROUTE, 0, rtnetlink::route(ifindex, net)).map(|_| ())
    }

    /// Removes an address, whatever its prefix; false where it was not there.
    pub fn remove_address(&mut self, device: &Device, ip: Ipv4Addr) -> bool {
        let message = rtnetlink::any_address(device.ifindex, ip);
        self.netlink.request(libc::RTM_DELADDR, 0, message).is_ok()
    }

    /// Deletes the device even if its holder made it persistent. False when it was already
    /// gone, or the index belongs to another device by now.
    pub fn delete(&mut self, device: &Device) -> Result<bool, OpError> {
        if self.there(device)?.is_none() {
            return Ok(false);
        }
        let message = rtnetlink::link(device.ifindex);
        self.set("delete the device", libc::ENODEV, libc::RTM_DELLINK, 0, message)
    }

    /// All unicast routes, local addresses and gateways.
    pub fn view(&mut self) -> Result<View, OpError> {
        let routes = self.routes()?;
        let all = rtnetlink::all_addresses();
        let addresses = self.list("list addresses", libc::RTM_GETADDR, all)?;
        Ok(View {
            routes: routes.iter().filter_map(rtnetlink::read_route).collect(),
            addresses: addresses
                .iter()
                .filter_map(rtnetlink::read_address)
                .chain(routes.iter().flat_map(rtnetlink::read_gateways))
                .collect(),
            ..View::default()
        })
    }

    /// Who else is known to be in the networks of this machine.
    pub fn neighbours(&mut self) -> Result<Vec<(Ipv4Addr, u32)>, OpError> {
        let all = rtnetlink::all_neighbours();
        let neighbours = self.list("list neighbours", libc::RTM_GETNEIGH, all)?;
        Ok(neighbours.iter().filter_map(rtnetlink::read_neighbour).collect())
    }

    fn routes(&mut self) -> Result<Vec<Record>, OpError> {
        self.list("list routes", libc::RTM_GETROUTE, rtnetlink::all_routes())
    }

    /// The name of an interface, or its number where it has none any more.
    pub fn name_of(&mut self, ifindex: u32) -> String {
        let records = self.netlink.request(libc::RTM_GETLINK, 0, rtnetlink::link(ifindex));
        let link = records.ok().and_then(|records| records.iter().find_map(rtnetlink::read_link));
        link.map_or_else(|| format!("number {ifindex}"), |link| link.name)
    }

    /// What the kernel says of a device, if that is still there.
    pub fn there(&mut self, device: &Device) -> Result<Option<Link>, OpError> {
        let found = self.link(&device.name)?;
        Ok(found.filter(|link| link.ifindex == device.ifindex && link.kind == "tun"))
    }

    fn link(&mut self, name: &str) -> Result<Option<Link>, OpError> {
        match self.netlink.request(libc::RTM_GETLINK, 0, rtnetlink::link_named(name)) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(failed("look up the device")(e)),
            // The kernel would also find it by an alternative name.
            Ok(records) => {
                Ok(records.iter().filter_map(rtnetlink::read_link).find(|link| link.name == name))
            }
        }
    }
}

fn open_node() -> Result<File, OpError> {
    OpenOptions::new().read(true).write(true).open(NODE).map_err(|e| {
        let hint = match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV) => ": load the kernel module tun",
            Some(libc::EPERM) => ": the unit needs DeviceAllow=/dev/net/tun rw",
            _ => "",
        };
        let code = if hint.is_empty() { Code::KernelError } else { Code::NotSupported };
        OpError::new(code, format!("open {NODE}: {e}{hint}"))
    })
}
