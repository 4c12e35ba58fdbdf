//! Who holds which device and which name, and the undoing of both.
//!
//! A lease lives as long as the connection that holds it: the one that made it or, after a new
//! start of the helper, the one that attached to it. Whatever ends it (cleanup, hang-up,
//! shutdown) takes the same way: its names go first, then its device, so that no name ever
//! points into a tunnel that is gone. Must not know: bytes, sockets, JSON requests.

use crate::config::Config;
use crate::hosts::Hosts;
use crate::link::{Device, Fate, Links};
use crate::pool::{self, Conflict, Ends, Held, View};
use crate::state::{self, Lease, Named, State, Status, Store};
use crate::sys;
use hop_helper::block::Entry;
use hop_helper::proto::{Code, OpError, Target};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

pub const LEASES_MAX: usize = 16;
pub const LEASES_PER_UID: usize = 4;
pub const HOSTS_MAX: usize = 128;
pub const HOSTS_PER_UID: usize = 32;
/// How long leases outlive the helper that gave them.
const ATTACH_WITHIN: Duration = Duration::from_secs(30);

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

/// What a look at all leases and names has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// As they should be.
    pub verified: usize,
    /// Changed by somebody else and put right.
    pub reapplied: usize,
    /// Taken off the machine.
    pub removed: usize,
    /// Forgotten: the machine had them no more.
    pub dropped: usize,
}

/// All leases and names, with the two things of the machine that they are about.
pub struct Book {
    links: Links,
    hosts: Hosts,
    store: Store,
    epoch: String,
    leases: Vec<Lease>,
    named: Vec<Named>,
    /// Until when leases of a run before this one wait for their holder.
    attach_until: Option<Instant>,
    pub report: Report,
    /// Why the names are not as they should be.
    pub trouble: Option<String>,
    /// What was done to the machine since the last look, for the audit log.
    changes: Vec<String>,
}

fn denied() -> OpError {
    OpError::new(Code::PermissionDenied, "it belongs to another user")
}

fn limit(what: &str) -> OpError {
    OpError::new(Code::LimitExceeded, format!("too many {what}; give one back first"))
}

impl Book {
    /// Takes over what the run before this one held, if it was of this boot.
    pub fn open(links: Links, mut store: Store, epoch: String) -> Result<Book, String> {
        let state = store.load()?;
        let mut hosts = Hosts::new(state.joined);
        let redone = state.edit.as_ref().map_or(Ok(true), |edit| hosts.redo(edit));
        match redone {
            Ok(true) => {}
            // The rows say what the block should be; damaged markers show when it is written.
            Ok(false) => eprintln!("hop-helper: /etc/hosts was edited since it was interrupted"),
            Err(e) => eprintln!("hop-helper: {}", e.message),
        }
        let same = state.epoch == epoch;
        let (leases, named) = if same { (state.leases, state.named) } else { Default::default() };
        let waits = !leases.is_empty();
        Ok(Book {
            links,
            hosts,
            store,
            epoch,
            leases,
            named,
            attach_until: waits.then(|| Instant::now() + ATTACH_WITHIN),
            report: Report::default(),
            trouble: None,
            changes: Vec::new(),
        })
    }

    /// Compares what is written with what is there, and puts both right. Objects of others are
    /// not touched, whatever their names.
    pub fn reconcile(&mut self, config: &Config) {
        let mut report = Report::default();
        let mut ending = Vec::new();
        for lease in &mut self.leases {
            let fate = self.links.fate(&lease.name, lease.ifindex).unwrap_or(Fate::Held);
            let allowed = lease.ends.is_none_or(|ends| config.pools.check_ends(ends).is_ok());
            let keep = fate == Fate::Held && allowed && lease.status != Status::Removing;
            match lease.ends.filter(|_| keep) {
                _ if !keep => {
                    let there = matches!(fate, Fate::Held | Fate::Abandoned);
                    report.removed += usize::from(there);
                    report.dropped += usize::from(!there);
                    ending.push(lease.id.clone());
                }
                Some(ends) if !self.links.verify(&lease.name, lease.ifindex, ends) => {
                    match self.links.configure(&lease.name, lease.ifindex, ends) {
                        Ok(_) => report.reapplied += 1,
                        Err(_) => ending.push(lease.id.clone()),
                    }
                }
                _ => report.verified += 1,
            }
            lease.status = Status::Applied;
        }
        // A name without a lease cannot be attached to again: it ended with its connection.
        let ends = |named: &Named| {
            let good = pool::check_name(&named.entry.name)
                .and(config.pools.check_ip("ip", named.entry.ip));
            good.is_err() || (named.lease.is_none() && named.conn.is_none())
        };
        self.named.retain(|named| !ends(named));
        if let Err(e) = self.end(|lease| ending.contains(&lease.id), |_| false) {
            eprintln!("hop-helper: reconciliation: {}", e.message);
        }
        let known: Vec<u32> = self.leases.iter().map(|lease| lease.ifindex).collect();
        self.named.retain(|n| {
            n.lease.is_none() || self.leases.iter().any(|l| n.lease.as_ref() == Some(&l.id))
        });
        for (name, ifindex) in self.links.orphans(&known).unwrap_or_default() {
            report.removed += usize::from(self.links.delete(&name, ifindex) == Ok(true));
            self.changes.push(format!("device {name} deleted, an orphan"));
        }
        report.removed += self.links.drop_stray_routes(&known).unwrap_or(0);
        // A damaged block is for root to repair and no reason to refuse tunnels.
        if let Err(e) = self.write_names(true) {
            eprintln!("hop-helper: {}", e.message);
        }
        self.report = report;
    }

