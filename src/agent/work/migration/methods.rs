//! What is asked of moves: name → function.

use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::{pass, pause, room, survey, target};
use crate::agent::work::apply;
use crate::agent::work::held::{self, Hold};
use crate::agent::work::methods::{Refused, refused};
use crate::agent::work::services::{Done, failed, unable};
use crate::agent::work::snap::listener::{Listener, OnStream};
use crate::agent::work::snap::told;
use crate::base::json::Fields;
use crate::rpc::code::Code;
use crate::rpc::method::{
    Method, MigrationDigest, MigrationForget, MigrationLeave, MigrationOutcome, MigrationPause,
    MigrationPlace, MigrationPrepare, MigrationReturn, MigrationStanding, MigrationStart,
    MigrationStop, MigrationSurvey, Stream,
};
use crate::rpc::types::Message;
use crate::rpc::types::migration::{
    AskDigest, AskSurvey, Leave, OfMove, Outcome, Place, Prepare, Start,
};

/// `None`: it is no method of these.
pub fn call(
    method: &str,
    caller: &str,
    params: Fields,
    stream: &UnixStream,
) -> Option<Result<Value, Refused>> {
    let done = match method {
        MigrationSurvey::NAME => {
            while_told(params, stream, |asked: AskSurvey, _| Ok(survey::survey(&asked)))
        }
        MigrationStanding::NAME => once(params, |of: OfMove| Ok(survey::standing(&of.workspace))),
        MigrationOutcome::NAME => once(params, |of: OfMove| outcome(&of)),
        MigrationLeave::NAME => once(params, |asked: Leave| pause::leave(&asked).map(nothing)),
        MigrationForget::NAME => {
            while_told(params, stream, |of: OfMove, _| target::forget(&of).map(nothing))
        }
        MigrationPrepare::NAME => once(params, |asked: Prepare| {
            let hold = |workspace: &str| coming(workspace, &asked.id);
            apply::prepare(caller, asked.digest, stream, &hold).map(nothing)
        }),
        MigrationPause::NAME => {
            once(params, |of: OfMove| pause::pause(&of, stream, &OnStream::of(stream)).map(nothing))
        }
        MigrationDigest::NAME => {
            while_told(params, stream, |asked: AskDigest, to| target::digest(&asked, to))
        }
        MigrationPlace::NAME => {
            while_told(params, stream, |asked: Place, to| target::put_in_place(&asked, to))
        }
        MigrationStart::NAME => {
            while_told(params, stream, |asked: Start, to| target::start(&asked, to))
        }
        MigrationStop::NAME => while_told(params, stream, |of: OfMove, to| target::stop(&of, to)),
        MigrationReturn::NAME => {
            while_told(params, stream, |of: OfMove, to| pause::come_back(&of, to))
        }
        _ => return None,
    };
    Some(done)
}

fn nothing((): ()) -> crate::rpc::types::Nothing {
    crate::rpc::types::Nothing
}

fn once<P: Message, T: Message>(
    params: Fields,
    act: impl FnOnce(P) -> Done<T>,
) -> Result<Value, Refused> {
    let asked = P::read_strictly(params).map_err(refused(Code::BadParams))?;
    Ok(act(asked)?.to_json())
}

fn while_told<P: Message, T: Message>(
    params: Fields,
    stream: &UnixStream,
    act: impl FnOnce(P, &dyn Listener) -> Done<T>,
) -> Result<Value, Refused> {
    let asked = P::read_strictly(params).map_err(refused(Code::BadParams))?;
    told(stream, |to| act(asked, to))
}

fn outcome(of: &OfMove) -> Done<Outcome> {
    let is_going_on = room::is_going_on(&of.workspace);
    let (outcome, _) = room::MoveRoom::of(of)?.outcome();
    Ok(match is_going_on {
        true => Outcome { is_going_on, pass: pass::so_far(of), failure: None },
        false => outcome,
    })
}

/// From now on nothing of the workspace starts here but by the move.
fn coming(workspace: &str, id: &str) -> Done<()> {
    let before = match held::hold(workspace)? {
        Some(Hold::Coming { id: other, .. }) if other != id => {
            let why = "it is on its way here by another move, which has to be ended first";
            return Err(unable(Code::Moved, why));
        }
        Some(Hold::Coming { before, .. }) => before,
        Some(Hold::Left(left)) => Some(left),
        None => None,
    };
    let hold = Hold::Coming { id: id.to_owned(), before };
    hold.put(workspace).map_err(failed("cannot write"))
}
