//! `hop host ls`, `default` and `rm`: the hosts of this laptop.

use serde_json::{Value, json};

use super::command::{Call, Command, Group, Takes};
use super::grid::Grid;
use super::page::Page;
use super::{setup, target_host};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::deploy::{provider, ssh_entry};
use crate::fix;
use crate::host::autostart;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::session::{control, daemon};

pub const LS: Command = Command {
    name: "host ls",
    summary: "list the hosts",
    usage: "hop host ls",
    details: "A star marks the default host.",
    example: "hop host ls",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: ls,
};

pub fn ls(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let default = store::default_host(&paths)?;
    let mut rows = Vec::new();
    for name in store::names(&paths)? {
        let host = store::load(&paths, &name)?;
        let is_up = control::facts(&paths, &name).is_some();
        rows.push((default.as_deref() == Some(name.as_str()), is_up, host));
    }
    let data = json!({"hosts": rows.iter().map(row_json).collect::<Vec<Value>>()});
    if rows.is_empty() {
        call.out.say("no hosts yet; hop setup <name> -a <address> makes one");
        call.out.answer("host.ls", data, "")?;
    } else {
        let page = table(&rows, call.out.room());
        call.out.answer("host.ls", data, page)?;
    }
    Ok(Code::Done)
}

pub const ADD: Command = Command {
    name: "host add",
    summary: "add a host; the same as hop setup",
    usage: "hop host add <name> -a ADDRESS [-u USER] [-k KEY] [-p PORT] \
            [--endpoint HOST[:PORT]] [--agent-dir DIR] [--dry-run]",
    details: "A host is a server that hop setup has made ready: see there.",
    example: "hop host add lab -a lab.example.org",
    group: Group::Hosts,
    flags: setup::COMMAND.flags,
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run: setup::run,
};

pub const DEFAULT: Command = Command {
    name: "host default",
    summary: "show or choose the default host",
    usage: "hop host default [host]",
    details: "The default host is what commands act on when none is named. Exits 3 when none is\n\
              chosen.",
    example: "hop host default mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: default,
};

fn default(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    if call.args.operands.is_empty() {
        let chosen = store::default_host(&paths)?;
        let text = chosen.clone().unwrap_or_else(|| "no default host".to_owned());
        call.out.answer("host.default", json!({"host": chosen}), &text)?;
        return Ok(if chosen.is_some() { Code::Done } else { Code::No });
    }
    let name = target_host::host(call, &paths)?;
    store::set_default_host(&paths, Some(&name))?;
    call.out.answer(
        "host.default",
        json!({"host": name}),
        format!("{name} is the default host"),
    )?;
    Ok(Code::Done)
}

pub const RM: Command = Command {
    name: "host rm",
    summary: "forget a host on this laptop",
    usage: "hop host rm <host>",
    details: "Takes the host down and removes its file, key, log, pinned host keys and its part of\n\
              ~/.ssh/config. The server is not touched: it still admits this laptop, and what is\n\
              open at its provider stays open. To end that too, use hop uninstall --remote\n\
              -H <host> instead.",
    example: "hop host rm mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (1, 1),
    takes: Takes::Host,
    hidden: false,
    run: rm,
};

fn rm(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let question = format!("Forget {name}, its key included?");
    call.consent(&question, fix!("hop host rm {}", name))?;
    if let Ok(host) = store::load(&paths, &name) {
        provider::tell_left(call, &host);
    }
    let removed = forget(&paths, &name)?;
    call.out.answer(
        "host.rm",
        json!({"host": name, "removed": removed}),
        format!("{name} is forgotten here; the server still admits this laptop"),
    )?;
    Ok(Code::Done)
}

/// Takes a host down and removes everything that this laptop has of it. Works for a host whose
/// file cannot be read.
pub fn forget(paths: &Paths, name: &str) -> Result<Vec<String>, Failure> {
    daemon::down(paths, name).map_err(|error| {
        let what = format!("the session of {name} did not end");
        let next = fix!("hop down {}", name);
        Failure::new(Fault::Busy, what, error.to_string(), next)
    })?;
    autostart::off(paths, name)?;
    ssh_entry::forget(paths, name)?;
    let is_default = store::default_host(paths).is_ok_and(|host| host.as_deref() == Some(name));
    if is_default {
        store::set_default_host(paths, None)?;
    }
    store::forget(paths, name)
}

type Row = (bool, bool, HostConfig);

fn row_json((is_default, is_up, host): &Row) -> Value {
    json!({
        "host": host.name,
        "name": host.hop_name(),
        "endpoint": host.endpoint.to_string(),
        "peer_ip": host.peer_ip.to_string(),
        "state": state(*is_up),
        "default": is_default,
    })
}

fn state(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

fn table(rows: &[Row], room: Option<usize>) -> Page {
    let mut grid = Grid::new(["  HOST", "STATE", "ADDRESS", "ENDPOINT"]);
    for (is_default, is_up, host) in rows {
        let name = format!("{} {}", if *is_default { '*' } else { ' ' }, host.name);
        let (address, endpoint) = (host.peer_ip.to_string(), host.endpoint.to_string());
        grid.row([name, state(*is_up).to_owned(), address, endpoint]);
    }
    grid.page(room)
}
