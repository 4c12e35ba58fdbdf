//! Who holds which device and which name, and the undoing of both.
//!
//! A lease lives as long as the connection that holds it: the one that made it or, after a new
//! start of the helper, the one that attached to it. Whatever ends it (cleanup, hang-up,
//! shutdown) takes the same way: its names go first, then its device, so that no name ever
//! points into a tunnel that is gone. Must not know: bytes, sockets, JSON requests.

use super::patience::Patience;
use crate::core::peer_cred::Caller;
use crate::core::state_file::StateFile;
use crate::net::config::Config;
use crate::net::hosts::Hosts;
use crate::net::link::{DeviceStatus, Links, gone};
use crate::net::pool::{self, Conflict, Endpoints, Held, View};
use crate::net::resolvers::Resolvers;
use crate::net::state::{self, HostEntry, Lease, State};
use crate::proto::{Code, OpError};
use crate::sys;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub const LEASES_MAX: usize = 16;
pub const LEASES_PER_UID: usize = 4;
pub const HOSTS_MAX: usize = 128;
pub const HOSTS_PER_UID: usize = 32;
/// How long leases outlive the helper that gave them.
const ATTACH_WITHIN: Duration = Duration::from_secs(30);

/// How often a comparison of what is written with what is there has found what.
pub type Report = BTreeMap<&'static str, usize>;

/// All leases and names, with the two things of the machine that they are about.
pub struct Leases {
    pub(super) config: Config,
    pub(super) links: Links,
    pub(super) hosts: Hosts,
    pub(super) resolvers: Resolvers,
    pub(super) file: StateFile,
    pub(super) state: State,
    /// Until when leases of a run before this one wait for their holder.
    pub(super) attach_until: Option<Instant>,
    pub report: Report,
    /// Why the names are not as they should be.
    pub(super) trouble: Option<String>,
    /// How often things were put back of late.
    pub(super) patience: Patience,
    /// The file of names has changed since the last look at them.
    pub(super) names_due: bool,
    /// What was done to the machine since the last look, for the audit log.
    pub(super) changes: Vec<String>,
}

pub(super) fn denied() -> OpError {
    OpError::new(Code::PermissionDenied, "it belongs to another user")
}

/// For what nobody has asked for, or nobody waits for any more.
pub(super) fn tell(what: &str, result: Result<(), OpError>) {
    if let Err(e) = result {
        crate::core::say::tell(&format!("{what}: {}", e.message));
    }
}

pub(super) fn kept(what: &str) -> OpError {
    OpError::of_another(format!("{what} is kept by root for another user"))
}

/// Members get the names that are ours; others are root's to give.
fn may_name(caller: Caller, name: &str, config: &Config) -> Result<(), OpError> {
    if config.reserve.keeps_device(caller.uid, name) {
        return Err(kept(name));
    }
    if config.reserve.gives_device(caller.uid, name) {
        return Ok(());
    }
    let why = format!(
        "devices are named hopboxN; {name} is root's to give, by \"reserve\" in helper.json"
    );
    Err(OpError::new(Code::PermissionDenied, why))
}

pub(super) fn limit(what: &str) -> OpError {
    OpError::new(Code::LimitExceeded, format!("too many {what}; give one back first"))
}

impl Leases {
    /// Takes over what the run before this one held, if it was of this boot.
    pub fn open(
        links: Links,
        file: StateFile,
        epoch: String,
        config: Config,
    ) -> Result<Leases, String> {
        let mut state = state::load(&file)?;
        let mut hosts = Hosts::new(state.memory.clone());
        match state.edit.take().map_or(Ok(true), |edit| hosts.redo(&edit)) {
            Ok(true) => {}
            // The rows say what the block should be; damaged markers show when it is written.
            Ok(false) => crate::core::say::tell("/etc/hosts was edited since it was interrupted"),
            Err(e) => crate::core::say::tell(&e.message),
        }
        if state.epoch != epoch {
            state = State { epoch, ..State::default() };
        }
        let attach_until = (!state.leases.is_empty()).then(|| Instant::now() + ATTACH_WITHIN);
        let mut resolvers = Resolvers::default();
        resolvers.read().map_err(|e| e.message)?;
        Ok(Leases {
            config,
            links,
            hosts,
            resolvers,
            file,
            state,
            attach_until,
            report: Report::default(),
            trouble: None,
            patience: Patience::default(),
            names_due: false,
            changes: Vec::new(),
        })
    }

