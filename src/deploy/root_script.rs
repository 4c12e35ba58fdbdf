//! What root does on a server: one script, run once, so that sudo asks at most once.
//!
//! It works in the login's private directory: what it needs was put there before, and what its
//! stages said is fetched from there afterwards. That it began, and how its stages ended, it tells
//! on its standard output, on a terminal among other words. It reads nothing but its files.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::console::Console;
use super::remote::Remote;
use crate::base::failure::{Failure, Fault};
use crate::base::terminal;
use crate::ssh::connection::Feed;
use crate::ssh::right::{FENCED, IS_ROOT, NOT_ROOT, PROMPT, Right, STOPPED};
use crate::ssh::script::READS_NOTHING;
use crate::ssh::sentinel::Nonce;
use crate::sys::child::Done;
use crate::sys::interrupt::Shield;

/// Longest that root's part may take, with time for a password to be typed.
pub const ROOT_LIMIT: Duration = Duration::from_secs(300);

/// Functions, and the directory. The login is who has it. `gone_wrong` may undo what was done.
const BEGIN: &str = r#"umask 077
@IS_ROOT@cd "$(dirname "$0")" || exit 1
@READS_NOTHING@login=$(stat -c %u .)
stopped=; trap stopped=yes INT
say() { printf '\n@TOLD@%s\n' "$*"; }
gone_wrong() { false; }
stage() {
    name=$1; shift
    "$@" >$name.out 2>$name.err
    status=$?
    chown -h "$login" $name.out $name.err
    if [ $status = 0 ]; then say done $name; [ "$stopped" ] || return 0; fi
    if gone_wrong $name >gone_wrong.out 2>&1; then say undone all; fi
    [ -z "$stopped" ] || exit @STOPPED@
    say failed $name $status
    exit 1
}
say done begin
"#;

/// Most that is kept of what others say between two questions.
const HELD_BYTES: usize = 64 * 1024;

/// A script of root's, in stages.
pub struct Script<'a> {
    /// Calls `stage NAME COMMAND…` for each.
    pub text: &'a str,
    pub stages: &'static [&'static str],
    /// What it reads, by name.
    pub files: &'a [(&'a str, &'a [u8])],
}

/// How a script ended that sudo let run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The stage that failed, and its status.
    pub failed: Option<(&'static str, i32)>,
    /// What was done is undone.
    pub undone: bool,
}

/// Why there is no such end.
pub enum NotRun {
    /// sudo did not let it run; a password was mistyped, or this login never can.
    Refused {
        failure: Failure,
        mistyped: bool,
    },
    Failed(Failure),
}

impl From<Failure> for NotRun {
    fn from(failure: Failure) -> NotRun {
        NotRun::Failed(failure)
    }
}

impl From<NotRun> for Failure {
    fn from(not: NotRun) -> Failure {
        match not {
            NotRun::Refused { failure, .. } | NotRun::Failed(failure) => failure,
        }
    }
}

