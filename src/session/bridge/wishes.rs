//! One wish, from the rule for it to its answer. Each has a thread of its own, that waits for
//! programs here and for whoever is asked.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::asking::{Fulfilled, Unfulfilled, ask, consent, failed};
use super::browser::Exits;
use super::clipboard;
use super::journal::End;
use super::notices;
use super::opening;
use super::policy::{Bridge, Rule, Verdict};
use super::room::Room;
use crate::rpc::method::BRIDGE_TAKE;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Kind, Outcome, What, Wish, WishId};

const TAKE_LIMIT: Duration = Duration::from_secs(5);
const BYTES_LIMIT: Duration = Duration::from_secs(20);

/// What became of it, and what is kept of that.
pub struct Fate {
    pub outcome: Outcome,
    /// How much was copied or pasted.
    pub bytes: Option<u64>,
}

impl From<Outcome> for Fate {
    fn from(outcome: Outcome) -> Fate {
        Fate { outcome, bytes: None }
    }
}

pub fn fulfil(room: &Arc<Room>, wish: Wish) {
    let Some(bridge) = Bridge::of_wish(&wish.what) else { return };
    let what = named(&wish.what);
    let (fate, end, why) = match act(room, &wish) {
        Ok(fate) => (fate, End::Done, String::new()),
        Err(Unfulfilled::Denied(why)) => (Outcome::Denied(why.clone()).into(), End::Denied, why),
        Err(Unfulfilled::Failed(why)) => (Outcome::Failed(why.clone()).into(), End::Failed, why),
        Err(Unfulfilled::TakenBack) => {
            return room.note(bridge, End::TakenBack, &what, None, "");
        }
    };
    let why = match (&fate.outcome, &wish.what) {
        (Outcome::Chosen(place), What::Ask { options, .. }) => {
            options.get(usize::from(*place)).cloned().unwrap_or_default()
        }
        _ => why,
    };
    room.note(bridge, end, &what, fate.bytes, &why);
    room.answer(wish.id, fate.outcome);
}

/// What the log says of it: nothing that may be a secret.
pub fn named(what: &What) -> String {
    match what {
        What::Copy { kind, .. } | What::Paste { kind } => kind.word().to_owned(),
        What::Open { url } => opening::named(url),
        What::Notify { title, .. } => title.clone(),
        What::Ask { question, .. } => question.clone(),
        What::Browser | What::TakenBack => String::new(),
    }
}

fn act(room: &Arc<Room>, wish: &Wish) -> Fulfilled<Fate> {
    let id = wish.id;
    match &wish.what {
        What::Copy { kind, bytes } => {
            allowed(room, id, Bridge::Copy, "Copy something to the clipboard here?")?;
            copy(room, id, *kind, *bytes)
        }
        What::Paste { kind } => {
            allowed(room, id, Bridge::Paste, "Let it read the clipboard here?")?;
            paste(room, id, *kind)
        }
        What::Open { url } => opening::open(room, id, url).map(|()| Outcome::Done.into()),
        What::Notify { title, body } => {
            let quiet = room.policy().verdict(Bridge::Notify);
            if let Verdict::Deny(why) = quiet {
                return Err(Unfulfilled::Denied(why.to_owned()));
            }
            let shown = notices::show(&room.programs, &room.host.name, title, body);
            shown.map(|()| Outcome::Done.into()).map_err(failed)
        }
        What::Ask { question, options } => {
            if let Verdict::Deny(why) = room.policy().verdict(Bridge::Ask) {
                return Err(Unfulfilled::Denied(why.to_owned()));
            }
            let place = ask(room, id, question, options)?;
            Ok(Outcome::Chosen(u8::try_from(place).unwrap_or(u8::MAX)).into())
        }
        What::Browser => {
            let rule = room.policy().rule(Bridge::Browser);
            // Its start takes longer than whoever waits there would.
            if rule != Rule::Deny {
                room.answer(id, Outcome::Asking);
            }
            // Somebody who is asked is so once for each browser.
            if rule != Rule::Ask || !room.browser.is_agreed() {
                allowed(room, id, Bridge::Browser, "Let it steer a browser of its own here?")?;
            }
            let profile = room.paths.browser_dir(&room.host.name);
            let exits: Arc<dyn Exits> = room.clone();
            let browser = room.browser.connect(&room.programs, profile, &exits);
            let (far, steers) = browser.map_err(failed)?;
            // Last, so that whoever waits can be told why there is none.
            let (near, first) = take(room, id)?;
            room.carry(near, far, first, steers);
            Ok(Outcome::Done.into())
        }
        What::TakenBack => Err(Unfulfilled::TakenBack),
    }
}

/// By the rule, or by somebody here.
fn allowed(room: &Arc<Room>, id: u64, bridge: Bridge, question: &str) -> Fulfilled<()> {
    match room.policy().verdict(bridge) {
        Verdict::Allow => Ok(()),
        Verdict::Deny(why) => {
            tell_once(room, bridge);
            Err(Unfulfilled::Denied(why.to_owned()))
        }
        Verdict::Ask(_) => consent(room, id, question),
    }
}

/// That something was refused which can be allowed: one notice in a while, not one each time, and
/// whoever waits there does not wait for it.
pub fn tell_once(room: &Arc<Room>, bridge: Bridge) {
    if !room.tells_of(bridge) {
        return;
    }
    let room = room.clone();
    let tell = move || {
        let host = &room.host.name;
        let text = format!("was not allowed: hop bridge allow {} -H {host}", bridge.word());
        let _ = notices::show(&room.programs, host, bridge.word(), &text);
    };
    let _ = thread::Builder::new().name("tell".to_owned()).spawn(tell);
}

fn take(room: &Room, id: u64) -> Fulfilled<(TcpStream, Vec<u8>)> {
    let client = room.client().ok_or_else(|| failed("the tunnel is not up"))?;
    client.bytes(BRIDGE_TAKE, &WishId { id }, TAKE_LIMIT).map_err(failed)
}

fn copy(room: &Room, id: u64, kind: Kind, bytes: u64) -> Fulfilled<Fate> {
    let (stream, first) = take(room, id)?;
    let all = read_all(stream, first).map_err(failed)?;
    if all.len() as u64 != bytes {
        return Err(failed(format!("{} of {bytes} bytes came", all.len())));
    }
    clipboard::put(&room.programs, kind, &all).map_err(failed)?;
    Ok(Fate { outcome: Outcome::Done, bytes: Some(bytes) })
}

fn read_all(mut stream: TcpStream, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let end = Instant::now() + BYTES_LIMIT;
    let mut piece = vec![0; 64 * 1024];
    while bytes.len() <= CLIPBOARD_BYTES {
        let left = end.saturating_duration_since(Instant::now());
        // No time at all would be for ever.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    Err(io::Error::other("it is more than 1 MiB"))
}

fn paste(room: &Room, id: u64, kind: Kind) -> Fulfilled<Fate> {
    let bytes = clipboard::get(&room.programs, kind).map_err(failed)?;
    let (mut stream, _) = take(room, id)?;
    let mut given = || {
        stream.set_write_timeout(Some(BYTES_LIMIT))?;
        stream.write_all(&bytes)?;
        stream.shutdown(Shutdown::Write)
    };
    given().map_err(failed)?;
    Ok(Fate { outcome: Outcome::Done, bytes: Some(bytes.len() as u64) })
}
