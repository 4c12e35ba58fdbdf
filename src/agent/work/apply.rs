//! A workspace becomes what is wanted: a plan is shown, and the same plan is carried out for
//! whoever was shown it, once, within a minute, if nothing has changed since. Before that is proven
//! nothing is done, and what is as it should be is not touched.
//!
//! Bounds: one at a time for a workspace; another waits 4 s for its turn. A hook and a service that
//! has to complete have as long as somebody waits for them; who goes ends the hook, and no further
//! step is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::beat::{beating, has_gone, wait_until};
use super::bridge;
use super::held;
use super::present::present;
use super::public;
use super::run;
use super::services::{self, Done, Unable, failed, room, unable};
use super::starts::{Starts, in_turn};
use super::startup::{self, Moment, Outcome};
use super::state::Room;
use crate::base::line_socket::put;
use crate::rpc::code::Code;
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Said};
use crate::rpc::types::services::ServiceName;
use crate::rpc::types::workspace::{At, Progress, Proposal};
use crate::sys::clock;
use crate::sys::lock::Lock;
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;
use crate::workspace::plan::offers::{LIFE_MS, Offers, Refused};
use crate::workspace::plan::{self, Step};

/// Who takes no event holds a service's start up no longer than this.
const TAKE_WITHIN: Duration = Duration::from_secs(2);

/// Until whoever else changes the workspace has done so.
const TURN_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was shown and not applied. With this process they are gone, and have to be shown again.
static OFFERS: LazyLock<Mutex<Offers>> = LazyLock::new(Mutex::default);

fn offers() -> MutexGuard<'static, Offers> {
    OFFERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What would be done for this workspace. Nothing is.
pub fn plan(caller: &str, desired: &Desired) -> Done<Proposal> {
    let notes = notes(desired);
    let plan = plan::plan(desired, &present(&room()?, desired)?);
    offers().show(caller, &plan, desired, clock::boot_ms());
    Ok(Proposal { plan, notes })
}

/// What this version does not do of it, or cannot know.
fn notes(desired: &Desired) -> Vec<String> {
    public::notes(desired)
}

fn refused(why: Refused) -> Unable {
    let why = match why {
        Refused::Unknown => "this plan was not shown to this laptop, or was applied".to_owned(),
        Refused::Late => format!("this plan was shown more than {} s ago", LIFE_MS / 1000),
        Refused::OtherState => "something has changed there since this plan was shown".to_owned(),
    };
    unable(Code::PlanChanged, why)
}

pub fn apply(caller: &str, digest: Digest, stream: &UnixStream) -> Done<()> {
    carry_out(caller, digest, stream, false, &held::check)
}

/// All of it that is no start, for a workspace whose data is yet to come: once `hold` sees to it
/// that nothing starts.
pub fn prepare(
    caller: &str,
    digest: Digest,
    stream: &UnixStream,
    hold: &dyn Fn(&str) -> Done<()>,
) -> Done<()> {
    carry_out(caller, digest, stream, true, hold)
}

fn carry_out(
    caller: &str,
    digest: Digest,
    stream: &UnixStream,
    is_start_later: bool,
    may: &dyn Fn(&str) -> Done<()>,
) -> Done<()> {
    let room = room()?;
    let generation = |desired: &Desired| room.generation(&desired.workspace);
    let taken = offers().take(caller, digest, generation, clock::boot_ms());
    let (plan, desired) = taken.map_err(refused)?;
    let workspace = &desired.workspace;
    let _alone = alone(&room, workspace, stream)?;
    // Also what nobody has asked for may have changed, such as a service that has ended.
    if plan::plan(&desired, &present(&room, &desired)?) != plan {
        return Err(refused(Refused::OtherState));
    }
    may(workspace)?;
    let (room, desired, steps) = (&room, &desired, plan.steps.as_slice());
    let applying = Applying { room, desired, steps, stream, is_start_later };
    let outcome = applying.all();
    room.changed(workspace).map_err(failed("cannot write"))?;
    outcome
}

/// One that was given up a moment ago is still ending what its hook has started.
fn alone(room: &Room, workspace: &str, stream: &UnixStream) -> Done<Lock> {
    let end = Instant::now() + TURN_WITHIN;
    loop {
        let lock = room.change(workspace).map_err(failed("its directory cannot be used"))?;
        if let Some(lock) = lock {
            return Ok(lock);
        }
        let next = Instant::now() + LOOK_EVERY;
        if next > end || !wait_until(next, stream) {
            return Err(unable(Code::Conflict, format!("{workspace} is being changed already")));
        }
    }
}

struct Applying<'a> {
    room: &'a Room,
    desired: &'a Desired,
    steps: &'a [Step],
    stream: &'a UnixStream,
    /// What is needed for them is had, and they do not start.
    is_start_later: bool,
}

