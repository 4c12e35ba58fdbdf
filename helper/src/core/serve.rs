//! The socket: one thread, poll(2), lines in, lines out, one request at a time per connection.
//!
//! A connection that is not admitted gets no byte. A reply leaves before the next request of
//! its connection is looked at, so that at most one line per connection is ever queued. Must not
//! know: how devices and names are made (`lease`), how lines are read (`proto`).

mod accept;
mod answer;

use crate::core::audit::{self, Audit, Who};
use crate::core::conn::{Answer, Conn, Next};
use crate::core::limit::{self, Rates};
use crate::core::lockdown;
use crate::core::peer_cred::Peer;
use crate::core::sandbox::Layers;
use crate::net::block::Entry;
use crate::net::config::Config;
use crate::net::lease::{self, Book, Caller};
use crate::net::pool::Ends;
use crate::net::state;
use crate::proto::{self, Code, Effect, MAX_REQUEST, Op, OpError, Rejection, Request};
use crate::sys::{self, Wait};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One slot is root's.
const CONNECTIONS_MAX: usize = 32;
const CONNECTIONS_PER_UID: usize = 8;
/// Connections of one user that are still silent after `SILENCE`. Several programs that start
/// together shake hands long before that and are never counted.
const SILENT_PER_UID: usize = 4;
const SILENCE: Duration = Duration::from_secs(1);
/// Time for the handshake after connecting, for the rest of a line that has begun, and for a
/// reply to leave.
const DEADLINE: Duration = Duration::from_secs(5);
/// Time without a request that a connection which holds nothing may stay.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the listener rests when there are no descriptors left, and nobody looks again at the
/// network after a look.
const PAUSE: Duration = Duration::from_millis(100);
/// Deadlines are looked at this often at least; so are settings that change without news.
const TICK: Duration = Duration::from_millis(500);
/// Time before a new start that nobody asked for.
const SETTLED: Duration = Duration::from_secs(5);
/// Most connections accepted per turn of the loop.
const ACCEPTS_PER_TURN: usize = 8;

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

pub struct Server {
    listener: UnixListener,
    signals: UnixStream,
    book: Book,
    config: Config,
    config_path: PathBuf,
    netns: Option<u64>,
    conns: Vec<Conn>,
    next_id: u64,
    started: Instant,
    accept_after: Instant,
    look_after: Instant,
    look_at_latest: Instant,
    rates: Rates,
    audit: Audit,
    /// Of the sandbox, for `daemon.health`.
    pub layers: Layers,
}

