//! The worker's side of mounts: who may have which, a file that says never less than there is, and
//! one step after the other. Must not know: how a mount is made.

use crate::core::state_file::StateFile;
use crate::proto::OpError;
use crate::server::manager;
use crate::server::mount::make;
use crate::server::mount::row::{self, Row, What, Wish};
use crate::server::program::Turn;
use crate::server::rows::{self, Status};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Most mounts, of a user and of all of them.
const PER_UID: usize = 16;
const MAX: usize = 64;
/// Largest file that is read, in bytes.
const SIZE_MAX: u64 = 1 << 20;
/// Each run is a unit, of which there is one at a time.
const UNIT: &str = "hopbox-mount-";
/// What it may: to mount, and to look into directories of users. Nothing of it makes mounts of its
/// own: then nobody else would see what is made.
const SETTINGS: [&str; 9] = [
    "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH",
    "NoNewPrivileges=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service @mount",
    "RestrictAddressFamilies=AF_UNIX",
    "RestrictNamespaces=yes",
    "MemoryDenyWriteExecute=yes",
    "LimitCORE=0",
    "UMask=0077",
];

pub struct Mounts {
    dir: PathBuf,
    file: StateFile,
    rows: Vec<Row>,
    pub changes: Vec<String>,
}

impl Mounts {
    pub fn open(dir: PathBuf) -> Result<Mounts, String> {
        let file = StateFile::open(&dir)?;
        let kept = "the mounts in it are not forgotten";
        let rows = rows::load(&file, SIZE_MAX, kept, row::parse)?;
        Ok(Mounts { dir, file, rows, changes: Vec::new() })
    }

    /// At the start: what was not answered is taken back, what was to end ends; what is not there
    /// any more, after a boot or by root's own hand, is forgotten: who needs it asks again.
    pub fn reconcile(&mut self, turn: Turn) -> Result<(), OpError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        manager::check()?;
        // What a killed worker has left running.
        manager::stop(&format!("{UNIT}*.service"), turn)?;
        for id in self.ids(|row| row.status != Status::Applied) {
            self.end(&id, turn)?;
        }
        let there = self.look(turn)?;
        for id in self.ids(|row| !there.contains(&row.id)) {
            self.forget(&id, "is gone")?;
        }
        Ok(())
    }

    fn ids(&self, is: impl Fn(&Row) -> bool) -> Vec<String> {
        self.rows.iter().filter(|row| is(row)).map(|row| row.id.clone()).collect()
    }

    fn save(&mut self) -> Result<(), OpError> {
        self.file.replace(&row::render(&self.rows))
    }

    fn forget(&mut self, id: &str, what: &str) -> Result<(), OpError> {
        let at = self.rows.iter().position(|row| row.id == id);
        let row = at.map(|at| self.rows.remove(at));
        self.changes.extend(row.map(|row| format!("{} {what}", row.text())));
        self.save()
    }

    pub fn run(&mut self, wish: Wish, who: (u32, u32), turn: Turn) -> Result<Value, OpError> {
        manager::check()?;
        // Root's are all of them.
        let own = |row: &&Row| row.uid == who.0 || who.0 == 0;
        match wish {
            Wish::List => {
                let there = self.look(turn)?;
                let shown = |row: &Row| {
                    let mut shown = row.to_json();
                    shown["uid"] = json!(row.uid);
                    shown["mounted"] = json!(there.contains(&row.id));
                    shown
                };
                Ok(json!({"mounts": self.rows.iter().filter(own).map(shown).collect::<Value>()}))
            }
            Wish::End(target) => {
                let here = self.rows.iter().filter(own).filter(|row| row.target == target);
                match here.max_by_key(|row| row.uid == who.0) {
                    None => Ok(json!({"unmounted": false})),
                    Some(row) => {
                        self.end(&row.id.clone(), turn)?;
                        Ok(json!({"unmounted": true}))
                    }
                }
            }
            Wish::Make(target, what) => self.make(target, what, who, turn),
        }
    }

    fn make(
        &mut self,
        target: String,
        what: What,
        (uid, gid): (u32, u32),
        turn: Turn,
    ) -> Result<Value, OpError> {
        let own = || self.rows.iter().filter(|row| row.uid == uid);
        if let Some(row) = own().find(|row| row.target == target) {
            let (id, same) = (row.id.clone(), row.what == what && row.status == Status::Applied);
            match self.look(turn)?.contains(&id) {
                true if same => return Ok(json!({"made": false})),
                true => {
                    let why = format!("something else is mounted at {target}: mount.unmount first");
                    return Err(OpError::conflict(why));
                }
                false => self.end(&id, turn)?,
            }
        }
        let own = self.rows.iter().filter(|row| row.uid == uid).count();
        rows::room(own, self.rows.len(), (PER_UID, MAX), "mounts")?;
        let (id, status) = (format!("mount-{}", rows::draw()?), Status::Pending);
        let row = Row { id: id.clone(), uid, gid, target, what, status, mark: [0; 3] };
        self.rows.push(row);
        let made = self.save().and_then(|()| self.ask("make", &id, turn));
        let mark = made.and_then(|made| {
            row::mark(&made["mark"]).ok_or_else(|| OpError::kernel("the mount does not show"))
        });
        let done = mark.and_then(|mark| {
            let row = self.rows.iter_mut().find(|row| row.id == id);
            row.into_iter().for_each(|row| (row.status, row.mark) = (Status::Applied, mark));
            self.save()
        });
        if let Err(e) = done {
            // Where that does not succeed, a start does the same.
            let _ = self.end(&id, turn);
            return Err(e);
        }
        let row = self.rows.iter().find(|row| row.id == id);
        self.changes.extend(row.map(|row| format!("mount {}", row.text())));
        Ok(json!({"made": true}))
    }

    /// The file says so before it is so, and forgets it afterwards.
    fn end(&mut self, id: &str, turn: Turn) -> Result<(), OpError> {
        let row = self.rows.iter_mut().find(|row| row.id == id);
        row.into_iter().for_each(|row| row.status = Status::Removing);
        self.save()?;
        self.ask("end", id, turn)?;
        self.forget(id, "is unmounted")
    }

    /// Which of them are there, of all users.
    fn look(&self, turn: Turn) -> Result<Vec<String>, OpError> {
        let told = self.ask("look", "all", turn)?;
        let ids = told["there"].as_array().into_iter().flatten();
        Ok(ids.filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    /// Runs `make` on a row of the file.
    fn ask(&self, verb: &str, id: &str, turn: Turn) -> Result<Value, OpError> {
        let failed = |e: &dyn std::fmt::Display| OpError::kernel(format!("mount: {e}"));
        let own = std::env::current_exe().map_err(|e| failed(&e))?;
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or(failed(&"odd path"));
        let (own, dir) = (text(&own)?, text(&self.dir)?);
        let unit = format!("{UNIT}{}.service", rows::draw()?);
        let ended = manager::run(&unit, &SETTINGS, &[&own, make::WORD, &dir, verb, id], turn)?;
        let told: Value = serde_json::from_slice(&ended.output).unwrap_or_default();
        match told.get("error") {
            Some(error) => Err(OpError::from_json(error)),
            None if ended.well => Ok(told),
            None => Err(failed(&ended.words())),
        }
    }
}
