//! A snapshot is made. Where blocks can be shared their data is frozen while services go on, and
//! they end for the moment that it takes to freeze what has changed since; restic reads that while
//! they go on again. Elsewhere they end for as long as restic reads, which is said before and
//! after.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::aside::{self, Reason};
use super::journal::{self, Journal};
use super::last::Last;
use super::listener::Listener;
use super::owners::{Login, Others};
use super::pause::{self, Paused};
use super::place::{self, Kept};
use super::repository::{self, Opened};
use super::tree::{self, Count, Seen};
use crate::agent::work::run;
use crate::agent::work::services::{Done, failed, unable};
use crate::base::file;
use crate::rpc::code::Code;
use crate::rpc::types::run::Ended;
use crate::rpc::types::snap::{Created, Frozen, Stage};
use crate::sys::{bounded, process};
use crate::workspace::manifest::Desired;

/// How fast restic reads what it has not seen, where nothing is known.
const BYTES_A_SECOND: u64 = 80 * 1024 * 1024;
const PAUSE: &str = "pause";
const DIGESTS: &str = "digests";
const SMALL_BYTES: u64 = 256 * 1024;
/// Of how many snapshots it is known what was read.
const DIGESTS_KEPT: usize = 64;

/// What becomes of it is kept.
pub fn create(name: &str, to: &dyn Listener) -> Done<Created> {
    let desired = repository::workspace(name)?;
    let _alone = repository::alone(name)?;
    let made = make(&desired, to);
    Last::note(name, &made).map_err(failed("cannot write"))?;
    made
}

fn make(desired: &Desired, to: &dyn Listener) -> Done<Created> {
    if pause::recover(desired)? {
        to.note("what ended in the middle before is as it was".to_owned());
    }
    let (kept, missing) = place::kept(desired).map_err(failed("what is kept cannot be found"))?;
    missing.iter().for_each(|path| to.note(format!("it is not there yet: {path}")));
    if kept.is_empty() {
        let why = "no service has data that is there: name its directories under data";
        return Err(unable(Code::NotFound, why));
    }
    // Left by a kill while they were read.
    let left = aside::all(&desired.workspace, &kept);
    let is_left = |frozen: &&Frozen| frozen.reason.as_deref() == Some(Reason::Create.word());
    for frozen in left.iter().filter(is_left) {
        aside::remove(&desired.workspace, frozen).map_err(failed("a frozen tree stays"))?;
    }
    let opened = Opened::of(desired)?;
    opened.apart(&kept)?;
    opened.init(to)?;
    Creating { desired, kept: &kept, opened: &opened, to }.all()
}

struct Creating<'a> {
    desired: &'a Desired,
    kept: &'a [Kept],
    opened: &'a Opened,
    to: &'a dyn Listener,
}

