//! TUN devices on Linux: create, address, route, delete; all by rtnetlink and the TUN driver.
//!
//! What was set is read back before it is reported. Never runs another program, never opens an
//! AF_INET socket. Must not know: who asks, leases, the pools.

use crate::link::{Device, Fate, errno_name, failed};
use crate::netlink::{Message, Netlink, Record, attr, u32_at};
use crate::pool::{Ends, Net, View};
use crate::sys;
use hop_helper::proto::{Code, OpError, valid_device};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const NODE: &str = "/dev/net/tun";
/// Marks our routes, so that they can be told from everybody else's; unassigned by IANA's and
/// iproute2's lists.
const RTPROTO_HOPBOX: u8 = 104;
/// Devices named by us are hopbox0 to hopbox63.
const NAMES_MAX: u32 = 64;
/// Most reports of changed interfaces read at once.
const NEWS_PER_TURN: usize = 256;
/// Plain struct virtio_net_hdr. TUN's default since forever, set all the same: a device that
/// another program left behind could say otherwise.
const VNET_HEADER_BYTES: libc::c_int = 10;

const INET_DEVCONF_ACCEPT_REDIRECTS: u16 = 4;
const INET_DEVCONF_SEND_REDIRECTS: u16 = 6;
const INET_DEVCONF_RP_FILTER: u16 = 8;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_CARRIER: u16 = 33;
const IFLA_AF_SPEC: u16 = 26;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;

const IFINFO: usize = 16;
const IFADDR: usize = 8;
const RTMSG: usize = 12;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCL: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

/// What the kernel says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    ifindex: u32,
    name: String,
    mtu: u32,
    up: bool,
    kind: String,
    /// A TUN device that stays when nobody holds it.
    persists: bool,
    /// Of a TUN device: somebody holds it.
    carrier: bool,
}

/// The kernel's links, addresses and routes.
pub struct Links {
    netlink: Netlink,
    watch: OwnedFd,
}

impl Links {
    pub fn open() -> io::Result<Links> {
        Ok(Links { netlink: Netlink::open()?, watch: sys::netlink_watch()? })
    }

    /// Readable when an interface has changed.
    pub fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Reads the news away: whoever cares looks at the interfaces themselves, which also covers
    /// news that were lost.
    pub fn drain(&self) {
        let mut buf = [0; 4096];
        for _ in 0..NEWS_PER_TURN {
            if sys::netlink_receive(self.watch.as_fd(), &mut buf)
                .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
            {
                return;
            }
        }
    }

    /// The network namespace in which everything here happens; see `sys::netns_cookie`.
    pub fn netns_cookie(&self) -> Option<u64> {
        self.netlink.netns_cookie()
    }

