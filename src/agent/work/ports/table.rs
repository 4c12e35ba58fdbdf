//! Who listens, as the kernel told last, and what is told of it. It is looked when somebody wants
//! to know: a look that finds what the last one found is one question to the kernel and nothing
//! more; processes and files are looked at when something is new, for 5 s after that, and else
//! every 2 s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::owners::{Inodes, Owners};
use super::published::{self, Published};
use super::{TICK, Views, owner};
use crate::agent::work::container::address;
use crate::agent::work::sandbox::{self, Sandboxed};
use crate::rpc::types::ports::{ADDRESSES, Owner, PORTS, PortView};
use crate::sys::listeners::{Listener, Listeners};
use crate::sys::{clock, process};

const THOROUGH_EVERY: Duration = Duration::from_secs(2);
/// A container's own files are written after its engine listens.
const CLOSELY_FOR: Duration = Duration::from_secs(5);
/// After a time in which nobody looked, what is there may have been there for long.
const IDLE: Duration = Duration::from_secs(2);
const CLOCK_TICK_MS: u64 = 10;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
static API: Mutex<Option<(Ipv4Addr, u16)>> = Mutex::new(None);

/// Where `front` listens itself, if it does.
pub fn api_is_at(address: Ipv4Addr, port: Option<u16>) {
    *API.lock().unwrap_or_else(PoisonError::into_inner) = port.map(|port| (address, port));
}

#[derive(Default)]
struct Table {
    all: Listeners,
    /// Those of them that are told of.
    shown: Vec<Listener>,
    sandboxed: Vec<Sandboxed>,
    owners: Owners,
    /// By the numbers of sockets: since when, in ms.
    since: BTreeMap<u64, u64>,
    views: Arc<Views>,
    looked: Option<Instant>,
    thorough: Option<Instant>,
    changed: Option<Instant>,
}

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most a tick old.
pub fn recent() -> Arc<Views> {
    let (mut table, now) = (table(), Instant::now());
    if table.looked.is_none_or(|looked| now - looked >= TICK * 3 / 4) {
        table.look(now);
    }
    table.views.clone()
}

pub fn now() -> Arc<Views> {
    let mut table = table();
    table.look(Instant::now());
    table.views.clone()
}

/// Where a connection to this port is to go, in order, and the user who has to be there.
pub fn places(port: u16) -> Vec<(SocketAddr, u32)> {
    let mut table = table();
    table.look(Instant::now());
    places_of(port, table.all.known(), &table.shown)
}

impl Table {
    fn look(&mut self, now: Instant) {
        let older =
            |moment: Option<Instant>, than| moment.is_none_or(|moment| now - moment >= than);
        let was_idle = older(self.looked, IDLE);
        self.looked = Some(now);
        let Ok(is_new) = self.all.look() else { return };
        let sandboxed = sandbox::listeners();
        let is_new = is_new || sandboxed != self.sandboxed;
        self.sandboxed = sandboxed;
        let is_close = !older(self.changed, CLOSELY_FOR);
        let every = if is_close { TICK * 3 / 4 } else { THOROUGH_EVERY };
        if is_new {
            self.changed = Some(now);
        } else if !older(self.thorough, every) {
            return;
        }
        self.thorough = Some(now);
        self.build(now, was_idle);
    }

    fn build(&mut self, now: Instant, was_idle: bool) {
        let user = process::uid();
        let api = *API.lock().unwrap_or_else(PoisonError::into_inner);
        let is_api =
            |one: &Listener| api.is_some_and(|(ip, port)| (one.ip, one.port) == (ip.into(), port));
        let own = |one: &&Listener| one.uid == user && !is_api(one);
        let sandboxed = std::mem::take(&mut self.sandboxed);
        let mut inodes: Inodes = self.all.known().iter().filter(own).map(|one| one.inode).collect();
        inodes.extend(sandboxed.iter().map(|one| one.listener.inode));
        self.owners.look(&inodes, now);
        let published = self.published();
        let mut views = Views::new();
        let mut shown = Vec::new();
        for one in self.all.known().iter().filter(|one| !is_api(one)) {
            let container = published.iter().find(|(at, _)| at == one).map(|(_, its)| its);
            let is_own = one.uid == user && !self.owners.is_ours(one.inode);
            if container.is_none() && !is_own || views.len() >= PORTS {
                continue;
            }
            shown.push(*one);
            let since = since(&mut self.since, &self.owners, one.inode, was_idle);
            let owner = match container {
                Some(container) => of_container(container),
                None => self.owners.owner(one.inode).unwrap_or_default(),
            };
            add(&mut views, one, owner, since);
        }
        self.add_sandboxed(&mut views, &sandboxed, was_idle);
        let mut there: Inodes = shown.iter().map(|one| one.inode).collect();
        there.extend(sandboxed.iter().map(|one| one.listener.inode));
        self.since.retain(|inode, _| there.contains(inode));
        (self.shown, self.sandboxed) = (shown, sandboxed);
        if *self.views != views {
            self.views = Arc::new(views);
        }
    }

