//! What `hop run` and what is said later of its runs have in common: the agent that is asked, and
//! how hop ends by what became of it.

use super::command::Call;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::store;
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code as Refusal;
use crate::rpc::types::run::Ended;
use crate::session::remote::Outcome;
use crate::session::through;

/// As ssh(1) says that it was lost.
const LOST: u8 = 255;
const INTERRUPTED: u8 = 130;

/// How hop ends by what became of it.
pub fn told(call: &mut Call, name: &str, what: &str, outcome: Outcome) -> Result<Code, Failure> {
    let (status, failure) = match outcome {
        Outcome::Ended(Ended::NotStarted(status, why)) => {
            let what = format!("{what:?} could not be started on {name}");
            let next = fix!("hop run -H {} -- env", name);
            (status, Some(Failure::new(Fault::NotStarted, what, why, next)))
        }
        Outcome::Ended(ended) => (ended.status(), None),
        Outcome::Refused(error) => return Err(not_started(failed(name, error))),
        Outcome::Lost(why) => {
            let what = format!("{name} was lost, which ends {what:?} there");
            let next = fix!("hop doctor {}", name);
            (LOST, Some(Failure::new(Fault::Unreachable, what, why, next)))
        }
        Outcome::Down => {
            let what = format!("{name} goes down, which ends {what:?} there");
            let (why, next) = ("its session here was ended", fix!("hop up {}", name));
            (LOST, Some(Failure::new(Fault::Unreachable, what, why, next)))
        }
        Outcome::GivenUp => (INTERRUPTED, None),
    };
    if let Some(failure) = failure {
        call.out.fail(&failure);
    }
    call.status = Some(status);
    Ok(Code::Done)
}

/// The agent of the host that is meant, through its tunnel.
pub fn client(call: &mut Call) -> Result<(String, Client, HostConfig), Failure> {
    let paths = call.paths()?;
    let name = target_host::host_beside(call, &paths)?;
    let host = store::load(&paths, &name)?;
    match through::with_token(&paths, &host) {
        Some(client) => Ok((name, client, host)),
        None => {
            let next = fix!("hop up {}", name);
            Err(Failure::new(Fault::No, "cannot run", format!("{name} is not up"), next))
        }
    }
}

/// Whatever is at fault, the command does not run: programs can tell that from its own status.
pub fn not_started(failure: Failure) -> Failure {
    Failure { fault: Fault::NotStarted, ..failure }
}

pub fn failed(name: &str, error: CallError) -> Failure {
    let next = match &error {
        CallError::Remote { code: Refusal::UnknownMethod, .. } => fix!("hop upgrade {}", name),
        // The workspace here is not what was carried out there.
        CallError::Remote { code: Refusal::PlanChanged | Refusal::NotFound, .. } => {
            fix!("hop up {}", name)
        }
        CallError::Remote { code: Refusal::BadParams, .. } => "hop run --help".into(),
        _ => fix!("hop doctor {}", name),
    };
    let what = format!("{name} does not run it");
    let why = match error {
        CallError::Remote { message, .. } => message,
        other => other.to_string(),
    };
    Failure::new(Fault::NotStarted, what, why, next)
}
