//! One command line from its first word to its exit code.

use std::ffi::OsString;
use std::path::Path;

use super::command::Call;
use super::table::TABLE;
use super::{help, meant, version};
use crate::base::command_line::{Asked, parse};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::session::companion;
use crate::session::daemon::{self, command_line};
use crate::sys::interrupt;

/// The name under which `hop` is `hop wg`: wg-quick(8) takes only one word in
/// `WG_QUICK_USERSPACE_IMPLEMENTATION`.
const WG_NAME: &str = "hop-wg";

/// Runs one command line, the program's name first, and returns the exit code. `commit` is what the
/// program was built from, if the build knew.
pub fn main(line: Vec<OsString>, commit: Option<&'static str>) -> u8 {
    let mut words = line.into_iter();
    let program = words.next().unwrap_or_default();
    let mut words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|word| word == command_line::SESSION_ARGUMENT) {
        daemon::hide();
        return background(words.get(1));
    }
    if let Some(kind) = words.first().and_then(|word| companion::Kind::of(word)) {
        daemon::hide();
        return ended(companion::main(kind, words.get(1)));
    }
    if Path::new(&program).file_name().is_some_and(|name| name == WG_NAME) {
        words.insert(0, OsString::from("wg"));
    }
    let (args, asked) = parse(&TABLE, words);
    let name = if let Ok(Asked::Run(command)) = &asked { command.name } else { "help" };
    let mut call = Call { commit, ..Call::new(&TABLE, name, args) };
    let outcome = match asked {
        Ok(Asked::Nothing) => help::first_look(&mut call),
        Ok(Asked::Help(command)) => help::show(&mut call, command),
        Ok(Asked::Noun(noun)) => help::noun(call.table, noun),
        Ok(Asked::NounHelp(noun)) => help::verbs(&mut call, noun),
        Ok(Asked::Unknown(words)) => Err(meant::failure(&mut call, &words)),
        Ok(Asked::Version) => version::run(&mut call),
        Ok(Asked::Run(command)) => (command.run)(&mut call),
        Err(failure) => Err(failure),
    };
    match outcome {
        Err(failure) if failure.fault == Fault::Stopped || interrupt::came() => {
            let stopped = Failure::stopped(call.again(""));
            call.out.fail(&stopped) as u8
        }
        Ok(code) => call.status.unwrap_or(code as u8),
        Err(failure) => call.out.fail(&failure) as u8,
    }
}

/// A background session. Its standard error is a log and its standard output a pipe.
fn background(name: Option<&OsString>) -> u8 {
    ended(name.and_then(|name| name.to_str()).is_some_and(daemon::session))
}

fn ended(done: bool) -> u8 {
    if done { Code::Done as u8 } else { Code::Failed as u8 }
}
