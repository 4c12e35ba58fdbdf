//! The socket: one thread, poll(2), lines in, lines out, one request at a time per connection.
//!
//! A connection that is not admitted gets no byte. A reply leaves before the next request of
//! its connection is looked at, so that at most one line per connection is ever queued. Must not
//! know: what is offered (`Service`), how a line is read and answered (`request`).

use crate::core::audit::Audit;
use crate::core::conn::{Conn, Going};
use crate::core::limit::{self, Rates};
use crate::core::peer_cred::Caller;
use crate::core::sandbox::Layers;
use crate::core::server::Server;
use crate::core::service::Service;
use crate::proto::{Code, OpError};
use crate::sys;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time for the handshake after connecting, for the rest of a line that has begun, and for a
/// reply to leave.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Time without a request that a connection which holds nothing may stay.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the listener rests when there are no descriptors left, and nobody looks again at the
/// network after a look.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Deadlines are looked at this often at least; so are settings that change without news.
const TICK: Duration = Duration::from_millis(500);
/// Time before a new start that nobody asked for, or that anybody can bring about.
const SETTLED: Duration = Duration::from_secs(5);

/// What there is to do: connections that are ready, somebody who connects, a signal, news of the
/// machine, and something begun that goes on.
struct Ready {
    conns: Vec<bool>,
    accept: bool,
    signalled: bool,
    news: bool,
    goes_on: bool,
}

/// Why serving has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was taken back.
    Undone,
    /// Leases and names stay for the helper after this one.
    Kept,
    /// As `Kept`, and a new start is needed to go on.
    Again,
}

impl<S: Service> Server<S> {
    /// Also puts right what the helper before this one has left.
    pub fn new(
        listener: UnixListener,
        signals: UnixStream,
        service: S,
        netns: Option<u64>,
        config_path: PathBuf,
        audit: Audit,
    ) -> io::Result<Server<S>> {
        listener.set_nonblocking(true)?;
        sys::refuse_rights(listener.as_fd());
        let now = Instant::now();
        let mut server = Server {
            service,
            config_path,
            netns,
            conns: Vec::new(),
            begun: Vec::new(),
            started: now,
            rates: Rates::new(limit::BURST, limit::INTERVAL),
            audit,
            layers: Layers::default(),
            own_file: Value::Null,
            listener,
            next_id: 1,
            accept_after: now,
            signals,
            look_after: now,
            look_at_latest: now,
        };
        server.reconcile();
        Ok(server)
    }

    /// Serves until a signal ends it or the sandbox has to be made anew.
    pub fn run(mut self) -> io::Result<End> {
        loop {
            let Ready { conns: ready, accept, signalled, news, goes_on } = self.wait()?;
            match signalled.then(|| self.take_signals()).flatten() {
                Some(End::Undone) => break,
                Some(end) => return Ok(end),
                None => {}
            }
            self.turn(&ready);
            if goes_on {
                self.service.advance();
            }
            if news {
                let now = Instant::now();
                self.service.look(now);
                (self.look_after, self.look_at_latest) = (now + PAUSE, now + TICK);
            }
            self.service.tick(Instant::now());
            self.answer_begun();
            self.tell(S::UNASKED, Caller::default());
            if self.must_start_anew(ready.contains(&true)) {
                return Ok(End::Again);
            }
            if accept {
                self.accept();
            }
        }
        // The connections end last: whoever sees the end finds everything undone.
        let result = self.service.end_all();
        self.tell("(end)", Caller::default());
        self.conns.clear();
        result.map_err(|e| io::Error::other(e.message)).map(|()| End::Undone)
    }

    /// Not at once when nobody asked: a program that replaces a file again and again would have us
    /// start too often for the service manager. What any user can have changed, by chsh(1), waits
    /// whoever asks.
    fn must_start_anew(&self, asked: bool) -> bool {
        let settled = self.started.elapsed() > SETTLED;
        ((settled || asked) && self.service.is_detached())
            || (settled && self.service.is_outdated())
    }

    /// Waits for something to do. Where nobody is connected and nothing is held it sleeps.
    fn wait(&self) -> io::Result<Ready> {
        let now = Instant::now();
        let listen = now >= self.accept_after;
        let idle = self.service.is_idle();
        let heard = now >= self.look_after && !idle;
        let read = |may: bool| if may { libc::POLLIN } else { 0 };
        let mut waits =
            vec![(self.signals.as_fd(), libc::POLLIN), (self.listener.as_fd(), read(listen))];
        waits.extend(self.service.watches().into_iter().map(|fd| (fd, read(heard))));
        let watches = waits.len() - 2;
        let awaited = self.service.awaited();
        let begun = awaited.len();
        waits.extend(awaited.into_iter().map(|fd| (fd, libc::POLLIN)));
        waits.extend(self.conns.iter().map(|conn| {
            let (silent, mute) = (conn.output.is_empty(), conn.rests(now) || conn.waits);
            (conn.stream.as_fd(), if silent { read(!mute) } else { libc::POLLOUT })
        }));
        let most = match idle {
            _ if self.conns.iter().any(|conn| conn.rests(now)) => Some(limit::INTERVAL),
            _ if !listen => Some(PAUSE),
            true if self.conns.is_empty() => None,
            true => Some(TICK),
            false => Some(if heard { TICK } else { PAUSE }),
        };
        let mut ready = sys::poll(&waits, most)?.into_iter();
        let signalled = ready.next().unwrap_or(false);
        let accept = ready.next().unwrap_or(false) && listen;
        let news = ready.by_ref().take(watches).fold(false, |any, one| any | one) && heard;
        let news = news || now >= self.look_at_latest;
        let goes_on = ready.by_ref().take(begun).fold(false, |any, one| any | one);
        Ok(Ready { conns: ready.collect(), accept, signalled, news, goes_on })
    }

