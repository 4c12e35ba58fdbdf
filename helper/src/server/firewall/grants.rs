//! Keeps the disk and the kernel the same, one change after the other: the rows are written, the
//! kernel is asked and looked at, the rows are written again, and then it is answered; what fails
//! is taken back. Where somebody else changes our table, the rows win. Never waits. Must not know:
//! connections, how the kernel is asked.

use crate::core::conn::Outcome;
use crate::core::peer_cred::Caller;
use crate::core::state_file::StateFile;
use crate::proto::OpError;
use crate::server::firewall::change::{self, Begun, Change};
use crate::server::firewall::plans::{LASTS, Plans};
use crate::server::firewall::store::{self, State};
use crate::server::firewall::trials::Trials;
use crate::server::nft;
use crate::server::queue::Queue;
use crate::server::rows;
use crate::server::worker::Worker;
use crate::sys;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// News of the kernel's tables (NFNLGRP_NFTABLES), and how long they are gathered.
const NEWS_GROUP: u32 = 1 << 6;
const NEWS_PAUSE: Duration = Duration::from_millis(200);
/// Most news that are taken at once.
const NEWS_MAX: usize = 256;
/// How long the first look may take.
const FIRST_LOOK: Duration = Duration::from_secs(25);
/// When it is tried again to put right what could not be.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

pub enum Task {
    Change(Change),
    /// A change that was planned, by its digest; and for how long it waits for a confirmation.
    Planned(String, Option<Duration>),
    List(Option<String>),
}

/// What the worker is asked for.
pub(super) enum Now {
    Making(Caller, Begun),
    /// The table as it was, since this has failed.
    Undoing(Caller, OpError),
    Listing(Caller, Option<String>),
    Looking,
    Mending,
}

pub struct Firewall {
    pub worker: Worker,
    pub(super) file: StateFile,
    pub(super) state: State,
    plans: Plans,
    pub(super) trials: Trials,
    news: OwnedFd,
    /// Somebody has changed tables, and when that is looked at.
    pub(super) look_at: Option<Instant>,
    now: Option<Now>,
    queue: Queue<Waiting>,
    pub(super) done: VecDeque<(u64, Outcome)>,
    pub(super) changes: Vec<String>,
    pub(super) trouble: Option<String>,
}

enum Waiting {
    Change(Change, Option<Planned>),
    List(Option<String>),
}

/// Of which generation a plan was made, and how long the change waits for a confirmation.
type Planned = (u64, Option<Duration>);

impl Firewall {
    /// Returns when the kernel has what the disk says, or the reason why it has not is known.
    pub fn open(worker: Worker, dir: &Path) -> Result<Firewall, String> {
        let file = StateFile::open(dir)?;
        let mut state = store::load(&file)?;
        let forgotten = change::settle(&mut state);
        let news = sys::netlink_watch(libc::NETLINK_NETFILTER, NEWS_GROUP)
            .map_err(|e| format!("hear of changed tables: {e}"))?;
        let mut firewall = Firewall {
            worker,
            file,
            state,
            plans: Plans::default(),
            trials: Trials::default(),
            news,
            look_at: Some(Instant::now()),
            now: None,
            queue: Queue::default(),
            done: VecDeque::new(),
            changes: Vec::new(),
            trouble: None,
        };
        if forgotten > 0 {
            firewall.save().map_err(|e| e.message)?;
            firewall.changes.push(format!("{forgotten} unfinished changes ended"));
        }
        firewall.first_look().map_err(|e| format!("look at the tables: {e}"))?;
        Ok(firewall)
    }

    pub(super) fn save(&mut self) -> Result<(), OpError> {
        store::save(&mut self.file, &self.state)
    }

    fn first_look(&mut self) -> io::Result<()> {
        let until = Instant::now() + FIRST_LOOK;
        self.go_on();
        while self.now.is_some() && !self.worker.lost {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sys::poll(&[(self.worker.as_fd(), libc::POLLIN)], Some(left))?;
            self.advance();
        }
        Ok(())
    }

    /// The network that it is all about.
    pub fn network(&self) -> io::Result<Option<u64>> {
        sys::netns_cookie(self.news.as_fd())
    }

