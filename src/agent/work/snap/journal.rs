//! What has to be made good if this process ends in the middle: services that were ended for a
//! moment, and files that were to change places. It is written before anything is done, and gone
//! once all is as it should be; who finds it puts back what was there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agent::work::state;
use crate::base::file;
use crate::base::json::Fields;
use crate::sys::bounded;

const FILE: &str = "journal.json";
const BYTES: u64 = 4 * 1024 * 1024;
const MOST: usize = 1024;

/// `new` takes the place of what is at `place`, which goes to `old`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    pub place: PathBuf,
    pub new: PathBuf,
    pub old: PathBuf,
    pub was_there: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// To be started again.
    pub services: Vec<String>,
    pub swaps: Vec<Swap>,
}

/// Where everything of snapshots is that is kept of a workspace.
pub fn room(workspace: &str) -> io::Result<PathBuf> {
    let dir = state::own_dir()?.join(workspace).join("snap");
    state::private_dir(&dir)?;
    Ok(dir)
}

/// As text; a path that is none is kept all the same, as restic and YAML know no other either.
fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "its name is no text"))
}

impl Journal {
    pub fn put(&self, room: &Path) -> io::Result<()> {
        let swap = |swap: &Swap| {
            Ok(json!({
                "place": text(&swap.place)?, "new": text(&swap.new)?, "old": text(&swap.old)?,
                "there": swap.was_there,
            }))
        };
        let swaps = self.swaps.iter().map(swap).collect::<io::Result<Vec<Value>>>()?;
        let all = json!({"services": self.services, "swaps": swaps});
        file::replace(&room.join(FILE), all.to_string().as_bytes())
    }

    /// One that cannot be read is an error: it is somebody's data.
    pub fn load(room: &Path) -> io::Result<Option<Journal>> {
        let bytes = match bounded::read(room.join(FILE), BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let bad = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let text = String::from_utf8(bytes).map_err(|_| bad("it is no text".to_owned()))?;
        Journal::read(&text).map(Some).map_err(bad)
    }

    fn read(text: &str) -> Result<Journal, String> {
        let read = || {
            let mut fields = Fields::parse(text)?;
            let services = match fields.take("services") {
                Some(Value::Array(all)) => {
                    all.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
                }
                _ => Vec::new(),
            };
            let mut swaps = Vec::new();
            for mut swap in fields.objects("swaps", MOST)? {
                swaps.push(Swap {
                    place: swap.string("place")?.into(),
                    new: swap.string("new")?.into(),
                    old: swap.string("old")?.into(),
                    was_there: swap.bool("there")?,
                });
            }
            Ok(Journal { services, swaps })
        };
        read().map_err(|error: crate::base::json::ReadError| error.to_string())
    }

    pub fn remove(room: &Path) -> io::Result<()> {
        match fs::remove_file(room.join(FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Each in its turn. Somebody may have put another one into a place since it was looked at:
    /// that stays, and it is an error.
    pub fn switch(&self) -> io::Result<()> {
        for Swap { place, new, old, was_there } in &self.swaps {
            if *was_there {
                file::rename_to_free(place, old)?;
            }
            file::rename_to_free(new, place)?;
        }
        Ok(())
    }

    /// All is where it was, wherever [`Journal::switch`] ended; and again if this ends in between.
    pub fn switch_back(&self) -> io::Result<()> {
        for Swap { place, new, old, was_there } in self.swaps.iter().rev() {
            let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
            // The new one has its place only once the old one has left it.
            let is_switched = match was_there {
                true => is_there(old),
                false => !is_there(new),
            };
            if is_switched {
                if is_there(place) && !is_there(new) {
                    file::rename_to_free(place, new)?;
                }
                if *was_there {
                    file::rename_to_free(old, place)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Killed after any number of renames, forth or back: what was there is there.
    #[test]
    fn whenever_it_ends_all_is_where_it_was() {
        let dir = std::env::temp_dir().join(format!("hopbox-journal-{}", std::process::id()));
        let made = || {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join("aside")).unwrap();
            let swap = |name: &str, was_there: bool| {
                fs::create_dir_all(dir.join("new")).unwrap();
                fs::write(dir.join("new").join(name), "new").unwrap();
                if was_there {
                    fs::write(dir.join(name), "old").unwrap();
                }
                let at = |room: &str| dir.join(room).join(name);
                Swap { place: dir.join(name), new: at("new"), old: at("aside"), was_there }
            };
            let swaps = vec![swap("a", true), swap("b", false), swap("c", true)];
            Journal { services: vec!["db".to_owned()], swaps }
        };
        let renames = |journal: &Journal| {
            let mut all = Vec::new();
            for Swap { place, new, old, was_there } in &journal.swaps {
                all.extend(was_there.then(|| (place.clone(), old.clone())));
                all.push((new.clone(), place.clone()));
            }
            all
        };
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        for done in 0..=5 {
            let journal = made();
            journal.put(&dir).unwrap();
            assert_eq!(Journal::load(&dir).unwrap(), Some(journal.clone()));
            for (from, to) in renames(&journal).iter().take(done) {
                fs::rename(from, to).unwrap();
            }
            journal.switch_back().unwrap();
            journal.switch_back().unwrap();
            let old = || Some("old".to_owned());
            assert_eq!((read("a"), read("b"), read("c")), (old(), None, old()), "after {done}");
        }
        let journal = made();
        journal.switch().unwrap();
        let new = || Some("new".to_owned());
        assert_eq!((read("a"), read("b"), read("c")), (new(), new(), new()));
        assert_eq!(fs::read_to_string(dir.join("aside/a")).unwrap(), "old");
        // Somebody else was quicker: his is his, and all others are back.
        let journal = made();
        fs::write(dir.join("b"), "his").unwrap();
        assert_eq!(journal.switch().unwrap_err().kind(), ErrorKind::AlreadyExists);
        journal.switch_back().unwrap();
        let old = || Some("old".to_owned());
        assert_eq!((read("a"), read("b"), read("c")), (old(), Some("his".to_owned()), old()));
        fs::write(dir.join(FILE), "{").unwrap();
        assert!(Journal::load(&dir).is_err());
        Journal::remove(&dir).unwrap();
        assert_eq!(Journal::load(&dir).unwrap(), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
