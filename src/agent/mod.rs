//! The server's side. Two processes of one program: `front` faces the network in a sandbox, `work`
//! has the login's rights and is asked by `front` alone.
//!
//! Reading order: this file (command line) → `location` (where files are), `read_checked` (how
//! they are read), `config` (what they say), `names`, `store` (changes) → `front` → `joint` (where
//! both meet) → `work` → `exec`, `install`, `allocate`, `reserve`, `moved`, `setup`, `uninstall`,
//! `commands` (what root and the user run by hand or over SSH).

mod allocate;
mod commands;
pub mod config;
mod exec;
pub mod front;
mod install;
pub mod joint;
mod location;
mod moved;
mod names;
mod read_checked;
mod reserve;
mod setup;
pub mod store;
mod uninstall;
pub mod work;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser};
use serde_json::{Value, json};

use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::field::check_name;
use crate::base::key::{self, KEY_BYTES};
use crate::base::locale;
use crate::rpc::VERSION;
use crate::sys::process;
use crate::text::{json as json_text, shown};

const HELP: &str = "\
hop-agent is the VPS's end of a hopbox tunnel.

usage: hop-agent <command>

  serve [--config FILE]    run in the foreground
                           (FILE: /var/lib/hopbox-agent/agent.json)
  work [--config FILE]     the same for its part with the login's rights
  status [--json]          what the running agent does; exit 3 if none runs
  install                  as root: put this program in its place
  setup                    as root: keys, configuration and unit; request on
                           standard input
  start [--restart] [--laptop KEY --name NAME]
                           as root: enable and start the unit, wait until it
                           serves; the laptop with that public key calls this
                           server NAME.hop
  rollback                 as root: the program before the last install, and
                           restart
  peers list               the laptops
  peers remove <NAME|KEY>  lock a laptop out
  rotate                   new keys for a laptop; request on standard input
  uninstall [--purge] [--laptop KEY]
                           as root: stop and remove it; --purge: its keys and
                           state, too; --laptop: where there are others, only
                           the entry of that public key
  version                  show the version

All but serve, work, version and status without --json answer with one JSON
object on standard output.
";

