//! The services of this login's workspaces: started, stopped and told of. What is there is looked
//! at each time, in the files of the keepers and of the kernel: nothing is remembered, so that this
//! process may end at any moment.
//!
//! Must not know: who asks, and how.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::checks::{self, Checked};
use super::container::{self, Now, contain};
use super::details::{self, Look};
use super::health;
use super::limits;
use super::manager::{Activity, Manager, Unit};
use super::mounts;
use super::spec;
use super::state::{Made, Room, ServiceDir, Workspace};
use crate::agent::keeper::process::Process;
use crate::agent::keeper::state::{Exit, Loss, Phase, State};
use crate::agent::keeper::{LOCK, Order, SPEC, Watch};
use crate::base::file;
use crate::rpc::code::Code;
use crate::rpc::types::details::Details;
use crate::rpc::types::services::{LastExit, ServiceName, ServiceState, ServiceView};
use crate::sys::lock::Lock;
use crate::workspace::manifest::{Mount, Service};

/// Until the keeper that was started has told something.
const START_WITHIN: Duration = Duration::from_secs(20);
/// The same, and an engine has made a container and started it.
const CONTAINER_WITHIN: Duration = Duration::from_secs(120);
/// Beside what the service itself has for its end.
const STOP_MORE: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is not done, and a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unable {
    pub code: Code,
    pub why: String,
}

pub fn unable(code: Code, why: impl Into<String>) -> Unable {
    Unable { code, why: why.into() }
}

pub fn failed(what: &str) -> impl Fn(io::Error) -> Unable {
    move |error| unable(Code::Failed, format!("{what}: {error}"))
}

pub type Done<T> = Result<T, Unable>;

/// Who wants to hear of each state; one that has gone changes nothing.
pub type Hear<'a> = &'a mut (dyn FnMut(&ServiceView) + Send);

/// One service that was asked for.
pub struct Known {
    name: ServiceName,
    workspace: Workspace,
    service: Service,
    dir: ServiceDir,
}

pub fn room() -> Done<Room> {
    Room::own().map_err(failed("this login has no directory for its state"))
}

