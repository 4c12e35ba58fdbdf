//! What keeps a tunnel's packets in their place, as far as the helper says that it is missing.
//!
//! Pure. Must not know: sockets; what a missing layer means to whom.

use serde_json::{Value, json};

use crate::fix;
use crate::text::fix::Fix;

/// A layer of the helper's `daemon.health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    IngressFilter,
    Ipv6Off,
    RpFilter,
    LanGuard,
}

/// Why the helper has not got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A part of the kernel, by the name of its module.
    Module(&'static str),
    /// The settings below /proc/sys cannot be written.
    ReadOnly,
    /// The kernel refused it, or a newer helper has another reason.
    Other,
}

const GUARDS: [(&str, Guard); 4] = [
    ("ingress_filter", Guard::IngressFilter),
    ("ipv6_off", Guard::Ipv6Off),
    ("rp_filter", Guard::RpFilter),
    ("lan_guard", Guard::LanGuard),
];

/// What the helper says of its own part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    pub missing: Vec<(Guard, Lack)>,
    /// What it has given up to put right, because another program keeps changing it. For people.
    pub left_alone: Vec<String>,
}

impl Guards {
    /// Out of an answer to `daemon.health`; a newer helper may say more.
    pub fn read(health: &Value) -> Guards {
        let of = |(name, guard): (&str, Guard)| {
            let layer = health.get("layers")?.get(name)?;
            (layer["state"] == "missing").then(|| (guard, lack(layer["reason"].as_str())))
        };
        let left = health.get("degraded").and_then(Value::as_array).into_iter().flatten();
        Guards {
            missing: GUARDS.into_iter().filter_map(of).collect(),
            left_alone: left.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    pub fn to_json(&self) -> Value {
        let missing = self.missing.iter().map(|(guard, lack)| {
            json!({"fault": guard.fault(), "what": guard.without(), "why": lack.why()})
        });
        json!({"missing": missing.collect::<Value>(), "left_alone": self.left_alone})
    }
}

fn lack(reason: Option<&str>) -> Lack {
    match reason {
        Some("sch_ingress") => Lack::Module("sch_ingress"),
        Some("cls_bpf") => Lack::Module("cls_bpf"),
        Some("nf_tables" | "nf_tables_arp") => Lack::Module("nf_tables"),
        Some("proc_sys") => Lack::ReadOnly,
        _ => Lack::Other,
    }
}

impl Guard {
    /// The name of the fault, for programs.
    pub fn fault(self) -> &'static str {
        match self {
            Guard::IngressFilter => "no_ingress_filter",
            Guard::Ipv6Off => "ipv6_on",
            Guard::RpFilter => "no_rp_filter",
            Guard::LanGuard => "no_lan_guard",
        }
    }

    /// What does not hold without it.
    pub fn without(self) -> &'static str {
        match self {
            Guard::IngressFilter => "what comes out of the tunnel's interface is not filtered",
            Guard::Ipv6Off => "IPv6 is on at the tunnel's interface, behind the filter alone",
            Guard::RpFilter => "the tunnel's interface has no strict reverse path filter",
            Guard::LanGuard => "the LAN can learn of the tunnel's address and send to it",
        }
    }
}

impl Lack {
    pub fn why(self) -> String {
        match self {
            Lack::Module(name) => format!("the kernel has no {name}, or does not load it"),
            Lack::ReadOnly => "the helper cannot write below /proc/sys/net".to_owned(),
            Lack::Other => "the kernel refused it".to_owned(),
        }
    }

    pub fn fix(self) -> Fix {
        match self {
            // It opens what it needs when it starts, and keeps its tunnels then.
            Lack::Module(name) => {
                fix!("sudo modprobe {} && sudo systemctl restart hop-helper", name)
            }
            Lack::ReadOnly => super::install_command(),
            Lack::Other => "journalctl -u hop-helper".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_whatever_else_a_helper_says() {
        let health = json!({"layers": {
            "ingress_filter": {"state": "missing", "reason": "cls_bpf"},
            "ipv6_off": {"state": "on"},
            "rp_filter": {"state": "missing", "reason": "of later"},
            "lan_guard": {"state": "missing", "reason": "nf_tables_arp"},
            "of_later": {"state": "missing", "reason": "x"},
        }, "degraded": ["rp_filter of hopbox0", 7], "of_later": true});
        let expected = [
            (Guard::IngressFilter, Lack::Module("cls_bpf")),
            (Guard::RpFilter, Lack::Other),
            (Guard::LanGuard, Lack::Module("nf_tables")),
        ];
        let guards = Guards::read(&health);
        assert_eq!(guards.missing, expected);
        assert_eq!(guards.left_alone, ["rp_filter of hopbox0"]);
        let others = [json!({}), json!(null), json!({"layers": 7}), json!({"degraded": "x"})];
        for other in others.into_iter().chain([json!({"layers": {"lan_guard": "x"}})]) {
            assert_eq!(Guards::read(&other), Guards::default());
        }
        let fix = Lack::Module("cls_bpf").fix();
        assert!(fix.starts_with("sudo modprobe cls_bpf && "), "{fix:?}");
    }

    /// The part `guards` of `hop status --json`.
    #[test]
    fn a_status_tells_what_is_missing_and_why() {
        let health = json!({
            "degraded": ["hopbox0: another program keeps changing it"],
            "layers": {
                "ingress_filter": {"state": "on"},
                "ipv6_off": {"state": "missing", "reason": "proc_sys"},
                "lan_guard": {"state": "missing", "reason": "nf_tables"},
            },
        });
        let missing = json!([
            {
                "fault": "ipv6_on",
                "what": "IPv6 is on at the tunnel's interface, behind the filter alone",
                "why": "the helper cannot write below /proc/sys/net",
            },
            {
                "fault": "no_lan_guard",
                "what": "the LAN can learn of the tunnel's address and send to it",
                "why": "the kernel has no nf_tables, or does not load it",
            },
        ]);
        let told = |health: &Value| Guards::read(health).to_json();
        assert_eq!(told(&health), json!({"missing": missing, "left_alone": health["degraded"]}));
        assert_eq!(told(&json!({"layers": {}})), json!({"missing": [], "left_alone": []}));
    }
}
