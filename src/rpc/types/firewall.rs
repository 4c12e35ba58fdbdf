//! Ports of a server that are open to everybody, as its helper for the firewall tells of them.

use serde_json::{Value, json};

use super::{Message, opt_meant, opt_number, read_list, to_list};
use crate::base::json::{Fields, ReadError};
use crate::workspace::digest::Digest;

/// What a server makes of a port that is open in hopbox's own table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    Accepted,
    /// Another chain drops what comes: family, table, name.
    Shadowed(String),
    /// It cannot be told, the first time at this chain.
    Unknown(String),
}

impl Effective {
    pub fn word(&self) -> &'static str {
        match self {
            Effective::Accepted => "accepted",
            Effective::Shadowed(_) => "shadowed",
            Effective::Unknown(_) => "unknown",
        }
    }

    pub fn chain(&self) -> Option<&str> {
        match self {
            Effective::Accepted => None,
            Effective::Shadowed(chain) | Effective::Unknown(chain) => Some(chain),
        }
    }

    fn read(fields: &mut Fields) -> Result<Effective, ReadError> {
        let chain = opt_meant(fields, "chain", super::any)?.unwrap_or_default();
        Ok(match fields.string("effective")?.as_str() {
            "accepted" => Effective::Accepted,
            "shadowed" => Effective::Shadowed(chain),
            // A word of a later release is nothing to go by.
            _ => Effective::Unknown(chain),
        })
    }
}

/// The tunnel's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Is(Effective),
    /// It is not opened, for this reason.
    Not(String),
}