impl Remote {
    /// Runs a script as root; `told` hears of each stage that is done.
    pub fn as_root(
        &self,
        console: &mut dyn Console,
        script: &Script<'_>,
        told: &mut dyn FnMut(&mut dyn Console, &'static str),
    ) -> Result<Ended, NotRun> {
        let right = self.right(console)?;
        for (name, bytes) in script.files {
            self.put(name, bytes)?;
        }
        let nonce = &self.connection.nonce;
        self.put("root.sh", (begin(nonce) + script.text).as_bytes())?;
        let asks = right == Right::Asks;
        if asks {
            console.hold();
        }
        let mut stderr = terminal::aside();
        let mut parser = MarkerParser::new(nonce, script.stages, asks.then_some(&mut stderr));
        let (mut begun, mut ended) = (false, Ended::default());
        let mut hear = |bytes: &[u8]| {
            parser.hear(bytes, &mut |marker| match marker {
                Marker::Begun => {
                    begun = true;
                    console.resume();
                }
                Marker::Done(stage) => told(console, stage),
                Marker::Failed(stage, status) => ended.failed = Some((stage, status)),
                Marker::Undone => ended.undone = true,
            });
        };
        let feed = if asks { Feed::Terminal } else { right.silence() };
        let script = format!("\"$HOME\"/{}/root.sh", self.scratch_dir()?.path());
        let command = right.runs(&script, &self.target.address);
        // At a terminal Ctrl-C is heard over there. Elsewhere what root has begun there comes to
        // its end, which takes seconds.
        let shield = (!asks).then(Shield::raise);
        let done = self.connection.stream(&command, feed, &mut hear, ROOT_LIMIT);
        drop(shield);
        console.resume();
        let done = done?;
        if done.status.code() == Some(STOPPED) {
            return Err(Failure::stopped(self.again.clone()).into());
        }
        match ended.failed {
            None if !begun => Err(self.sudo_refused(&done)?),
            None if !done.status.success() => {
                Err(self.refused("what root was to do there broke off", &done).into())
            }
            _ => Ok(ended),
        }
    }

    /// One command of root's in sh, and what it said; its status is the caller's to judge. What it
    /// is to read is in `root.in`.
    pub fn root_command(
        &self,
        console: &mut dyn Console,
        command: &str,
        input: &[u8],
    ) -> Result<Done, Failure> {
        let text = format!("run() {{\n{command}\n}}\nstage run run\n");
        let script = Script { text: &text, stages: &["run"], files: &[("root.in", input)] };
        let ended = self.as_root(console, &script, &mut |_, _| {})?;
        let code = ended.failed.map_or(0, |(_, status)| status);
        Ok(Done { status: ExitStatus::from_raw(code << 8), ..self.said("run")? })
    }

    /// What a stage said. It may be secret, as what it read: neither is left there.
    pub fn said(&self, stage: &str) -> Result<Done, Failure> {
        let dir = self.scratch_dir()?.path();
        let take = format!("cat {stage}.out; cat {stage}.err >&2; rm -f {stage}.* root.in");
        self.must(&format!("sh -c 'cd {dir} || exit; {take}'"), b"")
    }

    /// A stage's own words about its failure.
    pub fn stage_failed(&self, stage: &str) -> Failure {
        let said = self.said(stage);
        if let Some(failure) = said.as_ref().ok().and_then(|said| self.told(said)) {
            return failure;
        }
        // What it did is on its standard output, what stopped it on standard error.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (words, errors) =
            said.map(|said| (text(&said.stdout), text(&said.stderr))).unwrap_or_default();
        let why = last_line(&errors).or(last_line(&words)).unwrap_or("it said nothing");
        let what = format!("{stage} failed on {}", self.name);
        Failure::new(Fault::Remote, what, why, self.helps())
    }

    /// On a terminal sudo's words are among the output.
    fn sudo_refused(&self, done: &Done) -> Result<NotRun, Failure> {
        let survey = self.survey()?;
        let user = survey.get("user");
        let (text, complaint) = (done.text(), done.complaint());
        let theirs = |line: &&str| line.contains("sudo") || line.contains(user);
        let said = text.lines().rfind(theirs).map_or(complaint, |line| line.trim().to_owned());
        let is_fenced = done.status.code() == Some(NOT_ROOT);
        let why = if is_fenced { FENCED.to_owned() } else { said };
        let right = if is_fenced { Right::Fenced } else { survey.sudo };
        // sudo asks once more only after a mistake; who administers the server may do what this is.
        let asked = text.matches(PROMPT).count();
        let mistyped = !is_fenced && (asked > 1 || survey.get("admin") == "yes");
        let next = if mistyped { self.again.clone() } else { self.becomes_root(survey, right) };
        let what = format!("sudo on {} did not let {user} become root", self.target.address);
        let failure = Failure::new(Fault::Failed, what, why, next);
        Ok(NotRun::Refused { failure, mistyped })
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

fn begin(nonce: &Nonce) -> String {
    let script = BEGIN.replace("@TOLD@", &mark(nonce)).replace("@IS_ROOT@", IS_ROOT);
    let script = script.replace("@STOPPED@", &STOPPED.to_string());
    script.replace("@READS_NOTHING@", READS_NOTHING)
}

/// Begins a line that the script says to us. What else is said at a terminal there may look like
/// it, and does not know this connection's word.
fn mark(nonce: &Nonce) -> String {
    format!("hopbox-stage-{}:", nonce.as_str())
}

/// What a script tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    /// It runs: sudo let us.
    Begun,
    Done(&'static str),
    Failed(&'static str, i32),
    /// What was there before is back.
    Undone,
}

/// Tells the script's lines from everything else, which goes to `aside`: questions as they come,
/// whole lines before the next question, or when sudo has let us. Those after the last question of
/// a sudo that does not are the reason of a failure, which tells them.
struct MarkerParser<'a> {
    mark: String,
    stages: &'static [&'static str],
    line: Vec<u8>,
    /// How much of `line` was passed on already.
    passed: usize,
    /// Whole lines that were not.
    held: Vec<u8>,
    aside: Option<&'a mut (dyn Write + Send)>,
}

impl<'a> MarkerParser<'a> {
    fn new(
        nonce: &Nonce,
        stages: &'static [&'static str],
        aside: Option<&'a mut (dyn Write + Send)>,
    ) -> MarkerParser<'a> {
        MarkerParser {
            mark: mark(nonce),
            stages,
            line: Vec::new(),
            passed: 0,
            held: Vec::new(),
            aside,
        }
    }