    /// How the helper shall end, if it shall.
    fn take_signals(&mut self) -> Option<End> {
        let mut numbers = [0; 64];
        let count = self.signals.read(&mut numbers).unwrap_or(0);
        let numbers = numbers.get(..count).unwrap_or_default();
        let came = |number: libc::c_int| numbers.contains(&(number as u8));
        if came(libc::SIGHUP) {
            self.reload();
        }
        if came(libc::SIGUSR1) {
            self.audit.reopen();
        }
        if came(libc::SIGTERM) || came(libc::SIGINT) {
            return Some(End::Undone);
        }
        came(libc::SIGQUIT).then_some(End::Kept)
    }

    /// Reads the configuration again; whoever is admitted no more is closed at once.
    fn reload(&mut self) {
        if let Err(why) = self.service.reload(&self.config_path) {
            crate::core::say::tell(&format!("keeping the old configuration: {why}"));
        }
        let admission = self.service.admission();
        let (keep, close) = self.conns.drain(..).partition(|conn| conn.peer.admitted(admission));
        self.conns = keep;
        let close: Vec<Conn> = close;
        for mut conn in close {
            self.service.end_connection(conn.id);
            self.tell("(no longer admitted)", conn.who());
            // In the middle of a reply it would be no line.
            if conn.output.is_empty() {
                let error =
                    OpError::new(Code::PermissionDenied, "root does not admit you any more");
                conn.reply("", Err(error));
                conn.flush();
            }
        }
        self.reconcile();
    }

    fn reconcile(&mut self) {
        let report = self.service.reconcile();
        let changes = self.service.take_changes();
        let rest = [("result", report), ("changes", json!(changes))];
        self.audit.line("done", Caller::default(), "(reconcile)", &rest, true);
    }

    /// One line about what was done without anybody asking for it, if anything was.
    fn tell(&mut self, why: &'static str, who: Caller) {
        let changes = self.service.take_changes();
        if !changes.is_empty() {
            self.audit.line("done", who, why, &[("changes", json!(changes))], true);
        }
    }

    /// Lets every connection that is ready make progress, and closes what is over.
    fn turn(&mut self, ready: &[bool]) {
        let conns = std::mem::take(&mut self.conns);
        let now = Instant::now();
        for (at, mut conn) in conns.into_iter().enumerate() {
            let mut ready = ready.get(at).copied().unwrap_or(false);
            if conn.rests_until.is_some() && !conn.rests(now) {
                // What it sent meanwhile may be in our buffer, where poll(2) does not see it.
                conn.rests_until = None;
                ready = true;
            }
            let going = if ready { self.progress(&mut conn) } else { Some(()) };
            if going.is_some() && !self.overdue(&conn) {
                self.conns.push(conn);
            } else {
                self.service.end_connection(conn.id);
                self.tell("(hang-up)", conn.who());
            }
        }
    }

    fn overdue(&self, conn: &Conn) -> bool {
        let waiting = !conn.input.is_empty() || !conn.output.is_empty();
        if conn.waits {
            return false;
        }
        (waiting && conn.since.elapsed() > DEADLINE)
            || (!conn.handshaken && conn.opened.elapsed() > DEADLINE)
            || (conn.active.elapsed() > IDLE_MAX && !self.service.holds(conn.id))
    }

    fn progress(&mut self, conn: &mut Conn) -> Going {
        if conn.waits {
            // Not asked for anything, poll(2) tells of an end in both directions alone.
            return None;
        }
        conn.flush()?;
        conn.fill()?;
        // Bounded by the buffer: every turn takes a line out of it, and nothing is read here.
        while conn.output.is_empty() && !conn.waits && !conn.closing && conn.rests_until.is_none() {
            let Some(line) = conn.take_line() else {
                break;
            };
            self.serve_line(conn, &line);
            conn.flush()?;
        }
        let over = conn.closing || (conn.ended && !conn.waits && conn.rests_until.is_none());
        (!over || !conn.output.is_empty()).then_some(())
    }
}
