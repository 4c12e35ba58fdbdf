//! What keeps a device's packets in their place, layer by layer: each is put where it is missing,
//! and read back.
//!
//! The filter on the way in needs no setting that others change; without it, or beside it, IPv6 is
//! off on the device, and its reverse path filter strict. Other interfaces are kept from the
//! tunnels' addresses by nf_tables. Must not know: who holds a device, when somebody looks.

use super::links::{IPV6_SETTINGS, Links};
use super::netlink::Netlink;
use super::rtnetlink::{self, CREATE, EXCL, Link};
use crate::net::link::{Device, Layer, Layers, gone};
use crate::net::linux::ingress;
use crate::net::linux::nft::{self, Family};
use crate::net::linux::traffic;
use crate::net::pool::Endpoints;
use crate::proto::OpError;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a layer is missing where no part of the kernel is: it said no, or /proc/sys is read-only.
const REFUSED: &str = "refused";
const NOT_WRITABLE: &str = "proc_sys";

impl Links {
    /// Sees to it that nothing comes in by a device but what its ends say; without ends nothing.
    /// Returns what had to be put right.
    pub fn confine(
        &mut self,
        device: &Device,
        ends: Option<Endpoints>,
    ) -> Result<Vec<&'static str>, OpError> {
        let ifindex = device.ifindex;
        let link = self.as_made(device)?;
        let mut put_right = Vec::new();
        if !link.strict {
            put_right.push("reverse path filter");
            let message = rtnetlink::strict(ifindex);
            self.set("set the reverse path filter", 0, libc::RTM_SETLINK, 0, message)?;
        }
        let off = if link.ipv6_off { Ok(()) } else { turn_off_ipv6(&device.name) };
        let filter = self.filter(ifindex, ends, &mut put_right);
        let after = self.as_made(device)?;
        if after.ipv6_off && !link.ipv6_off {
            put_right.push("IPv6 off");
        }
        let state = |holds: bool, why| if holds { Layer::On } else { Layer::Missing(why) };
        self.layers.rp_filter = state(after.strict, REFUSED);
        let why = off.err().map_or(REFUSED, |_| NOT_WRITABLE);
        self.layers.ipv6_off = state(after.ipv6_off, why);
        self.layers.ingress_filter = filter.map_or_else(Layer::Missing, |()| Layer::On);
        match self.layers.ingress_filter {
            Layer::Missing(missing) if !after.ipv6_off => Err(OpError::kernel(format!(
                "nothing keeps the tunnel's packets in their place: {missing} is missing, and IPv6 \
                 cannot be turned off for the device; as root: modprobe -a sch_ingress cls_bpf"
            ))),
            _ => Ok(put_right),
        }
    }

    /// The device of a lease, still what it was made as.
    fn as_made(&mut self, device: &Device) -> Result<Link, OpError> {
        match self.there(device)? {
            None => Err(gone()),
            Some(link) if link.hardware == libc::ARPHRD_NONE => Ok(link),
            Some(_) => Err(OpError::conflict("the device's type was changed by its holder")),
        }
    }

    fn filter(
        &mut self,
        ifindex: u32,
        ends: Option<Endpoints>,
        put_right: &mut Vec<&'static str>,
    ) -> Result<(), &'static str> {
        let program = ingress::program(ends);
        if self.filter_is(ifindex, &program) {
            return Ok(());
        }
        let kind = |without| {
            move |e: io::Error| match e.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP) => without,
                _ => REFUSED,
            }
        };
        match self.netlink.request(libc::RTM_NEWQDISC, CREATE | EXCL, traffic::room(ifindex)) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            result => result.map(|_| ()).map_err(kind("sch_ingress"))?,
        }
        let filter = traffic::filter(ifindex, &program);
        self.netlink.request(libc::RTM_NEWTFILTER, CREATE, filter).map_err(kind("cls_bpf"))?;
        put_right.push("ingress filter");
        if self.filter_is(ifindex, &program) { Ok(()) } else { Err(REFUSED) }
    }

    fn filter_is(&mut self, ifindex: u32, program: &[libc::sock_filter]) -> bool {
        let records = self.netlink.dump(libc::RTM_GETTFILTER, traffic::filters(ifindex));
        records.is_ok_and(|records| traffic::decides_first(&records, program))
    }

    /// Keeps every other interface from these addresses of devices; whether that had to be put
    /// right.
    pub fn guard_addresses(&mut self, guarded: &[(String, Ipv4Addr)]) -> bool {
        let mut put_right = false;
        self.layers.lan_guard = if guarded.is_empty() { Layer::Idle } else { Layer::On };
        let families = [(Family::Ipv4, "nf_tables"), (Family::Arp, "nf_tables_arp")];
        for (family, without) in families {
            match self.nft.as_mut().map(|nft| guard(nft, family, guarded)) {
                Some(Ok(made)) => put_right |= made,
                _ if guarded.is_empty() || self.layers.lan_guard != Layer::On => {}
                _ => self.layers.lan_guard = Layer::Missing(without),
            }
        }
        put_right
    }

    pub fn layers(&self) -> Layers {
        self.layers
    }
}

/// Deletes the table of hop-helper-server, for hop-install, which runs no program.
pub fn forget_server_table() -> io::Result<()> {
    let mut nft = Netlink::open(libc::NETLINK_NETFILTER)?;
    nft.batch(&nft::table(Family::Inet, &[]))
}

/// True when the family's table was not as it should be, and is now.
fn guard(nft: &mut Netlink, family: Family, guarded: &[(String, Ipv4Addr)]) -> io::Result<bool> {
    if !guarded.is_empty() && is_guarded(nft, family, guarded) {
        return Ok(false);
    }
    nft.batch(&nft::table(family, guarded))?;
    match guarded.is_empty() || is_guarded(nft, family, guarded) {
        true => Ok(!guarded.is_empty()),
        false => Err(io::Error::other("the table is not as it was made")),
    }
}

fn is_guarded(nft: &mut Netlink, family: Family, guarded: &[(String, Ipv4Addr)]) -> bool {
    let records = nft.dump(nft::GET_RULES, nft::rules(family));
    records.is_ok_and(|records| nft::is_as_made(family, guarded, &records))
}

/// It cannot be set by netlink.
fn turn_off_ipv6(name: &str) -> io::Result<()> {
    let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
    for dir in IPV6_SETTINGS {
        let path = Path::new(dir).join(name).join("disable_ipv6");
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path);
        result = file.and_then(|mut file| file.write_all(b"1"));
        if result.is_ok() {
            break;
        }
    }
    result
}
