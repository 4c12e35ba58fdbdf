//! Several services are started: each once what it depends on is as it has to be, and those that
//! wait for nothing at the same time. What a service depends on and will not have is told with the
//! reason, and nothing waits for it.
//!
//! Bounds: 8 are being started at a time; what has no keeper is waited for for 30 s, and all else
//! as long as somebody wants it and something can still become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::services::Unable;
use crate::rpc::code::Code;
use crate::rpc::types::health::HealthState;
use crate::rpc::types::services::{LastExit, ServiceState, ServiceView};
use crate::sys::threads;
use crate::workspace::manifest::{Condition, Desired};
use crate::workspace::order;

const AT_ONCE: usize = 8;
/// Between two looks at what is waited for; later ones are further apart.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_LAST: Duration = Duration::from_millis(250);
const LOST_FOR: Duration = Duration::from_secs(30);

/// What a start is made with.
pub trait Hands: Sync {
    /// One of those that are to be started.
    fn start(&self, service: &str) -> Result<ServiceView, Unable>;
    fn look(&self, service: &str) -> Result<ServiceView, Unable>;
    /// It begins, or is at its end.
    fn tell(&self, service: &str, moment: Moment<'_>);
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;
}

#[derive(Clone, Copy)]
pub enum Moment<'a> {
    Begins,
    Ends(&'a Outcome),
}

pub type Outcome = Result<ServiceView, Broken>;

/// Why one does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    Unable(Unable),
    /// It ran, and ended.
    Ended(Box<ServiceView>),
    /// It was not started: what it depends on is not so.
    Needs {
        on: String,
        wanted: Condition,
        because: Because,
    },
    /// Nobody waits for it any more.
    Unwanted,
}

/// Why what is waited for will not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// It was to be started as well, and was not.
    Broken,
    /// It does not run, and nobody starts it.
    Stopped,
    Ended(Option<LastExit>),
    Failed(Option<LastExit>),
    GaveUp(Option<LastExit>),
    Unhealthy(String),
    /// It has no keeper.
    Lost,
    /// There is no such service any more, or nothing can be known of it.
    Gone(String),
}

fn exit(exit: &Option<LastExit>) -> String {
    match exit {
        Some(LastExit::Code(code)) => format!("it ended with {code}"),
        Some(LastExit::Signal(signal)) => format!("signal {signal} ended it"),
        Some(LastExit::NotStarted(why)) => format!("it could not be started: {why}"),
        Some(LastExit::Lost(by)) => format!("it ended with its {by}"),
        None => "it never ran".to_owned(),
    }
}

impl fmt::Display for Because {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Broken => out.write_str("it does not run"),
            Because::Stopped => out.write_str("it is stopped"),
            Because::Ended(how) => write!(out, "it is done: {}", exit(how)),
            Because::Failed(how) => write!(out, "it failed: {}", exit(how)),
            Because::GaveUp(how) => write!(out, "it failed too often in a row: {}", exit(how)),
            Because::Unhealthy(why) => write!(out, "it is unhealthy: {why}"),
            Because::Lost => out.write_str("it has no keeper"),
            Because::Gone(why) => out.write_str(why),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Unable(unable) => out.write_str(&unable.why),
            Broken::Ended(view) => match view.state {
                ServiceState::GaveUp => Because::GaveUp(view.last_exit.clone()).fmt(out),
                _ => out.write_str(&exit(&view.last_exit)),
            },
            Broken::Needs { on, wanted, because } => {
                let wanted = match wanted {
                    Condition::Started => "started",
                    Condition::Healthy => "healthy",
                    Condition::Completed => "completed",
                };
                write!(out, "it needs {on} to be {wanted}, and {because}")
            }
            Broken::Unwanted => out.write_str("nobody waits for it any more"),
        }
    }
}

/// What is waited for is so, may become so, or will not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Need {
    Met,
    Open,
    Never(Because),
}

/// `has_check`: of the service that is looked at.
fn need(wanted: Condition, view: &ServiceView, has_check: bool, lost: Duration) -> Need {
    let exit = || view.last_exit.clone();
    match (view.state, wanted) {
        (ServiceState::New | ServiceState::Stopped | ServiceState::Removed, _) => {
            Need::Never(Because::Stopped)
        }
        (ServiceState::Failed, _) => Need::Never(Because::Failed(exit())),
        (ServiceState::GaveUp, _) => Need::Never(Because::GaveUp(exit())),
        (ServiceState::Lost, _) if lost >= LOST_FOR => Need::Never(Because::Lost),
        (ServiceState::Lost | ServiceState::Other | ServiceState::Starting, _) => Need::Open,
        (ServiceState::Done, Condition::Started | Condition::Completed) => Need::Met,
        (ServiceState::Done, Condition::Healthy) => Need::Never(Because::Ended(exit())),
        (_, Condition::Completed) => Need::Open,
        (_, Condition::Started) => Need::Met,
        (ServiceState::Running, Condition::Healthy) if !has_check => Need::Met,
        (_, Condition::Healthy) => match &view.health {
            Some(health) if view.state == ServiceState::Running => match health.state {
                HealthState::Healthy => Need::Met,
                HealthState::Unhealthy if !health.will_restart => {
                    Need::Never(Because::Unhealthy(health.why.clone().unwrap_or_default()))
                }
                _ => Need::Open,
            },
            _ => Need::Open,
        },
    }
}

