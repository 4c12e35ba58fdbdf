//! What was there comes back, as it was planned: restored beside what is there while services go
//! on, it takes its place by a rename while they are paused. What was there before goes aside,
//! whole, and is what `undo` brings back; where anything fails it is back at once.

use std::path::{Path, PathBuf};

use super::aside::{self, Reason};
use super::journal::{Journal, Swap};
use super::listener::Listener;
use super::listing::Content;
use super::pause::{self, Paused};
use super::place;
use super::plan::{self, Move, Planned};
use super::remove::remove_tree;
use super::repository::{self, Opened};
use super::{restic, tree};
use crate::agent::work::services::{Done, Unable, failed, unable};
use crate::rpc::code::Code;
use crate::rpc::types::snap::{Restored, Stage};
use crate::sys::free_space;
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;

/// Less is as good as nothing.
const FULL_BYTES: u64 = 1024 * 1024;

/// The plan that was shown.
pub fn restore(caller: &str, digest: Digest, to: &dyn Listener) -> Done<Restored> {
    let planned = plan::take(caller, digest)?;
    let desired = repository::workspace(&planned.workspace)?;
    let _alone = repository::alone(&planned.workspace)?;
    pause::recover(&desired)?;
    let id = aside::new_id().map_err(failed("no name for it"))?;
    let carried = Carried { desired: &desired, planned: &planned, id: &id, to };
    let restored = carried.all();
    carried.tidy();
    let restored = restored?;
    let (kept, _) = place::kept(&desired).map_err(failed("what is kept cannot be found"))?;
    aside::prune(&planned.workspace, &kept)
        .map_err(failed("old frozen trees cannot be removed"))?;
    Ok(restored)
}

/// Where restic ended for want of room, as others filled the disk meanwhile.
fn full(side: &Path, it: &Move) -> Option<Unable> {
    let free = free_space::at(side).ok()?;
    let full = (free.bytes < FULL_BYTES).then(|| plan::has_room(it).err());
    full.flatten()
}

struct Carried<'a> {
    desired: &'a Desired,
    planned: &'a Planned,
    /// Of what goes aside.
    id: &'a str,
    to: &'a dyn Listener,
}

impl Carried<'_> {
    fn side_id(&self) -> String {
        format!("{}-0", self.id)
    }

    fn all(&self) -> Done<Restored> {
        let workspace = &self.planned.workspace;
        let news = self.news()?;
        let mut swaps = Vec::new();
        for (it, new) in self.planned.moves.iter().zip(news) {
            let old = place::make(&it.place, workspace, self.id);
            let old = old.map_err(failed(&format!("no room beside {}", it.place.display())))?;
            swaps.push(Swap { place: it.place.clone(), new, old, was_there: it.was_there });
        }
        let services = pause::ended(self.desired, &self.planned.services);
        let paused = Paused::begin(self.desired, Journal { services, swaps }, self.to)?;
        match self.switched(paused) {
            Ok(pause_ms) => Ok(self.done(pause_ms)),
            Err(unable) => {
                let _ = aside::forget(&self.planned.workspace, self.id);
                Err(unable)
            }
        }
    }

    fn switched(&self, paused: Paused<'_>) -> Done<u64> {
        self.to.stage(Stage::Switch);
        let done = paused.journal().switch().map_err(failed("it cannot take its place"));
        let paths: Vec<PathBuf> = self
            .planned
            .moves
            .iter()
            .filter(|it| it.was_there)
            .map(|it| it.place.clone())
            .collect();
        let reason = if self.planned.frozen.is_some() { Reason::Undo } else { Reason::Restore };
        let recorded = done.and_then(|()| {
            aside::record(&self.planned.workspace, self.id, reason, &paths)
                .map_err(failed("cannot write"))
        });
        if let Err(why) = recorded {
            return Err(paused.back(why));
        }
        let pause = paused.end(self.to)?;
        Ok(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
    }

    fn done(&self, pause_ms: u64) -> Restored {
        if let Some(frozen) = &self.planned.frozen {
            // Where all of it has its place again.
            let is_all = frozen.paths.len() == self.planned.moves.len();
            let _ = if is_all { aside::remove(&self.planned.workspace, frozen) } else { Ok(()) };
        }
        let others = self.planned.others();
        let sum =
            |of: fn(&Content) -> u64| self.planned.moves.iter().map(|it| of(&it.content)).sum();
        Restored {
            id: self.planned.id.clone(),
            aside: self.id.to_owned(),
            files: sum(|content| content.files),
            bytes: sum(|content| content.bytes),
            pause_ms,
            notes: others
                .map(|some| format!("{some}: they are this login's now"))
                .into_iter()
                .collect(),
        }
    }

    /// Where each part lies that is to take its place.
    fn news(&self) -> Done<Vec<PathBuf>> {
        if self.planned.frozen.is_some() {
            return Ok(self.planned.moves.iter().map(|it| it.from.clone()).collect());
        }
        let opened = Opened::of(self.desired)?;
        self.to.stage(Stage::Restore);
        self.planned.moves.iter().map(|it| self.beside(&opened, it)).collect()
    }

    /// Restored beside its place, and looked at.
    fn beside(&self, opened: &Opened, it: &Move) -> Done<PathBuf> {
        let shown = it.place.display();
        let twin = place::make(&it.place, &self.planned.workspace, &self.side_id());
        let twin = twin.map_err(failed(&format!("no room beside {shown}")))?;
        let side = twin.parent().map(Path::to_owned).unwrap_or_default();
        let this = restic::pattern(&it.from);
        // Whatever has been written there since it was planned.
        plan::has_room(it)?;
        let told = opened.restore(&self.planned.id, &side, &["--include".as_ref(), &this], self.to);
        let told = told.and_then(|told| match told.errors.first() {
            Some(first) => {
                Err(unable(Code::Failed, format!("restic could not restore all: {first}")))
            }
            None => Ok(told),
        });
        if let Err(why) = told {
            return Err(full(&side, it).unwrap_or(why));
        }
        let new = side.join(it.from.strip_prefix("/").unwrap_or(&it.from));
        let count = tree::count(&new, &|| self.to.is_wanted())
            .map_err(failed(&format!("{shown} did not come back")))?;
        if (count.files, count.bytes) != (it.content.files, it.content.bytes) {
            let why = format!(
                "{shown} came back with {} files and {} bytes, where the snapshot has {} and {}",
                count.files, count.bytes, it.content.files, it.content.bytes
            );
            return Err(unable(Code::Failed, why));
        }
        Ok(new)
    }

    /// What was only on its way.
    fn tidy(&self) {
        for it in &self.planned.moves {
            for id in [&self.side_id(), self.id] {
                if let Ok(twin) = place::twin(&it.place, &self.planned.workspace, id) {
                    if id != self.id {
                        let _ = twin.parent().map_or(Ok(()), remove_tree);
                    }
                    place::tidy(&it.place, &self.planned.workspace, id);
                }
            }
        }
    }
}
