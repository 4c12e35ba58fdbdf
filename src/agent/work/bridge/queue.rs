//! What programs here want of a laptop, until it is answered. The laptop that began to watch last
//! is asked, and has all that waits. With nobody there what a program waits for fails at once, and
//! what a person is to read or to answer is held.
//!
//! Bounds are in `limits`. Must not know: sockets, but for the wake-ups of those who wait.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::limits::{Meter, NOTICE_LIFE, SORTS, Sort, WATCHERS, check};
use crate::agent::work::services::{Unable, unable};
use crate::rpc::code::Code;
use crate::rpc::types::bridge::{Outcome, What, Wish};
use crate::sys::poll::Wake;
use crate::sys::random;

/// JSON has no larger numbers that every reader keeps.
const LARGEST: u64 = 1 << 52;

/// What becomes of a wish.
pub enum Event {
    Answered(Outcome),
    /// The laptop's end of a connection for its bytes, with what has come on it already.
    Taken(UnixStream, Vec<u8>),
    /// No laptop is there any more.
    Away,
}

/// Why nothing is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Away,
    Busy(String),
    Wrong(String),
}

/// Where one waits, in a poll.
pub struct Mailbox<T> {
    wake: Wake,
    all: Mutex<VecDeque<T>>,
}

impl<T> Mailbox<T> {
    fn new() -> io::Result<Arc<Mailbox<T>>> {
        Ok(Arc::new(Mailbox { wake: Wake::new()?, all: Mutex::default() }))
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, one: T) {
        self.all().push_back(one);
        self.wake.wake();
    }

    fn take(&self) -> VecDeque<T> {
        self.wake.drain();
        std::mem::take(&mut *self.all())
    }
}

/// Of a wish whose bytes cross by a connection of their own, which comes by way of another process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    None,
    Claimed,
    /// Claimed, and already said to be done.
    Done,
    Here,
}

struct Waiting {
    what: What,
    sort: Sort,
    /// Which watcher was told.
    told: Option<u64>,
    connection: Connection,
    since: Instant,
    /// None: whoever wanted it waits for nothing.
    waits: Option<Arc<Mailbox<Event>>>,
}

impl Waiting {
    fn is_taken(&self) -> bool {
        self.connection != Connection::None
    }
}

struct Watching {
    number: u64,
    lines: Arc<Mailbox<Wish>>,
}

