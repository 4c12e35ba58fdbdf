//! Changes that wait for somebody's yes. What is done then is what was shown: a plan is taken by
//! its digest alone, once, by the user who made it, soon, and only while no other change was made.
//! The digest is drawn, and names the change that is kept here, so that there is nothing to forge
//! (C20). Must not know: what a change does.

use crate::core::peer_cred::Caller;
use crate::proto::OpError;
use crate::server::firewall::change::Change;
use crate::server::rows;
use std::time::{Duration, Instant};

/// How long a yes may take.
pub const LASTS: Duration = Duration::from_secs(60);
/// Most plans of a user, whose oldest then goes, and of all users.
const PLANS_PER_UID: usize = 4;
const PLANS_MAX: usize = 64;

struct Plan {
    digest: String,
    uid: u32,
    change: Change,
    generation: u64,
    made: Instant,
}

#[derive(Default)]
pub struct Plans(Vec<Plan>);

impl Plans {
    /// Returns the digest.
    pub fn add(&mut self, who: Caller, change: Change, generation: u64) -> Result<String, OpError> {
        self.forget();
        let own = self.0.iter().filter(|plan| plan.uid == who.uid).count();
        if own >= PLANS_PER_UID || self.0.len() >= PLANS_MAX {
            let oldest = self.0.iter().position(|plan| own == 0 || plan.uid == who.uid);
            oldest.map(|at| self.0.remove(at));
        }
        let digest = rows::draw()? + &rows::draw()?;
        let (uid, made) = (who.uid, Instant::now());
        self.0.push(Plan { digest: digest.clone(), uid, change, generation, made });
        Ok(digest)
    }

    /// The change, and of which generation it was made.
    pub fn take(&mut self, who: Caller, digest: &str) -> Result<(Change, u64), OpError> {
        self.forget();
        let at = self.0.iter().position(|plan| plan.uid == who.uid && plan.digest == digest);
        let plan = at.map(|at| self.0.remove(at));
        let why = "there is no such plan: it was used, or is older than 60 s; plan again";
        plan.map(|plan| (plan.change, plan.generation)).ok_or_else(|| OpError::conflict(why))
    }

    fn forget(&mut self) {
        self.0.retain(|plan| plan.made.elapsed() <= LASTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32) -> Caller {
        Caller { uid, ..Caller::default() }
    }

    #[test]
    fn a_plan_is_taken_once_by_its_user_and_in_time() {
        let (mut plans, change) = (Plans::default(), Change::Remove("rule-1".into()));
        let digest = plans.add(who(1000), change.clone(), 7).unwrap();
        assert!(plans.take(who(1001), &digest).is_err(), "another user's");
        assert!(plans.take(who(0), &digest).is_err(), "whoever it is");
        assert_eq!(plans.take(who(1000), &digest).unwrap(), (change.clone(), 7));
        assert!(plans.take(who(1000), &digest).is_err(), "again");
        let digest = plans.add(who(1000), change, 7).unwrap();
        if let Some(early) = Instant::now().checked_sub(LASTS + Duration::from_secs(1)) {
            plans.0[0].made = early;
            assert!(plans.take(who(1000), &digest).is_err(), "too late");
        }
    }

    #[test]
    fn there_are_few_and_nobody_ends_anothers() {
        let mut plans = Plans::default();
        let first = plans.add(who(1), Change::Remove("rule-1".into()), 0).unwrap();
        for uid in [2; 100] {
            plans.add(who(uid), Change::Remove("rule-1".into()), 0).unwrap();
        }
        assert_eq!(plans.0.len(), 1 + PLANS_PER_UID);
        assert!(plans.take(who(1), &first).is_ok());
        (0..200).for_each(|uid| {
            plans.add(who(uid), Change::Remove("rule-1".into()), 0).unwrap();
        });
        assert_eq!(plans.0.len(), PLANS_MAX);
    }
}
