//! An entrance and its connections: one thread waits for all of them, so that one that says
//! nothing costs a slot and no thread. Calls, which may wait for the disk, are made by threads of
//! their own: 4 at a time for each source, 32 in all; one that answers with a stream, or has the
//! connection for itself, is none of these any more, but one of 32 streams of its source, 96 in
//! all. What a head alone answers, and every refusal, is answered by the first thread, at once: no
//! call, no stream and nobody's silence can keep it back. A connection that is taken for good, as
//! browsers make hundreds at once, waits for one thread more, 256 at most, and has no slot.
//!
//! Must not know: what is asked and answered.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::answer;
use super::connection::{Connection, Step};
use super::entrance::Entrance;
use super::request::{Body, Refusal};
use super::service::{Done, Given, Reply, Service};
use super::slots::{self, Held, Slot, Source};
use crate::sys::poll::{self, Interest, Wake};

/// Taken from the entrance before those that are there have their turn.
const PER_TURN: usize = 64;
const WORKERS: Share = Share { each: 4, all: 32 };
const STREAMS: Share = Share { each: 32, all: 96 };
/// Connections that are taken for good, and not yet seen to.
const TAKEN: usize = 256;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// How many of something there may be.
struct Share {
    each: usize,
    all: usize,
}

impl Share {
    /// Whether `those`, one of which is the newest, are no more than that.
    fn allows(&self, those: &[Source], newest: Option<Source>) -> bool {
        let own = those.iter().filter(|source| Some(**source) == newest).count();
        those.len() <= self.all && own <= self.each
    }
}

/// Serves as long as it lives.
pub struct Server {
    ended: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start<S: Service>(entrance: impl Into<Entrance>, service: Arc<S>) -> io::Result<Server> {
        let entrance = entrance.into();
        entrance.open()?;
        let (ended, wake) = (Arc::new(AtomicBool::new(false)), Arc::new(Wake::new()?));
        let (send, done) = mpsc::channel();
        let taken = taker(service.clone())?;
        let (open, waker) = (Vec::new(), wake.clone());
        let mut turns = Turns { entrance, service, wake: waker, send, done, taken, open, next: 0 };
        let over = ended.clone();
        let serve = move || {
            while !over.load(Ordering::Acquire) {
                turns.turn();
            }
        };
        let thread = Some(thread::Builder::new().name("http".to_owned()).spawn(serve)?);
        Ok(Server { ended, wake, thread })
    }
}

/// What has to be taken: the call, its body, its connection.
type Taken<S> = (<S as Service>::Call, String, Given);

