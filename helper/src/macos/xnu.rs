//! The bytes that macOS's kernel and this helper exchange about interfaces and routes.
//!
//! Pure, and compiled for the tests of every platform. Layouts are those of XNU's headers for
//! 64-bit programs: net/route.h, net/if.h, net/if_dl.h, netinet/in_var.h, sys/ucred.h. Where this
//! is compiled for macOS, the compiler compares them with the libc crate (`agree_with_libc`). Must
//! not know: system calls, leases.

use crate::net::pool::Net;
use std::net::Ipv4Addr;

/// The longest name of an interface, with the NUL behind it.
pub const NAME_LEN: usize = 16;

// ioctl(2) requests; the size of the argument is in bits 16 to 28.
pub const SIOCSIFFLAGS: u64 = 0x8020_6910;
pub const SIOCGIFFLAGS: u64 = 0xc020_6911;
pub const SIOCDIFADDR: u64 = 0x8020_6919;
pub const SIOCAIFADDR: u64 = 0x8040_691a;
pub const SIOCSIFMTU: u64 = 0x8020_6934;
pub const CTLIOCGINFO: u64 = 0xc064_4e03;

pub const IFF_UP: u32 = 1;
pub const RTM_ADD: u8 = 1;
pub const RTM_DELETE: u8 = 2;
const RTM_GET: u8 = 4;
const RTM_NEWADDR: u8 = 12;
const RTM_IFINFO: u8 = 14;
const RTM_VERSION: u8 = 5;

const RTF_UP: u32 = 1;
const RTF_HOST: u32 = 4;
const RTF_STATIC: u32 = 0x800;
/// Neighbours, clones made for one destination, own addresses, broadcast and multicast: no routes
/// that anybody has asked for.
const RTF_NO_CHOICE: u32 = 0x400 | 0x2_0000 | 0x20_0000 | 0x40_0000 | 0x80_0000;

const RTA_DST: u32 = 1;
const RTA_GATEWAY: u32 = 2;
const RTA_NETMASK: u32 = 4;
const RTA_IFP: u32 = 0x10;
const RTA_IFA: u32 = 0x20;
const RTA_BITS: u32 = 8;

const AF_INET: u8 = 2;
const AF_LINK: u8 = 18;
const SOCKADDR_IN: usize = 16;
const SOCKADDR_DL: usize = 20;
const RT_MSGHDR: usize = 92;
const IF_MSGHDR: usize = 112;
const IFA_MSGHDR: usize = 20;
/// Of ifm_data.ifi_mtu.
const IF_MTU: usize = 24;
const XUCRED: usize = 76;

/// What the kernel says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    pub name: String,
    pub mtu: u32,
    pub up: bool,
}

/// What a dump of the routing socket's family holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    pub links: Vec<Link>,
    pub addresses: Vec<(Ipv4Addr, u32)>,
    pub routes: Vec<(Net, u32)>,
}

/// How many bytes the argument of an ioctl(2) request has.
pub fn argument_len(request: u64) -> usize {
    (request >> 16) as usize & 0x1fff
}

/// struct sockaddr_in
fn inet(ip: Ipv4Addr) -> [u8; SOCKADDR_IN] {
    let mut bytes = [0; SOCKADDR_IN];
    bytes[0] = SOCKADDR_IN as u8;
    bytes[1] = AF_INET;
    bytes[4..8].copy_from_slice(&ip.octets());
    bytes
}

/// struct sockaddr_dl that says no more than which interface.
fn interface(ifindex: u32) -> [u8; SOCKADDR_DL] {
    let mut bytes = [0; SOCKADDR_DL];
    bytes[0] = SOCKADDR_DL as u8;
    bytes[1] = AF_LINK;
    bytes[2..4].copy_from_slice(&(ifindex as u16).to_ne_bytes());
    bytes
}

/// A request that adds or deletes the route to `net` through an interface: struct rt_msghdr and
/// its addresses, in the order of their bits, each at a multiple of four.
pub fn route(kind: u8, net: Net, ifindex: u32, seq: u32) -> Vec<u8> {
    let host = net.prefix() == 32;
    let mut message = vec![0; RT_MSGHDR];
    message.extend(inet(net.base()));
    message.extend(interface(ifindex));
    if !host {
        message.extend(inet(net.mask()));
    }
    let len = message.len() as u16;
    let flags = RTF_UP | RTF_STATIC | if host { RTF_HOST } else { 0 };
    let addresses = RTA_DST | RTA_GATEWAY | if host { 0 } else { RTA_NETMASK };
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &len.to_ne_bytes());
    put(2, &[RTM_VERSION, kind]);
    put(4, &(ifindex as u16).to_ne_bytes());
    put(8, &flags.to_ne_bytes());
    put(12, &addresses.to_ne_bytes());
    put(20, &seq.to_ne_bytes());
    message
}

/// The name at the start of the argument of every request about an interface.
fn named(name: &str, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = name.bytes().take(NAME_LEN - 1).collect();
    bytes.resize(len, 0);
    bytes
}

