//! What `hop run` is to run: the words behind `--`, or a script of the project in this directory,
//! which is named alone. Its text is not sent: the host has it, since somebody agreed to it.

use std::path::Path;

use super::command::Call;
use crate::base::command_line::closest;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::workspace::{self, FILE};
use crate::rpc::types::run::{Run, ScriptName};
use crate::session::remote::Wanted;
use crate::text::fix::Fix;
use crate::workspace::manifest::Manifest;
use crate::workspace::script;

/// What was typed.
struct Typed<'a> {
    script: Option<&'a str>,
    /// A command, or what the script is given.
    words: &'a [String],
}

pub fn wanted(call: &Call) -> Result<Wanted, Failure> {
    let terminal = match (call.args.has("tty"), call.args.has("no-tty")) {
        (true, true) => {
            let why = "-t and -T contradict each other";
            let next = "hop run --help";
            return Err(Failure::usage("with a terminal, or without?", why, next));
        }
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let typed = typed(call)?;
    let project = match (workspace::manifest(Path::new(".")), typed.script) {
        (Ok(project), _) => project,
        (Err(failure), Some(_)) => return Err(failure),
        // A command needs none.
        (Err(_), None) => None,
    };
    let script = match (typed.script, &project) {
        (None, _) => None,
        (Some(name), Some(project)) => Some(found(call, name, project)?),
        (Some(_), None) => return Err(behind(call)),
    };
    let run = Run {
        words: typed.words.to_vec(),
        dir: call.args.value("dir").map(str::to_owned),
        workspace: project.as_ref().map(|project| project.desired.workspace.clone()),
        script,
        ..Run::default()
    };
    Ok(Wanted { run, terminal, host: project.and_then(|project| project.host) })
}

fn typed(call: &Call) -> Result<Typed<'_>, Failure> {
    let words = call.args.operands.as_slice();
    let Some((first, rest)) = words.split_first() else {
        let why = "no command and no script was given";
        return Err(Failure::usage("what is to be run?", why, "hop run --help"));
    };
    match call.args.before_dashes {
        Some(0) if first.is_empty() => {
            let why = "the first word behind -- is the program, and it is empty";
            Err(Failure::usage("what is to be run?", why, "hop run --help"))
        }
        Some(0) => Ok(Typed { script: None, words }),
        Some(1) => Ok(Typed { script: Some(first), words: rest }),
        None if rest.is_empty() => Ok(Typed { script: Some(first), words: rest }),
        _ => Err(behind(call)),
    }
}

/// The same line as a command. One word before `--` is a host then, as for other verbs.
fn line(call: &Call) -> Fix {
    let mut args = call.args.clone();
    let host = (args.before_dashes == Some(1)).then(|| args.operands.remove(0));
    args.before_dashes = Some(0);
    call.again_with(&args, host.map_or_else(|| Fix::from(""), |host| fix!("-H {}", host)))
}

fn behind(call: &Call) -> Failure {
    let why = "a command stands behind --, which no flag of hop's can; before it stands a script \
               of the hopbox.yaml in this directory";
    let project = workspace::manifest(Path::new(".")).ok().flatten();
    let scripts = project.map(|project| project.desired.scripts).unwrap_or_default();
    let is_script = call.args.operands.first().is_some_and(|first| scripts.contains_key(first));
    let next = match is_script {
        true => {
            let mut args = call.args.clone();
            args.before_dashes = Some(1);
            call.again_with(&args, "")
        }
        false => line(call),
    };
    Failure::usage("what is to be run?", why, next)
}

/// The script of this name.
fn found(call: &Call, name: &str, project: &Manifest) -> Result<ScriptName, Failure> {
    let scripts = &project.desired.scripts;
    if let Some(text) = scripts.get(name) {
        return Ok(ScriptName { name: name.to_owned(), digest: script::digest(text) });
    }
    let names: Vec<&str> = scripts.keys().map(String::as_str).collect();
    let why = match names.is_empty() {
        true => format!("{FILE} has no scripts"),
        false => format!("{FILE} has: {}", names.join(", ")),
    };
    let next = match closest(name, names.into_iter()) {
        Some(near) => {
            let mut args = call.args.clone();
            args.operands.first_mut().into_iter().for_each(|word| near.clone_into(word));
            call.again_with(&args, "")
        }
        None => line(call),
    };
    Err(Failure::new(Fault::NotStarted, format!("there is no script {name:?}"), why, next))
}

/// The scripts of the file here, for whoever completes a word.
pub fn here_all() -> Vec<String> {
    let project = workspace::manifest(Path::new(".")).ok().flatten();
    project.map(|project| project.desired.scripts.into_keys().collect()).unwrap_or_default()
}

/// As this host is asked: the project may be for another one.
pub fn on(host: &str, wanted: Wanted) -> Result<Wanted, Failure> {
    match &wanted.host {
        Some(other) if other != host => {}
        _ => return Ok(wanted),
    }
    match &wanted.run.script {
        Some(script) => {
            let what = format!("{host} has no script {:?}", script.name);
            let why = format!("the {FILE} in this directory is for another host");
            let next = fix!("hop run {}", script.name);
            Err(Failure::new(Fault::NotStarted, what, why, next))
        }
        None => Ok(Wanted { run: Run { workspace: None, ..wanted.run }, ..wanted }),
    }
}
