//! Which host a command acts on. One rule for all commands: the operand, else `-H`, else
//! `$HOPBOX_HOST`, else the workspace's `hopbox.yaml`, else the default host, else the only one.
//!
//! `hopbox.yaml` comes with a repository: that it leads to another host than would be taken without
//! it is asked about, once for a directory.

use std::env;
use std::path::Path;

use super::command::Call;
use crate::base::command_line::closest;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::host::workspace;
use crate::host::{consent, store};
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
    let name = match given(call, operand) {
        Some(name) => name,
        None => match of_workspace()? {
            Some(name) => agreed(call, paths, &names, name)?,
            None => implied(call, paths, &names)?,
        },
    };
    if names.contains(&name) { Ok(name) } else { Err(unknown(call, &name, &names)) }
}

/// What [`host_beside`] chooses, for who only tells of it.
pub fn without_asking(call: &Call, paths: &Paths) -> Option<String> {
    let names = store::names(paths).ok()?;
    let named = named(call, None).ok()?;
    named.or_else(|| implied(call, paths, &names).ok()).filter(|name| names.contains(name))
}

/// The host that the user or the workspace names, if any.
pub fn named(call: &Call, operand: Option<String>) -> Result<Option<String>, Failure> {
    given(call, operand).map_or_else(of_workspace, |name| Ok(Some(name)))
}

fn given(call: &Call, operand: Option<String>) -> Option<String> {
    operand.or_else(|| call.args.value("host").map(str::to_owned)).or_else(variable)
}

fn of_workspace() -> Result<Option<String>, Failure> {
    Ok(workspace::local(Path::new("."))?.and_then(|workspace| workspace.host))
}

/// The workspace's, if the user agrees, or has for this directory.
fn agreed(
    call: &mut Call,
    paths: &Paths,
    names: &[String],
    wanted: String,
) -> Result<String, Failure> {
    let otherwise = implied(call, paths, names).ok();
    if !names.contains(&wanted) || otherwise.as_ref() == Some(&wanted) {
        return Ok(wanted);
    }
    let file = workspace::FILE;
    let dir = env::current_dir().map_err(|error| Failure::io("find", Path::new("."), &error))?;
    if consent::may_choose(paths, &wanted, &dir)? {
        return Ok(wanted);
    }
    let instead = otherwise.map(|other| format!(", and not {other}")).unwrap_or_default();
    let question = format!("{file} in this directory names the host {wanted}. Use it{instead}?");
    call.consent(&question, call.again("-H HOST"))?;
    consent::let_choose(paths, &wanted, &dir)?;
    Ok(wanted)
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
