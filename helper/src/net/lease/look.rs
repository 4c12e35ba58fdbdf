//! What others change of our devices and names comes back: looked at with every news, and often
//! enough without. What keeps packets in their place is put back always, the rest within patience.

use super::leases::{Leases, tell};
use super::patience::{REPAIRS_MAX, WHILE};
use crate::net::link::DeviceStatus;
use crate::net::state::Lease;
use crate::proto::OpError;
use std::net::Ipv4Addr;
use std::time::Instant;

/// In the memory of repairs, where leases have their own names.
const NAMES: &str = "names";

impl Leases {
    /// Something may have changed on the machine: leases end whose device is gone, or cannot be
    /// kept in its place any more.
    pub(super) fn look_around(&mut self, now: Instant) {
        self.links.drain();
        self.patience.forget(now);
        if !self.state.leases.is_empty() {
            self.look_at_devices(now);
        }
        if !self.state.named.is_empty() {
            self.look_at_names(now);
        }
    }

    fn look_at_devices(&mut self, now: Instant) {
        let mut gone = Vec::new();
        let leases = self.state.leases.clone();
        for lease in &leases {
            match self.links.status(&lease.name, lease.ifindex) {
                Ok(DeviceStatus::Gone | DeviceStatus::Replaced) => gone.push(lease.id.clone()),
                Ok(DeviceStatus::Held | DeviceStatus::Abandoned) => {
                    if let Err(e) = self.look_at(lease, now) {
                        self.changes.push(format!("{}: {}", lease.name, e.message));
                        gone.push(lease.id.clone());
                    }
                }
                Err(_) => {}
            }
        }
        if self.guard_addresses() {
            self.put_back("guard of addresses", "lan", now);
        }
        if !gone.is_empty() {
            let ended = self.end(|lease| gone.contains(&lease.id), |_| false);
            tell("end of a device that is gone", ended);
        }
    }

    /// An error is a device that cannot be kept in its place.
    fn look_at(&mut self, lease: &Lease, now: Instant) -> Result<(), OpError> {
        let Lease { name, ifindex, mtu, ends, id, .. } = lease;
        for what in self.links.confine(name, *ifindex, *ends)? {
            self.put_back(&format!("{name}: {what}"), &format!("{id} confined"), now);
        }
        let Some(ends) = *ends else {
            return Ok(());
        };
        if self.links.lost(name, *ifindex, *mtu, ends).is_empty() || !self.patience.lasts(id, now) {
            return Ok(());
        }
        let lost = self.links.lost(name, *ifindex, *mtu, ends);
        let what = format!("{name}: {}", lost.join(", "));
        match self.links.restore(name, *ifindex, *mtu, ends) {
            Ok(()) => self.put_back(&what, id, now),
            Err(e) => {
                self.changes.push(format!("{what} cannot be put back: {}", e.message));
                self.patience.spend(id, now);
            }
        }
        Ok(())
    }

    fn look_at_names(&mut self, now: Instant) {
        self.names_due |= self.hosts.is_stirred();
        if !self.names_due || !self.patience.lasts(NAMES, now) {
            return;
        }
        self.names_due = false;
        let edits = self.hosts.edits;
        tell("names", self.write_names(true));
        if self.hosts.edits != edits {
            self.put_back("names", NAMES, now);
        }
    }

    /// For the audit log, as long as it is no fight.
    fn put_back(&mut self, what: &str, of: &str, now: Instant) {
        if self.patience.lasts(of, now) {
            self.changes.push(format!("{what} put back"));
        }
        self.patience.spend(of, now);
    }

    /// What another program takes away again and again, and is left alone for a while.
    pub fn left_alone(&self) -> Vec<String> {
        let over = self.state.leases.iter().filter(|lease| self.patience.is_over(&lease.id));
        let told = |what: &str| {
            let often = format!("{REPAIRS_MAX} times within {} s", WHILE.as_secs());
            format!("{what}: another program keeps changing it, {often}; left alone for now")
        };
        let names = self.patience.is_over(NAMES).then(|| told("the names in /etc/hosts"));
        over.map(|lease| told(&lease.name)).chain(names).collect()
    }

    /// Keeps other interfaces from the addresses of all tunnels; whether that was missing.
    pub(super) fn guard_addresses(&mut self) -> bool {
        let own = |lease: &Lease| Some((lease.name.clone(), lease.ends?.local));
        let addresses: Vec<(String, Ipv4Addr)> = self.state.leases.iter().filter_map(own).collect();
        self.links.guard_addresses(&addresses)
    }
}
