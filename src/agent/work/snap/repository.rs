//! What a workspace has in its repository: found by its tag, whatever host it was made on, and by
//! paths that tell what they are of.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::listener::Listener;
use super::place::{self, Kept, original};
use super::restic::repository::Repository;
use super::restic::{For, Going, Restic, Told, Trouble, locks};
use crate::agent::work::services::{self, Done, Unable, failed, unable};
use crate::agent::work::state::Room;
use crate::rpc::code::Code;
use crate::rpc::types::snap::{Snapshot, Stage};
use crate::sys::lock::Lock;
use crate::sys::writeback;
use crate::workspace::manifest::Desired;

const SNAPSHOTS: usize = 2048;
const LOCK: &str = "snap.lock";
const TURN_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is wanted of it now.
pub fn workspace(name: &str) -> Done<Desired> {
    let room = services::room()?;
    room.workspace(name).map(|workspace| workspace.desired).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        match is_missing {
            true => unable(Code::NotFound, format!("no workspace {name:?} is here yet")),
            false => failed("the workspace cannot be read")(error),
        }
    })
}

/// One at a time does something with a workspace's snapshots.
pub fn alone(name: &str) -> Done<Lock> {
    let taken = super::journal::room(name).and_then(|room| Lock::take(&room.join(LOCK)));
    let taken = taken.map_err(failed("its directory cannot be used"))?;
    let busy =
        || unable(Code::Conflict, format!("something is done with snapshots of {name} already"));
    taken.ok_or_else(busy)
}

/// The same, once what goes on has come to its end: it may have been begun for a laptop that has
/// gone, and comes again.
pub fn in_turn(name: &str, to: &dyn Listener) -> Done<Lock> {
    let end = Instant::now() + TURN_WITHIN;
    loop {
        let taken = alone(name);
        if taken.is_ok() || Instant::now() >= end || !to.is_wanted() {
            return taken;
        }
        thread::sleep(LOOK_EVERY);
    }
}

pub fn is_busy(name: &str) -> bool {
    super::journal::room(name).is_ok_and(|room| Lock::is_held(&room.join(LOCK)).unwrap_or(true))
}

pub fn generation(name: &str) -> u64 {
    Room::own().map_or(0, |room| room.generation(name))
}

pub struct Opened {
    pub restic: Restic,
    tag: String,
}

impl Opened {
    pub fn of(desired: &Desired) -> Done<Opened> {
        let none = || {
            let why = "the workspace has no repository: write backup into hopbox.yaml, and hop up";
            unable(Code::NotFound, why)
        };
        let backup = desired.backup.as_ref().ok_or_else(none)?;
        let repository = Repository::of(backup, &desired.env);
        let repository = repository.map_err(|why| unable(Code::NotFound, why))?;
        let shown = repository.shown();
        let restic = Restic::of(repository).map_err(|trouble| told(trouble, &shown))?;
        Ok(Opened { restic, tag: format!("hopbox,workspace:{}", desired.workspace) })
    }

    /// A repository in the data would be kept in itself, and a restore would put it aside.
    pub fn apart(&self, kept: &[Kept]) -> Done<()> {
        let Some(path) = self.restic.repository.path().map(place::real) else { return Ok(()) };
        let is_in = |kept: &&Kept| path.starts_with(&kept.path) || kept.path.starts_with(&path);
        let Some(kept) = kept.iter().find(is_in) else { return Ok(()) };
        let why = format!(
            "the repository {} and the data {} lie in each other: name another target",
            path.display(),
            kept.path.display()
        );
        Err(unable(Code::Unsupported, why))
    }

    pub fn unable(&self, trouble: Trouble) -> Unable {
        let missing = self.restic.repository.missing();
        let trouble = match (trouble, missing) {
            (Trouble::Failed(why), Some(names)) => {
                Trouble::Failed(format!("{why}; {names} of .env.local are its login, and not set"))
            }
            (trouble, _) => trouble,
        };
        told(trouble, &self.restic.repository.shown())
    }

    /// A repository where none is yet.
    pub fn init(&self, to: &dyn Listener) -> Done<()> {
        to.stage(Stage::Open);
        let (mut hear, is_wanted) = (heard(to), || to.is_wanted());
        let made = self.restic.init(&mut For { hear: &mut hear, is_wanted: &is_wanted });
        if made.map_err(|trouble| self.unable(trouble))? {
            let shown = self.restic.repository.shown();
            to.note(format!(
                "{shown} is a new repository: keep its password, nothing opens it without"
            ));
        }
        Ok(())
    }

    pub fn run(&self, words: &[OsString], to: &dyn Listener) -> Done<Told> {
        self.hear(words, to, &mut |_| {})
    }

    pub fn hear(
        &self,
        words: &[OsString],
        to: &dyn Listener,
        take: &mut dyn FnMut(&Value),
    ) -> Done<Told> {
        let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
        let (mut hear, is_wanted) = (heard(to), || to.is_wanted());
        let mut whom = For { hear: &mut hear, is_wanted: &is_wanted };
        let mut done = self.restic.hear(&words, &mut whom, take);
        // What a kill has left here would be in the way of each one that nobody asks for.
        if matches!(done, Err(Trouble::Locked)) {
            let cleared = self.restic.clear_left(&is_wanted);
            if cleared.is_ok_and(|(_, removed)| removed > 0) {
                done = self.restic.hear(&words, &mut whom, take);
            }
        }
        done.map_err(|trouble| match trouble {
            Trouble::Locked => self.locked(to),
            trouble => self.unable(trouble),
        })
    }