    /// Makes a device for the caller. The descriptor in the answer is the only one.
    pub fn create(
        &mut self,
        caller: Caller,
        name: Option<&str>,
        mtu: u16,
        label: Option<String>,
    ) -> Result<(Lease, OwnedFd), OpError> {
        name.map_or(Ok(()), |name| may_name(caller, name, &self.config))?;
        let own = self.state.leases.iter().filter(|lease| lease.uid == caller.uid).count();
        if own >= LEASES_PER_UID || self.state.leases.len() >= LEASES_MAX {
            return Err(limit("tunnels"));
        }
        let random = sys::random();
        let random = random.map_err(|_| OpError::new(Code::InternalError, "no random number"))?;
        let (device, fd) = self.links.create(name, mtu)?;
        let (id, uid) = (format!("L-{random:016x}"), caller.uid);
        let holder = Some(caller);
        let lease = Lease { id, device, label, ends: None, uid, removing: false, holder };
        self.state.leases.push(lease.clone());
        // Until the descriptor is handed out the device dies with us; from then on the row must
        // be there for a helper after this one.
        if let Err(e) = self.save() {
            self.state.leases.pop();
            return Err(e);
        }
        self.changes.push(format!("device {} made", lease.device.name));
        Ok((lease, fd))
    }

    /// Gives a device its two ends; a second call moves it to others.
    pub fn configure(
        &mut self,
        caller: Caller,
        id: &str,
        ends: Endpoints,
    ) -> Result<Lease, OpError> {
        let Some(lease) = self.find(caller, id)?.cloned() else {
            return Err(OpError::conflict("there is no such lease"));
        };
        self.config.pools.check_ends(ends)?;
        if self.config.reserve.keeps_ends(caller.uid, ends) {
            return Err(kept("the address range"));
        }
        let view = self.in_use()?;
        let given = self.config.reserve.gives_ends(caller.uid, ends);
        let found = pool::conflict(ends, Some(lease.device.ifindex), &view, &self.held(), given);
        if let Some(found) = found {
            return Err(self.in_the_way(found, caller));
        }
        // On the disk first, so that a helper after us sets right what we were killed in.
        self.put(&lease.id, Some(ends));
        if let Err(e) = self.save() {
            self.put(&lease.id, lease.ends);
            return Err(e);
        }
        self.guard_addresses();
        if let Err(e) = self.links.configure(&lease.device, ends) {
            // The device has neither the old ends nor the new ones.
            self.put(&lease.id, None);
            self.guard_addresses();
            let _ = self.save();
            return Err(e);
        }
        let name = &lease.device.name;
        self.changes.push(format!("{name}: {} to {}", ends.local, ends.route()));
        Ok(lease)
    }

    fn put(&mut self, id: &str, ends: Option<Endpoints>) {
        let lease = self.state.leases.iter_mut().find(|lease| lease.id == id);
        lease.into_iter().for_each(|lease| lease.ends = ends);
    }

    /// Makes a lease of a helper before this one, and its names, the connection's own.
    pub fn attach(&mut self, caller: Caller, id: &str) -> Result<Lease, OpError> {
        let conflict = |why| Err(OpError::conflict(why));
        let Some(lease) = self.state.leases.iter_mut().find(|lease| lease.id == id) else {
            return conflict("there is no such lease");
        };
        if lease.uid != caller.uid {
            return Err(denied());
        }
        if lease.holder.is_some_and(|holder| holder.conn != caller.conn) {
            return conflict("another connection holds the lease");
        }
        if self.links.status(&lease.device)? != DeviceStatus::Held {
            return Err(gone());
        }
        lease.holder = Some(caller);
        let lease = lease.clone();
        let names = self.state.named.iter_mut().filter(|named| named.lease.as_deref() == Some(id));
        names.for_each(|named| named.conn = Some(caller.conn));
        Ok(lease)
    }

    /// Ends one lease; false when there was none.
    pub fn cleanup(&mut self, caller: Caller, id: &str) -> Result<bool, OpError> {
        let known = self.find(caller, id)?.is_some();
        self.end(|lease| lease.id == id, |_| false)?;
        Ok(known)
    }

