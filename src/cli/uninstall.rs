//! `hop uninstall`: what setup and up put on this laptop, and with `--remote` on the servers, gone
//! again. The server first: without keys and login nobody could go back for it.

use std::process::{Command as Process, Stdio};

use serde_json::json;

use super::fail::{Code, Failure};
use super::remote::{AGENT, HELPER, LIMIT, Remote};
use super::{Call, Command, Flag, Takes, choose, host};
use crate::host::autostart;
use crate::host::config::{self, HostConfig};
use crate::host::keys;
use crate::host::paths::Paths;
use crate::session::{control, identity};
use crate::ssh::config as ssh_config;
use crate::ssh::freight::DIR;

pub const COMMAND: Command = Command {
    name: "uninstall",
    summary: "remove hopbox from this laptop, and from servers",
    usage: "hop uninstall [--purge] [--remote]",
    details: "Takes all hosts down, removes the block in ~/.ssh/config, and the helper with sudo.\n\
              Host files and keys stay, so that a new install finds them; --purge removes them,\n\
              too. With --remote the servers are cleaned first, over SSH: agent, helper, keys and\n\
              configuration go, unless other laptops use the server; then only this laptop's\n\
              entry does. With -H that host alone is removed, here and with --remote there. The\n\
              hop program itself is the package manager's, or make uninstall's.",
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
        Some(_) => Some(choose::host_beside(call, &paths)?),
        None => None,
    };
    let names = match &only {
        Some(name) => vec![name.clone()],
        None => config::names(&paths)?,
    };
    let (purge, remote) = (call.args.has("purge"), call.args.has("remote"));
    ask(call, only.as_deref(), &names, purge, remote)?;
    let mut servers = Vec::new();
    if remote {
        for name in &names {
            call.out.begin(&format!("cleaning {name}"));
            let done = clean(call, &paths, &config::load(&paths, name)?)?;
            call.out.done(done);
            servers.push(json!({"host": name, "done": done}));
        }
    }
    let removed = match &only {
        Some(name) => host::forget(&paths, name)?,
        None => laptop(call, &paths, &names, purge)?,
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
    call.consent(&format!("Remove {what} from this laptop{keys}{there}?"), "hop uninstall -y")
}

/// Everything on the server, or only our entry where others have theirs. One script, so that sudo
/// asks once at most; the agent gives its device back while there is a helper to take it.
fn clean(call: &mut Call, paths: &Paths, host: &HostConfig) -> Result<&'static str, Failure> {
    let mut remote = Remote::open(call, paths, host)?;
    let key = identity::public_key(paths, &host.name)?;
    let script = format!(
        "if [ -x {AGENT} ]; then {AGENT} uninstall --purge --laptop {} || exit; fi\n\
         if [ ! -x {AGENT} ] && [ -x {HELPER} ]; then {HELPER} --uninstall; fi\n",
        keys::encode(&key).as_str()
    );
    remote.script(call, &script)?;
    let others = remote.run(&format!("test -x {AGENT}"), b"", LIMIT)?.status.success();
    // What an interrupted setup sent.
    remote.run(&format!("rm -rf {DIR}"), b"", LIMIT)?;
    Ok(match others {
        true => "other laptops use it: only this one's entry was removed",
        false => "agent and helper are gone",
    })
}

fn laptop(
    call: &mut Call,
    paths: &Paths,
    names: &[String],
    purge: bool,
) -> Result<Vec<String>, Failure> {
    call.out.begin("taking hosts down");
    for name in names {
        control::down(&paths.socket(name)).map_err(|error| {
            let what = format!("the session of {name} did not end");
            Failure::new(Code::Busy, what, error.to_string(), format!("hop down {name}"))
        })?;
        autostart::off(paths, name)?;
    }
    call.out.done("");
    let mut removed = Vec::new();
    if let Some(path) = ssh_config::default_path() {
        if ssh_config::remove(&path, None)? {
            removed.push(format!("the block in {}", path.display()));
        }
    }
    removed.extend(helper(call)?);
    if purge {
        call.out.begin("removing files");
        removed.extend(paths.purge()?);
        call.out.done("");
    }
    Ok(removed)
}

/// The helper removes itself; only root can have it do so.
fn helper(call: &mut Call) -> Result<Option<String>, Failure> {
    if !std::path::Path::new(HELPER).exists() {
        return Ok(None);
    }
    call.out.begin("removing the helper");
    let mut command = Process::new("sudo");
    if call.args.has("no-input") {
        command.arg("-n");
    }
    command.args([HELPER, "--uninstall"]);
    command.stdout(Stdio::null());
    call.out.hold();
    let ended = command.status();
    call.out.resume();
    let next = format!("sudo {HELPER} --uninstall");
    let failed = |why: String| Failure::new(Code::Helper, "the helper is still there", why, &next);
    match ended {
        Ok(status) if status.success() => {
            call.out.done("");
            Ok(Some(HELPER.to_owned()))
        }
        Ok(status) => Err(failed(format!("it ended with {status}"))),
        Err(error) => Err(failed(format!("sudo: {error}"))),
    }
}
