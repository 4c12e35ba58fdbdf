//! What follows the end of a run: another one, now or later, or none. Arithmetic alone.

use std::time::Duration;

use super::spec::{Backoff, Restart};
use super::state::Exit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After so long.
    Start(Duration),
    /// It has done what it was to do.
    Done,
    /// It failed, and is not to be tried again.
    Failed,
    /// It failed too often in a row.
    GiveUp,
}

/// `soon`: runs in a row that ended soon, which this one is added to.
pub fn after(
    exit: &Exit,
    ran: Duration,
    restart: Restart,
    limits: Backoff,
    soon: &mut u32,
) -> Next {
    match (restart, exit.is_success()) {
        (Restart::Never | Restart::OnFailure, true) => return Next::Done,
        (Restart::Never, false) => return Next::Failed,
        _ => {}
    }
    if matches!(exit, Exit::Lost(_)) {
        // Not by its own fault.
        return Next::Start(Duration::ZERO);
    }
    if ran >= Duration::from_millis(limits.settled_ms.into()) {
        *soon = 0;
    }
    *soon = soon.saturating_add(1);
    if *soon >= limits.tries {
        return Next::GiveUp;
    }
    let doubled = 1u64.checked_shl(*soon - 1).unwrap_or(u64::MAX);
    let wait = u64::from(limits.first_ms).saturating_mul(doubled).min(limits.most_ms.into());
    Next::Start(Duration::from_millis(wait))
}

#[cfg(test)]
mod tests {
    use super::super::state::Loss;
    use super::*;

    const FAST: Backoff = Backoff { first_ms: 100, most_ms: 1000, tries: 6, settled_ms: 5000 };
    const BRIEF: Duration = Duration::from_millis(10);

    #[test]
    fn waits_double_up_to_a_limit_and_end_in_giving_up() {
        let mut soon = 0;
        let mut waits = Vec::new();
        let last = loop {
            match after(&Exit::Code(1), BRIEF, Restart::Always, FAST, &mut soon) {
                Next::Start(wait) => waits.push(wait.as_millis()),
                other => break other,
            }
        };
        assert_eq!((waits, last), (vec![100, 200, 400, 800, 1000], Next::GiveUp));
        // Who ran for a while has a new row before it.
        let settled = Duration::from_millis(5000);
        let next = after(&Exit::Code(1), settled, Restart::Always, FAST, &mut soon);
        assert_eq!((next, soon), (Next::Start(Duration::from_millis(100)), 1));
        let mut soon = 70;
        let many = Backoff { tries: u32::MAX, ..FAST };
        let next = after(&Exit::Signal(9), BRIEF, Restart::OnFailure, many, &mut soon);
        assert_eq!(next, Next::Start(Duration::from_millis(1000)));
    }

    #[test]
    fn an_end_is_followed_by_what_was_asked_for() {
        let next = |exit, restart| after(&exit, BRIEF, restart, FAST, &mut 0);
        let again = Next::Start(Duration::from_millis(100));
        assert_eq!(next(Exit::Code(0), Restart::Never), Next::Done);
        assert_eq!(next(Exit::Code(0), Restart::OnFailure), Next::Done);
        assert_eq!(next(Exit::Code(0), Restart::Always), again);
        assert_eq!(next(Exit::Code(3), Restart::Never), Next::Failed);
        assert_eq!(next(Exit::Code(3), Restart::OnFailure), again);
        assert_eq!(next(Exit::Signal(15), Restart::OnFailure), again);
        assert_eq!(next(Exit::NotStarted("x".to_owned()), Restart::OnFailure), again);
        let lost = || Exit::Lost(Loss::Keeper);
        assert_eq!(next(lost(), Restart::OnFailure), Next::Start(Duration::ZERO));
        assert_eq!(next(lost(), Restart::Never), Next::Failed);
    }
}
