//! What this user has said yes to, for each host and workspace: digests of manifests with all that
//! is sent because of them. Another byte or variable is another digest, and is asked for anew. A
//! file that cannot be read says yes to nothing.
//!
//! And in which directories a `hopbox.yaml` may choose this host.
//!
//! Bounds: the last 8 of a workspace, 64 workspaces of a host, 64 directories. Of workspaces the
//! one that was used longest ago goes, and is asked for anew.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::paths::Paths;
use crate::base::failure::{Failure, Fault};
use crate::base::file;
use crate::base::json::Fields;
use crate::workspace::digest::Digest;

const VERSION: u32 = 1;
const KEPT: usize = 8;
const WORKSPACES: usize = 64;
const DIRECTORIES: usize = 64;
/// No workspace has this name.
const CHOOSE: &str = "~directories";

#[derive(Default)]
struct Given {
    /// The newest of each workspace last.
    all: BTreeMap<String, Vec<Digest>>,
    /// The workspaces among them, the one that was used last at the end.
    used: Vec<String>,
}

impl Given {
    fn has(&self, workspace: &str, digest: Digest) -> bool {
        self.all.get(workspace).is_some_and(|digests| digests.contains(&digest))
    }

    /// Those that are too many go.
    fn put_last(&mut self, workspace: &str) {
        if workspace == CHOOSE {
            return;
        }
        self.used.retain(|known| known != workspace);
        self.used.push(workspace.to_owned());
        for name in self.used.drain(..self.used.len().saturating_sub(WORKSPACES)) {
            self.all.remove(&name);
        }
    }

    /// Whether it would be among the next to go, which is when its use has to be remembered.
    fn is_old(&self, workspace: &str) -> bool {
        self.used.iter().rev().skip(WORKSPACES / 2).any(|known| known == workspace)
    }
}

pub fn is_given(
    paths: &Paths,
    host: &str,
    workspace: &str,
    digest: Digest,
) -> Result<bool, Failure> {
    let mut given = load(paths, host)?;
    let has = given.has(workspace, digest);
    if has && given.is_old(workspace) {
        given.put_last(workspace);
        // The answer is the same where that cannot be kept.
        let _ = store(paths, host, &given);
    }
    Ok(has)
}

/// Whether what lies in `dir` may lead to this host.
pub fn may_choose(paths: &Paths, host: &str, dir: &Path) -> Result<bool, Failure> {
    is_given(paths, host, CHOOSE, of_dir(dir))
}

pub fn let_choose(paths: &Paths, host: &str, dir: &Path) -> Result<(), Failure> {
    keep(paths, host, CHOOSE, of_dir(dir), DIRECTORIES)
}

fn of_dir(dir: &Path) -> Digest {
    // Every path is another text.
    Digest::of("hopbox.directory/1", &format!("{dir:?}"))
}

/// From now on it is not asked for any more.
pub fn give(paths: &Paths, host: &str, workspace: &str, digest: Digest) -> Result<(), Failure> {
    keep(paths, host, workspace, digest, KEPT)
}

fn keep(
    paths: &Paths,
    host: &str,
    workspace: &str,
    digest: Digest,
    most: usize,
) -> Result<(), Failure> {
    let mut given = load(paths, host)?;
    let digests = given.all.entry(workspace.to_owned()).or_default();
    digests.retain(|known| *known != digest);
    digests.push(digest);
    digests.drain(..digests.len().saturating_sub(most));
    given.put_last(workspace);
    store(paths, host, &given)
}

fn store(paths: &Paths, host: &str, given: &Given) -> Result<(), Failure> {
    paths.ensure_state()?;
    let words = |digests: &Vec<Digest>| digests.iter().map(Digest::to_string).collect::<Value>();
    let all = given.all.iter().map(|(name, digests)| (name.clone(), words(digests)));
    let all: serde_json::Map<_, _> = all.collect();
    let json = json!({"version": VERSION, "workspaces": all, "used": given.used});
    let path = paths.consent_file(host);
    let written = file::replace(&path, json.to_string().as_bytes());
    written.map_err(|error| Failure::io("write", &path, &error))
}

fn load(paths: &Paths, host: &str) -> Result<Given, Failure> {
    match file::read_private(&paths.consent_file(host)) {
        Ok(text) => Ok(read(&text).unwrap_or_default()),
        Err(failure) if failure.fault == Fault::NotFound => Ok(Given::default()),
        Err(failure) => Err(failure),
    }
}

