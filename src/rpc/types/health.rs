//! What a service's check tells of it, beside what becomes of its process.

use serde_json::{Value, json};

use crate::base::json::{Fields, ReadError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Not once well yet, and there is time left for it.
    Starting,
    Healthy,
    Unhealthy,
    /// One of a later agent's.
    Other,
}

const STATES: [(HealthState, &str); 3] = [
    (HealthState::Starting, "starting"),
    (HealthState::Healthy, "healthy"),
    (HealthState::Unhealthy, "unhealthy"),
];

impl HealthState {
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("other", |(_, word)| word)
    }

    pub fn of(word: &str) -> HealthState {
        let found = STATES.iter().find(|(_, known)| *known == word);
        found.map_or(HealthState::Other, |(state, _)| *state)
    }
}

/// Of the run that is now, or of the one that was ended for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub state: HealthState,
    /// In this state.
    pub since_ms: u64,
    /// Looks in a row that found it not well.
    pub failures: u32,
    /// What the last of them found.
    pub why: Option<String>,
    /// One that is unhealthy is ended and started again, as its policy says.
    pub will_restart: bool,
}

impl Health {
    pub fn to_json(&self) -> Value {
        json!({
            "state": self.state.word(),
            "since_ms": self.since_ms,
            "failures": self.failures,
            "why": self.why,
            "will_restart": self.will_restart,
        })
    }

    fn read(mut fields: Fields) -> Result<Health, ReadError> {
        let why = match fields.take("why") {
            Some(Value::String(why)) => Some(why),
            _ => None,
        };
        Ok(Health {
            state: fields.meant("state", |word| Ok(HealthState::of(word)))?,
            since_ms: fields.int("since_ms", 0..=u64::MAX)?,
            failures: fields.int("failures", 0..=u32::MAX)?,
            why,
            will_restart: fields.bool("will_restart")?,
        })
    }

    /// None where an earlier agent tells none, and of a service without a check.
    pub fn read_in(fields: &mut Fields) -> Result<Option<Health>, ReadError> {
        match fields.take("health") {
            None | Some(Value::Null) => Ok(None),
            Some(health) => Health::read(Fields::of(health, "health")?).map(Some),
        }
    }
}
