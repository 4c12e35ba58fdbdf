//! Where the data of a workspace lies: as its file has it, which is the same on every server, and
//! where that is here.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::agent::work::snap::place;
use crate::agent::work::state;
use crate::workspace::manifest::Desired;

/// As the file has them, in the order of their bytes; what lies in another one is a part of that.
pub fn texts(desired: &Desired) -> Vec<String> {
    let data = desired.services.values().flat_map(|service| &service.data);
    let mut all: Vec<&str> = data.map(|data| data.host.trim_end_matches('/')).collect();
    all.sort_unstable();
    let mut kept: Vec<String> = Vec::new();
    for text in all {
        if !kept.iter().any(|outer| Path::new(text).starts_with(outer)) {
            kept.push(text.to_owned());
        }
    }
    kept
}

/// Where that is here.
pub fn expanded(text: &str) -> io::Result<PathBuf> {
    let home = || state::home().ok_or(io::Error::from(ErrorKind::NotFound));
    match text.strip_prefix("~/") {
        Some(below) => Ok(home()?.join(below)),
        None if text == "~" => home(),
        None => Ok(PathBuf::from(text)),
    }
}

/// The same without a link in it, if something is there.
pub fn of_source(text: &str) -> io::Result<PathBuf> {
    let path = expanded(text)?;
    match fs::canonicalize(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        path => path,
    }
}

/// The same where something is to be put: with a directory that it can lie in.
pub fn of_target(text: &str) -> io::Result<PathBuf> {
    let path = expanded(text)?;
    let (parent, name) = path.parent().zip(path.file_name()).ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    Ok(fs::canonicalize(parent)?.join(name))
}

/// What the tree of a move is called among those that lie beside a place.
pub fn staging_id(id: &str) -> String {
    format!("{}{id}", place::MOVES)
}

/// Where the tree lies that is to take this place, with room for it.
pub fn staging(workspace: &str, id: &str, text: &str) -> io::Result<PathBuf> {
    place::make(&of_target(text)?, workspace, &staging_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::read;

    #[test]
    fn what_lies_in_another_is_a_part_of_it() {
        let text = "name: app\nservices:\n  x: {type: native, command: x, data: [{host: /srv/a/b}, \
                    {host: ~/ab}]}\n  y: {type: native, command: x, data: [{host: /srv/a}, \
                    {host: /srv/ab}]}\n";
        let desired = read::manifest(text).unwrap().desired;
        assert_eq!(texts(&desired), ["/srv/a", "/srv/ab", "~/ab"]);
    }
}
