//! What is kept of a workspace, and where its frozen twins lie: beside what they are of, since only
//! there, on the same file system, blocks are shared and a rename is enough. The twin of
//! `/srv/app/data` that is called ID lies at `/srv/app/.hopbox-snap/WORKSPACE/ID/data`, so that its
//! path alone tells what it is of, in a repository as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::agent::work::state;
use crate::workspace::manifest::Desired;

/// Never a part of what is kept.
pub const ROOM: &str = ".hopbox-snap";
/// What names begin with of trees that are on their way here: no snapshot's.
pub const MOVES: &str = "m-";

/// One file or directory that is kept, and the services that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Without links.
    pub path: PathBuf,
    pub services: BTreeSet<String>,
}

/// All that a workspace wants kept, and what of it is not there yet. What lies in another one is a
/// part of that.
pub fn kept(desired: &Desired) -> io::Result<(Vec<Kept>, Vec<String>)> {
    let home = state::home().ok_or(ErrorKind::NotFound)?;
    let (mut all, mut missing) = (BTreeMap::<PathBuf, BTreeSet<String>>::new(), Vec::new());
    for (name, service) in &desired.services {
        for data in &service.data {
            let path = match data.host.strip_prefix("~/") {
                Some(below) => home.join(below),
                None if data.host == "~" => home.clone(),
                None => PathBuf::from(&data.host),
            };
            match fs::canonicalize(&path) {
                Ok(path) => drop(all.entry(path).or_default().insert(name.clone())),
                Err(error) => missing.push(format!("{}: {error}", path.display())),
            }
        }
    }
    let mut kept: Vec<Kept> = Vec::new();
    // An outer one comes before what is in it.
    for (path, services) in all {
        match kept.iter_mut().find(|outer| path.starts_with(&outer.path)) {
            Some(outer) => outer.services.extend(services),
            None => kept.push(Kept { path, services }),
        }
    }
    Ok((kept, missing))
}

/// Without links, as far as it is there.
pub fn real(path: &Path) -> PathBuf {
    let of = |up: &Path| Some(fs::canonicalize(up).ok()?.join(path.strip_prefix(up).ok()?));
    path.ancestors().find_map(of).unwrap_or_else(|| path.to_owned())
}

/// Where all twins of a workspace lie that are of what is in `parent`.
pub fn room(parent: &Path, workspace: &str) -> PathBuf {
    parent.join(ROOM).join(workspace)
}

/// Where the twin of this lies.
pub fn twin(of: &Path, workspace: &str, id: &str) -> io::Result<PathBuf> {
    let (parent, name) = of.parent().zip(of.file_name()).ok_or(ErrorKind::InvalidInput)?;
    Ok(room(parent, workspace).join(id).join(name))
}

/// What a path is of that may be a twin's, or lie in one.
pub fn original(path: &Path) -> PathBuf {
    let mut original = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        if part == Component::Normal(OsStr::new(ROOM)) {
            // The workspace, and which.
            parts.nth(1);
        } else {
            original.push(part);
        }
    }
    original
}

/// The room for twins beside this: one that only this login can enter.
pub fn make(of: &Path, workspace: &str, id: &str) -> io::Result<PathBuf> {
    let twin = twin(of, workspace, id)?;
    let dir = twin.parent().ok_or(ErrorKind::InvalidInput)?;
    let outer = of.parent().ok_or(ErrorKind::InvalidInput)?.join(ROOM);
    state::private_dir(&outer)?;
    state::private_dir(dir)?;
    Ok(twin)
}

/// Takes away what is left of rooms that nothing is in.
pub fn tidy(of: &Path, workspace: &str, id: &str) {
    let Some(parent) = of.parent() else { return };
    let room = room(parent, workspace);
    for dir in [room.join(id), room, parent.join(ROOM)] {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::read;

    #[test]
    fn a_twin_tells_what_it_is_of() {
        let of = Path::new("/srv/app/da ta");
        let twin = twin(of, "app", "7").unwrap();
        assert_eq!(twin, Path::new("/srv/app/.hopbox-snap/app/7/da ta"));
        assert_eq!(original(&twin.join("x/y")), of.join("x/y"));
        assert_eq!(original(of), of);
        assert!(super::twin(Path::new("/"), "app", "7").is_err());
    }

    #[test]
    fn what_lies_in_another_is_a_part_of_it() {
        let dir = std::env::temp_dir().join(format!("hopbox-kept-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::create_dir_all(dir.join("ab")).unwrap();
        std::os::unix::fs::symlink(dir.join("ab"), dir.join("link")).unwrap();
        let at = dir.display();
        let text = format!(
            "name: app\nservices:\n  x: {{type: native, command: x, data: [{{host: {at}/a/b}}, \
             {{host: {at}/none}}]}}\n  y: {{type: native, command: x, data: [{{host: {at}/a}}, \
             {{host: {at}/link}}]}}\n"
        );
        let desired = read::manifest(&text).unwrap().desired;
        let (kept, missing) = kept(&desired).unwrap();
        let dir = fs::canonicalize(&dir).unwrap();
        let shown: Vec<_> = kept
            .iter()
            .map(|kept| {
                let services: Vec<&str> = kept.services.iter().map(String::as_str).collect();
                (kept.path.strip_prefix(&dir).unwrap().display().to_string(), services.concat())
            })
            .collect();
        assert_eq!(shown, [("a".to_owned(), "xy".to_owned()), ("ab".to_owned(), "y".to_owned())]);
        assert!(missing.len() == 1 && missing[0].contains("/none: "), "{missing:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
