//! The loop of a keeper: one thread, which waits for its service's words, its end, an order, or a
//! moment. Every transition is written before what follows from it is begun.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::control::{Control, Order};
use super::group::Group;
use super::log::Log;
use super::policy::{self, Next};
use super::process::boot;
use super::proxy;
use super::service::Service;
use super::spec::{Restart, Spec};
use super::state::{Exit, Loss, Phase, State, Wish};
use super::{LOCK, SPEC, STATE};
use crate::agent::log;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys::children::{self, Ended, Ending};
use crate::sys::clock;
use crate::sys::descendants;
use crate::sys::lock::Lock;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};

/// A keeper that was killed is gone before its lock is asked for; one that lives keeps it.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at whether all have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What has been killed has so long to go; then whoever started the keeper has to see to it.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// Before a state that could not be written is tried again.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Of a reason.
const WHY_CHARS: usize = 300;

/// What is done when nothing of a run is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop,
    /// At once, by somebody's word.
    Again,
    Follow(Next),
}

/// What the loop is about, beside listening.
enum Now {
    Run,
    /// Everything that was started is asked to end until the first moment, and made to then.
    Clear {
        until: Instant,
        gone_by: Instant,
        is_forced: bool,
        then: Then,
    },
    Wait(Instant),
    Over,
}

struct Keeper {
    dir: PathBuf,
    spec: Spec,
    group: Group,
    log: Log,
    state: State,
    control: Control,
    service: Option<Service>,
    now: Now,
    is_unsaved: bool,
}

/// Keeps the service of `dir` until it is at its end. 0: it is, and its state says how.
pub fn keep(dir: &Path) -> Result<(), Failure> {
    let fail = |what: &str, why: String| {
        Failure::new(
            Fault::Failed,
            format!("{what} {}", dir.display()),
            why,
            fix!("ls -la {}", dir),
        )
    };
    let dir = dir.canonicalize().map_err(|error| fail("cannot keep", error.to_string()))?;
    std::env::set_current_dir(&dir).map_err(|error| fail("cannot enter", error.to_string()))?;
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Child])
        .map_err(|error| fail("cannot keep", error.to_string()))?;
    let _lock = alone(&dir)?;
    let spec = Spec::load(&dir.join(SPEC)).map_err(|why| Failure {
        fault: Fault::Config,
        ..fail("cannot read the specification in", why)
    })?;
    let _ = descendants::adopt_orphans();
    let before = State::load(&dir);
    let lost = before.as_ref().map_or(0, |state| state.log_lost);
    let log =
        Log::open(&dir, spec.log, lost).map_err(|error| fail("no log in", error.to_string()))?;
    let group = Group::find(spec.unit.as_deref(), &dir.to_string_lossy());
    let control = Control::here()?;
    let state = State::new(&spec);
    let (now, service) = (Now::Over, None);
    let mut keeper =
        Keeper { dir, spec, group, log, state, control, service, now, is_unsaved: false };
    keeper.go_on(before);
    while !matches!(keeper.now, Now::Over) {
        keeper.turn(&mut signals)?;
    }
    keeper.save();
    Ok(())
}

/// Two keepers of one service would start it twice. What a killed one was just starting holds its
/// lock until it is a process like any other.
fn alone(dir: &Path) -> Result<Lock, Failure> {
    let end = Instant::now() + LOCK_WITHIN;
    loop {
        match Lock::take(&dir.join(LOCK)) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if Instant::now() < end => thread::sleep(LOOK_EVERY),
            Ok(None) => {
                let what = format!("{} has a keeper", dir.display());
                return Err(Failure::new(
                    Fault::Held,
                    what,
                    "it has the lock",
                    fix!("ls -la {}", dir),
                ));
            }
            Err(error) => return Err(Failure::io("lock", dir, &error)),
        }
    }
}

impl Keeper {
    /// From where the one before was, if this is the same start.
    fn go_on(&mut self, before: Option<State>) {
        if !self.group.is_unit() && self.spec.unit.is_some() {
            self.log.note("the unit's group is not this process's: found by descent and mark");
        }
        let Some(before) = before else { return self.clear(Then::Again) };
        let loss = if before.boot == boot() { Loss::Keeper } else { Loss::Reboot };
        self.state = State { keeper: std::process::id(), boot: boot(), ..before };
        match (self.state.phase, &self.state.process) {
            (Phase::Starting | Phase::Running, _) | (Phase::Ending, Some(_)) => {
                self.ended(Exit::Lost(loss));
                self.end_rest();
            }
            // It may not have been told before.
            (Phase::Ending, None) => {
                self.tell_end();
                self.end_rest();
            }
            _ => {}
        }
        if self.state.start != self.spec.start {
            self.state.start = self.spec.start;
            (self.state.restarts, self.state.soon, self.state.wish) = (0, 0, Wish::Run);
            return self.clear(Then::Again);
        }
        if self.state.phase.is_final() {
            self.now = Now::Over;
            return;
        }
        let then = match (self.state.wish, self.state.phase, self.state.last_exit.clone()) {
            (Wish::Stop, ..) => Then::Stop,
            (Wish::Run, Phase::Ending, Some(exit)) => self.follow(&exit, Duration::ZERO),
            _ => Then::Again,
        };
        self.clear(then);
    }