    pub fn watches(&self) -> Vec<BorrowedFd<'_>> {
        self.worker.watched().into_iter().chain([self.news.as_fd()]).collect()
    }

    pub fn is_idle(&self) -> bool {
        let waits = self.now.is_some() || self.look_at.is_some() || !self.queue.is_empty();
        !waits && self.trials.count() == 0
    }

    pub fn finished(&mut self) -> Option<(u64, Outcome)> {
        self.done.pop_front()
    }

    pub fn take_changes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.changes)
    }

    pub fn troubles(&self) -> impl Iterator<Item = String> {
        [&self.file.trouble, &self.trouble].into_iter().flatten().cloned()
    }

    pub fn summary(&self) -> Value {
        let (rules, on_trial) = (self.state.rows.len(), self.trials.count());
        json!({"rules": rules, "on_trial": on_trial, "generation": self.state.generation})
    }

    /// Looks again, soon, whether all is as it should be.
    pub fn look_again(&mut self) {
        let soon = Instant::now() + NEWS_PAUSE;
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
    }

    /// Keeps a change until its user says yes to it.
    pub fn plan(&mut self, who: Caller, change: Change) -> Result<Value, OpError> {
        change.check(&self.state, who)?;
        let shown = change.to_json(&self.state);
        let digest = self.plans.add(who, change, self.state.generation)?;
        Ok(json!({"digest": digest, "change": shown, "lasts_s": LASTS.as_secs()}))
    }

    /// Takes a task on, whose end `finished` tells.
    pub fn begin(&mut self, who: Caller, task: Task) -> Result<(), OpError> {
        // A plan is not used up in vain.
        self.queue.room(who)?;
        let task = match task {
            Task::List(app) => Waiting::List(app),
            Task::Change(change) => {
                change.check(&self.state, who)?;
                Waiting::Change(change, None)
            }
            Task::Planned(digest, lasts) => {
                let (change, generation) = self.plans.take(who, &digest)?;
                Waiting::Change(change, Some((generation, lasts)))
            }
        };
        self.queue.push(who, task)?;
        self.go_on();
        Ok(())
    }

    /// Time has passed, or the worker or the kernel has said something.
    pub fn advance(&mut self) {
        let mut news = [0; 64];
        let hears = |news: &mut [u8]| match sys::netlink_receive(self.news.as_fd(), news) {
            Ok(_) => true,
            // So much that some is lost.
            Err(e) => e.raw_os_error() == Some(libc::ENOBUFS),
        };
        let heard = (0..NEWS_MAX).take_while(|_| hears(&mut news)).count();
        if heard > 0 && !self.state.rows.is_empty() && self.look_at.is_none() {
            self.look_again();
        }
        if let Some(answer) = self.worker.answer() {
            if let Some(now) = self.now.take() {
                self.answered(now, nft::seen(&answer));
            }
        }
        self.go_on();
    }

    /// The next thing, if nothing is under way.
    fn go_on(&mut self) {
        while self.now.is_none() && !self.worker.lost {
            if let Some(begun) = self.trials.expired() {
                return self.take_back(&begun);
            }
            if self.look_at.is_some_and(|at| at <= Instant::now()) {
                self.look_at = None;
                self.ask(Now::Looking);
                return;
            }
            let Some((who, task)) = self.queue.pop() else { return };
            match task {
                Waiting::List(app) => self.ask(Now::Listing(who, app)),
                Waiting::Change(change, planned) => {
                    if let Err(e) = self.make(who, change, planned) {
                        self.done.push_back((who.conn, Err(e)));
                    }
                }
            }
        }
    }

    pub(super) fn ask(&mut self, now: Now) {
        match now {
            Now::Listing(..) | Now::Looking => self.worker.ask(&nft::request(None)),
            _ => self.worker.ask(&nft::request(Some(&change::rules(&self.state)))),
        }
        self.now = Some(now);
    }

    /// Everything about it is checked again: it has waited for others.
    fn make(
        &mut self,
        who: Caller,
        change: Change,
        planned: Option<Planned>,
    ) -> Result<(), OpError> {
        if planned.is_some_and(|(generation, _)| generation != self.state.generation) {
            return Err(OpError::conflict("the rules have changed since: plan again"));
        }
        change.check(&self.state, who)?;
        let (id, name) = (format!("rule-{}", rows::draw()?), rows::draw()?);
        let trial = planned.and_then(|(_, lasts)| Some((name, lasts?)));
        let begun = Begun::of(change, &mut self.state, who, id, trial);
        if let Err(e) = self.save() {
            begun.fail(&mut self.state);
            return Err(e);
        }
        self.ask(Now::Making(who, begun));
        Ok(())
    }
}
