//! Which programs run on this server: the agent by the file that the kernel runs, the helpers by
//! what they say of the file that they were started from, since nobody but root may look at theirs.
//! For laptops, which compare them with their own. Must not know: who asks, and what comes of it.
//!
//! Bounds: each file is read once, and again when another lies there; at most [`CACHED`] digests
//! are kept.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::base::b2sum;
use crate::helper::program::{Program as Helper, StartedFrom};
use crate::rpc::VERSION;
use crate::rpc::types::running::{Program, Running};
use crate::sys::bounded;

/// What the kernel runs, whatever has become of its name.
const OWN: &str = "/proc/self/exe";
const CACHED: usize = 8;

/// Where the agent's program lay when it was started.
static STARTED_FROM: OnceLock<Option<PathBuf>> = OnceLock::new();

/// First of all, while its name is the one that it was started by.
pub fn begin() {
    let _ = STARTED_FROM.get_or_init(|| std::env::current_exe().ok());
}

pub fn all() -> Running {
    let helpers =
        [("hop-helper", Helper::of_helper()), ("hop-helper-server", Helper::of_server_helper())];
    // One that does not answer does not run.
    let helpers = helpers.into_iter().filter_map(|(name, told)| Some(of_helper(name, told.ok()?)));
    let programs = std::iter::once(own()).chain(helpers).collect();
    Running { machine: std::env::consts::ARCH.to_owned(), programs }
}

fn own() -> Program {
    let running = File::open(OWN).ok();
    let digest = running.as_ref().and_then(digest);
    let path = STARTED_FROM.get().and_then(Option::as_deref);
    let is_on_disk = running.zip(path).map(|(running, path)| lies_at(path, &running, &digest));
    Program { name: "hop-agent".to_owned(), version: VERSION.to_owned(), digest, is_on_disk }
}

/// Another file with the same bytes is the same program.
fn lies_at(path: &Path, running: &File, of: &Option<String>) -> bool {
    let Ok(there) = bounded::open(path) else { return false };
    let same = there.metadata().ok().zip(running.metadata().ok());
    same.is_some_and(|(there, running)| which(&there) == which(&running))
        || of.is_some() && digest(&there) == *of
}

/// As long as it runs its file is there, so that its number is no other's.
fn of_helper(name: &str, Helper { version, file }: Helper) -> Program {
    let same = |file: StartedFrom| {
        let there = bounded::open(&file.path).ok()?;
        let meta = there.metadata().ok()?;
        (which(&meta) == (file.device, file.inode)).then_some(there)
    };
    let there = file.map(same);
    Program {
        name: name.to_owned(),
        version,
        is_on_disk: there.as_ref().map(Option::is_some),
        digest: there.flatten().as_ref().and_then(digest),
    }
}

fn which(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// A state of a file: its number, its length, and when it was changed last.
type State = ((u64, u64), u64, (i64, i64));

/// Of a file that was just opened.
fn digest(file: &File) -> Option<String> {
    static KNOWN: Mutex<Vec<(State, String)>> = Mutex::new(Vec::new());
    let meta = file.metadata().ok()?;
    let state = (which(&meta), meta.len(), (meta.ctime(), meta.ctime_nsec()));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, digest)) = known.iter().find(|(of, _)| *of == state) {
        return Some(digest.clone());
    }
    let digest = b2sum::of(file, b2sum::PROGRAM_BYTES).ok()?;
    if known.len() >= CACHED {
        known.remove(0);
    }
    known.push((state, digest.clone()));
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn helper(path: &Path, of: &Metadata) -> Helper {
        let (device, inode) = which(of);
        let file = Some(StartedFrom { path: path.to_owned(), device, inode });
        Helper { version: "0.2.0".to_owned(), file }
    }

    #[test]
    fn a_file_that_was_replaced_is_not_what_runs() {
        let dir = std::env::temp_dir().join(format!("hopbox-running-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, other) = (dir.join("program"), dir.join("other"));
        fs::write(&path, "abc").unwrap();
        let running = File::open(&path).unwrap();
        let (meta, digest_of) = (running.metadata().unwrap(), digest(&running));
        let told = of_helper("hop-helper", helper(&path, &meta));
        assert_eq!((told.is_on_disk, &told.digest), (Some(true), &digest_of));
        assert!(digest_of.as_ref().is_some_and(|digest| digest.starts_with("ba80a53f981c4d0d")));
        assert!(lies_at(&path, &running, &digest_of));

        // The agent knows its own bytes again; a helper's are not known any more.
        for (text, is_ours) in [("abc", true), ("abd", false)] {
            fs::write(&other, text).unwrap();
            fs::rename(&other, &path).unwrap();
            assert_eq!(lies_at(&path, &running, &digest_of), is_ours, "{text}");
            let told = of_helper("hop-helper", helper(&path, &meta));
            assert_eq!((told.is_on_disk, told.digest), (Some(false), None), "{text}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!lies_at(&path, &running, &digest_of));
        let silent = Helper { version: "0.1.0".to_owned(), file: None };
        let told = of_helper("hop-helper", silent);
        assert_eq!((told.is_on_disk, told.digest), (None, None));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_what_lies_there() {
        begin();
        let Program { digest, is_on_disk, .. } = own();
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(digest, b2sum::of(file, b2sum::PROGRAM_BYTES).ok());
        assert_eq!(is_on_disk, Some(true));
    }
}