/// What one round knows.
struct Round<'a, H> {
    desired: &'a Desired,
    jobs: &'a BTreeSet<String>,
    hands: &'a H,
    done: BTreeMap<String, Outcome>,
    lost: BTreeMap<String, Instant>,
}

impl<H: Hands> Round<'_, H> {
    /// What is still open, in the order of names, ends the look.
    fn needs(&mut self, service: &str) -> Result<bool, Broken> {
        let desired = self.desired;
        let Some(wanted) = desired.services.get(service) else { return Ok(true) };
        let mut is_open = false;
        for (on, condition) in &wanted.depends_on {
            match self.need(on, *condition) {
                Need::Met => {}
                Need::Open => is_open = true,
                Need::Never(because) => {
                    return Err(Broken::Needs { on: on.clone(), wanted: *condition, because });
                }
            }
        }
        Ok(!is_open)
    }

    fn need(&mut self, on: &str, wanted: Condition) -> Need {
        match self.done.get(on) {
            None if self.jobs.contains(on) => return Need::Open,
            Some(Err(Broken::Ended(view))) => return need(wanted, view, false, Duration::ZERO),
            Some(Err(_)) => return Need::Never(Because::Broken),
            _ => {}
        }
        match self.hands.look(on) {
            Ok(view) => {
                let lost = match view.state {
                    ServiceState::Lost => {
                        self.lost.entry(on.to_owned()).or_insert_with(Instant::now).elapsed()
                    }
                    _ => self.lost.remove(on).map_or(Duration::ZERO, |_| Duration::ZERO),
                };
                let has_check =
                    self.desired.services.get(on).is_some_and(|service| service.health.is_some());
                need(wanted, &view, has_check, lost)
            }
            Err(unable) => Need::Never(Because::Gone(unable.why)),
        }
    }

    fn end(&mut self, service: String, outcome: Outcome) {
        self.hands.tell(&service, Moment::Ends(&outcome));
        self.done.insert(service, outcome);
    }
}

/// Starts these, and tells what became of each.
pub fn all(
    desired: &Desired,
    jobs: &BTreeSet<String>,
    hands: &impl Hands,
) -> BTreeMap<String, Outcome> {
    let (done, lost) = (BTreeMap::new(), BTreeMap::new());
    let mut round = Round { desired, jobs, hands, done, lost };
    // What was read has no circle; of one nothing could ever be started.
    if let Err(circle) = order::waves(&desired.services) {
        let why = format!("{} wait for each other", circle.join(", "));
        let unable = || Err(Broken::Unable(Unable { code: Code::Failed, why: why.clone() }));
        return jobs.iter().map(|job| (job.clone(), unable())).collect();
    }
    let mut waiting = jobs.clone();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (mut busy, mut pause) = (0, LOOK_FIRST);
        while !waiting.is_empty() || busy > 0 {
            let is_wanted = waiting.is_empty() || hands.is_wanted();
            for service in waiting.clone() {
                let is_ready = match is_wanted {
                    true => round.needs(&service),
                    false => Err(Broken::Unwanted),
                };
                match is_ready {
                    Ok(true) if busy < AT_ONCE => {
                        waiting.remove(&service);
                        busy += 1;
                        hands.tell(&service, Moment::Begins);
                        let (tell, its) = (tell.clone(), service.clone());
                        let start = move || {
                            let outcome = outcome(hands.start(&its));
                            let _ = tell.send((its, outcome));
                        };
                        // Others wait for it, then, as they would have to for a thread.
                        if threads::start_within(scope, "start", start.clone()).is_err() {
                            start();
                        }
                    }
                    Ok(_) => {}
                    Err(broken) => {
                        waiting.remove(&service);
                        round.end(service, Err(broken));
                        pause = LOOK_FIRST;
                    }
                }
            }
            match told.recv_timeout(pause) {
                Ok((service, outcome)) => {
                    busy -= 1;
                    round.end(service, outcome);
                    pause = LOOK_FIRST;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    pause = (pause * 5 / 4).min(LOOK_LAST);
                }
            }
        }
    });
    round.done
}

fn outcome(started: Result<ServiceView, Unable>) -> Outcome {
    let view = started.map_err(Broken::Unable)?;
    match view.state {
        ServiceState::Failed | ServiceState::GaveUp => Err(Broken::Ended(Box::new(view))),
        _ => Ok(view),
    }
}

/// A service, and all that it depends on, directly or not.
pub fn with_needs(desired: &Desired, service: &str) -> BTreeSet<String> {
    let (mut all, mut next) = (BTreeSet::new(), vec![service]);
    while let Some(name) = next.pop() {
        if let Some((name, service)) = desired.services.get_key_value(name) {
            if all.insert(name.clone()) {
                next.extend(service.depends_on.keys().map(String::as_str));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests;
