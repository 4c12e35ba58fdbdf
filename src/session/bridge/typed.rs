//! What a program there copied by the terminal that it writes to here (OSC 52): `hop run` hears it
//! and hands it on: so many bytes, once `{"send":true}` was answered, and the answer to them is
//! `{"done":true}`, or `{"failed":why}` where no program here takes them. The rule, the rate, the
//! counters and the log are those of every copy.
//!
//! Bounds: one at a time; its bytes within 2 s.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::asking::{Unfulfilled, consent};
use super::clipboard;
use super::journal::End;
use super::policy::{Bridge, Verdict};
use super::room::{Begun, HERE, Room, TOO_MANY};
use super::wishes::tell_once;
use crate::base::line_socket;
use crate::rpc::types::bridge::Kind;
use crate::sys::threads;

const BYTES_WITHIN: Duration = Duration::from_secs(2);
const BUSY: &str = "another copy is under way";
const QUESTION: &str = "Copy something to the clipboard here?";

/// Sees to it in a thread of its own.
pub fn begin(room: &Arc<Room>, stream: UnixStream, bytes: usize) {
    let refused = |why: &str| {
        // Who has gone has nothing to be told.
        let _ = put(&stream, &json!({"denied": why}));
    };
    if !room.may(Bridge::Copy) {
        room.note(Bridge::Copy, End::Limited, Kind::Text.word(), None, TOO_MANY);
        return refused(TOO_MANY);
    }
    if let Verdict::Deny(why) = room.policy().verdict(Bridge::Copy) {
        room.note(Bridge::Copy, End::Denied, Kind::Text.word(), None, why);
        tell_once(room, Bridge::Copy);
        return refused(why);
    }
    match room.begin(HERE) {
        Begun::Yes => {}
        Begun::Already | Begun::Full => return refused(BUSY),
    }
    let theirs = room.clone();
    let copy = move || {
        copy(&theirs, &stream, bytes);
        theirs.end(HERE);
    };
    if threads::start("typed", copy).is_err() {
        room.end(HERE);
    }
}

fn copy(room: &Arc<Room>, stream: &UnixStream, bytes: usize) {
    let Ok(text) = sent(stream, bytes) else { return };
    let noted = |end, why: &str| {
        room.note(Bridge::Copy, end, Kind::Text.word(), Some(bytes as u64), why);
    };
    if let Verdict::Ask(_) = room.policy().verdict(Bridge::Copy) {
        // What it writes meanwhile does not wait for somebody here.
        let _ = put(stream, &json!({"done": true}));
        match consent(room, HERE, QUESTION) {
            Ok(()) => {}
            Err(Unfulfilled::Denied(why)) => return noted(End::Denied, &why),
            Err(Unfulfilled::Failed(why)) => return noted(End::Failed, &why),
            Err(Unfulfilled::TakenBack) => return noted(End::TakenBack, ""),
        }
    }
    let answer = match clipboard::put(&room.programs, Kind::Text, &text) {
        Ok(()) => {
            noted(End::Done, "");
            json!({"done": true})
        }
        Err(why) => {
            noted(End::Failed, &format!("{why}; the terminal was told"));
            json!({"failed": why})
        }
    };
    let _ = put(stream, &answer);
}

fn sent(mut stream: &UnixStream, bytes: usize) -> io::Result<Vec<u8>> {
    put(stream, &json!({"send": true}))?;
    stream.set_read_timeout(Some(BYTES_WITHIN))?;
    let mut text = vec![0; bytes];
    stream.read_exact(&mut text)?;
    Ok(text)
}

fn put(stream: &UnixStream, answer: &Value) -> io::Result<()> {
    line_socket::put(stream, &answer.to_string())
}
