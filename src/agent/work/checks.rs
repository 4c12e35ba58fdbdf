//! Who looks at the services that have a check: a thread for each, as long as it has a keeper. It
//! hears of each run from the keeper, looks at it from its first moment on, keeps what it found
//! (`health`), and has the keeper end one that is unhealthy, which is then started again by its
//! policy, with the same backoff and the same limit as one that ends by itself.
//!
//! The keeper does not look by itself: it is one thread that must never wait for somebody's
//! server, and a check may change while the service runs on. So nobody looks while this process is
//! away, and the next one goes on where it was.
//!
//! Bounds: 256 services are looked at; 8 commands at a time, the others wait for their turn; a
//! keeper that is gone is waited for for two minutes.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::container::address;
use super::health::{Course, run_name};
use super::probe::Probe;
use super::spec;
use crate::agent::keeper::state::{Phase, State};
use crate::agent::keeper::{Order, Watch};
use crate::agent::log;
use crate::rpc::types::health::HealthState;
use crate::rpc::types::services::ServiceName;
use crate::sys::clock;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Health as Rules, Kind, Service};

const SERVICES: usize = 256;
const COMMANDS: usize = 8;
/// Between two looks whether something else is asked for.
const TICK: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const GONE_FOR: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Each with whether it is to be begun anew.
static ALL: Mutex<BTreeMap<ServiceName, Arc<AtomicBool>>> = Mutex::new(BTreeMap::new());

fn all() -> MutexGuard<'static, BTreeMap<ServiceName, Arc<AtomicBool>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How it is looked at now; nothing for one without a check, or that nobody asks for any more.
pub type Find = fn(&ServiceName) -> Option<Checked>;

/// It was started, or its check is another one, or there is none any more.
pub fn begin(name: &ServiceName, has_one: bool, find: Find) {
    let mut all = all();
    if let Some(anew) = all.get(name) {
        return anew.store(true, Ordering::Release);
    }
    if !has_one {
        return;
    }
    if all.len() >= SERVICES {
        return log(&format!("{} is not looked at: too many are", name.service));
    }
    let anew = Arc::new(AtomicBool::new(false));
    let (told, of) = (anew.clone(), name.clone());
    let looks = move || until_the_end(&of, &told, find);
    if thread::Builder::new().name("check".to_owned()).spawn(looks).is_ok() {
        all.insert(name.clone(), anew);
    }
}

fn until_the_end(name: &ServiceName, anew: &AtomicBool, find: Find) {
    loop {
        anew.store(false, Ordering::Release);
        if let Some(checked) = find(name) {
            Looking { checked, anew }.keepers();
        }
        let mut all = all();
        if !anew.load(Ordering::Acquire) {
            all.remove(name);
            return;
        }
    }
}

/// One that has a check, and how it is looked at.
pub struct Checked {
    dir: PathBuf,
    rules: Rules,
    probe: Probe,
}

/// Where a process of the login listens that is asked as `localhost`.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl Checked {
    /// Nothing where it has no check. `env`: what the service itself has.
    pub fn of(dir: &Path, service: &Service, env: Env) -> Option<Checked> {
        let rules = service.health.clone()?;
        let ips = match service.kind {
            Kind::Native { .. } => LOOPBACK.to_vec(),
            // Where its ports are published.
            Kind::Container(_) => address::known().into_iter().map(IpAddr::V4).collect(),
        };
        let (service, place) = (service.clone(), dir.to_owned());
        let probe = Probe::of(&rules.probe, &ips, |line| {
            let line = line.clone();
            Box::new(move || spec::check(&service, &env, &line, &place))
        });
        Some(Checked { dir: dir.to_owned(), rules, probe })
    }
}

struct Looking<'a> {
    checked: Checked,
    anew: &'a AtomicBool,
}

impl Looking<'_> {
    fn is_anew(&self) -> bool {
        self.anew.load(Ordering::Acquire)
    }

    /// One keeper after the other, until none is to be there any more.
    fn keepers(&self) {
        let mut gone_since = Instant::now();
        while !self.is_anew() && gone_since.elapsed() < GONE_FOR {
            if let Ok(watch) = Watch::ask(&self.checked.dir, Order::Watch) {
                self.runs(watch);
                gone_since = Instant::now();
            }
            let is_over = |state: State| state.phase.is_final();
            if State::load(&self.checked.dir).is_none_or(is_over) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Until the keeper ends.
    fn runs(&self, mut watch: Watch) {
        let Ok(mut state) = watch.next(ANSWER_WITHIN) else { return };
        let mut run = Run::of(&self.checked, &state);
        while !self.is_anew() {
            let wait = run.as_ref().map_or(TICK, Run::wait).min(TICK);
            match watch.next(wait.max(Duration::from_millis(1))) {
                Ok(new) => {
                    if (new.generation, new.phase) != (state.generation, state.phase) {
                        run = Run::of(&self.checked, &new);
                    }
                    state = new;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(_) => return,
            }
            if let Some(run) = run.as_mut().filter(|run| run.wait().is_zero()) {
                run.look();
            }
        }
    }
}

/// One run that is looked at.
struct Run<'a> {
    checked: &'a Checked,
    generation: u64,
    name: String,
    course: Course,
    next_ms: u64,
}

impl Run<'_> {
    fn of<'a>(checked: &'a Checked, state: &State) -> Option<Run<'a>> {
        if state.phase != Phase::Running {
            return None;
        }
        let name = run_name(&state.boot, state.generation, &checked.rules);
        let course = Course::load(&checked.dir, &name).unwrap_or_else(|| {
            let course = Course::begin(clock::boot_ms());
            let _ = course.save(&checked.dir, &name);
            course
        });
        Some(Run { checked, generation: state.generation, name, course, next_ms: clock::boot_ms() })
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.next_ms.saturating_sub(clock::boot_ms()))
    }

    fn look(&mut self) {
        let rules = &self.checked.rules;
        let found = {
            let _turn = matches!(self.checked.probe, Probe::Exec(_)).then(Turn::take);
            self.checked.probe.ask(self.course.limit(rules, clock::boot_ms()))
        };
        let now = clock::boot_ms();
        let found = found.map_err(|failing| failing.to_string());
        let is_failing = found.is_err();
        self.next_ms = self.course.next_ms(rules, now);
        if self.is_over() {
            return;
        }
        if self.course.found(rules, now, found) {
            let _ = self.course.save(&self.checked.dir, &self.name);
        }
        self.next_ms = self.course.next_ms(rules, now);
        if is_failing && self.course.state == HealthState::Unhealthy {
            self.act();
        }
    }

    /// What was found may be of a run that has ended meanwhile.
    fn is_over(&self) -> bool {
        let is_it =
            |state: State| state.generation == self.generation && state.phase == Phase::Running;
        !State::load(&self.checked.dir).is_some_and(is_it)
    }

    /// The keeper knows whether something is to follow, and whether this run is still the one.
    fn act(&self) {
        let order = Order::Failed { generation: self.generation, well_ms: self.course.well_ms };
        let _ = Watch::ask(&self.checked.dir, order);
    }
}

/// One of the commands that may run at a time.
struct Turn;

static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(COMMANDS), Condvar::new());

impl Turn {
    fn take() -> Turn {
        let free = TURNS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = TURNS.1.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TURNS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        TURNS.1.notify_one();
    }
}
