//! `hop down`: a host's session ends and has undone everything when this returns.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Call, Command, Group, MANY, Takes};
use super::multi_host::MultiHost;
use super::target_host;
use super::up::ALL;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::fix;
use crate::host::paths::Paths;
use crate::session::daemon;

pub const COMMAND: Command = Command {
    name: "down",
    summary: "take hosts down and undo what up did",
    usage: "hop down [host...] [-a]",
    details: "Returns when interface, route and name are gone. Exits 0 when it was not up.",
    example: "hop down\n\
              hop down --all",
    group: Group::Daily,
    flags: &[ALL],
    operands: (0, MANY),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let names = target_host::hosts(call, &paths)?;
    if let [name] = names.as_slice() {
        let began = Instant::now();
        call.out.wait(&format!("taking {name} down"));
        let outcome = daemon::down(&paths, name);
        call.out.done("");
        let (text, data) = told(&paths, name, outcome, began.elapsed())?;
        call.out.answer("down", data, &text)?;
        return Ok(Code::Done);
    }
    let mut sum = MultiHost::default();
    call.out.wait(&format!("taking {} hosts down", names.len()));
    daemon::stop_all(&paths, &names, |name, outcome, time| {
        match told(&paths, name, outcome, time) {
            Ok((text, data)) => sum.done(&mut call.out, &text, data),
            Err(failure) => sum.failed(&mut call.out, name, failure),
        }
    });
    call.out.done("");
    sum.answer(call, "down")
}

fn told(
    paths: &Paths,
    name: &str,
    outcome: io::Result<bool>,
    time: Duration,
) -> Result<(String, Value), Failure> {
    let was_up = outcome.map_err(|error| {
        let what = format!("the session of {name} did not end");
        let next = fix!("cat {}", paths.log_file(name));
        Failure::new(Fault::Busy, what, error.to_string(), next)
    })?;
    let text = match was_up {
        true => format!("{name} is down, after {}", took(time)),
        false => format!("{name} was not up"),
    };
    Ok((text, json!({"host": name, "was_up": was_up, "took_us": micros(time)})))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