    /// Makes a TUN device that lives as long as the returned descriptor. Without a name it
    /// gets the lowest free hopboxN. It is down and has no address.
    pub fn create(&mut self, name: Option<&str>, mtu: u16) -> Result<Device, OpError> {
        let tun = open_node()?;
        // A kernel without TUNGETFEATURES has no virtio header either.
        let features = sys::tun_features(&tun).unwrap_or(0);
        let vnet_hdr = features & libc::IFF_VNET_HDR != 0;
        let header = if vnet_hdr { libc::IFF_VNET_HDR } else { 0 };
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL | header;
        let name = match name {
            Some(name) => self.attach(&tun, name, flags)?.then(|| name.to_string()),
            None => self.attach_lowest(&tun, flags)?,
        };
        let Some(name) = name else {
            return Err(OpError::new(Code::StateConflict, "the device name is in use"));
        };
        if vnet_hdr {
            sys::tun_set_header(&tun, VNET_HEADER_BYTES).map_err(failed("set header length"))?;
        }
        // From here on an error drops `tun`, and the device with it.
        let link = self.link(&name, None).map_err(failed("look up the new device"))?;
        let Some(link) = link.filter(|link| link.kind == "tun") else {
            return Err(OpError::new(Code::KernelError, "the new device is not there"));
        };
        self.prepare(link.ifindex, mtu)?;
        let after = self.link(&name, Some(link.ifindex)).map_err(failed("read back the device"))?;
        if after.is_none_or(|link| link.mtu != u32::from(mtu)) {
            return Err(OpError::new(Code::KernelError, "the device did not take the MTU"));
        }
        Ok(Device { name, ifindex: link.ifindex, mtu, vnet_hdr, fd: tun.into() })
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
        if self.link(name, None).map_err(failed("look up the name"))?.is_some() {
            return Ok(false);
        }
        match sys::tun_set_interface(tun, name, flags) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                let why = "create the device: EPERM: the unit must leave CAP_NET_ADMIN, and not set \
                           PrivateUsers";
                Err(OpError::new(Code::KernelError, why))
            }
            Err(e) => Err(failed("create the device")(e)),
        }
    }

    /// MTU, strict reverse path filter, no redirects, no IPv6 link-local address.
    fn prepare(&mut self, ifindex: u32, mtu: u16) -> Result<(), OpError> {
        let one = 1_u32.to_ne_bytes();
        let zero = 0_u32.to_ne_bytes();
        let message = Message::new(&ifinfo(ifindex, 0, 0))
            .attr(IFLA_MTU, &u32::from(mtu).to_ne_bytes())
            .nest(IFLA_AF_SPEC, |m| {
                m.nest(libc::AF_INET as u16, |m| {
                    m.nest(IFLA_INET_CONF, |m| {
                        m.attr(INET_DEVCONF_RP_FILTER, &one)
                            .attr(INET_DEVCONF_ACCEPT_REDIRECTS, &zero)
                            .attr(INET_DEVCONF_SEND_REDIRECTS, &zero)
                    })
                })
            });
        self.netlink
            .request(libc::RTM_SETLINK, 0, message)
            .map_err(failed("set MTU and reverse path filter"))?;
        let message = Message::new(&ifinfo(ifindex, 0, 0)).nest(IFLA_AF_SPEC, |m| {
            m.nest(libc::AF_INET6 as u16, |m| {
                m.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
            })
        });
        match self.netlink.request(libc::RTM_SETLINK, 0, message) {
            // The kernel or this device (MTU below 1280) has no IPv6: nothing to turn off.
            Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
            result => result.map(|_| ()).map_err(failed("turn off IPv6 addresses")),
        }
    }

    /// Brings the device up with its address and the route to its peer, in place of `old`.
    /// Returns the routes of the device as the kernel has them.
    pub fn configure(
        &mut self,
        name: &str,
        ifindex: u32,
        ends: Ends,
        old: Option<Ends>,
    ) -> Result<Vec<Net>, OpError> {
        let link = self.link(name, Some(ifindex)).map_err(failed("look up the device"))?;
        if link.is_none() {
            return Err(OpError::new(Code::StateConflict, "the device of this lease is gone"));
        }
        if let Some(old) = old.filter(|old| *old != ends) {
            self.unconfigure(ifindex, old);
        }
        // Also what a helper left behind that was killed between two pairs of ends.
        for (ip, _) in self.view()?.addresses.iter().filter(|(_, of)| *of == ifindex) {
            if *ip != ends.local {
                let stale = Ends { local: *ip, peer: *ip, prefix: 32 };
                let _ = self.netlink.request(libc::RTM_DELADDR, 0, address(ifindex, stale));
            }
        }
        let result = self.apply(ifindex, ends).and_then(|()| self.read_back(name, ifindex, ends));
        if result.is_err() {
            self.unconfigure(ifindex, ends);
        }
        result
    }

    fn apply(&mut self, ifindex: u32, ends: Ends) -> Result<(), OpError> {
        let up = libc::IFF_UP as u32;
        let message = Message::new(&ifinfo(ifindex, up, up));
        self.netlink.request(libc::RTM_NEWLINK, 0, message).map_err(failed("bring up"))?;
        let message = address(ifindex, ends);
        self.netlink
            .request(libc::RTM_NEWADDR, CREATE | REPLACE, message)
            .map_err(failed("add the address"))?;
        match self.netlink.request(libc::RTM_NEWROUTE, CREATE | EXCL, route(ifindex, ends)) {
            // Our own route from before, or somebody else's: reading back tells.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map(|_| ()).map_err(failed("add the route")),
        }
    }

    /// Whether the device still is as it was configured.
    pub fn verify(&mut self, name: &str, ifindex: u32, ends: Ends) -> bool {
        self.read_back(name, ifindex, ends).is_ok()
    }

    /// What became of the device of a lease.
    pub fn fate(&mut self, name: &str, ifindex: u32) -> Result<Fate, OpError> {
        let link = self.link(name, None).map_err(failed("look up the device"))?;
        Ok(match link {
            None => Fate::Gone,
            Some(link) if link.ifindex != ifindex || link.kind != "tun" => Fate::Replaced,
            Some(link) if link.persists && !link.carrier => Fate::Abandoned,
            Some(_) => Fate::Held,
        })
    }

    /// Devices with a name of ours that are none of `known`, persistent, and held by nobody: what
    /// a holder may leave behind while no helper runs.
    pub fn orphans(&mut self, known: &[u32]) -> Result<Vec<(String, u32)>, OpError> {
        let head = ifinfo(0, 0, 0);
        let links = self.netlink.dump(libc::RTM_GETLINK, &head).map_err(failed("list devices"))?;
        let orphan = |link: &Link| {
            let ours = link.name.starts_with("hopbox") && valid_device(&link.name);
            let alone = link.kind == "tun" && link.persists && !link.carrier;
            ours && alone && !known.contains(&link.ifindex)
        };
        let orphans = links.iter().filter_map(read_link).filter(orphan);
        Ok(orphans.map(|link| (link.name, link.ifindex)).collect())
    }

    /// Deletes routes that carry our mark on devices that are none of `known`; how many.
    pub fn drop_stray_routes(&mut self, known: &[u32]) -> Result<usize, OpError> {
        let mut head = [0; RTMSG];
        head[0] = libc::AF_INET as u8;
        let routes = self.netlink.dump(libc::RTM_GETROUTE, &head).map_err(failed("list routes"))?;
        let marked = routes.iter().filter(|record| record.u8(5) == Some(RTPROTO_HOPBOX));
        let stray = marked.filter_map(read_route).filter(|(_, of)| !known.contains(of));
        let mut dropped = 0;
        for (net, ifindex) in stray {
            let message = marked_route(ifindex, net);
            dropped += usize::from(self.netlink.request(libc::RTM_DELROUTE, 0, message).is_ok());
        }
        Ok(dropped)
    }

    fn read_back(&mut self, name: &str, ifindex: u32, ends: Ends) -> Result<Vec<Net>, OpError> {
        let link = self.link(name, Some(ifindex)).map_err(failed("read back the device"))?;
        if !link.is_some_and(|link| link.up) {
            return Err(OpError::new(Code::KernelError, "the device did not come up"));
        }
        let view = self.view()?;
        if !view.addresses.contains(&(ends.local, ifindex)) {
            return Err(OpError::new(Code::KernelError, "the address is not on the device"));
        }
        let routes = view.routes.iter().filter(|(_, of)| *of == ifindex).map(|(net, _)| *net);
        let routes: Vec<Net> = routes.collect();
        if routes.contains(&ends.route()) {
            return Ok(routes);
        }
        let why = format!("another interface has the route to {}", ends.route());
        Err(OpError::new(Code::StateConflict, why))
    }

    /// Takes back what `apply` did. What is already gone stays gone; errors have no remedy here,
    /// and the end of the lease deletes the device in any case.
    fn unconfigure(&mut self, ifindex: u32, ends: Ends) {
        let _ = self.netlink.request(libc::RTM_DELROUTE, 0, route(ifindex, ends));
        let _ = self.netlink.request(libc::RTM_DELADDR, 0, address(ifindex, ends));
    }

    /// Deletes the device even if its holder made it persistent. False when it was already
    /// gone, or the index belongs to another device by now.
    pub fn delete(&mut self, name: &str, ifindex: u32) -> Result<bool, OpError> {
        let link = self.link(name, Some(ifindex)).map_err(failed("look up the device"))?;
        if link.is_none_or(|link| link.kind != "tun") {
            return Ok(false);
        }
        let message = Message::new(&ifinfo(ifindex, 0, 0));
        match self.netlink.request(libc::RTM_DELLINK, 0, message) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            result => result.map(|_| true).map_err(failed("delete the device")),
        }
    }

    /// All unicast routes, local addresses and gateways.
    pub fn view(&mut self) -> Result<View, OpError> {
        let mut head = [0; RTMSG];
        head[0] = libc::AF_INET as u8;
        let routes = self.netlink.dump(libc::RTM_GETROUTE, &head).map_err(failed("list routes"))?;
        let mut head = [0; IFADDR];
        head[0] = libc::AF_INET as u8;
        let addresses =
            self.netlink.dump(libc::RTM_GETADDR, &head).map_err(failed("list addresses"))?;
        Ok(View {
            routes: routes.iter().filter_map(read_route).collect(),
            addresses: addresses
                .iter()
                .filter_map(read_address)
                .chain(routes.iter().filter_map(read_gateway))
                .collect(),
        })
    }

    /// The name of an interface, or its number where it has none any more.
    pub fn name_of(&mut self, ifindex: u32) -> String {
        let records =
            self.netlink.request(libc::RTM_GETLINK, 0, Message::new(&ifinfo(ifindex, 0, 0)));
        let link = records.ok().and_then(|records| records.iter().find_map(read_link));
        link.map_or_else(|| format!("number {ifindex}"), |link| link.name)
    }

    /// The interface `name`; with an index, only if it is also the one with that index.
    fn link(&mut self, name: &str, ifindex: Option<u32>) -> io::Result<Option<Link>> {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let message = Message::new(&ifinfo(0, 0, 0)).attr(IFLA_IFNAME, &text);
        let records = match self.netlink.request(libc::RTM_GETLINK, 0, message) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            records => records?,
        };
        let same = |link: &Link| link.name == name && ifindex.is_none_or(|n| n == link.ifindex);
        Ok(records.iter().filter_map(read_link).find(same))
    }
}

