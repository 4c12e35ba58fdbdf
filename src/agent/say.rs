//! What `hop-agent` says: answers on standard output, everything else on standard error; and the
//! failures that several of its commands have.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::locale;
use crate::text::{json as json_text, shown};

/// No laptop is called so, or has that key.
pub fn no_laptop(which: &str, names: &[&str]) -> Failure {
    let why = match names {
        [] => "there is none".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    Failure::new(Fault::NoPeer, format!("no laptop {which:?}"), why, "hop host peers")
}

/// The system's refusal, which says nothing of what was asked for.
pub fn io(act: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure { fault: Fault::Failed, ..Failure::io(act, path, error) }
}

/// Lines of ours; what others said in them went through `text`.
pub fn print(text: &str) -> u8 {
    // A reader that closed its end has seen what it wanted.
    let _ = std::io::stdout().write_all(locale::text(text).as_bytes());
    Code::Done as u8
}

pub fn print_json(answer: &Value) -> u8 {
    print(&format!("{}\n", locale::json(&json_text(answer))))
}

pub fn tell(failure: &Failure) -> u8 {
    let Failure { what, why, next, .. } = failure;
    log(&format!("error: {what}"));
    log(&format!("  {why}"));
    log(&format!("fix: {next}"));
    failure.code() as u8
}

/// One line for whoever keeps the log; systemd adds the time.
pub fn log(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", locale::text(&shown(text)));
}
