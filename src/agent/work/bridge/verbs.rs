//! What a person or a program types: `hop-agent clip`, `paste`, `open`, `notify`, `ask`,
//! `cdp`.
//! The answer is on standard output or the exit status, why there is none in one line on standard
//! error.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::client::{self, Unheard};
use super::limits::{is_png, too_much};
use super::wire::Reply;
use crate::agent::{log, print};
use crate::base::command_line::Args;
use crate::base::exit::Code;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Kind, Outcome, What};
use crate::text::shown;

/// While an agent is replaced by another one.
const BACK_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest that is waited for an answer.
const LONGEST_S: u64 = 30 * 24 * 3600;

/// What became of it, as an exit status, and why in a sentence.
pub struct Unmet {
    pub code: Code,
    pub why: String,
}

impl From<Unheard> for Unmet {
    fn from(unheard: Unheard) -> Unmet {
        let (code, why) = match unheard {
            Unheard::Sandbox => (
                Code::Unreachable,
                "sandbox: this program is cut off from the agent, and so from the laptop",
            ),
            Unheard::Absent => (Code::Unreachable, "the agent does not run for this login"),
            Unheard::Lost => (Code::Unreachable, "the agent ended before there was an answer"),
            Unheard::Late => (Code::Timeout, "there was no answer in time"),
        };
        Unmet { code, why: why.to_owned() }
    }
}

/// What is left of a reply that is no answer.
pub fn unmet(reply: Reply) -> Unmet {
    let (code, why) = match reply {
        Reply::Outcome(Outcome::Denied(why)) => (Code::Declined, format!("denied: {why}")),
        Reply::Outcome(Outcome::Failed(why)) => (Code::Failed, why),
        Reply::Away(why) => (Code::Unreachable, format!("laptop away: {why}")),
        Reply::Busy(why) => (Code::Busy, why),
        Reply::Wrong(why) => (Code::Usage, why),
        Reply::Outcome(_) | Reply::Pasted(_) | Reply::Held => {
            (Code::Failed, "the answer is another one's".to_owned())
        }
    };
    Unmet { code, why }
}

/// All that standard input holds, as something that is copied.
pub fn input() -> Result<(What, Vec<u8>), Unmet> {
    copied(io::stdin().lock())
}

pub fn copied(from: impl Read) -> Result<(What, Vec<u8>), Unmet> {
    let mut bytes = Vec::new();
    let read = from.take(CLIPBOARD_BYTES as u64 + 1).read_to_end(&mut bytes);
    let unmet = |code, why| Err(Unmet { code, why });
    match read {
        Err(error) => return unmet(Code::Failed, format!("standard input: {error}")),
        Ok(count) if count > CLIPBOARD_BYTES => return unmet(Code::Usage, too_much(count as u64)),
        Ok(_) => {}
    }
    let kind = if is_png(&bytes) { Kind::Png } else { Kind::Text };
    Ok((What::Copy { kind, bytes: bytes.len() as u64 }, bytes))
}

pub fn copy((what, bytes): (What, Vec<u8>)) -> Result<(), Unmet> {
    match client::ask(&what, &bytes, None)? {
        (Reply::Outcome(Outcome::Done), _) => Ok(()),
        (reply, _) => Err(unmet(reply)),
    }
}

pub fn pasted(kind: Kind) -> Result<Vec<u8>, Unmet> {
    match client::ask(&What::Paste { kind }, &[], None)? {
        (Reply::Pasted(_), bytes) => Ok(bytes),
        (reply, _) => Err(unmet(reply)),
    }
}

pub fn open(url: &str) -> Result<(), Unmet> {
    match client::ask(&What::Open { url: url.to_owned() }, &[], None)? {
        (Reply::Outcome(Outcome::Done), _) => Ok(()),
        (reply, _) => Err(unmet(reply)),
    }
}

pub fn notify(title: &str, body: &str) -> Result<(), Unmet> {
    let what = What::Notify { title: title.to_owned(), body: body.to_owned() };
    match client::ask(&what, &[], None)? {
        (Reply::Outcome(Outcome::Done) | Reply::Held, _) => Ok(()),
        (reply, _) => Err(unmet(reply)),
    }
}

/// Waits for the laptop, and for its owner; also for an agent that takes the place of this one.
pub fn ask(question: &str, options: &[String], limit: Option<Duration>) -> Result<u8, Unmet> {
    let began = Instant::now();
    let what = What::Ask { question: question.to_owned(), options: options.to_vec() };
    let mut lost = None;
    loop {
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        match client::ask(&what, &[], left) {
            Ok((Reply::Outcome(Outcome::Chosen(place)), _)) => return Ok(place),
            // Yes.
            Ok((Reply::Outcome(Outcome::Done), _)) => return Ok(0),
            Ok((reply, _)) => return Err(unmet(reply)),
            Err(Unheard::Lost) => lost = Some(Instant::now()),
            Err(Unheard::Absent) if lost.is_some_and(|at| at.elapsed() < BACK_WITHIN) => {}
            Err(unheard) => return Err(unheard.into()),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What was pasted, byte for byte.
pub fn put(bytes: &[u8]) {
    // A reader that closed its end has seen what it wanted.
    let _ = io::stdout().write_all(bytes).and_then(|()| io::stdout().flush());
}

fn status(done: Result<(), Unmet>) -> u8 {
    match done {
        Ok(()) => Code::Done as u8,
        Err(Unmet { code, why }) => {
            log(&format!("hop-agent: {why}"));
            code as u8
        }
    }
}

fn operand(args: &Args, place: usize) -> &str {
    args.operands.get(place).map_or("", String::as_str)
}

pub fn clip_verb() -> u8 {
    status(input().and_then(copy))
}

pub fn paste_verb(args: &Args) -> u8 {
    let kind = if args.has("png") { Kind::Png } else { Kind::Text };
    status(pasted(kind).map(|bytes| put(&bytes)))
}

pub fn open_verb(args: &Args) -> u8 {
    status(open(operand(args, 0)))
}

pub fn notify_verb(args: &Args) -> u8 {
    status(notify(operand(args, 0), operand(args, 1)))
}

/// The first answer is a yes; whatever else was chosen is said, too, and is none.
pub fn ask_verb(args: &Args) -> u8 {
    let given = args.value("options").map(|all| all.split(',').map(|one| one.trim().to_owned()));
    let usual = ["yes", "no"].map(str::to_owned).to_vec();
    let options = given.map_or(usual, Iterator::collect);
    let limit = args.value("timeout").map(|text| text.parse::<u64>());
    let limit = match limit {
        None => None,
        Some(Ok(seconds @ 1..=LONGEST_S)) => Some(Duration::from_secs(seconds)),
        Some(_) => {
            let why = format!("--timeout: must be seconds from 1 to {LONGEST_S}");
            return status(Err(Unmet { code: Code::Usage, why }));
        }
    };
    match ask(operand(args, 0), &options, limit) {
        Ok(place) => {
            let chosen = options.get(usize::from(place)).map_or("", String::as_str);
            print(&format!("{}\n", shown(chosen)));
            if place == 0 { Code::Done as u8 } else { Code::Declined as u8 }
        }
        Err(unmet) => status(Err(unmet)),
    }
}

pub fn cdp_verb() -> u8 {
    if let Some(port) = client::browser() {
        return print(&format!("http://127.0.0.1:{port}\n"));
    }
    let why = "no workspace here declares a browser (bridges: [{type: cdp}]), or all of its \
               ports are taken";
    status(Err(Unmet { code: Code::NotFound, why: why.to_owned() }))
}