fn open_node() -> Result<File, OpError> {
    OpenOptions::new().read(true).write(true).open(NODE).map_err(|e| {
        let hint = match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV) => ": load the kernel module tun",
            Some(libc::EPERM) => ": the unit needs DeviceAllow=/dev/net/tun rw",
            _ => "",
        };
        let why = format!("open {NODE}: {}{hint}", errno_name(&e));
        OpError::new(Code::KernelError, why)
    })
}

/// struct ifinfomsg
fn ifinfo(ifindex: u32, flags: u32, change: u32) -> [u8; IFINFO] {
    let mut head = [0; IFINFO];
    head[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&change.to_ne_bytes());
    head
}

/// The local address, without the route that the kernel would add for its prefix.
fn address(ifindex: u32, ends: Ends) -> Message {
    let mut head = [0; IFADDR];
    head[0] = libc::AF_INET as u8;
    head[1] = ends.prefix;
    head[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    Message::new(&head)
        .attr(IFA_LOCAL, &ends.local.octets())
        .attr(IFA_ADDRESS, &ends.local.octets())
        .attr(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes())
}

/// The route to the peer, marked as ours.
fn route(ifindex: u32, ends: Ends) -> Message {
    marked_route(ifindex, ends.route()).attr(RTA_PREFSRC, &ends.local.octets())
}

fn marked_route(ifindex: u32, net: Net) -> Message {
    let mut head = [0; RTMSG];
    head[0] = libc::AF_INET as u8;
    head[1] = net.prefix();
    head[4] = libc::RT_TABLE_MAIN;
    head[5] = RTPROTO_HOPBOX;
    head[6] = libc::RT_SCOPE_LINK;
    head[7] = libc::RTN_UNICAST;
    Message::new(&head).attr(RTA_DST, &net.base().octets()).attr(RTA_OIF, &ifindex.to_ne_bytes())
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
}

fn read_link(record: &Record) -> Option<Link> {
    if record.kind != libc::RTM_NEWLINK {
        return None;
    }
    let info = record.attr(IFINFO, IFLA_LINKINFO);
    let kind = info.and_then(|info| attr(info, IFLA_INFO_KIND)).and_then(text);
    let data = info.and_then(|info| attr(info, IFLA_INFO_DATA));
    let persist = data.and_then(|data| attr(data, IFLA_TUN_PERSIST));
    Some(Link {
        ifindex: record.u32(4)?,
        name: text(record.attr(IFINFO, IFLA_IFNAME)?)?,
        mtu: u32_at(record.attr(IFINFO, IFLA_MTU)?, 0)?,
        up: record.u32(8)? & libc::IFF_UP as u32 != 0,
        kind: kind.unwrap_or_default(),
        persists: persist.and_then(|flag| flag.first()).is_some_and(|flag| *flag != 0),
        carrier: record.attr(IFINFO, IFLA_CARRIER).and_then(|flag| flag.first()) == Some(&1),
    })
}

fn read_address(record: &Record) -> Option<(Ipv4Addr, u32)> {
    let ipv4_address = record.kind == libc::RTM_NEWADDR && record.u8(0)? == libc::AF_INET as u8;
    let local = record.attr(IFADDR, IFA_LOCAL).or_else(|| record.attr(IFADDR, IFA_ADDRESS))?;
    ipv4_address.then_some((ipv4(local)?, record.u32(4)?))
}

/// A unicast route of any table but the local one. The index is 0 for several next hops.
fn read_route(record: &Record) -> Option<(Net, u32)> {
    let (table, kind) = (record.u8(4)?, record.u8(7)?);
    let table = match record.attr(RTMSG, RTA_TABLE) {
        Some(table) => u32_at(table, 0)?,
        None => table.into(),
    };
    let ours = record.kind == libc::RTM_NEWROUTE && record.u8(0)? == libc::AF_INET as u8;
    if !ours || kind != libc::RTN_UNICAST || table == u32::from(libc::RT_TABLE_LOCAL) {
        return None;
    }
    let to = match record.attr(RTMSG, RTA_DST) {
        Some(to) => ipv4(to)?,
        None => Ipv4Addr::UNSPECIFIED,
    };
    let ifindex = record.attr(RTMSG, RTA_OIF).and_then(|oif| u32_at(oif, 0)).unwrap_or(0);
    Some((Net::new(to, record.u8(1)?), ifindex))
}

/// Where a route leads through, if it is one machine.
fn read_gateway(record: &Record) -> Option<(Ipv4Addr, u32)> {
    let (_, ifindex) = read_route(record)?;
    Some((ipv4(record.attr(RTMSG, RTA_GATEWAY)?)?, ifindex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_shape_are_read_without_panic() {
        let mut state = 3_u64;
        for round in 0..50_000_usize {
            let mut body = vec![0; 60];
            for byte in &mut body {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = if state >> 62 == 0 { (state >> 40) as u8 } else { 0 };
            }
            body.truncate(round % 61);
            for kind in [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWROUTE, 99] {
                let record = Record { kind, body: body.clone() };
                let _ = (read_link(&record), read_address(&record), read_gateway(&record));
            }
        }
    }

    #[test]
    fn a_wrong_prefix_length_in_a_route_is_clamped() {
        let mut body =
            vec![libc::AF_INET as u8, 200, 0, 0, 254, 0, 0, libc::RTN_UNICAST, 0, 0, 0, 0];
        body.extend([8, 0, RTA_DST as u8, 0, 10, 10, 0, 2]);
        let record = Record { kind: libc::RTM_NEWROUTE, body };
        assert_eq!(read_route(&record), Some((Net::new(Ipv4Addr::new(10, 10, 0, 2), 32), 0)));
    }
}
