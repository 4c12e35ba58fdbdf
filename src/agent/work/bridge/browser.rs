//! A browser of a laptop's, on 127.0.0.1 while a workspace declares it: each connection is a wish
//! of its own, and its bytes go to the laptop as they are. The port is the one that programs try,
//! or one of the next where that is taken. Every user of this machine can connect there, so each
//! connection is looked at: only this login's are carried. Who is not gets an answer in HTTP, as
//! programs for browsers begin with that.
//!
//! Bounds: 5 s until a laptop takes it, a minute while its owner is asked or a browser is started;
//! what is carried is `relay`'s.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bytes;
use super::limits::{BROWSER, OWNER};
use super::queue::{Event, Queue, Refusal, Ticket};
use crate::agent::log;
use crate::relay;
use crate::rpc::types::bridge::{Outcome, What};
use crate::sys::loopback::LoopbackListener;
use crate::sys::poll::{self, Interest};
use crate::sys::{loopback, process};

static RELAY: relay::Lazy = relay::Lazy::new("browser");
/// Where programs look for a browser, and the next ones; from 9229 on are Node's debuggers.
const USUAL: u16 = 9222;
const LAST: u16 = 9228;
/// Until whoever was told why not has read it.
const READ_WITHIN: Duration = Duration::from_millis(500);
const WHY_BYTES: usize = 64 * 1024;

/// Nothing if all of them are taken.
pub fn listen() -> Option<LoopbackListener> {
    let (port, listener) =
        (USUAL..=LAST).find_map(|port| Some((port, LoopbackListener::bind(port).ok()?)))?;
    if port != USUAL {
        log(&format!("{USUAL} is taken: the laptop's browser is at 127.0.0.1:{port}"));
    }
    Some(listener)
}

/// Until a laptop has it, or whoever connected was told why not.
pub fn attend(queue: &Arc<Queue>, near: UnixStream) {
    if !is_of_this_login(&near) {
        return tell(&near, "403 Forbidden", "it is another user's");
    }
    match queue.want(What::Browser) {
        Ok(ticket) => wait(ticket, near),
        Err(Refusal::Away) => {
            tell(&near, "503 Service Unavailable", "laptop away: no laptop is connected");
        }
        Err(Refusal::Busy(why) | Refusal::Wrong(why)) => {
            tell(&near, "503 Service Unavailable", &why);
        }
    }
}

fn is_of_this_login(near: &UnixStream) -> bool {
    let near = near.try_clone().map(|near| TcpStream::from(OwnedFd::from(near)));
    near.is_ok_and(|near| loopback::user_at_other_end(&near) == Some(process::uid()))
}

fn wait(ticket: Ticket, near: UnixStream) {
    let mut end = Instant::now() + BROWSER;
    loop {
        for event in ticket.events() {
            match event {
                Event::Taken(laptop, first) => return carry(ticket, near, laptop, &first),
                Event::Answered(Outcome::Asking) => end = Instant::now() + OWNER,
                Event::Answered(Outcome::Denied(why)) => {
                    return tell(&near, "403 Forbidden", &format!("denied: {why}"));
                }
                Event::Answered(Outcome::Failed(why)) => {
                    return tell(&near, "502 Bad Gateway", &why);
                }
                Event::Answered(_) => return tell(&near, "502 Bad Gateway", "there is none"),
                Event::Away => {
                    let why = "laptop away: it has gone";
                    return tell(&near, "503 Service Unavailable", why);
                }
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return tell(&near, "504 Gateway Timeout", "laptop away: it does not answer");
        }
        let fds = [(near.as_fd(), Interest::NONE), (ticket.as_fd(), Interest::READ)];
        match poll::wait_each(fds, Some(left)) {
            Ok([gone, _]) if !gone.broken() => {}
            _ => return,
        }
    }
}

/// The wish is there as long as the connection, unless the laptop says that it is done.
fn carry(ticket: Ticket, near: UnixStream, laptop: UnixStream, first: &[u8]) {
    let said = bytes::put(&near, first, READ_WITHIN);
    match (said, RELAY.get()) {
        (Ok(()), Ok(relay)) => {
            relay.carry(near.into(), laptop.into(), Vec::new(), Box::new(move |_| drop(ticket)));
        }
        (_, Err(error)) => tell(&near, "502 Bad Gateway", &error.to_string()),
        (Err(_), _) => {}
    }
}

/// Closing with unread bytes would reset the connection, and take the answer with it.
fn tell(near: &UnixStream, status: &str, why: &str) {
    let length = why.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
    );
    let told = bytes::put(near, answer.as_bytes(), READ_WITHIN);
    if told.and_then(|()| near.shutdown(Shutdown::Write)).is_ok() {
        let _ = bytes::to_end(near, Vec::new(), WHY_BYTES, READ_WITHIN);
    }
}
