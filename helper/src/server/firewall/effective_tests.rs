use super::*;
use crate::proto::Args;
use serde_json::json;

fn spec(ports: Value, source: &str) -> Spec {
    let mut spec = json!({"protocol": "tcp", "source": source, "app_name": "a"});
    let key = if ports.is_array() { "port_range" } else { "port" };
    spec[key] = ports;
    Spec::read(&Args(spec.as_object().unwrap())).unwrap()
}

/// Where `tun7` leads into a tunnel.
fn of(spec: &Spec, all: Option<&Value>, text: &str) -> Effective {
    let (text, inner) = (text.to_owned(), vec!["tun7".to_owned()]);
    super::of(spec, &Seen { own: None, all: all.cloned(), text, inner })
}

fn eq(left: Value, right: Value) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn port(right: Value) -> Value {
    eq(json!({"payload": {"protocol": "tcp", "field": "dport"}}), right)
}

fn state(right: Value) -> Value {
    eq(json!({"ct": {"key": "state"}}), right)
}

/// A machine with one base chain of these rules, and a chain `other`.
fn machine(policy: &str, rules: Vec<Value>, other: Vec<Value>) -> Value {
    let chain = |name: &str| json!({"family": "inet", "table": "filter", "name": name});
    let mut base = chain("input");
    for (key, value) in [("type", "filter"), ("hook", "input"), ("policy", policy)] {
        base[key] = json!(value);
    }
    let rule = |chain: &str, expr: Value| {
        let of = json!({"family": "inet", "table": "filter", "chain": chain, "expr": expr});
        json!({ "rule": of })
    };
    let rules = rules.into_iter().map(|expr| rule("input", expr));
    let other = other.into_iter().map(|expr| rule("other", expr));
    let chains = [json!({"chain": base}), json!({"chain": chain("other")})];
    json!({"nftables": chains.into_iter().chain(rules).chain(other).collect::<Value>()})
}

fn of_80(policy: &str, rules: Vec<Value>, other: Vec<Value>) -> &'static str {
    of(&spec(json!(80), "any"), Some(&machine(policy, rules, other)), "").name()
}

#[test]
fn the_guard_of_the_tunnels_address_closes_no_port() {
    let all = |family: &str, table: &str| {
        let text = machine("drop", vec![], vec![]).to_string();
        let text = text.replace("inet", family);
        let all: Value =
            serde_json::from_str(&text.replace("\"table\":\"filter\"", table)).unwrap();
        of(&spec(json!(80), "any"), Some(&all), "").name()
    };
    assert_eq!(all("ip", "\"table\":\"hopbox\""), "accepted");
    assert_eq!(all("ip", "\"table\":\"hopbox2\""), "shadowed");
    assert_eq!(all("ip6", "\"table\":\"hopbox\""), "shadowed");
}

#[test]
fn what_is_told_is_what_the_packet_path_does() {
    let (accept, drop) = (json!({"accept": null}), json!({"drop": null}));
    let to = |target: &str, kind: &str| json!({kind: {"target": target}});
    let back = json!({"return": null});
    let web = json!({"set": [22, {"range": [80, 90]}]});
    let limit = json!({"limit": {"rate": 5, "per": "second"}});
    let xt = json!({"xt": {"type": "match", "name": "multiport"}});
    let vmap = |key: &str, with: Value| {
        let set = json!({"set": [[key, with]]});
        json!({"vmap": {"key": {"ct": {"key": "state"}}, "data": set}})
    };
    let by = |device: &str| eq(json!({"meta": {"key": "iifname"}}), json!(device));
    let no_udp = json!({"match": {"op": "!=", "right": 5,
        "left": {"payload": {"protocol": "udp", "field": "dport"}}}});
    let counter = json!({"counter": {"packets": 0}});
    let cases: Vec<(&str, &str, Vec<Value>, Vec<Value>)> = vec![
        ("accepted", "accept", vec![], vec![]),
        ("shadowed", "drop", vec![], vec![]),
        (
            "shadowed",
            "drop",
            vec![json!([state(json!(["established", "related"])), accept])],
            vec![],
        ),
        ("accepted", "drop", vec![json!([state(json!(["established", "new"])), accept])], vec![]),
        ("accepted", "drop", vec![json!([port(web.clone()), counter, accept])], vec![]),
        ("shadowed", "drop", vec![json!([port(json!(22)), accept])], vec![]),
        (
            "shadowed",
            "accept",
            vec![json!([port(json!({"range": [1, 100]})), {"reject": null}])],
            vec![],
        ),
        ("shadowed", "drop", vec![json!([by("lo"), accept])], vec![]),
        ("shadowed", "drop", vec![json!([by("tun7"), accept])], vec![]),
        ("unknown", "drop", vec![json!([by("eth0"), accept])], vec![]),
        ("accepted", "accept", vec![json!([no_udp, drop])], vec![]),
        ("unknown", "drop", vec![json!([limit, accept])], vec![]),
        ("unknown", "drop", vec![json!([xt, accept])], vec![]),
        (
            "unknown",
            "accept",
            vec![json!([{"xt": {"type": "target", "name": "SYNPROXY"}}])],
            vec![],
        ),
        ("shadowed", "drop", vec![json!([vmap("established", accept.clone())])], vec![]),
        ("accepted", "drop", vec![json!([vmap("new", accept.clone())])], vec![]),
        (
            "shadowed",
            "accept",
            vec![json!([vmap("new", to("other", "jump"))])],
            vec![json!([drop])],
        ),
        // A jump comes back, a goto does not.
        (
            "accepted",
            "drop",
            vec![json!([to("other", "jump")]), json!([accept])],
            vec![json!([back])],
        ),
        (
            "shadowed",
            "drop",
            vec![json!([to("other", "goto")]), json!([accept])],
            vec![json!([back])],
        ),
        (
            "shadowed",
            "drop",
            vec![json!([to("other", "jump")])],
            vec![json!([back]), json!([accept])],
        ),
        ("accepted", "drop", vec![json!([to("other", "jump")])], vec![json!([accept])]),
        ("accepted", "drop", vec![json!([to("none", "jump")]), json!([accept])], vec![]),
        // Nobody is caught in a loop, which the kernel would not have taken.
        (
            "unknown",
            "accept",
            vec![json!([to("other", "jump")])],
            vec![json!([to("other", "jump")]); 3],
        ),
    ];
    for (expected, policy, rules, other) in cases {
        let told = of_80(policy, rules.clone(), other);
        assert_eq!(told, expected, "{policy} {}", json!(rules));
    }
}

