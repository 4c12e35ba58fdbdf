//! What is written compared with what is there, at the start and whenever root asks for it.

use super::leases::{Leases, tell};
use super::patience::Patience;
use super::report::Report;
use crate::net::block::Entry;
use crate::net::link::DeviceStatus;
use crate::net::pool;

impl Leases {
    /// Compares what is written with what is there, and puts both right. Objects of others are
    /// not touched, whatever their names.
    pub(super) fn compare(&mut self) -> Report {
        let config = &self.config;
        self.patience = Patience::default();
        let mut report = Report::default();
        let mut ending = Vec::new();
        for lease in &mut self.state.leases {
            let status =
                self.links.status(&lease.name, lease.ifindex).unwrap_or(DeviceStatus::Held);
            let allowed = lease.ends.is_none_or(|ends| {
                let kept = config.reserve.keeps_ends(lease.uid, ends);
                config.pools.check_ends(ends).is_ok() && !kept
            });
            if status != DeviceStatus::Held || !allowed || lease.removing {
                let there = matches!(status, DeviceStatus::Held | DeviceStatus::Abandoned);
                report.removed += usize::from(there);
                report.dropped += usize::from(!there);
                ending.push(lease.id.clone());
                continue;
            }
            match self.links.confine(&lease.name, lease.ifindex, lease.ends) {
                Ok(put_right) => report.reapplied += usize::from(!put_right.is_empty()),
                Err(_) => {
                    ending.push(lease.id.clone());
                    continue;
                }
            }
            match lease.ends {
                Some(ends) if !self.links.verify(&lease.name, lease.ifindex, ends) => {
                    match self.links.configure(&lease.name, lease.ifindex, ends) {
                        Ok(_) => report.reapplied += 1,
                        Err(_) => ending.push(lease.id.clone()),
                    }
                }
                _ => report.verified += 1,
            }
        }
        let leases = &self.state.leases;
        self.state.named.retain(|named| {
            let good = pool::check_name(&named.entry.name)
                .and(config.pools.check_ip("ip", named.entry.ip));
            let held = match &named.lease {
                Some(id) => leases.iter().any(|lease| lease.id == *id),
                // It cannot be attached to again: it ended with its connection.
                None => named.conn.is_some(),
            };
            let (uid, Entry { name, ip }) = (named.uid, &named.entry);
            let kept = config.reserve.keeps_ip(uid, *ip) || config.reserve.keeps_name(uid, name);
            good.is_ok() && held && !kept
        });
        tell("reconciliation", self.end(|lease| ending.contains(&lease.id), |_| false));
        let known = self.state.leases.iter().map(|lease| lease.ifindex);
        let known: Vec<u32> = known.collect();
        for (name, ifindex) in self.links.orphans(&known).unwrap_or_default() {
            report.removed += usize::from(self.links.delete(&name, ifindex) == Ok(true));
            self.changes.push(format!("device {name} deleted, an orphan"));
        }
        report.removed += self.links.drop_stray_routes(&known).unwrap_or(0);
        self.guard_addresses();
        // A damaged block is for root to repair and no reason to refuse tunnels.
        tell("reconciliation", self.write_names(true));
        report
    }
}
