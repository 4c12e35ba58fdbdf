//! Services of workspaces, as they are asked for and told of.

use serde_json::{Value, json};

use super::details::{Details, list};
use super::health::Health;
use super::{Message, read_list, to_list};
use crate::base::json::{Fields, ReadError};
use crate::workspace::check;

/// More services than any server has.
const SERVICES: usize = 4096;
const REASONS: usize = 16;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName {
    pub workspace: String,
    pub service: String,
}

pub fn workspace(text: &str) -> Result<String, String> {
    check::name(text).map(|()| text.to_owned()).map_err(|refusal| refusal.why.to_string())
}

fn service(text: &str) -> Result<String, String> {
    check::service(text).map(|()| text.to_owned()).map_err(|refusal| refusal.why.to_string())
}

impl Message for ServiceName {
    fn to_json(&self) -> Value {
        json!({"workspace": self.workspace, "service": self.service})
    }

    fn read(fields: &mut Fields) -> Result<ServiceName, ReadError> {
        Ok(ServiceName {
            workspace: fields.meant("workspace", workspace)?,
            service: fields.meant("service", service)?,
        })
    }
}

/// Of one workspace, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfWorkspace {
    pub workspace: Option<String>,
}

impl Message for OfWorkspace {
    fn to_json(&self) -> Value {
        match &self.workspace {
            Some(workspace) => json!({"workspace": workspace}),
            None => json!({}),
        }
    }

    fn read(fields: &mut Fields) -> Result<OfWorkspace, ReadError> {
        Ok(OfWorkspace { workspace: fields.opt_meant("workspace", workspace)? })
    }
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// It was never started.
    New,
    Starting,
    Running,
    /// What it started is asked to end, or made to.
    Ending,
    /// For its next start.
    Waiting,
    Stopped,
    /// It ended by itself, as it should.
    Done,
    Failed,
    GaveUp,
    /// It is to run, and nobody keeps it at this moment.
    Lost,
    /// No workspace has it any more: the last that is told of it.
    Removed,
    /// One of a later agent's.
    Other,
}

const STATES: [(ServiceState, &str); 11] = [
    (ServiceState::New, "new"),
    (ServiceState::Starting, "starting"),
    (ServiceState::Running, "running"),
    (ServiceState::Ending, "ending"),
    (ServiceState::Waiting, "waiting"),
    (ServiceState::Stopped, "stopped"),
    (ServiceState::Done, "done"),
    (ServiceState::Failed, "failed"),
    (ServiceState::GaveUp, "gave_up"),
    (ServiceState::Lost, "lost"),
    (ServiceState::Removed, "removed"),
];