impl Known {
    fn find(name: &ServiceName) -> Done<Known> {
        let workspace = room()?.workspace(&name.workspace).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                unable(Code::NotFound, format!("no workspace {:?}", name.workspace))
            }
            _ => failed("the workspace cannot be read")(error),
        })?;
        Known::of(workspace, &name.service)
    }

    pub fn of(workspace: Workspace, service: &str) -> Done<Known> {
        let name = ServiceName {
            workspace: workspace.desired.workspace.clone(),
            service: service.to_owned(),
        };
        let found = workspace.desired.services.get(service).cloned();
        let none =
            || unable(Code::NotFound, format!("no service {service:?} in {}", name.workspace));
        let service = found.ok_or_else(none)?;
        let dir = workspace.service(&name.service);
        Ok(Known { name, workspace, service, dir })
    }

    fn unit_name(&self) -> String {
        self.workspace.desired.unit_name(&self.name.service)
    }

    /// A keeper is there, with the lock that it has as long as it lives.
    fn is_kept(&self) -> bool {
        Lock::is_held(&self.dir.path().join(LOCK)).unwrap_or(false)
    }

    pub fn view(&self) -> ServiceView {
        let state = State::load(self.dir.path());
        let is_wanted = self.dir.is_wanted();
        let (kept, name) = (self.is_kept(), self.name.clone());
        let Some(state) = state else {
            let now = if is_wanted { ServiceState::Lost } else { ServiceState::New };
            return ServiceView {
                name,
                state: now,
                is_wanted,
                pid: None,
                since_ms: 0,
                generation: 0,
                restarts: 0,
                last_exit: None,
                last_exit_ms: 0,
                degraded: Vec::new(),
                health: None,
                details: Details::default(),
            };
        };
        let is_told = kept || state.phase.is_final();
        let pid = state.process.as_ref().filter(|process| kept && process.is_there());
        let pid = pid.and_then(|process| self.first(process));
        let degraded = pid.map(|pid| {
            // A container has a group of its own.
            let is_unit = !spec::is_container(&self.service);
            let unit = is_unit.then(|| format!("{}.service", self.unit_name()));
            limits::missing(&Cgroup::of(pid, &unit.unwrap_or_default()), &self.service.limits)
        });
        ServiceView {
            name,
            state: match (is_told, is_wanted) {
                (true, _) => phase(state.phase),
                (false, true) => ServiceState::Lost,
                (false, false) => ServiceState::Stopped,
            },
            is_wanted,
            pid,
            since_ms: state.since_ms,
            generation: state.generation,
            restarts: state.restarts,
            last_exit: state.last_exit.as_ref().map(exit),
            last_exit_ms: state.last_exit_ms,
            degraded: degraded.unwrap_or_default(),
            health: is_told.then(|| health::view(self.dir.path(), &self.service, &state)).flatten(),
            details: Details::default(),
        }
    }

    fn checked(&self) -> Option<Checked> {
        let env = self.workspace.desired.env_of(&self.service);
        Checked::of(self.dir.path(), &self.service, env)
    }

    fn look(&self) {
        checks::begin(&self.name, self.service.health.is_some(), checked);
    }

    /// Of what its keeper keeps, the process that the service is.
    fn first(&self, kept: &Process) -> Option<u32> {
        if !spec::is_container(&self.service) {
            return Some(kept.pid);
        }
        Now::load(self.dir.path())?.running().map(|process| process.pid)
    }

    fn wanted(&self) -> container::Wanted<'_> {
        container::Wanted {
            desired: &self.workspace.desired,
            name: &self.name.service,
            service: &self.service,
            dir: self.dir.path(),
        }
    }

    /// Another specification than this one's would be another process.
    fn spec(&self, start: u64) -> Done<String> {
        let unit = self.unit_name();
        let env = self.workspace.desired.env_of(&self.service);
        let unit = format!("{unit}.service");
        let spec = spec::of(&self.service, &env, start, &unit, self.dir.path());
        spec.map(|spec| spec.to_json().to_string()).map_err(|why| unable(Code::Failed, why))
    }

    fn mounted(&self, wanted: &[Mount]) -> Done<()> {
        mounts::settle(self.dir.path(), wanted).map_err(|why| unable(Code::Failed, why))
    }

    fn made(&self) -> Done<()> {
        let made = Made::of(&self.workspace.desired, &self.name.service, &self.service);
        self.dir.put_made(&made).map_err(failed("cannot write"))
    }

    /// So that a plan that was shown before is one of another state.
    fn changed(&self) -> Done<()> {
        room()?.changed(&self.name.workspace).map_err(failed("cannot write"))
    }

    /// Nothing of it runs. Starts its keeper, and waits until that has told what became of it.
    fn launch(&self) -> Done<ServiceView> {
        self.mounted(&self.service.mounts)?;
        self.wanted().prepare().map_err(|why| unable(Code::Failed, why))?;
        let before = State::load(self.dir.path());
        let start = before.map_or(0, |state| state.start).saturating_add(1);
        let spec = self.spec(start)?;
        let path = self.dir.path();
        self.made()?;
        file::replace(&path.join(SPEC), spec.as_bytes()).map_err(failed("cannot write"))?;
        let unit = Unit {
            name: &self.unit_name(),
            dir: path,
            stop_ms: spec::stop_ms(&self.service),
            limits: spec::unit_limits(&self.service),
            is_proxy: spec::is_container(&self.service),
        };
        match Manager::find_soon() {
            Ok(manager) => manager.start(&unit).map_err(|why| unable(Code::Failed, why))?,
            Err(absent) => spec::alone(&unit, absent).map_err(|why| unable(Code::Failed, why))?,
        }
        let is_contained = || !unit.is_proxy || Now::is_running(path);
        let limit = if unit.is_proxy { CONTAINER_WITHIN } else { START_WITHIN };
        let view = self.told(limit, |state| {
            let is_on = state.phase != Phase::Starting;
            state.start == start && is_on && (state.phase != Phase::Running || is_contained())
        });
        self.look();
        view
    }

    fn told(&self, limit: Duration, is_it: impl Fn(&State) -> bool) -> Done<ServiceView> {
        let end = Instant::now() + limit;
        while !State::load(self.dir.path()).is_some_and(|state| is_it(&state)) {
            if Instant::now() >= end {
                let why = format!("its keeper has told nothing within {} s", limit.as_secs());
                return Err(unable(Code::Failed, why));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(self.view())
    }

    /// Asks its keeper, if one is there, and follows what it tells until `is_it`, or it ends.
    fn ask(&self, order: Order, is_it: impl Fn(&State) -> bool, hear: Hear) -> Done<()> {
        let stop = Duration::from_millis(spec::stop_ms(&self.service).into());
        let end = Instant::now() + stop + STOP_MORE;
        let mut watch = match Watch::ask(self.dir.path(), order) {
            Ok(watch) => watch,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(failed("its keeper does not answer")(error)),
        };
        loop {
            match watch.next(end.saturating_duration_since(Instant::now())) {
                Ok(state) => {
                    hear(&self.view());
                    if is_it(&state) {
                        return Ok(());
                    }
                }
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(failed("its keeper does not answer")(error)),
            }
        }
    }

    /// Whatever its keeper does, and also where none is.
    fn halt(&self, hear: Hear) -> Done<()> {
        if self.is_kept() {
            let asked = self.ask(Order::Stop, |state| state.phase.is_final(), hear);
            if let (Err(unable), Err(_)) = (asked, Manager::find()) {
                return Err(unable);
            }
        }
        // One that is just being started again by the manager has not heard it.
        if let Ok(manager) = Manager::find() {
            manager.stop(&self.unit_name()).map_err(|why| unable(Code::Failed, why))?;
        }
        let end = Instant::now() + STOP_MORE;
        while self.is_kept() {
            if Instant::now() >= end {
                return Err(unable(Code::Failed, "its keeper does not end"));
            }
            thread::sleep(LOOK_EVERY);
        }
        // Whatever became of who had to end it.
        match Now::is_running(self.dir.path()) {
            true => contain::end(self.dir.path()).map_err(|why| unable(Code::Failed, why)),
            false => Ok(()),
        }
    }

    fn alone(&self) -> Done<Lock> {
        let lock = self.dir.change().map_err(failed("its directory cannot be used"))?;
        lock.ok_or_else(|| unable(Code::Conflict, "it is being started or stopped already"))
    }

    /// Whether somebody sees to it: a keeper, or a manager that is about to start one again.
    fn is_attended(&self) -> bool {
        let busy = |manager: Manager| manager.activity(&self.unit_name()) == Ok(Activity::Busy);
        self.is_kept() || Manager::find().is_ok_and(busy)
    }
}

/// The keeper is not there, or has ended.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// One that runs already stays as it is.
pub fn start(name: &ServiceName, hear: Hear) -> Done<ServiceView> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    known.changed()?;
    known.dir.want(true).map_err(failed("cannot write"))?;
    let is_over = State::load(known.dir.path()).is_none_or(|state| state.phase.is_final());
    if known.is_attended() && !is_over {
        known.look();
        return Ok(known.view());
    }
    known.halt(hear)?;
    known.launch()
}

