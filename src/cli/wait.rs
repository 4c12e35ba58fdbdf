//! `hop wait`: until services work, or will not. What one that is asked for does is looked at, and
//! nothing is begun or ended: whoever is interrupted has only stopped looking.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::service_names::{LIMIT, There, full};
use super::services_view::{exit, state};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::method::ServicesList;
use crate::rpc::types::Message;
use crate::rpc::types::health::HealthState;
use crate::rpc::types::services::{OfWorkspace, ServiceName, ServiceState, ServiceView};
use crate::sys::interrupt;
use crate::workspace::check;
use crate::workspace::manifest::Desired;

pub const TIMEOUT: Flag = Flag {
    short: None,
    long: "timeout",
    value: Some("TIME"),
    help: "wait no longer than this, such as 90s; exits 7 then",
};

/// Of `hop up`.
pub const WAIT: Flag = Flag {
    short: None,
    long: "wait",
    value: None,
    help: "return once the services of the workspace work, as hop wait does",
};

pub const COMMAND: Command = Command {
    name: "wait",
    summary: "wait until services work",
    usage: "hop wait service:[workspace.]name... [--timeout time]",
    details: "A service with a check works once it is healthy, one without once it runs and goes on\n\
              for half a second, and one that ends with status 0 when it has. One that crashes is\n\
              waited for as long as it is started again. Exits 1 when it gave up, failed, is\n\
              stopped or stays unhealthy. Ctrl-C ends the wait alone.",
    example: "hop wait service:web --timeout 90s",
    group: Group::Project,
    flags: &[TIMEOUT],
    operands: (1, MANY),
    takes: Takes::Waited,
    hidden: false,
    run,
};

/// Without a check, who runs so long has started.
const RUNS_FOR: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK_FIRST: Duration = Duration::from_millis(25);
const LOOK_LAST: Duration = Duration::from_millis(500);
/// An agent that is being replaced, or a network that is away, is waited for.
const AGENT_GONE_FOR: Duration = Duration::from_secs(60);

fn run(call: &mut Call) -> Result<Code, Failure> {
    let limit = limit(call)?;
    let host = call.args.value("host");
    let words = call.args.operands.iter().map(|word| service(word, host));
    let words = words.collect::<Result<Vec<String>, Failure>>()?;
    let mut there = There::of(call)?;
    let all = there.all()?;
    let chosen = there.chosen(&all, &words)?;
    let names = chosen.iter().filter_map(|at| all.get(*at)).map(|view| view.name.clone());
    let views = until(call, &mut there, &names.collect::<Vec<_>>(), limit)?;
    let data = json!({"host": there.host, "services": data(&views)});
    call.out.answer("wait", data, "")?;
    Ok(Code::Done)
}

/// All of a workspace.
pub fn names(desired: &Desired) -> Vec<ServiceName> {
    let name = |service: &String| ServiceName {
        workspace: desired.workspace.clone(),
        service: service.clone(),
    };
    desired.services.keys().map(name).collect()
}

pub fn data(views: &[ServiceView]) -> Value {
    views.iter().map(Message::to_json).collect()
}

/// How long somebody wants to wait, if that is bounded.
pub fn limit(call: &Call) -> Result<Option<Duration>, Failure> {
    let Some(given) = call.args.value("timeout") else { return Ok(None) };
    check::duration(given).map(Some).map_err(|refusal| {
        Failure::usage("cannot wait so long", refusal.why.to_string(), fix!("hop wait --help"))
    })
}

fn service(word: &str, host: Option<&str>) -> Result<String, Failure> {
    match word.strip_prefix("service:") {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => {
            let why = "what is waited for is written as service:web";
            let meant = || fix!("hop wait service:{}", word);
            let next = match host {
                _ if word.is_empty() || word.contains(':') => fix!("hop wait --help"),
                Some(host) => fix!("{} {}", meant(), fix!("-H {}", host)),
                None => meant(),
            };
            Err(Failure::usage(format!("wait for {word:?}?"), why, next))
        }
    }
}

/// What can be said of one that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Works,
    /// It does once it has run on for a moment.
    Runs,
    Open,
    /// It will not by itself: why.
    Never(String),
}

