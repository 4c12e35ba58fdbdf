//! For which services one waits, and until when.

use std::collections::BTreeMap;

use super::from::{From, all, word};
use crate::base::yaml::{Node, Value};
use crate::workspace::import::note::below;
use crate::workspace::manifest::Condition;

pub fn depends(
    ctx: &mut From,
    layers: &[&Node],
    path: &str,
) -> Vec<(String, Condition, Node, String)> {
    let path = below(path, "depends_on");
    let mut all_on: BTreeMap<String, (Condition, Node)> = BTreeMap::new();
    for node in all(layers, "depends_on") {
        let mut found = Vec::new();
        match &node.value {
            Value::List(list) => {
                for item in list {
                    match word(item) {
                        Some(name) => found.push((name.to_owned(), Condition::Started, item)),
                        None => ctx.note(item, &path, "left out: it should be a name"),
                    }
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let condition = condition(ctx, &entry.node, &below(&path, &entry.key));
                    found.push((entry.key.clone(), condition, &entry.node));
                }
            }
            _ => ctx.note(node, &path, "left out: it should be a list"),
        }
        for (on, condition, node) in found {
            all_on.insert(on, (condition, node.clone()));
        }
    }
    let told = |(on, (condition, node)): (String, (Condition, Node))| {
        let path = below(&path, &on);
        (on, condition, node, path)
    };
    all_on.into_iter().map(told).collect()
}

fn condition(ctx: &mut From, node: &Node, path: &str) -> Condition {
    if let Value::Map(entries) = &node.value {
        for entry in entries.iter().filter(|entry| entry.key != "condition") {
            ctx.note(&entry.node, &below(path, &entry.key), "not carried over");
        }
    }
    let Some(wanted) = node.get("condition").ok().flatten() else { return Condition::Started };
    match word(wanted) {
        Some("service_started") => Condition::Started,
        Some("service_healthy") => Condition::Healthy,
        Some("service_completed_successfully") => Condition::Completed,
        _ => {
            ctx.note(wanted, path, "waits until it is started: the condition is not known");
            Condition::Started
        }
    }
}
