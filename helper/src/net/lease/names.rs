//! The names that users give to addresses: in the rows, in the state file and in /etc/hosts.

use super::leases::{HOSTS_MAX, HOSTS_PER_UID, Leases, denied, kept, limit};
use crate::core::peer_cred::Caller;
use crate::net::block::Entry;
use crate::net::pool;
use crate::net::state::{self, HostEntry, Lease};
use crate::proto::OpError;
use std::net::Ipv4Addr;

impl Leases {
    /// Gives `ip` a name; false when it had it already.
    pub fn add_name(
        &mut self,
        caller: Caller,
        entry: Entry,
        lease: Option<String>,
    ) -> Result<bool, OpError> {
        pool::check_name(&entry.name)?;
        self.config.pools.check_ip("ip", entry.ip)?;
        if let Some(id) = &lease {
            if self.find(caller, id)?.is_none() {
                return Err(OpError::conflict("there is no such lease"));
            }
        }
        if self.state.leases.iter().any(|lease| holds(lease, entry.ip) && !caller.owns(lease.uid)) {
            return Err(OpError::of_another("the address belongs to another user's tunnel"));
        }
        if self.config.reserve.keeps_ip(caller.uid, entry.ip) {
            return Err(kept("the address"));
        }
        if self.config.reserve.keeps_name(caller.uid, &entry.name) {
            return Err(kept("the name"));
        }
        self.hosts.check_free(&entry.name)?;
        let (conn, uid) = (Some(caller.conn), caller.uid);
        let rows = &mut self.state.named;
        let before = rows.clone();
        match rows.iter_mut().find(|old| old.entry.name == entry.name) {
            Some(old) if old.uid != uid && uid != 0 => {
                return Err(OpError::of_another("the name is in use by another user"));
            }
            Some(old) if old.conn != conn => return Err(OpError::conflict("the name is in use")),
            Some(old) => *old = HostEntry { entry: entry.clone(), lease, conn, uid },
            None => {
                let own = rows.iter().filter(|named| named.uid == uid).count();
                if own >= HOSTS_PER_UID || rows.len() >= HOSTS_MAX {
                    return Err(limit("names"));
                }
                rows.push(HostEntry { entry: entry.clone(), lease, conn, uid });
            }
        }
        let changed = !before.iter().any(|old| old.entry == entry);
        // Also when nothing changed: the file may have been edited by hand.
        if let Err(e) = self.write_names(false) {
            self.state.named = before;
            let _ = self.write_names(true);
            return Err(e);
        }
        if changed {
            self.changes.push(format!("name {} is {}", entry.name, entry.ip));
        }
        Ok(changed)
    }

    /// Takes a name back; false when nobody had it.
    pub fn remove_name(&mut self, caller: Caller, name: &str) -> Result<bool, OpError> {
        pool::check_name(name)?;
        let Some(named) = self.state.named.iter().find(|named| named.entry.name == name) else {
            return Ok(false);
        };
        if !caller.owns(named.uid) {
            return Err(denied());
        }
        let before = self.state.named.clone();
        self.state.named.retain(|named| named.entry.name != name);
        if let Err(e) = self.write_names(true) {
            self.state.named = before;
            return Err(e);
        }
        self.changes.push(format!("name {name} removed"));
        Ok(true)
    }

    /// The caller's names; all of them for root.
    pub fn names(&self, caller: Caller) -> impl Iterator<Item = &HostEntry> {
        self.state.named.iter().filter(move |named| caller.owns(named.uid))
    }

    /// Makes the block of /etc/hosts what the rows say, with the rows and the edit on the disk
    /// first. What is given back is given back even if nothing can be written there.
    pub(super) fn write_names(&mut self, giving_back: bool) -> Result<(), OpError> {
        let kept = |saved: Result<(), OpError>| if giving_back { Ok(()) } else { saved };
        let Leases { hosts, file, state: rows, .. } = self;
        let entries: Vec<Entry> = rows.named.iter().map(|named| named.entry.clone()).collect();
        let result = hosts.set(&entries, &mut |edit, memory| {
            (rows.edit, rows.memory) = (Some(edit), memory.clone());
            kept(state::save(file, rows))
        });
        self.trouble = result.as_ref().err().map(|e| e.message.clone());
        if result.is_err() && !giving_back {
            return result;
        }
        let saved = self.save();
        result.and(kept(saved))
    }
}

fn holds(lease: &Lease, ip: Ipv4Addr) -> bool {
    lease.ends.is_some_and(|ends| ends.local == ip || ends.route().contains(ip))
}
