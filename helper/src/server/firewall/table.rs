//! The table `inet hopbox`: what nft(8) is told to make it, and whether what it lists is that. The
//! table is made anew whole, in one transaction: whoever looks sees the old one or the new one, and
//! adding, removing, undoing and putting right are the same. Pure. Must not know: state, requests.

use crate::server::firewall::rule::Spec;
use serde_json::{Value, json};

pub const FAMILY: &str = "inet";
pub const NAME: &str = "hopbox";
pub const FULL: &str = "inet hopbox";
const CHAIN: &str = "input";
/// Behind the usual filters, whose word is final where it is "drop".
const PRIORITY: i32 = 10;

/// A rule is found by its id, which is its comment.
pub type Rule = (String, Spec);

/// Without a rule there is no table.
pub fn script(rules: &[Rule]) -> String {
    // It is made so that it can be deleted: what is not there cannot be.
    let mut script = format!("add table {FULL}\ndelete table {FULL}\n");
    if !rules.is_empty() {
        script += &format!(
            "table {FULL} {{\n chain {CHAIN} {{\n  type filter hook input priority {PRIORITY}; \
             policy accept;\n"
        );
        rules.iter().for_each(|(id, spec)| script += &format!("  {}\n", spec.line(id)));
        script += " }\n}\n";
    }
    script
}

/// The kernel's numbers of the rules, if a listing of the table is what `script` makes: nft takes
/// what it does not know for nothing, and says that all went well.
pub fn handles(rules: &[Rule], listed: Option<&Value>) -> Option<Vec<u64>> {
    let Some(listed) = listed.and_then(|all| all.get("nftables")?.as_array()) else {
        return rules.is_empty().then(Vec::new);
    };
    let mut rest = rules.iter();
    let (mut handles, mut chains) = (Vec::new(), 0);
    for object in listed {
        let (kind, object) = object.as_object()?.iter().next()?;
        match kind.as_str() {
            "metainfo" | "table" => {}
            "chain" if is_chain(object) => chains += 1,
            "rule" => {
                let (id, spec) = rest.next()?;
                let made = object.get("comment")? == id.as_str()
                    && object.get("chain")? == CHAIN
                    && *object.get("expr")? == spec.expressions();
                handles.push(object.get("handle")?.as_u64().filter(|_| made)?);
            }
            _ => return None,
        }
    }
    (chains == 1 && rest.next().is_none() && !rules.is_empty()).then_some(handles)
}

fn is_chain(chain: &Value) -> bool {
    let made = json!({"name": CHAIN, "type": "filter", "hook": "input", "prio": PRIORITY,
                      "policy": "accept"});
    made.as_object()
        .is_some_and(|made| made.iter().all(|(key, value)| chain.get(key) == Some(value)))
}

/// Whether a list of tables has ours, if it is one.
pub fn is_among(tables: &Value) -> Option<bool> {
    let list = tables.get("nftables")?.as_array()?;
    Some(list.iter().filter_map(|object| object.get("table")).any(|table| {
        table.get("family") == Some(&json!(FAMILY)) && table.get("name") == Some(&json!(NAME))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Args;

    fn rules() -> Vec<Rule> {
        let spec =
            |port: u16| json!({"port": port, "protocol": "udp", "source": "any", "app_name": "a"});
        let rule = |n: u16| {
            (format!("rule-{n}"), Spec::read(&Args(spec(n).as_object().unwrap())).unwrap())
        };
        vec![rule(1), rule(2)]
    }

    fn listed(rules: &[Rule]) -> Value {
        let chain = json!({"chain": {"family": "inet", "table": "hopbox", "name": "input",
            "handle": 1,
            "type": "filter", "hook": "input", "prio": 10, "policy": "accept"}});
        let rule = |(id, spec): &Rule| {
            json!({"rule": {"family": "inet", "table": "hopbox",
            "chain": "input", "handle": 7, "comment": id, "expr": spec.expressions()}})
        };
        let head = [json!({"metainfo": {}}), json!({"table": {"name": "hopbox"}}), chain];
        json!({"nftables": head.into_iter().chain(rules.iter().map(rule)).collect::<Value>()})
    }

    #[test]
    fn nothing_else_is_taken_for_what_was_made() {
        let rules = rules();
        let good = listed(&rules);
        assert_eq!(handles(&rules, Some(&good)), Some(vec![7, 7]));
        assert_eq!(handles(&[], None), Some(vec![]));
        assert_eq!(handles(&rules, None), None);
        assert_eq!(handles(&[], Some(&good)), None);
        assert_eq!(handles(&rules[..1], Some(&good)), None, "one too many");
        assert_eq!(handles(&rules, Some(&listed(&rules[..1]))), None, "one too few");
        assert_eq!(handles(&rules, Some(&listed(&[rules[1].clone(), rules[0].clone()]))), None);
        for (from, to) in [
            ("\"policy\":\"accept\"", "\"policy\":\"drop\""),
            ("\"prio\":10", "\"prio\":0"),
            ("{\"accept\":null}", "{\"drop\":null}"),
            ("\"right\":2", "\"right\":22"),
            ("rule-2", "rule-3"),
            ("{\"table\":{", "{\"set\":{"),
        ] {
            let other = good.to_string().replacen(from, to, 1);
            assert_ne!(other, good.to_string(), "{from}");
            let other: Value = serde_json::from_str(&other).unwrap();
            assert_eq!(handles(&rules, Some(&other)), None, "{to}");
        }
    }

    #[test]
    fn without_a_rule_there_is_no_table() {
        assert_eq!(script(&[]).lines().last(), Some("delete table inet hopbox"));
        assert_eq!(script(&rules()).matches("accept comment").count(), 2);
    }
}
