//! Connections to ports of the server's: made through the tunnel, asked for, and carried by the
//! relay. Nothing here waits.
//!
//! Bounds: 32 that are being opened, since the agent has slots for so many of one laptop; 4096 that
//! wait for that, then the next is reset; 10 s for one to open.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

use super::map::Seen;
use super::probe::state_of;
use super::view::PortState;
use crate::relay::{Done, Ended, Heard, Opening, Order, Relay};
use crate::rpc::client::{Client, switched};
use crate::rpc::method::PORTS_CONNECT;
use crate::rpc::types::ports::PortNumber;
use crate::sys::loopback;

/// Until the server has connected, or said that it does not.
const LIMIT: Duration = Duration::from_secs(10);

const OPENING: usize = 32;
const WAITING: usize = 4096;

/// Told when a connection found something new about a port, or another may begin.
pub type Changed = Arc<dyn Fn(bool) + Send + Sync>;

/// Asks for the port; the token is wiped with it.
struct Asks {
    request: Zeroizing<String>,
    verdict: Verdict,
    _ticket: Ticket,
}

/// One of those that are being opened.
struct Ticket {
    opening: Arc<AtomicUsize>,
    changed: Changed,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.opening.fetch_sub(1, Ordering::AcqRel);
        (self.changed)(false);
    }
}

/// What is found out about a port.
#[derive(Clone)]
struct Verdict {
    seen: Arc<Seen>,
    changed: Changed,
}

impl Verdict {
    fn is(&self, state: PortState) {
        if self.seen.found(state) {
            (self.changed)(true);
        }
    }
}

impl Opening for Asks {
    fn says(&self) -> &[u8] {
        self.request.as_bytes()
    }

    fn hears(&mut self, bytes: &[u8]) -> Heard {
        match switched(bytes) {
            Ok(None) => Heard::More,
            Ok(Some(used)) => {
                self.verdict.is(PortState::Ready);
                Heard::Open(used)
            }
            Err(error) => {
                state_of(&error).into_iter().for_each(|state| self.verdict.is(state));
                Heard::Refused
            }
        }
    }
}

/// Who wants to be connected with what.
pub struct Wanted {
    pub port: u16,
    pub near: TcpStream,
    pub seen: Arc<Seen>,
}

pub struct Connections {
    relay: Relay,
    changed: Changed,
    opening: Arc<AtomicUsize>,
    waiting: VecDeque<Wanted>,
}

impl Connections {
    pub fn start(changed: Changed) -> std::io::Result<Connections> {
        let relay = Relay::start("relay")?;
        Ok(Connections { relay, changed, opening: Arc::default(), waiting: VecDeque::new() })
    }

    /// Begins it when its turn comes.
    pub fn add(&mut self, wanted: Wanted) {
        match self.waiting.len() < WAITING {
            true => self.waiting.push_back(wanted),
            false => loopback::reset(wanted.near),
        }
    }

    /// Begins as many as may be opened at a time.
    pub fn begin(&mut self, client: &Client) {
        while self.opening.load(Ordering::Acquire) < OPENING {
            let Some(wanted) = self.waiting.pop_front() else { return };
            self.carry(client, wanted);
        }
    }

    fn carry(&self, client: &Client, Wanted { port, near, seen }: Wanted) {
        let wanted = PortNumber { port, is_accepted: false };
        let Ok((far, request)) = client.begin(PORTS_CONNECT, &wanted) else {
            return loopback::reset(near);
        };
        self.opening.fetch_add(1, Ordering::AcqRel);
        let (opening, changed) = (self.opening.clone(), self.changed.clone());
        let _ticket = Ticket { opening, changed: changed.clone() };
        let tally = seen.tally.clone();
        let verdict = Verdict { seen, changed };
        let at_end = verdict.clone();
        let done: Done = Box::new(move |carried| {
            if carried.ended == Ended::Late {
                at_end.is(PortState::Hung);
            }
        });
        let asks: Box<dyn Opening> = Box::new(Asks { request, verdict, _ticket });
        let opening = Some((asks, LIMIT));
        let (near, first) = (near.into(), Vec::new());
        self.relay.carry_as(Order { near, far, first, opening, tally, done });
    }
}
