//! `hop-agent`'s command line: what was typed → who does it → what is said of it. Knows what is in
//! `table`, and does nothing itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::say::{log, print, print_json, tell};
use super::table::{self, TABLE, Verb};
use super::work::kept_ports::{self, Asked as AskedPort};
use super::{commands, datagrams, front, install, keeper, location, setup, url, work};
use crate::base::command_line::{Args, Asked, parse};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::base::field::check_name;
use crate::base::key::{self, KEY_BYTES};
use crate::rpc::VERSION;
use crate::sys::process;

/// Runs one command line, with the name that the program is called by, and returns the exit code.
pub fn main(line: impl IntoIterator<Item = OsString>) -> u8 {
    let mut line = line.into_iter();
    if let Some(name) = line.next().and_then(called_as) {
        return work::bridge::shim::main(&name, line.collect());
    }
    let (args, asked) = parse(&TABLE, line);
    // Before a key is read: a core dump or a debugger of the same user would reveal it (R99). What
    // holds none and starts the login's programs leaves them the limits that a login has.
    let starts = |verb| matches!(verb, Verb::Work | Verb::Keep | Verb::Contain | Verb::Attend);
    let starts = matches!(&asked, Ok(Asked::Run(command)) if starts(command.run));
    let private = if starts { process::deny_debuggers() } else { process::keep_memory_private() };
    if let Err(error) = private {
        log(&format!("memory is not private: {error}"));
    }
    match asked {
        Ok(Asked::Nothing | Asked::Help(_) | Asked::NounHelp(_)) => print(&table::help()),
        Ok(Asked::Noun(noun)) => tell(&with_help(table::half(noun))),
        Ok(Asked::Unknown(words)) => tell(&with_help(table::unknown(&words))),
        Ok(Asked::Version) => print(&format!("hop-agent {VERSION}\n")),
        Ok(Asked::Run(command)) => run(command.run, &args),
        Err(failure) => tell(&with_help(failure)),
    }
}

/// The name of another program, whose part this one plays.
fn called_as(path: OsString) -> Option<String> {
    let name = Path::new(&path).file_name()?.to_str()?;
    work::bridge::shim::is_one(name).then(|| name.to_owned())
}

/// One page tells everything that can be typed.
fn with_help(failure: Failure) -> Failure {
    Failure { next: "/usr/libexec/hopbox/hop-agent --help".into(), ..failure }
}

fn run(verb: Verb, args: &Args) -> u8 {
    let config = &args.value("config").map_or_else(location::located, PathBuf::from);
    let answered = match verb {
        Verb::Help if table::is_known(&args.operands) => return print(&table::help()),
        Verb::Help => return tell(&with_help(table::unknown(&args.operands))),
        Verb::Version => return print(&format!("hop-agent {VERSION}\n")),
        Verb::Serve => return ended(front::serve::serve(config)),
        Verb::Work => return ended(work::serve::serve(&location::state_of(config))),
        Verb::Keep => {
            let dir = args.operands.first().map_or("", String::as_str);
            return ended(keeper::keep(Path::new(dir)));
        }
        Verb::Contain => {
            let dir = args.operands.first().map_or("", String::as_str);
            return work::container::contain::main(Path::new(dir), args.has("end"));
        }
        Verb::Datagrams => return ended(datagrams::carry(config)),
        Verb::Attend => return work::run::attend::main(),
        Verb::Dial => return work::sandbox::main(&args.operands),
        Verb::Guard => return work::guard::main(&args.operands),
        Verb::Clip => return work::bridge::verbs::clip_verb(),
        Verb::Paste => return work::bridge::verbs::paste_verb(args),
        Verb::Open => return work::bridge::verbs::open_verb(args),
        Verb::Notify => return work::bridge::verbs::notify_verb(args),
        Verb::Ask => return work::bridge::verbs::ask_verb(args),
        Verb::Url => {
            let port = args.operands.first().map_or("", String::as_str);
            return url::url(config, port).unwrap_or_else(|failure| tell(&failure));
        }
        Verb::Port => return port(args).unwrap_or_else(|failure| tell(&failure)),
        Verb::Cdp => return work::bridge::verbs::cdp_verb(),
        Verb::Status => return commands::status(config, args.has("json")),
        Verb::Install => install::install(),
        Verb::Setup => setup::setup(config),
        Verb::Start => {
            called(args).and_then(|called| commands::start(config, args.has("restart"), called))
        }
        Verb::Rollback => commands::rollback(),
        Verb::PeersList => commands::peers(config),
        Verb::PeersRemove => {
            commands::remove(config, args.operands.first().map_or("", String::as_str))
        }
        Verb::Rotate => commands::rotate(config),
        Verb::Uninstall => {
            laptop(args).and_then(|laptop| commands::uninstall(config, args.has("purge"), laptop))
        }
    };
    match answered {
        Ok(answer) => print_json(&answer),
        Err(failure) => {
            print_json(&json!({"error": failure.to_json()}));
            tell(&failure)
        }
    }
}

fn port(args: &Args) -> Result<u8, Failure> {
    let name = args.operands.first().map_or("", String::as_str);
    match (args.has("list"), args.has("release")) {
        (true, true) => Err(bad_value("--list and --release exclude each other".into())),
        (true, false) if name.is_empty() => kept_ports::main(&AskedPort::List),
        (true, false) => Err(bad_value("--list is of all, and takes no name".into())),
        (false, true) => kept_ports::main(&AskedPort::Release(name)),
        (false, false) => kept_ports::main(&AskedPort::Port(name)),
    }
}

/// Of what answers with no JSON.
fn ended(outcome: Result<(), Failure>) -> u8 {
    outcome.map_or_else(|failure| tell(&failure), |()| Code::Done as u8)
}

type PublicKey = [u8; KEY_BYTES];

fn laptop(args: &Args) -> Result<Option<PublicKey>, Failure> {
    let Some(text) = args.value("laptop") else { return Ok(None) };
    let key = key::decode(text).ok_or_else(|| bad_value("--laptop is no public key".into()))?;
    Ok(Some(*key))
}

/// A laptop, and its name for this server.
fn called(args: &Args) -> Result<Option<(PublicKey, String)>, Failure> {
    let name = args.value("name").map(str::to_owned);
    if let Some(name) = &name {
        check_name(name).map_err(|why| bad_value(format!("--name: {why}")))?;
    }
    Ok(laptop(args)?.zip(name))
}

fn bad_value(why: String) -> Failure {
    with_help(Failure::usage("the command line is not valid", why, ""))
}