fn verdict(view: &ServiceView) -> Verdict {
    let ended = || view.last_exit.as_ref().map_or_else(|| "it never ran".to_owned(), exit);
    let unhealthy = |then: String| match &view.health {
        Some(health) if health.state == HealthState::Unhealthy => {
            format!("it was unhealthy ({}); {then}", health.why.as_deref().unwrap_or("no reason"))
        }
        _ => then,
    };
    match view.state {
        ServiceState::Done => Verdict::Works,
        ServiceState::Running => match &view.health {
            None => Verdict::Runs,
            Some(health) => match health.state {
                HealthState::Healthy => Verdict::Works,
                HealthState::Unhealthy if !health.will_restart => {
                    Verdict::Never(health.why.clone().unwrap_or_else(|| "no reason".to_owned()))
                }
                _ => Verdict::Open,
            },
        },
        ServiceState::GaveUp | ServiceState::Failed => Verdict::Never(unhealthy(ended())),
        ServiceState::New => Verdict::Never("nobody has started it".to_owned()),
        ServiceState::Stopped => Verdict::Never("somebody stopped it".to_owned()),
        _ => Verdict::Open,
    }
}

/// One, and since when it runs as it does now.
struct Waited {
    name: ServiceName,
    runs: Option<(u64, Instant)>,
    view: Option<ServiceView>,
    is_done: bool,
}

/// Until all of these work. The first that will not is the failure.
pub fn until(
    call: &mut Call,
    there: &mut There,
    names: &[ServiceName],
    limit: Option<Duration>,
) -> Result<Vec<ServiceView>, Failure> {
    let mut all: Vec<Waited> = names
        .iter()
        .map(|name| Waited { name: name.clone(), runs: None, view: None, is_done: false })
        .collect();
    let (began, mut gone_since, mut pause) = (Instant::now(), None, LOOK_FIRST);
    let title: Vec<&str> = names.iter().map(|name| name.service.as_str()).collect();
    call.out.wait(&format!("waiting for {}", title.join(", ")));
    loop {
        match there.client.call(ServicesList, &OfWorkspace { workspace: None }, LIMIT) {
            Ok(answer) => {
                gone_since = None;
                for waited in &mut all {
                    waited.look(there, &answer.services)?;
                }
            }
            Err(error) => {
                let since = *gone_since.get_or_insert_with(Instant::now);
                if !error.is_passing() || since.elapsed() >= AGENT_GONE_FOR {
                    return Err(there.failed(error));
                }
                // Through the session of now, or not at all.
                *there = There::at(&call.paths()?, there.host.clone())?;
            }
        }
        if all.iter().all(|waited| waited.is_done) {
            call.out.done("");
            return Ok(all.into_iter().filter_map(|waited| waited.view).collect());
        }
        if interrupt::is_due() {
            return Err(Failure::stopped(call.again("")));
        }
        if limit.is_some_and(|limit| began.elapsed() >= limit) {
            return Err(late(there, &all, limit.unwrap_or_default()));
        }
        let open: Vec<String> =
            all.iter().filter(|waited| !waited.is_done).map(Waited::shown).collect();
        call.out.detail(&open.join("; "));
        thread::sleep(pause);
        pause = (pause * 5 / 4).min(LOOK_LAST);
    }
}

impl Waited {
    fn look(&mut self, there: &There, all: &[ServiceView]) -> Result<(), Failure> {
        let Some(view) = all.iter().find(|view| view.name == self.name) else {
            let what = format!("{} is not there any more", full(&self.name));
            let why = "its workspace has changed";
            return Err(Failure::new(Fault::NotFound, what, why, there.list()));
        };
        self.view = Some(view.clone());
        self.is_done = match verdict(view) {
            Verdict::Works => true,
            Verdict::Runs => self.has_run_on(view.generation, Instant::now()),
            Verdict::Open => false,
            Verdict::Never(why) => return Err(never(there, view, why)),
        };
        Ok(())
    }

    fn has_run_on(&mut self, generation: u64, now: Instant) -> bool {
        let since = match self.runs {
            Some((known, since)) if known == generation => since,
            _ => now,
        };
        self.runs = Some((generation, since));
        now.saturating_duration_since(since) >= RUNS_FOR
    }

    /// Its name, and where it is.
    fn shown(&self) -> String {
        let known = self.view.as_ref();
        let health = known.and_then(|view| Some(view.health.as_ref()?.state.word()));
        let word = known.map_or_else(|| "unknown".to_owned(), |view| state(view).1);
        match health.filter(|health| *health != word) {
            Some(health) => format!("{}: {word}, {health}", self.name.service),
            None => format!("{}: {word}", self.name.service),
        }
    }
}