pub fn stop(name: &ServiceName, hear: Hear) -> Done<ServiceView> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    known.changed()?;
    known.dir.want(false).map_err(failed("cannot write"))?;
    known.halt(hear)?;
    Ok(known.view())
}

/// With what is asked for now. One that does not run is started.
pub fn restart(name: &ServiceName, hear: Hear) -> Done<ServiceView> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    known.changed()?;
    known.dir.want(true).map_err(failed("cannot write"))?;
    known.halt(hear)?;
    known.launch()
}

/// What is asked for now is what it was made of, but for what needs no other process.
pub fn adjust(name: &ServiceName) -> Done<()> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    known.changed()?;
    known.look();
    known.made()
}

fn checked(name: &ServiceName) -> Option<Checked> {
    Known::find(name).ok()?.checked()
}

/// Its image is here then.
pub fn fetch(name: &ServiceName, say: &mut dyn FnMut(&[u8]) -> bool) -> Done<()> {
    Known::find(name)?.wanted().fetch(say).map_err(|why| unable(Code::Failed, why))
}

/// It is to run, and is not started for it.
pub fn want(name: &ServiceName) -> Done<()> {
    let Known { dir, .. } = Known::find(name)?;
    dir.make().and_then(|()| dir.want(true)).map_err(failed("cannot write"))
}

/// It ends, and of a container nothing is left but its volumes.
pub fn clear(name: &ServiceName, hear: Hear) -> Done<ServiceView> {
    cleared(name, false, hear)
}

