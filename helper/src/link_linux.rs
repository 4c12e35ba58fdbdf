//! TUN devices on Linux: create, address, route, delete; all by rtnetlink and the TUN driver.
//!
//! What was set is read back before it is reported. Never runs another program, never opens an
//! AF_INET socket. Must not know: who asks, leases, the pools.

use crate::link::{Device, Fate, failed};
use crate::netlink::{Message, Netlink, Record, attr, u32_at};
use crate::pool::{Ends, Net, View};
use crate::sys;
use hop_helper::proto::{OpError, valid_device};
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
pub struct Link {
    pub ifindex: u32,
    name: String,
    mtu: u32,
    pub up: bool,
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
            return Err(OpError::conflict("the device name is in use"));
        };
        if vnet_hdr {
            sys::tun_set_header(&tun, VNET_HEADER_BYTES).map_err(failed("set header length"))?;
        }
        // From here on an error drops `tun`, and the device with it.
        let Some(link) = self.link(&name)?.filter(|link| link.kind == "tun") else {
            return Err(OpError::kernel("the new device is not there"));
        };
        self.prepare(link.ifindex, mtu)?;
        let same = |after: &Link| after.ifindex == link.ifindex && after.mtu == u32::from(mtu);
        if !self.link(&name)?.is_some_and(|after| same(&after)) {
            return Err(OpError::kernel("the device did not take the MTU"));
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
                Err(OpError::kernel(why))
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

    /// Brings the device up, with address and route.
    pub fn apply(&mut self, _: &str, ifindex: u32, ends: Ends) -> Result<(), OpError> {
        let up = libc::IFF_UP as u32;
        let message = Message::new(&ifinfo(ifindex, up, up));
        self.netlink.request(libc::RTM_NEWLINK, 0, message).map_err(failed("bring up"))?;
        let message = address(ifindex, ends);
        self.netlink
            .request(libc::RTM_NEWADDR, CREATE | REPLACE, message)
            .map_err(failed("add the address"))?;
        let message = marked_route(ifindex, ends.route()).attr(RTA_PREFSRC, &ends.local.octets());
        match self.netlink.request(libc::RTM_NEWROUTE, CREATE | EXCL, message) {
            // Our own route from before, or somebody else's: reading back tells.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result.map(|_| ()).map_err(failed("add the route")),
        }
    }

    /// What became of the device of a lease.
    pub fn fate(&mut self, name: &str, ifindex: u32) -> Result<Fate, OpError> {
        Ok(match self.link(name)? {
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
        let routes = self.routes()?;
        let marked = routes.iter().filter(|record| record.u8(5) == Some(RTPROTO_HOPBOX));
        let stray = marked.filter_map(read_route).filter(|(_, of)| !known.contains(of));
        Ok(stray.filter(|(net, of)| self.remove_route(*of, *net).is_ok()).count())
    }

    /// Removes a route of ours.
    pub fn remove_route(&mut self, ifindex: u32, net: Net) -> io::Result<()> {
        self.netlink.request(libc::RTM_DELROUTE, 0, marked_route(ifindex, net)).map(|_| ())
    }

    /// Removes an address, whatever its prefix; false where it was not there.
    pub fn remove_address(&mut self, _: &str, ifindex: u32, ip: Ipv4Addr) -> bool {
        let message = Message::new(&ifaddr(ifindex, 32)).attr(IFA_LOCAL, &ip.octets());
        self.netlink.request(libc::RTM_DELADDR, 0, message).is_ok()
    }

    /// Deletes the device even if its holder made it persistent. False when it was already
    /// gone, or the index belongs to another device by now.
    pub fn delete(&mut self, name: &str, ifindex: u32) -> Result<bool, OpError> {
        if self.link(name)?.is_none_or(|link| link.ifindex != ifindex || link.kind != "tun") {
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
        let routes = self.routes()?;
        let addresses = self.netlink.dump(libc::RTM_GETADDR, &ifaddr(0, 0));
        let addresses = addresses.map_err(failed("list addresses"))?;
        Ok(View {
            routes: routes.iter().filter_map(read_route).collect(),
            addresses: addresses
                .iter()
                .filter_map(read_address)
                .chain(routes.iter().filter_map(read_gateway))
                .collect(),
        })
    }

    fn routes(&mut self) -> Result<Vec<Record>, OpError> {
        let mut head = [0; RTMSG];
        head[0] = libc::AF_INET as u8;
        self.netlink.dump(libc::RTM_GETROUTE, &head).map_err(failed("list routes"))
    }

    /// The name of an interface, or its number where it has none any more.
    pub fn name_of(&mut self, ifindex: u32) -> String {
        let records =
            self.netlink.request(libc::RTM_GETLINK, 0, Message::new(&ifinfo(ifindex, 0, 0)));
        let link = records.ok().and_then(|records| records.iter().find_map(read_link));
        link.map_or_else(|| format!("number {ifindex}"), |link| link.name)
    }

    pub fn link(&mut self, name: &str) -> Result<Option<Link>, OpError> {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        let message = Message::new(&ifinfo(0, 0, 0)).attr(IFLA_IFNAME, &text);
        match self.netlink.request(libc::RTM_GETLINK, 0, message) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(failed("look up the device")(e)),
            // The kernel would also find it by an alternative name.
            Ok(records) => Ok(records.iter().filter_map(read_link).find(|link| link.name == name)),
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
        let why = format!("open {NODE}: {e}{hint}");
        OpError::kernel(why)
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

/// struct ifaddrmsg
fn ifaddr(ifindex: u32, prefix: u8) -> [u8; IFADDR] {
    let mut head = [0; IFADDR];
    head[0] = libc::AF_INET as u8;
    head[1] = prefix;
    head[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    head
}

/// The local address, without the route that the kernel would add for its prefix.
fn address(ifindex: u32, ends: Ends) -> Message {
    Message::new(&ifaddr(ifindex, ends.prefix))
        .attr(IFA_LOCAL, &ends.local.octets())
        .attr(IFA_ADDRESS, &ends.local.octets())
        .attr(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes())
}

/// A route with our mark.
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
