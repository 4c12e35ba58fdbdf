//! The process of a host's bridges: it follows what the server wants, and hears who asks at its
//! socket, `<host>.bridge.sock` beside the session's. It ends with whoever started it.
//!
//! | asked | answered |
//! |---|---|
//! | `{"ask":"state"}` | `state::State` |
//! | `{"ask":"answer","id":…,"place":…}` | `{"done":true}`, or `{"error":"question"}`, `"option"` |
//! | `{"ask":"copy","bytes":…}` | `{"denied":why}`, or `{"send":true}` and then as `typed` says |
//! | `{"ask":"restart","desktop":{…}}` | `{"done":true}` once it hears nobody; it ends, to be started again on that desktop |
//!
//! Bounds: those of a line socket; one copy at a time, which has a thread of its own.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use serde_json::json;

use super::desktop::{self, Desktop};
use super::questions::NoAnswer;
use super::room::Room;
use super::{browser, follow, mirror, typed};
use crate::base::json::{Fields, ReadError};
use crate::base::line_socket::{self, LineSocket};
use crate::host::paths::{self, Paths};
use crate::host::store;
use crate::rpc::types::bridge::CLIPBOARD_BYTES;
use crate::session::companion::Life;
use crate::session::control;
use crate::session::log::log;
use crate::sys::poll::{self, Interest};

/// As long as its session lives.
pub fn run(paths: &Paths, host: &str, life: &Life) -> io::Result<()> {
    let config = store::load(paths, host).map_err(io::Error::other)?;
    let socket = control::listen(paths, host, paths::bridge_socket_in).map_err(io::Error::other)?;
    let room = Room::of_session(paths, &config);
    browser::throw_away(&paths.browser_dir(host));
    let restarts = hear(&room, &socket, life);
    // Who is told that it is done finds the next process, and not this one.
    drop(socket);
    if let Some(stream) = restarts {
        let _ = line_socket::put(&stream, &json!({"done": true}).to_string());
    }
    room.browser.end();
    Ok(())
}

/// Until its life is over, or somebody wants it to begin anew: they wait for a word.
fn hear(room: &Arc<Room>, socket: &LineSocket, life: &Life) -> Option<UnixStream> {
    for (name, work) in
        [("follow", follow::follow as fn(&Arc<Room>)), ("tend", |r| mirror::tend(r))]
    {
        let room = room.clone();
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(move || work(&room))
        {
            log(&format!("bridges: no thread: {error}"));
            return None;
        }
    }
    loop {
        let fds = [(life.as_fd(), Interest::READ), (socket.as_fd(), Interest::READ)];
        match poll::wait_each(fds, None) {
            Ok([over, _]) if over.any() => return None,
            Ok(_) => {
                let all = socket.asked();
                let anew = all.filter_map(|(stream, line)| serve(room, stream, line.ok()));
                if let Some(stream) = anew.last() {
                    return Some(stream);
                }
            }
            Err(error) => {
                log(&format!("bridges: cannot wait: {error}"));
                return None;
            }
        }
    }
}

/// Who wants it to begin anew, if they do: it ends, and whoever started it does so again.
fn serve(room: &Arc<Room>, stream: UnixStream, line: Option<String>) -> Option<UnixStream> {
    let line = line?;
    let answer = match asked(&line) {
        Ok(Asked::State) => room.state().to_json(),
        Ok(Asked::Answer(number, place)) => match room.questions.answer(number, place) {
            Ok(()) => json!({"done": true}),
            Err(NoAnswer::NoQuestion) => json!({"error": "question"}),
            Err(NoAnswer::NoOption) => json!({"error": "option"}),
        },
        Ok(Asked::Copy(bytes)) => {
            typed::begin(room, stream, bytes);
            return None;
        }
        Ok(Asked::Restart(desktop)) => {
            desktop::keep(&room.paths, &room.host.name, &desktop);
            return Some(stream);
        }
        Err(error) => json!({"error": error.to_string()}),
    };
    let _ = line_socket::put(&stream, &answer.to_string());
    None
}

enum Asked {
    State,
    Answer(u32, usize),
    Copy(usize),
    Restart(Desktop),
}

fn asked(line: &str) -> Result<Asked, ReadError> {
    let mut fields = Fields::parse(line)?;
    let asked = match fields.string("ask")?.as_str() {
        "state" => Asked::State,
        "answer" => {
            let place = fields.int::<u8>("place", 0..=u8::MAX)?;
            Asked::Answer(fields.int("id", 0..=u32::MAX)?, usize::from(place))
        }
        "copy" => Asked::Copy(fields.int("bytes", 0..=CLIPBOARD_BYTES)?),
        "restart" => {
            let Some(mut desktop) = fields.opt_object("desktop")? else {
                return Err(fields.error("desktop", "is missing"));
            };
            Asked::Restart(desktop::read(&mut desktop)?)
        }
        _ => return Err(fields.error("ask", "is nothing that can be asked")),
    };
    fields.finish().map(|()| asked)
}
