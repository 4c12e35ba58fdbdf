//! A pass over a workspace's data on a connection of a laptop's, and what became of it.
//!
//! A laptop that was killed may have said nothing of its end: its TCP may have been its own. When
//! it comes again with the same move, the pass that still waits for it is ended. One at a time for
//! a workspace; 8 s until that has ended.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::line::{Line, Patience};
use super::outgoing::{Outgoing, SoFar};
use super::pause;
use super::places;
use super::receive::Receiving;
use super::room::{self, MoveRoom};
use super::send::{From, Queue, Sending};
use super::stamps::Stamps;
use super::wire::{Answer, Said};
use crate::agent::work::given::Given;
use crate::agent::work::held::{self, Hold};
use crate::agent::work::methods::Refused;
use crate::agent::work::services::{Done, unable};
use crate::agent::work::snap::repository;
use crate::rpc::code::Code;
use crate::rpc::types::migration::{AskPass, OfMove, Outcome, Pass, Side};
use crate::sys::lock::Lock;
use crate::workspace::manifest::Desired;

const OLDER_ENDS_WITHIN: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A pass that goes on.
struct GoingOn {
    /// Of its move.
    id: String,
    socket: TcpStream,
    side: Side,
    so_far: Arc<SoFar>,
}

/// By workspace.
static GOING_ON: Mutex<BTreeMap<String, GoingOn>> = Mutex::new(BTreeMap::new());

fn going_on() -> MutexGuard<'static, BTreeMap<String, GoingOn>> {
    GOING_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far the pass is that this side sends in this move.
pub fn so_far(of: &OfMove) -> Option<Pass> {
    let all = going_on();
    let sends = |it: &&GoingOn| it.id == of.id && it.side == Side::Source;
    all.get(&of.workspace).filter(sends).map(|it| it.so_far.told())
}

/// Alone with the workspace, after the end of an older pass of the same move.
fn alone(of: &OfMove) -> Done<Lock> {
    let end = Instant::now() + OLDER_ENDS_WITHIN;
    loop {
        let taken = room::alone(&of.workspace);
        let is_older = taken.is_err()
            && going_on().get(&of.workspace).is_some_and(|it| {
                it.id == of.id && {
                    let _ = it.socket.shutdown(Shutdown::Both);
                    true
                }
            });
        if !is_older || Instant::now() >= end {
            return taken;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Once the connection is a pass's: until it ends.
pub fn begin(side: Side, asked: &AskPass, given: Given) -> Result<(), (Given, Refused)> {
    let ready = Ready::of(side, asked);
    let ready = match ready {
        Ok(ready) => ready,
        Err(unable) => return Err((given, Refused::from(unable))),
    };
    let line = given
        .accept()
        .and_then(|(socket, first)| Line::of(socket, first, side, Patience::of(asked.is_last)));
    let line = line.and_then(|line| Ok((line.socket()?, line)));
    // Whoever has gone has nothing to be told; what is told is kept.
    if let Ok((socket, line)) = line {
        let OfMove { workspace, id } = &asked.of;
        let (id, so_far) = (id.clone(), Arc::default());
        let it = GoingOn { id, socket, side, so_far: Arc::clone(&so_far) };
        going_on().insert(workspace.clone(), it);
        ready.run(line, &so_far);
    }
    Ok(())
}

struct Ready<'a> {
    side: Side,
    asked: &'a AskPass,
    desired: Desired,
    room: MoveRoom,
    _alone: Lock,
}

impl Ready<'_> {
    fn of(side: Side, asked: &AskPass) -> Done<Ready<'_>> {
        let of = &asked.of;
        let desired = repository::workspace(&of.workspace)?;
        let hold = held::hold(&of.workspace)?;
        match side {
            Side::Source if hold.is_some() => held::check(&of.workspace)?,
            Side::Source if asked.is_last && !pause::is_by(of) => {
                let why = "its services are not paused by this move".to_owned();
                return Err(unable(Code::Conflict, why));
            }
            Side::Target if !matches!(&hold, Some(Hold::Coming { id, .. }) if *id == of.id) => {
                let why = "the workspace is not prepared here for this move".to_owned();
                return Err(unable(Code::Conflict, why));
            }
            _ => {}
        }
        let _alone = alone(of)?;
        let room = MoveRoom::of(of)?;
        Ok(Ready { side, asked, desired, room, _alone })
    }

    fn run(self, mut line: Line, so_far: &SoFar) {
        let mut stamps = Stamps::load(&self.room.stamps(self.side));
        let mut pass = Pass::default();
        let before = self.room.outcome().1;
        // None of an older pass is taken for this one's.
        let _ = self.room.put_outcome(&Outcome::default(), before);
        let done = match self.side {
            Side::Source => self.send(Outgoing::of(&mut line, &mut pass, so_far), &mut stamps),
            Side::Target => self.receive(&mut line, &mut stamps, &mut pass),
        };
        let saved = stamps.save(&self.room.stamps(self.side));
        let done = done.and_then(|are_owners_kept| saved.map(|()| are_owners_kept));
        let outcome = room::sentence_of(pass, &done);
        let _ = self.room.put_outcome(&outcome, *done.as_ref().unwrap_or(&before));
        // Last, so that whoever hears of it finds it.
        let _ = match (self.side, done) {
            (Side::Target, Ok(_)) => line.answer(&Answer::Finished),
            (Side::Target, Err(error)) => line.answer(&Answer::Failed(error.to_string())),
            (Side::Source, Err(error)) => line.say(&Said::Failed(error.to_string())),
            (Side::Source, Ok(_)) => Ok(()),
        };
        line.end();
        // Before the lock, which a next one takes with its own.
        going_on().remove(&self.asked.of.workspace);
    }

    fn send(&self, out: Outgoing<'_>, stamps: &mut Stamps) -> io::Result<bool> {
        let mut from = Vec::new();
        for text in places::texts(&self.desired) {
            let path = places::of_source(&text)?;
            from.push(From { text, path });
        }
        let is_last = self.asked.is_last;
        let done = Sending { out, stamps, is_last, waiting: Queue::default() }.all(&from);
        if done.is_ok() {
            stamps.only_met();
        }
        done
    }

    fn receive(&self, line: &mut Line, stamps: &mut Stamps, pass: &mut Pass) -> io::Result<bool> {
        let (workspace, id) = (&self.asked.of.workspace, &self.asked.of.id);
        let mut places = BTreeMap::new();
        for text in places::texts(&self.desired) {
            let staging = places::staging(workspace, id, &text)?;
            places.insert(text, staging);
        }
        Receiving { line, stamps, pass, places }.all()
    }
}
