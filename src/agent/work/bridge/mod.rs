//! What programs on this machine want of a laptop: its clipboard, its browser, its owner's
//! attention. The laptop asks for it, over the tunnel, and decides; nothing here opens a connection
//! to it.
//!
//! Reading order: `limits` (what may be wanted, and how often) → `queue` (who wants it, who is
//! asked) → `watch` (the laptop's side) → `place` (where programs find this agent), `declared`,
//! `local` (the sockets) → `wire` (what is said there), `bytes`, `attend` (one program), `browser`
//! (one that steers a browser) → `client` (the program's side), `verbs` (what is typed), `shim`
//! (programs that others call by their names) → `install` (how they are found).

mod attend;
mod browser;
mod bytes;
mod client;
mod declared;
pub mod install;
mod limits;
mod local;
mod place;
mod queue;
pub mod shim;
pub mod verbs;
mod watch;
mod wire;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};
use std::thread;

use self::place::Place;
use self::queue::Queue;
use super::services::Done;
use super::state::Room;
use crate::agent::log;
use crate::rpc::types::bridge::Answer;
use crate::workspace::manifest::Bridges;

static QUEUE: LazyLock<Arc<Queue>> = LazyLock::new(Queue::new);

/// Has programs of this login heard, for as long as this process lives.
pub fn begin() {
    let place = match Room::own().and_then(|room| Place::own().map(|place| (room, place))) {
        Ok((room, place)) => {
            settle(&room);
            place
        }
        Err(error) => return log(&format!("programs here cannot ask for a laptop: {error}")),
    };
    let serve = move || local::serve(&place, &QUEUE);
    let _ = thread::Builder::new().name("bridges".to_owned()).spawn(serve);
}

/// At the end of this process. What services go on with stays; where nothing is declared, nothing
/// stays.
pub fn end() {
    if !declared::any() {
        let _ = Place::own().map(|place| place.leave());
    }
}

/// What all workspaces of this login declare now.
pub fn settle(room: &Room) {
    let all = room.workspaces().into_iter().flat_map(|workspace| workspace.desired.bridges);
    let all: Bridges = all.collect();
    if let Err(error) = Place::own().and_then(|place| install::settle(&place, &all)) {
        log(&format!("programs for bridges could not be put in their place: {error}"));
    }
    declared::set(all);
}

/// What is wanted of whoever listens on `stream`, until they have gone.
pub fn watch(stream: &UnixStream) -> Done<()> {
    watch::watch(&QUEUE, stream)
}

pub fn answer(answer: Answer) -> Done<()> {
    QUEUE.answer(answer.id, answer.outcome)
}

/// For a connection of a laptop's, which is to carry the bytes of a wish.
pub fn claim(id: u64) -> Done<()> {
    QUEUE.claim(id)
}

/// It has gone before.
pub fn unclaim(id: u64) {
    QUEUE.unclaim(id);
}

/// That connection, with what has come on it already.
pub fn take(id: u64, laptop: OwnedFd, first: Vec<u8>) -> Done<()> {
    QUEUE.take(id, UnixStream::from(laptop), first)
}
