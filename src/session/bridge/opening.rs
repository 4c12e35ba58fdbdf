//! An address, from what a server wants opened to the browser here. One on this machine is the
//! server's: it is opened where its port is answered for; others of this machine are nobody's
//! business. Where the answer comes back to a port, that port is the server's first, at exactly
//! that number, or nothing is opened.
//!
//! Bounds: 1.5 s to look a name up; 3 s for the program that opens.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, short};
use super::asking::{Fulfilled, Unfulfilled, consent, failed};
use super::mirror;
use super::place::Place;
use super::policy::{Bridge, Policy, Verdict};
use super::room::Room;
use crate::base::task::Tasks;
use crate::rpc::types::bridge::Outcome;

const LOOKUP: Duration = Duration::from_millis(1500);
const PROGRAM: Duration = Duration::from_secs(3);
#[cfg(not(target_os = "macos"))]
const OPENER: &str = "xdg-open";
#[cfg(target_os = "macos")]
const OPENER: &str = "open";

/// What is told of an address: not what follows the host, which can be a secret.
pub fn named(url: &str) -> String {
    match Address::read(url) {
        Ok(address) => address.origin(),
        Err(_) => short(url.split(['?', '#']).next().unwrap_or_default()),
    }
}

pub fn open(room: &Arc<Room>, id: u64, url: &str) -> Fulfilled<()> {
    let denied = |why: &str| Unfulfilled::Denied(why.to_owned());
    let address = Address::read(url).map_err(denied)?;
    let policy = room.policy();
    if let Verdict::Deny(why) = policy.verdict(Bridge::Open) {
        return Err(denied(why));
    }
    // Looking up and making ready takes longer than whoever waits there would.
    room.answer(id, Outcome::Asking);
    let address = here(room, address)?;
    match verdict(&policy, &address) {
        Verdict::Allow => {}
        Verdict::Deny(why) => return Err(denied(why)),
        Verdict::Ask(why) => {
            consent(room, id, &format!("Open {} here? ({why})", address.short()))?;
        }
    }
    for port in address.callbacks() {
        mirror::hold(room, port).map_err(|why| {
            failed(format!("port {port} of the laptop, where the answer comes to: {why}"))
        })?;
    }
    start(room, &address)
}

fn verdict(policy: &Policy, address: &Address) -> Verdict {
    match policy.opens(address, true) {
        Verdict::Allow if address.place == Place::Public => {
            policy.opens_at(address, &looked_up(address))
        }
        verdict => verdict,
    }
}

/// Of one on this machine, where the server answers here.
fn here(room: &Room, address: Address) -> Fulfilled<Address> {
    if address.place != Place::Loopback {
        return Ok(address);
    }
    let port = address.port();
    match mirror::local(room, port) {
        Some(local) if local == port => Ok(address),
        Some(local) => Ok(address.at(local)),
        None => match mirror::hold(room, port) {
            Ok(()) => Ok(address),
            Err(why) => Err(Unfulfilled::Denied(format!("port {port} of the laptop: {why}"))),
        },
    }
}

/// What its name leads to, as far as that is known soon.
fn looked_up(address: &Address) -> Vec<IpAddr> {
    let host = address.host.trim_matches(['[', ']']).to_owned();
    let at = (host, address.port());
    let look = move || at.to_socket_addrs().map(|all| all.map(|one| one.ip()).collect());
    let found = Tasks::one("look up", look).ok().and_then(|mut task| task.wait(LOOKUP));
    found.and_then(Result::ok).unwrap_or_default()
}

fn start(room: &Room, address: &Address) -> Fulfilled<()> {
    let program = room.programs.find(OPENER);
    let mut program = program.ok_or_else(|| failed(format!("there is no {OPENER} here")))?;
    // It begins with http, and so is no option.
    match room.programs.run(program.arg(address.text()), b"", PROGRAM) {
        Ok(None) => Ok(()),
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(failed(format!("{OPENER}: {status}"))),
        Err(error) => Err(failed(format!("{OPENER}: {error}"))),
    }
}
