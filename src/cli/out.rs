//! What a command prints: the answer on stdout, everything else on stderr, as text or as JSON.
//!
//! The one place, with `progress`, where commands write; whatever text they give, what comes out
//! are our lines and our colours (`page`), in characters that are read there (`locale`). A reader
//! that closed its end is no error: the rest is dropped in silence.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::page::{Colour, Line, Page, looks_ours};
use super::progress::Screen;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::base::{locale, terminal};
use crate::session::log::log;
use crate::session::report::{Facts, Report};
use crate::text;
use crate::text::fix::Fix;
use crate::text::said::said;

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
    /// Standard output is to be coloured.
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
        Out { json, volume, colour_out, screen, closed, warnings }
    }

    /// The answer of a command: `text` for people, `data` in the envelope for programs.
    pub fn answer(
        &mut self,
        what: &str,
        data: Value,
        text: impl Into<Page>,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.text(text);
        }
        let warnings: Vec<Value> = self.warnings.iter().map(warning_json).collect();
        let envelope = json!({
            "schema": format!("hopbox.{what}/1"), "ok": true, "data": data, "warnings": warnings,
        });
        self.json_line(&envelope)
    }

    /// One of a row of answers: on a terminal each takes the place of the one before.
    pub fn refresh(&mut self, what: &str, data: Value, page: Page) -> Result<(), Failure> {
        if self.json || !self.colour_out {
            return self.answer(what, data, page);
        }
        let text = page.render(true, self.room()).replace('\n', WIPE_LINE);
        self.write(&format!("{HOME}{text}{WIPE_BELOW}"))
    }

    /// Nobody reads standard output any more: a command that goes on for ever ends.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Text that is the answer itself and has no JSON form, such as help.
    pub fn text(&mut self, text: impl Into<Page>) -> Result<(), Failure> {
        self.write(&text.into().render(self.colour_out, self.room()))
    }

    /// Columns for an answer, where they are bounded.
    pub fn room(&self) -> Option<usize> {
        terminal::of_stdout()
    }

    /// An answer that is JSON for people, too: over several lines, and none of them cut.
    pub fn document(&mut self, what: &str, data: Value) -> Result<(), Failure> {
        match self.json {
            true => self.answer(what, data, ""),
            false => self.write(&(locale::json(&text::json_lines(&data)) + "\n")),
        }
    }

    /// What a shell is to read: ours as it is.
    pub fn script(&mut self, text: &'static str) -> Result<(), Failure> {
        self.write(text)
    }

    /// What can follow on a command line, as the script of a shell reads it: word, tab, meaning;
    /// a word that means itself stands alone.
    pub fn candidates(&mut self, all: &[(String, String)]) -> Result<(), Failure> {
        let line = |(word, help): &(String, String)| {
            let tab = if help.is_empty() { "" } else { "\t" };
            format!("{}{tab}{}\n", text::shown(word), text::shown(help))
        };
        self.write(&all.iter().map(line).collect::<String>())
    }

    fn json_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.write(&(locale::json(&text::json(value)) + "\n"))
    }

    /// What another program said, after a head of ours: as it may be seen where somebody sees it,
    /// else its bytes. `end`: the line does, too.
    pub fn said(&mut self, head: &Line, bytes: &[u8], end: bool) -> Result<(), Failure> {
        let mut line = locale::text(&head.render(self.colour_out, None)).into_owned().into_bytes();
        match io::stdout().is_terminal() {
            true => line.extend(locale::text(&said(bytes)).as_bytes()),
            false => line.extend(bytes),
        }
        line.extend(end.then_some(b'\n'));
        self.bytes(&line)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(locale::text(text).as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = self.screen.around(|| stdout.write_all(bytes).and_then(|()| stdout.flush()));
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                let what = "cannot write the answer";
                let next = Fix::of_write(Path::new("/dev/stdout"), &error);
                Err(Failure::new(Fault::Failed, what, error.to_string(), next))
            }
        }
    }

    /// Something the user should know although the command goes on.
    pub fn warn(&mut self, code: &'static str, message: &str) {
        let line = Line::default().in_colour(Colour::Yellow, "warning:").and(" ").and(message);
        self.screen.line(line);
        self.warnings.push((code, text::shown(message).into_owned()));
    }

    /// A word on the side; silent with `--quiet`.
    pub fn say(&mut self, text: &str) {
        if self.volume > Volume::Quiet {
            self.screen.line(text.into());
        }
    }

    /// Several such lines.
    pub fn show(&mut self, page: &Page) {
        if self.volume > Volume::Quiet {
            page.lines().for_each(|line| self.screen.line(line.clone()));
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

    /// Work under way of which nothing stays: what it does is shown on a terminal while it does
    /// it. Silent with `--quiet`.
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

    /// The text of a question; the answer is read by the caller, on the same line.
    pub fn prompt(&mut self, text: impl Into<Page>) {
        self.screen.ask(&text.into());
    }

    /// The answer did not come: the line of the question ends.
    pub fn unanswered(&mut self) {
        self.screen.line(Line::default());
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn is_verbose(&self) -> bool {
        self.volume == Volume::Verbose
    }

    /// Says why a command failed and returns its exit code.
    pub fn fail(&mut self, failure: &Failure) -> Code {
        let (ended, label, colour) = match failure.fault {
            Fault::Stopped => ("stopped", "stopped;", Colour::Yellow),
            Fault::Declined => ("declined", "declined:", Colour::Yellow),
            _ => ("failed", "error:", Colour::Alarm),
        };
        self.screen.end(ended);
        let code = failure.code();
        if self.json {
            let envelope = json!({
                "schema": "hopbox.error/1", "ok": false, "error": failure_json(failure),
                "exit": code as u8,
            });
            let _ = self.json_line(&envelope);
        }
        let line = Line::default().in_colour(colour, label).and(" ");
        match failure.fault {
            Fault::Stopped => self.screen.line(line.and(&failure.why)),
            _ => self.told(line.and(&failure.what), failure),
        }
        code
    }

    /// The failure of one host among several: told on the side, silent with `--quiet`.
    pub fn fail_one(&mut self, host: &str, failure: &Failure) {
        if self.volume > Volume::Quiet {
            self.told(format!("error: {host}: {}", text::shown(&failure.what)).into(), failure);
        }
    }

    /// What goes on is told where the step stands that was begun, and nothing of it stays.
    fn is_in_one_line(&self) -> bool {
        self.volume < Volume::Verbose && self.screen.is_waiting()
    }

    fn told(&self, error: Line, failure: &Failure) {
        self.screen.line(error);
        for why in std::iter::once(&failure.why).chain(&failure.also) {
            self.screen.line(Line::from(indent(why)).and(why));
        }
        self.screen.line(Line::from(format!("fix: {}", failure.next)).whole());
    }
}

impl Report for Out {
    fn step(&mut self, text: &str, time: Duration) {
        if self.is_in_one_line() {
            self.detail(text);
        } else if self.volume > Volume::Quiet {
            self.screen.line(Line::from(text).and("  ").in_colour(Colour::Dim, took(time)));
        }
    }

    fn waits(&mut self, text: &str) {
        match self.is_in_one_line() {
            true => self.detail(text),
            false => self.say(text),
        }
    }

    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn ready(&mut self, facts: &Facts) {
        self.done("");
        log(&format!("usable after {}; Ctrl-C ends it", took(facts.total)));
    }
}

/// Before the "why" of a failure. It may be another program's last line, which is marked where it
/// could be taken for one of ours.
fn indent(why: &str) -> &'static str {
    if looks_ours(why) { "  | " } else { "  " }
}

/// `NO_COLOR` with any text, and a terminal without abilities, mean no colour.
fn colour_wanted() -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

fn warning_json((code, message): &(&'static str, String)) -> Value {
    json!({"code": code, "message": message})
}
/// A failure in JSON.
pub fn failure_json(failure: &Failure) -> Value {
    let message = format!("{}: {}", text::shown(&failure.what), text::shown(&failure.why));
    let code = failure.code().word();
    let mut error = json!({"code": code, "message": message, "fix": &*failure.next});
    if !failure.also.is_empty() {
        error["also"] = failure.also.iter().map(|why| text::shown(why)).collect();
    }
    error
}