impl ServiceState {
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("other", |(_, word)| word)
    }

    pub fn of(word: &str) -> ServiceState {
        let found = STATES.iter().find(|(_, known)| *known == word);
        found.map_or(ServiceState::Other, |(state, _)| *state)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastExit {
    Code(u8),
    Signal(u8),
    NotStarted(String),
    /// Nobody was there to hear how; by what: `keeper`, `reboot`.
    Lost(String),
}

impl LastExit {
    pub fn to_json(&self) -> Value {
        match self {
            LastExit::Code(code) => json!({"code": code}),
            LastExit::Signal(signal) => json!({"signal": signal}),
            LastExit::NotStarted(why) => json!({"not_started": why}),
            LastExit::Lost(by) => json!({"lost": by}),
        }
    }

    pub fn read(mut fields: Fields) -> Result<LastExit, ReadError> {
        if let Some(why) = fields.opt_string("not_started")? {
            return Ok(LastExit::NotStarted(why));
        }
        if let Some(by) = fields.opt_string("lost")? {
            return Ok(LastExit::Lost(by));
        }
        if let Some(signal) = fields.opt_int("signal", 1..=u8::MAX)? {
            return Ok(LastExit::Signal(signal));
        }
        Ok(LastExit::Code(fields.int("code", 0..=u8::MAX)?))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    pub name: ServiceName,
    pub state: ServiceState,
    /// It is to run, also after a reboot.
    pub is_wanted: bool,
    pub pid: Option<u32>,
    /// In this state.
    pub since_ms: u64,
    /// Counts its runs.
    pub generation: u64,
    /// Runs that followed by themselves, since somebody started it.
    pub restarts: u32,
    pub last_exit: Option<LastExit>,
    pub last_exit_ms: u64,
    /// What was asked for and is not so, such as a limit.
    pub degraded: Vec<String>,
    /// Of one that has a check, while it runs; of one that ended because of it, too.
    pub health: Option<Health>,
    pub details: Details,
}

impl ServiceView {
    /// The same once it is no more.
    pub fn removed(self, now_ms: u64) -> ServiceView {
        ServiceView {
            state: ServiceState::Removed,
            is_wanted: false,
            pid: None,
            since_ms: now_ms,
            degraded: Vec::new(),
            health: None,
            details: Details::default(),
            ..self
        }
    }
}

impl Message for ServiceView {
    fn to_json(&self) -> Value {
        let mut all = json!({
            "workspace": self.name.workspace,
            "service": self.name.service,
            "state": self.state.word(),
            "wanted": self.is_wanted,
            "pid": self.pid,
            "since_ms": self.since_ms,
            "generation": self.generation,
            "restarts": self.restarts,
            "last_exit": self.last_exit.as_ref().map(LastExit::to_json),
            "last_exit_ms": self.last_exit_ms,
            "degraded": self.degraded,
            "health": self.health.as_ref().map(Health::to_json),
        });
        if let Some(all) = all.as_object_mut() {
            self.details.put(all);
        }
        all
    }

    fn read(fields: &mut Fields) -> Result<ServiceView, ReadError> {
        let last_exit = match fields.take("last_exit") {
            None | Some(Value::Null) => None,
            Some(exit) => Some(LastExit::read(Fields::of(exit, "last_exit")?)?),
        };
        let pid = match fields.take("pid") {
            None | Some(Value::Null) => None,
            Some(pid) => pid.as_u64().and_then(|pid| u32::try_from(pid).ok()),
        };
        Ok(ServiceView {
            name: ServiceName::read(fields)?,
            state: fields.meant("state", |word| Ok(ServiceState::of(word)))?,
            is_wanted: fields.bool("wanted")?,
            pid,
            since_ms: fields.int("since_ms", 0..=u64::MAX)?,
            generation: fields.int("generation", 0..=u64::MAX)?,
            restarts: fields.int("restarts", 0..=u32::MAX)?,
            last_exit,
            last_exit_ms: fields.int("last_exit_ms", 0..=u64::MAX)?,
            health: Health::read_in(fields)?,
            degraded: list(fields, "degraded", REASONS, |why| why.as_str().map(str::to_owned))?,
            details: Details::read(fields)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    pub services: Vec<ServiceView>,
}

impl Message for Services {
    fn to_json(&self) -> Value {
        json!({"services": to_list(&self.services)})
    }

    fn read(fields: &mut Fields) -> Result<Services, ReadError> {
        Ok(Services { services: read_list(fields, "services", SERVICES)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::HealthState;
    use super::*;

    /// Programs go by what it says of fields and states.
    const MANUAL: &str = include_str!("../../../man/hop.1");

    #[test]
    fn what_is_told_is_read_again() {
        let exits = [
            None,
            Some(LastExit::Code(7)),
            Some(LastExit::Signal(9)),
            Some(LastExit::NotStarted("why".to_owned())),
            Some(LastExit::Lost("keeper".to_owned())),
        ];
        let (unhealthy, why) = (HealthState::Unhealthy, Some("HTTP status 500".to_owned()));
        let health = Health { state: unhealthy, since_ms: 5, failures: 3, why, will_restart: true };
        let starting = Health { state: HealthState::Starting, why: None, ..health.clone() };
        let healths = [None, Some(health), Some(starting)].into_iter().cycle();
        for (last_exit, health) in exits.into_iter().zip(healths) {
            for (state, word) in STATES {
                assert!(MANUAL.contains(&format!("\n.Ql {word} ")), "{word}");
                let name = ServiceName { workspace: "app".to_owned(), service: "web".to_owned() };
                let view = ServiceView {
                    name,
                    state,
                    is_wanted: true,
                    pid: Some(7),
                    since_ms: 1,
                    generation: 2,
                    restarts: 3,
                    last_exit: last_exit.clone(),
                    last_exit_ms: 4,
                    degraded: vec!["cpu: no".to_owned()],
                    health: health.clone(),
                    details: Details {
                        cpu_ms: Some(5),
                        memory_bytes: None,
                        ports: vec![80, 443],
                        last_lines: vec!["a".to_owned()],
                    },
                };
                for word in view.to_json().as_object().unwrap().keys() {
                    assert!(MANUAL.contains(&format!("\n.Ql {word} ")), "{word}");
                }
                let services = Services { services: vec![view] };
                assert_eq!(Services::of(services.to_json()).unwrap(), services);
            }
        }
    }

    #[test]
    fn a_name_is_no_way_to_another_directory() {
        for bad in ["", "..", "a/b", ".", "-x", "A B", "a\u{0}"] {
            for (workspace, service) in [(bad, "web"), ("app", bad)] {
                let json = json!({"workspace": workspace, "service": service});
                assert!(ServiceName::of(json).is_err(), "{bad:?}");
            }
        }
    }
}