/// When it is done: before what is wanted is kept; before services that may wait for it; with all
/// others; last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Before,
    Adjust,
    Start,
    After,
}

fn turn(step: &Step) -> Turn {
    match step {
        Step::Close { .. } | Step::Unserve { .. } => Turn::Before,
        Step::Remove { .. } | Step::Stop { .. } | Step::Setup => Turn::Before,
        Step::Adjust { .. } => Turn::Adjust,
        Step::Start { .. } | Step::Replace { .. } => Turn::Start,
        Step::Publish { .. } | Step::Serve { .. } | Step::Keep | Step::Hook => Turn::After,
    }
}

impl Applying<'_> {
    /// Services start side by side.
    fn all(&self) -> Done<()> {
        let numbered: Vec<(u32, &Step)> = (1..).zip(self.steps).collect();
        let starts = numbered.iter().filter(|(_, step)| turn(step) == Turn::Start);
        let starts: BTreeMap<&str, (u32, &Step)> =
            starts.filter_map(|(number, step)| Some((step.service()?, (*number, *step)))).collect();
        let mut broken = BTreeMap::new();
        for turn_now in [Turn::Before, Turn::Adjust, Turn::Start, Turn::After] {
            if turn_now == Turn::Adjust {
                // From now on this is what the workspace is said to be.
                self.room.put(self.desired).map_err(failed("cannot write"))?;
                bridge::settle(self.room);
            }
            if turn_now == Turn::Start && self.is_start_later {
                return self.fetch_all(&starts);
            }
            if turn_now == Turn::Start {
                broken = self.start(&starts);
                continue;
            }
            for (number, step) in numbered.iter().filter(|(_, step)| turn(step) == turn_now) {
                // It may need what does not run, or be about that.
                let is_in_vain = match step {
                    Step::Hook => !broken.is_empty(),
                    Step::Publish { service, .. } | Step::Serve { service, .. } => {
                        broken.contains_key(service)
                    }
                    _ => false,
                };
                if is_in_vain {
                    continue;
                }
                self.tell(*number, step, At::Begin)?;
                self.take(step)?;
                self.tell(*number, step, At::Done)?;
            }
        }
        match broken.iter().next() {
            None => Ok(()),
            Some((name, why)) => {
                let more = match broken.len() {
                    1 => String::new(),
                    all => format!("; and {} more do not", all - 1),
                };
                Err(unable(Code::Failed, format!("{name} does not run: {why}{more}")))
            }
        }
    }

    fn tell(&self, number: u32, step: &Step, at: At) -> Done<()> {
        let told = Progress::Step { number, step: step.clone(), at };
        let _ = self.stream.set_write_timeout(Some(TAKE_WITHIN));
        match put(self.stream, &json!({"event": told.to_json()}).to_string()) {
            Ok(()) if !has_gone(self.stream) => Ok(()),
            _ => Err(unable(Code::Failed, "whoever wanted it has gone")),
        }
    }

    /// An error ends the rest, too.
    fn take(&self, step: &Step) -> Done<()> {
        match step {
            Step::Setup => self.setup(),
            Step::Hook => self.hook("start", self.desired.hooks.start.as_deref()),
            Step::Stop { service } => self.stop(service),
            Step::Remove { service, volumes } => self.remove(service, volumes),
            Step::Adjust { service } => services::adjust(&self.name(service)),
            Step::Keep | Step::Replace { .. } | Step::Start { .. } => Ok(()),
            Step::Close { ports } => {
                beating(self.stream, || public::close(&self.desired.workspace, ports))
            }
            Step::Unserve { service, .. } => {
                beating(self.stream, || public::unserve(&self.desired.workspace, service))
            }
            Step::Publish { service, ports } => {
                let workspace = &self.desired.workspace;
                let opened = beating(self.stream, || public::publish(workspace, service, ports));
                self.shown(service, opened)
            }
            Step::Serve { service, site, .. } => {
                let workspace = &self.desired.workspace;
                let served = beating(self.stream, || public::serve(workspace, service, site));
                self.shown(service, served)
            }
        }
    }

    /// A service that was started for everybody and is not open to them is ended again, and what
    /// was opened for it is closed.
    fn shown(&self, service: &str, outcome: Done<Vec<String>>) -> Done<()> {
        match outcome {
            Ok(dropped) => {
                dropped.iter().for_each(|line| self.say(line));
                Ok(())
            }
            Err(Unable { code, why }) => {
                let opened = self.steps.iter().filter_map(|step| match step {
                    Step::Publish { service: it, ports } if it == service => Some(ports),
                    _ => None,
                });
                let ports: BTreeSet<u16> = opened.flatten().copied().collect();
                let workspace = &self.desired.workspace;
                let closed = match ports.is_empty() {
                    true => Ok(()),
                    false => beating(self.stream, || public::close(workspace, &ports)),
                };
                let why = match closed {
                    Ok(()) => why,
                    Err(open) => format!("{why}; and a port stays open: {}", open.why),
                };
                let is_new = self.steps.iter().any(|step| match step {
                    Step::Start { service: it } | Step::Replace { service: it, .. } => {
                        it == service
                    }
                    _ => false,
                });
                if !is_new {
                    return Err(unable(code, format!("{service} is not open: {why}")));
                }
                self.stop(service)?;
                Err(unable(code, format!("{service} is stopped, since it is not open: {why}")))
            }
        }
    }

    fn say(&self, line: &str) {
        let told = Progress::Said(Said::Err(format!("{line}\n").into_bytes()));
        let _ = put(self.stream, &json!({"event": told.to_json()}).to_string());
    }

    /// Those that do not run, and why. One of them keeps no other from it but those that need it.
    fn start(&self, services: &BTreeMap<&str, (u32, &Step)>) -> BTreeMap<String, String> {
        let is_wanted = || !has_gone(self.stream);
        let start = |name: &ServiceName| {
            self.fetch(name)?;
            match services.get(name.service.as_str()) {
                Some((_, Step::Replace { volumes, .. })) => {
                    if !volumes.is_empty() {
                        // What ends with it was in the question.
                        in_turn(services::clear_all, name, &is_wanted)?;
                    }
                    in_turn(services::restart, name, &is_wanted)
                }
                _ => in_turn(services::start, name, &is_wanted),
            }
        };
        let tell = |service: &str, moment: Moment<'_>| {
            let Some((number, step)) = services.get(service) else { return };
            let at = match moment {
                Moment::Begins => At::Begin,
                Moment::Ends(Ok(_)) => At::Done,
                Moment::Ends(Err(broken)) => At::Failed(broken.to_string()),
            };
            // Whether somebody is there is looked at before each start.
            let _ = self.tell(*number, step, at);
        };
        let workspace = &self.desired.workspace;
        let hands = Starts { workspace, start: &start, tell: &tell, is_wanted: &is_wanted };
        let jobs = services.keys().map(|name| (*name).to_owned()).collect();
        let ends = beating(self.stream, || startup::all(self.desired, &jobs, &hands));
        let broken = |(name, end): (String, Outcome)| Some((name, end.err()?.to_string()));
        ends.into_iter().filter_map(broken).collect()
    }

    fn fetch_all(&self, services: &BTreeMap<&str, (u32, &Step)>) -> Done<()> {
        services
            .keys()
            .try_for_each(|service| beating(self.stream, || self.fetch(&self.name(service))))
    }

    fn name(&self, service: &str) -> ServiceName {
        ServiceName { workspace: self.desired.workspace.clone(), service: service.to_owned() }
    }

    fn setup(&self) -> Done<()> {
        self.hook("setup", self.desired.hooks.setup.as_deref())?;
        let done = plan::setup_digest(self.desired);
        let written =
            done.map_or(Ok(()), |done| self.room.put_setup(&self.desired.workspace, done));
        written.map_err(failed("cannot write"))
    }

    fn hook(&self, which: &str, text: Option<&str>) -> Done<()> {
        let Some(text) = text else { return Ok(()) };
        // Who reads slowly slows it down.
        let _ = self.stream.set_write_timeout(None);
        let mut tell = |line: &str| put(self.stream, line);
        let ended = run::hook(text, &self.desired.env, self.stream.as_fd(), &mut tell);
        let ended = ended.map_err(failed(&format!("hooks.{which}")))?;
        let how = match ended {
            Ended::Code(0) => return Ok(()),
            Ended::Code(code) => format!("ended with {code}"),
            Ended::Signal(signal) => format!("was ended by signal {signal}"),
            Ended::NotStarted(_, why) => why,
        };
        Err(unable(Code::Failed, format!("hooks.{which} {how}")))
    }

    fn stop(&self, service: &str) -> Done<()> {
        let name = self.name(service);
        let is_wanted = || !has_gone(self.stream);
        beating(self.stream, || in_turn(services::stop, &name, &is_wanted)).map(drop)
    }

    fn remove(&self, service: &str, volumes: &[String]) -> Done<()> {
        let (name, is_wanted) = (self.name(service), || !has_gone(self.stream));
        let clear = if volumes.is_empty() { services::clear } else { services::clear_all };
        beating(self.stream, || in_turn(clear, &name, &is_wanted))?;
        let removed = self.room.remove_service(&self.desired.workspace, service);
        removed.map_err(failed("its directory cannot be removed"))
    }

    /// What an engine says of an image that comes is told.
    fn fetch(&self, name: &ServiceName) -> Done<()> {
        services::fetch(name, &mut |said| {
            let told = Progress::Said(Said::Err(said.to_vec()));
            let line = json!({"event": told.to_json()}).to_string();
            !has_gone(self.stream) && (said.is_empty() || put(self.stream, &line).is_ok())
        })
    }
}
