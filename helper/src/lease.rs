//! Who holds which device and which name, and the undoing of both.
//!
//! A lease lives as long as the connection that made it. Whatever ends it (cleanup, hang-up,
//! shutdown) takes the same way: its names go first, then its device, so that no name ever
//! points into a tunnel that is gone. Must not know: bytes, sockets, JSON requests.

use crate::config::Config;
use crate::hosts::{Entry, Hosts};
use crate::link_linux::{Device, Links};
use crate::pool::{self, Conflict, Ends, Held, View};
use hop_helper::proto::{Code, OpError, Target};
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

pub const LEASES_MAX: usize = 16;
pub const LEASES_PER_UID: usize = 4;
pub const HOSTS_MAX: usize = 128;
pub const HOSTS_PER_UID: usize = 32;

/// The caller of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub conn: u64,
    pub uid: u32,
}

impl Caller {
    /// Root may touch every object, others their own.
    fn owns(self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }
}

#[derive(Clone, Debug)]
pub struct Lease {
    pub id: String,
    pub name: String,
    pub ifindex: u32,
    pub mtu: u16,
    pub label: Option<String>,
    pub ends: Option<Ends>,
    conn: u64,
    uid: u32,
}

#[derive(Clone, Debug)]
pub struct Named {
    pub entry: Entry,
    pub lease: Option<String>,
    conn: u64,
    uid: u32,
}

/// All leases and names, with the two things of the machine that they are about.
pub struct Book {
    links: Links,
    hosts: Hosts,
    leases: Vec<Lease>,
    named: Vec<Named>,
}

fn denied() -> OpError {
    OpError::new(Code::PermissionDenied, "it belongs to another user")
}

fn limit(what: &str) -> OpError {
    OpError::new(Code::LimitExceeded, format!("too many {what}; give one back first"))
}

fn new_id() -> Result<String, OpError> {
    let mut random = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|_| OpError::new(Code::InternalError, "no random number for the lease"))?;
    Ok(format!("L-{:016x}", u64::from_ne_bytes(random)))
}

impl Book {
    pub fn new(links: Links) -> Book {
        Book { links, hosts: Hosts::default(), leases: Vec::new(), named: Vec::new() }
    }

    /// Makes a device for the caller. The descriptor in the answer is the only one.
    pub fn create(
        &mut self,
        caller: Caller,
        name: Option<&str>,
        mtu: u16,
        label: Option<String>,
    ) -> Result<(String, Device), OpError> {
        let own = self.leases.iter().filter(|lease| lease.uid == caller.uid).count();
        if own >= LEASES_PER_UID || self.leases.len() >= LEASES_MAX {
            return Err(limit("tunnels"));
        }
        let id = new_id()?;
        let device = self.links.create(name, mtu)?;
        self.leases.push(Lease {
            id: id.clone(),
            name: device.name.clone(),
            ifindex: device.ifindex,
            mtu,
            label,
            ends: None,
            conn: caller.conn,
            uid: caller.uid,
        });
        Ok((id, device))
    }

    /// Gives a device its two ends; a second call moves it to others. Returns the lease and its
    /// routes as the kernel has them.
    pub fn configure(
        &mut self,
        caller: Caller,
        target: &Target,
        ends: Ends,
        config: &Config,
    ) -> Result<(Lease, Vec<String>), OpError> {
        let Some(lease) = self.find(caller, target)?.cloned() else {
            return Err(OpError::new(Code::StateConflict, "there is no such lease"));
        };
        config.pools.check_ends(ends)?;
        let view = self.links.view()?;
        if let Some(found) = pool::conflict(ends, Some(lease.ifindex), &view, &self.held()) {
            return Err(self.in_the_way(found));
        }
        let routes = self.links.configure(&lease.name, lease.ifindex, ends, lease.ends);
        // After a failure the device has neither the old ends nor the new ones.
        let now = routes.is_ok().then_some(ends);
        let lease = Lease { ends: now, ..lease };
        if let Some(own) = self.leases.iter_mut().find(|own| own.id == lease.id) {
            *own = lease.clone();
        }
        Ok((lease, routes?.iter().map(ToString::to_string).collect()))
    }

    /// Makes a lease the connection's own, unless another connection of its user holds it.
    pub fn attach(&mut self, caller: Caller, id: &str) -> Result<Lease, OpError> {
        let Some(lease) = self.leases.iter().find(|lease| lease.id == id) else {
            return Err(OpError::new(Code::StateConflict, "there is no such lease"));
        };
        if lease.uid != caller.uid {
            return Err(denied());
        }
        if lease.conn != caller.conn {
            let why = "another connection holds the lease";
            return Err(OpError::new(Code::StateConflict, why));
        }
        Ok(lease.clone())
    }

    /// Ends one lease; false when there was none.
    pub fn cleanup(&mut self, caller: Caller, target: &Target) -> Result<bool, OpError> {
        let Some(lease) = self.find(caller, target)?.cloned() else {
            return Ok(false);
        };
        self.end(|other| other.id == lease.id, |named| named.lease.as_ref() == Some(&lease.id))?;
        Ok(true)
    }

    /// Ends everything that a connection held. What cannot be undone is told on stderr and
    /// forgotten: its owner is gone.
    pub fn end_connection(&mut self, conn: u64) {
        if let Err(e) = self.end(|lease| lease.conn == conn, |named| named.conn == conn) {
            eprintln!("hop-helper: end of a connection: {}", e.message);
        }
    }

