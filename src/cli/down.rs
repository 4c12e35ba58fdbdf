//! `hop down`: a host's session ends and has undone everything when this returns.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fail::{Code, Failure};
use super::{Call, Command, Takes, choose};
use crate::session::control;
use crate::session::report::took;

pub const COMMAND: Command = Command {
    name: "down",
    summary: "take a host down and undo what up did",
    usage: "hop down [host]",
    details: "Returns when interface, route and name are gone. Exits 0 when it was not up.",
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = choose::host(call, &paths)?;
    let began = Instant::now();
    let socket = paths.socket(&name);
    let was_up = control::down(&socket).map_err(|error| {
        let what = format!("the session of {name} did not end");
        let next = format!("cat {}", paths.log_file(&name).display());
        Failure::new(Code::Busy, what, format!("{}: {error}", socket.display()), next)
    })?;
    let time = began.elapsed();
    let text = match was_up {
        true => format!("{name} is down, after {}", took(time)),
        false => format!("{name} was not up"),
    };
    let data = json!({"host": name, "was_up": was_up, "took_us": micros(time)});
    call.out.answer("down", data, &text)?;
    Ok(Code::Done)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
