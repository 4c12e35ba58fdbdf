//! `hop run`: a command on a host, as if it ran here.

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::detached_runs;
use super::run_outcome::{client, failed, not_started, told};
use super::run_wanted::{self, wanted};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::session::remote::screen::Whose;
use crate::session::{remote, through};

pub const COMMAND: Command = Command {
    name: "run",
    summary: "run a command or a script on a host",
    usage: "hop run [-t | -T | --detach] [--dir DIR] -- <command> [argument]...\n\
            hop run [flag]... <script> [-- <argument>...]\n\
            hop run --list | --follow NUMBER | --stop NUMBER",
    details: "Runs it with the environment of your login there, in its home directory. What it\n\
              says is written as it comes, standard output and standard error each to its own;\n\
              it reads what is typed or piped in here, all of it: in a loop of a shell's that\n\
              reads, too, give it < /dev/null. It gets the signals that are sent to hop, and hop\n\
              ends with its status: 128 and the signal's number where one ended it, 127 when\n\
              there is no such program, 126 when it cannot be run, 125 when hop could not have it\n\
              started, 255 when the connection was lost. It has a terminal where standard input\n\
              and output are one. When it ends, or hop does, or the host hears nothing of hop for\n\
              a minute, all that it has started there is ended. With --detach it goes on without\n\
              hop: the answer is its number, and hop status says once how it ended.\n\
              In a directory with a hopbox.yaml it has the variables of that workspace, too, as\n\
              hop up has brought them there, and so have its scripts.",
    example: "hop run -- uname -a\n\
              hop run -- sh -c 'cd src && make' > log\n\
              hop run -H mybox -t -- htop\n\
              hop run migrate -- --dry-run\n\
              hop run --detach -- make && hop run --list",
    group: Group::Project,
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
    takes: Takes::Script,
    hidden: false,
    run,
};

/// What has to do with runs that are not waited for.
const LATER: [&str; 4] = ["detach", "list", "follow", "stop"];

fn run(call: &mut Call) -> Result<Code, Failure> {
    if LATER.iter().any(|flag| call.args.has(flag)) {
        return detached_runs::run(call);
    }
    let wanted = wanted(call)?;
    let (name, client, host) = client(call).map_err(not_started)?;
    let wanted = run_wanted::on(&name, wanted)?;
    let what = wanted.run.name().to_owned();
    let paths = call.paths().map_err(not_started)?;
    let session = through::end(&paths, &host);
    let whose = Whose { paths, host: name.clone() };
    let outcome = remote::run(&client, session, &whose, wanted);
    let outcome = outcome.map_err(|error| not_started(failed(&name, error)))?;
    told(call, &name, &what, outcome)
}
