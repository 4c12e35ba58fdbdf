//! How one run of a service does, by what was found at each look: arithmetic alone, with the time
//! as an argument (milliseconds of the clock since boot). It is kept in `health.json` beside the
//! keeper's files, so that a work process that is killed has forgotten nothing: a healthy service
//! is not looked at quickly again, and one that fails has no new time.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::agent::keeper::state::{Phase, State};
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::rpc::types::health::{Health, HealthState};
use crate::sys::{bounded, clock};
use crate::workspace::digest::Digest;
use crate::workspace::manifest::{Health as Rules, Restart, Service};

const FILE: &str = "health.json";
const FILE_BYTES: u64 = 16 * 1024;
/// Between the first looks at a new run: later ones are a quarter of its age apart, so that what
/// starts within a second is known to within 0.3 s, and one that takes a minute is not asked a
/// thousand times.
const FIRST: Duration = Duration::from_millis(50);
const AGE_PARTS: u64 = 4;
/// For one look.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// The last look of a start has this long at least.
const LOOK_LEAST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    pub state: HealthState,
    pub since_ms: u64,
    /// The run is known since then.
    began_ms: u64,
    /// In a row.
    pub failures: u32,
    pub why: Option<String>,
    /// How long it was healthy when it became unhealthy.
    pub well_ms: u64,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Course {
    pub fn begin(now_ms: u64) -> Course {
        Course {
            state: HealthState::Starting,
            since_ms: now_ms,
            began_ms: now_ms,
            failures: 0,
            why: None,
            well_ms: 0,
        }
    }

    /// After a look at this moment.
    pub fn next_ms(&self, rules: &Rules, looked_ms: u64) -> u64 {
        let pause = match self.state {
            HealthState::Starting => {
                let age = looked_ms.saturating_sub(self.began_ms);
                (age / AGE_PARTS).max(ms(FIRST)).min(ms(rules.interval))
            }
            _ => ms(rules.steady),
        };
        looked_ms.saturating_add(pause)
    }

    /// What a look that begins now may take.
    pub fn limit(&self, rules: &Rules, now_ms: u64) -> Duration {
        let left = Duration::from_millis(self.end_ms(rules).saturating_sub(now_ms));
        match self.state {
            HealthState::Starting => LOOK_WITHIN.min(left.max(LOOK_LEAST)),
            _ => LOOK_WITHIN,
        }
    }

    fn end_ms(&self, rules: &Rules) -> u64 {
        self.began_ms.saturating_add(ms(rules.timeout))
    }

    /// What a look found that ended now. True if there is something new to be kept.
    pub fn found(&mut self, rules: &Rules, now_ms: u64, found: Result<(), String>) -> bool {
        let before = self.clone();
        match found {
            Ok(()) => {
                (self.failures, self.why) = (0, None);
                self.become_(HealthState::Healthy, now_ms);
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.why = Some(why);
                let is_over = match self.state {
                    HealthState::Starting => now_ms >= self.end_ms(rules),
                    HealthState::Healthy => self.failures >= rules.retries,
                    _ => false,
                };
                if is_over {
                    let was_well = self.state == HealthState::Healthy;
                    self.well_ms = if was_well { now_ms.saturating_sub(self.since_ms) } else { 0 };
                    self.become_(HealthState::Unhealthy, now_ms);
                }
            }
        }
        // How often it failed in vain is told, and not worth a write each time.
        self.state != before.state
            || self.why != before.why
            || self.state == HealthState::Healthy && self.failures != before.failures
    }

    fn become_(&mut self, state: HealthState, now_ms: u64) {
        if self.state != state {
            (self.state, self.since_ms) = (state, now_ms);
        }
    }

    /// Of the run that is called so, by the last who looked at it.
    pub fn load(dir: &Path, run: &str) -> Option<Course> {
        let bytes = bounded::read(dir.join(FILE), FILE_BYTES).ok()?;
        Course::parse(&String::from_utf8(bytes).ok()?, run).ok()?
    }

    fn parse(text: &str, run: &str) -> Result<Option<Course>, ReadError> {
        let mut fields = Fields::parse(text)?;
        if fields.string("run")? != run {
            return Ok(None);
        }
        let mut number = |name| fields.int(name, 0..=u64::MAX);
        let (since_ms, began_ms) = (number("since_ms")?, number("began_ms")?);
        let well_ms = number("well_ms")?;
        Ok(Some(Course {
            state: fields.meant("state", |word| Ok(HealthState::of(word)))?,
            since_ms,
            began_ms,
            failures: fields.int("failures", 0..=u32::MAX)?,
            why: Some(fields.string("why")?).filter(|why| !why.is_empty()),
            well_ms,
        }))
    }

    /// A directory that has gone needs nothing any more.
    pub fn save(&self, dir: &Path, run: &str) -> io::Result<()> {
        let json = json!({
            "run": run,
            "state": self.state.word(),
            "since_ms": self.since_ms,
            "began_ms": self.began_ms,
            "failures": self.failures,
            "why": self.why.as_deref().unwrap_or_default(),
            "well_ms": self.well_ms,
        });
        match file::replace(&dir.join(FILE), json.to_string().as_bytes()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What a course is of: a run in one life of the machine, by these rules.
pub fn run_name(boot: &str, generation: u64, rules: &Rules) -> String {
    format!("{boot} {generation} {}", Digest::of("hopbox.health/1", &format!("{rules:?}")))
}

/// What is told of it. One that was not looked at yet is starting; one that was ended because of
/// this says so still.
pub fn view(dir: &Path, service: &Service, state: &State) -> Option<Health> {
    let rules = service.health.as_ref()?;
    let kept = Course::load(dir, &run_name(&state.boot, state.generation, rules));
    let now_ms = clock::boot_ms();
    let course = match state.phase {
        Phase::Running => kept.unwrap_or_else(|| Course::begin(now_ms)),
        Phase::Stopped | Phase::Done | Phase::Starting => return None,
        _ => kept.filter(|course| course.state == HealthState::Unhealthy)?,
    };
    let age_ms = now_ms.saturating_sub(course.since_ms);
    Some(Health {
        state: course.state,
        since_ms: now_unix_ms().saturating_sub(age_ms),
        failures: course.failures,
        why: course.why,
        will_restart: service.restart != Restart::Never,
    })
}

fn now_unix_ms() -> u64 {
    let (seconds, nanos) = clock::wall();
    seconds.saturating_mul(1000).saturating_add(u64::from(nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::manifest::Probe;

    const S: u64 = 1000;

    fn rules() -> Rules {
        Rules {
            probe: Probe::Tcp { port: 80 },
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            steady: Duration::from_secs(30),
            retries: 3,
        }
    }

    fn no() -> Result<(), String> {
        Err("no".to_owned())
    }

    #[test]
    fn a_start_is_looked_at_quickly_and_what_is_well_slowly() {
        let (rules, mut course) = (rules(), Course::begin(S));
        let (mut at, mut looks) = (S, Vec::new());
        while at < 20 * S {
            looks.push(at);
            course.found(&rules, at, no());
            at = course.next_ms(&rules, at);
        }
        let late = |moment: u64| looks.iter().find(|look| **look >= moment).unwrap() - moment;
        for moment in [S, S + 100, S + 250, S + 900, S + 3000, S + 8000, S + 15_000] {
            assert!(late(moment) <= ((moment - S) / 3).max(50), "{moment}: {looks:?}");
        }
        assert!(looks.len() < 50, "{looks:?}");
        assert!(course.found(&rules, at, Ok(())));
        assert_eq!(course.next_ms(&rules, at), at + 30 * S);
        assert!(!course.found(&rules, at + 30 * S, Ok(())), "nothing is written");
        assert_eq!((course.since_ms, course.failures, course.why), (at, 0, None));
    }

    #[test]
    fn a_start_has_its_time_and_no_more() {
        let (rules, mut course) = (rules(), Course::begin(0));
        assert_eq!(course.limit(&rules, 0), LOOK_WITHIN);
        assert_eq!(course.limit(&rules, 57 * S), Duration::from_secs(3));
        assert_eq!(course.limit(&rules, 61 * S), LOOK_LEAST);
        course.found(&rules, 59_999, no());
        assert_eq!(course.state, HealthState::Starting);
        assert!(course.found(&rules, 60 * S, no()));
        assert_eq!((course.state, course.well_ms), (HealthState::Unhealthy, 0));
        // One that nobody ends may become well.
        assert!(course.found(&rules, 90 * S, Ok(())));
        assert_eq!((course.state, course.since_ms), (HealthState::Healthy, 90 * S));
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy() {
        let (rules, mut course) = (rules(), Course::begin(0));
        course.found(&rules, S, Ok(()));
        for at in [31, 61] {
            assert!(course.found(&rules, at * S, no()));
        }
        course.found(&rules, 91 * S, Ok(()));
        for at in [121, 151] {
            course.found(&rules, at * S, no());
            assert_eq!(course.state, HealthState::Healthy);
        }
        assert!(course.found(&rules, 181 * S, no()));
        assert_eq!((course.state, course.well_ms), (HealthState::Unhealthy, 180 * S));
        assert_eq!(course.limit(&rules, 181 * S), LOOK_WITHIN);
    }

    #[test]
    fn what_is_kept_is_of_one_run_by_one_set_of_rules() {
        let dir = std::env::temp_dir().join(format!("hopbox-health-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut course = Course::begin(7);
        let name = run_name("boot", 3, &rules());
        assert_eq!(Course::load(&dir, &name), None);
        for found in [no(), Ok(()), no()] {
            course.found(&rules(), 9, found);
            course.save(&dir, &name).unwrap();
            assert_eq!(Course::load(&dir, &name).as_ref(), Some(&course));
        }
        let other = Rules { retries: 4, ..rules() };
        for other in
            [run_name("boot", 4, &rules()), run_name("x", 3, &rules()), run_name("boot", 3, &other)]
        {
            assert_eq!(Course::load(&dir, &other), None);
        }
        for damaged in ["", "{}", "[]", "{\"run\":7}"] {
            std::fs::write(dir.join(FILE), damaged).unwrap();
            assert_eq!(Course::load(&dir, &name), None, "{damaged}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
        course.save(&dir, &name).unwrap();
    }
}
