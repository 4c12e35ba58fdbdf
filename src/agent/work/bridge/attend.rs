//! One program that wants something of a laptop: what it says is read, put into the queue, and
//! what becomes of it is told. A program that has gone wants nothing any more.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bytes;
use super::limits::{BYTES_WITHIN, OWNER, PROMPT, Sort, check, is_such, too_much};
use super::queue::{Event, Queue, Refusal, Ticket};
use super::wire::{self, REQUEST_BYTES, Reply, Request, Side, nonce};
use crate::base::json::Fields;
use crate::base::line_socket::put;
use crate::rpc::types::Message;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Outcome, What};
use crate::sys::line::Lines;
use crate::sys::poll::{self, Interest};

const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// How it is known that a connection is of this login's.
pub enum Whose {
    /// The kernel says so.
    Told,
    /// Whoever knows this has read it in a file of the login's.
    Proven(Arc<str>),
}

pub fn refuse(stream: &UnixStream) {
    let _ = stream.set_nonblocking(true);
    let _ = put(stream, &Reply::Busy("too many programs ask".to_owned()).to_json().to_string());
}

pub fn attend(queue: &Arc<Queue>, stream: UnixStream, whose: &Whose) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(REQUEST_WITHIN))?;
    let mut lines = Lines::new(stream, REQUEST_BYTES);
    let is_theirs = match whose {
        Whose::Told => None,
        Whose::Proven(secret) => Some(welcome(&mut lines, secret)?),
    };
    let line = lines.next(REQUEST_WITHIN, None)?;
    let read = Fields::parse(&line).and_then(|mut fields| Request::read(&mut fields));
    let (stream, first) = lines.into_parts();
    let (reply, pasted) = match read {
        Err(error) => (Reply::Wrong(error.to_string()), Vec::new()),
        Ok(Request { proof, .. }) if is_theirs.is_some() && proof != is_theirs => {
            (Reply::Wrong("it is not known that this login asks".to_owned()), Vec::new())
        }
        Ok(Request { what, .. }) => match wanted(queue, what, first, &stream)? {
            Some(done) => done,
            None => return Ok(()),
        },
    };
    bytes::put(&stream, format!("{}\n", reply.to_json()).as_bytes(), BYTES_WITHIN)?;
    bytes::put(&stream, &pasted, BYTES_WITHIN)
}

/// Shows that we know the secret, and says what proves the same of the other side.
fn welcome(lines: &mut Lines<UnixStream>, secret: &str) -> io::Result<String> {
    let line = lines.next(REQUEST_WITHIN, None)?;
    let theirs = Fields::parse(&line).and_then(|mut fields| fields.string("nonce"));
    let theirs = theirs.map_err(|_| ErrorKind::InvalidData)?;
    let ours = nonce()?;
    let proof = wire::proof(Side::Agent, secret, &theirs);
    put(lines.stream(), &wire::welcome_line(&proof, &ours))?;
    Ok(wire::proof(Side::Program, secret, &ours))
}

type Told = (Reply, Vec<u8>);

/// Nothing for a program that has gone.
fn wanted(
    queue: &Arc<Queue>,
    what: What,
    first: Vec<u8>,
    stream: &UnixStream,
) -> io::Result<Option<Told>> {
    let refused = |refusal| Ok(Some((refusal_reply(refusal), Vec::new())));
    if let Err(why) = check(&what) {
        return refused(Refusal::Wrong(why));
    }
    if let What::Notify { .. } = what {
        return match queue.post(what) {
            Ok(true) => Ok(Some((Reply::Outcome(Outcome::Done), Vec::new()))),
            Ok(false) => Ok(Some((Reply::Held, Vec::new()))),
            Err(refusal) => refused(refusal),
        };
    }
    let copied = match &what {
        What::Copy { kind, bytes } => {
            let count = usize::try_from(*bytes).unwrap_or(usize::MAX);
            let copied = bytes::exactly(stream, first, count, BYTES_WITHIN)?;
            if let Err(why) = is_such(*kind, &copied) {
                return refused(Refusal::Wrong(why));
            }
            copied
        }
        _ => Vec::new(),
    };
    let sort = Sort::of(&what);
    match queue.want(what) {
        Ok(ticket) => Ok(Wanting { ticket, stream, copied, sort }.until_its_end()),
        Err(refusal) => refused(refusal),
    }
}

fn refusal_reply(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Away => Reply::Away("no laptop is connected".to_owned()),
        Refusal::Busy(why) => Reply::Busy(why),
        Refusal::Wrong(why) => Reply::Wrong(why),
    }
}

struct Wanting<'a> {
    ticket: Ticket,
    stream: &'a UnixStream,
    copied: Vec<u8>,
    sort: Option<Sort>,
}

impl Wanting<'_> {
    fn until_its_end(self) -> Option<Told> {
        // A question waits as long as whoever asks.
        let mut end = match self.sort {
            Some(Sort::Ask) => None,
            _ => Some(Instant::now() + PROMPT),
        };
        let (mut pasted, mut late) = (None, "the laptop does not answer");
        loop {
            for event in self.ticket.events() {
                match event {
                    Event::Away => return told(Reply::Away("the laptop has gone".to_owned())),
                    Event::Answered(Outcome::Asking) => {
                        end = end.map(|_| Instant::now() + OWNER);
                        late = "nobody answers at the laptop";
                    }
                    Event::Answered(Outcome::Done) if self.sort == Some(Sort::Paste) => {
                        return pasted.map_or_else(
                            || told(failed("it was said to be done, and no byte came")),
                            |bytes: Vec<u8>| Some((Reply::Pasted(bytes.len()), bytes)),
                        );
                    }
                    Event::Answered(outcome) => return told(Reply::Outcome(outcome)),
                    Event::Taken(laptop, first) => match self.carry(&laptop, first) {
                        Ok(bytes) => {
                            pasted = Some(bytes);
                            end = Some(Instant::now() + BYTES_WITHIN);
                        }
                        Err(why) => return told(failed(&why)),
                    },
                }
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return told(Reply::Away(late.to_owned()));
            }
            let asks = (self.stream.as_fd(), Interest::READ);
            let [gone, _] =
                poll::wait_each([asks, (self.ticket.as_fd(), Interest::READ)], left).ok()?;
            // It has nothing more to say.
            if gone.any() {
                return None;
            }
        }
    }

    /// The bytes of a copy to the laptop, or those of a paste from it.
    fn carry(&self, laptop: &UnixStream, first: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.sort != Some(Sort::Paste) {
            let sent = bytes::put(laptop, &self.copied, BYTES_WITHIN);
            return sent.map(|()| Vec::new()).map_err(|error| format!("the laptop: {error}"));
        }
        let read = bytes::to_end(laptop, first, CLIPBOARD_BYTES, BYTES_WITHIN);
        read.map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => too_much(CLIPBOARD_BYTES as u64 + 1),
            _ => format!("the laptop: {error}"),
        })
    }
}

fn failed(why: &str) -> Reply {
    Reply::Outcome(Outcome::Failed(why.to_owned()))
}

fn told(reply: Reply) -> Option<Told> {
    Some((reply, Vec::new()))
}
