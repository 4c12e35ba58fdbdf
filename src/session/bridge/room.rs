//! The bridges of one host: what their threads share.
//!
//! Bounds: 48 wishes at a time; 256 that are refused; an answer is told again for 10 minutes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::TcpStream;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::browser::Browser;
use super::desktop;
use super::held::Held;
use super::journal::{self, End, Entry, Journal};
use super::policy::{BRIDGES, Bridge, Policy};
use super::policy_file;
use super::programs::Programs;
use super::questions::Questions;
use super::rate::Rate;
use super::state::State;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::relay;
use crate::rpc::client::Client;
use crate::rpc::method::BridgeAnswer;
use crate::rpc::types::bridge::{Answer, Outcome};
use crate::session::log::log;
use crate::session::through;
use crate::sys::clock;

const AT_A_TIME: usize = 48;
const REFUSED: usize = 256;
/// What is wished for by a terminal here: no agent has this number, and none waits for an answer.
pub const HERE: u64 = u64::MAX;
pub const TOO_MANY: &str = "too many in a row";
pub const LIMIT: Duration = Duration::from_secs(10);
pub const AGAIN: Duration = Duration::from_secs(1);
/// An answer of somebody's is told later where the tunnel is not through at that moment.
const TELL_AGAIN: u32 = 600;
const TELL_EVERY_MS: u64 = 600_000;

/// The agent of the host, while it is up.
pub type Connect = dyn Fn() -> Option<Client> + Send + Sync;

pub struct Room {
    pub paths: Paths,
    pub host: HostConfig,
    connect: Box<Connect>,
    pub programs: Programs,
    pub questions: Questions,
    pub held: Held,
    pub browser: Browser,
    relay: relay::Lazy,
    /// Wishes that are refused, told by a thread of their own.
    refused: SyncSender<u64>,
    books: Mutex<Books>,
}

pub enum Begun {
    Yes,
    Already,
    Full,
}

struct Books {
    client: Option<Arc<Client>>,
    state: State,
    journal: Journal,
    rate: Rate,
    /// Wishes that are worked on.
    at_work: BTreeSet<u64>,
    /// Since when it is known here that something of a kind was not allowed.
    told_ms: [Option<u64>; BRIDGES],
}

impl Room {
    pub fn of_session(paths: &Paths, host: &HostConfig) -> Arc<Room> {
        let (at, of) = (paths.clone(), host.clone());
        let connect = Box::new(move || through::with_token(&at, &of));
        let programs = Programs::with(&desktop::kept(paths, &host.name));
        Room::new(paths.clone(), host.clone(), connect, programs)
    }