    fn locked(&self, to: &dyn Listener) -> Unable {
        let locks = self.restic.locks(&|| to.is_wanted()).unwrap_or_default();
        let shown: Vec<String> = locks.iter().map(|lock| lock.shown()).collect();
        let shown =
            if shown.is_empty() { "somebody has it locked".to_owned() } else { shown.join("; ") };
        let own = locks::host();
        // Whether that host is only away nobody here knows.
        let help = match locks.iter().any(|lock| lock.host != own) {
            true => "; if nothing is at work there any more, restic unlock --remove-all frees it",
            false => "",
        };
        unable(Code::Conflict, format!("{}: {shown}{help}", self.restic.repository.shown()))
    }

    /// Locks that were left here go; how many, and sentences of those that others have.
    pub fn unlock(&self, to: &dyn Listener) -> Done<u64> {
        let cleared = self.restic.clear_left(&|| to.is_wanted());
        let (others, removed) = cleared.map_err(|trouble| self.unable(trouble))?;
        others.iter().for_each(|lock| to.note(lock.shown()));
        Ok(removed as u64)
    }

    /// `backup` of these, with the workspace's tags. What is not frozen is skipped where restic has
    /// it and its times are the same; they have to tell of all that is written after this, or the
    /// next one would lack it.
    pub fn backup(&self, paths: &[PathBuf], is_frozen: bool, to: &dyn Listener) -> Done<Told> {
        let mut words = self.words(&["backup", "--json"]);
        if !is_frozen {
            words.extend(["--exclude", super::place::ROOM].map(OsString::from));
            for path in paths {
                if !writeback::settle(path).map_err(failed(&path.display().to_string()))? {
                    words.push("--force".into());
                    break;
                }
            }
        }
        words.push("--".into());
        words.extend(paths.iter().map(OsString::from));
        self.run(&words, to)
    }

    /// `restore` of a snapshot into `target`, as `more` says. Nothing is in `target`: where one was
    /// restored before, 0.14 takes names of files away that have several, and ends with 0.
    pub fn restore(
        &self,
        id: &str,
        target: &Path,
        more: &[&OsStr],
        to: &dyn Listener,
    ) -> Done<Told> {
        let mut words = vec![OsString::from("restore")];
        words.extend(self.restic.version.restore_options().map(OsString::from));
        words.extend(["--target".into(), target.into()]);
        words.extend(more.iter().map(OsString::from));
        words.push(id.into());
        self.run(&words, to)
    }

    /// What is done with the workspace's own alone.
    pub fn words(&self, first: &[&str]) -> Vec<OsString> {
        let tag = ["--tag", &self.tag];
        first.iter().chain(&tag).map(OsString::from).collect()
    }

    /// The newest last.
    pub fn snapshots(&self, to: &dyn Listener) -> Done<Vec<Snapshot>> {
        let words = self.words(&["snapshots", "--json", "--no-lock", "-q"]);
        let answer = self.run(&words, to)?.json().map_err(|trouble| self.unable(trouble))?;
        let all = answer.as_array().into_iter().flatten();
        let mut found: Vec<Snapshot> = all.filter_map(snapshot).collect();
        let more = found.len().saturating_sub(SNAPSHOTS);
        found.drain(..more);
        Ok(found)
    }

    /// One of them, by the beginning of its id.
    pub fn find(&self, id: &str, to: &dyn Listener) -> Done<Snapshot> {
        let mut all = self.snapshots(to)?;
        let none = |why: String| unable(Code::NotFound, why);
        if id == "latest" {
            return all.pop().ok_or_else(|| none("there is no snapshot yet".to_owned()));
        }
        all.retain(|snapshot| snapshot.id.starts_with(id));
        match all.len() {
            0 | 1 => all.pop().ok_or_else(|| none(format!("this workspace has no snapshot {id}"))),
            several => Err(none(format!("{several} snapshots begin with {id}"))),
        }
    }
}

fn heard(to: &dyn Listener) -> impl FnMut(Going) + '_ {
    |going| match going {
        Going::Far(far) => to.far(far),
        Going::Waits(note) => to.note(note),
    }
}

fn snapshot(json: &Value) -> Option<Snapshot> {
    let text = |key: &str| json.get(key)?.as_str().map(str::to_owned);
    let paths = json.get("paths")?.as_array()?.iter().filter_map(Value::as_str);
    Some(Snapshot {
        id: text("id")?,
        time: text("time")?,
        host: text("hostname").unwrap_or_default(),
        paths: paths.map(str::to_owned).collect(),
    })
}

/// What each of its paths is of.
pub fn originals(snapshot: &Snapshot) -> Vec<String> {
    let paths = snapshot.paths.iter();
    paths.map(|path| original(Path::new(path)).display().to_string()).collect()
}

fn told(trouble: Trouble, shown: &str) -> Unable {
    match trouble {
        Trouble::Absent(why) => unable(Code::Unsupported, why),
        Trouble::NoRepository => unable(Code::NotFound, format!("{shown}: no repository is there")),
        Trouble::WrongPassword => {
            unable(Code::WrongPassword, format!("{shown}: the password does not open it"))
        }
        Trouble::Locked => unable(Code::Conflict, format!("{shown}: somebody has it locked")),
        Trouble::Away(why, by_hand) => {
            let next = "log in there once from this server, as this login, with";
            unable(Code::RepositoryAway, format!("{shown}: {why}: {next} {by_hand}"))
        }
        Trouble::Cancelled => unable(Code::Failed, "whoever wanted it has gone".to_owned()),
        Trouble::Failed(why) => unable(Code::Failed, why),
    }
}
