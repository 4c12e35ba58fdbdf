//! A rule of ours in a provider's firewall, told from those of others by its description: which
//! server, for what, and in whose name. One that somebody has changed is ours no more. Pure.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::rpc::types::firewall::{Protocol, Spec};

const BEGINS: &str = "hopbox";
/// Everybody, by both families.
const ANY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// As it is asked for: from everybody, as nothing else is opened by us. `server` is its address in
/// its tunnels, which all its laptops know it by.
pub fn rule(server: Ipv4Addr, spec: &Spec) -> Value {
    let (first, last) = spec.ports;
    let port = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let description = format!("{BEGINS} {server} {} {}", spec.app, spec.description);
    json!({
        "direction": "in", "protocol": spec.protocol.word(), "port": port, "source_ips": ANY,
        "description": description.trim_end(),
    })
}

/// What a rule lets in for this server, if it is one of ours.
pub fn read(server: Ipv4Addr, rule: &Value) -> Option<Spec> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str);
    let mut words = text("description")?.splitn(4, ' ');
    if words.next()? != BEGINS || words.next()?.parse() != Ok(server) {
        return None;
    }
    let (app, description) = (words.next()?, words.next().unwrap_or_default());
    let port = text("port")?;
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    let mut sources: Vec<&str> =
        rule.get("source_ips")?.as_array()?.iter().filter_map(Value::as_str).collect();
    sources.sort_unstable();
    let spec = Spec {
        ports: (first.parse().ok()?, last.parse().ok()?),
        protocol: Protocol::of_word(text("protocol")?).ok()?,
        source: "any".to_owned(),
        app: app.to_owned(),
        description: description.to_owned(),
    };
    let elsewhere = rule.get("destination_ips").and_then(Value::as_array);
    let is_in = text("direction") == Some("in") && elsewhere.is_none_or(Vec::is_empty);
    (is_in && sources == ANY).then_some(spec)
}

/// A rule as it can be asked for, of one as it is told: what is empty in an answer is absent in a
/// question.
pub fn asked(rule: &Value) -> Value {
    let Value::Object(fields) = rule else { return rule.clone() };
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let kept = fields.iter().filter(|(_, value)| !is_empty(value));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 10, 7, 2);

    #[test]
    fn ours_are_known_and_no_others() {
        let one = Spec::of(Protocol::Tcp, 8080, "hopbox-app", "web of mine");
        let range = Spec { ports: (5000, 5009), protocol: Protocol::Udp, ..one.clone() };
        let short = Spec::of(Protocol::Udp, 51820, "hopbox", "");
        for spec in [one.clone(), range, short] {
            let rule = rule(SERVER, &spec);
            assert_eq!(read(SERVER, &rule), Some(spec), "{rule}");
            assert_eq!(read(Ipv4Addr::new(10, 10, 8, 2), &rule), None, "another server's");
        }
        // As it is told, and as people change it.
        let told = |key: &str, value: Value| {
            let mut rule = rule(SERVER, &one);
            rule["destination_ips"] = json!([]);
            rule[key] = value;
            rule
        };
        assert_eq!(
            read(SERVER, &told("source_ips", json!(["::/0", "0.0.0.0/0"]))),
            Some(one.clone())
        );
        for (key, value) in [
            ("source_ips", json!(["0.0.0.0/0", "192.0.2.1/32"])),
            ("source_ips", json!([])),
            ("source_ips", json!(["192.0.2.1/32"])),
            ("direction", json!("out")),
            ("protocol", json!("icmp")),
            ("port", Value::Null),
            ("port", json!("8080-")),
            ("destination_ips", json!(["192.0.2.1/32"])),
            ("description", Value::Null),
            ("description", json!("hopbox")),
            ("description", json!("hopboxes 10.10.7.2 a b")),
        ] {
            let changed = told(key, value);
            assert_eq!(read(SERVER, &changed), None, "{changed}");
        }
        assert_eq!(asked(&told("later", Value::Null)), rule(SERVER, &one));
    }
}
