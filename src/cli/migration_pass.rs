//! One pass of a migration: what the source has that the target has not crosses this laptop; how
//! far it is, and what became of it on both sides.

use std::thread;
use std::time::{Duration, Instant};

use super::command::Call;
use super::migration_sides::Move;
use super::service_names::{LIMIT, There};
use super::snap_shown::shown;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::fix;
use crate::rpc::method::MigrationOutcome;
use crate::rpc::types::migration::{AskPass, OfMove, Outcome, Pass};
use crate::rpc::types::snap::Far;
use crate::session::migration::{Broken, cross};
use crate::sys::interrupt;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// For a side to say what became of a pass whose connection has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What the source says of it, once both say that it was whole.
pub fn pass(call: &mut Call, work: &mut Move, is_last: bool) -> Result<Pass, Failure> {
    let (of, expected) = (work.of(), work.expected);
    let (source, target) = work.sides()?;
    let ended = carried(call, source, target, &of, is_last, expected);
    if interrupt::is_due() {
        return Err(Failure::stopped(call.again("")));
    }
    let broken = ended?.err();
    let (theirs, ours) = (outcome(call, target, &of)?, outcome(call, source, &of)?);
    let what = format!("not all of it got to {}", target.host);
    // Who noticed first knows why; of a cut the other only saw the end.
    for (there, outcome) in [(target, &theirs), (source, &ours)] {
        if let (Some(why), None) = (&outcome.failure, broken) {
            let why = format!("{}: {why}", there.host);
            return Err(Failure::new(Fault::Remote, what, why, fix!("hop to {}", target.host)));
        }
    }
    if let Some(broken) = broken {
        let why = match broken {
            Broken::Cut => "the connection was cut".to_owned(),
            Broken::Stalled(time) => format!("nothing moved for {}", took(time)),
        };
        let said = [theirs.failure, ours.failure].into_iter().flatten().collect();
        let failure = Failure::new(Fault::Unreachable, what, why, fix!("hop to {}", target.host));
        return Err(Failure { also: said, ..failure });
    }
    let none = || Failure::new(Fault::Remote, what, "there was no pass", call.again(""));
    let pass = ours.pass.ok_or_else(none)?;
    for path in &pass.left_out {
        call.out.warn("not_moved", path);
    }
    Ok(pass)
}

/// Until its end, of either kind.
fn carried(
    call: &mut Call,
    source: &There,
    target: &There,
    of: &OfMove,
    is_last: bool,
    expected: (u64, u64),
) -> Result<Result<(), Broken>, Failure> {
    let asked = AskPass { of: of.clone(), is_last };
    let crossing = cross(&source.client, &target.client, &asked);
    let mut crossing = crossing.map_err(|error| target.failed(error))?;
    let (began, mut counted) = (Instant::now(), Instant::now());
    let mut far = Far { bytes_of: expected.0, files_of: expected.1, ..Far::default() };
    loop {
        match crossing.wait(LOOK_EVERY) {
            Ok(true) => return Ok(Ok(())),
            Ok(false) if interrupt::is_due() => return Ok(Ok(())),
            Ok(false) => {}
            Err(broken) => return Ok(Err(broken)),
        }
        far.bytes = crossing.bytes();
        far.left_s = left(far.bytes, expected.0, began.elapsed());
        if counted.elapsed() >= COUNT_EVERY {
            let asked = source.client.call(MigrationOutcome, of, LIMIT);
            let pass = asked.ok().and_then(|outcome| outcome.pass).unwrap_or_default();
            far.files = pass.files;
            counted = Instant::now();
        }
        call.out.detail(&shown(&far));
    }
}

/// Seconds, as fast as so far.
fn left(done: u64, all: u64, time: Duration) -> Option<u64> {
    let (done, left) = (u128::from(done), u128::from(all.saturating_sub(done)));
    let per_s = done.checked_mul(1000)?.checked_div(time.as_millis())?;
    left.checked_div(per_s).and_then(|left| u64::try_from(left).ok()).filter(|left| *left > 0)
}

fn outcome(call: &Call, there: &There, of: &OfMove) -> Result<Outcome, Failure> {
    let end = Instant::now() + ENDS_WITHIN;
    loop {
        let asked = there.client.call(MigrationOutcome, of, LIMIT);
        let outcome = asked.map_err(|error| there.failed(error))?;
        if !outcome.is_going_on {
            return Ok(outcome);
        }
        if interrupt::is_due() {
            return Err(Failure::stopped(call.again("")));
        }
        if Instant::now() >= end {
            let why = format!("it is not at its end after {}", took(ENDS_WITHIN));
            let what = format!("{} does not say what became of it", there.host);
            return Err(Failure::new(Fault::Timeout, what, why, fix!("hop doctor {}", there.host)));
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_as_fast_as_what_went() {
        let after = |done, all| left(done, all, Duration::from_secs(10));
        assert_eq!(after(100, 400), Some(30));
        for (done, all) in [(0, 400), (400, 400), (500, 400), (1, 0), (3, u64::MAX)] {
            let _ = after(done, all);
        }
        assert_eq!((after(0, 400), after(500, 400)), (None, None));
        assert_eq!(left(9, 90, Duration::ZERO), None);
    }
}
