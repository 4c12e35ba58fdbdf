//! Who asks the mirror, at its socket beside the session's, where only its user can connect: what
//! they ask and hear is `view`'s to say, and `client` is their side.
//!
//! Bounds: those of a line socket; 16 who watch, each of whom takes a line within 100 ms.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::view::{MirrorAsk, MirrorEvent, MirrorView, MirrorViews};
use crate::base::failure::Failure;
use crate::base::json::Fields;
use crate::base::line_socket::{self, LineSocket};
use crate::host::paths::{self, Paths};
use crate::rpc::types::Message;
use crate::session::control;
use crate::sys::poll::{self, Interest};

const WATCHERS: usize = 16;
const TAKEN_WITHIN: Duration = Duration::from_millis(100);

/// The mirror's end.
pub struct Control {
    socket: LineSocket,
    watchers: Vec<UnixStream>,
    /// What those who watch know, but for its numbers that grow.
    told: BTreeMap<u16, MirrorView>,
}

impl Control {
    pub fn open(paths: &Paths, host: &str) -> Result<Control, Failure> {
        let socket = control::listen(paths, host, paths::ports_socket_in)?;
        Ok(Control { socket, watchers: Vec::new(), told: BTreeMap::new() })
    }

    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let watchers = self.watchers.iter().map(|it| (it.as_fd(), Interest::READ));
        [(self.socket.as_fd(), Interest::READ)].into_iter().chain(watchers)
    }

    /// Answers whoever is there with what `reply` says.
    pub fn serve(&mut self, mut reply: impl FnMut(MirrorAsk) -> Result<Value, String>) {
        // Who watches says nothing more, but that it has gone.
        self.watchers.retain(|it| !poll::look(it.as_fd(), Interest::READ).any());
        for (stream, line) in self.socket.asked() {
            let read = |line: String| Fields::parse(&line).and_then(MirrorAsk::read_strictly);
            let asked = line.ok().and_then(|line| read(line).ok());
            let stays = asked == Some(MirrorAsk::Watch);
            let answer = match asked {
                None => Err("the request is not valid".to_owned()),
                Some(_) if stays && self.watchers.len() >= WATCHERS => {
                    Err("too many are watching".to_owned())
                }
                Some(asked) => reply(asked),
            };
            let line = match &answer {
                Ok(data) => json!({"ok": true, "data": data}),
                Err(why) => json!({"ok": false, "error": why}),
            };
            if put(&stream, &line).is_ok() && stays && answer.is_ok() {
                self.watchers.push(stream);
            }
        }
    }

    /// Something has changed. Who does not take it has gone.
    pub fn tell(&mut self, views: &MirrorViews) {
        let still = |view: &MirrorView| MirrorView { bytes_up: 0, bytes_down: 0, ..view.clone() };
        let now: BTreeMap<u16, MirrorView> =
            views.ports.iter().map(|view| (view.port, still(view))).collect();
        let is_new = |view: &&MirrorView| self.told.get(&view.port) != now.get(&view.port);
        let new = views.ports.iter().filter(is_new);
        let new = new.map(|view| MirrorEvent::Is(Box::new(view.clone())).to_json());
        let forgotten = self.told.keys().filter(|port| !now.contains_key(port));
        let forgotten = forgotten.map(|port| MirrorEvent::Forgotten(*port).to_json());
        let lines: Vec<Value> = new.chain(forgotten).collect();
        self.told = now;
        self.watchers.retain(|it| lines.iter().try_for_each(|line| put(it, line)).is_ok());
    }
}

fn put(stream: &UnixStream, line: &Value) -> io::Result<()> {
    stream.set_write_timeout(Some(TAKEN_WITHIN))?;
    line_socket::put(stream, &line.to_string())
}
