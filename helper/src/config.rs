//! `/etc/hopbox/helper.json`: what root allows. A missing file means the defaults.
//!
//! `{"allow_uids":[1000], "pools":["10.10.0.0/16"], "allow_netns":false}`, every key optional.
//! Anything doubtful about the file or its contents is an error, so that a typing mistake never
//! quietly means something else. Must not know: connections, leases.

use crate::pool::{self, Net, Pools};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const SIZE_MAX: u64 = 65_536;
const GROUP: &str = "hopbox";

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
        let mut config = match read(path) {
            Ok(text) => parse(&text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
            Err(e) => Err(e.to_string()),
        }
        .map_err(|why| format!("{}: {why}", path.display()))?;
        config.group = match std::fs::read_to_string("/etc/group") {
            Ok(text) => group(&text),
            Err(_) => before,
        };
        Ok(config)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        let why = "must be a regular file of root that nobody else can write";
        return Err(io::Error::other(why));
    }
    let mut text = String::new();
    file.take(SIZE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Config, String> {
    let Ok(Value::Object(top)) = serde_json::from_str(text) else {
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
        let config = parse(good).unwrap();
        assert_eq!(config.allow_uids, [0, 1000]);
        assert_eq!(config.pools.list(), ["192.168.64.0/20"]);
        assert!(config.allow_netns && parse("{}").unwrap().allow_uids.is_empty());
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
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        assert_eq!(group("root:x:0:\nhopboxes:x:5:\nhopbox:x:990:gandalf\n"), Some(990));
        assert_eq!(group("hopbox"), None);
        assert_eq!(group("hopbox:x:many:\n"), None);
    }
}