    /// Ends everything, and removes a block of names that an earlier run left behind.
    pub fn end_all(&mut self) -> Result<(), OpError> {
        self.end(|_| true, |_| true)?;
        self.hosts.set(&[])
    }

    /// Names first, then devices; every step is tried even when one fails.
    fn end(
        &mut self,
        ends: impl Fn(&Lease) -> bool,
        goes: impl Fn(&Named) -> bool,
    ) -> Result<(), OpError> {
        let ending: Vec<Lease> = self.leases.iter().filter(|lease| ends(lease)).cloned().collect();
        let of = |named: &Named| ending.iter().any(|lease| Some(&lease.id) == named.lease.as_ref());
        let before = self.named.len();
        self.named.retain(|named| !goes(named) && !of(named));
        let mut result = Ok(());
        if self.named.len() != before {
            result = self.hosts.set(&self.entries());
        }
        for lease in &ending {
            let deleted = self.links.delete(&lease.name, lease.ifindex);
            result = result.and(deleted.map(|_| ()));
        }
        self.leases.retain(|lease| !ends(lease));
        result
    }

    /// Gives `ip` a name; false when it had it already.
    pub fn add_name(
        &mut self,
        caller: Caller,
        entry: Entry,
        lease: Option<String>,
        config: &Config,
    ) -> Result<bool, OpError> {
        pool::check_name(&entry.name)?;
        config.pools.check_ip("ip", entry.ip)?;
        if let Some(id) = &lease {
            if self.find(caller, &Target::Lease(id.clone()))?.is_none() {
                return Err(OpError::new(Code::StateConflict, "there is no such lease"));
            }
        }
        if self.leases.iter().any(|lease| lease.holds(entry.ip) && !caller.owns(lease.uid)) {
            let why = "the address belongs to another user's tunnel";
            return Err(OpError::new(Code::StateConflict, why));
        }
        let (conn, uid) = (caller.conn, caller.uid);
        let named = Named { entry, lease, conn, uid };
        let at = self.named.iter().position(|other| other.entry.name == named.entry.name);
        let before = self.named.clone();
        let old = at.and_then(|at| self.named.get_mut(at));
        let changed = match old {
            Some(old) if old.conn != conn => {
                return Err(OpError::new(Code::StateConflict, "the name is in use"));
            }
            Some(old) => std::mem::replace(old, named.clone()).entry != named.entry,
            None => {
                let own = before.iter().filter(|named| named.uid == uid).count();
                if own >= HOSTS_PER_UID || before.len() >= HOSTS_MAX {
                    return Err(limit("names"));
                }
                self.named.push(named);
                true
            }
        };
        // Also when nothing changed: the file may have been edited by hand.
        if let Err(e) = self.hosts.set(&self.entries()) {
            self.named = before;
            return Err(e);
        }
        Ok(changed)
    }

    /// Takes a name back; false when nobody had it.
    pub fn remove_name(&mut self, caller: Caller, name: &str) -> Result<bool, OpError> {
        pool::check_name(name)?;
        let Some(named) = self.named.iter().find(|named| named.entry.name == name) else {
            return Ok(false);
        };
        if !caller.owns(named.uid) {
            return Err(denied());
        }
        let before = self.named.clone();
        self.named.retain(|named| named.entry.name != name);
        if let Err(e) = self.hosts.set(&self.entries()) {
            self.named = before;
            return Err(e);
        }
        Ok(true)
    }

    pub fn suggest(&mut self, count: usize, config: &Config) -> Result<Vec<Ends>, OpError> {
        let view: View = self.links.view()?;
        Ok(config.pools.suggest(count, &view, &self.held()))
    }

    /// The caller's leases; all of them for root.
    pub fn leases(&self, caller: Caller) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| caller.owns(lease.uid))
    }

    /// The caller's names; all of them for root.
    pub fn names(&self, caller: Caller) -> impl Iterator<Item = &Named> {
        self.named.iter().filter(move |named| caller.owns(named.uid))
    }

    /// How many leases and names there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.leases.len(), self.named.len())
    }

    /// Whether a connection would leave something to undo.
    pub fn holds(&self, conn: u64) -> bool {
        self.leases.iter().any(|lease| lease.conn == conn)
            || self.named.iter().any(|named| named.conn == conn)
    }

    fn find(&self, caller: Caller, target: &Target) -> Result<Option<&Lease>, OpError> {
        let found = self.leases.iter().find(|lease| match target {
            Target::Lease(id) => lease.id == *id,
            Target::Name(name) => lease.name == *name,
        });
        match found {
            Some(lease) if !caller.owns(lease.uid) => Err(denied()),
            found => Ok(found),
        }
    }

    fn held(&self) -> Vec<Held> {
        let held = |lease: &Lease| Held { ifindex: lease.ifindex, ends: lease.ends };
        self.leases.iter().map(held).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        self.named.iter().map(|named| named.entry.clone()).collect()
    }

    fn in_the_way(&mut self, found: Conflict) -> OpError {
        let why = match found {
            Conflict::Route(net, ifindex) => {
                format!("{} already has the route {net}", self.links.name_of(ifindex))
            }
            Conflict::Address(ip, ifindex) => {
                format!("{} already has the address {ip}", self.links.name_of(ifindex))
            }
            Conflict::Lease(ifindex) => {
                format!("the tunnel {} already uses it", self.links.name_of(ifindex))
            }
        };
        OpError::new(Code::StateConflict, format!("the address range is taken: {why}"))
    }
}

impl Lease {
    fn holds(&self, ip: Ipv4Addr) -> bool {
        self.ends.is_some_and(|ends| ends.local == ip || ends.peer == ip)
    }
}
