//! What a tunnel takes of a machine: an interface's name, a UDP port, and a number N of an address
//! pair (10.10.N.1 and 10.10.N.2). The same choice on the laptop and on the VPS, from what is known
//! of the machine; reads the kernel's tables of this one.

use std::collections::BTreeSet;
use std::iter;
use std::net::Ipv4Addr;

use super::json::{Fields, ReadError};
use crate::sys::bounded;

/// Largest packet inside the tunnel, where nothing else is said: 1500 less IPv6 and WireGuard.
pub const MTU: u16 = 1420;
/// WireGuard's usual port, and how many from there on are tried.
pub const LISTEN_PORT: u16 = 51820;
const PORTS: u16 = 80;

/// The kernel's IPv4 routes and addresses, on Linux.
const ROUTES: &str = "/proc/net/route";
const ADDRESSES: &str = "/proc/net/fib_trie";
/// Who else is known to be in its networks, and whom it asks for names: a helper lets nobody take
/// their addresses.
const NEIGHBOURS: &str = "/proc/net/arp";
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// In the flags of a neighbour: it has answered, or was said to be there.
const COMPLETE: u32 = 2;
/// A default route, also one in halves, is no use of an address.
const NO_DEFAULT: u32 = 2;
/// Wider routes give way to ours; those from here on would lose addresses of their own.
const NETWORK: u32 = 24;
/// A router's table of the whole Internet has half as much.
const TABLE_BYTES: u64 = 256 * 1024 * 1024;
const ADDRESS: u32 = 32;

/// `wg0`, or the lowest free `hopboxN`.
pub fn interface(is_taken: impl Fn(&str) -> bool) -> Option<String> {
    let mut names = iter::once("wg0".to_owned()).chain((0..1000).map(|n| format!("hopbox{n}")));
    names.find(|name| !is_taken(name))
}

/// The lowest free UDP port.
pub fn port(is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    (LISTEN_PORT..LISTEN_PORT + PORTS).find(|port| !is_taken(*port))
}

/// What a laptop can say of the numbers for one host.
pub struct Numbers {
    /// Cannot be used at all.
    pub taken: BTreeSet<u8>,
    /// For a new pair, the best first: those that no route leads to, then those within a wider one.
    pub free: Vec<u8>,
}

impl Numbers {
    /// For a reason that no table tells.
    pub fn leave_out(&mut self, unusable: impl Fn(u8) -> bool) {
        self.taken.extend((0..=255).filter(|number| unusable(*number)));
        self.free.retain(|number| !unusable(*number));
    }
}

/// The network of a number, as failures name it.
pub fn network(number: u8) -> String {
    format!("10.10.{number}.0/24")
}

/// The first of `wanted` whose 10.10.N.0/24 nothing on a server leads to; where there is none, the
/// first that only wider routes lead to.
pub fn pick(wanted: &[u8], uses: &Uses) -> Option<u8> {
    let first = |least| wanted.iter().copied().find(|n| !uses.in_network(*n, least));
    first(NO_DEFAULT).or_else(|| first(NETWORK))
}

/// A host that is set up again may be up: its `own` route is no obstacle.
pub fn choose(mut taken: BTreeSet<u8>, own: Option<u8>, uses: &Uses) -> Numbers {
    let used = |number: &u8, least| Some(*number) != own && uses.of_pair(*number, least);
    taken.extend((0..=255).filter(|number| used(number, ADDRESS)));
    let within = |least| (0..=255).filter(move |number| !used(number, least));
    let best: Vec<u8> = within(NO_DEFAULT).collect();
    let covered = within(NETWORK).filter(|number| !best.contains(number));
    let free = best.iter().copied().chain(covered);
    Numbers { free: free.filter(|number| !taken.contains(number)).collect(), taken }
}

/// The addresses of number N: the server is 10.10.N.2 for all its laptops, the first of which has
/// .1 and the others what is free from .3 on. A server may say that it has others, and would get
/// what this laptop sends to those.
pub fn check_pair(
    fields: &Fields,
    number: u8,
    (peer_key, peer): (&str, Ipv4Addr),
    (local_key, local): (&str, Ipv4Addr),
) -> Result<(), ReadError> {
    let [a, b, c, last] = local.octets();
    if peer != Ipv4Addr::new(10, 10, number, 2) {
        return Err(fields.error(peer_key, format!("must be 10.10.{number}.2, not {peer}")));
    }
    if [a, b, c] != [10, 10, number] || !matches!(last, 1 | 3..=254) {
        let why = format!("must be 10.10.{number}.1, or from 10.10.{number}.3 on, not {local}");
        return Err(fields.error(local_key, why));
    }
    Ok(())
}

