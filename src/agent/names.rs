//! What laptops call this server: `agent.names` says which `<name>.hop` each of them has for it, so
//! that a request that was meant for another host is known. A file of its own, which an older
//! release does not read. It is a convenience: without it the tunnel's address still works.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::read_checked;
use crate::base::field::check_name;
use crate::base::json::Fields;

pub const FILE: &str = "agent.names";

/// By the laptop's address, which a rotation of its keys does not change.
pub type Names = BTreeMap<Ipv4Addr, String>;

pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// Those in the file. One that cannot be read says nothing.
pub fn load(state_dir: &Path, owner: u32) -> Names {
    let text = read_checked::read(&path(state_dir), Some(owner));
    text.ok().and_then(|(text, _)| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> Option<Names> {
    let mut fields = Fields::parse(text).ok()?;
    fields.int::<u32>("version", 1..=1).ok()?;
    let Some(Value::Object(names)) = fields.take("names") else { return None };
    let one = |(address, name): (&String, &Value)| {
        let name = name.as_str().filter(|name| check_name(name).is_ok())?;
        Some((address.parse().ok()?, name.to_owned()))
    };
    Some(names.iter().filter_map(one).collect())
}

pub fn to_text(names: &Names) -> String {
    let names: Map<String, Value> =
        names.iter().map(|(address, name)| (address.to_string(), json!(name))).collect();
    format!("{}\n", json!({"version": 1, "names": names}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written_and_nonsense_says_nothing() {
        let names = Names::from([(Ipv4Addr::new(10, 10, 0, 1), "mybox".to_owned())]);
        assert_eq!(parse(&to_text(&names)), Some(names));
        for text in ["", "x", "{}", r#"{"version":1}"#, r#"{"version":2,"names":{}}"#] {
            assert_eq!(parse(text), None, "{text}");
        }
        for name in ["", "My", "a.b", "-a", "a\u{1b}"] {
            let text = json!({"version": 1, "names": {"10.10.0.1": name}}).to_string();
            assert_eq!(parse(&text), Some(Names::new()), "{text}");
        }
        assert_eq!(parse(r#"{"version":1,"names":{"x":"a"}}"#), Some(Names::new()));
    }
}