/// struct ifreq with a number: flags (of which there are 16 bits) or an MTU.
pub fn request_number(name: &str, number: u32) -> Vec<u8> {
    let mut bytes = named(name, argument_len(SIOCSIFMTU));
    bytes[NAME_LEN..NAME_LEN + 4].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// The flags in a struct ifreq that the kernel has filled.
pub fn flags(request: &[u8]) -> u32 {
    u16_at(request, NAME_LEN).unwrap_or(0).into()
}

/// struct ifreq with an address.
pub fn request_address(name: &str, ip: Ipv4Addr) -> Vec<u8> {
    let mut bytes = named(name, NAME_LEN);
    bytes.extend(inet(ip));
    bytes
}

/// struct ifaliasreq of a point-to-point interface: its address, that of the other end, a mask of
/// 32 bits. The kernel adds a host route to the other end.
pub fn alias(name: &str, local: Ipv4Addr, peer: Ipv4Addr) -> Vec<u8> {
    let mut bytes = named(name, NAME_LEN);
    for ip in [local, peer, Ipv4Addr::BROADCAST] {
        bytes.extend(inet(ip));
    }
    bytes
}

/// struct ctl_info that asks for the number of a kernel control.
pub fn control(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(name.bytes());
    bytes.resize(argument_len(CTLIOCGINFO), 0);
    bytes
}

/// uid and gid in a struct xucred, if it is one of the version that we know.
pub fn credentials(bytes: &[u8]) -> Option<(u32, u32)> {
    let groups = u16_at(bytes, 8)?;
    let known = bytes.len() == XUCRED && u32_at(bytes, 0)? == 0 && (1..=16).contains(&groups);
    known.then_some((u32_at(bytes, 4)?, u32_at(bytes, 12)?))
}

/// Reads what sysctl(3) has answered; stops at the first message that cannot be one.
pub fn read_dump(mut bytes: &[u8]) -> Dump {
    let mut dump = Dump::default();
    while let Some(len) = u16_at(bytes, 0).map(usize::from) {
        let Some(message) = bytes.get(..len).filter(|message| message.len() >= 4) else {
            break;
        };
        if message.get(2) == Some(&RTM_VERSION) {
            match message.get(3) {
                Some(&RTM_IFINFO) => dump.links.extend(read_link(message)),
                Some(&RTM_NEWADDR) => dump.addresses.extend(read_address(message)),
                Some(&RTM_GET) => dump.routes.extend(read_route(message)),
                _ => {}
            }
        }
        bytes = bytes.get(len..).unwrap_or_default();
    }
    dump
}

fn read_link(message: &[u8]) -> Option<Link> {
    let sdl = address(message, IF_MSGHDR, u32_at(message, 4)?, RTA_IFP)?;
    let len = usize::from(*sdl.get(5)?);
    let name = sdl.get(8..8 + len).filter(|_| sdl.get(1) == Some(&AF_LINK))?;
    Some(Link {
        ifindex: u16_at(message, 12)?.into(),
        name: String::from_utf8_lossy(name).into_owned(),
        mtu: u32_at(message, IF_MTU)?,
        up: u32_at(message, 8)? & IFF_UP != 0,
    })
}

fn read_address(message: &[u8]) -> Option<(Ipv4Addr, u32)> {
    let own = address(message, IFA_MSGHDR, u32_at(message, 4)?, RTA_IFA)?;
    Some((ipv4(own)?, u16_at(message, 12)?.into()))
}

/// A route that somebody has asked for.
fn read_route(message: &[u8]) -> Option<(Net, u32)> {
    let (flags, present) = (u32_at(message, 8)?, u32_at(message, 12)?);
    if flags & RTF_UP == 0 || flags & RTF_NO_CHOICE != 0 {
        return None;
    }
    let to = ipv4(address(message, RT_MSGHDR, present, RTA_DST)?)?;
    let prefix = match address(message, RT_MSGHDR, present, RTA_NETMASK) {
        _ if flags & RTF_HOST != 0 => 32,
        // Cut after its last byte that is not zero; for the default route nothing is left.
        Some(mask) => {
            let mask = mask.get(4..).unwrap_or_default();
            mask.iter().take(4).map(|byte| byte.count_ones() as u8).sum()
        }
        None => 32,
    };
    Some((Net::new(to, prefix), u16_at(message, 4)?.into()))
}

/// The address of kind `wanted` behind the first `head` bytes of a message, as long as it says it
/// is; an empty one takes the place of four bytes.
fn address(message: &[u8], head: usize, present: u32, wanted: u32) -> Option<&[u8]> {
    let mut rest = message.get(head..)?;
    for bit in (0..RTA_BITS).map(|n| 1_u32 << n).filter(|bit| present & bit != 0) {
        let len = usize::from(*rest.first()?);
        if bit == wanted {
            return rest.get(..len);
        }
        rest = rest.get(len.max(1).next_multiple_of(4)..)?;
    }
    None
}

fn ipv4(address: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = *address.get(4..)?.first_chunk()?;
    (address.get(1) == Some(&AF_INET)).then(|| Ipv4Addr::from(octets))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(target_os = "macos")]
mod agree_with_libc {
    use std::mem::{offset_of, size_of};

    const _: () = {
        assert!(size_of::<libc::rt_msghdr>() == super::RT_MSGHDR);
        assert!(offset_of!(libc::rt_msghdr, rtm_version) == 2);
        assert!(offset_of!(libc::rt_msghdr, rtm_type) == 3);
        assert!(offset_of!(libc::rt_msghdr, rtm_index) == 4);
        assert!(offset_of!(libc::rt_msghdr, rtm_flags) == 8);
        assert!(offset_of!(libc::rt_msghdr, rtm_addrs) == 12);
        assert!(offset_of!(libc::rt_msghdr, rtm_seq) == 20);
        assert!(size_of::<libc::if_msghdr>() == super::IF_MSGHDR);
        assert!(offset_of!(libc::if_msghdr, ifm_addrs) == 4);
        assert!(offset_of!(libc::if_msghdr, ifm_flags) == 8);
        assert!(offset_of!(libc::if_msghdr, ifm_index) == 12);
        let data = offset_of!(libc::if_msghdr, ifm_data);
        assert!(data + offset_of!(libc::if_data, ifi_mtu) == super::IF_MTU);
        assert!(size_of::<libc::ifa_msghdr>() == super::IFA_MSGHDR);
        assert!(offset_of!(libc::ifa_msghdr, ifam_addrs) == 4);
        assert!(offset_of!(libc::ifa_msghdr, ifam_index) == 12);
        assert!(size_of::<libc::sockaddr_in>() == super::SOCKADDR_IN);
        assert!(offset_of!(libc::sockaddr_in, sin_addr) == 4);
        assert!(size_of::<libc::sockaddr_dl>() == super::SOCKADDR_DL);
        assert!(offset_of!(libc::sockaddr_dl, sdl_index) == 2);
        assert!(offset_of!(libc::sockaddr_dl, sdl_nlen) == 5);
        assert!(offset_of!(libc::sockaddr_dl, sdl_data) == 8);
        assert!(size_of::<libc::xucred>() == super::XUCRED);
        assert!(offset_of!(libc::xucred, cr_uid) == 4);
        assert!(offset_of!(libc::xucred, cr_ngroups) == 8);
        assert!(offset_of!(libc::xucred, cr_groups) == 12);
        assert!(offset_of!(libc::ctl_info, ctl_name) == 4);
    };

    /// Requests carry the size of their argument.
    const _: () = {
        assert!(size_of::<libc::ifreq>() == (super::SIOCSIFMTU >> 16 & 0x1fff) as usize);
        assert!(size_of::<libc::ifaliasreq>() == (super::SIOCAIFADDR >> 16 & 0x1fff) as usize);
        assert!(size_of::<libc::ctl_info>() == (super::CTLIOCGINFO >> 16 & 0x1fff) as usize);
        assert!(super::CTLIOCGINFO == libc::CTLIOCGINFO);
        assert!(offset_of!(libc::ifreq, ifr_ifru) == super::NAME_LEN);
        assert!(libc::IFNAMSIZ == super::NAME_LEN);
        assert!(super::RTM_ADD as i32 == libc::RTM_ADD && super::RTM_GET as i32 == libc::RTM_GET);
        assert!(super::RTM_DELETE as i32 == libc::RTM_DELETE);
        assert!(super::RTM_NEWADDR as i32 == libc::RTM_NEWADDR);
        assert!(super::RTM_IFINFO as i32 == libc::RTM_IFINFO);
        assert!(super::RTM_VERSION as i32 == libc::RTM_VERSION);
        assert!(super::RTF_HOST as i32 == libc::RTF_HOST && super::RTF_UP as i32 == libc::RTF_UP);
        assert!(super::RTF_STATIC as i32 == libc::RTF_STATIC);
        let (llinfo, cloned, local) = (libc::RTF_LLINFO, libc::RTF_WASCLONED, libc::RTF_LOCAL);
        let no_choice = llinfo | cloned | local | libc::RTF_BROADCAST | libc::RTF_MULTICAST;
        assert!(super::RTF_NO_CHOICE as i32 == no_choice);
        assert!(super::RTA_DST as i32 == libc::RTA_DST);
        assert!(super::RTA_GATEWAY as i32 == libc::RTA_GATEWAY);
        assert!(super::RTA_NETMASK as i32 == libc::RTA_NETMASK);
        assert!(super::RTA_IFP as i32 == libc::RTA_IFP && super::RTA_IFA as i32 == libc::RTA_IFA);
        assert!(super::AF_INET as i32 == libc::AF_INET && super::AF_LINK as i32 == libc::AF_LINK);
    };
}

#[cfg(test)]
#[path = "xnu_tests.rs"]
mod tests;
