//! `hop run`: a command on a host, as if it ran here.

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::code::Code as Refusal;
use crate::rpc::types::run::Ended;
use crate::session::remote::{self, Outcome, Wanted};
use crate::session::through;

pub const COMMAND: Command = Command {
    name: "run",
    summary: "run a command on a host",
    usage: "hop run [-t | -T] [--dir DIR] -- <command> [argument]...",
    details: "Runs it with the environment of your login there, in its home directory. What it\n\
              says is written as it comes, standard output and standard error each to its own;\n\
              it reads what is typed or piped in here, gets the signals that are sent to hop, and\n\
              hop ends with its status: 128 and the signal's number where one ended it, 127 when\n\
              there is no such program, 126 when it cannot be run, 125 when hop could not have it\n\
              started, 255 when the connection was lost. It has a terminal where standard input\n\
              and output are one. When it ends, or hop does, or the host hears nothing of hop for\n\
              a minute, all that it has started there is ended.",
    example: "hop run -- uname -a\n\
              hop run -- sh -c 'cd src && make' > log\n\
              hop run -H mybox -t -- htop",
    group: Group::Daily,
    flags: &[
        Flag { short: Some('t'), long: "tty", value: None, help: "with a terminal in any case" },
        Flag { short: Some('T'), long: "no-tty", value: None, help: "without one in any case" },
        Flag {
            short: None,
            long: "dir",
            value: Some("THERE"),
            help: "where it begins, seen from the home directory there",
        },
    ],
    operands: (1, MANY),
    takes: Takes::Word,
    hidden: false,
    run,
};

/// As ssh(1) says that it was lost.
const LOST: u8 = 255;
const INTERRUPTED: u8 = 130;

fn run(call: &mut Call) -> Result<Code, Failure> {
    let wanted = wanted(call)?;
    let what = wanted.words.first().cloned().unwrap_or_default();
    let (name, outcome) = start(call, wanted).map_err(not_started)?;
    let (status, failure) = match outcome {
        Outcome::Ended(Ended::NotStarted(status, why)) => {
            let what = format!("{what:?} could not be started on {name}");
            let next = fix!("hop run -H {} -- env", name);
            (status, Some(Failure::new(Fault::NotStarted, what, why, next)))
        }
        Outcome::Ended(ended) => (ended.status(), None),
        Outcome::Refused(error) => return Err(not_started(failed(&name, error))),
        Outcome::Lost(why) => {
            let what = format!("{name} was lost, which ends {what:?} there");
            let next = fix!("hop doctor {}", name);
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

fn wanted(call: &Call) -> Result<Wanted, Failure> {
    if call.args.before_dashes != Some(0) {
        let mut words = call.args.operands.iter();
        let first = fix!("hop run -- {}", words.next().map_or("", String::as_str));
        let next = words.fold(first, |line, word| fix!("{} {}", line, word));
        let why = "the command stands behind --, which no flag of hop's can";
        return Err(Failure::usage("what is to be run?", why, next));
    }
    let terminal = match (call.args.has("tty"), call.args.has("no-tty")) {
        (true, true) => {
            let why = "-t and -T contradict each other";
            let next = "hop run --help";
            return Err(Failure::usage("with a terminal, or without?", why, next));
        }
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let dir = call.args.value("dir").map(str::to_owned);
    Ok(Wanted { words: call.args.operands.clone(), dir, terminal })
}

fn start(call: &mut Call, wanted: Wanted) -> Result<(String, Outcome), Failure> {
    let paths = call.paths()?;
    let name = target_host::host_beside(call, &paths)?;
    let host = store::load(&paths, &name)?;
    let Some(client) = through::with_token(&paths, &host) else {
        let next = fix!("hop up {}", name);
        return Err(Failure::new(Fault::No, "cannot run", format!("{name} is not up"), next));
    };
    match remote::run(&client, wanted) {
        Ok(outcome) => Ok((name, outcome)),
        Err(error) => Err(failed(&name, error)),
    }
}

/// Whatever is at fault, the command does not run: programs can tell that from its own status.
fn not_started(failure: Failure) -> Failure {
    Failure { fault: Fault::NotStarted, ..failure }
}

fn failed(name: &str, error: CallError) -> Failure {
    let next = match &error {
        CallError::Remote { code: Refusal::UnknownMethod, .. } => fix!("hop upgrade {}", name),
        _ => fix!("hop doctor {}", name),
    };
    let what = format!("{name} does not run it");
    let why = match error {
        CallError::Remote { message, .. } => message,
        other => other.to_string(),
    };
    Failure::new(Fault::NotStarted, what, why, next)
}
