//! `hop uninstall`: what setup and up put on this laptop, and with `--remote` on the servers, gone
//! again. The server first: without keys and login nobody could go back for it.

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::{host, target_host};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::deploy::remote::Remote;
use crate::deploy::{self, local_helper, provider, ssh_entry};
use crate::fix;
use crate::host::autostart;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::session::daemon;

pub const COMMAND: Command = Command {
    name: "uninstall",
    summary: "remove hopbox from this laptop, and from servers",
    usage: "hop uninstall [--purge] [--remote]",
    details: "Takes all hosts down, removes the block in ~/.ssh/config, and the helper with sudo.\n\
              Host files and keys stay, so that a new install finds them; --purge removes them,\n\
              too. With --remote the servers are cleaned first, over SSH: agent, helper, keys and\n\
              configuration go, and what is open at their providers, unless other laptops use the\n\
              server; then only this laptop's entry does. With -H that host alone is removed,\n\
              here and with --remote there. The hop program itself is the package manager's, or\n\
              make uninstall's.",
    example: "hop uninstall --remote -H mybox\n\
              hop uninstall --purge",
    group: Group::Upkeep,
    flags: &[
        Flag { short: None, long: "purge", value: None, help: "host files, keys and logs, too" },
        Flag { short: None, long: "remote", value: None, help: "clean the servers, too" },
    ],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let only = match call.args.value("host") {
        Some(_) => Some(target_host::host_beside(call, &paths)?),
        None => None,
    };
    let names = match &only {
        Some(name) => vec![name.clone()],
        None => store::names(&paths)?,
    };
    let (purge, remote) = (call.args.has("purge"), call.args.has("remote"));
    let reached = if remote { reach_all(call, &paths, &names)? } else { Vec::new() };
    ask(call, only.as_deref(), &names, purge, remote)?;
    let servers = if remote { clean_all(call, &paths, reached, purge)? } else { Vec::new() };
    if !remote && (purge || only.is_some()) {
        tell_left(call, &paths, &names);
    }
    let removed = match &only {
        Some(name) => host::forget(&paths, name)?,
        None => everything(call, &paths, &names, purge)?,
    };
    let text = match (&only, purge) {
        (Some(name), _) => format!("{name} is gone from this laptop"),
        (None, true) => "hopbox is gone from this laptop, but for the program itself".to_owned(),
        (None, false) => "removed; host files and keys stay (--purge removes them)".to_owned(),
    };
    let data = json!({"servers": servers, "removed": removed, "purged": purge || only.is_some()});
    call.out.answer("uninstall", data, &text)?;
    Ok(Code::Done)
}

fn ask(
    call: &mut Call,
    only: Option<&str>,
    names: &[String],
    purge: bool,
    remote: bool,
) -> Result<(), Failure> {
    let what = only.unwrap_or("hopbox");
    let keys = if purge || only.is_some() { ", keys included" } else { "" };
    let there = match (remote, names) {
        (false, _) | (true, []) => String::new(),
        (true, names) => format!(", and clean {}", names.join(", ")),
    };
    call.consent(&format!("Remove {what} from this laptop{keys}{there}?"), call.again("--yes"))
}

/// With the host's file goes what is needed to close it.
fn tell_left(call: &mut Call, paths: &Paths, names: &[String]) {
    for host in names.iter().filter_map(|name| store::load(paths, name).ok()) {
        provider::tell_left(call, &host);
    }
}

/// A server that was looked for, and the way to it.
type Reached = (String, Result<(HostConfig, Remote), Failure>);

/// Nobody is asked about servers of which none can be reached.
fn reach_all(call: &mut Call, paths: &Paths, names: &[String]) -> Result<Vec<Reached>, Failure> {
    let mut all = Vec::new();
    for name in names {
        call.out.wait(&format!("reaching {name}"));
        let reached = store::load(paths, name).and_then(|host| {
            let remote = Remote::open(call, paths, &host)?;
            Ok((host, remote))
        });
        call.out.done("");
        all.push((name.clone(), reached));
    }
    if !all.is_empty() && all.iter().all(|(_, reached)| reached.is_err()) {
        let failed = all.into_iter().filter_map(|(name, reached)| Some((name, reached.err()?)));
        return Err(missed(failed.collect(), names.len()));
    }
    Ok(all)
}

/// The servers, one after the other. Where one cannot be cleaned the others are all the same, and
/// what the laptop needs for another try stays.
fn clean_all(
    call: &mut Call,
    paths: &Paths,
    reached: Vec<Reached>,
    purge: bool,
) -> Result<Vec<Value>, Failure> {
    let (mut servers, mut failed, of) = (Vec::new(), Vec::new(), reached.len());
    for (name, reached) in reached {
        call.out.begin(&format!("cleaning {name}"));
        let done = reached
            .and_then(|(host, remote)| deploy::uninstall::clean(call, paths, &host, &remote));
        match done {
            Ok(done) => {
                call.out.done(done);
                servers.push(json!({"host": name, "done": done}));
            }
            Err(failure) if failure.fault == Fault::Stopped => return Err(failure),
            Err(failure) => {
                call.out.done("failed");
                failed.push((name, failure));
            }
        }
    }
    if failed.is_empty() {
        return Ok(servers);
    }
    let done = servers.iter().filter_map(|server| server["host"].as_str());
    for name in done.filter(|_| purge) {
        host::forget(paths, name)?;
    }
    Err(missed(failed, of))
}

/// Servers that could not be cleaned, some or all `of` them; of a single one, why.
fn missed(mut failed: Vec<(String, Failure)>, of: usize) -> Failure {
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    let what = format!("not cleaned: {}; this laptop is as it was for them", names.join(", "));
    let (name, failure) = failed.swap_remove(0);
    if of == 1 {
        return failure;
    }
    let why = format!("{}: {}", failure.what, failure.why);
    Failure::new(Fault::Partial, what, why, fix!("hop host rm {}", name))
}

fn everything(
    call: &mut Call,
    paths: &Paths,
    names: &[String],
    purge: bool,
) -> Result<Vec<String>, Failure> {
    call.out.begin("taking hosts down");
    for name in names {
        daemon::down(paths, name).map_err(|error| {
            let what = format!("the session of {name} did not end");
            Failure::new(Fault::Busy, what, error.to_string(), fix!("hop down {}", name))
        })?;
        autostart::off(paths, name)?;
    }
    call.out.done("");
    let mut removed = Vec::new();
    removed.extend(ssh_entry::remove_block(paths)?);
    removed.extend(local_helper::remove(call)?);
    if purge {
        call.out.begin("removing files");
        removed.extend(paths.purge()?);
        call.out.done("");
    }
    Ok(removed)
}