impl Watching {
    /// One that it was not told of yet is just not told.
    fn take_back(&self, id: u64) {
        let mut lines = self.lines.all();
        match lines.iter().position(|wish| wish.id == id) {
            Some(at) => drop(lines.remove(at)),
            None => {
                lines.push_back(Wish { id, what: What::TakenBack });
                self.lines.wake.wake();
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    next: u64,
    wishes: BTreeMap<u64, Waiting>,
    /// The newest last.
    watchers: Vec<Watching>,
    meters: [Meter; SORTS],
}

pub struct Queue(Mutex<Inner>);

impl Queue {
    /// Numbers of wishes begin somewhere, so that a laptop takes none for one of an agent before.
    pub fn new() -> Arc<Queue> {
        let mut bytes = [0; 8];
        let _ = random::fill(&mut bytes);
        let next = u64::from_le_bytes(bytes) % LARGEST;
        Arc::new(Queue(Mutex::new(Inner { next, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for something, until the ticket is dropped.
    pub fn want(self: &Arc<Queue>, what: What) -> Result<Ticket, Refusal> {
        let mailbox = Mailbox::new().map_err(|error| Refusal::Busy(error.to_string()))?;
        let id = self.inner().add(what, Some(mailbox.clone()))?;
        Ok(Ticket { queue: self.clone(), id, mailbox })
    }

    /// A notice, for which nobody waits: whether a laptop is there for it.
    pub fn post(&self, what: What) -> Result<bool, Refusal> {
        let mut inner = self.inner();
        // Said already, and not yet read.
        if !inner.wishes.values().any(|waiting| waiting.what == what) {
            inner.add(what, None)?;
        }
        Ok(!inner.watchers.is_empty())
    }

    pub fn watch(self: &Arc<Queue>) -> Result<Watcher, Unable> {
        let mut inner = self.inner();
        if inner.watchers.len() >= WATCHERS {
            return Err(unable(Code::Conflict, format!("{WATCHERS} laptops watch already")));
        }
        let failed = |error: io::Error| unable(Code::Failed, error.to_string());
        let lines = Mailbox::new().map_err(failed)?;
        let number = inner.number();
        inner.watchers.push(Watching { number, lines: lines.clone() });
        inner.forget_old();
        inner.tell_all();
        Ok(Watcher { queue: self.clone(), number, lines })
    }

    pub fn answer(&self, id: u64, outcome: Outcome) -> Result<(), Unable> {
        let mut inner = self.inner();
        let waiting = inner.wishes.get_mut(&id).ok_or_else(taken_back)?;
        if let (Outcome::Chosen(place), What::Ask { options, .. }) = (&outcome, &waiting.what) {
            if usize::from(*place) >= options.len() {
                return Err(unable(Code::BadParams, "there is no such answer to choose"));
            }
        }
        if outcome == Outcome::Done && waiting.connection == Connection::Claimed {
            waiting.connection = Connection::Done;
            return Ok(());
        }
        let is_last = outcome != Outcome::Asking;
        if let Some(waits) = &waiting.waits {
            waits.put(Event::Answered(outcome));
        }
        if is_last {
            inner.wishes.remove(&id);
        }
        Ok(())
    }

    /// For a connection that is about to be told so: no other gets it.
    pub fn claim(&self, id: u64) -> Result<(), Unable> {
        self.inner().taking(id)?.connection = Connection::Claimed;
        Ok(())
    }

    /// That connection has not come to be.
    pub fn unclaim(&self, id: u64) {
        if let Some(waiting) = self.inner().wishes.get_mut(&id) {
            waiting.connection = Connection::None;
        }
    }

    /// That connection is here.
    pub fn take(&self, id: u64, stream: UnixStream, first: Vec<u8>) -> Result<(), Unable> {
        let mut inner = self.inner();
        let waiting = inner.wishes.get_mut(&id).ok_or_else(taken_back)?;
        let is_done = waiting.connection == Connection::Done;
        waiting.connection = Connection::Here;
        if let Some(waits) = &waiting.waits {
            waits.put(Event::Taken(stream, first));
            if is_done {
                waits.put(Event::Answered(Outcome::Done));
            }
        }
        if is_done {
            inner.wishes.remove(&id);
        }
        Ok(())
    }
}

fn taken_back() -> Unable {
    unable(Code::NotFound, "whoever wanted it waits no more")
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next = (self.next + 1) % LARGEST;
        self.next
    }

    fn add(&mut self, what: What, waits: Option<Arc<Mailbox<Event>>>) -> Result<u64, Refusal> {
        check(&what).map_err(Refusal::Wrong)?;
        let sort = Sort::of(&what).ok_or_else(|| Refusal::Wrong(String::new()))?;
        if self.watchers.is_empty() && !sort.is_held() {
            return Err(Refusal::Away);
        }
        let now = Instant::now();
        let too_many = || Refusal::Busy(format!("too many {} at a time", sort.several()));
        let there = self.wishes.iter().filter(|(_, waiting)| waiting.sort == sort);
        let oldest = there.clone().map(|(id, waiting)| (waiting.since, *id)).min();
        match (there.count() >= sort.at_once(), oldest) {
            (true, Some((_, id))) if sort == Sort::Notify => self.withdraw(id),
            (true, _) => return Err(too_many()),
            (false, _) => {}
        }
        let meter = self.meters.get_mut(sort as usize);
        if !meter.is_some_and(|meter| meter.count(sort, now)) {
            return Err(Refusal::Busy(format!("too many {} in a row", sort.several())));
        }
        let (id, told) = (self.number(), None);
        let connection = Connection::None;
        let waiting = Waiting { what, sort, told, connection, since: now, waits };
        self.wishes.insert(id, waiting);
        self.tell_all();
        Ok(id)
    }

    /// The newest is to know all of them, and nobody else one.
    fn tell_all(&mut self) {
        let Inner { wishes, watchers, .. } = self;
        let Some((newest, others)) = watchers.split_last() else { return };
        for (id, waiting) in wishes.iter_mut().filter(|(_, waiting)| !waiting.is_taken()) {
            let before = waiting.told.replace(newest.number);
            if before == Some(newest.number) {
                continue;
            }
            if let Some(other) = others.iter().find(|other| before == Some(other.number)) {
                other.take_back(*id);
            }
            newest.lines.put(Wish { id: *id, what: waiting.what.clone() });
        }
    }

    fn forget_old(&mut self) {
        self.wishes.retain(|_, waiting| {
            waiting.sort != Sort::Notify || waiting.since.elapsed() < NOTICE_LIFE
        });
    }

    fn taking(&mut self, id: u64) -> Result<&mut Waiting, Unable> {
        let waiting = self.wishes.get_mut(&id).ok_or_else(taken_back)?;
        match (waiting.sort.is_taken(), waiting.is_taken()) {
            (true, false) => Ok(waiting),
            (true, true) => Err(unable(Code::Conflict, "another connection has taken it")),
            (false, _) => Err(unable(Code::BadParams, "it has no bytes")),
        }
    }

    fn withdraw(&mut self, id: u64) {
        let Some(gone) = self.wishes.remove(&id) else { return };
        if let Some(at) = self.watchers.iter().find(|at| gone.told == Some(at.number)) {
            at.take_back(id);
        }
    }

    fn leave(&mut self, number: u64) {
        self.watchers.retain(|watcher| watcher.number != number);
        self.tell_all();
        if !self.watchers.is_empty() {
            return;
        }
        self.wishes.retain(|_, waiting| {
            if waiting.sort.is_held() || waiting.is_taken() {
                waiting.told = None;
                return true;
            }
            waiting.waits.iter().for_each(|waits| waits.put(Event::Away));
            false
        });
    }
}

/// Something that is wanted, until this value goes.
pub struct Ticket {
    queue: Arc<Queue>,
    id: u64,
    mailbox: Arc<Mailbox<Event>>,
}

impl Ticket {
    /// What has happened since.
    pub fn events(&self) -> VecDeque<Event> {
        self.mailbox.take()
    }
}

impl AsFd for Ticket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.wake.as_fd()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.inner().withdraw(self.id);
    }
}

/// A laptop that watches, until this value goes.
pub struct Watcher {
    queue: Arc<Queue>,
    number: u64,
    lines: Arc<Mailbox<Wish>>,
}

impl Watcher {
    /// What it has not been told yet.
    pub fn wishes(&self) -> VecDeque<Wish> {
        self.lines.take()
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lines.wake.as_fd()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.queue.inner().leave(self.number);
    }
}

#[cfg(test)]
mod tests;
