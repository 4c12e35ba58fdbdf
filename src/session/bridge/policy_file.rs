//! Where a host's policy is kept, and how it is changed: one at a time, whole or not at all.

use super::policy::Policy;
use crate::base::failure::{Failure, Fault};
use crate::base::file::{self, DirLock};
use crate::fix;
use crate::host::paths::{Paths, ensure_private};

pub fn load(paths: &Paths, host: &str) -> Result<Policy, Failure> {
    let path = paths.bridge_file(host);
    match file::read_private(&path) {
        Ok(text) => Policy::read(&text).map_err(|error| {
            let what = format!("{} cannot be read, so nothing is allowed", path.display());
            Failure::new(Fault::Config, what, error.to_string(), fix!("${EDITOR:-vi} {}", path))
        }),
        Err(failure) if failure.fault == Fault::NotFound => Ok(Policy::default()),
        Err(failure) => Err(failure),
    }
}

/// What it is afterwards.
pub fn change(
    paths: &Paths,
    host: &str,
    change: impl FnOnce(&mut Policy) -> Result<(), Failure>,
) -> Result<Policy, Failure> {
    paths.ensure_config()?;
    let path = paths.bridge_file(host);
    let dir = path.parent().unwrap_or(&path);
    ensure_private(dir)?;
    let _alone = DirLock::take(dir)?;
    let mut policy = load(paths, host)?;
    change(&mut policy)?;
    let written = file::replace(&path, policy.to_json().to_string().as_bytes());
    written.map_err(|error| Failure::io("write", &path, &error))?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::policy::{Bridge, Rule};
    use super::*;

    #[test]
    fn what_was_allowed_is_kept_for_one_host_and_a_broken_file_allows_nothing() {
        let root = std::env::temp_dir().join(format!("hopbox-bridge-{}", std::process::id()));
        let paths = Paths::below(&root);
        assert_eq!(load(&paths, "mybox").unwrap(), Policy::default());
        let allow = |policy: &mut Policy| {
            policy.set(Bridge::Paste, Rule::Allow);
            Ok(())
        };
        change(&paths, "mybox", allow).unwrap();
        assert_eq!(load(&paths, "mybox").unwrap().rule(Bridge::Paste), Rule::Allow);
        assert_eq!(load(&paths, "other").unwrap().rule(Bridge::Paste), Rule::Deny);
        let file = paths.bridge_file("mybox");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "{\"version\":1,").unwrap();
        assert!(load(&paths, "mybox").is_err() && change(&paths, "mybox", |_| Ok(())).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
