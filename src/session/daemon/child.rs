//! The child's side: the background process, from the closed descriptors to the last log line.

use std::io::{self, Write};
use std::time::Duration;

use super::command_line;
use crate::base::time_text;
use crate::host::paths::Paths;
use crate::session::log::{self, log};
use crate::session::report::{Event, Facts, Report};
use crate::session::run;
use crate::session::supervise::End;
use crate::sys::process;

/// The first thing that a session does, before it could have read a key: a core dump or a debugger
/// of the same user would reveal it (R99).
pub fn hide() {
    if let Err(error) = process::keep_memory_private() {
        log(&format!("memory is not private: {error}"));
    }
}

/// What the background process does: everything.
/// Returns whether it ended as it should.
pub fn session(name: &str) -> bool {
    // Before anything is opened: descriptors of whoever ran `hop up` must not live on here.
    if let Err(error) = process::close_inherited() {
        log(&format!("cannot close inherited descriptors: {error}"));
        return false;
    }
    process::set_umask(0o077);
    process::take_name(c"hop");
    let paths = Paths::from_env();
    if let Some(error) = paths.as_ref().ok().and_then(|paths| log::keep(paths, name).err()) {
        log(&format!("the log will not be kept short: {error}"));
    }
    let mut pipe = PipeReport { pipe: Some(io::stdout()) };
    log(&format!("session of {name} begins, version {}", crate::rpc::VERSION));
    let outcome =
        paths.and_then(|paths| run::run(&paths, name, command_line::transport(), &mut pipe));
    match outcome {
        Ok(End::Asked) => {
            log("session ends as asked");
            true
        }
        Ok(End::Lost(why)) => {
            log(&format!("session ends: {why}; interface, route and name are removed"));
            false
        }
        Err(trouble) => {
            log(&format!("session ends: {}: {}", trouble.what, trouble.why));
            pipe.tell(&Event::Failed(trouble));
            false
        }
    }
}

/// Sends events to the `hop up` that waits, and to the log. A reader that is gone changes nothing.
struct PipeReport {
    pipe: Option<io::Stdout>,
}

impl PipeReport {
    fn tell(&mut self, event: &Event) {
        let Some(pipe) = &mut self.pipe else { return };
        let told = pipe.write_all(event.to_line().as_bytes()).and_then(|()| pipe.flush());
        if told.is_err() {
            self.pipe = None;
        }
    }
}

impl Report for PipeReport {
    fn step(&mut self, text: &str, took: Duration) {
        log(&format!("{text} ({})", time_text::took(took)));
        self.tell(&Event::Step(text.to_owned(), took));
    }

    fn waits(&mut self, text: &str) {
        log(text);
        self.tell(&Event::Waits(text.to_owned()));
    }

    fn note(&mut self, text: &str) {
        log(text);
        self.tell(&Event::Note(text.to_owned()));
    }

    fn ready(&mut self, facts: &Facts) {
        log(&format!("usable after {}", time_text::took(facts.total)));
        self.tell(&Event::Ready(facts.clone()));
        self.pipe = None;
        if let Err(error) = process::stdout_to_null() {
            log(&format!("cannot let go of standard output: {error}"));
        }
    }
}