    /// Ends what waits in vain for its holder, and what has lost its device.
    pub fn tick(&mut self, now: Instant) {
        if self.attach_until.is_some_and(|until| until <= now) {
            self.attach_until = None;
            self.finish("holders that did not come back", |lease| lease.conn.is_none());
        }
    }

    /// Something has changed on the machine: leases whose device is gone end.
    pub fn look(&mut self) {
        self.links.drain();
        let links = &mut self.links;
        let mut gone = |lease: &Lease| {
            matches!(links.fate(&lease.name, lease.ifindex), Ok(Fate::Gone | Fate::Replaced))
        };
        let gone: Vec<String> =
            self.leases.iter().filter(|lease| gone(lease)).map(|lease| lease.id.clone()).collect();
        if !gone.is_empty() {
            self.finish("a device that is gone", |lease| gone.contains(&lease.id));
        }
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
        let random = sys::random();
        let random = random.map_err(|_| OpError::new(Code::InternalError, "no random number"))?;
        let id = format!("L-{random:016x}");
        let device = self.links.create(name, mtu)?;
        self.leases.push(Lease {
            id: id.clone(),
            name: device.name.clone(),
            ifindex: device.ifindex,
            mtu,
            label,
            ends: None,
            uid: caller.uid,
            status: Status::Applied,
            created_at: state::now_s(),
            conn: Some(caller.conn),
        });
        // Until the descriptor is handed out the device dies with us; from then on the row must
        // be there for a helper after this one.
        if let Err(e) = self.save() {
            self.leases.pop();
            return Err(e);
        }
        self.changes.push(format!("device {} made", device.name));
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
        let before = lease.clone();
        let lease = Lease { ends: Some(ends), status: Status::Pending, ..lease };
        self.put(&lease);
        if let Err(e) = self.save() {
            self.put(&before);
            return Err(e);
        }
        let routes = self.links.configure(&lease.name, lease.ifindex, ends);
        // After a failure the device has neither the old ends nor the new ones.
        let now = routes.is_ok().then_some(ends);
        let lease = Lease { ends: now, status: Status::Applied, ..lease };
        self.put(&lease);
        // The row on the disk says as much already, only not how far we came.
        let _ = self.save();
        let routes = routes?;
        self.changes.push(format!("{}: {} to {}", lease.name, ends.local, ends.route()));
        Ok((lease, routes.iter().map(ToString::to_string).collect()))
    }

    fn put(&mut self, lease: &Lease) {
        if let Some(own) = self.leases.iter_mut().find(|own| own.id == lease.id) {
            *own = lease.clone();
        }
    }

