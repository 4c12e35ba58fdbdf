//! `/etc/hopbox/helper.json`: what root allows. A missing file means the defaults.
//!
//! `{"allow_uids":[1000], "pools":["10.10.0.0/16"], "allow_netns":false,
//! "reserve":{"1000":["10.10.4.0/24","box.hop","wg0"]}}`, every key optional.
//! Anything doubtful about the file or its contents is an error, so that a typing mistake never
//! quietly means something else. Must not know: connections, leases.

use crate::core::files::{self, Stamp};
use crate::core::peer_cred::{Admission, is_nobody};
use crate::net::invited;
use crate::net::pool::{self, Net, Pools};
use crate::net::reserve::Reserve;
use crate::proto;
use serde_json::Value;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

pub const SIZE_MAX: u64 = 65_536;
/// The start of our line in the group database.
const GROUP: &[u8] = b"hopbox:";
/// What `--install` writes where there is no file: it allows what no file allows.
pub const DEFAULT: &str = "{}\n";

#[derive(Clone, Debug, Default)]
pub struct Config {
    pub admission: Admission,
    pub pools: Pools,
    /// What is for one user alone.
    pub reserve: Reserve,
    /// Of the file that the invited were looked up in, where there are any.
    users: Option<Stamp>,
}

impl Config {
    /// Reads the file, who was invited, and the databases of users and groups; the error is a
    /// sentence with the file's name. Where a database cannot be read all stays as it was `before`:
    /// a program that changes one puts a new file in its place, which the sandbox of a running
    /// helper does not know.
    pub fn load(path: &Path, before: &Admission) -> Result<Config, String> {
        // Asked now, while it can be: the sandbox of a running helper hides what root has chosen.
        let _ = is_nobody(0);
        let (Some(dir), Some(name)) =
            (path.parent().filter(|dir| dir.is_absolute()), path.file_name())
        else {
            return Err(format!("{}: give an absolute path", path.display()));
        };
        let read = |name: &OsStr| {
            files::root_dir(dir)
                .and_then(|dir| files::read_at(Some(&dir), Path::new(name), SIZE_MAX))
        };
        let mut config = understood(path, read(name))?;
        // The stamp first: what changes meanwhile is seen later.
        let (stamp, users) = (Stamp::of(Path::new(invited::USERS)), std::fs::read(invited::USERS));
        let invited = invited_of(dir, read(invited::NAME.as_ref()), |uid, name| match &users {
            Ok(users) => invited::is_same(users, uid, name),
            Err(_) => before.allow_uids.contains(&uid),
        })?;
        let stamp = stamp.filter(|_| users.is_ok()).unwrap_or_default();
        config.users = (!invited.is_empty()).then_some(stamp);
        config.admission.allow_uids.extend(invited);
        config.admission.group = match std::fs::read("/etc/group") {
            // On macOS the file is not what counts, and users alone are admitted.
            Ok(text) => group(&text).filter(|_| cfg!(target_os = "linux")),
            Err(_) => before.group,
        };
        Ok(config)
    }

    /// Who was invited may be somebody else by now.
    pub fn is_outdated(&self) -> bool {
        self.users.is_some() && self.users != Stamp::of(Path::new(invited::USERS))
    }
}

fn invited_of(
    dir: &Path,
    read: io::Result<Vec<u8>>,
    is: impl FnMut(u32, &[u8]) -> bool,
) -> Result<Vec<u32>, String> {
    let invited = match read {
        Ok(text) => invited::still(&text, is),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.to_string()),
    };
    invited.map_err(|why| format!("{}: {why}", dir.join(invited::NAME).display()))
}

/// Whether the file can be used, wherever it stands.
pub fn check(path: &Path) -> Result<(), String> {
    understood(path, files::read(path, SIZE_MAX))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    invited_of(dir, files::read(&dir.join(invited::NAME), SIZE_MAX), |_, _| false).map(|_| ())
}

