//! What is written compared with what is there. At the start, and whenever root asks for it, all of
//! it; with every news, and often enough without, what others change of our devices and names, to
//! put it back. What keeps packets in their place is put back always, the rest within patience.

use super::leases::{Leases, Report, tell};
use super::patience::{Patience, REPAIRS_MAX, WHILE};
use crate::net::block::Entry;
use crate::net::link::DeviceStatus;
use crate::net::pool::{self, View};
use crate::net::state::Lease;
use crate::proto::OpError;
use std::net::Ipv4Addr;
use std::time::Instant;

/// In the memory of repairs, where leases have their own names.
const NAMES: &str = "names";
/// What a comparison makes of a lease, or of something that is left over: as it should be, put
/// right, taken off the machine, forgotten because the machine has it no more.
const VERIFIED: &str = "verified";
const REAPPLIED: &str = "reapplied";
const REMOVED: &str = "removed";
const DROPPED: &str = "dropped";

impl Leases {
    /// Puts right whatever is not as it is written. Objects of others are not touched, whatever
    /// their names.
    pub(super) fn compare(&mut self) -> Report {
        self.patience = Patience::default();
        let mut report = Report::from([VERIFIED, REAPPLIED, REMOVED, DROPPED].map(|of| (of, 0)));
        let mut count = |of, more| *report.entry(of).or_default() += more;
        self.look_at_devices(Instant::now(), true).into_iter().for_each(|of| count(of, 1));
        let (config, leases) = (&self.config, &self.state.leases);
        self.state.named.retain(|named| {
            let (uid, Entry { name, ip }) = (named.uid, &named.entry);
            let good = pool::check_name(name).and(config.pools.check_ip("ip", *ip)).is_ok();
            let kept = config.reserve.keeps_ip(uid, *ip) || config.reserve.keeps_name(uid, name);
            let held = match &named.lease {
                Some(id) => leases.iter().any(|lease| lease.id == *id),
                // It cannot be attached to again: it ended with its connection.
                None => named.conn.is_some(),
            };
            good && held && !kept
        });
        let known: Vec<u32> = leases.iter().map(|lease| lease.device.ifindex).collect();
        for orphan in self.links.orphans(&known).unwrap_or_default() {
            count(REMOVED, usize::from(self.links.delete(&orphan) == Ok(true)));
            self.changes.push(format!("device {} deleted, an orphan", orphan.name));
        }
        count(REMOVED, self.links.drop_stray_routes(&known).unwrap_or(0));
        // A damaged block is for root to repair and no reason to refuse tunnels.
        tell("reconciliation", self.write_names(true));
        report
    }

    /// Something may have changed on the machine.
    pub(super) fn look_around(&mut self, now: Instant) {
        self.links.drain();
        self.patience.forget(now);
        if !self.state.leases.is_empty() {
            self.look_at_devices(now, false);
        }
        if !self.state.named.is_empty() {
            self.look_at_names(now);
        }
    }

    /// Leases end whose device is gone, or cannot be kept in its place any more; `anew` also those
    /// whose end had begun, whose holder is gone for good, or that root does not allow now.
    fn look_at_devices(&mut self, now: Instant, anew: bool) -> Vec<&'static str> {
        let (mut found, mut ending) = (Vec::new(), Vec::new());
        // One for all of them: it is every route of the machine.
        let needed = self.state.leases.iter().any(|lease| lease.ends.is_some());
        let view = needed.then(|| self.links.view().ok()).flatten();
        for lease in self.state.leases.clone() {
            let told = self.changes.len();
            let over = match self.links.status(&lease.device).unwrap_or(DeviceStatus::Held) {
                DeviceStatus::Gone => Some(DROPPED),
                DeviceStatus::Abandoned if anew => Some(REMOVED),
                _ if anew && (lease.removing || !self.may_stay(&lease)) => Some(REMOVED),
                _ => self.look_at(&lease, view.as_ref(), now, anew).err().map(|e| {
                    self.changes.push(format!("{}: {}", lease.device.name, e.message));
                    REMOVED
                }),
            };
            ending.extend(over.map(|_| lease.id));
            let right = if self.changes.len() == told { VERIFIED } else { REAPPLIED };
            found.push(over.unwrap_or(right));
        }
        if self.guard_addresses() {
            self.put_back("guard of addresses", "lan", now);
        }
        if !ending.is_empty() {
            let ended = self.end(|lease| ending.contains(&lease.id), |_| false);
            tell("end of a device that is gone", ended);
        }
        found
    }

    fn may_stay(&self, lease: &Lease) -> bool {
        let kept = |ends| self.config.reserve.keeps_ends(lease.uid, ends);
        lease.ends.is_none_or(|ends| self.config.pools.check_ends(ends).is_ok() && !kept(ends))
    }

    /// An error is a device that cannot be kept in its place.
    fn look_at(
        &mut self,
        lease: &Lease,
        view: Option<&View>,
        now: Instant,
        anew: bool,
    ) -> Result<(), OpError> {
        let Lease { device, ends, id, .. } = lease;
        for what in self.links.confine(device, *ends)? {
            self.put_back(&format!("{}: {what}", device.name), &format!("{id} confined"), now);
        }
        // What cannot be looked at is not lost.
        let (Some(ends), Some(view)) = (*ends, view) else {
            return Ok(());
        };
        let lost = self.links.lost(device, ends, view).unwrap_or_default();
        if lost.is_empty() || !self.patience.lasts(id, now) {
            return Ok(());
        }
        let what = format!("{}: {}", device.name, lost.join(", "));
        let mended = match anew {
            true => self.links.configure(device, ends),
            false => self.links.restore(device, ends),
        };
        match mended {
            Ok(()) => self.put_back(&what, id, now),
            Err(e) if anew => return Err(e),
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
        over.map(|lease| told(&lease.device.name)).chain(names).collect()
    }

    /// Keeps other interfaces from the addresses of all tunnels; whether that was missing.
    pub(super) fn guard_addresses(&mut self) -> bool {
        let own = |lease: &Lease| Some((lease.device.name.clone(), lease.ends?.local));
        let addresses: Vec<(String, Ipv4Addr)> = self.state.leases.iter().filter_map(own).collect();
        self.links.guard_addresses(&addresses)
    }
}
