//! What keeps a device's packets in their place, layer by layer: each is put where it is missing,
//! and read back.
//!
//! The filter on the way in needs no setting that others change; without it, or beside it, IPv6 is
//! off on the device, and its reverse path filter strict. Other interfaces are kept from the
//! tunnels' addresses by nf_tables. Must not know: who holds a device, when somebody looks.

use super::links::{IPV6_SETTINGS, Links};
use super::netlink::Netlink;
use super::rtnetlink::{self, CREATE, EXCL, Link};
use crate::net::link::{Layer, Layers, Why, failed};
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

impl Links {
    /// Sees to it that nothing comes in by a device but what its ends say; without ends nothing.
    /// Returns what had to be put right.
    pub fn confine(
        &mut self,
        name: &str,
        ifindex: u32,
        ends: Option<Endpoints>,
    ) -> Result<Vec<&'static str>, OpError> {
        let link = self.of_lease(name, ifindex)?;
        let mut put_right = Vec::new();
        if !link.strict {
            put_right.push("reverse path filter");
            let set = self.netlink.request(libc::RTM_SETLINK, 0, rtnetlink::strict(ifindex));
            set.map_err(failed("set the reverse path filter"))?;
        }
        let off = if link.ipv6_off { Ok(()) } else { turn_off_ipv6(name) };
        let filter = self.filter(ifindex, ends, &mut put_right);
        let after = self.of_lease(name, ifindex)?;
        if after.ipv6_off && !link.ipv6_off {
            put_right.push("IPv6 off");
        }
        let state = |holds: bool, why| if holds { Layer::On } else { Layer::Missing(why) };
        self.layers.rp_filter = state(after.strict, Why::Refused);
        let why = off.err().map_or(Why::Refused, |_| Why::NotWritable);
        self.layers.ipv6_off = state(after.ipv6_off, why);
        self.layers.ingress_filter = filter.map_or_else(Layer::Missing, |()| Layer::On);
        match self.layers.ingress_filter {
            Layer::Missing(missing) if !after.ipv6_off => Err(OpError::kernel(format!(
                "nothing keeps the tunnel's packets in their place: {} is missing, and IPv6 \
                 cannot be turned off for the device; as root: modprobe -a sch_ingress cls_bpf",
                missing.what()
            ))),
            _ => Ok(put_right),
        }
    }

    /// The device of a lease, still what it was made as.
    fn of_lease(&mut self, name: &str, ifindex: u32) -> Result<Link, OpError> {
        match self.link(name)? {
            Some(link) if link.ifindex == ifindex && link.hardware == libc::ARPHRD_NONE => Ok(link),
            Some(link) if link.ifindex == ifindex => {
                Err(OpError::conflict("the device's type was changed by its holder"))
            }
            _ => Err(OpError::conflict("the device of this lease is gone")),
        }
    }

    fn filter(
        &mut self,
        ifindex: u32,
        ends: Option<Endpoints>,
        put_right: &mut Vec<&'static str>,
    ) -> Result<(), Why> {
        let program = ingress::program(ends);
        if self.filter_is(ifindex, &program) {
            return Ok(());
        }
        let kind = |without| {
            move |e: io::Error| match e.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP) => without,
                _ => Why::Refused,
            }
        };
        match self.netlink.request(libc::RTM_NEWQDISC, CREATE | EXCL, traffic::room(ifindex)) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
            result => result.map(|_| ()).map_err(kind(Why::NoSchIngress))?,
        }
        let filter = traffic::filter(ifindex, &program);
        self.netlink.request(libc::RTM_NEWTFILTER, CREATE, filter).map_err(kind(Why::NoClsBpf))?;
        put_right.push("ingress filter");
        if self.filter_is(ifindex, &program) { Ok(()) } else { Err(Why::Refused) }
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
        let families = [(Family::Ipv4, Why::NoNfTables), (Family::Arp, Why::NoArpTables)];
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
