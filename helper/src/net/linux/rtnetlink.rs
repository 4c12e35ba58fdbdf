//! Links, addresses and routes as the bytes of routing netlink: what is sent of ours, and what is
//! read of everybody's. Numbers are those of linux/if_link.h, if_addr.h and rtnetlink.h.
//!
//! Pure. Must not know: sockets, leases, when what is sent.

use crate::net::linux::netlink::{Message, Record, attr, u16_at, u32_at};
use crate::net::pool::{Endpoints, Net};
use std::net::Ipv4Addr;

/// Marks our routes, so that they can be told from everybody else's; unassigned by IANA's and
/// iproute2's lists.
const RTPROTO_HOPBOX: u8 = 104;
const INET_DEVCONF_ACCEPT_REDIRECTS: u16 = 4;
const INET_DEVCONF_SEND_REDIRECTS: u16 = 6;
const INET_DEVCONF_RP_FILTER: u16 = 8;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;
/// Places in the table of IPv6 settings, and (with one less than their numbers) of IPv4's.
const DISABLE_IPV6: usize = 26;
const ACCEPT_REDIRECTS: usize = INET_DEVCONF_ACCEPT_REDIRECTS as usize - 1;
const RP_FILTER: usize = INET_DEVCONF_RP_FILTER as usize - 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
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
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;

/// Packets that may wait in a TUN's queue, instead of 500: as with any Ethernet device.
const QUEUE_LEN: u32 = 1000;

const IFINFO: usize = 16;
const IFADDR: usize = 8;
const RTMSG: usize = 12;
const RTNEXTHOP: usize = 8;
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
pub const EXCL: u16 = libc::NLM_F_EXCL as u16;
pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

/// What the kernel says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    pub mtu: u32,
    pub up: bool,
    pub kind: String,
    /// A TUN device that stays when nobody holds it.
    pub persists: bool,
    /// Of a TUN device: somebody holds it.
    pub carrier: bool,
    /// An ARPHRD_* number. The holder of a TUN device can change it while the device is down.
    pub hardware: u16,
    /// Strict reverse path filter and no redirects, as far as the device's own settings go.
    pub strict: bool,
    /// IPv6 is off, or the device has none.
    pub ipv6_off: bool,
}

/// struct ifinfomsg of an interface; 0 is all of them.
pub fn link(ifindex: u32) -> Message {
    Message::of(&[0, ifindex, 0, 0])
}

