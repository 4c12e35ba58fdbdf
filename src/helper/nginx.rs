//! What can be asked of hop-helper-server, in its own words: sites that its nginx answers for. What
//! they mean is read by whoever asks. Must not know: who wants a site, and why.

use super::client::Helper;
use super::connection::broken;
use super::error::HelperError;
use super::firewall::socket;
use serde_json::{Value, json};
use std::time::Duration;

/// A change may wait for another one, and nginx has ten seconds for each.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether requests for a site get to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    Yes,
    /// This, of another file of nginx's, answers in its place, at one address at least.
    No(String),
    Unknown,
}

/// A connection to it. What is answered for stays when that ends.
pub struct Nginx(Helper);

impl Nginx {
    pub fn connect() -> Result<Nginx, HelperError> {
        Helper::connect_within(&socket(), LIMIT).map(Nginx)
    }

    /// This user's sites, all of them for root, and whether there are more than it tells.
    pub fn sites(&mut self, app: Option<&str>) -> Result<(Vec<Value>, bool), HelperError> {
        let args = app.map_or_else(|| json!({}), |app| json!({"app_name": app}));
        let mut answer = self.0.call("nginx.list_sites", args)?.result;
        let more = answer.get("more").and_then(Value::as_bool).unwrap_or_default();
        match answer.remove("sites") {
            Some(Value::Array(sites)) => Ok((sites, more)),
            _ => Err(broken("the reply has no sites")),
        }
    }

    /// In the place of the one with its application and service. Whether requests get to it.
    pub fn set(&mut self, site: Value) -> Result<Reached, HelperError> {
        let answer = self.0.call("nginx.set_site", site)?.result;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        Ok(match text("effective") {
            "served" => Reached::Yes,
            "shadowed" => Reached::No(text("by").to_owned()),
            // Also of a helper that does not look.
            _ => Reached::Unknown,
        })
    }

    pub fn remove(&mut self, app: &str, service: &str) -> Result<(), HelperError> {
        let args = json!({"app_name": app, "service": service});
        self.0.call("nginx.remove_site", args).map(drop)
    }
}
