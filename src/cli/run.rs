//! `hop run`: a command on a host, as if it ran here.

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::{detached_runs, target_host};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::store;
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code as Refusal;
use crate::rpc::types::run::Ended;
use crate::session::remote::{self, Outcome, Wanted};
use crate::session::through;

pub const COMMAND: Command = Command {
    name: "run",
    summary: "run a command on a host",
    usage: "hop run [-t | -T | --detach] [--dir DIR] -- <command> [argument]...\n\
            hop run --list | --follow NUMBER | --stop NUMBER",
    details: "Runs it with the environment of your login there, in its home directory. What it\n\
              says is written as it comes, standard output and standard error each to its own;\n\
              it reads what is typed or piped in here, gets the signals that are sent to hop, and\n\
              hop ends with its status: 128 and the signal's number where one ended it, 127 when\n\
              there is no such program, 126 when it cannot be run, 125 when hop could not have it\n\
              started, 255 when the connection was lost. It has a terminal where standard input\n\
              and output are one. When it ends, or hop does, or the host hears nothing of hop for\n\
              a minute, all that it has started there is ended. With --detach it goes on without\n\
              hop: the answer is its number, and hop status says once how it ended.",
    example: "hop run -- uname -a\n\
              hop run -- sh -c 'cd src && make' > log\n\
              hop run -H mybox -t -- htop\n\
              hop run --detach -- make && hop run --list",
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
        Flag { short: Some('d'), long: "detach", value: None, help: "and do not wait for its end" },
        Flag { short: None, long: "list", value: None, help: "those that were not waited for" },
        Flag {
            short: None,
            long: "follow",
            value: Some("NUMBER"),
            help: "what one of these said and says, until it ends",
        },
        Flag { short: None, long: "stop", value: Some("NUMBER"), help: "end one of these" },
    ],
    operands: (0, MANY),
    takes: Takes::Word,
    hidden: false,
    run,
};

/// What has to do with runs that are not waited for.
const LATER: [&str; 4] = ["detach", "list", "follow", "stop"];
/// As ssh(1) says that it was lost.
const LOST: u8 = 255;
const INTERRUPTED: u8 = 130;

fn run(call: &mut Call) -> Result<Code, Failure> {
    if LATER.iter().any(|flag| call.args.has(flag)) {
        return detached_runs::run(call);
    }
    let wanted = wanted(call)?;
    let what = wanted.words.first().cloned().unwrap_or_default();
    let (name, client) = client(call).map_err(not_started)?;
    let outcome = remote::run(&client, wanted);
    let outcome = outcome.map_err(|error| not_started(failed(&name, error)))?;
    told(call, &name, &what, outcome)
}

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
        Outcome::GivenUp => (INTERRUPTED, None),
    };
    if let Some(failure) = failure {
        call.out.fail(&failure);
    }
    call.status = Some(status);
    Ok(Code::Done)
}

pub fn wanted(call: &Call) -> Result<Wanted, Failure> {
    if call.args.operands.is_empty() {
        let why = "no command was given";
        return Err(Failure::usage("what is to be run?", why, "hop run --help"));
    }
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

/// The agent of the host that is meant, through its tunnel.
pub fn client(call: &mut Call) -> Result<(String, Client), Failure> {
    let paths = call.paths()?;
    let name = target_host::host_beside(call, &paths)?;
    let host = store::load(&paths, &name)?;
    match through::with_token(&paths, &host) {
        Some(client) => Ok((name, client)),
        None => {
            let next = fix!("hop up {}", name);
            Err(Failure::new(Fault::No, "cannot run", format!("{name} is not up"), next))
        }
    }
}

/// Whatever is at fault, the command does not run: programs can tell that from its own status.
fn not_started(failure: Failure) -> Failure {
    Failure { fault: Fault::NotStarted, ..failure }
}

pub fn failed(name: &str, error: CallError) -> Failure {
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