    fn follow(&mut self, exit: &Exit, ran: Duration) -> Then {
        let (restart, backoff) = (self.spec.restart, self.spec.backoff);
        Then::Follow(policy::after(exit, ran, restart, backoff, &mut self.state.soon))
    }

    /// Waits for whatever happens, and sees to it.
    fn turn(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let mut fds =
            vec![(signals.as_fd(), Interest::READ), (self.control.as_fd(), Interest::READ)];
        let pipes = self.service.as_ref().map(Service::pipes).unwrap_or_default();
        fds.extend(pipes.into_iter().flatten().map(|pipe| (pipe, Interest::READ)));
        let mut ready = Vec::new();
        let wait = self.due().map(|due| due.saturating_duration_since(Instant::now()));
        let waited = poll::wait(&fds, &mut ready, wait);
        waited.map_err(|error| Failure::io("wait in", &self.dir, &error))?;
        while let Some(signal) = signals.take() {
            if signal != Signal::Child {
                self.order(Order::Stop);
            }
        }
        if let Some(service) = &mut self.service {
            service.hear(&mut self.log);
        }
        self.children();
        if ready.get(1).is_some_and(|ready| ready.any()) {
            let orders = self.control.orders();
            orders.into_iter().for_each(|order| self.order(order));
            self.control.tell(&self.state);
        }
        if self.is_unsaved {
            self.save();
        }
        self.moment()
    }

    /// The next moment at which something is to be done.
    fn due(&self) -> Option<Instant> {
        let now = match &self.now {
            Now::Clear { .. } => Some(Instant::now() + LOOK_EVERY),
            Now::Wait(until) => Some(*until),
            Now::Over => Some(Instant::now()),
            Now::Run => None,
        };
        let half = self.service.as_ref().and_then(Service::due);
        let again = self.is_unsaved.then(|| Instant::now() + SAVE_EVERY);
        [now, half, again].into_iter().flatten().min()
    }