impl Message for Opened {
    fn to_json(&self) -> Value {
        match self {
            Opened::Is(is) => json!({"effective": is.word(), "chain": is.chain()}),
            Opened::Not(why) => json!({"why": why}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Opened, ReadError> {
        match opt_meant(fields, "why", super::any)? {
            Some(why) => Ok(Opened::Not(why)),
            None => Effective::read(fields).map(Opened::Is),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    pub fn of_word(word: &str) -> Result<Protocol, String> {
        match word {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err("must be tcp or udp".to_owned()),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The first and the last; the same where it is one.
    pub ports: (u16, u16),
    pub protocol: Protocol,
    pub source: String,
    pub app: String,
    pub description: String,
}

impl Spec {
    /// One port, for everybody.
    pub fn of(protocol: Protocol, port: u16, app: &str, description: &str) -> Spec {
        let (app, description) = (app.to_owned(), description.to_owned());
        Spec { ports: (port, port), protocol, source: "any".to_owned(), app, description }
    }

    /// As people write it: `tcp/8080`, `udp/5000-5009`.
    pub fn text(&self) -> String {
        let (first, last) = self.ports;
        match first == last {
            true => format!("{}/{first}", self.protocol.word()),
            false => format!("{}/{first}-{last}", self.protocol.word()),
        }
    }
}

/// As the helper has it.
impl Message for Spec {
    fn to_json(&self) -> Value {
        let (first, last) = self.ports;
        let mut spec = json!({
            "protocol": self.protocol.word(), "source": self.source, "app_name": self.app,
        });
        match first == last {
            true => spec["port"] = json!(first),
            false => spec["port_range"] = json!([first, last]),
        }
        if !self.description.is_empty() {
            spec["description"] = json!(self.description);
        }
        spec
    }

    fn read(fields: &mut Fields) -> Result<Spec, ReadError> {
        let range = fields.take("port_range");
        let ports = match range.as_ref().and_then(Value::as_array).map(Vec::as_slice) {
            Some([first, last]) => {
                let port = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
                let both = port(first).zip(port(last));
                both.ok_or_else(|| fields.error("port_range", "must be two ports"))?
            }
            _ => {
                let port = fields.int("port", 1..=65535)?;
                (port, port)
            }
        };
        Ok(Spec {
            ports,
            protocol: fields.meant("protocol", Protocol::of_word)?,
            source: fields.string("source")?,
            app: fields.string("app_name")?,
            description: opt_meant(fields, "description", super::any)?.unwrap_or_default(),
        })
    }
}

/// Of the tunnel's own port. No workspace's.
pub const APP: &str = "hopbox";
pub const TUNNEL: &str = "the tunnel of hopbox";
/// Begins those of workspaces.
pub const OF: &str = "hopbox-";
/// Longest name of one that the helper takes.
const APP_MAX: usize = 63;

/// The tunnel's own port.
pub fn of_tunnel(port: u16) -> Spec {
    Spec::of(Protocol::Udp, port, APP, TUNNEL)
}

/// The application that a workspace is. Two never are the same one.
pub fn app_of(workspace: &str) -> String {
    let whole = format!("{OF}{workspace}");
    if whole.len() <= APP_MAX {
        return whole;
    }
    let known = Digest::of("hopbox.app/1", workspace).to_string();
    let begins: String = whole.chars().take(APP_MAX - 17).collect();
    format!("{begins}-{}", known.chars().take(16).collect::<String>())
}

/// A port that is open, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub spec: Spec,
    /// In seconds since 1970.
    pub since: u64,
    pub effective: Effective,
}

/// As the helper has it.
impl Message for Rule {
    fn to_json(&self) -> Value {
        json!({
            "rule_id": self.id, "spec": self.spec.to_json(), "applied_at": self.since,
            "effective": self.effective.word(), "chain": self.effective.chain(),
        })
    }

    fn read(fields: &mut Fields) -> Result<Rule, ReadError> {
        let spec = fields.opt_object("spec")?;
        let mut spec = spec.ok_or_else(|| fields.error("spec", "is missing"))?;
        Ok(Rule {
            id: fields.string("rule_id")?,
            spec: Spec::read(&mut spec)?,
            since: opt_number(fields, "applied_at")?.unwrap_or_default(),
            effective: Effective::read(fields)?,
        })
    }
}

/// All that are open for a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub rules: Vec<Rule>,
    /// The helper could not tell them all.
    pub more: bool,
}

/// More than the helper makes for all users.
const RULES: usize = 1024;

impl Message for Rules {
    fn to_json(&self) -> Value {
        json!({"rules": to_list(&self.rules), "more": self.more})
    }

    fn read(fields: &mut Fields) -> Result<Rules, ReadError> {
        Ok(Rules { rules: read_list(fields, "rules", RULES)?, more: fields.bool("more")? })
    }
}

/// Longest time that a closed port may wait for its confirmation, in seconds.
pub const CONFIRM_MAX_S: u64 = 60;

/// A port to be closed. With a time it is open again after that, unless a laptop confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub id: String,
    /// In seconds, 1 to [`CONFIRM_MAX_S`].
    pub confirm_s: Option<u64>,
}

impl Message for Closing {
    fn to_json(&self) -> Value {
        let mut closing = json!({"rule_id": self.id});
        if let Some(confirm_s) = self.confirm_s {
            closing["confirm_s"] = json!(confirm_s);
        }
        closing
    }

    fn read(fields: &mut Fields) -> Result<Closing, ReadError> {
        let confirm_s = fields.opt_int("confirm_s", 1..=CONFIRM_MAX_S)?;
        Ok(Closing { id: fields.string("rule_id")?, confirm_s })
    }
}

/// What was open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub rule: Rule,
    /// By which it is confirmed, where it waits for that.
    pub confirm: Option<String>,
}

impl Message for Closed {
    fn to_json(&self) -> Value {
        let mut closed = self.rule.to_json();
        closed["confirm_id"] = json!(self.confirm);
        closed
    }

    fn read(fields: &mut Fields) -> Result<Closed, ReadError> {
        let confirm = opt_meant(fields, "confirm_id", super::any)?;
        Ok(Closed { rule: Rule::read(fields)?, confirm })
    }
}

/// A change that is for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    pub id: String,
}

impl Message for Confirm {
    fn to_json(&self) -> Value {
        json!({"confirm_id": self.id})
    }

    fn read(fields: &mut Fields) -> Result<Confirm, ReadError> {
        Ok(Confirm { id: fields.string("confirm_id")? })
    }
}

/// A change, as the helper's audit log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In seconds since 1970.
    pub at: u64,
    /// Of whom.
    pub uid: u64,
    pub op: String,
    pub is_ok: bool,
    /// Why not.
    pub code: Option<String>,
    pub changes: Vec<String>,
}

impl Message for Change {
    fn to_json(&self) -> Value {
        let outcome = if self.is_ok { "ok" } else { "error" };
        json!({
            "ts": self.at, "uid": self.uid, "op": self.op, "outcome": outcome,
            "code": self.code, "changes": self.changes,
        })
    }