    /// Makes a lease of a helper before this one, and its names, the connection's own.
    pub fn attach(&mut self, caller: Caller, id: &str) -> Result<Lease, OpError> {
        let conflict = |why| Err(OpError::new(Code::StateConflict, why));
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.id == id) else {
            return conflict("there is no such lease");
        };
        if lease.uid != caller.uid {
            return Err(denied());
        }
        if lease.conn.is_some_and(|conn| conn != caller.conn) {
            return conflict("another connection holds the lease");
        }
        if self.links.fate(&lease.name, lease.ifindex)? != Fate::Held {
            return conflict("the device of this lease is gone");
        }
        lease.conn = Some(caller.conn);
        let lease = lease.clone();
        let names = self.named.iter_mut().filter(|named| named.lease.as_deref() == Some(id));
        names.for_each(|named| named.conn = lease.conn);
        Ok(lease)
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
        if !self.holds(conn) {
            return;
        }
        if let Err(e) = self.end(|lease| lease.conn == Some(conn), |named| named.conn == Some(conn))
        {
            eprintln!("hop-helper: end of a connection: {}", e.message);
        }
    }

    fn finish(&mut self, what: &str, ends: impl Fn(&Lease) -> bool) {
        if let Err(e) = self.end(ends, |_| false) {
            eprintln!("hop-helper: end of {what}: {}", e.message);
        }
    }

    /// Ends everything, and removes a block of names that an earlier run left behind.
    pub fn end_all(&mut self) -> Result<(), OpError> {
        let result = self.end(|_| true, |_| true);
        self.write_names(true).and(result)
    }

    /// Names first, then devices; every step is tried even when one fails.
    fn end(
        &mut self,
        ends: impl Fn(&Lease) -> bool,
        goes: impl Fn(&Named) -> bool,
    ) -> Result<(), OpError> {
        let ending: Vec<Lease> = self.leases.iter().filter(|lease| ends(lease)).cloned().collect();
        let of = |named: &Named| ending.iter().any(|lease| Some(&lease.id) == named.lease.as_ref());
        let going = self.named.iter().filter(|named| goes(named) || of(named));
        let going: Vec<String> = going.map(|named| named.entry.name.clone()).collect();
        self.named.retain(|named| !going.contains(&named.entry.name));
        // Should we be killed half-way, the one after us goes on.
        let doomed = self.leases.iter_mut().filter(|lease| ends(lease));
        doomed.for_each(|lease| lease.status = Status::Removing);
        let mut result = Ok(());
        if !going.is_empty() {
            result = self.write_names(true);
            self.changes.extend(going.iter().map(|name| format!("name {name} removed")));
        }
        for lease in &ending {
            let deleted = self.links.delete(&lease.name, lease.ifindex);
            if deleted == Ok(true) {
                self.changes.push(format!("device {} deleted", lease.name));
            }
            result = result.and(deleted.map(|_| ()));
        }
        if !ending.is_empty() {
            self.leases.retain(|lease| lease.status != Status::Removing);
            let _ = self.save();
        }
        result
    }

    /// Makes the block of /etc/hosts what the rows say, with the rows and the edit on the disk
    /// first. What is given back is given back even if nothing can be written there.
    fn write_names(&mut self, giving_back: bool) -> Result<(), OpError> {
        let state = self.state();
        let store = &mut self.store;
        let kept = |saved: Result<(), OpError>| if giving_back { Ok(()) } else { saved };
        let entries: Vec<Entry> = self.named.iter().map(|named| named.entry.clone()).collect();
        let result = self.hosts.set(&entries, &mut |edit, joined| {
            kept(store.save(&State { edit: Some(edit), joined, ..state.clone() }))
        });
        self.trouble = result.as_ref().err().map(|e| e.message.clone());
        if giving_back || result.is_ok() {
            let saved = self.save();
            result.and(if giving_back { Ok(()) } else { saved })
        } else {
            result
        }
    }

    fn state(&self) -> State {
        State {
            epoch: self.epoch.clone(),
            leases: self.leases.clone(),
            named: self.named.clone(),
            joined: self.hosts.joined,
            edit: None,
        }
    }

    fn save(&mut self) -> Result<(), OpError> {
        let state = self.state();
        self.store.save(&state)
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
        if self.leases.iter().any(|lease| holds(lease, entry.ip) && !caller.owns(lease.uid)) {
            let why = "the address belongs to another user's tunnel";
            return Err(OpError::new(Code::StateConflict, why));
        }
        self.hosts.check_free(&entry.name)?;
        let (conn, uid) = (Some(caller.conn), caller.uid);
        let (name, ip) = (entry.name.clone(), entry.ip);
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
        if let Err(e) = self.write_names(false) {
            self.named = before;
            let _ = self.write_names(true);
            return Err(e);
        }
        if changed {
            self.changes.push(format!("name {name} is {ip}"));
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
        if let Err(e) = self.write_names(true) {
            self.named = before;
            return Err(e);
        }
        self.changes.push(format!("name {name} removed"));
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
        self.leases.iter().any(|lease| lease.conn == Some(conn))
            || self.named.iter().any(|named| named.conn == Some(conn))
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

    /// The sandbox keeps us from the file that is /etc/hosts now; a new start mends that.
    pub fn detached(&self) -> bool {
        self.hosts.detached
    }

    /// Why the state file is not as it should be.
    pub fn state_trouble(&self) -> Option<&String> {
        self.store.trouble.as_ref()
    }

    /// What was done to the machine since the last call.
    pub fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changes)
    }

    pub fn watch(&self) -> BorrowedFd<'_> {
        self.links.watch()
    }

    fn in_the_way(&mut self, found: Conflict) -> OpError {
        let why = match found {
            Conflict::Route(net, ifindex) => {
                format!("{} already has the route {net}", self.links.name_of(ifindex))
            }
            Conflict::Address(ip, ifindex) => {
                format!("{} already uses the address {ip}", self.links.name_of(ifindex))
            }
            Conflict::Lease(ifindex) => {
                format!("the tunnel {} already uses it", self.links.name_of(ifindex))
            }
        };
        OpError::new(Code::StateConflict, format!("the address range is taken: {why}"))
    }
}

fn holds(lease: &Lease, ip: Ipv4Addr) -> bool {
    lease.ends.is_some_and(|ends| ends.local == ip || ends.peer == ip)
}