    fn moment(&mut self) -> Result<(), Failure> {
        match self.now {
            Now::Wait(until) if until <= Instant::now() => self.start(),
            Now::Clear { until, gone_by, is_forced, then } => {
                let is_over = self.service.as_ref().is_none_or(|service| service.is_over);
                let left = self.group.members().len();
                let late = Instant::now() >= until;
                if left == 0 && is_over {
                    if is_forced {
                        self.end_rest();
                    }
                    self.cleared(then);
                } else if late && Instant::now() >= gone_by {
                    let what = format!("{left} processes of {} do not end", self.dir.display());
                    let why = "they were killed, and are there still";
                    return Err(Failure::new(
                        Fault::Failed,
                        what,
                        why,
                        fix!("ls -la {}", self.dir),
                    ));
                } else if late {
                    if !is_forced {
                        self.log.note("did not end in time: killed");
                    }
                    self.group.end(Ending::Forced);
                    self.now = Now::Clear { until, gone_by, is_forced: true, then };
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self) {
        self.state.generation = self.state.generation.saturating_add(1);
        self.state.process = None;
        self.state.wish = Wish::Run;
        self.phase(Phase::Starting);
        self.log.note(&format!("run {} starts", self.state.generation));
        match Service::start(&self.spec, &self.dir) {
            Ok(service) => {
                self.state.process = Some(service.process.clone());
                self.service = Some(service);
                self.now = Now::Run;
                self.phase(Phase::Running);
            }
            Err(error) => {
                let why = error.to_string().chars().take(WHY_CHARS).collect();
                let exit = Exit::NotStarted(why);
                self.ended(exit.clone());
                let then = self.follow(&exit, Duration::ZERO);
                self.clear(then);
            }
        }
    }

    /// Whoever has ended. The service's own process is let go of when its end is written.
    fn children(&mut self) {
        while let Ok(Some((pid, ended))) = children::ended() {
            match &mut self.service {
                Some(service) if service.process.pid == pid && !service.is_over => {
                    service.is_over = true;
                    let ran = service.began.elapsed();
                    let exit = match ended {
                        Ended::Code(code) => Exit::Code(code),
                        Ended::Signal(signal) => Exit::Signal(signal),
                    };
                    self.gone(exit, ran);
                }
                _ => {}
            }
            children::reap(pid);
        }
    }

    fn gone(&mut self, exit: Exit, ran: Duration) {
        self.ended(exit.clone());
        if matches!(exit, Exit::Signal(_)) {
            self.end_rest();
        }
        if !matches!(self.now, Now::Clear { .. }) {
            let then = self.follow(&exit, ran);
            self.clear(then);
        }
    }

    /// How the run of this generation ended. Its state first: what a keeper that is killed here has
    /// not told the next one tells.
    fn ended(&mut self, exit: Exit) {
        self.state.last_exit = Some(exit);
        self.state.last_exit_ms = clock::wall_ms();
        self.state.process = None;
        self.phase(Phase::Ending);
        self.tell_end();
    }

    fn tell_end(&mut self) {
        if let Some(exit) = &self.state.last_exit {
            self.log.note(&format!("run {} ended: {exit}", self.state.generation));
        }
    }

    /// Ends whatever is left of a run.
    fn clear(&mut self, then: Then) {
        let until = Instant::now() + Duration::from_millis(self.spec.stop_ms.into());
        self.now = Now::Clear { until, gone_by: until + GONE_WITHIN, is_forced: false, then };
        if self.ask_to_end() == 0 && self.service.as_ref().is_none_or(|s| s.is_over) {
            self.cleared(then);
        }
    }

    /// How many there were.
    fn ask_to_end(&self) -> usize {
        match (&self.spec.proxy, &self.service) {
            (Some(_), Some(service)) => {
                if !service.is_over {
                    service.process.end(Ending::Asked);
                }
                // What clears up behind it is let finish.
                self.group.members().len()
            }
            _ => self.group.end(Ending::Asked),
        }
    }

    /// What the service has outside and its own process could not end, or may not have. Nothing
    /// else is done meanwhile: it has to be over before there is another run.
    fn end_rest(&mut self) {
        if let Err(why) = proxy::end_rest(&self.spec) {
            self.log.note(&format!("what it has outside may not have ended: {why}"));
        }
    }

    /// Nothing of the run is left.
    fn cleared(&mut self, then: Then) {
        if let Some(service) = self.service.take() {
            service.close(&mut self.log);
        }
        self.state.log_lost = self.log.lost();
        let is_first = self.state.generation == 0;
        match then {
            Then::Stop => self.over(Phase::Stopped),
            Then::Again => self.start(),
            Then::Follow(Next::Done) => self.over(Phase::Done),
            Then::Follow(Next::Failed) => self.over(Phase::Failed),
            Then::Follow(Next::GiveUp) => {
                self.log.note("gave up: it failed too often in a row");
                self.over(Phase::GaveUp);
            }
            Then::Follow(Next::Start(wait)) => {
                self.state.restarts = self.state.restarts.saturating_add(u32::from(!is_first));
                self.phase(Phase::Waiting);
                self.now = Now::Wait(Instant::now() + wait);
            }
        }
    }

    fn over(&mut self, phase: Phase) {
        self.phase(phase);
        self.now = Now::Over;
    }

    fn order(&mut self, order: Order) {
        let then = match order {
            Order::Watch => return,
            Order::Stop => Then::Stop,
            Order::Restart if self.state.wish == Wish::Stop => return,
            Order::Restart => Then::Again,
            Order::Failed { generation, well_ms } => return self.failed(generation, well_ms),
        };
        self.state.wish = if then == Then::Stop { Wish::Stop } else { Wish::Again };
        self.state.soon = 0;
        match &mut self.now {
            Now::Over => {}
            Now::Clear { then: next, .. } => {
                *next = then;
                self.phase(self.state.phase);
            }
            Now::Wait(_) | Now::Run => {
                self.log.note(if then == Then::Stop { "to be stopped" } else { "to be restarted" });
                if matches!(self.now, Now::Run) {
                    self.phase(Phase::Ending);
                }
                self.clear(then);
            }
        }
    }

    /// One of another run, or that came too late, changes nothing; nor where nothing is to follow.
    fn failed(&mut self, generation: u64, well_ms: u64) {
        let is_meant = generation == self.state.generation && matches!(self.now, Now::Run);
        if !is_meant || self.spec.restart == Restart::Never {
            return;
        }
        self.log.note("its check fails: to be ended");
        // However it ends when it is asked to.
        let then = self.follow(&Exit::Code(1), Duration::from_millis(well_ms));
        if matches!(then, Then::Follow(Next::Start(_))) {
            self.state.wish = Wish::Again;
        }
        self.phase(Phase::Ending);
        self.clear(then);
    }

    /// The next state, written and told.
    fn phase(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.state.since_ms = clock::wall_ms();
        self.state.log_lost = self.log.lost();
        self.save();
        self.control.tell(&self.state);
    }

    /// Where that is not possible, as on a full disk, it is tried again.
    fn save(&mut self) {
        let saved = self.state.save(&self.dir);
        if let (Err(error), false) = (&saved, self.is_unsaved) {
            log(&format!("cannot write {}: {error}", self.dir.join(STATE).display()));
        }
        self.is_unsaved = saved.is_err();
    }
}
