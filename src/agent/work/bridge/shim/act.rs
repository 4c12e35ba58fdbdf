//! What is meant is done: asked of the laptop, or left to the real program. Why not is one line,
//! and the exit status is the one that the real program has when it cannot.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

use super::{Display, From, LineEnd, Meant, real};
use crate::agent::work::bridge::verbs::{self, Unmet};
use crate::agent::{log, print};
use crate::base::exit::Code;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Kind, What};
use crate::sys::process;

/// Of xdg-open: a required program is missing; the action failed.
const OPEN_MISSING: u8 = 3;
const OPEN_FAILED: u8 = 4;

pub fn act(name: &str, line: &[OsString], meant: Meant) -> u8 {
    let done = match meant {
        Meant::Real => return pass_on(name, line, "a laptop does not do that"),
        Meant::NoSuchType(kind) => {
            return pass_on(name, line, &format!("target {kind} not available: text and PNG are"));
        }
        Meant::Primary(meant) => match has_display(name) && real::find(name).is_some() {
            true => return pass_on(name, line, "it cannot be started"),
            false => return act(name, line, *meant),
        },
        Meant::Copy { from, trims, echoes } => copy(from, trims, echoes),
        Meant::Paste { kind, end } => paste(kind, end),
        Meant::PasteAndCopy => paste_and_copy(),
        Meant::Types(display) => types(display),
        Meant::Open(pages) => {
            let_go();
            pages.iter().try_for_each(|page| verbs::open(page))
        }
        Meant::Notify { title, body, prints_id } => notify(&title, &body, prints_id),
    };
    match done {
        Ok(()) => 0,
        Err(Unmet { why, .. }) => {
            log(&format!("{name}: {why}"));
            if name == "xdg-open" { OPEN_FAILED } else { 1 }
        }
    }
}

fn pass_on(name: &str, line: &[OsString], otherwise: &str) -> u8 {
    let Some(path) = real::find(name) else {
        log(&format!("{name}: {otherwise}, and there is no other {name} here"));
        return if name == "xdg-open" { OPEN_MISSING } else { 1 };
    };
    let error = real::become_it(&path, name, line);
    log(&format!("{name}: {}: {error}", path.display()));
    127
}

/// A display of this machine's, or of `ssh -X`.
fn has_display(name: &str) -> bool {
    let variable = if name.starts_with("wl-") { "WAYLAND_DISPLAY" } else { "DISPLAY" };
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Whoever reads our output until its end waits for nothing that is still to be done.
fn let_go() {
    let _ = process::stdout_to_null();
}

fn copy(from: From, trims: bool, echoes: bool) -> Result<(), Unmet> {
    if !echoes {
        let_go();
    }
    let (_, mut bytes) = match from {
        From::Input => verbs::input()?,
        From::Text(text) => verbs::copied(text.as_bytes())?,
        From::Files(files) => verbs::copied(files_of(&files)?)?,
    };
    if echoes {
        verbs::put(&bytes);
        let_go();
    }
    if trims && bytes.ends_with(b"\n") {
        bytes.pop();
    }
    verbs::copy(verbs::copied(bytes.as_slice())?)
}

/// One after the other.
fn files_of(files: &[String]) -> Result<Box<dyn Read>, Unmet> {
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for path in files {
        let file = File::open(path);
        let file =
            file.map_err(|error| Unmet { code: Code::Failed, why: format!("{path}: {error}") });
        all = Box::new(all.chain(file?.take(CLIPBOARD_BYTES as u64 + 1)));
    }
    Ok(all)
}

fn paste(kind: Kind, end: LineEnd) -> Result<(), Unmet> {
    let mut bytes = verbs::pasted(kind)?;
    match end {
        LineEnd::Taken if bytes.ends_with(b"\n") => drop(bytes.pop()),
        LineEnd::Added => bytes.push(b'\n'),
        LineEnd::Taken | LineEnd::Kept => {}
    }
    verbs::put(&bytes);
    Ok(())
}

/// Nothing on standard input replaces nothing: a program that has none would clear what is there.
fn paste_and_copy() -> Result<(), Unmet> {
    let before = paste(Kind::Text, LineEnd::Kept);
    let_go();
    let (what, bytes) = verbs::input()?;
    match what {
        What::Copy { bytes: 0, .. } => before,
        what => verbs::copy((what, bytes)),
    }
}

/// What is there is looked at: a program believes what it is told here.
fn types(display: Display) -> Result<(), Unmet> {
    let there = |kind| match verbs::pasted(kind) {
        Ok(_) => Ok(true),
        // There is none of this kind.
        Err(Unmet { code: Code::Failed, .. }) => Ok(false),
        Err(unmet) => Err(unmet),
    };
    let (image, text) = (there(Kind::Png)?, there(Kind::Text)?);
    let mut all = if display == Display::X { vec!["TARGETS"] } else { Vec::new() };
    all.extend(image.then_some("image/png"));
    match (text, display) {
        (true, Display::X) => all.extend(["UTF8_STRING", "STRING", "TEXT", "text/plain"]),
        (true, Display::Wayland) => {
            all.extend(["text/plain;charset=utf-8", "text/plain", "UTF8_STRING", "STRING", "TEXT"])
        }
        (false, _) => {}
    }
    if !image && !text {
        let why = "there is no text and no PNG in the laptop's clipboard".to_owned();
        return Err(Unmet { code: Code::Failed, why });
    }
    print(&format!("{}\n", all.join("\n")));
    Ok(())
}

fn notify(title: &str, body: &str, prints_id: bool) -> Result<(), Unmet> {
    if prints_id {
        // Every notice is one of its own there.
        print("1\n");
    }
    let_go();
    verbs::notify(title, body)
}
