//! What is on the search path of services, runs and logins: always `hop-agent` itself, and shims
//! while a workspace declares what they need. They are links to this program, in a directory of
//! its own; services and runs have that first on their path, and logins find it through
//! `~/.local/bin`, where nothing of the user's is ever replaced. A link whose program is gone is no
//! program to a shell, which looks further.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::place::{OWN, Place};
use super::shim::SHIMS;
use crate::agent::work::manager;
use crate::agent::work::state::{home, private_dir};
use crate::workspace::manifest::Bridges;

/// Puts there what is declared, and takes away what is not.
pub fn settle(place: &Place, declared: &Bridges) -> io::Result<()> {
    let bin = place.bin();
    place.make()?;
    private_dir(&bin)?;
    let program = manager::program().map_err(io::Error::other)?;
    link(&bin.join(OWN), &program)?;
    let logins = home().map(|home| home.join(".local/bin"));
    for (name, bridge) in SHIMS {
        let shim = bin.join(name);
        let wanted = declared.contains(&bridge);
        if wanted {
            link(&shim, &program)?;
        }
        if let Some(dir) = &logins {
            for_logins(dir, name, &shim, wanted)?;
        }
        if !wanted {
            gone(&shim)?;
        }
    }
    if let Some(dir) = &logins {
        for_logins(dir, OWN, &bin.join(OWN), !declared.is_empty())?;
    }
    Ok(())
}

fn for_logins(dir: &Path, name: &str, shim: &Path, wanted: bool) -> io::Result<()> {
    let path = dir.join(name);
    let is_ours = fs::read_link(&path).is_ok_and(|to| to == *shim);
    match (wanted, is_ours) {
        (true, false) if fs::symlink_metadata(&path).is_err() => {
            DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            symlink(shim, &path)
        }
        (false, true) => gone(&path),
        _ => Ok(()),
    }
}

/// In one step, so that there is always one or the other.
fn link(path: &Path, to: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|found| found == to) {
        return Ok(());
    }
    let new = path.with_extension(format!("new{}", std::process::id()));
    gone(&new)?;
    symlink(to, &new)?;
    fs::rename(&new, path)
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What programs of this login find here, over what they have: the search path, and who opens
/// pages, where nobody else does.
pub fn over(variables: &mut Vec<(OsString, OsString)>) {
    let path = variables.iter_mut().rev().find(|(name, _)| name == "PATH");
    if let Some((_, path)) = path {
        if let Some(more) = path.to_str().and_then(search_path) {
            *path = more.into();
        }
    }
    if let (Some(browser), false) = (browser(), variables.iter().any(|(name, _)| name == "BROWSER"))
    {
        variables.push(("BROWSER".into(), browser.into()));
    }
}

/// The search path with what is here before all else, where something is.
fn search_path(path: &str) -> Option<String> {
    let bin = Place::own().ok()?.bin();
    let bin = bin.to_str().filter(|bin| !bin.contains(':') && Path::new(bin).is_dir())?;
    match path.split(':').next() {
        Some(first) if first == bin => None,
        _ if path.is_empty() => Some(bin.to_owned()),
        _ => Some(format!("{bin}:{path}")),
    }
}

/// What opens a page for those that ask the environment, by its whole path: some bring an xdg-open
/// of their own, which looks there, too.
fn browser() -> Option<PathBuf> {
    let shim = Place::own().ok()?.bin().join("xdg-open");
    // The variable is a list, of command lines.
    let is_one = |c: char| c != ':' && c != '%' && !c.is_whitespace();
    (shim.to_str()?.chars().all(is_one) && shim.exists()).then_some(shim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::manifest::Bridge;

    #[test]
    fn what_is_declared_is_there_and_nothing_of_the_users_is_touched() {
        let dir = std::env::temp_dir().join(format!("hopbox-shims-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (bin, logins) = (dir.join("bin"), dir.join("local"));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&logins).unwrap();
        fs::write(logins.join("xsel"), "mine").unwrap();
        symlink("/nowhere/xclip", logins.join("xclip")).unwrap();
        let set = |wanted| {
            for (name, _) in SHIMS {
                for_logins(&logins, name, &bin.join(name), wanted).unwrap();
            }
        };
        set(true);
        set(true);
        let to = |name: &str| fs::read_link(logins.join(name)).ok();
        assert_eq!(to("wl-copy"), Some(bin.join("wl-copy")));
        assert_eq!(to("xclip"), Some("/nowhere/xclip".into()));
        assert_eq!(fs::read_to_string(logins.join("xsel")).unwrap(), "mine");
        set(false);
        assert_eq!(fs::read_dir(&logins).unwrap().count(), 2);
        link(&bin.join("x"), Path::new("/a")).unwrap();
        link(&bin.join("x"), Path::new("/b")).unwrap();
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
        assert_eq!(fs::read_link(bin.join("x")).unwrap(), Path::new("/b"));
        assert!(SHIMS.iter().any(|(_, bridge)| *bridge == Bridge::XdgOpen));
        fs::remove_dir_all(dir).unwrap();
    }
}
