//! What a setup makes here before there is a host: a key, and the server's host keys. Where it
//! comes to nothing they go again; unless the server may admit that key already, and the next
//! setup goes on with it.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use crate::base::failure::Failure;
use crate::base::file::DirLock;
use crate::host::paths::Paths;
use crate::host::store;
use crate::ssh::known_hosts;
use crate::sys::interrupt::Shield;

/// What this run may have made. Removed with the value, unless it is to stay.
pub struct Traces {
    key: Option<PathBuf>,
    /// File and alias of host keys.
    pinned: Option<(PathBuf, String)>,
    /// Removed where nothing else is in them, the innermost first.
    dirs: Vec<PathBuf>,
    keys: PathBuf,
    stay: Cell<bool>,
}

impl Traces {
    /// To be called before anything is made.
    pub fn before(paths: &Paths, host: &str) -> Result<Traces, Failure> {
        let (key, file) = (store::key_file(paths, host), paths.known_hosts());
        let has_pins = known_hosts::pinned(&file, host)?.is_some();
        let (keys, hosts) = (paths.keys_dir(), paths.hosts_dir());
        let above = file.parent().map(PathBuf::from);
        let dirs = [keys, hosts].into_iter().chain(above);
        Ok(Traces {
            key: (!key.exists()).then_some(key),
            pinned: (!has_pins).then(|| (file, known_hosts::alias(host))),
            dirs: dirs.filter(|dir| !dir.exists()).collect(),
            keys: paths.keys_dir(),
            stay: Cell::new(false),
        })
    }

    /// Whether the server may know this laptop by now.
    pub fn stay(&self, stay: bool) {
        self.stay.set(stay);
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.stay.get() {
            return;
        }
        // What cannot be removed is no reason to fail for another one.
        let _shield = Shield::raise();
        let alone = self.keys.exists().then(|| DirLock::take(&self.keys));
        if let Some(key) = &self.key {
            let _ = fs::remove_file(key);
        }
        if let Some((file, alias)) = &self.pinned {
            let _ = known_hosts::forget(file, alias);
        }
        drop(alone);
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_run_made_goes() {
        let root = std::env::temp_dir().join(format!("hopbox-traces-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let paths = Paths::below(&root);
        let made = |host: &str| {
            paths.ensure_config().unwrap();
            fs::write(store::key_file(&paths, host), "key").unwrap();
            let alias = known_hosts::alias(host);
            known_hosts::pin(&paths.known_hosts(), &alias, &["ssh-x AAAA".to_owned()]).unwrap();
        };
        let left = |host: &str| {
            let pinned = known_hosts::pinned(&paths.known_hosts(), host).unwrap().is_some();
            (store::key_file(&paths, host).exists(), pinned)
        };
        let traces = Traces::before(&paths, "first").unwrap();
        made("first");
        drop(traces);
        assert!(!paths.known_hosts().parent().unwrap().exists(), "nothing is left at all");
        let traces = Traces::before(&paths, "kept").unwrap();
        made("kept");
        traces.stay(true);
        drop(traces);
        let traces = Traces::before(&paths, "other").unwrap();
        made("other");
        drop(traces);
        drop(Traces::before(&paths, "kept").unwrap());
        assert_eq!((left("kept"), left("other")), ((true, true), (false, false)));
        fs::remove_dir_all(root).unwrap();
    }
}