fn read(text: &str) -> Option<Given> {
    let mut fields = Fields::parse(text).ok()?;
    fields.int("version", VERSION..=VERSION).ok()?;
    let Some(Value::Object(all)) = fields.take("workspaces") else { return None };
    let digests = |value: Value| {
        let all = value.as_array()?.iter();
        all.map(|digest| digest.as_str()?.parse().ok()).collect::<Option<Vec<Digest>>>()
    };
    let all = all.into_iter().map(|(name, value)| Some((name, digests(value)?)));
    let all: BTreeMap<String, Vec<Digest>> = all.collect::<Option<_>>()?;
    // An older file has no order: of its workspaces all have been used before those that have one.
    let order = match fields.take("used") {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    let place = |name: &String| order.iter().position(|known| known.as_str() == Some(name));
    let mut used: Vec<String> = all.keys().filter(|name| *name != CHOOSE).cloned().collect();
    used.sort_by_key(place);
    Some(Given { all, used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_yes_is_for_one_host_one_workspace_and_one_content() {
        let root = std::env::temp_dir().join(format!("hopbox-consent-{}", std::process::id()));
        let paths = Paths::below(&root);
        let digest = |n: usize| Digest::of("test", &n.to_string());
        let is_given =
            |host: &str, workspace: &str, n| is_given(&paths, host, workspace, digest(n)).unwrap();
        assert!(!is_given("mybox", "app", 1));
        give(&paths, "mybox", "app", digest(1)).unwrap();
        assert!(is_given("mybox", "app", 1));
        for (host, workspace, n) in [("mybox", "app", 2), ("mybox", "b", 1), ("other", "app", 1)] {
            assert!(!is_given(host, workspace, n), "{host} {workspace} {n}");
        }
        // The oldest go.
        (2..=9).for_each(|n| give(&paths, "mybox", "app", digest(n)).unwrap());
        assert!(!is_given("mybox", "app", 1) && is_given("mybox", "app", 2));
        for n in 0..200 {
            give(&paths, "mybox", &format!("app{n}"), digest(n)).unwrap();
        }
        let file = paths.consent_file("mybox");
        assert!(fs::metadata(&file).unwrap().len() < 64 * 1024);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // A directory, for one host; other than that nothing makes it go.
        let choose = |host: &str, dir: &str| may_choose(&paths, host, Path::new(dir)).unwrap();
        assert!(!choose("mybox", "/src/a"));
        let_choose(&paths, "mybox", Path::new("/src/a")).unwrap();
        for n in 200..300 {
            give(&paths, "mybox", &format!("app{n}"), digest(n)).unwrap();
        }
        assert!(choose("mybox", "/src/a"));
        assert!(!choose("mybox", "/src/b") && !choose("other", "/src/a"));
        // Whoever was used last stays, whatever their names: `a` is asked for now and then.
        give(&paths, "mybox", "a", digest(0)).unwrap();
        for n in 300..400 {
            give(&paths, "mybox", &format!("z{n}"), digest(n)).unwrap();
            assert!(is_given("mybox", "a", 0), "after {n}");
        }
        assert!(is_given("mybox", "z337", 337) && !is_given("mybox", "z336", 336), "63 beside a");
        assert!(!is_given("mybox", "app299", 299) && choose("mybox", "/src/a"));
        give(&paths, "mybox", "app299", digest(299)).unwrap();
        // What an older release wrote has no order, and those that have one stay longer.
        let text = fs::read_to_string(&file).unwrap();
        let older = text.replace("\"used\":", "\"other\":");
        assert_ne!(older, text);
        fs::write(&file, older).unwrap();
        for n in 400..463 {
            give(&paths, "mybox", &format!("0{n}"), digest(n)).unwrap();
        }
        assert!(is_given("mybox", "0400", 400) && !is_given("mybox", "a", 0));
        fs::write(&file, &text).unwrap();
        // What is damaged says yes to nothing; what others may have written is not used.
        let text = fs::read_to_string(&file).unwrap();
        for bad in ["", "{", "[]", &text.replace("\"version\":1", "\"version\":2")] {
            fs::write(&file, bad).unwrap();
            assert!(!is_given("mybox", "app299", 299), "{bad}");
        }
        fs::write(&file, &text).unwrap();
        assert!(is_given("mybox", "app299", 299));
        fs::set_permissions(&file, Permissions::from_mode(0o660)).unwrap();
        let refused = super::is_given(&paths, "mybox", "app299", digest(299));
        assert_eq!(refused.unwrap_err().fault, Fault::Open);
        fs::remove_dir_all(&root).unwrap();
    }
}