pub fn link_named(name: &str) -> Message {
    link(0).attr(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
}

/// The flags, and which of them are meant.
pub fn up(ifindex: u32) -> Message {
    Message::of(&[0, ifindex, libc::IFF_UP as u32, libc::IFF_UP as u32])
}

/// MTU and queue.
pub fn mtu(ifindex: u32, mtu: u16) -> Message {
    link(ifindex)
        .attr(IFLA_MTU, &u32::from(mtu).to_ne_bytes())
        .attr(IFLA_TXQLEN, &QUEUE_LEN.to_ne_bytes())
}

/// Strict reverse path filter, no redirects.
pub fn strict(ifindex: u32) -> Message {
    let (one, zero) = (1_u32.to_ne_bytes(), 0_u32.to_ne_bytes());
    let settings = Message::of(&[])
        .attr(INET_DEVCONF_RP_FILTER, &one)
        .attr(INET_DEVCONF_ACCEPT_REDIRECTS, &zero)
        .attr(INET_DEVCONF_SEND_REDIRECTS, &zero);
    of_family(ifindex, libc::AF_INET, Message::of(&[]).nest(IFLA_INET_CONF, settings))
}

pub fn no_ipv6_addresses(ifindex: u32) -> Message {
    let mode = Message::of(&[]).attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
    of_family(ifindex, libc::AF_INET6, mode)
}

fn of_family(ifindex: u32, family: libc::c_int, settings: Message) -> Message {
    link(ifindex).nest(IFLA_AF_SPEC, Message::of(&[]).nest(family as u16, settings))
}

/// struct ifaddrmsg, rtmsg or ndmsg of N bytes: each begins with the family, and the first two go
/// on with the length of a prefix.
fn head<const N: usize>(prefix: u8) -> [u8; N] {
    let mut head = [0; N];
    (head[0], head[1]) = (libc::AF_INET as u8, prefix);
    head
}

fn address_of(ifindex: u32, prefix: u8, local: Ipv4Addr) -> Message {
    let mut head = head::<IFADDR>(prefix);
    head[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    Message::new(&head).attr(IFA_LOCAL, &local.octets())
}

/// The local address, without the route that the kernel would add for its prefix.
pub fn address(ifindex: u32, ends: Endpoints) -> Message {
    address_of(ifindex, ends.prefix, ends.local)
        .attr(IFA_ADDRESS, &ends.local.octets())
        .attr(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes())
}

/// For the deletion of an address, whatever its prefix.
pub fn any_address(ifindex: u32, ip: Ipv4Addr) -> Message {
    address_of(ifindex, 32, ip)
}

pub fn all_addresses() -> Message {
    Message::new(&head::<IFADDR>(0))
}

pub fn all_routes() -> Message {
    Message::new(&head::<RTMSG>(0))
}

pub fn all_neighbours() -> Message {
    Message::new(&head::<NDMSG>(0))
}

pub fn has_our_mark(route: &Record) -> bool {
    route.u8(5) == Some(RTPROTO_HOPBOX)
}

pub fn route_to_peer(ifindex: u32, ends: Endpoints) -> Message {
    route(ifindex, ends.route()).attr(RTA_PREFSRC, &ends.local.octets())
}

/// A route with our mark.
pub fn route(ifindex: u32, net: Net) -> Message {
    let mut head = head::<RTMSG>(net.prefix());
    let of = [libc::RT_TABLE_MAIN, RTPROTO_HOPBOX, libc::RT_SCOPE_LINK, libc::RTN_UNICAST];
    head[4..8].copy_from_slice(&of);
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

pub fn read_link(record: &Record) -> Option<Link> {
    if record.kind != libc::RTM_NEWLINK {
        return None;
    }
    let info = record.attr(IFINFO, IFLA_LINKINFO);
    let kind = info.and_then(|info| attr(info, IFLA_INFO_KIND)).and_then(text);
    let data = info.and_then(|info| attr(info, IFLA_INFO_DATA));
    let persist = data.and_then(|data| attr(data, IFLA_TUN_PERSIST));
    let family = |family: libc::c_int| attr(record.attr(IFINFO, IFLA_AF_SPEC)?, family as u16);
    let ipv4 = family(libc::AF_INET).and_then(|all| attr(all, IFLA_INET_CONF)).unwrap_or_default();
    let ipv6 = family(libc::AF_INET6).map(|all| attr(all, IFLA_INET6_CONF).unwrap_or_default());
    let setting = |table: &[u8], place: usize| u32_at(table, place * 4);
    Some(Link {
        ifindex: record.u32(4)?,
        name: text(record.attr(IFINFO, IFLA_IFNAME)?)?,
        mtu: u32_at(record.attr(IFINFO, IFLA_MTU)?, 0)?,
        up: record.u32(8)? & libc::IFF_UP as u32 != 0,
        kind: kind.unwrap_or_default(),
        persists: persist.and_then(|flag| flag.first()).is_some_and(|flag| *flag != 0),
        carrier: record.attr(IFINFO, IFLA_CARRIER).and_then(|flag| flag.first()) == Some(&1),
        hardware: u16_at(&record.body, 2)?,
        strict: setting(ipv4, RP_FILTER) == Some(1) && setting(ipv4, ACCEPT_REDIRECTS) == Some(0),
        ipv6_off: ipv6.is_none_or(|ipv6| setting(ipv6, DISABLE_IPV6) == Some(1)),
    })
}

pub fn read_address(record: &Record) -> Option<(Ipv4Addr, u32)> {
    let ipv4_address = record.kind == libc::RTM_NEWADDR && record.u8(0)? == libc::AF_INET as u8;
    let local = record.attr(IFADDR, IFA_LOCAL).or_else(|| record.attr(IFADDR, IFA_ADDRESS))?;
    ipv4_address.then_some((ipv4(local)?, record.u32(4)?))
}

/// A unicast route of any table but the local one. The index is 0 for several next hops.
pub fn read_route(record: &Record) -> Option<(Net, u32)> {
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

/// The machines that a route leads through.
pub fn read_gateways(record: &Record) -> Vec<(Ipv4Addr, u32)> {
    let Some((_, ifindex)) = read_route(record) else {
        return Vec::new();
    };
    let one = record.attr(RTMSG, RTA_GATEWAY).and_then(ipv4).map(|ip| (ip, ifindex));
    let mut found: Vec<(Ipv4Addr, u32)> = one.into_iter().collect();
    let mut rest = record.attr(RTMSG, RTA_MULTIPATH).unwrap_or_default();
    // Each turn takes at least the eight bytes of a struct rtnexthop.
    while let (Some(len), Some(ifindex)) = (u16_at(rest, 0), u32_at(rest, 4)) {
        let Some(hop) = rest.get(RTNEXTHOP..usize::from(len)) else { break };
        found.extend(attr(hop, RTA_GATEWAY).and_then(ipv4).map(|ip| (ip, ifindex)));
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Somebody in a network of this machine. While nobody has answered, nobody is there: who only asks
/// for an address, as a program does that looks for a tunnel which is down, keeps it from no one.
pub fn read_neighbour(record: &Record) -> Option<(Ipv4Addr, u32)> {
    let theirs = record.kind == libc::RTM_NEWNEIGH && record.u8(0)? == libc::AF_INET as u8;
    let state = u16_at(&record.body, 8)?;
    let there = state & !(NUD_INCOMPLETE | NUD_FAILED) != 0;
    (theirs && there).then_some((ipv4(record.attr(NDMSG, NDA_DST)?)?, record.u32(4)?))
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
            let kinds = [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWROUTE];
            for kind in kinds.into_iter().chain([libc::RTM_NEWNEIGH, 99]) {
                let record = Record { kind, body: body.clone() };
                let _ = (read_link(&record), read_address(&record), read_gateways(&record));
                let _ = read_neighbour(&record);
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
