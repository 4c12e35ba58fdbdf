//! `hop to --rollback`: a migration is taken back, from wherever it is. The target ends before the
//! source begins; what was written on the target since does not come back.

use serde_json::json;

use super::command::Call;
use super::migration_sides::Move;
use super::migration_view;
use super::snap_shown::{Shown, follow};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::migration::{self, Back, Migration, State, Step};
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::method::{MigrationReturn, MigrationStop};
use crate::rpc::types::migration::{Placed, Side, Started};
use crate::sys::interrupt;

pub fn run(call: &mut Call, paths: &Paths, mut it: Migration) -> Result<Code, Failure> {
    agree(call, &it)?;
    it.give_up();
    let mut work = Move::new(paths, it);
    migration::save(paths, &work.it)?;
    while let State::Back(_, back) = work.it.state {
        if interrupt::is_due() {
            return Err(Failure::stopped(call.again("")));
        }
        step(call, &mut work, back)?;
        work.done()?;
    }
    let it = &work.it;
    let text = format!("{} is on {} as before", it.workspace, it.from);
    call.out.answer("to.rollback", json!({"move": migration_view::to_json(it)}), text)?;
    Ok(Code::Done)
}

/// Once; one that was begun goes on by itself. That both may run is agreed to each time.
fn agree(call: &mut Call, it: &Migration) -> Result<(), Failure> {
    let Migration { workspace, from, to, .. } = it;
    if call.args.has("force") {
        let text = format!(
            "{workspace} starts on {from} also if {to} cannot be asked to stop it: then it may \
             run on both, and each writes what the other does not know."
        );
        return call.consent_by_name(&text, to);
    }
    let has_started = match it.state {
        State::At(step) => step >= Step::Start,
        State::Moved => true,
        State::Back(..) | State::Undone => return Ok(()),
    };
    if !has_started {
        let question = format!("Take the move of {workspace} to {to} back?");
        return call.consent(&question, fix!("hop to {}", to));
    }
    let text = format!(
        "What {workspace} has written on {to} since it started there does not come back to \
         {from}: it stays aside on {to}."
    );
    call.consent_by_name(&text, to)
}

fn step(call: &mut Call, work: &mut Move, back: Back) -> Result<(), Failure> {
    match back {
        Back::Default => default(call, work),
        Back::StopTarget => stop(call, work),
        Back::Return => {
            call.out.begin(&format!("starting services on {}", work.it.from));
            let of = work.of();
            let started: Started =
                follow(call, work.source()?, MigrationReturn, &of, Shown::part())?;
            call.out.done(&format!("{} run", started.services.len()));
            Ok(())
        }
        Back::Forget => {
            work.forget(call, Side::Target);
            work.forget(call, Side::Source);
            Ok(())
        }
    }
}

/// Unless somebody has chosen another one since.
fn default(call: &mut Call, work: &Move) -> Result<(), Failure> {
    let is_ours = store::default_host(work.paths)?.as_ref() == Some(&work.it.to);
    if work.it.takes_default() && is_ours {
        store::set_default_host(work.paths, work.it.default.as_deref())?;
        let name = work.it.default.as_deref().unwrap_or("none");
        call.out.say(&format!("the default host is {name}"));
    }
    Ok(())
}

fn stop(call: &mut Call, work: &mut Move) -> Result<(), Failure> {
    call.out.begin(&format!("stopping services on {}", work.it.to));
    let (of, to) = (work.of(), work.it.to.clone());
    let there = work.target();
    let stopped: Result<Placed, Failure> =
        there.and_then(|there| follow(call, there, MigrationStop, &of, Shown::part()));
    match stopped {
        Ok(placed) => {
            call.out.done("");
            if let Some(id) = placed.aside {
                call.out.say(&format!("what was there stays on {to} as {id}"));
            }
            Ok(())
        }
        Err(failure) if call.args.has("force") && is_away(&failure) => {
            let text = format!("{to} was not asked to stop: {failure}");
            call.out.warn("target_not_stopped", &text);
            Ok(())
        }
        Err(failure) if is_away(&failure) => {
            let next = fix!("hop to {} --rollback --force", to);
            Err(Failure { next, ..failure })
        }
        Err(failure) => Err(failure),
    }
}

fn is_away(failure: &Failure) -> bool {
    matches!(
        failure.fault,
        Fault::Unreachable | Fault::NoHandshake | Fault::AgentSilent | Fault::Timeout
    )
}