    pub fn new(
        paths: Paths,
        host: HostConfig,
        connect: Box<Connect>,
        programs: Programs,
    ) -> Arc<Room> {
        let journal = Journal::new(paths.bridge_log(&host.name));
        let state = State { since_unix_s: journal::now(), ..State::default() };
        let (rate, at_work) = (Rate::default(), BTreeSet::new());
        let told_ms = [None; BRIDGES];
        let books = Books { client: None, state, journal, rate, at_work, told_ms };
        let books = Mutex::new(books);
        let (questions, held) = (Questions::default(), Held::default());
        let browser = Browser::default();
        let (refused, to_tell) = mpsc::sync_channel(REFUSED);
        let room = Arc::new(Room {
            paths,
            host,
            connect,
            programs,
            questions,
            held,
            browser,
            relay: relay::Lazy::new("bridges"),
            refused,
            books,
        });
        let teller = Arc::downgrade(&room);
        let tell = move || {
            for id in to_tell {
                if let Some(room) = Weak::upgrade(&teller) {
                    room.try_answer(&Answer { id, outcome: Outcome::Denied(TOO_MANY.to_owned()) });
                }
            }
        };
        let _ = thread::Builder::new().name("refuse".to_owned()).spawn(tell);
        room
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it stands in the file now. What cannot be read allows nothing.
    pub fn policy(&self) -> Policy {
        policy_file::load(&self.paths, &self.host.name).unwrap_or_else(|failure| {
            log(&format!("bridges: {}: {}", failure.what, failure.why));
            Policy::nothing()
        })
    }

    pub fn state(&self) -> State {
        let is_set = |value: &OsString| !value.is_empty();
        let variables = ["WAYLAND_DISPLAY", "DISPLAY"];
        let desktop = variables.iter().filter_map(|name| self.programs.variable(name)).find(is_set);
        let desktop = desktop.unwrap_or_default().to_string_lossy().into_owned();
        State { questions: self.questions.open(), desktop, ..self.books().state.clone() }
    }

    pub fn client(&self) -> Option<Arc<Client>> {
        self.books().client.clone()
    }

    pub fn may(&self, bridge: Bridge) -> bool {
        self.books().rate.allows(bridge, clock::boot_ms())
    }

    /// Whether somebody here is to hear that something of this kind was not allowed.
    pub fn tells_of(&self, bridge: Bridge) -> bool {
        let now = clock::boot_ms();
        let mut books = self.books();
        let Some(told) = books.told_ms.get_mut(bridge.place()) else { return false };
        let is_new = told.is_none_or(|told| now.saturating_sub(told) >= TELL_EVERY_MS);
        if is_new {
            *told = Some(now);
        }
        is_new
    }

    /// Keeps what became of a wish.
    pub fn note(&self, bridge: Bridge, end: End, what: &str, bytes: Option<u64>, why: &str) {
        let (unix_s, what, why) = (journal::now(), what.to_owned(), why.to_owned());
        let mut books = self.books();
        if let Some(count) = books.state.counts.get_mut(bridge.place()) {
            count.add(end, bytes.filter(|_| end == End::Done).unwrap_or(0), unix_s);
        }
        books.journal.add(Entry { unix_s, bridge, end, what, bytes, why });
    }

    /// Tells the server; false if nobody there waits for it any more.
    pub fn answer(&self, id: u64, outcome: Outcome) -> bool {
        if id == HERE {
            return true;
        }
        let answer = Answer { id, outcome };
        for _ in 0..TELL_AGAIN {
            match self.try_answer(&answer) {
                Some(told) => return told,
                // The answer itself is what is to come through.
                None if answer.outcome == Outcome::Asking => return true,
                None => thread::sleep(AGAIN),
            }
        }
        false
    }

    /// Whether somebody waits for it; `None` where that is not known now.
    fn try_answer(&self, answer: &Answer) -> Option<bool> {
        match self.client()?.call(BridgeAnswer, answer, LIMIT) {
            Ok(_) => Some(true),
            Err(error) => (!error.is_passing()).then_some(false),
        }
    }

    /// Carries bytes both ways, as long as both sides want it, and `kept` so long.
    pub fn carry(
        &self,
        near: TcpStream,
        far: TcpStream,
        first: Vec<u8>,
        kept: impl Send + 'static,
    ) {
        match self.relay.get() {
            Ok(relay) => {
                relay.carry(near.into(), far.into(), first, Box::new(move |_| drop(kept)));
            }
            Err(error) => log(&format!("bridges: no relay: {error}")),
        }
    }

    /// A new connection to the agent, while the host is up.
    pub fn reach_agent(&self) -> Option<Arc<Client>> {
        (self.connect)().map(Arc::new)
    }

    pub fn connected(&self, client: Arc<Client>) {
        let mut books = self.books();
        (books.client, books.state.is_connected) = (Some(client), true);
        books.state.why.clear();
    }

    /// Has the server told that there were too many. Of more than can be told it hears nothing.
    pub fn refuse(&self, id: u64) {
        let _ = self.refused.try_send(id);
    }

    pub fn disconnected(&self, why: &str) {
        let mut books = self.books();
        books.state.is_connected = false;
        books.state.why = why.to_owned();
    }

    /// One that is told again is worked on already.
    pub fn begin(&self, id: u64) -> Begun {
        let mut books = self.books();
        match (books.at_work.contains(&id), books.at_work.len() < AT_A_TIME) {
            (true, _) => Begun::Already,
            (false, false) => Begun::Full,
            (false, true) => {
                books.at_work.insert(id);
                Begun::Yes
            }
        }
    }

    pub fn end(&self, id: u64) {
        self.books().at_work.remove(&id);
    }
}
