//! Which addresses and names may be handed out: our own ranges, and nobody else's.
//!
//! Pure: what is in use comes in as a `View`. Must not know: sockets, leases' owners, netlink.

use crate::proto::{Code, OpError};
use std::fmt;
use std::net::Ipv4Addr;

/// Routes this wide are default routes: a full-tunnel VPN halves 0.0.0.0/0 into two of /1.
const DEFAULT_PREFIX: u8 = 1;

/// An IPv4 prefix with its host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    base: u32,
    prefix: u8,
}

impl Net {
    /// Masks the host bits of `ip`; a `prefix` above 32 counts as 32.
    pub fn new(ip: Ipv4Addr, prefix: u8) -> Net {
        let prefix = prefix.min(32);
        Net { base: u32::from(ip) & Net::bits(prefix), prefix }
    }

    /// Reads `a.b.c.d/n` with zero host bits.
    pub fn parse(text: &str) -> Option<Net> {
        let (ip, prefix) = text.split_once('/')?;
        let net = Net::new(ip.parse().ok()?, prefix.parse().ok()?);
        // One spelling: no "+8", no "08".
        (net.to_string() == text).then_some(net)
    }

    fn bits(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
    }

    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(Net::bits(self.prefix))
    }

    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !Net::bits(self.prefix))
    }

    pub fn contains(self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & Net::bits(self.prefix) == self.base
    }

    /// `other` is this prefix or a part of it.
    pub fn covers(self, other: Net) -> bool {
        self.contains(other.base()) && other.prefix >= self.prefix
    }

    pub fn overlaps(self, other: Net) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The first or last address of a prefix that has hosts between them.
    fn is_edge(self, ip: Ipv4Addr) -> bool {
        self.prefix < 31 && (ip == self.base() || ip == self.last())
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

/// The two ends of a tunnel and the width of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub local: Ipv4Addr,
    pub peer: Ipv4Addr,
    pub prefix: u8,
}

impl Endpoints {
    pub fn route(self) -> Net {
        Net::new(self.peer, self.prefix)
    }
}

/// Unicast routes of this machine and the addresses that it cannot do without, its own and those of
/// its gateways; each with its interface index. And who else is known to be in its networks.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub routes: Vec<(Net, u32)>,
    pub addresses: Vec<(Ipv4Addr, u32)>,
    /// Who has answered of late, or was said to be there.
    pub neighbours: Vec<(Ipv4Addr, u32)>,
    pub name_servers: Vec<Ipv4Addr>,
}

impl View {
    /// The routes and addresses of one interface.
    pub fn of(&self, ifindex: u32) -> (Vec<Net>, Vec<Ipv4Addr>) {
        let routes = self.routes.iter().filter(|(_, of)| *of == ifindex).map(|(net, _)| *net);
        let addresses = self.addresses.iter().filter(|(_, of)| *of == ifindex);
        (routes.collect(), addresses.map(|(ip, _)| *ip).collect())
    }
}

/// What another lease holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub ifindex: u32,
    pub ends: Option<Endpoints>,
}

/// Why two ends cannot be used now; the index is that of the interface in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    Route(Net, u32),
    Address(Ipv4Addr, u32),
    Neighbour(Ipv4Addr, u32),
    NameServer(Ipv4Addr),
    /// A wider route, out of which a tunnel may take single addresses only.
    Wider(Net, u32),
    Lease(u32),
}

/// The ranges that this helper hands out of.
#[derive(Clone, Debug)]
pub struct Pools(pub Vec<Net>);

impl Default for Pools {
    fn default() -> Pools {
        Pools(vec![Net::new(Ipv4Addr::new(10, 10, 0, 0), 16)])
    }
}

impl Pools {
    /// An address that a tunnel or a name may use at all.
    pub fn check_ip(&self, field: &str, ip: Ipv4Addr) -> Result<(), OpError> {
        let usable = |net: &Net| net.contains(ip) && !net.is_edge(ip);
        if self.0.iter().any(usable) {
            return Ok(());
        }
        Err(OpError::field(field, format!("{ip} is not a host address of {}", self.text())))
    }

