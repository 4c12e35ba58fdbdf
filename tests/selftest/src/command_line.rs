//! The command line of `hop-selftest`. Nobody types it: `hop selftest` gives the path of `hop`,
//! from which the other programs under test are found, and the flags that it was given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use hopbox::base::command_line::{self, Args, Asked, parse};
use hopbox::base::exit::Code;
use hopbox::base::failure::Failure;
use hopbox::base::own_program;
use hopbox::cli::command::{GLOBAL_FLAGS, out_for};
use hopbox::cli::out::Out;

use crate::{inside, outside};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Outside,
    Inside,
    /// In a user namespace, which stands in for root.
    Mapped,
}

type Command = command_line::Command<Part>;

static TABLE: command_line::Table<Part> = command_line::Table {
    program: "hop-selftest",
    commands: &[
        part("outside", Part::Outside),
        part("inside", Part::Inside),
        part("inside-mapped", Part::Mapped),
    ],
    nouns: &[],
    flags: GLOBAL_FLAGS,
};

const fn part(name: &'static str, run: Part) -> Command {
    Command { usage: "started by hop selftest", hidden: true, ..Command::new(run, name, "") }
}

/// Runs one command line (without the program's name) and returns the exit code.
pub fn main(line: impl IntoIterator<Item = OsString>) -> u8 {
    let mut words = line.into_iter();
    let hop = PathBuf::from(words.next().unwrap_or_default());
    let (args, asked) = parse(&TABLE, words);
    let mut out = out_for(&args);
    let outcome = match asked {
        Ok(Asked::Run(command)) => run(command.run, &hop, &args, &mut out),
        Ok(_) => Err(Failure::usage("hop-selftest is not called by hand", USAGE, "hop selftest")),
        Err(failure) => Err(Failure { next: "hop selftest".into(), ..failure }),
    };
    match outcome {
        Ok(code) => code as u8,
        Err(failure) => out.fail(&failure) as u8,
    }
}

const USAGE: &str = "hop selftest starts it";

fn run(part: Part, hop: &Path, args: &Args, out: &mut Out) -> Result<Code, Failure> {
    if part != Part::Outside {
        return inside::run(out, hop, part == Part::Mapped);
    }
    // By path, not by /proc/self/exe: that would lead through the old mount namespace, and inside a
    // chroot the new process could not tell its own path.
    let own = own_program::own()?;
    outside::run(hop, |mapped| {
        let mut inner = Process::new(own);
        inner.arg(hop).arg(if mapped { "inside-mapped" } else { "inside" });
        inner.args(args.flags().map(|(flag, _)| format!("--{flag}")));
        inner
    })
}