#[test]
fn a_range_or_a_source_is_open_if_all_of_it_is() {
    let from = |right: Value| eq(json!({"payload": {"protocol": "ip", "field": "saddr"}}), right);
    let ten = json!({"prefix": {"addr": "10.0.0.0", "len": 8}});
    let rule = |expr: Value| machine("drop", vec![expr], vec![]);
    let open = rule(json!([port(json!({"range": [80, 90]})), {"accept": null}]));
    let told =
        |ports: Value, source: &str, on: &Value| of(&spec(ports, source), Some(on), "").name();
    assert_eq!(told(json!([80, 90]), "any", &open), "accepted");
    assert_eq!(told(json!([80, 91]), "any", &open), "unknown");
    assert_eq!(told(json!([91, 92]), "any", &open), "shadowed");
    let near = rule(json!([from(ten), {"accept": null}]));
    assert_eq!(told(json!(80), "10.1.0.0/16", &near), "accepted");
    assert_eq!(told(json!(80), "0.0.0.0/0", &near), "unknown");
    assert_eq!(told(json!(80), "192.0.2.0/24", &near), "shadowed");
    // By IPv6 nobody of 10.0.0.0/8 comes.
    assert_eq!(told(json!(80), "any", &near), "shadowed");
    let named = rule(json!([from(json!("@friends")), {"accept": null}]));
    assert_eq!(told(json!(80), "192.0.2.1", &named), "unknown");
}

#[test]
fn the_chain_is_named_and_ours_is_not_asked() {
    let told = of(&spec(json!(80), "any"), Some(&machine("drop", vec![], vec![])), "");
    assert_eq!(told, Effective::Shadowed("inet filter input".into()));
    let ours = machine("drop", vec![], vec![])
        .to_string()
        .replace("\"filter\",\"type\"", "\"hopbox\",\"type\"");
    let ours = ours.replace("\"table\":\"filter\"", "\"table\":\"hopbox\"");
    assert_eq!(
        of(&spec(json!(80), "any"), serde_json::from_str(&ours).ok().as_ref(), ""),
        Effective::Accepted
    );
    assert_eq!(of(&spec(json!(80), "any"), None, ""), Effective::Unknown("all tables".into()));
    for odd in [json!({}), json!([]), json!({"nftables": 5})] {
        assert_eq!(of(&spec(json!(80), "any"), Some(&odd), "").name(), "unknown");
    }
}

/// Rules of iptables, as nft writes them for programs and for people.
#[test]
fn what_json_does_not_say_is_read_where_people_do() {
    let xt = |name: &str| json!({"xt": {"type": "match", "name": name}});
    let rule = |number: u64, expr: Value| {
        json!({"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "handle": number,
                        "expr": expr}})
    };
    let chain = json!({"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 1,
        "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}});
    let accept = json!({"accept": null});
    let all = |port: u64| {
        json!({"nftables": [
            chain,
            rule(2, json!([xt("conntrack"), accept])),
            rule(3, json!([xt("addrtype"), {"return": null}])),
            rule(4, json!([eq(json!({"payload": {"protocol": "udp", "field": "dport"}}), json!(port)),
                           xt("multiport"), accept])),
            rule(5, json!([{"drop": null}])),
        ]})
    };
    let lines = |state: &str, kind: &str| {
        format!(
            "table ip other {{ # handle 1\n\tchain INPUT {{ # handle 1\n\t\taccept # handle 2\n\t}}\n}}\n\
             table ip filter {{ # handle 4\n\tchain INPUT {{ # handle 1\n\
             \t\tct state {state} counter packets 0 bytes 0 accept # handle 2\n\
             \t\tfib daddr type {kind} counter packets 0 bytes 0 return # handle 3\n"
        )
    };
    let told = |state: &str, kind: &str| {
        of(&spec(json!(80), "any"), Some(&all(53)), &lines(state, kind)).name()
    };
    assert_eq!(told("related,established", "multicast"), "shadowed");
    assert_eq!(told("new,established", "multicast"), "accepted");
    assert_eq!(told("invalid", "local"), "accepted");
    assert_eq!(of(&spec(json!(80), "any"), Some(&all(53)), "").name(), "unknown");
}
