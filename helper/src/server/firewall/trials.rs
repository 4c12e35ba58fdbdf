//! Changes that undo themselves unless somebody confirms them in time: whoever has cut himself off
//! cannot. The disk has such a change as one that a new start undoes, so that a daemon that was
//! killed, and a machine that was, undoes it too. Must not know: what a change does.

use crate::core::peer_cred::Caller;
use crate::proto::{Code, OpError};
use crate::server::firewall::change::Begun;
use std::time::{Duration, Instant};

/// Longest time for a confirmation, in seconds.
pub const LASTS_MAX: u64 = 60;

struct Trial {
    id: String,
    uid: u32,
    begun: Begun,
    until: Instant,
}

/// At most as many as there are rules.
#[derive(Default)]
pub struct Trials(Vec<Trial>);

impl Trials {
    /// From now on, for as long as was asked; nothing for a change that is for good.
    pub fn begin(&mut self, who: Caller, begun: &Begun) {
        let Some((id, lasts)) = begun.trial.clone() else { return };
        let until = Instant::now() + lasts;
        self.0.push(Trial { id, uid: who.uid, begun: begun.clone(), until });
    }

    /// The change of a confirmation.
    pub fn find(&self, who: Caller, id: &str) -> Result<Begun, OpError> {
        let found = self.0.iter().find(|trial| trial.id == id && trial.until > Instant::now());
        match found {
            Some(trial) if who.owns(trial.uid) => Ok(trial.begun.clone()),
            Some(_) => Err(OpError::new(Code::PermissionDenied, "that change is another user's")),
            None => Err(OpError::conflict("no change waits for that: confirmed, or undone")),
        }
    }

    pub fn end(&mut self, id: &str) {
        self.0.retain(|trial| trial.id != id);
    }

    /// One that nobody has confirmed in time.
    pub fn expired(&mut self) -> Option<Begun> {
        let at = self.0.iter().position(|trial| trial.until <= Instant::now())?;
        Some(self.0.remove(at).begun)
    }

    /// How long this rule stays open without a confirmation, if it needs one.
    pub fn left(&self, rule: &str) -> Option<Duration> {
        let trial = self.0.iter().find(|trial| trial.begun.id == rule)?;
        Some(trial.until.saturating_duration_since(Instant::now()))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32) -> Caller {
        Caller { uid, ..Caller::default() }
    }

    fn begun(id: &str, lasts: u64) -> Begun {
        let trial = Some((format!("of-{id}"), Duration::from_secs(lasts)));
        Begun { id: id.to_owned(), adds: true, trial }
    }

    #[test]
    fn a_trial_is_confirmed_in_time_by_its_user_and_then_no_more() {
        let mut trials = Trials::default();
        trials.begin(who(1000), &begun("a", 600));
        trials.begin(who(1000), &begun("late", 0));
        trials.begin(who(1000), &Begun { trial: None, ..begun("for good", 0) });
        let code = |found: Result<Begun, OpError>| found.map_err(|e| e.code).err();
        assert_eq!(code(trials.find(who(1001), "of-a")), Some(Code::PermissionDenied));
        assert_eq!(code(trials.find(who(1000), "of-b")), Some(Code::StateConflict));
        assert_eq!(code(trials.find(who(1000), "of-late")), Some(Code::StateConflict));
        assert_eq!(code(trials.find(who(0), "of-a")), None, "root is everybody");
        assert_eq!(trials.find(who(1000), "of-a").unwrap().id, "a");
        assert_eq!(trials.expired().map(|begun| begun.id).as_deref(), Some("late"));
        assert!(trials.expired().is_none() && trials.left("a").is_some());
        trials.end("of-a");
        assert_eq!(code(trials.find(who(1000), "of-a")), Some(Code::StateConflict));
        assert_eq!(trials.count(), 0);
    }
}
