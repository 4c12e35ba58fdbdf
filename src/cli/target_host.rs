//! Which host a command acts on. One rule for all commands: the operand, else `-H`, else
//! `$HOPBOX_HOST`, else the workspace's `hopbox.yaml`, else the default host, else the only one.

use std::env;
use std::path::Path;

use super::command::Call;
use crate::base::command_line::closest;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::host::store;
use crate::host::workspace;
use crate::text::fix::Fix;

const VARIABLE: &str = "HOPBOX_HOST";

/// The chosen host's name; the host exists.
pub fn host(call: &mut Call, paths: &Paths) -> Result<String, Failure> {
    let operand = call.args.operands.first().cloned();
    chosen(call, paths, operand)
}

/// The same for a command whose operand is no host.
pub fn host_beside(call: &mut Call, paths: &Paths) -> Result<String, Failure> {
    chosen(call, paths, None)
}

fn chosen(call: &mut Call, paths: &Paths, operand: Option<String>) -> Result<String, Failure> {
    let names = store::names(paths)?;
    let name = match named(call, operand)? {
        Some(name) => name,
        None => implied(call, paths, &names)?,
    };
    if names.contains(&name) { Ok(name) } else { Err(unknown(call, &name, &names)) }
}

/// The host that the user or the workspace names, if any.
pub fn named(call: &Call, operand: Option<String>) -> Result<Option<String>, Failure> {
    let given = operand.or_else(|| call.args.value("host").map(str::to_owned)).or_else(variable);
    match given {
        Some(name) => Ok(Some(name)),
        None => Ok(workspace::local(Path::new("."))?.and_then(|workspace| workspace.host)),
    }
}

/// All hosts that a command acts on: every one with `--all`, those that are named, each once, else
/// the one that [`host`] chooses.
pub fn hosts(call: &mut Call, paths: &Paths) -> Result<Vec<String>, Failure> {
    let operands = call.args.operands.clone();
    if !call.args.has("all") && operands.len() < 2 {
        return Ok(vec![host(call, paths)?]);
    }
    let names = store::names(paths)?;
    if call.args.has("all") {
        if !operands.is_empty() {
            let next = fix!("hop {} --all", Fix::from(call.name));
            return Err(Failure::usage("all hosts, or some?", "--all takes no names", next));
        }
        return if names.is_empty() { Err(none()) } else { Ok(names) };
    }
    let mut chosen: Vec<String> = Vec::new();
    for name in operands {
        if !names.contains(&name) {
            return Err(unknown(call, &name, &names));
        }
        if !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    Ok(chosen)
}

fn variable() -> Option<String> {
    env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// The host that nobody named: the default one, or the only one.
fn implied(call: &Call, paths: &Paths, names: &[String]) -> Result<String, Failure> {
    if let Some(name) = store::default_host(paths)? {
        return Ok(name);
    }
    match names {
        [only] => Ok(only.clone()),
        [] => Err(none()),
        [first, ..] => {
            let why = format!("there are {}: {}", names.len(), names.join(", "));
            let next = call.again(fix!("-H {}", first));
            Err(Failure::usage("which host?", why, next))
        }
    }
}

fn none() -> Failure {
    Failure::usage("there is no host yet", "no host file was found", "hop setup mybox -a ADDRESS")
}

fn unknown(call: &Call, name: &str, names: &[String]) -> Failure {
    if names.is_empty() {
        return Failure { what: format!("no host {name:?}"), fault: Fault::NotFound, ..none() };
    }
    let near = closest(name, names.iter().map(String::as_str));
    let why = match near {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known hosts: {}", names.join(", ")),
    };
    let again = |near: &str| call.again_with(&call.args.with_host(name, near), "");
    let next = near.map_or_else(|| "hop host ls".into(), again);
    Failure::new(Fault::NotFound, format!("no host {name:?}"), why, next)
}