fn never(there: &There, view: &ServiceView, why: String) -> Failure {
    let name = full(&view.name);
    let next = match view.state {
        ServiceState::New | ServiceState::Stopped => {
            fix!("hop services start {} -H {}", name, there.host)
        }
        _ => fix!("hop logs {} -H {}", name, there.host),
    };
    Failure::new(Fault::Failed, format!("{name} does not work: {}", state(view).1), why, next)
}

fn late(there: &There, all: &[Waited], limit: Duration) -> Failure {
    let open: Vec<String> =
        all.iter().filter(|waited| !waited.is_done).map(Waited::shown).collect();
    let what = format!("not within {} s", limit.as_secs_f32());
    let first = all.iter().find(|waited| !waited.is_done);
    let name = first.map(|waited| full(&waited.name)).unwrap_or_default();
    let next = fix!("hop logs {} -H {}", name, there.host);
    Failure::new(Fault::Timeout, what, open.join("; "), next)
}

#[cfg(test)]
mod tests {
    use super::super::service_names::told;
    use super::*;
    use crate::rpc::types::health::Health;
    use crate::rpc::types::services::LastExit;

    #[test]
    fn what_is_waited_for_works_may_work_or_never_will() {
        let view = |state, health: Option<(HealthState, bool)>| {
            let health = health.map(|(state, will_restart)| Health {
                state,
                since_ms: 0,
                failures: 0,
                why: Some("HTTP status 500".to_owned()),
                will_restart,
            });
            let last_exit = Some(LastExit::Code(3));
            ServiceView { health, last_exit, ..told("app", "web", state) }
        };
        let (healthy, unhealthy) = (HealthState::Healthy, HealthState::Unhealthy);
        for (state, health, expected) in [
            (ServiceState::Done, None, Verdict::Works),
            (ServiceState::Running, None, Verdict::Runs),
            (ServiceState::Running, Some((healthy, true)), Verdict::Works),
            (ServiceState::Running, Some((HealthState::Starting, true)), Verdict::Open),
            (ServiceState::Running, Some((unhealthy, true)), Verdict::Open),
            (ServiceState::Waiting, Some((unhealthy, true)), Verdict::Open),
            (ServiceState::Waiting, None, Verdict::Open),
            (ServiceState::Starting, None, Verdict::Open),
            (ServiceState::Lost, None, Verdict::Open),
        ] {
            assert_eq!(verdict(&view(state, health)), expected, "{state:?} {health:?}");
        }
        for (state, health, why) in [
            (ServiceState::Running, Some((unhealthy, false)), "HTTP status 500"),
            (ServiceState::Failed, None, "it ended with 3"),
            (
                ServiceState::GaveUp,
                Some((unhealthy, true)),
                "it was unhealthy (HTTP status 500); it ended with 3",
            ),
            (ServiceState::Stopped, None, "somebody stopped it"),
            (ServiceState::New, None, "nobody has started it"),
        ] {
            let expected = Verdict::Never(why.to_owned());
            assert_eq!(verdict(&view(state, health)), expected, "{state:?} {health:?}");
        }
    }

    #[test]
    fn one_without_a_check_has_to_run_on() {
        let name = told("app", "web", ServiceState::Running).name;
        let mut waited = Waited { name, runs: None, view: None, is_done: false };
        let now = Instant::now();
        assert!(!waited.has_run_on(1, now));
        assert!(!waited.has_run_on(1, now + RUNS_FOR / 2));
        assert!(!waited.has_run_on(2, now + RUNS_FOR), "it is another run");
        assert!(waited.has_run_on(2, now + RUNS_FOR * 2));
    }

    #[test]
    fn what_is_waited_for_has_its_kind_before_it() {
        assert_eq!(service("service:app.web", None).unwrap(), "app.web");
        let next = |word, host| service(word, host).unwrap_err().next.to_string();
        assert_eq!(next("db", Some("mybox")), "hop wait service:db -H mybox");
        assert_eq!(next("port:80", None), "hop wait --help");
        for bad in ["web", "service:", "port:80", ""] {
            assert_eq!(service(bad, None).unwrap_err().fault, Fault::Usage, "{bad}");
        }
    }
}
