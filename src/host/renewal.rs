//! A host's new pair of keys on the laptop: host file and key file change together or not at all.
//!
//! Two files cannot be replaced in one step, so a third says what both are to be: from the moment
//! it is there the new pair is the host's, and whoever reads the host next brings the two files up
//! to it. Killed before that moment the old pair is untouched. See `agent/store.rs` for the other
//! side, which accepts both pairs until it has heard of the new one.

use std::fs;
use std::io::ErrorKind;

use serde_json::json;
use zeroize::Zeroizing;

use super::config::{self, HostConfig};
use super::paths::Paths;
use crate::base::failure::{Failure, Fault};
use crate::base::field::key;
use crate::base::file::{self, DirLock};
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, Secret};

const SCHEMA: u32 = 1;
/// How often host and key are read until they are of one renewal.
const TRIES: usize = 5;

/// From now on `host`'s keys are `key` and what `host` says.
pub fn commit(paths: &Paths, host: &HostConfig, key: &Secret) -> Result<(), Failure> {
    paths.ensure_config()?;
    let path = paths.renewal_file(&host.name);
    config::check(&path, host)?;
    let record = json!({
        "version": SCHEMA,
        "key": key::encode(key).as_str(),
        "host": config::to_json(host),
    });
    let text = Zeroizing::new(format!("{record}\n"));
    file::replace(&path, text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))?;
    settle(paths, &host.name)
}

/// Ends a renewal that was cut off after its moment.
pub fn settle(paths: &Paths, name: &str) -> Result<(), Failure> {
    let path = paths.renewal_file(name);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    let _lock = DirLock::take(&paths.keys_dir())?;
    let text = match file::read_private(&path) {
        // Another process was faster.
        Err(error) if error.fault == Fault::NotFound => return Ok(()),
        other => other?,
    };
    let (host, new) = parse(&text).map_err(|error| config::fault(&path, &error))?;
    if host.name != name {
        let error = ReadError { key: "host.name".to_owned(), why: format!("must be {name:?}") };
        return Err(config::fault(&path, &error));
    }
    let file = paths.key_file(name);
    let mut line = key::encode(&new);
    line.push('\n');
    file::replace(&file, line.as_bytes()).map_err(|error| Failure::io("write", &file, &error))?;
    config::save(paths, &host)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::io("remove", &path, &error))
        }
        _ => Ok(()),
    }
}

/// The host and its key, which belong together.
pub fn load(paths: &Paths, name: &str) -> Result<(HostConfig, Secret), Failure> {
    // A renewal may come in between, but hardly twice.
    let mut host = config::load(paths, name)?;
    for _ in 0..TRIES {
        let key = key::load(&paths.key_file(name))?;
        let again = config::load(paths, name)?;
        if again.token == host.token && again.public_key == host.public_key {
            return Ok((again, key));
        }
        host = again;
    }
    let what = format!("the keys of {name} change all the time");
    Err(Failure::new(Fault::Exists, what, "another hop is at work", "hop status"))
}

fn parse(text: &str) -> Result<(HostConfig, Secret), ReadError> {
    let mut fields = Fields::parse(text)?;
    fields.int::<u32>("version", SCHEMA..=SCHEMA)?;
    let key = fields.meant("key", key)?;
    let host = fields.opt_object("host")?.ok_or_else(|| fields.error("host", "is missing"))?;
    let host = config::read(host)?;
    fields.finish()?;
    Ok((host, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::config::Endpoint;
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    fn host(n: u8) -> HostConfig {
        HostConfig {
            name: "mybox".to_owned(),
            endpoint: Endpoint::parse("203.0.113.7:51820").unwrap(),
            public_key: [n; 32],
            preshared_key: Some(Zeroizing::new([n; 32])),
            local_ip: Ipv4Addr::new(10, 10, 0, 1),
            peer_ip: Ipv4Addr::new(10, 10, 0, 2),
            number: 0,
            mtu: 1420,
            keepalive_s: 25,
            api_port: 4200,
            token: key::encode(&[n; 32]),
            user: Some("gandalf".to_owned()),
            identity: None,
            ssh: None,
        }
    }

    fn scratch(what: &str) -> (Paths, PathBuf) {
        let dir = std::env::temp_dir().join(format!("hopbox-{what}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let paths = Paths::below(&dir);
        config::save(&paths, &host(1)).unwrap();
        key::store_new(&paths.key_file("mybox"), &[1; 32]).unwrap();
        (paths, dir)
    }

    /// What the host has: its key, and the number that `host` was made with.
    fn pair(paths: &Paths) -> (u8, u8) {
        let host = config::load(paths, "mybox").unwrap();
        (key::load(&paths.key_file("mybox")).unwrap()[0], host.public_key[0])
    }

    #[test]
    fn cut_off_at_any_step_the_pair_is_the_old_one_or_the_new_one() {
        let (paths, dir) = scratch("renewal");
        assert_eq!(pair(&paths), (1, 1));
        commit(&paths, &host(2), &Zeroizing::new([2; 32])).unwrap();
        assert_eq!(pair(&paths), (2, 2));
        assert!(!paths.renewal_file("mybox").exists());
        // The record alone; record and key file; all three.
        let record = json!({
            "version": 1, "key": key::encode(&[3; 32]).as_str(), "host": config::to_json(&host(3)),
        });
        for step in 0..3 {
            config::save(&paths, &host(2)).unwrap();
            file::replace(&paths.key_file("mybox"), key::encode(&[2; 32]).as_bytes()).unwrap();
            let path = paths.renewal_file("mybox");
            file::replace(&path, record.to_string().as_bytes()).unwrap();
            if step > 0 {
                let key = key::encode(&[3; 32]);
                file::replace(&paths.key_file("mybox"), key.as_bytes()).unwrap();
            }
            if step > 1 {
                config::save(&paths, &host(3)).unwrap();
            }
            assert_eq!(pair(&paths), (3, 3), "after step {step}");
            assert!(!path.exists());
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_damaged_record_is_named_and_nothing_is_replaced() {
        let (paths, dir) = scratch("renewal-bad");
        for bad in ["{", "{\"version\":1}", "{\"version\":1,\"key\":\"x\",\"host\":{}}"] {
            file::replace(&paths.renewal_file("mybox"), bad.as_bytes()).unwrap();
            let error = config::load(&paths, "mybox").err().unwrap();
            assert!(error.what.contains("mybox.renewal"), "{error}");
            assert_eq!(key::load(&paths.key_file("mybox")).unwrap()[0], 1);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
