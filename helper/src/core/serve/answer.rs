//! What comes of each operation, as the JSON of its reply.

use super::*;
use crate::net::link::{Layer, Layers};

impl Server {
    pub(super) fn perform(&mut self, conn: &mut Conn, op: Op) -> (Answer, Option<OwnedFd>) {
        let caller = Caller { conn: conn.id, uid: conn.peer.uid };
        let answer = match op {
            Op::Handshake { .. } => {
                conn.handshaken = true;
                Ok(self.welcome())
            }
            Op::Version => Ok(version()),
            Op::Health => Ok(self.health()),
            Op::TunSuggest { count } => self.suggest(caller, count),
            Op::TunCreate { name, mtu, label } => {
                match self.book.create(caller, name.as_deref(), mtu, label, &self.config) {
                    Ok((id, device)) => {
                        let answer = json!({
                            "lease_id": id, "name": device.name, "ifindex": device.ifindex,
                            "mtu": device.mtu, "fd": 0, "vnet_hdr": device.vnet_hdr,
                        });
                        return (Ok(answer), Some(device.fd));
                    }
                    Err(e) => Err(e),
                }
            }
            Op::TunConfigure { target, local, peer, prefix } => {
                let ends = Ends { local, peer, prefix };
                self.book.configure(caller, &target, ends, &self.config).map(|(lease, routes)| {
                    json!({"name": lease.name, "local": local, "peer": peer, "routes": routes})
                })
            }
            Op::TunAttach { lease } => self.book.attach(caller, &lease).map(|lease| row(&lease)),
            Op::TunCleanup { target } => {
                self.book.cleanup(caller, &target).map(|removed| json!({"removed": removed}))
            }
            Op::TunList => Ok(self.leases(caller)),
            Op::HostsAdd { name, ip, lease } => {
                let entry = Entry { name: name.clone(), ip };
                self.book
                    .add_name(caller, entry, lease, &self.config)
                    .map(|changed| json!({"name": name, "ip": ip, "changed": changed}))
            }
            Op::HostsRemove { name } => {
                self.book.remove_name(caller, &name).map(|removed| json!({"removed": removed}))
            }
            Op::HostsList => Ok(self.names(caller)),
        };
        (answer, None)
    }

    fn welcome(&self) -> Value {
        json!({
            "daemon_version": env!("CARGO_PKG_VERSION"),
            "protocol_version": proto::VERSION,
            "accepted": true,
            "role": "client",
            "platform": std::env::consts::OS,
            "features": proto::OPERATIONS.iter().map(|row| row.name).collect::<Vec<&str>>(),
            "pools": self.config.pools.list(),
            "suffix": ".hop",
            "limits": limits(),
        })
    }

    fn health(&self) -> Value {
        let (leases, hosts) = self.book.counts();
        let lock = lockdown::look(&self.config_path);
        let doubt = lock.as_ref().filter(|lock| lock.doubtful).map(|lock| &lock.why);
        let troubles = self.book.troubles().into_iter().chain([doubt, self.audit.trouble.as_ref()]);
        let left = self.book.left_alone();
        let degraded: Vec<&String> = troubles.flatten().chain(&left).collect();
        json!({
            "status": if degraded.is_empty() { "ok" } else { "degraded" },
            "degraded": degraded,
            "uptime_s": self.started.elapsed().as_secs(),
            "leases": leases,
            "hosts": hosts,
            "lockdown": lock.as_ref().map(|lock| &lock.why),
            "rules": 0,
            "connections": self.conns.len() + 1,
            "last_reconcile": self.report(),
            "audit_ok": self.audit.trouble.is_none(),
            "audit_lost": self.audit.lost,
            "sandbox": self.layers.to_json(),
            "layers": layers(self.book.layers()),
            "state_ok": self.book.troubles().first().is_none_or(|trouble| trouble.is_none()),
            "hosts_mode": "in-place",
            "limits": limits(),
        })
    }

    pub(super) fn report(&self) -> Value {
        let report = self.book.report;
        json!({
            "verified": report.verified, "reapplied": report.reapplied,
            "removed": report.removed, "dropped": report.dropped,
        })
    }

    fn suggest(&mut self, caller: Caller, count: usize) -> Answer {
        let pairs = self.book.suggest(caller, count, &self.config)?;
        let pair = |ends: &Ends| json!({"local": ends.local, "peer": ends.peer});
        Ok(json!({"pairs": pairs.iter().map(pair).collect::<Vec<Value>>()}))
    }

    fn leases(&self, caller: Caller) -> Value {
        json!({"leases": self.book.leases(caller).map(row).collect::<Vec<Value>>()})
    }

    fn names(&self, caller: Caller) -> Value {
        let row = |named: &state::Named| {
            let (entry, lease) = (&named.entry, &named.lease);
            json!({"name": entry.name, "ip": entry.ip, "lease_id": lease})
        };
        json!({"entries": self.book.names(caller).map(row).collect::<Vec<Value>>()})
    }
}

fn row(lease: &state::Lease) -> Value {
    json!({
        "lease_id": lease.id, "name": lease.name, "ifindex": lease.ifindex,
        "mtu": lease.mtu, "label": lease.label,
        "local": lease.ends.map(|ends| ends.local),
        "peer": lease.ends.map(|ends| ends.peer),
    })
}

/// Word and reason for each layer.
fn layers(layers: Layers) -> Value {
    let state = |layer| match layer {
        Layer::Idle => json!({"state": "idle"}),
        Layer::On => json!({"state": "on"}),
        Layer::Missing(why) => json!({"state": "missing", "reason": why.what()}),
    };
    json!({
        "ingress_filter": state(layers.ingress_filter), "ipv6_off": state(layers.ipv6_off),
        "rp_filter": state(layers.rp_filter), "lan_guard": state(layers.lan_guard),
    })
}

fn version() -> Value {
    json!({
        "daemon_version": env!("CARGO_PKG_VERSION"),
        "protocol_version": proto::VERSION,
        "platform": std::env::consts::OS,
    })
}

fn limits() -> Value {
    json!({
        "connections": CONNECTIONS_MAX, "connections_per_uid": CONNECTIONS_PER_UID,
        "leases": lease::LEASES_MAX, "leases_per_uid": lease::LEASES_PER_UID,
        "hosts": lease::HOSTS_MAX, "hosts_per_uid": lease::HOSTS_PER_UID,
        "request_bytes": MAX_REQUEST, "deadline_s": DEADLINE.as_secs(),
        "idle_s": IDLE_MAX.as_secs(), "silent_per_uid": SILENT_PER_UID,
        "requests_per_s": limit::REQUESTS_PER_S, "burst": limit::BURST,
    })
}
