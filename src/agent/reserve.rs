//! Root's word to the helper: this server's network, and its interface, are the agent's. Members
//! get neither a device named wgN by themselves, nor a network in the middle of a wider one.
//!
//! `reserve` of /etc/hopbox/helper.json, which root alone writes; see hop-helper(8). What else
//! stands there stays.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::AgentConfig;
use super::exec::{systemctl, user};
use super::{install, log};
use crate::base::address_plan;
use crate::base::failure::Failure;
use crate::sys::bounded;

const FILE: &str = "/etc/hopbox/helper.json";
/// Largest file that the helper reads, in bytes.
const BYTES: usize = 65_536;

/// For the user that the unit names, instead of whom it was for before.
pub fn keep(config: &AgentConfig) -> Result<(), Failure> {
    let Some(name) = install::unit_user() else { return Ok(()) };
    let (uid, _) = user(&name)?;
    let [.., number, _] = config.address.octets();
    let interface = config.interface.clone().filter(|name| name.starts_with("wg"));
    let wanted = [Some(address_plan::network(number)), interface];
    change(|top| kept(top, uid, &wanted.iter().flatten().cloned().collect::<Vec<_>>()))
}

/// Takes all of it back: nobody's agent is here any more.
pub fn give_back() -> Result<(), Failure> {
    let Some((uid, _)) = install::unit_user().and_then(|name| user(&name).ok()) else {
        return Ok(());
    };
    change(|top| kept(top, uid, &[]))
}

fn change(edit: impl Fn(&mut Map<String, Value>) -> Option<()>) -> Result<(), Failure> {
    let path = Path::new(FILE);
    let text = match bounded::text(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => "{}".to_owned(),
        text => text.map_err(|error| super::io("read", path, &error))?,
    };
    let Some(new) = edited(&text, edit) else {
        // The helper says what is wrong with it.
        log(&format!("{FILE} is not as hop-helper(8) has it, and stays as it is"));
        return Ok(());
    };
    if new == text || (text == "{}" && new == "{}\n") {
        return Ok(());
    }
    install::put(path, 0o644, new.as_bytes())?;
    // One that does not run reads it when it starts.
    let _ = systemctl(&["kill", "-s", "HUP", "hop-helper.service"]);
    Ok(())
}

fn edited(text: &str, edit: impl Fn(&mut Map<String, Value>) -> Option<()>) -> Option<String> {
    let mut top: Map<String, Value> = serde_json::from_str(text).ok()?;
    edit(&mut top)?;
    let new = format!("{}\n", Value::Object(top));
    (new.len() <= BYTES).then_some(new)
}

/// What is `wanted` is kept for this user and nobody else; networks and interfaces that it had
/// before are not. `None` where the file has another form.
fn kept(top: &mut Map<String, Value>, uid: u32, wanted: &[String]) -> Option<()> {
    let reserve = top.entry("reserve").or_insert(json!({})).as_object_mut()?;
    let wanted: Vec<Value> = wanted.iter().map(|text| json!(text)).collect();
    for (user, list) in reserve.iter_mut() {
        let own = *user == uid.to_string();
        let named = |item: &Value| item.as_str().is_some_and(|text| text.ends_with(".hop"));
        list.as_array_mut()?.retain(|item| if own { named(item) } else { !wanted.contains(item) });
    }
    let list = reserve.entry(uid.to_string()).or_insert(json!([]));
    list.as_array_mut()?.extend(wanted);
    reserve.retain(|_, list| list.as_array().is_none_or(|list| !list.is_empty()));
    if reserve.is_empty() {
        top.remove("reserve");
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, uid: u32, wanted: &[&str]) -> Option<String> {
        let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        edited(text, |top| kept(top, uid, &wanted)).map(|text| text.trim_end().to_owned())
    }

    #[test]
    fn the_agents_network_is_kept_and_what_root_wrote_stays() {
        let ours = ["10.10.0.0/24", "wg0"];
        let fresh = after("{}\n", 1000, &ours).unwrap();
        assert_eq!(fresh, r#"{"reserve":{"1000":["10.10.0.0/24","wg0"]}}"#);
        assert_eq!(after(&fresh, 1000, &ours).as_ref(), Some(&fresh));
        assert_eq!(after(&fresh, 1000, &[]).unwrap(), "{}");
        // Another number, another user.
        let moved = after(&fresh, 1000, &["10.10.3.0/24"]).unwrap();
        assert_eq!(moved, r#"{"reserve":{"1000":["10.10.3.0/24"]}}"#);
        let other = after(&fresh, 1001, &ours).unwrap();
        assert_eq!(other, r#"{"reserve":{"1001":["10.10.0.0/24","wg0"]}}"#);
        let rich = r#"{"allow_uids":[7],"reserve":{"1000":["a.hop"],"5":["10.10.9.0/24"]}}"#;
        let kept = after(rich, 1000, &ours).unwrap();
        assert!(kept.contains(r#""allow_uids":[7]"#) && kept.contains(r#""5":["10.10.9.0/24"]"#));
        assert!(kept.contains(r#""1000":["a.hop","10.10.0.0/24","wg0"]"#), "{kept}");
        for bad in ["", "[]", r#"{"reserve":[]}"#, r#"{"reserve":{"1000":{}}}"#] {
            assert_eq!(after(bad, 1000, &ours), None, "{bad}");
        }
    }
}