    fn read(fields: &mut Fields) -> Result<Change, ReadError> {
        let at = fields.take("ts").and_then(|at| at.as_f64()).unwrap_or_default();
        let changes = match fields.take("changes") {
            Some(Value::Array(changes)) => changes,
            _ => Vec::new(),
        };
        let changes = changes.iter().filter_map(Value::as_str).map(str::to_owned);
        Ok(Change {
            at: at as u64,
            uid: fields.int("uid", 0..=u64::MAX)?,
            op: fields.string("op")?,
            is_ok: opt_meant(fields, "outcome", super::any)?.is_some_and(|word| word == "ok"),
            code: opt_meant(fields, "code", super::any)?,
            changes: changes.collect(),
        })
    }
}

/// The last one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub entries: Vec<Change>,
}

impl Message for History {
    fn to_json(&self) -> Value {
        json!({"entries": to_list(&self.entries)})
    }

    fn read(fields: &mut Fields) -> Result<History, ReadError> {
        Ok(History { entries: read_list(fields, "entries", RULES)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let one = Spec::of(Protocol::Udp, 51820, "hopbox", "");
        let range = Spec { ports: (5, 9), description: "d".to_owned(), ..one.clone() };
        assert_eq!((one.text(), range.text()), ("udp/51820".to_owned(), "udp/5-9".to_owned()));
        let chain = || "ip f c".to_owned();
        for (spec, effective) in [
            (one, Effective::Accepted),
            (range.clone(), Effective::Shadowed(chain())),
            (range, Effective::Unknown(chain())),
        ] {
            let opened = Opened::Is(effective.clone());
            assert_eq!(Opened::of(opened.to_json()), Ok(opened));
            let rule = Rule { id: "rule-1".to_owned(), spec, since: 7, effective };
            assert_eq!(Rule::of(rule.to_json()), Ok(rule.clone()));
            for (confirm, confirm_s) in [(None, None), (Some("7f".to_owned()), Some(60))] {
                let closed = Closed { rule: rule.clone(), confirm };
                assert_eq!(Closed::of(closed.to_json()), Ok(closed));
                let closing = Closing { id: rule.id.clone(), confirm_s };
                assert_eq!(Closing::of(closing.to_json()), Ok(closing));
            }
        }
        let log = json!({"ts": 7.25, "uid": 0, "op": "firewall.apply", "outcome": "error",
            "code": "kernel_error", "changes": []});
        let change = Change::of(log).unwrap();
        assert!(change.at == 7 && !change.is_ok && change.code.is_some(), "{change:?}");
        let history = History { entries: vec![change] };
        assert_eq!(History::of(history.to_json()), Ok(history));
        for wrong in [json!(0), json!(61), json!("5"), json!(1.5)] {
            let closing = Closing::of(json!({"rule_id": "rule-1", "confirm_s": wrong}));
            assert_eq!(closing.map_err(|error| error.key), Err("confirm_s".to_owned()), "{wrong}");
        }
        let not = Opened::Not("no".to_owned());
        assert_eq!(Opened::of(not.to_json()), Ok(not));
        let later = Opened::of(json!({"effective": "half", "chain": null}));
        assert_eq!(later, Ok(Opened::Is(Effective::Unknown(String::new()))));
    }

    #[test]
    fn every_workspace_is_an_application_of_its_own() {
        assert_eq!(app_of("app"), "hopbox-app");
        let long = "a".repeat(63);
        let (one, other) = (app_of(&long), app_of(&format!("{}b", "a".repeat(62))));
        assert!(one.len() == APP_MAX && other.len() == APP_MAX && one != other, "{one} {other}");
        // As the helper takes them.
        for app in [one, other, app_of("7-x"), app_of("hopbox")] {
            let first = app.bytes().next().unwrap();
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            assert!(first.is_ascii_lowercase() && app.bytes().all(plain) && app != APP, "{app}");
        }
    }
}