impl Server {
    /// Also puts right what the helper before this one has left.
    pub fn new(
        listener: UnixListener,
        signals: UnixStream,
        book: Book,
        netns: Option<u64>,
        config: Config,
        config_path: PathBuf,
        audit: Audit,
    ) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        sys::refuse_rights(listener.as_fd());
        let now = Instant::now();
        let mut server = Server {
            listener,
            signals,
            book,
            config,
            config_path,
            netns,
            conns: Vec::new(),
            next_id: 1,
            started: now,
            accept_after: now,
            look_after: now,
            look_at_latest: now,
            rates: Rates::default(),
            audit,
            layers: Layers::default(),
        };
        server.reconcile();
        Ok(server)
    }

    /// Serves until a signal ends it or the sandbox has to be made anew.
    pub fn run(mut self) -> io::Result<End> {
        loop {
            let (ready, accept, signalled, news) = self.wait()?;
            match signalled.then(|| self.take_signals()).flatten() {
                Some(End::Undone) => break,
                Some(end) => return Ok(end),
                None => {}
            }
            self.turn(&ready);
            if news {
                let now = Instant::now();
                self.book.look(now);
                (self.look_after, self.look_at_latest) = (now + PAUSE, now + TICK);
            }
            self.book.tick(Instant::now());
            self.tell("(lease lost)", Who::default());
            // Not at once when nobody asked: a program that replaces the file again and again
            // would have us start too often for the service manager.
            let asked = ready.contains(&true) || self.started.elapsed() > SETTLED;
            if self.book.detached() && asked {
                return Ok(End::Again);
            }
            if accept {
                self.accept();
            }
        }
        // The connections end last: whoever sees the end finds everything undone.
        let result = self.book.end_all();
        self.tell("(end)", Who::default());
        self.conns.clear();
        result.map_err(|e| io::Error::other(e.message)).map(|()| End::Undone)
    }

    /// Waits for something to do: which connections are ready, then listener, signals and news
    /// of interfaces.
    fn wait(&self) -> io::Result<(Vec<bool>, bool, bool, bool)> {
        let now = Instant::now();
        let listen = now >= self.accept_after;
        let resting = self.conns.iter().any(|conn| conn.rests(now));
        let mut waits: Vec<Wait> = vec![
            Wait::new(self.signals.as_fd(), true, false),
            Wait::new(self.listener.as_fd(), listen, false),
        ];
        let heard = now >= self.look_after;
        waits.extend(self.book.watches().map(|watch| Wait::new(watch, heard, false)));
        let watches = waits.len() - 2;
        waits.extend(self.conns.iter().map(|conn| {
            let idle = conn.output.is_empty();
            Wait::new(conn.stream.as_fd(), idle && !conn.rests(now), !idle)
        }));
        let most = if listen && heard { TICK } else { PAUSE };
        sys::poll(&mut waits, if resting { limit::INTERVAL } else { most })?;
        let ready = waits.iter().map(|wait| wait.readable || wait.writable);
        let mut ready = ready.collect::<Vec<bool>>().into_iter();
        let signalled = ready.next().unwrap_or(false);
        let accept = ready.next().unwrap_or(false) && listen;
        let news = ready.by_ref().take(watches).fold(false, |any, one| any | one) && heard;
        Ok((ready.collect(), accept, signalled, news || now >= self.look_at_latest))
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
        match Config::load(&self.config_path, self.config.group) {
            Ok(config) => self.config = config,
            Err(why) => crate::core::say::tell(&format!("keeping the old configuration: {why}")),
        }
        let config = &self.config;
        let (keep, close) = self.conns.drain(..).partition(|conn| conn.peer.admitted(config));
        self.conns = keep;
        let close: Vec<Conn> = close;
        for mut conn in close {
            self.book.end_connection(conn.id);
            self.tell("(no longer admitted)", who(&conn));
            // In the middle of a reply it would be no line.
            if conn.output.is_empty() {
                let error =
                    OpError::new(Code::PermissionDenied, "root does not admit you any more");
                conn.reply("", &Err(error), None);
                conn.flush();
            }
        }
        self.reconcile();
    }

    fn reconcile(&mut self) {
        self.book.reconcile(&self.config);
        let changes = self.book.take_changes();
        let report = self.report();
        let rest = [("result", report), ("changes", json!(changes))];
        self.audit.line("done", Who::default(), "(reconcile)", &rest, true);
    }

    /// One line about what was done without anybody asking for it, if anything was.
    fn tell(&mut self, why: &str, who: Who) {
        let changes = self.book.take_changes();
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
            let next = if ready { self.progress(&mut conn) } else { Next::Keep };
            if next == Next::Keep && !self.overdue(&conn) {
                self.conns.push(conn);
            } else {
                self.book.end_connection(conn.id);
                self.tell("(hang-up)", who(&conn));
            }
        }
    }

    fn overdue(&self, conn: &Conn) -> bool {
        let waiting = !conn.input.is_empty() || !conn.output.is_empty();
        (waiting && conn.since.elapsed() > DEADLINE)
            || (!conn.handshaken && conn.opened.elapsed() > DEADLINE)
            || (conn.active.elapsed() > IDLE_MAX && !self.book.holds(conn.id))
    }

    fn progress(&mut self, conn: &mut Conn) -> Next {
        if conn.flush() == Next::Close || conn.fill() == Next::Close {
            return Next::Close;
        }
        // Bounded by the buffer: every turn takes a line out of it, and nothing is read here.
        while conn.output.is_empty() && !conn.closing && conn.rests_until.is_none() {
            let Some(line) = conn.take_line() else {
                break;
            };
            self.serve_line(conn, &line);
            if conn.flush() == Next::Close {
                return Next::Close;
            }
        }
        let over = conn.closing || (conn.ended && conn.rests_until.is_none());
        match conn.output.is_empty() && over {
            true => Next::Close,
            false => Next::Keep,
        }
    }

    fn serve_line(&mut self, conn: &mut Conn, line: &[u8]) {
        let now = Instant::now();
        let fair = self.rates.take(conn.peer.uid, now);
        let (id, answer, fd) = match self.request(conn, line) {
            Ok(request) if fair => {
                let (answer, fd) = self.perform_audited(conn, &request);
                (request.id, answer, fd)
            }
            Err(rejection) if fair => {
                let code = rejection.error.code.as_str();
                let rest = [
                    ("id", json!(rejection.id)),
                    ("code", json!(code)),
                    ("bytes", json!(line.len())),
                    ("fnv1a", json!(format!("{:016x}", audit::fnv1a(line)))),
                ];
                self.audit.line("deny", who(conn), "(request)", &rest, false);
                conn.closing |= rejection.close;
                (rejection.id, Err(rejection.error), None)
            }
            unfair => {
                conn.rests_until = Some(now + limit::INTERVAL);
                let why = format!("more than {} requests per second", limit::REQUESTS_PER_S);
                let id = unfair.map_or_else(|rejection| rejection.id, |request| request.id);
                let error = OpError { retry: true, ..OpError::new(Code::LimitExceeded, why) };
                (id, Err(error), None)
            }
        };
        conn.reply(&id, &answer, fd);
    }

    /// The request of a line, if this connection may make it now.
    fn request(&self, conn: &Conn, line: &[u8]) -> Result<Request, Rejection> {
        if line.len() >= MAX_REQUEST {
            return Err(reject("", malformed("a request has at most 4096 bytes"), true));
        }
        // Before the handshake nothing that cannot be read is given a second chance: it is
        // most likely not our protocol.
        let request = proto::parse_request(line)
            .map_err(|r| Rejection { close: r.close || !conn.handshaken, ..r })?;
        let stop = |error, close| Err(reject(&request.id, error, close));
        match &request.op {
            Op::Handshake { .. } if conn.handshaken => {
                stop(malformed("the handshake is already done"), false)
            }
            Op::Handshake { client_protocol_version: v, .. } if *v != proto::VERSION => {
                stop(OpError::new(Code::ProtocolVersionMismatch, proto::mismatch(*v)), true)
            }
            Op::Handshake { .. } | Op::Version | Op::Health => Ok(request),
            _ if !conn.handshaken => stop(malformed("handshake first"), true),
            _ if !conn.peer.same_network(self.netns, &self.config) => {
                let why = "the caller is in another network namespace";
                stop(OpError::new(Code::PermissionDenied, why), false)
            }
            Op::TunCreate { .. } if !conn.input.is_empty() => {
                stop(malformed("send nothing behind tun.create before its reply"), false)
            }
            _ if request.effect == Effect::Makes => match lockdown::look(&self.config_path) {
                Some(lock) => stop(OpError::new(Code::LockdownActive, lock.why), false),
                None => Ok(request),
            },
            _ => Ok(request),
        }
    }

    /// A change is announced in the audit log before it is made, or else not made.
    fn perform_audited(&mut self, conn: &mut Conn, request: &Request) -> (Answer, Option<OwnedFd>) {
        let op = request.op.clone();
        if request.effect == Effect::None {
            return self.perform(conn, op);
        }
        let (who, name, begun) = (who(conn), request.name, Instant::now());
        let rest = [("id", json!(request.id)), ("args", json!(request.args))];
        let announced = self.audit.line("begin", who, name, &rest, false);
        if !announced && request.effect != Effect::GivesBack {
            let why = "the audit log cannot be written";
            return (Err(OpError::new(Code::InternalError, why)), None);
        }
        let (answer, fd) = self.perform(conn, op);
        let mut rest = vec![
            ("id", json!(request.id)),
            ("outcome", json!(if answer.is_ok() { "ok" } else { "error" })),
        ];
        match &answer {
            Err(e) => rest.push(("code", json!(e.code.as_str()))),
            Ok(result) => rest.extend(result.get("lease_id").map(|id| ("lease", id.clone()))),
        }
        rest.push(("duration_us", json!(begun.elapsed().as_micros() as u64)));
        rest.push(("changes", json!(self.book.take_changes())));
        self.audit.line("done", who, name, &rest, true);
        (answer, fd)
    }
}

fn who(conn: &Conn) -> Who {
    Who { conn: conn.id, uid: conn.peer.uid, gid: conn.peer.gid, pid: conn.peer.pid }
}

fn malformed(message: &str) -> OpError {
    OpError::new(Code::MalformedRequest, message)
}

fn reject(id: &str, error: OpError, close: bool) -> Rejection {
    Rejection { id: id.to_string(), error, close }
}
