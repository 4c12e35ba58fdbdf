//! Keeps the disk and nginx the same, one change after the other: the rows are written, the worker
//! writes nginx's file, has it validated and loaded, or puts back what was there, the rows are
//! written again, and then it is answered. The worker is this family's own, so that a hanging nft
//! holds up no site. Never waits. Must not know: connections, how nginx is told.

use crate::core::conn::Outcome;
use crate::core::files;
use crate::core::peer_cred::Caller;
use crate::core::state_file::StateFile;
use crate::proto::OpError;
use crate::server::nginx::site::Site;
use crate::server::nginx::store::{self, Change, State};
use crate::server::queue::Queue;
use crate::server::rows::{Status, fitting};
use crate::server::worker::{self, Worker};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the daemon starts its worker.
pub const WORD: &str = "--nginx";
/// Where its state is, in the directory of all of it.
const DIR: &str = "nginx";
/// When it is tried again to put right what could not be: somebody has to mend nginx's own files.
const AGAIN: Duration = Duration::from_secs(60);

pub enum Task {
    Change(Change),
    Validate,
    Reload,
}

/// What the worker is asked for.
enum Now {
    Making(Caller, Change),
    Asking(Caller),
    Mending,
}

pub struct Sites {
    pub worker: Worker,
    file: StateFile,
    state: State,
    /// Rows of a run that was cut off: on the disk they stay until nginx is as it should be.
    unsettled: bool,
    now: Option<Now>,
    mend_at: Option<Instant>,
    queue: Queue<Task>,
    pub done: VecDeque<(u64, Outcome)>,
    pub changes: Vec<String>,
    trouble: Option<String>,
}

impl Sites {
    pub fn open(worker: Worker, dir: &Path) -> Result<Sites, String> {
        let dir = dir.join(DIR);
        files::own_dir(&dir, 0o700)?;
        let file = StateFile::open(&dir)?;
        let mut state = store::load(&file)?;
        let unsettled = state.settle();
        Ok(Sites {
            worker,
            file,
            state,
            unsettled,
            now: None,
            mend_at: Some(Instant::now()),
            queue: Queue::default(),
            done: VecDeque::new(),
            changes: Vec::new(),
            trouble: None,
        })
    }

    pub fn is_idle(&self) -> bool {
        self.now.is_none() && self.queue.is_empty() && self.mend_at.is_none()
    }

    pub fn troubles(&self) -> impl Iterator<Item = String> {
        [&self.file.trouble, &self.trouble].into_iter().flatten().cloned()
    }

    pub fn summary(&self) -> Value {
        json!({"sites": self.state.rows.len()})
    }

    /// The caller's sites, all of them for root, as far as they fit into a reply.
    pub fn list(&self, who: Caller, app: Option<&str>) -> Value {
        let own = self.state.rows.iter().filter(|row| {
            row.status == Status::Applied
                && who.owns(row.uid)
                && app.is_none_or(|app| app == row.site.key.app)
        });
        let (sites, more) = fitting(own.map(|row| {
            let mut site = row.site.to_json();
            site["uid"] = json!(row.uid);
            site
        }));
        json!({"sites": sites, "more": more})
    }

    /// Looks, soon, whether nginx has what the disk says.
    pub fn look_again(&mut self) {
        self.mend_at = Some(Instant::now());
    }

    /// Takes a task on, whose end `done` tells.
    pub fn begin(&mut self, who: Caller, task: Task) -> Result<(), OpError> {
        self.queue.push(who, task)?;
        self.go_on();
        Ok(())
    }

    /// Time has passed, or the worker has said something.
    pub fn advance(&mut self) {
        if let Some((head, _)) = self.worker.answer() {
            if let Some(now) = self.now.take() {
                self.answered(now, worker::result(&head));
            }
        }
        self.go_on();
    }