/// A route: base and prefix length of where it leads, and its gateway.
pub struct Route {
    to: (u32, u32),
    gateway: Option<u32>,
}

impl Route {
    /// From the words of /proc/net/route.
    pub fn from_hex(to: &str, gateway: &str, mask: &str) -> Option<Route> {
        let word =
            |hex| u32::from_str_radix(hex, 16).map(|word| u32::from_be_bytes(word.to_ne_bytes()));
        let (to, gateway, mask) = (word(to).ok()?, word(gateway).ok()?, word(mask).ok()?);
        let gateway = Some(gateway).filter(|gateway| *gateway != 0);
        Some(Route { to: (to, mask.leading_ones()), gateway })
    }
}

/// What a machine uses: base and prefix length of networks that routes lead to, and of its own
/// addresses and its gateways.
pub struct Uses(Vec<(u32, u32)>);

impl Uses {
    pub fn here() -> Uses {
        let read = |file| bounded::read(file, TABLE_BYTES).unwrap_or_default();
        let text = |file| String::from_utf8_lossy(&read(file)).into_owned();
        let mut here = Uses::of(routes(&text(ROUTES)), own(&text(ADDRESSES)));
        let machines = neighbours(&text(NEIGHBOURS)).into_iter();
        let machines = machines.chain(RESOLVERS.iter().flat_map(|file| name_servers(&text(file))));
        here.0.extend(machines.map(|ip| (u32::from(ip), ADDRESS)));
        here
    }

    pub fn of(
        routes: impl IntoIterator<Item = Route>,
        addresses: impl IntoIterator<Item = Ipv4Addr>,
    ) -> Uses {
        let routes = routes.into_iter().flat_map(|Route { to, gateway }| {
            iter::once(to).chain(gateway.map(|gateway| (gateway, ADDRESS)))
        });
        let addresses = addresses.into_iter().map(|ip| (u32::from(ip), ADDRESS));
        Uses(routes.chain(addresses).collect())
    }

    /// Whether something with a prefix of `least` bits or more shares addresses with 10.10.N.0/24.
    fn in_network(&self, number: u8, least: u32) -> bool {
        self.meets(Ipv4Addr::new(10, 10, number, 0), NETWORK, least)
    }

    /// The same for the two addresses alone: the laptop routes no others.
    fn of_pair(&self, number: u8, least: u32) -> bool {
        let pair = [1, 2].map(|last| Ipv4Addr::new(10, 10, number, last));
        pair.into_iter().any(|ip| self.meets(ip, ADDRESS, least))
    }

    /// Whether one of the two is somebody's, or a route leads to it alone.
    pub fn has_one_of_pair(&self, number: u8) -> bool {
        self.of_pair(number, ADDRESS)
    }

    fn meets(&self, ip: Ipv4Addr, bits: u32, least: u32) -> bool {
        let meets = |(base, prefix): &(u32, u32)| {
            *prefix >= least && is_within(ip, Ipv4Addr::from(*base), bits.min(*prefix))
        };
        self.0.iter().any(meets)
    }
}

/// Whether an address is one of those that have `bits` bits in common with `base`.
pub fn is_within(ip: Ipv4Addr, base: Ipv4Addr, bits: u32) -> bool {
    bits <= ADDRESS && (u32::from(ip) ^ u32::from(base)) & mask(bits) == 0
}

fn mask(bits: u32) -> u32 {
    u32::MAX.checked_shl(32 - bits).unwrap_or(0)
}

/// The machines of /proc/net/arp.
fn neighbours(text: &str) -> Vec<Ipv4Addr> {
    let there = |line: &str| {
        let mut words = line.split_whitespace();
        let (ip, flags) = (words.next()?.parse().ok()?, words.nth(1)?.strip_prefix("0x")?);
        (u32::from_str_radix(flags, 16).ok()? & COMPLETE != 0).then_some(ip)
    };
    text.lines().filter_map(there).collect()
}

/// The name servers of a resolv.conf.
fn name_servers(text: &str) -> Vec<Ipv4Addr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
    };
    text.lines().filter_map(server).collect()
}

/// The routes of /proc/net/route.
fn routes(text: &str) -> impl Iterator<Item = Route> {
    text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Route::from_hex(words.get(1)?, words.get(2)?, words.get(7)?)
    })
}