impl Creating<'_> {
    fn all(&self) -> Done<Created> {
        self.tell_owners()?;
        let id = aside::new_id().map_err(failed("no name for it"))?;
        match self.can_freeze(&id) {
            true => self.frozen(&id),
            false => self.paused(),
        }
    }

    /// What a restore by this login will not give back as it is, while something can be done.
    fn tell_owners(&self) -> Done<()> {
        let login = Login::own();
        let mut others = Others::default();
        for kept in self.kept.iter().filter(|_| !process::is_root()) {
            let mut see = |met: &tree::Met<'_>| {
                others.see(&login, met.found.uid(), met.found.gid());
                Ok(())
            };
            let seen = tree::visit(&kept.path, &mut see, &|| self.to.is_wanted());
            seen.map_err(failed(&kept.path.display().to_string()))?;
        }
        if let Some(others) = others.said() {
            self.to.note(format!("{others}: a restore by this login makes them its own"));
        }
        Ok(())
    }

    /// Those that have to end, and have no hook.
    fn services(&self) -> Vec<String> {
        let services = self.kept.iter().flat_map(|kept| kept.services.clone()).collect();
        pause::running(self.desired, &services)
    }

    /// Between the hooks of those that have some; the second is run also after a failure.
    fn between_hooks<T>(&self, work: impl FnOnce() -> Done<T>) -> Done<T> {
        let hooks = Hooks::begin(self.desired, self.kept, self.to)?;
        let done = work();
        let after = hooks.end(self.to);
        let done = done?;
        after?;
        Ok(done)
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.kept.iter().map(|kept| kept.path.clone()).collect()
    }

    /// Beside each of them.
    fn can_freeze(&self, id: &str) -> bool {
        let can = |kept: &Kept| {
            let twin = place::make(&kept.path, &self.desired.workspace, id);
            twin.is_ok_and(|twin| twin.parent().is_some_and(tree::can_freeze))
        };
        let can = self.kept.iter().all(can);
        if !can {
            self.tidy(id);
        }
        can
    }

    fn tidy(&self, id: &str) {
        for kept in self.kept {
            place::tidy(&kept.path, &self.desired.workspace, id);
        }
    }

    fn frozen(&self, id: &str) -> Done<Created> {
        let workspace = &self.desired.workspace;
        aside::record(workspace, id, Reason::Create, &self.paths())
            .map_err(failed("cannot write"))?;
        let created = self.freeze_and_save(id);
        let of = self.kept.iter().map(|kept| kept.path.as_path());
        let removed = aside::remove_known(workspace, id, of);
        let created = created?;
        removed.map_err(failed("the frozen tree cannot be removed"))?;
        Ok(created)
    }

    fn freeze_and_save(&self, id: &str) -> Done<Created> {
        self.to.stage(Stage::Freeze);
        let twins = self.kept.iter().map(|kept| self.ahead(kept, id)).collect::<Done<Vec<_>>>()?;
        let (count, pause) = self.between_hooks(|| self.freeze(&twins))?;
        self.to.stage(Stage::Save);
        let twins: Vec<PathBuf> = twins.into_iter().map(|(twin, _)| twin).collect();
        let told = self.opened.backup(&twins, true, self.to)?;
        let created = created(told, pause, true, count)?;
        self.keep_digest(&created.id, &twins)?;
        Ok(created)
    }

    /// What needs no pause.
    fn ahead(&self, kept: &Kept, id: &str) -> Done<(PathBuf, Seen)> {
        let twin = place::make(&kept.path, &self.desired.workspace, id)
            .map_err(failed("no room for a frozen tree"))?;
        let seen = tree::freeze_ahead(&kept.path, &twin, &|| self.to.is_wanted())
            .map_err(failed(&kept.path.display().to_string()))?;
        Ok((twin, seen))
    }

    fn freeze(&self, twins: &[(PathBuf, Seen)]) -> Done<(Count, Option<Duration>)> {
        let journal = Journal { services: self.services(), ..Journal::default() };
        let is_paused = !journal.services.is_empty();
        let paused = Paused::begin(self.desired, journal, self.to)?;
        self.to.stage(Stage::Freeze);
        let mut count = Count::default();
        for (kept, (twin, seen)) in self.kept.iter().zip(twins) {
            let frozen = tree::freeze_again(&kept.path, twin, seen, &|| self.to.is_wanted());
            count.add(frozen.map_err(failed(&kept.path.display().to_string()))?);
        }
        let pause = paused.end(self.to)?;
        Ok((count, is_paused.then_some(pause)))
    }

    fn paused(&self) -> Done<Created> {
        self.between_hooks(|| {
            let services = self.services();
            let is_paused = !services.is_empty();
            if is_paused {
                self.warn(&services);
            }
            let journal = Journal { services, ..Journal::default() };
            let paused = Paused::begin(self.desired, journal, self.to)?;
            self.to.stage(Stage::Save);
            let told = self.opened.backup(&self.paths(), false, self.to)?;
            let pause = paused.end(self.to)?;
            if is_paused {
                let room = journal::room(&self.desired.workspace);
                let room = room.map_err(failed("cannot write"))?;
                let text = pause.as_millis().to_string();
                file::replace(&room.join(PAUSE), text.as_bytes())
                    .map_err(failed("cannot write"))?;
            }
            created(told, is_paused.then_some(pause), false, Count::default())
        })
    }

    /// How long it will be: as last time, or by what there is to read.
    fn warn(&self, services: &[String]) {
        let last = journal::room(&self.desired.workspace).ok().and_then(|room| {
            let text = String::from_utf8(bounded::read(room.join(PAUSE), 64).ok()?).ok()?;
            text.trim().parse::<u64>().ok().map(Duration::from_millis)
        });
        let bytes = || {
            let of = |kept: &Kept| tree::count(&kept.path, &|| self.to.is_wanted()).ok();
            self.kept.iter().filter_map(of).map(|count| count.bytes).sum::<u64>()
        };
        let long = last.map_or_else(|| bytes() / BYTES_A_SECOND, |last| last.as_secs()).max(1);
        let names = services.join(", ");
        self.to.note(format!(
            "this file system shares no blocks, so {names} will be paused for about {long} s, while \
             restic reads"
        ));
    }

    /// So that a later check knows what was read.
    fn keep_digest(&self, id: &str, twins: &[PathBuf]) -> Done<()> {
        self.to.stage(Stage::Look);
        let mut digests = serde_json::Map::new();
        for twin in twins {
            let (digest, _) = tree::digest(twin, &|| self.to.is_wanted())
                .map_err(failed(&format!("{}", twin.display())))?;
            digests.insert(twin.display().to_string(), digest.to_string().into());
        }
        let kept = put_digests(&self.desired.workspace, id, &Value::Object(digests));
        kept.map_err(failed("cannot write"))
    }
}

fn digests(workspace: &str) -> std::io::Result<PathBuf> {
    let dir = journal::room(workspace)?.join(DIGESTS);
    crate::agent::work::state::private_dir(&dir)?;
    Ok(dir)
}

