//! The commands of `hop`: one table, from which help (and later man page and completions) come.
//!
//! Reading order: this table → `args` (command line → table entry) → `fail` (exit codes) → `out`
//! (what is printed), `page` (its lines) → one file per command. A command parses nothing and owns
//! no protocol.

pub mod args;
pub mod ask;
mod autostart;
mod bugreport;
mod choose;
mod code;
mod completions;
mod doctor;
mod down;
pub mod fail;
mod help;
mod host;
pub mod out;
pub mod page;
mod peers;
mod ping;
pub mod progress;
mod remote;
mod rotate;
#[cfg_attr(target_os = "macos", path = "selftest_macos.rs")]
pub mod selftest;
mod setup;
mod several;
mod show;
mod status;
mod trial;
mod uninstall;
mod up;
mod upgrade;
mod version;
mod wg;

use std::ffi::OsString;
use std::path::Path;

use args::{Args, Asked};
use fail::{Code, Failure};
use out::{Out, Volume};

use crate::host::paths::Paths;
use crate::session::daemon;

/// The name under which `hop` is `hop wg`: wg-quick(8) takes only one word in
/// `WG_QUICK_USERSPACE_IMPLEMENTATION`.
const WG_NAME: &str = "hop-wg";

/// A flag, its value's name in capitals if it takes one, and what it does. Values named `HOST`,
/// `FILE` and `DIR` are completed as what they are.
pub struct Flag {
    pub short: Option<char>,
    pub long: &'static str,
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// One command.
pub struct Command {
    /// One word or two, such as `up` or `host ls`.
    pub name: &'static str,
    pub summary: &'static str,
    pub usage: &'static str,
    /// What the summary leaves out, in lines of at most 80 characters.
    pub details: &'static str,
    pub flags: &'static [Flag],
    /// Least and most operands.
    pub operands: (usize, usize),
    /// What the operands are, for completion.
    pub takes: Takes,
    /// Not in any list.
    pub hidden: bool,
    run: fn(&mut Call) -> Result<Code, Failure>,
}

/// A first word that needs a second, such as `host`. Its verbs are the commands that begin with it.
pub struct Noun {
    pub name: &'static str,
    pub summary: &'static str,
}

/// What the operands of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It has none.
    Nothing,
    /// A host that is set up; several where `operands` allows them.
    Host,
    /// A name of a command.
    Command,
    /// A file or directory on this machine.
    Path,
    /// Something else: nothing to complete.
    Word,
}

/// As many operands as the command line holds.
pub const MANY: usize = usize::MAX;

/// What a command is given.
pub struct Call {
    /// The command's name, as the user would type it.
    name: &'static str,
    args: Args,
    pub out: Out,
}

impl Call {
    pub fn new(name: &'static str, args: Args) -> Call {
        Call { name, out: out_for(&args), args }
    }

    fn paths(&self) -> Result<Paths, Failure> {
        Ok(Paths::from_env()?)
    }
}

pub const GLOBAL_FLAGS: &[Flag] = &[
    Flag {
        short: Some('H'),
        long: "host",
        value: Some("HOST"),
        help: "the host to act on (else $HOPBOX_HOST, hopbox.yaml, the default, the only one)",
    },
    Flag { short: None, long: "json", value: None, help: "answer with one JSON object" },
    Flag { short: None, long: "no-color", value: None, help: "no colour ($NO_COLOR works too)" },
    Flag { short: None, long: "no-input", value: None, help: "never ask; exit 13 instead" },
    Flag { short: Some('y'), long: "yes", value: None, help: "answer ordinary questions with yes" },
    Flag { short: Some('q'), long: "quiet", value: None, help: "only the answer and errors" },
    Flag { short: Some('v'), long: "verbose", value: None, help: "say more" },
    Flag { short: Some('h'), long: "help", value: None, help: "show help" },
    Flag { short: Some('V'), long: "version", value: None, help: "show the version" },
];

/// Every command, in the order of the help. Each stands in the file that runs it.
pub const COMMANDS: &[Command] = &[
    setup::COMMAND,
    up::COMMAND,
    down::COMMAND,
    status::COMMAND,
    ping::COMMAND,
    doctor::COMMAND,
    bugreport::COMMAND,
    code::COMMAND,
    autostart::ON,
    autostart::OFF,
    autostart::STATUS,
    host::LS,
    host::ADD,
    host::DEFAULT,
    host::RM,
    peers::LIST,
    peers::REVOKE,
    rotate::COMMAND,
    upgrade::COMMAND,
    uninstall::COMMAND,
    selftest::COMMAND,
    wg::COMMAND,
    completions::COMMAND,
    version::COMMAND,
    help::COMMAND,
    #[cfg(target_os = "linux")]
    selftest::COMMAND_INSIDE,
    completions::COMMAND_COMPLETE,
];

/// First words of the commands that have two.
pub const NOUNS: &[Noun] = &[
    Noun { name: "autostart", summary: "whether a host is brought up at login" },
    Noun { name: "host", summary: "the hosts that are set up" },
];

/// Runs one command line, the program's name first, and returns the exit code.
pub fn main(line: Vec<OsString>) -> u8 {
    let mut words = line.into_iter();
    let program = words.next().unwrap_or_default();
    let mut words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|word| word == daemon::SESSION_ARGUMENT) {
        daemon::hide();
        return background(words.get(1));
    }
    if Path::new(&program).file_name().is_some_and(|name| name == WG_NAME) {
        words.insert(0, OsString::from("wg"));
    }
    let (args, asked) = args::parse(words);
    let name = if let Ok(Asked::Run(command)) = &asked { command.name } else { "help" };
    let mut call = Call::new(name, args);
    let outcome = match asked {
        Ok(Asked::Help(command)) => help::show(&mut call.out, command),
        Ok(Asked::Noun(noun)) => help::noun(noun),
        Ok(Asked::NounHelp(noun)) => help::verbs(&mut call.out, noun),
        Ok(Asked::Version) => version::run(&mut call),
        Ok(Asked::Run(command)) => (command.run)(&mut call),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => code as u8,
        Err(failure) => call.out.fail(&failure) as u8,
    }
}

/// A background session. Its standard error is a log and its standard output a pipe.
fn background(name: Option<&OsString>) -> u8 {
    let done = name.and_then(|name| name.to_str()).is_some_and(daemon::session);
    if done { Code::Done as u8 } else { Code::Failed as u8 }
}

fn out_for(args: &Args) -> Out {
    let volume = match (args.has("quiet"), args.has("verbose")) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    };
    Out::new(args.has("json"), volume, args.has("no-color"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let twin = COMMANDS.iter().position(|other| other.name == command.name);
            assert_eq!(twin, Some(place), "{} occurs twice", command.name);
            assert!(command.operands.0 <= command.operands.1);
            assert_eq!(
                command.takes == Takes::Nothing,
                command.operands.1 == 0,
                "{}",
                command.name
            );
            if let Some((noun, _)) = command.name.split_once(' ') {
                assert!(NOUNS.iter().any(|known| known.name == noun), "{noun} is no noun");
            }
            assert!(command.hidden || command.usage.starts_with(&format!("hop {}", command.name)));
            assert!(command.details.lines().all(|line| line.len() <= 84), "{}", command.name);
            for flag in command.flags {
                let clash = GLOBAL_FLAGS.iter().any(|global| {
                    global.long == flag.long || (flag.short.is_some() && global.short == flag.short)
                });
                assert!(!clash, "{} --{}", command.name, flag.long);
            }
        }
    }
}
