//! One pass of a migration: what the source has that the target has not crosses this laptop; how
//! far it is, and what became of it on both sides.

use std::thread;
use std::time::{Duration, Instant};

use super::command::Call;
use super::migration_look::left_out;
use super::migration_sides::Move;
use super::service_names::{LIMIT, There};
use super::services_view::bytes;
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
const COUNT_WITHIN: Duration = Duration::from_secs(1);
/// For a side to say what became of a pass whose connection has ended, and to be there at all.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
const THERE_WITHIN: Duration = Duration::from_secs(15);

/// What the source says of it, once both say that it was whole.
pub fn pass(call: &mut Call, work: &mut Move, is_last: bool) -> Result<Pass, Failure> {
    let (of, expected) = (work.of(), work.expected);
    let (source, target) = work.sides()?;
    let ended = carried(call, source, target, &of, is_last, expected);
    if interrupt::is_due() {
        return Err(Failure::stopped(call.again("")));
    }
    let broken = ended?.err();
    let (theirs, ours) = (outcome(call, target, &of), outcome(call, source, &of));
    if interrupt::is_due() {
        return Err(Failure::stopped(call.again("")));
    }
    // Who noticed first knows why; of a cut the other only saw the end.
    let mut said = Vec::new();
    for (there, outcome) in [(target, &theirs), (source, &ours)] {
        said.extend(match outcome {
            Ok(Outcome { failure: Some(why), .. }) => Some(format!("{}: {why}", there.host)),
            Ok(_) => None,
            Err(failure) => Some(failure.to_string()),
        });
    }
    let why = match broken {
        Some(Broken::Cut) if said.is_empty() => {
            Some((Fault::Unreachable, "the connection was cut".to_owned()))
        }
        Some(Broken::Cut) => Some((Fault::Unreachable, said.remove(0))),
        Some(Broken::Stalled(time)) => {
            Some((Fault::Unreachable, format!("nothing moved for {}", took(time))))
        }
        None if said.is_empty() => None,
        None => Some((Fault::Remote, said.remove(0))),
    };
    let what = format!("not all of it got to {}", target.host);
    if let Some((fault, why)) = why {
        let failure = Failure::new(fault, what, why, fix!("hop to {}", target.host));
        return Err(Failure { also: said, ..failure });
    }
    let none = || Failure::new(Fault::Remote, what, "there was no pass", call.again(""));
    let pass = ours.ok().and_then(|ours| ours.pass).ok_or_else(none)?;
    for path in &pass.left_out {
        call.out.warn("not_moved", path);
    }
    match pass.left_out.first() {
        Some(first) if !work.it.agreed.leave_out => {
            let what = format!("{} cannot move to {}", work.it.workspace, work.it.to);
            let why = left_out(&work.it.workspace, first);
            Err(Failure::new(Fault::No, what, why, call.again("")))
        }
        _ => Ok(pass),
    }
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
    let (began, mut counted, mut crossed) = (Instant::now(), Instant::now(), 0);
    let mut far = Far { bytes_of: expected.0, files_of: expected.1, ..Far::default() };
    loop {
        match crossing.wait(LOOK_EVERY) {
            Ok(true) => return Ok(Ok(())),
            Ok(false) if interrupt::is_due() => return Ok(Ok(())),
            Ok(false) => {}
            Err(broken) => return Ok(Err(broken)),
        }
        if counted.elapsed() < COUNT_EVERY {
            continue;
        }
        let now = crossing.bytes();
        let speed = per_s(now.saturating_sub(crossed), counted.elapsed());
        (crossed, counted) = (now, Instant::now());
        // Nobody who does not answer is in the way of Ctrl-C, or of what crosses.
        let asked = source.client.call(MigrationOutcome, of, COUNT_WITHIN);
        if let Some(pass) = asked.ok().and_then(|outcome| outcome.pass) {
            (far.files, far.bytes) = (pass.files, pass.bytes);
        }
        far.left_s = left(far.bytes, expected.0, began.elapsed());
        call.out.detail(&format!("{}, {}/s", shown(&far), bytes(speed)));
    }
}

fn per_s(bytes: u64, time: Duration) -> u64 {
    let per_s = (u128::from(bytes) * 1000).checked_div(time.as_millis()).unwrap_or(0);
    u64::try_from(per_s).unwrap_or(u64::MAX)
}

/// Seconds, as fast as so far.
fn left(done: u64, all: u64, time: Duration) -> Option<u64> {
    let (done, left) = (u128::from(done), u128::from(all.saturating_sub(done)));
    let per_s = done.checked_mul(1000)?.checked_div(time.as_millis())?;
    left.checked_div(per_s).and_then(|left| u64::try_from(left).ok()).filter(|left| *left > 0)
}

fn outcome(call: &Call, there: &There, of: &OfMove) -> Result<Outcome, Failure> {
    let (end, there_by) = (Instant::now() + ENDS_WITHIN, Instant::now() + THERE_WITHIN);
    loop {
        // An agent that was killed is started again.
        let outcome = match there.client.call(MigrationOutcome, of, LIMIT) {
            Err(error) if error.is_passing() && Instant::now() < there_by => None,
            asked => Some(asked.map_err(|error| there.failed(error))?),
        };
        if let Some(outcome) = outcome.filter(|outcome| !outcome.is_going_on) {
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
        assert_eq!(per_s(300, Duration::from_millis(1500)), 200);
        assert_eq!((per_s(1, Duration::ZERO), per_s(u64::MAX, LOOK_EVERY)), (0, u64::MAX));
    }
}
