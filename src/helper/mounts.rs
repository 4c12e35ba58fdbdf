//! What can be asked of hop-helper-server, in its own words: directories that are mounted below the
//! caller's home. They stay when the connection ends. Must not know: who wants one, and why.

use super::client::Helper;
use super::connection::broken;
use super::error::HelperError;
use super::firewall::{LIMIT, socket};
use serde_json::{Value, json};

pub struct Mounts(Helper);

impl Mounts {
    pub fn connect() -> Result<Mounts, HelperError> {
        Helper::connect_within(&socket(), LIMIT).map(Mounts)
    }

    /// In memory, of so many bytes. Returns whether it was not there before.
    pub fn tmpfs(&mut self, target: &str, bytes: u64) -> Result<bool, HelperError> {
        self.made("mount.tmpfs", json!({"target": target, "size": bytes}))
    }

    /// A directory that root has listed. Returns whether it was not there before.
    pub fn bind(
        &mut self,
        target: &str,
        source: &str,
        read_only: bool,
    ) -> Result<bool, HelperError> {
        let args = json!({"target": target, "source": source, "read_only": read_only});
        self.made("mount.bind", args)
    }

    fn made(&mut self, op: &str, args: Value) -> Result<bool, HelperError> {
        let answer = self.0.call(op, args)?.result;
        Ok(answer.get("made").and_then(Value::as_bool).unwrap_or_default())
    }

    /// This user's, all of them for root: whose each is, and where.
    pub fn list(&mut self) -> Result<Vec<(u32, String)>, HelperError> {
        let mut answer = self.0.call("mount.list", json!({}))?.result;
        let mounts = answer.remove("mounts").unwrap_or_default();
        let mount = |mount: &Value| {
            let uid = mount.get("uid")?.as_u64().and_then(|uid| u32::try_from(uid).ok())?;
            Some((uid, mount.get("target")?.as_str()?.to_owned()))
        };
        let read = mounts.as_array().map(|all| all.iter().map(mount).collect());
        read.flatten().ok_or_else(|| broken("the reply has no mounts"))
    }

    /// One that is not there is unmounted.
    pub fn unmount(&mut self, target: &str) -> Result<(), HelperError> {
        self.0.call("mount.unmount", json!({"target": target})).map(drop)
    }
}