    /// A port that somebody has here is that one; among sandboxes it is the first's.
    fn add_sandboxed(&mut self, views: &mut Views, all: &[Sandboxed], was_idle: bool) {
        let mut spaces: BTreeMap<u16, u64> = BTreeMap::new();
        let mut hidden: BTreeSet<(u16, u64)> = BTreeSet::new();
        for Sandboxed { listener, pid, space } in all {
            let is_new = !views.contains_key(&listener.port) && views.len() < PORTS;
            let first = spaces.get(&listener.port);
            if first != Some(space) && (first.is_some() || !is_new) {
                hidden.insert((listener.port, *space));
                continue;
            }
            spaces.insert(listener.port, *space);
            let since = since(&mut self.since, &self.owners, listener.inode, was_idle);
            let found = self.owners.owner(listener.inode);
            // Sockets of a user that a container has of its own are not to be seen from here: it is
            // told of the first process in there.
            let first = || owner::of(*pid, owner::dir(*pid).as_deref(), None);
            let owner = found.unwrap_or_else(first);
            add(views, listener, Owner { is_sandboxed: true, ..owner }, since);
        }
        for (port, _) in hidden {
            views.get_mut(&port).into_iter().for_each(|view| view.hidden += 1);
        }
    }

    /// Listeners of engines, each with what it is for.
    fn published(&self) -> Vec<(Listener, Published)> {
        let address = address::known();
        let may_be = |one: &&Listener| published::may_be(one, address);
        let mut engines = self.all.known().iter().filter(may_be).peekable();
        if engines.peek().is_none() {
            return Vec::new();
        }
        let known = published::all();
        let of = |one: &Listener| known.iter().find(|its| its.is_at(one)).cloned();
        engines.filter_map(|one| Some((*one, of(one)?))).collect()
    }
}

fn of_container(container: &Published) -> Owner {
    Owner {
        pid: Some(container.pid),
        program: owner::program(container.pid),
        service: Some(container.service.clone()),
        container: Some(container.name.clone()),
        ..Owner::default()
    }
}

/// What was there at a first look began with its process, for all that can be known.
fn since(known: &mut BTreeMap<u64, u64>, owners: &Owners, inode: u64, was_idle: bool) -> u64 {
    let now = clock::wall_ms();
    *known.entry(inode).or_insert_with(|| {
        let start = owners.start(inode).filter(|_| was_idle);
        let age = start.map(|start| clock::boot_ms().saturating_sub(start * CLOCK_TICK_MS));
        now.saturating_sub(age.unwrap_or(0))
    })
}

