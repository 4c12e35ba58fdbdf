//! Whether a program on the server takes connections: one through the tunnel, closed as soon as
//! the program has accepted it. That the kernel took it says nothing: it does so for one that is
//! stopped, too, as long as there is room in its queue.
//!
//! Whoever looks at ports does it, and nobody else: a connection is a line in some programs' logs,
//! and the whole life of one that takes a single one (`nc -l`).
//!
//! Bounds: 16 at a time, 2 s for each, 4 s for all; what is not reached is not known.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::view::PortState;
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code;
use crate::rpc::method::PORTS_CONNECT;
use crate::rpc::types::ports::PortNumber;
use crate::sys::threads;

const AT_A_TIME: usize = 16;
const EACH: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(4);

/// Of each port that was reached, in no order.
pub fn probe(client: &Client, ports: &[u16]) -> Vec<(u16, PortState)> {
    let (end, next) = (Instant::now() + ALL, AtomicUsize::new(0));
    let some = || {
        let mut found = Vec::new();
        while let Some(port) = ports.get(next.fetch_add(1, Ordering::Relaxed)) {
            if Instant::now() >= end {
                break;
            }
            found.extend(one(client, *port).map(|state| (*port, state)));
        }
        found
    };
    thread::scope(|scope| {
        let others = 1..AT_A_TIME.min(ports.len());
        let others = others.map_while(|_| threads::start_within(scope, "probe", some).ok());
        let others: Vec<_> = others.collect();
        let mut all = some();
        all.extend(others.into_iter().filter_map(|one| one.join().ok()).flatten());
        all
    })
}

fn one(client: &Client, port: u16) -> Option<PortState> {
    match client.bytes(PORTS_CONNECT, &PortNumber { port, is_accepted: true }, EACH) {
        Ok(_) => Some(PortState::Ready),
        Err(error) => state_of(&error),
    }
}

/// What a connection says that did not come about; nothing where it says more about the tunnel.
pub fn state_of(error: &CallError) -> Option<PortState> {
    match error {
        CallError::Timeout(_) => Some(PortState::Hung),
        CallError::Remote { code: Code::NotFound, .. } => Some(PortState::Gone),
        CallError::Remote { word, .. } if word == "refused" => Some(PortState::Refused),
        CallError::Remote { code: Code::Timeout, .. } => Some(PortState::Hung),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_port_is_taken_for_its_state() {
        let remote = |word: &str| CallError::Remote {
            code: Code::of(word),
            word: word.to_owned(),
            message: String::new(),
        };
        for (error, state) in [
            (CallError::Timeout(EACH), Some(PortState::Hung)),
            (remote("timeout"), Some(PortState::Hung)),
            (remote("refused"), Some(PortState::Refused)),
            (remote("not_found"), Some(PortState::Gone)),
            (remote("work_absent"), None),
            (remote("unauthorized"), None),
            (remote("unknown_method"), None),
            (CallError::Unreachable(String::new()), None),
            (CallError::Protocol(String::new()), None),
        ] {
            assert_eq!(state_of(&error), state, "{error}");
        }
    }
}