/// The same without those that have no name.
pub fn clear_all(name: &ServiceName, hear: Hear) -> Done<ServiceView> {
    cleared(name, true, hear)
}

fn cleared(name: &ServiceName, with_volumes: bool, hear: Hear) -> Done<ServiceView> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    known.changed()?;
    known.dir.want(false).map_err(failed("cannot write"))?;
    known.halt(hear)?;
    let removed = contain::remove(known.dir.path(), with_volumes);
    removed.map_err(|why| unable(Code::Failed, why))?;
    known.mounted(&[])?;
    Ok(known.view())
}

/// Of one workspace, or of all.
fn known(workspace: Option<&str>) -> Done<Vec<Known>> {
    let all = match workspace {
        None => room()?.workspaces(),
        Some(name) => match room()?.workspace(name) {
            Ok(found) => vec![found],
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(unable(Code::NotFound, format!("no workspace {name:?}")));
            }
            Err(error) => return Err(failed("the workspace cannot be read")(error)),
        },
    };
    let mut known = Vec::new();
    for workspace in all {
        let names: Vec<String> = workspace.desired.services.keys().cloned().collect();
        known.extend(names.iter().filter_map(|name| Known::of(workspace.clone(), name).ok()));
    }
    Ok(known)
}

/// No workspace has it any more. Of one that cannot be read now that is not known.
pub fn is_removed(name: &ServiceName) -> bool {
    Known::find(name).is_err_and(|unable| unable.code == Code::NotFound)
}

/// How all of them are.
pub fn list(workspace: Option<&str>) -> Done<Vec<ServiceView>> {
    Ok(known(workspace)?.iter().map(Known::view).collect())
}

/// And what they take.
pub fn detailed(workspace: Option<&str>) -> Done<Vec<ServiceView>> {
    let (known, look) = (known(workspace)?, Look::default());
    let view = |known: &Known| {
        let view = known.view();
        let details = details::of(&view, &known.unit_name(), known.dir.path(), &look);
        ServiceView { details, ..view }
    };
    Ok(known.iter().map(view).collect())
}

/// The directory that the keeper of this one writes to.
pub fn directory(name: &ServiceName) -> Done<PathBuf> {
    Ok(Known::find(name)?.dir.path().to_owned())
}

/// It is to run, and nobody sees to that. Those that are seen to are looked at.
pub fn is_missing(name: &ServiceName) -> bool {
    let Ok(known) = Known::find(name) else { return false };
    if !known.dir.is_wanted() {
        return false;
    }
    let state = State::load(known.dir.path());
    let has_ended = state.is_some_and(|state| spec::has_ended_here(&state));
    let is_seen_to = has_ended || known.is_attended();
    if is_seen_to {
        known.look();
    }
    !is_seen_to
}

/// One that is to run still, and does not.
pub fn go_on(name: &ServiceName) -> Done<ServiceView> {
    let known = Known::find(name)?;
    let _alone = known.alone()?;
    if known.dir.is_wanted() && !known.is_attended() { known.launch() } else { Ok(known.view()) }
}

pub fn view(name: &ServiceName) -> Done<ServiceView> {
    Known::find(name).map(|known| known.view())
}

fn phase(phase: Phase) -> ServiceState {
    match phase {
        Phase::Starting => ServiceState::Starting,
        Phase::Running => ServiceState::Running,
        Phase::Ending => ServiceState::Ending,
        Phase::Waiting => ServiceState::Waiting,
        Phase::Stopped => ServiceState::Stopped,
        Phase::Done => ServiceState::Done,
        Phase::Failed => ServiceState::Failed,
        Phase::GaveUp => ServiceState::GaveUp,
    }
}

fn exit(exit: &Exit) -> LastExit {
    let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match exit {
        Exit::Code(code) => LastExit::Code(small(*code)),
        Exit::Signal(signal) => LastExit::Signal(small(*signal)),
        Exit::NotStarted(why) => LastExit::NotStarted(why.clone()),
        Exit::Lost(Loss::Keeper) => LastExit::Lost("keeper".to_owned()),
        Exit::Lost(Loss::Reboot) => LastExit::Lost("reboot".to_owned()),
    }
}