fn add(views: &mut Views, one: &Listener, owner: Owner, since: u64) {
    let empty = || PortView {
        port: one.port,
        addresses: Vec::new(),
        owner: Owner::default(),
        since_unix_ms: since,
        hidden: 0,
    };
    let view = views.entry(one.port).or_insert_with(empty);
    view.since_unix_ms = view.since_unix_ms.min(since);
    if !view.addresses.contains(&one.ip) && view.addresses.len() < ADDRESSES {
        view.addresses.push(one.ip);
    }
    // The first that is known: listeners are in the order of their addresses.
    if view.owner == Owner::default() {
        view.owner = owner;
    }
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Loopback first, IPv4 before IPv6. Whoever the kernel could choose there has to be shown.
fn places_of(port: u16, all: &[Listener], shown: &[Listener]) -> Vec<(SocketAddr, u32)> {
    let here: Vec<&Listener> = all.iter().filter(|one| one.port == port).collect();
    let [v4, v6] = LOOPBACK;
    let mut ips: Vec<IpAddr> = Vec::new();
    let is_at = |ip: IpAddr| here.iter().any(|one| one.ip == ip);
    ips.extend((is_at(v4) || is_at(ANY[0])).then_some(v4));
    ips.extend((is_at(v6) || is_at(ANY[1])).then_some(v6));
    // Of both families, where this machine has IPv4 alone.
    ips.extend(is_at(ANY[1]).then_some(v4));
    ips.extend(here.iter().map(|one| one.ip).filter(|ip| !ANY.contains(ip)));
    let mut places: Vec<(SocketAddr, u32)> = Vec::new();
    for ip in ips {
        let at = SocketAddr::new(ip, port);
        if let Some(user) = user_at(ip, &here, shown) {
            if !places.iter().any(|(known, _)| *known == at) {
                places.push((at, user));
            }
        }
    }
    places
}

/// The kernel prefers the address itself, then all of its family, then all of both.
fn user_at(ip: IpAddr, here: &[&Listener], shown: &[Listener]) -> Option<u32> {
    let any = if ip.is_ipv4() { ANY[0] } else { ANY[1] };
    let at = |ip: IpAddr| here.iter().filter(|one| one.ip == ip).copied().collect::<Vec<_>>();
    let first = [ip, any, ANY[1]].into_iter().map(at).find(|found| !found.is_empty())?;
    let is_ours = first.iter().all(|one| shown.contains(one));
    first.first().filter(|_| is_ours).map(|one| one.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_is_reached_and_where_it_listens() {
        let of =
            |ip: &str, uid| Listener { ip: ip.parse().unwrap(), port: 80, uid, inode: uid.into() };
        let at = |all: &[Listener]| {
            let shown: Vec<Listener> = all.iter().filter(|one| one.uid == 1000).copied().collect();
            let places = places_of(80, all, &shown).into_iter();
            places.map(|(at, _)| at.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(at(&[]), [""; 0]);
        for (ip, place) in [
            ("127.0.0.1", &["127.0.0.1"][..]),
            ("0.0.0.0", &["127.0.0.1"]),
            ("::1", &["::1"]),
            ("::", &["::1", "127.0.0.1"]),
            ("127.0.0.9", &["127.0.0.9"]),
            ("192.0.2.1", &["192.0.2.1"]),
            ("2001:db8::1", &["2001:db8::1"]),
        ] {
            assert_eq!(at(&[of(ip, 1000)]), place, "{ip}");
            assert_eq!(at(&[of(ip, 1000), of(ip, 1000)]), place, "twice at {ip}");
            assert_eq!(at(&[of(ip, 0)]), [""; 0], "another user's at {ip}");
            assert_eq!(at(&[of(ip, 1000), of(ip, 1001)]), [""; 0], "shared at {ip}");
        }
        let (v4, v6) = (of("127.0.0.1", 1000), of("::1", 1000));
        assert_eq!(at(&[v4, v6]), ["127.0.0.1", "::1"]);
        // Another user's stands before, or beside.
        assert_eq!(at(&[of("127.0.0.1", 1001), of("0.0.0.0", 1000)]), [""; 0]);
        assert_eq!(at(&[of("127.0.0.1", 1001), v6]), ["::1"]);
        assert_eq!(at(&[of("127.0.0.1", 1001), of("::", 1000)]), ["::1"]);
        assert_eq!(at(&[of("0.0.0.0", 1001), of("::", 1000)]), ["::1"]);
        assert_eq!(at(&[v4, of("0.0.0.0", 1001)]), ["127.0.0.1"], "one's own is nearer");
        assert_eq!(places_of(81, &[v4], &[v4]), []);
    }

    #[test]
    fn one_port_is_told_once_with_all_of_its_addresses() {
        let mut views = Views::new();
        let named = Owner { pid: Some(7), ..Owner::default() };
        let of = |ip: &str, n| Listener { ip: ip.parse().unwrap(), port: 80, uid: 1, inode: n };
        add(&mut views, &of("127.0.0.1", 1), Owner::default(), 5);
        add(&mut views, &of("127.0.0.1", 2), named.clone(), 3);
        add(&mut views, &of("::1", 3), Owner { pid: Some(8), ..Owner::default() }, 9);
        let view = &views[&80];
        assert_eq!((view.addresses.len(), view.since_unix_ms, &view.owner), (2, 3, &named));
        (0..=255).for_each(|n| add(&mut views, &of(&format!("127.0.1.{n}"), 4), named.clone(), 9));
        assert_eq!(views[&80].addresses.len(), ADDRESSES);
    }
}
