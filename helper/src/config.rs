//! `/etc/hopbox/helper.json`: what root allows. A missing file means the defaults.
//!
//! `{"allow_uids":[1000], "pools":["10.10.0.0/16"], "allow_netns":false}`, every key optional.
//! Anything doubtful about the file or its contents is an error, so that a typing mistake never
//! quietly means something else. Must not know: connections, leases.

use crate::files;
use crate::pool::{self, Net, Pools};
use serde_json::Value;
use std::io;
use std::path::Path;

const SIZE_MAX: u64 = 65_536;
const GROUP: &str = "hopbox";
/// What `--install` writes where there is no file: it allows what no file allows.
pub const DEFAULT: &str = "{}\n";

#[derive(Clone, Debug, Default)]
pub struct Config {
    pub allow_uids: Vec<u32>,
    /// Serve tun.* and hosts.* to callers in other network namespaces, too.
    pub allow_netns: bool,
    pub pools: Pools,
    /// Number of the group `hopbox`, where there is one.
    pub group: Option<u32>,
}

impl Config {
    /// Reads the file and the group database; the error is a sentence with the file's name.
    /// Where the database cannot be read the group stays `before`: a program that adds a group
    /// puts a new file in its place, which the sandbox of a running helper does not know.
    pub fn load(path: &Path, before: Option<u32>) -> Result<Config, String> {
        let mut config = match files::read(path, SIZE_MAX) {
            Ok(text) => parse(&text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
            Err(e) => Err(e.to_string()),
        }
        .map_err(|why| format!("{}: {why}", path.display()))?;
        config.group = match std::fs::read_to_string("/etc/group") {
            // On macOS the file is not what counts, and users alone are admitted.
            Ok(text) => group(&text).filter(|_| cfg!(target_os = "linux")),
            Err(_) => before,
        };
        Ok(config)
    }
}

/// The text of the file with one more user in it.
#[cfg(any(test, target_os = "macos"))]
pub fn with_user(text: &str, uid: u32) -> Result<String, String> {
    let config = parse(text.as_bytes())?;
    if config.allow_uids.contains(&uid) {
        return Ok(text.to_string());
    }
    let mut top: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|e| e.to_string())?;
    let uids: Vec<u32> = config.allow_uids.into_iter().chain([uid]).collect();
    top.insert("allow_uids".to_string(), uids.into());
    Ok(format!("{}\n", Value::Object(top)))
}

/// Whether it says nothing but which users are admitted.
#[cfg(any(test, target_os = "macos"))]
pub fn only_users(text: &str) -> bool {
    let top: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(text);
    top.is_ok_and(|top| top.keys().eq(["allow_uids"]))
}

fn parse(text: &[u8]) -> Result<Config, String> {
    let Ok(Value::Object(top)) = serde_json::from_slice(text) else {
        return Err("is not a JSON object".to_string());
    };
    let mut config = Config::default();
    for (key, value) in &top {
        match (key.as_str(), value) {
            ("allow_uids", Value::Array(list)) => {
                let uid = |v: &Value| v.as_u64().and_then(|uid| u32::try_from(uid).ok());
                let uids: Option<Vec<u32>> = list.iter().map(uid).collect();
                config.allow_uids = uids.ok_or("allow_uids must hold user numbers")?;
            }
            ("allow_netns", Value::Bool(allow)) => config.allow_netns = *allow,
            ("pools", Value::Array(list)) if !list.is_empty() => {
                let net = |v: &Value| v.as_str().and_then(Net::parse);
                let nets: Option<Vec<Net>> = list.iter().map(net).collect();
                let nets = nets.ok_or("pools must hold prefixes such as \"10.10.0.0/16\"")?;
                nets.iter().try_for_each(|net| pool::check_pool(*net)).map_err(|e| e.message)?;
                config.pools = Pools(nets);
            }
            _ => return Err(format!("has the unknown or wrong entry {key:?}")),
        }
    }
    Ok(config)
}

/// The number of our group in the text of /etc/group. Read by hand: the C library's lookup can
/// load plug-ins and speak to the network, which a root process has no use for.
fn group(text: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.split(':').next() == Some(GROUP))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_checked() {
        let good = r#"{"allow_uids":[0,1000],"pools":["192.168.64.0/20"],"allow_netns":true}"#;
        let config = parse(good.as_bytes()).unwrap();
        assert_eq!(config.allow_uids, [0, 1000]);
        assert_eq!(config.pools.list(), ["192.168.64.0/20"]);
        assert!(config.allow_netns && parse(b"{}").unwrap().allow_uids.is_empty());
        for bad in [
            "",
            "[]",
            r#"{"allow_uid":[1]}"#,
            r#"{"allow_uids":[-1]}"#,
            r#"{"allow_uids":["1"]}"#,
            r#"{"allow_uids":[4294967296]}"#,
            r#"{"allow_uids":1}"#,
            r#"{"pools":[]}"#,
            r#"{"pools":["0.0.0.0/0"]}"#,
            r#"{"pools":["10.10.0.1/16"]}"#,
            r#"{"allow_netns":1}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_user_is_added_once_and_the_rest_stays() {
        let once = with_user("{}", 501).unwrap();
        assert_eq!(once, "{\"allow_uids\":[501]}\n");
        assert_eq!(with_user(&once, 501).unwrap(), once);
        assert!(only_users(&once) && only_users(&with_user(&once, 502).unwrap()));
        let rich = r#"{"pools":["10.20.0.0/16"],"allow_uids":[502]}"#;
        let config = parse(with_user(rich, 501).unwrap().as_bytes()).unwrap();
        assert_eq!(config.allow_uids, [502, 501]);
        assert_eq!(config.pools.list(), ["10.20.0.0/16"]);
        assert!(!only_users(rich) && !only_users("{}") && !only_users("x"));
        // What cannot be read is never written over.
        assert!(with_user("{\"allow_uid\":[1]}", 501).is_err() && with_user("", 501).is_err());
    }

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        assert_eq!(group("root:x:0:\nhopboxes:x:5:\nhopbox:x:990:gandalf\n"), Some(990));
        assert_eq!(group("hopbox"), None);
        assert_eq!(group("hopbox:x:many:\n"), None);
    }
}