    pub fn check_ends(&self, ends: Endpoints) -> Result<(), OpError> {
        self.check_ip("local_ip", ends.local)?;
        self.check_ip("peer_ip", ends.peer)?;
        if ends.local == ends.peer {
            return Err(OpError::field("peer_ip", "the two ends must differ"));
        }
        let route = ends.route();
        for (field, ip) in [("local_ip", ends.local), ("peer_ip", ends.peer)] {
            if route.is_edge(ip) {
                return Err(OpError::field(field, format!("{ip} is not a host of {route}")));
            }
        }
        if self.cover(route) {
            return Ok(());
        }
        Err(OpError::field("prefix", format!("{route} is not within {}", self.text())))
    }

    /// Whether the whole of a prefix is ours.
    pub fn cover(&self, net: Net) -> bool {
        self.0.iter().any(|pool| pool.covers(net))
    }

    pub fn text(&self) -> String {
        self.list().join(", ")
    }

    pub fn list(&self) -> Vec<String> {
        self.0.iter().map(Net::to_string).collect()
    }
}

/// Looks for anything that already uses these addresses. `own` is the interface being
/// configured, whose addresses and routes are its own affair; routes of `held` interfaces are
/// judged by their lease instead. A route that is wider than ours is not in the way of a pair: that
/// takes two addresses out of it, which nobody is known to have, and the rest of a LAN goes on as
/// before. More of it, or the name server of this machine, root must have `given`.
pub fn conflict(
    ends: Endpoints,
    own: Option<u32>,
    view: &View,
    held: &[Held],
    given: bool,
) -> Option<Conflict> {
    let local = Net::new(ends.local, 32);
    let (route, hit) = (ends.route(), |net: Net| net.overlaps(ends.route()) || net.overlaps(local));
    for other in held.iter().filter(|other| Some(other.ifindex) != own) {
        let theirs = other.ends.map(|ends| (ends.route(), Net::new(ends.local, 32)));
        if theirs.is_some_and(|(route, local)| hit(route) || hit(local)) {
            return Some(Conflict::Lease(other.ifindex));
        }
    }
    let takes = |ip: Ipv4Addr| ip == ends.local || route.contains(ip);
    for (ip, ifindex) in view.addresses.iter().filter(|(_, ifindex)| Some(*ifindex) != own) {
        if takes(*ip) {
            return Some(Conflict::Address(*ip, *ifindex));
        }
    }
    let ours =
        |ifindex: u32| Some(ifindex) == own || held.iter().any(|held| held.ifindex == ifindex);
    for (net, ifindex) in view.routes.iter().filter(|(_, ifindex)| !ours(*ifindex)) {
        if route.covers(*net) || local.covers(*net) {
            return Some(Conflict::Route(*net, *ifindex));
        }
        let wider = net.prefix > DEFAULT_PREFIX && net.covers(route);
        if wider && route.prefix < 32 && !given {
            return Some(Conflict::Wider(*net, *ifindex));
        }
    }
    for (ip, ifindex) in view.neighbours.iter().filter(|(_, ifindex)| !ours(*ifindex)) {
        if takes(*ip) {
            return Some(Conflict::Neighbour(*ip, *ifindex));
        }
    }
    let server = view.name_servers.iter().find(|ip| takes(**ip) && !given);
    server.map(|ip| Conflict::NameServer(*ip))
}

/// One label and `.hop`: 1 to 63 of `a-z 0-9 -`, no hyphen at an edge, not all digits.
pub fn check_name(name: &str) -> Result<(), OpError> {
    let label = name.strip_suffix(".hop").unwrap_or("");
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = label.starts_with('-') || label.ends_with('-');
    let digits = label.bytes().all(|b| b.is_ascii_digit());
    let good = (1..=63).contains(&label.len()) && label.bytes().all(plain);
    if good && !edges && !digits && label != "localhost" {
        return Ok(());
    }
    let rule = "a name is <label>.hop, label: 1 to 63 of a-z 0-9 -, not all digits, not localhost";
    Err(OpError::field("name", rule))
}

/// The pools that root may configure: private or shared address space.
pub fn check_pool(net: Net) -> Result<(), OpError> {
    let allowed = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];
    let within = |text: &&str| {
        Net::parse(text)
            .is_some_and(|range| range.contains(net.base()) && range.prefix <= net.prefix)
    };
    if allowed.iter().any(within) && net.prefix <= 24 {
        return Ok(());
    }
    let rule = "a pool is a private range (RFC 1918 or 6598) of /24 or wider";
    Err(OpError::new(Code::ValidationFailed, format!("{net}: {rule}")))
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