/// The thread for them. It ends with whoever sends.
fn taker<S: Service>(service: Arc<S>) -> io::Result<SyncSender<Taken<S>>> {
    let (send, taken) = mpsc::sync_channel::<Taken<S>>(TAKEN);
    let take = move || {
        taken.into_iter().for_each(|(call, body, given)| service.take(call, &body, given));
    };
    thread::Builder::new().name("take".to_owned()).spawn(take)?;
    Ok(send)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.wake.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Open<C> {
    id: u64,
    source: Source,
    connection: Connection<C>,
}

struct Turns<S: Service> {
    entrance: Entrance,
    service: Arc<S>,
    wake: Arc<Wake>,
    send: Sender<(u64, Done)>,
    done: Receiver<(u64, Done)>,
    taken: SyncSender<Taken<S>>,
    open: Vec<Open<S::Call>>,
    next: u64,
}

impl<S: Service> Turns<S> {
    /// Waits for something, and does what is to be done: those that are there come first.
    fn turn(&mut self) {
        let now = Instant::now();
        let ends = self.open.iter().filter_map(|open| open.connection.end());
        let left = ends.map(|end| end.saturating_duration_since(now)).min().unwrap_or(LONGEST);
        let mut fds =
            vec![(self.entrance.as_fd(), Interest::READ), (self.wake.as_fd(), Interest::READ)];
        // One that is at work waits for nobody; that its client has gone is found out later.
        let mut ids = Vec::with_capacity(self.open.len());
        for Open { id, connection, .. } in self.open.iter() {
            if !connection.is_at_work() && !connection.is_lent() {
                fds.push((connection.stream.as_fd(), connection.interest()));
                ids.push((*id, connection.is_stream()));
            }
        }
        let mut ready = Vec::with_capacity(fds.len());
        if poll::wait(&fds, &mut ready, Some(left.min(LONGEST))).is_err() {
            return thread::sleep(PAUSE);
        }
        drop(fds);
        self.wake.drain();
        let now = Instant::now();
        let is_ready = |n: usize| ready.get(n + 2).is_some_and(|ready| ready.any());
        for (n, (id, is_stream)) in ids.into_iter().enumerate() {
            // A stream may have been waited for by the wake alone.
            let is_ready = is_ready(n) || is_stream;
            self.step(id, |open, service| {
                let step = if is_ready { open.take(service) } else { Step::Wait };
                match (&step, open.end()) {
                    (Step::Wait, Some(end)) if end <= now => open.late(),
                    _ => step,
                }
            });
        }
        while let Ok((id, done)) = self.done.try_recv() {
            self.done(id, done);
        }
        if ready.first().is_some_and(|ready| ready.any()) {
            self.accept();
        }
    }

    fn step(&mut self, id: u64, act: impl FnOnce(&mut Connection<S::Call>, &S) -> Step<S::Call>) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        let Some(open) = self.open.get_mut(at) else { return };
        match act(&mut open.connection, &self.service) {
            Step::Wait => {}
            Step::Over => drop(self.open.swap_remove(at)),
            Step::WantsSlot(call, body) => self.past_head(id, call, body),
            Step::Call(call, body) if self.service.takes(&call) => self.take(id, call, body),
            Step::Call(call, body) => self.call(id, call, body),
        }
    }

    fn accept(&mut self) {
        for _ in 0..PER_TURN {
            let (stream, from) = match self.entrance.accept() {
                Ok(Some(new)) => new,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The other side has left already, or there are no descriptors.
                Err(_) => return thread::sleep(PAUSE),
            };
            if let Some(source) = self.service.source(from) {
                self.admit(stream, from, source);
            }
        }
    }

    fn held(&self) -> Vec<Held> {
        let held = |open: &Open<S::Call>| Held {
            id: open.id,
            source: open.source,
            moved: open.connection.moved(),
            past_head: open.connection.is_past_head(),
            stays: open.connection.is_at_work() || open.connection.is_stream(),
        };
        self.open.iter().map(held).collect()
    }

    fn admit(&mut self, stream: TcpStream, from: Ipv4Addr, source: Source) {
        match slots::slot(&self.held(), source) {
            Slot::Free => {}
            Slot::InPlaceOf(id) => self.open.retain(|open| open.id != id),
            Slot::None => {
                let _ = stream.set_nonblocking(true);
                let _ = (&stream).write(&answer::refused(&Refusal::busy()));
                return;
            }
        }
        let Ok(connection) = Connection::new(stream, from) else { return };
        let id = self.next;
        self.next += 1;
        self.open.push(Open { id, source, connection });
        // What was sent with the connection is there already.
        self.step(id, |open, service| open.take(service));
    }

    fn source(&self, id: u64) -> Option<Source> {
        self.open.iter().find(|open| open.id == id).map(|open| open.source)
    }

    /// A head has been read that wants more than an answer.
    fn past_head(&mut self, id: u64, call: S::Call, body: Body) {
        let Some(source) = self.source(id) else { return };
        match slots::slot_past_head(&self.held(), source) {
            Slot::Free => {}
            Slot::InPlaceOf(other) => self.open.retain(|open| open.id != other),
            Slot::None => return self.step(id, |open, _| open.refuse(&Refusal::busy())),
        }
        self.step(id, |open, _| open.take_body(call, body));
    }

    /// The sources of the connections of one kind.
    fn those(&self, kind: impl Fn(&Connection<S::Call>) -> bool) -> Vec<Source> {
        let of_kind = self.open.iter().filter(|open| kind(&open.connection));
        of_kind.map(|open| open.source).collect()
    }

    /// Has a call made by a thread.
    fn call(&mut self, id: u64, call: S::Call, body: String) {
        let at_work = self.those(Connection::is_at_work);
        let reply = Reply::new(id, self.send.clone(), self.wake.clone());
        let service = self.service.clone();
        let work = move || service.call(call, &body, reply);
        let is_free = WORKERS.allows(&at_work, self.source(id));
        let started = is_free.then(|| thread::Builder::new().name("call".to_owned()).spawn(work));
        if started.is_none_or(|started| started.is_err()) {
            self.step(id, |open, _| open.refuse(&Refusal::busy()));
        }
    }

    /// Lets the connection go.
    fn take(&mut self, id: u64, call: S::Call, body: String) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        let open = self.open.swap_remove(at);
        let Ok(given) = open.connection.give() else { return };
        if let Err(TrySendError::Full((_, _, given))) = self.taken.try_send((call, body, given)) {
            let _ = (&given.stream).write(&answer::refused(&Refusal::busy()));
        }
    }

    fn done(&mut self, id: u64, done: Done) {
        match done {
            Done::Answer(bytes) => self.step(id, |open, _| open.answer(bytes)),
            Done::Nothing => self.step(id, |_, _| Step::Over),
            Done::Stream(lines) => self.if_room(id, |open| open.stream(lines)),
            Done::Lend(to) => self.if_room(id, |open| {
                // Who asked waits for this, or has gone.
                let lent = open.lend().is_ok_and(|stream| to.send(stream).is_ok());
                if lent { Step::Wait } else { Step::Over }
            }),
        }
    }

    /// One stream more, of whatever kind, where there may be one.
    fn if_room(&mut self, id: u64, begin: impl FnOnce(&mut Connection<S::Call>) -> Step<S::Call>) {
        let newest = self.source(id);
        let mut streams = self.those(Connection::is_stream);
        streams.extend(newest);
        let is_free = STREAMS.allows(&streams, newest);
        self.step(id, |open, _| match is_free {
            true => begin(open),
            false => open.refuse(&Refusal::busy()),
        });
    }
}