fn understood(path: &Path, read: io::Result<Vec<u8>>) -> Result<Config, String> {
    let config = match read {
        Ok(text) => parse(&text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(e) => Err(e.to_string()),
    };
    config.map_err(|why| format!("{}: {why}", path.display()))
}

fn parse(text: &[u8]) -> Result<Config, String> {
    // No key twice, at any depth: the last of twins would win.
    let top = proto::read_object(text).map_err(|why| format!("is not a JSON object: {why}"))?;
    let mut config = Config::default();
    for (key, value) in &top {
        match (key.as_str(), value) {
            ("allow_uids", Value::Array(list)) => {
                let uid = |v: &Value| v.as_u64().and_then(|uid| u32::try_from(uid).ok());
                let uids: Option<Vec<u32>> = list.iter().map(uid).collect();
                config.admission.allow_uids = uids.ok_or("allow_uids must hold user numbers")?;
                if let Some(uid) = config.admission.allow_uids.iter().find(|uid| is_nobody(**uid)) {
                    return Err(format!("allow_uids holds {uid}, which stands for nobody"));
                }
            }
            ("allow_netns", Value::Bool(allow)) => config.admission.allow_netns = *allow,
            ("pools", Value::Array(list)) if !list.is_empty() => {
                let net = |v: &Value| v.as_str().and_then(Net::parse);
                let nets: Option<Vec<Net>> = list.iter().map(net).collect();
                let nets = nets.ok_or("pools must hold prefixes such as \"10.10.0.0/16\"")?;
                nets.iter().try_for_each(|net| pool::check_pool(*net)).map_err(|e| e.message)?;
                config.pools = Pools(nets);
            }
            ("reserve", Value::Object(_)) => {}
            _ => return Err(format!("has the unknown or wrong entry {key:?}")),
        }
    }
    // Last: it speaks of the pools.
    if let Some(Value::Object(users)) = top.get("reserve") {
        config.reserve = Reserve::parse(users, &config.pools)?;
    }
    Ok(config)
}

/// The number of our group in the text of /etc/group. Read by hand: the C library's lookup can
/// load plug-ins and speak to the network, which a root process has no use for.
/// As bytes: a name elsewhere in it may be of any encoding.
pub fn group(text: &[u8]) -> Option<u32> {
    let line = text.split(|b| *b == b'\n').find(|line| line.starts_with(GROUP))?;
    invited::number(line).filter(|gid| !is_nobody(*gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_example_is_taken() {
        let manual = include_str!("../../../man/hop-helper.8");
        let (_, example) = manual.split_once(".Bd -literal\n{\"reserve\"").unwrap();
        let (example, _) = example.split_once(".Ed\n").unwrap();
        let config = parse(format!("{{\"reserve\"{example}").as_bytes());
        assert!(config.is_ok_and(|config| config.reserve != Reserve::default()), "{example}");
    }

    #[test]
    fn every_entry_is_checked() {
        let good = r#"{"allow_uids":[0,1000],"pools":["192.168.64.0/20"],"allow_netns":true}"#;
        let config = parse(good.as_bytes()).unwrap();
        assert_eq!(config.admission.allow_uids, [0, 1000]);
        assert_eq!(config.pools.list(), ["192.168.64.0/20"]);
        let reserving = br#"{"reserve":{"1000":["192.168.64.0/24"]},"pools":["192.168.64.0/20"]}"#;
        assert!(parse(reserving).is_ok_and(|config| config.reserve != Reserve::default()));
        assert!(
            config.admission.allow_netns && parse(b"{}").unwrap().admission.allow_uids.is_empty()
        );
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
            r#"{"allow_netns":false,"allow_netns":true}"#,
            r#"{"allow_uids":[],"allow_u\u0069ds":[1000]}"#,
            r#"{"allow_uids":[65534]}"#,
            r#"{"allow_uids":[1000,4294967294]}"#,
            r#"{"allow_uids":[4294967295]}"#,
            r#"{"reserve":[]}"#,
            r#"{"reserve":{"1000":["10.11.0.0/24"]}}"#,
            r#"{"reserve":{"1000":["10.10.0.0/24"]},"pools":["192.168.64.0/20"]}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let latin = b"root:x:0:\nhopboxes:x:5:\nr\xe9seau:x:7:\nhopbox:x:990:gandalf\n";
        assert_eq!(group(latin), Some(990));
        for bad in ["hopbox", "hopbox:x:many:\n", "hopbox:x:65534:\n", "hopbox:x:4294967295:"] {
            assert_eq!(group(bad.as_bytes()), None, "{bad}");
        }
    }
}
