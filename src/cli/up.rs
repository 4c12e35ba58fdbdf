//! `hop up`: a host becomes usable, in the background or in this terminal.

use super::fail::{Code, Failure};
use super::{Call, Command, Flag, Takes, choose};
use crate::session::daemon::{self, Up};
use crate::session::report::{Facts, log, took};
use crate::session::run::{self, End};

/// Also a flag of `hop wg`.
pub const FOREGROUND: Flag = Flag {
    short: Some('f'),
    long: "foreground",
    value: None,
    help: "stay in the terminal; Ctrl-C undoes everything",
};

pub const COMMAND: Command = Command {
    name: "up",
    summary: "bring a host up: its tunnel, address and name",
    usage: "hop up [host] [-f]",
    details: "Returns when the agent on the host has answered through the tunnel. Needs no\n\
              root: the helper makes the device. Says so and exits 0 when it is up already.",
    flags: &[FOREGROUND],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = choose::host(call, &paths)?;
    if let Some(facts) = daemon::facts(&paths, &name) {
        return tell(call, &facts, true);
    }
    if call.args.has("foreground") {
        return foreground(call, &paths, &name);
    }
    if call.out.is_verbose() {
        call.out.say(&format!("log: {}", paths.log_file(&name).display()));
    }
    match daemon::start(&paths, &name, &mut call.out)? {
        Up::Now(facts) => tell(call, &facts, false),
        Up::Already(facts) => tell(call, &facts, true),
    }
}

fn tell(call: &mut Call, facts: &Facts, already: bool) -> Result<Code, Failure> {
    let Facts { host, name, peer_ip, .. } = facts;
    let text = if already {
        format!("{host} is up already: {name} is {peer_ip}")
    } else {
        format!("{host} is up: {name} is {peer_ip}, usable after {}", took(facts.total))
    };
    let mut data = facts.to_json();
    data["already"] = already.into();
    call.out.answer("up", data, &text)?;
    Ok(Code::Done)
}

/// Stays until Ctrl-C, `hop down` or the end of the tunnel. Being stopped while up is a good end.
fn foreground(
    call: &mut Call,
    paths: &crate::host::paths::Paths,
    name: &str,
) -> Result<Code, Failure> {
    match run::run(paths, name, &mut call.out)? {
        End::Asked => {
            log("down");
            Ok(Code::Done)
        }
        End::Lost(why) => {
            let what = format!("{name} went down");
            let next = format!("hop up {name}");
            Err(Failure::new(Code::Failed, what, format!("{why}; everything is undone"), next))
        }
    }
}
