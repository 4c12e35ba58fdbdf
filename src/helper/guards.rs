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

/// The layers that `health` calls missing.
pub fn missing(health: &Value) -> Vec<(Guard, Lack)> {
    let of = |(name, guard): (&str, Guard)| {
        let layer = &health["layers"][name];
        (layer["state"] == "missing").then(|| (guard, lack(layer["reason"].as_str())))
    };
    GUARDS.into_iter().filter_map(of).collect()
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

/// What a status says of it: the layers that are missing, and what the helper has given up to put
/// right because another program keeps changing it.
pub fn told(health: &Value) -> Value {
    let missing = missing(health).into_iter().map(
        |(guard, lack)| json!({"fault": guard.fault(), "what": guard.without(), "why": lack.why()}),
    );
    let left = health["degraded"].as_array().map(Vec::as_slice).unwrap_or_default();
    json!({"missing": missing.collect::<Value>(), "left_alone": left})
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
            Lack::Module(name) => format!("the kernel has no {name}"),
            Lack::ReadOnly => "the helper cannot write below /proc/sys/net".to_owned(),
            Lack::Other => "the kernel refused it".to_owned(),
        }
    }

    pub fn fix(self) -> Fix {
        match self {
            Lack::Module(name) => fix!("sudo modprobe {}", name),
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
        }});
        let expected = [
            (Guard::IngressFilter, Lack::Module("cls_bpf")),
            (Guard::RpFilter, Lack::Other),
            (Guard::LanGuard, Lack::Module("nf_tables")),
        ];
        assert_eq!(missing(&health), expected);
        for other in [json!({}), json!({"layers": 7}), json!({"layers": {"lan_guard": "x"}})] {
            assert_eq!(missing(&other), []);
        }
        assert_eq!(&*Lack::Module("cls_bpf").fix(), "sudo modprobe cls_bpf");
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
                "why": "the kernel has no nf_tables",
            },
        ]);
        assert_eq!(told(&health), json!({"missing": missing, "left_alone": health["degraded"]}));
        assert_eq!(told(&json!({"layers": {}})), json!({"missing": [], "left_alone": []}));
    }
}
