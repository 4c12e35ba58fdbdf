//! What a laptop wants to have run, with what is kept of its workspace: its variables, and the text
//! of a script, which is the one that was agreed to and carried out, and comes from no laptop's
//! command line.

use std::io::ErrorKind;

use super::ports::mapped;
use super::services::{Done, failed, room, unable};
use crate::rpc::code::Code;
use crate::rpc::types::run::{Run, ScriptName};
use crate::workspace::env::Env;
use crate::workspace::manifest::Desired;
use crate::workspace::script;

/// The command, and its variables over the login's: where ports are on a laptop, and over these
/// the workspace's.
pub fn resolve(asked: &Run) -> Done<(Run, Env)> {
    let (run, env) = of_workspace(asked)?;
    Ok((run, mapped::variables(|_| true).under(&env)))
}

fn of_workspace(asked: &Run) -> Done<(Run, Env)> {
    let Some(name) = &asked.workspace else { return Ok((asked.clone(), Env::default())) };
    let desired = match room()?.workspace(name) {
        Ok(workspace) => workspace.desired,
        Err(error) if error.kind() == ErrorKind::NotFound => return without(asked, name),
        Err(error) => return Err(failed("the workspace cannot be read")(error)),
    };
    let words = match &asked.script {
        Some(script) => words(&desired, script, &asked.words)?,
        None => asked.words.clone(),
    };
    Ok((Run { words, workspace: None, script: None, ..asked.clone() }, desired.env))
}

/// A command needs no workspace.
fn without(asked: &Run, name: &str) -> Done<(Run, Env)> {
    match &asked.script {
        Some(_) => Err(unable(Code::NotFound, format!("the workspace {name} is not here yet"))),
        None => Ok((Run { workspace: None, ..asked.clone() }, Env::default())),
    }
}

fn words(desired: &Desired, script: &ScriptName, given: &[String]) -> Done<Vec<String>> {
    let (name, workspace) = (&script.name, &desired.workspace);
    let words = desired.script(name, given);
    let Some((words, text)) = words.zip(desired.scripts.get(name)) else {
        let all: Vec<&str> = desired.scripts.keys().map(String::as_str).collect();
        let why = format!("{workspace} has no script {name:?}; it has: {}", all.join(", "));
        return Err(unable(Code::NotFound, why));
    };
    match script::digest(text) == script.digest {
        true => Ok(words),
        false => {
            let why = format!("the script {name} of {workspace} is another one there");
            Err(unable(Code::PlanChanged, why))
        }
    }
}