    /// The next thing, if nothing is under way.
    fn go_on(&mut self) {
        while self.now.is_none() && !self.worker.lost {
            if self.mend_at.is_some_and(|at| at <= Instant::now()) {
                self.mend_at = None;
                return self.make(Now::Mending, &[]);
            }
            let Some((who, task)) = self.queue.pop() else { return };
            match task {
                Task::Change(change) => {
                    if let Err(e) = self.begin_change(who, change) {
                        self.done.push_back((who.conn, Err(e)));
                    }
                }
                Task::Validate => self.ask(Now::Asking(who), &json!({"do": "validate"})),
                Task::Reload => self.ask(Now::Asking(who), &json!({"do": "reload"})),
            }
        }
    }

    /// Checked where it begins, not where it was asked for: others came before it.
    fn begin_change(&mut self, who: Caller, change: Change) -> Result<(), OpError> {
        let who = self.state.for_whom(&change, who);
        self.state.check(&change, who)?;
        self.state.begin(&change, who.uid);
        if let Err(e) = self.save() {
            self.state.fail(&change, who.uid);
            return Err(e);
        }
        let new = match &change {
            Change::Set(site) => site.domains.clone(),
            Change::Remove(_) => Vec::new(),
        };
        self.make(Now::Making(who, change), &new);
        Ok(())
    }

    /// Has nginx answer for all of them; `new` are names that nobody else's file may have.
    fn make(&mut self, now: Now, new: &[String]) {
        let sites: Value = self.state.sites().iter().map(Site::to_json).collect();
        let uid = if let Now::Making(who, Change::Set(_)) = &now { Some(who.uid) } else { None };
        let question = json!({
            "do": "make", "sites": sites, "new": new, "uid": uid, "reload": self.unsettled,
        });
        self.ask(now, &question);
    }

    fn ask(&mut self, now: Now, question: &Value) {
        self.worker.ask(question);
        self.now = Some(now);
    }

    fn save(&mut self) -> Result<(), OpError> {
        store::save(&mut self.file, &self.state)
    }

    fn answered(&mut self, now: Now, answer: Result<Value, OpError>) {
        match now {
            Now::Asking(who) => self.done.push_back((who.conn, answer.map(Into::into))),
            Now::Making(who, change) => {
                let outcome = self.made(who, &change, answer);
                self.done.push_back((who.conn, outcome.map(Into::into)));
            }
            Now::Mending => {
                let answer = answer.and_then(|told| {
                    if self.unsettled {
                        self.save()?;
                    }
                    Ok(told)
                });
                self.mended(answer);
            }
        }
    }

    fn made(
        &mut self,
        who: Caller,
        change: &Change,
        answer: Result<Value, OpError>,
    ) -> Result<Value, OpError> {
        let before = self.state.clone();
        let text = |site: &Site| site.text();
        let was =
            before.rows.iter().find(|row| row.uid == who.uid && row.site.key == *change.key());
        let what = match change {
            Change::Set(site) => format!("serve {}", text(site)),
            Change::Remove(_) => {
                format!("serve no more {}", was.map(|row| text(&row.site)).unwrap_or_default())
            }
        };
        let kept = answer.and_then(|told| {
            self.state.succeed(change, who.uid);
            // The disk still says that it is on its way: a start would end it, in its way.
            self.save().map(|()| told)
        });
        match kept {
            Ok(told) => {
                (self.unsettled, self.trouble) = (false, None);
                self.changes.push(what);
                Ok(told)
            }
            Err(e) => {
                self.state = before;
                self.state.fail(change, who.uid);
                // Where that cannot be written, a start ends the change all the same.
                let _ = self.save();
                self.look_again();
                Err(e)
            }
        }
    }

    fn mended(&mut self, answer: Result<Value, OpError>) {
        match answer {
            Ok(told) => {
                let changed = told.get("changed").and_then(Value::as_bool).unwrap_or_default();
                (self.unsettled, self.trouble) = (false, None);
                self.changes.extend(changed.then(|| "sites of nginx made anew".to_owned()));
            }
            Err(e) => {
                self.trouble = Some(format!("sites of nginx: {}", e.message));
                self.mend_at = Some(Instant::now() + AGAIN);
            }
        }
    }
}
