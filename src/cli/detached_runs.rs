//! `hop run --detach`, and what is said of such runs later.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::command::Call;
use super::grid::Grid;
use super::page::Page;
use super::run_outcome::{client, failed, told};
use super::run_wanted::{self, wanted};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::local;
use crate::fix;
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::{RunDetach, RunList, RunStop};
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, ListRuns, RunNumber, RunState, RunView};
use crate::session::remote::screen::Whose;
use crate::session::remote::{self, Outcome};
use crate::session::through::Watch;
use crate::text::cell;

const LIMIT: Duration = Duration::from_secs(5);
/// For what is said beside something else.
const NOTICE_LIMIT: Duration = Duration::from_millis(500);

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let flags = ["detach", "list", "follow", "stop"];
    let given: Vec<&str> = flags.into_iter().filter(|flag| call.args.has(flag)).collect();
    if given.len() > 1 || (given != ["detach"] && !call.args.operands.is_empty()) {
        let why = "--detach takes a command; --list, --follow and --stop take none";
        return Err(Failure::usage("which of these?", why, "hop run --help"));
    }
    match given.first() {
        Some(&"detach") => detach(call),
        Some(&"follow") => follow(call),
        Some(&"stop") => stop(call),
        _ => list(call),
    }
}

fn detach(call: &mut Call) -> Result<Code, Failure> {
    let wanted = wanted(call)?;
    if wanted.terminal == Some(true) {
        let why = "what nobody waits for has no terminal";
        return Err(Failure::usage("with a terminal, or detached?", why, "hop run --help"));
    }
    let (name, client, _) = client(call)?;
    let run = run_wanted::on(&name, wanted)?.run;
    let started = client.call(RunDetach, &run, LIMIT).map_err(|error| failed(&name, error))?;
    let number = started.number;
    let text = format!("{number} goes on there: hop run --follow {number} shows what it says");
    call.out.answer("run.detach", json!({"host": name, "number": number}), text)?;
    Ok(Code::Done)
}

fn number(call: &Call, flag: &str) -> Result<RunNumber, Failure> {
    let given = call.args.value(flag).unwrap_or_default();
    let number = given.parse().ok().filter(|number| *number > 0);
    number.map(|number| RunNumber { number }).ok_or_else(|| {
        let why = format!("--{flag} takes a number that hop run --list shows, not {given:?}");
        Failure::usage("the command line is not valid", why, "hop run --list")
    })
}

fn follow(call: &mut Call) -> Result<Code, Failure> {
    let which = number(call, "follow")?;
    let (name, client, host) = client(call)?;
    let what = which.number.to_string();
    let here = |error: io::Error| failed(&name, CallError::Unreachable(error.to_string()));
    let paths = call.paths()?;
    let watch = Watch::begin(&paths, &host).map_err(here)?;
    let whose = Whose { paths, host: name.clone() };
    match remote::follow(&client, &watch, &whose, which.number) {
        Ok(Outcome::Down) => {
            let what = format!("{name} goes down; what runs there goes on");
            let why = "its session here was ended";
            Err(Failure::new(Fault::Unreachable, what, why, fix!("hop up {}", name)))
        }
        Ok(Outcome::Lost(why)) => {
            let what = format!("{name} was lost; what runs there goes on");
            Err(Failure::new(Fault::Unreachable, what, why, fix!("hop doctor {}", name)))
        }
        Ok(Outcome::Refused(error)) => Err(unknown(&name, error)),
        Ok(outcome) => told(call, &name, &what, outcome),
        Err(error) => Err(unknown(&name, error)),
    }
}

fn stop(call: &mut Call) -> Result<Code, Failure> {
    let which = number(call, "stop")?;
    let (name, client, _) = client(call)?;
    client.call(RunStop, &which, LIMIT).map_err(|error| unknown(&name, error))?;
    let text = format!("{} is ended", which.number);
    call.out.answer("run.stop", json!({"host": name, "number": which.number}), text)?;
    Ok(Code::Done)
}

fn unknown(name: &str, error: CallError) -> Failure {
    match error {
        CallError::Remote { code: Refusal::NotFound, message, .. } => {
            let what = format!("not on {name}");
            Failure::new(Fault::NotFound, what, message, fix!("hop run --list -H {}", name))
        }
        other => failed(name, other),
    }
}

fn list(call: &mut Call) -> Result<Code, Failure> {
    let (name, client, _) = client(call)?;
    let asked = client.call(RunList, &ListRuns { untold: false }, LIMIT);
    let runs = asked.map_err(|error| failed(&name, error))?.runs;
    let mut grid = Grid::new(["NUMBER", "STATE", "COMMAND", "SINCE"]);
    for run in &runs {
        let began = local(run.began_unix_ms / 1000);
        grid.row([run.number.to_string(), state(&run.state), cell(&run.command).into(), began]);
    }
    let page = match runs.is_empty() {
        true => Page::from(format!("{name} has run nothing that was not waited for")),
        false => grid.page(call.out.room()),
    };
    let all: Vec<_> = runs.iter().map(RunView::to_json).collect();
    call.out.answer("run.list", json!({"host": name, "runs": all}), page)?;
    Ok(Code::Done)
}

fn state(state: &RunState) -> String {
    match state {
        RunState::Running => "runs".to_owned(),
        RunState::Ended(Ended::Code(code)) => format!("ended with {code}"),
        RunState::Ended(Ended::Signal(signal)) => format!("ended by signal {signal}"),
        RunState::Ended(Ended::NotStarted(..)) => "was not started".to_owned(),
        RunState::Lost => "was lost".to_owned(),
    }
}

/// Says of each that has ended since it was said last how.
pub fn notice(call: &mut Call, client: &Client) {
    if call.args.has("quiet") {
        return;
    }
    // Beside another answer: who does not answer at once is not asked again.
    let Ok(runs) = client.call(RunList, &ListRuns { untold: true }, NOTICE_LIMIT) else { return };
    for run in runs.runs {
        let (number, state) = (run.number, state(&run.state));
        call.out.say(&format!("run {number} ({}) {state}", cell(&run.command)));
    }
}
