//! A change of the rules: the one check of it, whether it is planned or made, and what becomes of
//! the rows when it begins, succeeds and fails. Pure. Must not know: the disk, the kernel.

use crate::core::peer_cred::Caller;
use crate::proto::{Code, OpError};
use crate::server::firewall::rule::Spec;
use crate::server::firewall::store::{Row, State, Status};
use crate::server::firewall::table::Rule;
use crate::server::rows::room;
use serde_json::{Value, json};
use std::time::Duration;

/// Most rules, of a user and of all of them.
pub const RULES_PER_UID: usize = 32;
pub const RULES_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Add(Spec),
    Remove(String),
}

impl Change {
    /// Whether this caller may make it now.
    pub fn check(&self, state: &State, who: Caller) -> Result<(), OpError> {
        match self {
            Change::Add(spec) => {
                let own = || state.rows.iter().filter(|row| row.uid == who.uid);
                if let Some(row) = own().find(|row| row.spec.is_same(spec)) {
                    return Err(OpError::conflict(format!("{} is this rule", row.id)));
                }
                room(own().count(), state.rows.len(), (RULES_PER_UID, RULES_MAX), "rules")
            }
            Change::Remove(id) => match state.rows.iter().find(|row| row.id == *id) {
                None => Err(OpError::conflict(format!("there is no rule {id}"))),
                Some(row) if !who.owns(row.uid) => {
                    Err(OpError::new(Code::PermissionDenied, format!("{id} is another user's")))
                }
                // Else what a start makes of it could be neither the one nor the other.
                Some(row) if matches!(row.status, Status::Pending | Status::Withheld) => {
                    let why = format!("a change of {id} waits for its confirmation, or its end");
                    Err(OpError { retry: true, ..OpError::conflict(why) })
                }
                Some(_) => Ok(()),
            },
        }
    }

    /// For whoever has to say yes to it.
    pub fn to_json(&self, state: &State) -> Value {
        match self {
            Change::Add(spec) => json!({"add": spec.to_json()}),
            Change::Remove(id) => {
                let row = state.rows.iter().find(|row| row.id == *id);
                json!({"remove": row.map(|row| row.spec.to_json()), "rule_id": id})
            }
        }
    }
}

/// A change on its way: the rule, whether it is to be there, and by which name and for how long
/// that waits for a confirmation, if it shall.
#[derive(Clone, Debug)]
pub struct Begun {
    pub id: String,
    pub adds: bool,
    pub trial: Option<(String, Duration)>,
}

impl Begun {
    /// The rows say from now on what may be in the kernel.
    pub fn of(
        change: Change,
        state: &mut State,
        who: Caller,
        id: String,
        trial: Option<(String, Duration)>,
    ) -> Begun {
        match change {
            Change::Add(spec) => {
                let (uid, status) = (who.uid, Status::Pending);
                state.rows.push(Row { id: id.clone(), spec, uid, status, applied_at: 0 });
                Begun { id, adds: true, trial }
            }
            Change::Remove(id) => {
                let status = if trial.is_some() { Status::Withheld } else { Status::Removing };
                set(state, &id, status);
                Begun { id, adds: false, trial }
            }
        }
    }

    /// The kernel has it: the row says so, or is gone; on trial it stays what a start undoes.
    pub fn succeed(&self, state: &mut State, now: u64) {
        state.generation += 1;
        let row = state.rows.iter_mut().find(|row| row.id == self.id && self.adds);
        row.into_iter().for_each(|row| row.applied_at = now);
        if self.trial.is_none() {
            self.keep(state);
        }
    }

    /// It is for good.
    pub fn keep(&self, state: &mut State) {
        match self.adds {
            true => set(state, &self.id, Status::Applied),
            false => state.rows.retain(|row| row.id != self.id),
        }
    }

    /// All is as it was before.
    pub fn fail(&self, state: &mut State) {
        match self.adds {
            true => state.rows.retain(|row| row.id != self.id),
            false => set(state, &self.id, Status::Applied),
        }
    }

    /// For the audit log; `state` has, or had, its rule.
    pub fn text(&self, state: &State) -> String {
        let row = state.rows.iter().find(|row| row.id == self.id);
        let what = row.map(|row| text(&row.spec)).unwrap_or_default();
        format!("{} {what} ({})", if self.adds { "open" } else { "close" }, self.id)
    }
}

fn set(state: &mut State, id: &str, status: Status) {
    state.rows.iter_mut().filter(|row| row.id == id).for_each(|row| row.status = status);
}

/// What the kernel shall have.
pub fn rules(state: &State) -> Vec<Rule> {
    made(state).map(|row| (row.id.clone(), row.spec.clone())).collect()
}

/// The rows of that, in the same order.
pub fn made(state: &State) -> impl Iterator<Item = &Row> {
    state.rows.iter().filter(|row| !matches!(row.status, Status::Removing | Status::Withheld))
}

/// What a start makes of the rows of the run before: nobody was told of a rule that is pending, or
/// has confirmed it, or that one was closed; and somebody has asked for the end of one that was
/// being removed. Returns how many changes that ends.
pub fn settle(state: &mut State) -> usize {
    let unsettled = state.rows.iter().filter(|row| row.status != Status::Applied).count();
    state.rows.retain(|row| matches!(row.status, Status::Applied | Status::Withheld));
    state.rows.iter_mut().for_each(|row| row.status = Status::Applied);
    unsettled
}

fn text(spec: &Spec) -> String {
    let (first, last) = spec.ports;
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let source = spec.source.map_or("any".to_owned(), |net| net.text());
    format!("{}/{ports} from {source} for {}", spec.protocol.name(), spec.app)
}
