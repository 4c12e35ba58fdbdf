//! What root does on the server: one script, run once, so that sudo asks at most once.
//!
//! It installs what was sent, tells the agent of this laptop, and starts it. The stages are told as
//! they end, on a terminal among other words. Answers stay in the login's private directory until
//! they are fetched.

use std::io::Write;

use super::super::trial::Trial;
use crate::ssh::own::Nonce;
use crate::ssh::right::IS_ROOT;
use crate::ssh::script::READS_NOTHING;

/// The stages in their order, as the script names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Helper,
    Install,
    Setup,
    Start,
}

pub const STAGES: [(Stage, &str); 4] = [
    (Stage::Helper, "helper"),
    (Stage::Install, "install"),
    (Stage::Setup, "setup"),
    (Stage::Start, "start"),
];

impl Stage {
    pub fn name(self) -> &'static str {
        STAGES.iter().find(|(stage, _)| *stage == self).map_or("", |(_, name)| name)
    }
}

/// The login is who has this directory. A helper or an agent that lies here was sent and is to be
/// installed.
const SCRIPT: &str = r#"
umask 077
@IS_ROOT@cd "$(dirname "$0")" || exit 1
@READS_NOTHING@say() { printf '\n@MARK@%s\n' "$*"; }
stage() {
    name=$1; shift
    "$@" >$name.out 2>$name.err
    status=$?
    chown -h "$login" $name.out $name.err
    if [ $status = 0 ]; then say done $name; return; fi
    if [ -d $mark ] && undo >undo.out 2>&1; then say undone all; fi
    say failed $name $status
    exit 1
}
# What works is kept, so that it can be put back.
begin() {
    [ -d $mark ] && return
    [ -f hop-helper ] || [ -f hop-agent ] || return
    $lib/hop-agent version
}
helper() {
    if begin >/dev/null 2>&1; then keep || return 1; fi
    unpack || return 1
    [ ! -f hop-helper ] || $here/hop-helper --install
}
install() { [ ! -f hop-agent ] || $here/hop-agent install; }
# The agent before can read what it writes itself, should it be put back.
setup() {
    agent=$lib/hop-agent
    if [ -x $mark/hop-agent ]; then
        agent=$mark/hop-agent
        sh $mark/trial.sh back || return 1
    fi
    $agent setup <request.json
}
# One that has the same version and yet does not know it is asked without our name for it.
start() {
    $lib/hop-agent start $restart @CALLED@
    status=$?
    [ $status = 2 ] || return $status
    $lib/hop-agent start $restart
}
login=$(stat -c %u .) restart=
[ ! -f hop-agent ] && [ ! -d $mark ] || restart=--restart
say done begin
stage helper helper
stage install install
stage setup setup
stage start start
"#;

/// `called`: words that tell the agent what this laptop calls it.
pub fn script(trial: &Trial, called: &str, nonce: &Nonce) -> String {
    let script = SCRIPT.replace("@MARK@", &mark(nonce)).replace("@CALLED@", called);
    trial.script() + &script.replace("@READS_NOTHING@", READS_NOTHING).replace("@IS_ROOT@", IS_ROOT)
}

/// Begins a line that the script says to us. What else is said at a terminal there may look like
/// it, and does not know this connection's word.
fn mark(nonce: &Nonce) -> String {
    format!("hopbox-stage-{}:", nonce.as_str())
}

/// The command that runs the script, which was put into `room`. `sudo`: the words before it.
pub fn command(sudo: &str, room: &str) -> String {
    format!("{sudo}sh \"$HOME\"/{room}/root.sh")
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The script runs: sudo let us.
    Begun,
    Done(Stage),
    Failed(Stage),
    /// The programs before are back.
    Undone,
}

/// Tells the script's lines from everything else, which goes to `aside` as it comes.
pub struct Ear<'a> {
    mark: String,
    line: Vec<u8>,
    /// How much of `line` was passed on already.
    passed: usize,
    aside: Option<&'a mut (dyn Write + Send)>,
}

impl<'a> Ear<'a> {
    pub fn new(nonce: &Nonce, aside: Option<&'a mut (dyn Write + Send)>) -> Ear<'a> {
        Ear { mark: mark(nonce), line: Vec::new(), passed: 0, aside }
    }

    pub fn hear(&mut self, bytes: &[u8], told: &mut dyn FnMut(Heard)) {
        for byte in bytes {
            // A line longer than any of ours is somebody else's.
            if self.line.len() < 4096 || *byte == b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                match heard(&line, &self.mark) {
                    Some(heard) => told(heard),
                    None if line.trim_ascii().is_empty() && self.passed == 0 => {}
                    None => self.pass(&line),
                }
                self.passed = 0;
            }
        }
        // A prompt has no end of line: what cannot become a line of ours is shown at once.
        let mark = self.mark.as_bytes();
        if !mark.starts_with(&self.line) && !self.line.starts_with(mark) {
            let line = std::mem::take(&mut self.line);
            self.pass(&line);
            self.passed = line.len();
            self.line = line;
        }
    }

    fn pass(&mut self, line: &[u8]) {
        if let Some(aside) = &mut self.aside {
            let new = line.get(self.passed..).unwrap_or_default();
            let _ = aside.write_all(new).and_then(|()| aside.flush());
        }
    }
}

fn heard(line: &[u8], mark: &str) -> Option<Heard> {
    let text = std::str::from_utf8(line).ok()?.trim().strip_prefix(mark)?;
    let mut words = text.split(' ');
    let (outcome, name) = (words.next()?, words.next()?);
    if (outcome, name) == ("done", "begin") {
        return Some(Heard::Begun);
    }
    if (outcome, name) == ("undone", "all") {
        return Some(Heard::Undone);
    }
    let (stage, _) = STAGES.iter().find(|(_, known)| *known == name)?;
    match outcome {
        "done" => Some(Heard::Done(*stage)),
        "failed" => Some(Heard::Failed(*stage)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut ear = Ear::new(&nonce, Some(&mut shown));
            for piece in stream.as_bytes().chunks(size) {
                ear.hear(piece, &mut |heard| stages.push(heard));
            }
            let expected =
                [Heard::Begun, Heard::Done(Stage::Helper), Heard::Failed(Stage::Install)];
            assert_eq!(stages, expected, "{size}");
            let shown = String::from_utf8(shown).unwrap();
            let aside = format!("[sudo] password for pat: \r\nSorry, try again.\r\n{stray}");
            assert_eq!(shown, aside, "{size}");
        }
    }

    #[test]
    fn a_prompt_is_shown_before_its_line_ends() {
        let mut shown = Vec::new();
        let mut ear = Ear::new(&Nonce::new().unwrap(), Some(&mut shown));
        ear.hear(b"[sudo] pass", &mut |_| {});
        ear.hear(b"word: ", &mut |_| {});
        drop(ear);
        assert_eq!(shown, b"[sudo] password: ");
    }
}
