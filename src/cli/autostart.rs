//! `hop autostart`: whether a host is brought up when its user logs in.

use std::process::Command as Process;

use serde_json::json;

use super::command::{Call, Command, Group, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::base::own_program;
use crate::host::autostart;
use crate::sys::child::{self, Limits};

/// What the system's manager may take to read its files again.
const MANAGER_LIMITS: Limits = Limits::brief(5);

pub const ON: Command = Command {
    name: "autostart on",
    summary: "bring a host up at every login",
    usage: "hop autostart on [host]",
    details: "Writes a unit for systemd's user manager (a launchd agent on macOS). Takes effect\n\
              with the next login, and on a machine with `loginctl enable-linger` when it starts.",
    example: "hop autostart on mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: on,
};

pub const OFF: Command = Command {
    name: "autostart off",
    summary: "bring a host up by hand again",
    usage: "hop autostart off [host]",
    details: "A tunnel that is up stays up.",
    example: "hop autostart off mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: off,
};

pub const STATUS: Command = Command {
    name: "autostart status",
    summary: "show whether a host is brought up at login",
    usage: "hop autostart status [host]",
    details: "Exits 0 when it is and 3 when it is not.",
    example: "hop autostart status mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: status,
};

fn on(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let changed = autostart::on(&paths, &name, &own_program::own()?)?;
    if changed {
        tell_manager(call);
    }
    let text = match changed {
        true => format!("{name} will be brought up at login; hop up {name} does it now"),
        false => format!("{name} is brought up at login already"),
    };
    let file = autostart::file(&paths, &name).display().to_string();
    let data = json!({"host": name, "on": true, "changed": changed, "file": file});
    call.out.answer("autostart", data, &text)?;
    Ok(Code::Done)
}

fn off(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let changed = autostart::off(&paths, &name)?;
    if changed {
        tell_manager(call);
    }
    let text = match changed {
        true => format!("{name} will not be brought up at login any more"),
        false => format!("{name} was not brought up at login"),
    };
    call.out.answer("autostart", json!({"host": name, "on": false, "changed": changed}), &text)?;
    Ok(Code::Done)
}

fn status(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let on = autostart::is_on(&paths, &name);
    let text = match on {
        true => format!("{name} is brought up at login"),
        false => format!("{name} is not brought up at login"),
    };
    call.out.answer("autostart", json!({"host": name, "on": on}), &text)?;
    Ok(if on { Code::Done } else { Code::No })
}

/// Has systemd's user manager read its files again. Where it is not there it does so when it is;
/// launchd looks at the next login by itself.
fn tell_manager(call: &mut Call) {
    if cfg!(target_os = "macos") {
        return;
    }
    if let Err(why) = reload() {
        let text =
            format!("systemd's user manager was not told ({why}); it looks at the next login");
        call.out.warn("manager_not_told", &text);
    }
}

fn reload() -> Result<(), String> {
    let mut command = Process::new("systemctl");
    command.args(["--user", "daemon-reload"]);
    match child::run(&mut command, MANAGER_LIMITS) {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("systemctl: {}", done.status)),
        Err(broken) => Err(format!("systemctl: {broken}")),
    }
}