    /// The names of the leases that end and those that `goes` first, then devices; every step is
    /// tried even when one fails.
    pub(super) fn end(
        &mut self,
        ends: impl Fn(&Lease) -> bool,
        goes: impl Fn(&HostEntry) -> bool,
    ) -> Result<(), OpError> {
        let ending: Vec<Lease> =
            self.state.leases.iter().filter(|lease| ends(lease)).cloned().collect();
        let of =
            |named: &HostEntry| ending.iter().any(|lease| Some(&lease.id) == named.lease.as_ref());
        let going = self.state.named.iter().filter(|named| goes(named) || of(named));
        let going: Vec<String> = going.map(|named| named.entry.name.clone()).collect();
        self.state.named.retain(|named| !going.contains(&named.entry.name));
        // Should we be killed half-way, the one after us goes on.
        let doomed = self.state.leases.iter_mut().filter(|lease| ends(lease));
        doomed.for_each(|lease| lease.removing = true);
        let mut result = Ok(());
        if !going.is_empty() {
            result = self.write_names(true);
            self.changes.extend(going.iter().map(|name| format!("name {name} removed")));
        }
        for lease in &ending {
            let deleted = self.links.delete(&lease.device);
            if deleted == Ok(true) {
                self.changes.push(format!("device {} deleted", lease.device.name));
            }
            result = result.and(deleted.map(|_| ()));
        }
        if !ending.is_empty() {
            self.state.leases.retain(|lease| !lease.removing);
            self.guard_addresses();
            let _ = self.save();
        }
        result
    }

    pub(super) fn save(&mut self) -> Result<(), OpError> {
        (self.state.memory, self.state.edit) = (self.hosts.memory.clone(), None);
        state::save(&mut self.file, &self.state)
    }

    /// What the machine uses already, and whom it knows.
    fn in_use(&mut self) -> Result<View, OpError> {
        let neighbours = self.links.neighbours()?;
        let name_servers = self.resolvers.read()?;
        Ok(View { neighbours, name_servers, ..self.links.view()? })
    }

    /// The caller's leases; all of them for root.
    pub fn leases(&self, caller: Caller) -> impl Iterator<Item = &Lease> {
        self.state.leases.iter().filter(move |lease| caller.owns(lease.uid))
    }

    pub(super) fn find(&self, caller: Caller, id: &str) -> Result<Option<&Lease>, OpError> {
        let found = self.state.leases.iter().find(|lease| lease.id == id);
        match found {
            Some(lease) if !caller.owns(lease.uid) => Err(denied()),
            found => Ok(found),
        }
    }

    pub(super) fn held(&self) -> Vec<Held> {
        let held = |lease: &Lease| Held { ifindex: lease.device.ifindex, ends: lease.ends };
        self.state.leases.iter().map(held).collect()
    }

    fn in_the_way(&mut self, found: Conflict, caller: Caller) -> OpError {
        let mut name = |of| self.links.name_of(of);
        let mut of_another = false;
        let why = match found {
            Conflict::Route(net, of) => format!("{} already has the route {net}", name(of)),
            Conflict::Address(ip, of) => format!("{} already uses the address {ip}", name(of)),
            Conflict::Neighbour(ip, of) => format!("{} reaches somebody else at {ip}", name(of)),
            Conflict::NameServer(ip) => format!("{ip} is a name server of this machine"),
            Conflict::Wider(net, of) => {
                let only = "of which a tunnel gets single addresses only";
                format!("{} has the route {net}, {only}", name(of))
            }
            Conflict::Lease(of) => {
                let holder = self.state.leases.iter().find(|lease| lease.device.ifindex == of);
                let uid = holder.map(|lease| lease.uid);
                of_another = uid.is_some_and(|uid| !caller.owns(uid));
                let whose = if of_another { "another user's" } else { "the" };
                let told = uid.filter(|_| caller.uid == 0);
                let told = told.map_or(String::new(), |uid| format!(" of user {uid}"));
                format!("{whose} tunnel {}{told} already uses it", name(of))
            }
        };
        OpError { of_another, ..OpError::conflict(format!("the address range is taken: {why}")) }
    }
}
