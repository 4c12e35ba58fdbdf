//! What a command prints: the answer on stdout, everything else on stderr, as text or as JSON.
//!
//! A reader that closed its end is no error: the rest is dropped in silence.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::fail::{Code, Failure};
use super::progress::Screen;
use crate::session::journal::log;
use crate::session::report::{Facts, Report, took};

const DIM: &str = "\x1b[2m";
const BOLD_RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";
/// To the upper left; and from there on wipe what was there.
const HOME: &str = "\x1b[H";
const WIPE_LINE: &str = "\x1b[K\n";
const WIPE_BELOW: &str = "\x1b[J";

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    Quiet,
    Normal,
    Verbose,
}

/// Where a command's words go.
pub struct Out {
    json: bool,
    volume: Volume,
    colour: bool,
    /// The same for standard output.
    colour_out: bool,
    screen: Screen,
    /// Nobody reads standard output any more.
    closed: bool,
    warnings: Vec<(&'static str, String)>,
}

impl Out {
    pub fn new(json: bool, volume: Volume, no_colour: bool) -> Out {
        let wanted = !no_colour && colour_wanted();
        let colour = wanted && io::stderr().is_terminal();
        let colour_out = wanted && io::stdout().is_terminal();
        let (screen, closed, warnings) = (Screen::new(colour), false, Vec::new());
        Out { json, volume, colour, colour_out, screen, closed, warnings }
    }

    /// The answer of a command: `text` for people, `data` in the envelope for programs.
    pub fn answer(&mut self, what: &str, data: Value, text: &str) -> Result<(), Failure> {
        if !self.json {
            return self.text(text);
        }
        let warnings: Vec<Value> = self.warnings.iter().map(warning_json).collect();
        let envelope = json!({
            "schema": format!("hopbox.{what}/1"), "ok": true, "data": data, "warnings": warnings,
        });
        self.text(&envelope.to_string())
    }

    /// One of a row of answers: on a terminal each takes the place of the one before.
    pub fn refresh(&mut self, what: &str, data: Value, text: &str) -> Result<(), Failure> {
        if self.json || !self.colour_out {
            return self.answer(what, data, text);
        }
        self.text(&format!("{HOME}{}{WIPE_BELOW}", text.replace('\n', WIPE_LINE)))
    }

    /// Nobody reads standard output any more: a command that goes on for ever ends.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// A word of the answer in the colour of what it means; the word says it, too.
    pub fn mark(&self, good: bool, word: &str) -> String {
        match (self.colour_out, good) {
            (false, _) => word.to_owned(),
            (true, true) => format!("{GREEN}{word}{PLAIN}"),
            (true, false) => format!("{RED}{word}{PLAIN}"),
        }
    }

    /// Text that is the answer itself and has no JSON form, such as help.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                let what = "cannot write the answer";
                Err(Failure::new(Code::Failed, what, error.to_string(), "df -h"))
            }
        }
    }

    /// Something the user should know although the command goes on.
    pub fn warn(&mut self, code: &'static str, message: &str) {
        let (on, off) = if self.colour { (YELLOW, PLAIN) } else { ("", "") };
        self.screen.line(&format!("{on}warning:{off} {message}"));
        self.warnings.push((code, message.to_owned()));
    }

    /// A word on the side; silent with `--quiet`.
    pub fn say(&mut self, text: &str) {
        if self.volume > Volume::Quiet {
            self.screen.line(text);
        }
    }

    /// How many steps the work has that begins now.
    pub fn plan(&mut self, total: usize) {
        self.screen.plan(total);
    }

    /// A step begins; one that is still open is done. Silent with `--quiet`.
    pub fn begin(&mut self, text: &str) {
        if self.volume > Volume::Quiet {
            self.screen.begin(text);
        }
    }

    /// Work under way that tells its steps itself. Silent with `--quiet`.
    pub fn wait(&mut self, text: &str) {
        if self.volume > Volume::Quiet {
            self.screen.wait(text);
        }
    }

    /// The step that was begun is done, with this result, such as `ok` or `6 MB sent`.
    pub fn done(&mut self, result: &str) {
        self.screen.end(result);
    }

    /// How far the step is that was begun, such as `40 %`.
    pub fn detail(&mut self, text: &str) {
        self.screen.detail(text);
    }

    /// Before a child process uses the terminal, and after.
    pub fn hold(&mut self) {
        self.screen.hold();
    }

    pub fn resume(&mut self) {
        self.screen.resume();
    }

    /// The text of a question; the answer is read by the caller.
    pub fn prompt(&mut self, text: &str) {
        self.screen.ask(text);
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn is_verbose(&self) -> bool {
        self.volume == Volume::Verbose
    }

    /// Says why a command failed and returns its exit code.
    pub fn fail(&mut self, failure: &Failure) -> Code {
        let (on, off) = if self.colour { (BOLD_RED, PLAIN) } else { ("", "") };
        self.screen.end("failed");
        let Failure { what, why, next, code } = failure;
        if self.json {
            let error =
                json!({"code": code.word(), "message": format!("{what}: {why}"), "fix": next});
            let envelope = json!({
                "schema": "hopbox.error/1", "ok": false, "error": error, "exit": *code as u8,
            });
            let _ = self.text(&envelope.to_string());
        }
        self.screen.line(&format!("{on}error:{off} {what}\n  {why}\nfix: {next}"));
        *code
    }
}

impl Report for Out {
    fn step(&mut self, text: &str, time: Duration) {
        let (on, off) = if self.colour { (DIM, PLAIN) } else { ("", "") };
        self.say(&format!("{text}  {on}{}{off}", took(time)));
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn ready(&mut self, facts: &Facts) {
        log(&format!("usable after {}; Ctrl-C ends it", took(facts.total)));
    }
}

/// `NO_COLOR` with any text, and a terminal without abilities, mean no colour.
fn colour_wanted() -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

fn warning_json((code, message): &(&'static str, String)) -> Value {
    json!({"code": code, "message": message})
}