/// The machine's own addresses, from /proc/net/fib_trie.
fn own(text: &str) -> Vec<Ipv4Addr> {
    let lines: Vec<&str> = text.lines().collect();
    let local = |pair: &[&str]| {
        let [above, below] = pair else { return None };
        let ip = above.trim().strip_prefix("|-- ")?.parse().ok()?;
        below.contains("host LOCAL").then_some(ip)
    };
    lines.windows(2).filter_map(local).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";

    fn line(to: [u8; 4], bits: u32, gateway: [u8; 4]) -> String {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let mask = hex(mask(bits).to_be_bytes());
        format!("eth0\t{}\t{}\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n", hex(to), hex(gateway))
    }

    fn parse(table: &str, addresses: &str) -> Uses {
        Uses::of(routes(table), own(addresses))
    }

    fn uses(routes: &[(u8, u8, u32)]) -> Uses {
        let of = |(second, third, bits): &(u8, u8, u32)| {
            line([10, *second, *third, u8::from(*bits > 24)], *bits, [0; 4])
        };
        parse(&format!("{HEAD}{}", routes.iter().map(of).collect::<String>()), "")
    }

    fn free(uses: &Uses) -> Vec<u8> {
        choose(BTreeSet::new(), None, uses).free
    }

    #[test]
    fn a_number_that_no_route_covers_comes_first_and_one_in_a_wider_route_after_it() {
        assert_eq!(free(&uses(&[(0, 0, 0), (0, 0, 1)])), (0..=255).collect::<Vec<u8>>());
        // A LAN of /24, a VPN's peer, and one address elsewhere in a /24.
        let mixed = uses(&[(10, 0, 24), (10, 3, 32), (10, 16, 20)]);
        let order = free(&mixed);
        assert_eq!((order[..3].to_vec(), order.len()), (vec![1, 2, 4], 254));
        assert_eq!(order[238..], (16..32).collect::<Vec<u8>>());
        for wide in [(0, 0, 8), (10, 0, 16)] {
            assert_eq!(free(&uses(&[wide])), (0..=255).collect::<Vec<u8>>(), "{wide:?}");
            assert_eq!(free(&uses(&[wide, (10, 0, 24)]))[0], 1);
        }
        assert!(free(&uses(&[(10, 1, 23)])).contains(&1));
        let elsewhere = parse(&format!("{HEAD}{}", line([10, 10, 4, 77], 32, [0; 4])), "");
        assert_eq!(free(&elsewhere)[4], 4);
        assert_eq!(free(&parse("nonsense\nmore of it\n", "nonsense")).len(), 256);
    }

    #[test]
    fn only_what_cannot_be_shared_is_taken() {
        let gateway = line([0; 4], 0, [10, 10, 7, 1]);
        let trie = "  +-- 10.10.0.0/24 2 0 2\n     |-- 10.10.3.2\n        /32 host LOCAL\n     \
                    |-- 10.10.4.0\n        /24 link UNICAST\n";
        let lan = line([10, 10, 0, 0], 24, [0; 4]) + &line([10, 10, 5, 2], 32, [0; 4]);
        let uses = parse(&format!("{HEAD}{gateway}{lan}"), trie);
        let found = choose(BTreeSet::from([9]), Some(5), &uses);
        assert_eq!(found.taken, BTreeSet::from([3, 7, 9]), "a LAN of the same /24 keeps working");
        assert!(!found.free.contains(&0) && found.free.contains(&5));
        let mut narrowed = choose(BTreeSet::from([9]), Some(5), &uses);
        narrowed.leave_out(|number| ![3, 5, 8].contains(&number));
        assert_eq!(narrowed.free, [5, 8]);
        assert!([0, 3, 7, 9].iter().all(|number| narrowed.taken.contains(number)));
        // Whoever has answered, or is asked for names, keeps its address.
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
                   10.10.11.2       0x1         0x2         52:54:00:00:00:01     *        eth0\n\
                   10.10.12.2       0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                   10.10.13.2       0x1         0x6         52:54:00:00:00:02     *        eth0\n";
        assert_eq!(neighbours(arp), [[10, 10, 11, 2], [10, 10, 13, 2]].map(Ipv4Addr::from));
        let resolv = "# nameserver 10.10.1.1\nnameserver 10.10.14.1\nnameserver fe80::1%eth0\n\
                      search hop\nnameserver\n";
        assert_eq!(name_servers(resolv), [Ipv4Addr::new(10, 10, 14, 1)]);
        // The VPS routes the whole /24.
        let at = |number| uses.in_network(number, NETWORK);
        assert!(at(0) && at(3) && at(5) && at(7) && !at(1) && !at(4));
    }
}
