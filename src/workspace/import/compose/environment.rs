//! Variables of a service. Their values stay in `.env` where they are from there.

use std::collections::BTreeMap;

use super::from::{From, Made, all, word};
use crate::base::yaml::{Node, Value};
use crate::workspace::check;
use crate::workspace::env::VARIABLES;
use crate::workspace::import::draft::{Draft, Fields};
use crate::workspace::import::note::below;
use crate::workspace::import::variables;

pub fn environment(ctx: &mut From, layers: &[&Node], path: &str) -> Draft {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let path = below(path, "environment");
    for node in all(layers, "environment") {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    variable(ctx, &mut values, &entry.key, word(&entry.node), &entry.node, &path);
                }
            }
            Value::List(list) => {
                for item in list {
                    let Some(text) = word(item) else {
                        ctx.note(item, &path, "left out: it should be NAME=value");
                        continue;
                    };
                    match text.split_once('=') {
                        Some((key, value)) => {
                            variable(ctx, &mut values, key, Some(value), item, &path);
                        }
                        None => variable(ctx, &mut values, text, None, item, &path),
                    }
                }
            }
            _ => ctx.note(node, &path, "left out: it should be a map"),
        }
    }
    let mut keys = Fields::default();
    values.into_iter().for_each(|(key, value)| keys.put(&key, Draft::Text(value)));
    keys.map()
}

/// Values of variables stay in `.env`: a manifest is for everybody's eyes.
fn variable(
    ctx: &mut From,
    values: &mut BTreeMap<String, String>,
    key: &str,
    text: Option<&str>,
    node: &Node,
    path: &str,
) {
    let path = below(path, key);
    if let Err(refusal) = check::env_key(key) {
        return ctx.note(node, &path, format!("left out: {}", refusal.why));
    }
    if matches!(node.value, Value::List(_) | Value::Map(_)) {
        return ctx.note(node, &path, "left out: it should be a text");
    }
    // Without a value it is that of a variable with its name.
    let own = format!("${{{key}}}");
    let text = text.unwrap_or(&own);
    if values.len() >= VARIABLES && !values.contains_key(key) {
        return ctx.note(node, &path, format!("left out: more than {VARIABLES} variables"));
    }
    let Some(made) = ctx.replaced(node, &path, text) else { return };
    let is_own = variables::alone(text) == Some(key);
    if is_own && comes_by_itself(ctx, node, key, &made) {
        values.remove(key);
        return ctx.note(node, &path, "comes from .env or .env.local, where it is set");
    }
    let replaced = match made {
        Made::Text(replaced) => replaced,
        Made::Without { needed, .. } => {
            values.remove(key);
            let needed = needed.join(", ");
            let what = format!("left out: set it in .env.local (it needs {needed})");
            return ctx.note(node, &path, what);
        }
    };
    ctx.told(node, &path, &replaced);
    match check::env_value(&replaced.text) {
        Ok(value) => drop(values.insert(key.to_owned(), value)),
        Err(refusal) => ctx.note(node, &path, format!("left out: {}", refusal.why)),
    }
}

/// What is in `.env` and no manifest has is seen by every service.
fn comes_by_itself(ctx: &From, node: &Node, key: &str, made: &Made) -> bool {
    let given = ctx.given(node);
    match made {
        Made::Text(replaced) => given.passes(key, &replaced.text),
        Made::Without { secret: false, .. } => true,
        Made::Without { needed, .. } => {
            needed.as_slice() == [key] && given.get(key).is_some_and(|own| given.passes(key, own))
        }
    }
}
