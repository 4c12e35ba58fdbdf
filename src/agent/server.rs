//! The API's listening socket and its connections: one thread waits for all of them, so that one
//! that says nothing costs a place and no thread. Methods, which may wait for the disk, are called
//! by threads of their own: 4 at a time for each laptop, 32 in all. `/health` and every refusal
//! are answered by the first thread, at once: no method and nobody's silence can keep them back.
//!
//! Must not know: what is asked and answered.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connection::{Connection, Step};
use super::http::{self, Api};
use super::hub::Caller;
use super::places::{self, Held, Room, Source};
use super::request::Refusal;
use crate::rpc::code;
use crate::sys::poll::{self, Interest, Wake};

/// Taken from the listener before those that are there have their turn.
const PER_TURN: usize = 64;
const WORKERS: usize = 32;
const WORKERS_EACH: usize = 4;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);

/// Serves as long as it lives.
pub struct Server {
    ended: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: TcpListener, api: Arc<Api>) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let (ended, wake) = (Arc::new(AtomicBool::new(false)), Arc::new(Wake::new()?));
        let (send, done) = mpsc::channel();
        let mut turns =
            Turns { listener, api, wake: wake.clone(), send, done, open: Vec::new(), next: 0 };
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

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.wake.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Open {
    id: u64,
    source: Source,
    connection: Connection,
}

impl Open {
    fn is_at_work(&self) -> bool {
        self.connection.is_at_work()
    }
}

struct Turns {
    listener: TcpListener,
    api: Arc<Api>,
    wake: Arc<Wake>,
    send: Sender<(u64, Vec<u8>)>,
    done: Receiver<(u64, Vec<u8>)>,
    open: Vec<Open>,
    next: u64,
}

impl Turns {
    /// Waits for something, and does what is to be done: those that are there come first.
    fn turn(&mut self) {
        let now = Instant::now();
        let ends = self.open.iter().filter_map(|open| open.connection.end());
        let left = ends.map(|end| end.saturating_duration_since(now)).min().unwrap_or(LONGEST);
        let mut fds =
            vec![(self.listener.as_fd(), Interest::READ), (self.wake.as_fd(), Interest::READ)];
        // One that is at work waits for nobody; that its client has gone is found out later.
        let mut ids = Vec::with_capacity(self.open.len());
        for Open { id, connection, .. } in self.open.iter().filter(|open| !open.is_at_work()) {
            fds.push((connection.stream.as_fd(), connection.interest()));
            ids.push(*id);
        }
        let mut ready = Vec::with_capacity(fds.len());
        if poll::wait(&fds, &mut ready, Some(left.min(LONGEST))).is_err() {
            return thread::sleep(PAUSE);
        }
        drop(fds);
        self.wake.drain();
        let now = Instant::now();
        let is_ready = |n: usize| ready.get(n + 2).is_some_and(|ready| ready.any());
        for (n, id) in ids.into_iter().enumerate() {
            let is_ready = is_ready(n);
            self.step(id, |open, api| {
                let step = if is_ready { open.take(api) } else { Step::Wait };
                match (&step, open.end()) {
                    (Step::Wait, Some(end)) if end <= now => open.late(),
                    _ => step,
                }
            });
        }
        while let Ok((id, answer)) = self.done.try_recv() {
            self.step(id, |open, _| open.answer(answer));
        }
        if ready.first().is_some_and(|ready| ready.any()) {
            self.accept();
        }
    }

    fn step(&mut self, id: u64, act: impl FnOnce(&mut Connection, &Api) -> Step) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        let Some(open) = self.open.get_mut(at) else { return };
        match act(&mut open.connection, &self.api) {
            Step::Wait => {}
            Step::Over => drop(self.open.swap_remove(at)),
            Step::Call(caller, body) => self.call(id, caller, body),
        }
    }

    fn accept(&mut self) {
        for _ in 0..PER_TURN {
            let (stream, from) = match self.listener.accept() {
                Ok((stream, SocketAddr::V4(from))) => (stream, *from.ip()),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The other side has left already, or there are no descriptors.
                Err(_) => return thread::sleep(PAUSE),
            };
            if let Some(source) = self.api.source(from) {
                self.admit(stream, from, source);
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, from: Ipv4Addr, source: Source) {
        let held = |open: &Open| Held {
            id: open.id,
            source: open.source,
            moved: open.connection.moved(),
            stays: open.is_at_work(),
        };
        let held: Vec<Held> = self.open.iter().map(held).collect();
        match places::room(&held, source) {
            Room::There => {}
            Room::InPlaceOf(id) => self.open.retain(|open| open.id != id),
            Room::None => {
                let _ = stream.set_nonblocking(true);
                let _ = (&stream).write(&http::refused(&busy()));
                return;
            }
        }
        let Ok(connection) = Connection::new(stream, from) else { return };
        let id = self.next;
        self.next += 1;
        self.open.push(Open { id, source, connection });
        // What was sent with the connection is there already.
        self.step(id, |open, api| open.take(api));
    }

    /// Has a method called by a thread.
    fn call(&mut self, id: u64, caller: Caller, body: String) {
        let at_work = |open: &&Open| open.is_at_work();
        let source = self.open.iter().find(|open| open.id == id).map(|open| open.source);
        let all = self.open.iter().filter(at_work).count();
        let own = self.open.iter().filter(|open| at_work(open) && Some(open.source) == source);
        // This one is among them.
        let is_free = all <= WORKERS && own.count() <= WORKERS_EACH;
        let (api, send, wake) = (self.api.clone(), self.send.clone(), self.wake.clone());
        let work = move || {
            // Who asked may have gone, and the server with it.
            let _ = send.send((id, api.call(caller, &body)));
            wake.wake();
        };
        let started = is_free.then(|| thread::Builder::new().name("rpc".to_owned()).spawn(work));
        if started.is_none_or(|started| started.is_err()) {
            self.step(id, |open, _| open.answer(http::refused(&busy())));
        }
    }
}

fn busy() -> Refusal {
    Refusal::of(503, code::BUSY, "too many connections")
}
