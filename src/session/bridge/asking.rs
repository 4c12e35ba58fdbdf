//! Somebody here is asked: as a notice, and by whoever looks at the open questions; and what comes
//! of a wish that is not fulfilled.

use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::journal;
use super::notices;
use super::questions::Reply;
use super::room::Room;
use crate::rpc::types::bridge::Outcome;
use crate::sys::{child, signal};

/// Of a question, in a notice that also says how it is answered.
const SHOWN_CHARS: usize = 800;
const CLOSE_NOTICE: Duration = Duration::from_millis(500);

/// Why it did not become anything.
pub enum Unfulfilled {
    Denied(String),
    Failed(String),
    TakenBack,
}

pub type Fulfilled<T> = Result<T, Unfulfilled>;

pub fn failed(why: impl ToString) -> Unfulfilled {
    Unfulfilled::Failed(why.to_string())
}

/// Somebody here says yes.
pub fn consent(room: &Arc<Room>, id: u64, question: &str) -> Fulfilled<()> {
    match ask(room, id, question, &["no".to_owned(), "yes".to_owned()])? {
        1 => Ok(()),
        _ => Err(Unfulfilled::Denied("somebody at the laptop said no".to_owned())),
    }
}

/// The place of what somebody here has chosen.
pub fn ask(room: &Arc<Room>, id: u64, question: &str, options: &[String]) -> Fulfilled<usize> {
    let asked = room.questions.ask(id, question, options, journal::now());
    let (asked, reply) = asked.ok_or_else(|| failed("too many questions are open"))?;
    // Whoever asked is gone.
    if !room.answer(id, Outcome::Asking) {
        room.questions.take_back(id);
    }
    let shown = Shown::new(room, asked.number, question, options);
    let reply: Result<Reply, _> = reply.recv();
    drop(shown);
    match reply {
        Ok(Reply::Chosen(place)) => Ok(place),
        Ok(Reply::TakenBack) | Err(_) => Err(Unfulfilled::TakenBack),
    }
}

/// A question as a notice, until this value goes.
struct Shown(Option<Child>);

impl Shown {
    fn new(room: &Arc<Room>, number: u32, question: &str, options: &[String]) -> Shown {
        let host = &room.host.name;
        let start: String = question.chars().take(SHOWN_CHARS).collect();
        let hint = format!("{start}\n\nhop bridge answer {number} -H {host}");
        let mut child = notices::ask(&room.programs, host, &hint, options);
        match child.as_mut().and_then(|child| child.stdout.take()) {
            Some(output) => {
                let room = room.clone();
                let hear = move || {
                    if let Some(place) = notices::pressed(output) {
                        let _ = room.questions.answer(number, place);
                    }
                };
                let _ = thread::Builder::new().name("answer".to_owned()).spawn(hear);
            }
            None => drop(notices::show(&room.programs, host, "asks", &hint)),
        }
        Shown(child)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Some(child) = &mut self.0 else { return };
        // Asked to end, it takes the notice away.
        let _ = signal::send(child.id(), signal::Kind::Interrupt);
        if !matches!(child::wait_for(child, CLOSE_NOTICE), Ok(Some(_))) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