    fn hear(&mut self, bytes: &[u8], told: &mut dyn FnMut(Marker)) {
        for byte in bytes {
            // A line longer than any of ours is somebody else's.
            if self.line.len() < 4096 || *byte == b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                match self.marker(&line) {
                    Some(marker) => {
                        self.release();
                        told(marker);
                    }
                    None if self.passed > 0 => self.pass(&line),
                    None if line.trim_ascii().is_empty() => {}
                    None if self.held.len() < HELD_BYTES => self.held.extend_from_slice(&line),
                    None => {}
                }
                self.passed = 0;
            }
        }
        // A prompt has no end of line: what cannot become a line of ours is shown at once.
        let mark = self.mark.as_bytes();
        if !mark.starts_with(&self.line) && !self.line.starts_with(mark) {
            self.release();
            let line = std::mem::take(&mut self.line);
            self.pass(&line);
            self.passed = line.len();
            self.line = line;
        }
    }

    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let Some(aside) = &mut self.aside {
            let _ = aside.write_all(&held);
        }
    }

    fn pass(&mut self, line: &[u8]) {
        if let Some(aside) = &mut self.aside {
            let new = line.get(self.passed..).unwrap_or_default();
            let _ = aside.write_all(new).and_then(|()| aside.flush());
        }
    }

    fn marker(&self, line: &[u8]) -> Option<Marker> {
        let text = std::str::from_utf8(line).ok()?.trim().strip_prefix(&self.mark)?;
        let mut words = text.split(' ');
        let (outcome, name) = (words.next()?, words.next()?);
        match (outcome, name) {
            ("done", "begin") => return Some(Marker::Begun),
            ("undone", "all") => return Some(Marker::Undone),
            _ => {}
        }
        let stage = self.stages.iter().find(|stage| **stage == name)?;
        match outcome {
            "done" => Some(Marker::Done(stage)),
            "failed" => Some(Marker::Failed(stage, words.next()?.parse().ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: &[&str] = &["helper", "install"];

    #[test]
    fn stages_are_told_from_a_terminals_words() {
        let nonce = Nonce::new().unwrap();
        let own = mark(&nonce);
        let stray = "hopbox-stage:done start\nhopbox-stage-0:failed helper 1\n";
        let stream = format!(
            "[sudo] password for pat: \r\nSorry, try again.\r\n{stray}\n{own}done begin\r\n\
             \n{own}done helper\n\n{own}failed install 1\nhop"
        );
        for size in [1, 2, 7, 1000] {
            let (mut shown, mut stages) = (Vec::new(), Vec::new());
            let mut parser = MarkerParser::new(&nonce, STAGES, Some(&mut shown));
            for piece in stream.as_bytes().chunks(size) {
                parser.hear(piece, &mut |marker| stages.push(marker));
            }
            let expected = [Marker::Begun, Marker::Done("helper"), Marker::Failed("install", 1)];
            assert_eq!(stages, expected, "{size}");
            let shown = String::from_utf8(shown).unwrap();
            let aside = format!("[sudo] password for pat: \r\nSorry, try again.\r\n{stray}");
            assert_eq!(shown, aside, "{size}");
        }
    }

    #[test]
    fn the_reason_of_a_failure_is_left_to_the_failure() {
        let (mut shown, mut stages) = (Vec::new(), Vec::new());
        let mut parser = MarkerParser::new(&Nonce::new().unwrap(), STAGES, Some(&mut shown));
        for said in [
            "[sudo] password: ",
            "\r\nSorry, try again.\r\n[sudo] password: ",
            "\r\n\
            sudo: 2 incorrect password attempts\r\n",
        ] {
            parser.hear(said.as_bytes(), &mut |marker| stages.push(marker));
        }
        drop(parser);
        let expected = "[sudo] password: \r\nSorry, try again.\r\n[sudo] password: \r\n";
        assert_eq!((String::from_utf8(shown).unwrap().as_str(), stages), (expected, vec![]));
    }

    #[test]
    fn a_prompt_is_shown_before_its_line_ends() {
        let mut shown = Vec::new();
        let mut parser = MarkerParser::new(&Nonce::new().unwrap(), STAGES, Some(&mut shown));
        parser.hear(b"[sudo] pass", &mut |_| {});
        parser.hear(b"word: ", &mut |_| {});
        drop(parser);
        assert_eq!(shown, b"[sudo] password: ");
    }
}