/// No laptop is called so, or has that key.
pub fn no_laptop(which: &str, names: &[&str]) -> Failure {
    let why = match names {
        [] => "there is none".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    Failure::new(Fault::NoPeer, format!("no laptop {which:?}"), why, "hop host peers")
}

/// The system's refusal, which says nothing of what was asked for.
fn io(act: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure { fault: Fault::Failed, ..Failure::io(act, path, error) }
}

/// Runs one command line (without the program's name) and returns the exit code.
pub fn main(line: impl IntoIterator<Item = OsString>) -> u8 {
    // Before a key is read: a core dump or a debugger of the same user would reveal it (R99).
    if let Err(error) = process::keep_memory_private() {
        log(&format!("memory is not private: {error}"));
    }
    let asked = match parse(line) {
        Ok(asked) => asked,
        Err(failure) => return tell(&failure),
    };
    let answered = match &asked.verb[..] {
        "help" => return print(HELP),
        "version" => return print(&format!("hop-agent {VERSION}\n")),
        "serve" => {
            return match front::serve::serve(&asked.config) {
                Ok(()) => Code::Done as u8,
                Err(failure) => tell(&failure),
            };
        }
        "work" => {
            return match work::serve::serve(&location::state_of(&asked.config)) {
                Ok(()) => Code::Done as u8,
                Err(failure) => tell(&failure),
            };
        }
        "status" => return commands::status(&asked.config, asked.json),
        "install" => install::install(),
        "setup" => setup::setup(&asked.config),
        "start" => commands::start(&asked.config, asked.restart, asked.laptop.zip(asked.name)),
        "rollback" => commands::rollback(),
        "peers list" => commands::peers(&asked.config),
        "peers remove" => commands::remove(&asked.config, &asked.operand),
        "rotate" => commands::rotate(&asked.config),
        _ => commands::uninstall(&asked.config, asked.purge, asked.laptop),
    };
    match answered {
        Ok(answer) => print_json(&answer),
        Err(failure) => {
            print_json(&json!({"error": failure.to_json()}));
            tell(&failure)
        }
    }
}

struct Asked {
    verb: String,
    config: PathBuf,
    operand: String,
    json: bool,
    restart: bool,
    purge: bool,
    laptop: Option<[u8; KEY_BYTES]>,
    name: Option<String>,
}

const VERBS: [&str; 13] = [
    "help",
    "version",
    "serve",
    "work",
    "status",
    "install",
    "setup",
    "start",
    "rollback",
    "peers list",
    "peers remove",
    "rotate",
    "uninstall",
];

fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let bad = |why: String| {
        Failure::new(Fault::Usage, "the command line is not valid", why, "hop-agent --help")
    };
    let mut parser = Parser::from_args(line);
    let mut words: Vec<String> = Vec::new();
    let (config, operand) = (location::located(), String::new());
    let verb = "help".to_owned();
    let (json, restart, purge, laptop, name) = (false, false, false, None, None);
    let mut asked = Asked { verb, config, operand, json, restart, purge, laptop, name };
    let mut flags: Vec<(&str, &[&str])> = Vec::new();
    while let Some(arg) = parser.next().map_err(|error| bad(error.to_string()))? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Asked { verb: "help".into(), ..asked });
            }
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Asked { verb: "version".into(), ..asked });
            }
            Arg::Long("config") => {
                asked.config = parser.value().map_err(|error| bad(error.to_string()))?.into();
                // Where files are found is settled for what runs as root over SSH.
                flags.push((
                    "--config",
                    &["serve", "work", "status", "setup", "peers list", "peers remove", "rotate"],
                ));
            }
            Arg::Long("json") => {
                asked.json = true;
                flags.push(("--json", &["status"]));
            }
            Arg::Long("restart") => {
                asked.restart = true;
                flags.push(("--restart", &["start"]));
            }
            Arg::Long("purge") => {
                asked.purge = true;
                flags.push(("--purge", &["uninstall"]));
            }
            Arg::Long("laptop") => {
                let value = parser.value().map_err(|error| bad(error.to_string()))?;
                let key = value.to_str().and_then(key::decode);
                asked.laptop = Some(*key.ok_or_else(|| bad("--laptop is no public key".into()))?);
                flags.push(("--laptop", &["uninstall", "start"]));
            }
            Arg::Long("name") => {
                let value = parser.value().map_err(|error| bad(error.to_string()))?;
                let name = value.to_string_lossy().into_owned();
                check_name(&name).map_err(|why| bad(format!("--name: {why}")))?;
                asked.name = Some(name);
                flags.push(("--name", &["start"]));
            }
            Arg::Value(word) if words.len() < 3 => words.push(word.to_string_lossy().into_owned()),
            other => return Err(bad(other.unexpected().to_string())),
        }
    }
    if let (true, Some((flag, _))) = (words.is_empty(), flags.first()) {
        return Err(bad(format!("no command for {flag}")));
    }
    let mut words = words.into_iter();
    asked.verb = words.next().unwrap_or_else(|| "help".to_owned());
    if asked.verb == "peers" {
        asked.verb += &format!(" {}", words.next().unwrap_or_default());
    }
    if !VERBS.contains(&asked.verb.as_str()) {
        return Err(bad(format!("no command {:?}", asked.verb)));
    }
    if asked.verb == "peers remove" {
        asked.operand = words.next().ok_or_else(|| bad("which laptop?".to_owned()))?;
    }
    // `help` may say of what; there is one page for all.
    if asked.verb == "help" {
        let of = [words.next(), words.next()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let start = format!("{of} ");
        let mut verbs = VERBS.iter();
        let known = of.is_empty() || verbs.any(|verb| *verb == of || verb.starts_with(&start));
        return if known { Ok(asked) } else { Err(bad(format!("no command {of:?}"))) };
    }
    if let Some(more) = words.next() {
        return Err(bad(format!("unexpected argument {more:?}")));
    }
    match flags.iter().find(|(_, verbs)| !verbs.contains(&asked.verb.as_str())) {
        Some((flag, _)) => Err(bad(format!("{} has no {flag}", asked.verb))),
        None => Ok(asked),
    }
}

/// Lines of ours; what others said in them went through `text`.
fn print(text: &str) -> u8 {
    // A reader that closed its end has seen what it wanted.
    let _ = std::io::stdout().write_all(locale::text(text).as_bytes());
    Code::Done as u8
}

fn print_json(answer: &Value) -> u8 {
    print(&format!("{}\n", locale::json(&json_text(answer))))
}

fn tell(failure: &Failure) -> u8 {
    let Failure { what, why, next, .. } = failure;
    log(&format!("error: {what}"));
    log(&format!("  {why}"));
    log(&format!("fix: {next}"));
    failure.code() as u8
}

/// One line for whoever keeps the log; systemd adds the time.
fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", locale::text(&shown(text)));
}
