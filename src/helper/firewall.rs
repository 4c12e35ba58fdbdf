//! What can be asked of hop-helper-server, in its own words: ports that are open, to open and to
//! close. What they mean is read by whoever asks. Must not know: who wants a port, and why.

use super::client::Helper;
use super::connection::{broken, socket_path};
use super::error::HelperError;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// It runs another program for a change, which may take ten seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(15);

/// Beside the other one's.
pub(super) fn socket() -> PathBuf {
    socket_path().with_file_name("server.sock")
}

/// A connection to it. What is opened stays when that ends.
pub struct Firewall(Helper);

impl Firewall {
    pub fn connect() -> Result<Firewall, HelperError> {
        Helper::connect_within(&socket(), LIMIT).map(Firewall)
    }

    /// This user's rules, all of them for root, and whether there are more than it tells.
    pub fn rules(&mut self, app: Option<&str>) -> Result<(Vec<Value>, bool), HelperError> {
        let args = app.map_or_else(|| json!({}), |app| json!({"app_name": app}));
        let mut answer = self.0.call("firewall.list_rules", args)?.result;
        let more = answer.get("more").and_then(Value::as_bool).unwrap_or_default();
        match answer.remove("rules") {
            Some(Value::Array(rules)) => Ok((rules, more)),
            _ => Err(broken("the reply has no rules")),
        }
    }

    /// What this user has changed, everybody for root, the last one first.
    pub fn history(&mut self) -> Result<Value, HelperError> {
        self.0.call("firewall.history", json!({})).map(|answer| Value::Object(answer.result))
    }

    /// Returns the rule.
    pub fn open(&mut self, spec: Value) -> Result<Value, HelperError> {
        self.0.call("firewall.add_rule", spec).map(|answer| Value::Object(answer.result))
    }

    pub fn close(&mut self, id: &str) -> Result<(), HelperError> {
        self.0.call("firewall.remove_rule", json!({"rule_id": id})).map(drop)
    }

    /// Closed for this many seconds (1 to 60), and for good once that is confirmed. Returns by what
    /// name; whatever becomes of us, it is open again else.
    pub fn try_close(&mut self, id: &str, within_s: u64) -> Result<String, HelperError> {
        let planned = self.0.call("firewall.plan_remove", json!({"rule_id": id}))?.result;
        let digest = planned.get("digest").ok_or_else(|| broken("the reply has no digest"))?;
        let args = json!({"digest": digest, "confirm_s": within_s});
        let tried = self.0.call("firewall.apply", args)?.result;
        let name = tried.get("confirm_id").and_then(Value::as_str).map(str::to_owned);
        name.ok_or_else(|| broken("the reply names no confirmation"))
    }

    pub fn confirm(&mut self, name: &str) -> Result<(), HelperError> {
        self.0.call("firewall.confirm", json!({"id": name})).map(drop)
    }
}