fn put_digests(workspace: &str, id: &str, all: &Value) -> std::io::Result<()> {
    let dir = digests(workspace)?;
    let name = id.get(..8).unwrap_or(id);
    file::replace(&dir.join(name), all.to_string().as_bytes())?;
    let mut known: Vec<_> = fs::read_dir(&dir)?.flatten().collect();
    known.sort_by_key(|entry| entry.metadata().and_then(|found| found.modified()).ok());
    let more = known.len().saturating_sub(DIGESTS_KEPT);
    known.iter().take(more).try_for_each(|entry| fs::remove_file(entry.path()))
}

/// Of what was read for it, where that is known: by its path there.
pub fn known_digest(workspace: &str, id: &str, path: &Path) -> Option<String> {
    let name = id.get(..8)?;
    let bytes = bounded::read(digests(workspace).ok()?.join(name), SMALL_BYTES).ok()?;
    let all: Value = serde_json::from_slice(&bytes).ok()?;
    all.get(path.to_str()?)?.as_str().map(str::to_owned)
}

fn created(
    told: super::restic::Told,
    pause: Option<Duration>,
    is_frozen: bool,
    count: Count,
) -> Done<Created> {
    let summary = told.summary.as_ref();
    let number = |key: &str| summary?.get(key)?.as_u64();
    let id = summary.and_then(|summary| summary.get("snapshot_id")?.as_str());
    let none = || unable(Code::Failed, "restic told of no snapshot".to_owned());
    let mut left_out = count.left_out;
    let more = count.more + told.more as u64;
    left_out.extend(told.errors);
    Ok(Created {
        id: id.ok_or_else(none)?.to_owned(),
        files: number("total_files_processed").unwrap_or(0),
        bytes: number("total_bytes_processed").unwrap_or(0),
        added_bytes: number("data_added").unwrap_or(0),
        pause_ms: pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        is_frozen,
        left_out,
        more,
    })
}

/// Of services that see to it themselves that what is read of them is whole.
struct Hooks<'a> {
    desired: &'a Desired,
    begun: Vec<&'a str>,
}

impl<'a> Hooks<'a> {
    fn begin(desired: &'a Desired, kept: &[Kept], to: &dyn Listener) -> Done<Hooks<'a>> {
        let mut hooks = Hooks { desired, begun: Vec::new() };
        for (name, service) in &desired.services {
            let is_kept = kept.iter().any(|kept| kept.services.contains(name));
            let Some(pre) = service.snapshot.pre.as_deref().filter(|_| is_kept) else { continue };
            to.stage(Stage::Hook);
            hooks.begun.push(name);
            if let Err(unable) = hook(desired, name, "pre", pre, to) {
                let _ = hooks.end(to);
                return Err(unable);
            }
        }
        Ok(hooks)
    }

    fn end(self, to: &dyn Listener) -> Done<()> {
        let mut ended = Ok(());
        for name in self.begun {
            let service = self.desired.services.get(name);
            if let Some(post) = service.and_then(|service| service.snapshot.post.as_deref()) {
                to.stage(Stage::Hook);
                ended = ended.and(hook(self.desired, name, "post", post, to));
            }
        }
        ended
    }
}

fn hook(desired: &Desired, name: &str, which: &str, text: &str, to: &dyn Listener) -> Done<()> {
    let what = format!("snapshot.{which} of {name}");
    let Some(service) = desired.services.get(name) else { return Ok(()) };
    let env = desired.env_of(service);
    // Whoever has gone is looked for with each line, and at least every few seconds.
    let (wants, _ours) = std::os::unix::net::UnixStream::pair().map_err(failed(&what))?;
    let mut tell = |_: &str| match to.is_wanted() {
        true => Ok(()),
        false => Err(ErrorKind::Interrupted.into()),
    };
    let ended = run::hook(text, &env, wants.as_fd(), &mut tell).map_err(failed(&what))?;
    match ended {
        Ended::Code(0) => Ok(()),
        Ended::Code(code) => Err(unable(Code::Failed, format!("{what} ended with {code}"))),
        Ended::Signal(signal) => {
            Err(unable(Code::Failed, format!("{what} was ended by signal {signal}")))
        }
        Ended::NotStarted(_, why) => Err(unable(Code::Failed, format!("{what}: {why}"))),
    }
}

/// What is shown beside the list.
pub fn notes(opened: &Opened) -> Vec<String> {
    opened.restic.version.notes(process::is_root())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_snapshot_without_an_id_is_none() {
        let told = |summary| super::super::restic::Told { summary, ..Default::default() };
        assert!(created(told(None), None, true, Count::default()).is_err());
        let summary = json!({"snapshot_id": "0af", "total_files_processed": 3, "data_added": 7});
        let pause = Some(Duration::from_millis(40));
        let made = created(told(Some(summary)), pause, true, Count::default()).unwrap();
        assert_eq!((made.files, made.added_bytes, made.pause_ms), (3, 7, Some(40)));
    }
}
