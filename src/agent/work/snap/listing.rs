//! What is in a snapshot below some paths, as restic lists it: a line for each file.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::listener::Listener;
use super::owners::{Login, Others};
use super::place::ROOM;
use super::repository::Opened;
use crate::agent::work::services::Done;

/// Below one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub is_there: bool,
    /// As [`super::tree::Count`] has them.
    pub files: u64,
    pub bytes: u64,
    pub others: Others,
    /// A directory of a PostgreSQL that is another user's.
    pub is_databases_of_others: bool,
}

impl Content {
    fn add(&mut self, node: &Value, path: &Path, login: &Login) {
        let is = |key: &str, word: &str| node.get(key).and_then(Value::as_str) == Some(word);
        let number = |key: &str| node.get(key).and_then(Value::as_u64).unwrap_or(0);
        self.is_there = true;
        let id = |key: &str| u32::try_from(number(key)).unwrap_or(u32::MAX);
        let is_file = is("type", "file");
        if is_file || is("type", "symlink") || is("type", "fifo") {
            self.files += 1;
        }
        if is_file {
            self.bytes = self.bytes.saturating_add(number("size"));
        }
        self.others.see(login, id("uid"), id("gid"));
        let is_mark = path.file_name().is_some_and(|name| name == "PG_VERSION");
        self.is_databases_of_others |= is_file && is_mark && login.is_other(id("uid"));
    }
}

/// Of each path.
pub fn contents(
    opened: &Opened,
    id: &str,
    paths: &[&Path],
    to: &dyn Listener,
) -> Done<Vec<Content>> {
    let (mut all, login) = (vec![Content::default(); paths.len()], Login::own());
    let words = ["ls", "--json", "--no-lock", "-q", id].map(OsString::from);
    opened.hear(&words, to, &mut |line| {
        let Some(path) = line.get("path").and_then(Value::as_str).map(Path::new) else { return };
        for (content, root) in all.iter_mut().zip(paths) {
            let below = path.strip_prefix(root).ok();
            if below.is_some_and(|below| !below.components().any(|part| part.as_os_str() == ROOM)) {
                content.add(line, path, &login);
            }
        }
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_belongs_to_others_is_counted_and_a_database_known() {
        let (own, other) = (1000, 1001);
        let login = Login { uid: own, groups: vec![own] };
        let mut content = Content::default();
        let mut add = |kind: &str, path: &str, uid: u32| {
            let node = json!({"type": kind, "path": path, "uid": uid, "gid": own, "size": 7});
            content.add(&node, Path::new(path), &login);
        };
        add("dir", "/pg", own);
        add("file", "/pg/PG_VERSION", own);
        add("symlink", "/pg/x", other);
        assert_eq!((content.files, content.bytes, content.others.files), (2, 7, 1));
        assert!(!content.is_databases_of_others);
        let node = json!({"type": "file", "uid": other, "gid": own});
        content.add(&node, Path::new("/pg/PG_VERSION"), &login);
        assert!(content.is_databases_of_others);
    }
}
