//! Who asks a keeper, at a socket in its directory: one line, `{"do":ORDER}`, which is answered with
//! the state at once and at each transition after that, until whoever asks goes or the keeper ends.
//! Its own user alone is heard.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::SOCKET;
use super::state::State;
use crate::base::failure::Failure;
use crate::base::json::Fields;
use crate::base::line_socket::{self, LineSocket};
use crate::sys::line::Lines;
use crate::sys::{process, set_nonblocking};

const ASK_WITHIN: Duration = Duration::from_secs(2);
const LINE_BYTES: usize = 64 * 1024;
/// Who hears of each transition.
const WATCHERS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Watch,
    Stop,
    Restart,
    /// The run of this generation works no more, whatever its process does: it is ended, and
    /// followed like one that failed after it was well for so long.
    Failed {
        generation: u64,
        well_ms: u64,
    },
}

impl Order {
    fn line(self) -> String {
        let word = |word: &str| json!({"do": word});
        let line = match self {
            Order::Watch => word("watch"),
            Order::Stop => word("stop"),
            Order::Restart => word("restart"),
            Order::Failed { generation, well_ms } => {
                json!({"do": "failed", "generation": generation, "well_ms": well_ms})
            }
        };
        line.to_string()
    }

    fn read(line: &str) -> Option<Order> {
        let mut fields = Fields::parse(line).ok()?;
        let number = |fields: &mut Fields, name| fields.int(name, 0..=u64::MAX).ok();
        match fields.string("do").ok()?.as_str() {
            "watch" => Some(Order::Watch),
            "stop" => Some(Order::Stop),
            "restart" => Some(Order::Restart),
            "failed" => Some(Order::Failed {
                generation: number(&mut fields, "generation")?,
                well_ms: number(&mut fields, "well_ms")?,
            }),
            _ => None,
        }
    }
}

/// The keeper's side.
pub struct Control {
    socket: LineSocket,
    watchers: Vec<UnixStream>,
}

impl Control {
    /// In the directory that this process is in: the path of a socket is short.
    pub fn here() -> Result<Control, Failure> {
        let socket = LineSocket::bind(&Path::new(".").join(SOCKET))?;
        Ok(Control { socket, watchers: Vec::new() })
    }

    /// What is asked for now; whoever asks hears of it from now on.
    pub fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        for (stream, line) in self.socket.asked() {
            let ours = line_socket::check_peer(&stream, process::uid()).is_ok();
            let Some(order) = line.ok().filter(|_| ours).and_then(|line| Order::read(&line)) else {
                continue;
            };
            if self.watchers.len() < WATCHERS && set_nonblocking(stream.as_fd()).is_ok() {
                self.watchers.push(stream);
            }
            orders.push(order);
        }
        orders
    }

    /// One that does not take a line has gone, or might as well have.
    pub fn tell(&mut self, state: &State) {
        let line = state.to_json().to_string();
        self.watchers.retain(|stream| line_socket::put(stream, &line).is_ok());
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A keeper as it is asked by others.
pub struct Watch(Lines<UnixStream>);

impl Watch {
    /// At the keeper of this directory. `NotFound` or `ConnectionRefused`: there is none.
    pub fn ask(dir: &Path, order: Order) -> io::Result<Watch> {
        // By its number: the path of a directory may be longer than a socket's may be.
        let held = File::open(dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd()));
        let stream = line_socket::connect(&path, process::uid(), ASK_WITHIN)?;
        line_socket::put(&stream, &order.line())?;
        Ok(Watch(Lines::new(stream, LINE_BYTES)))
    }

    /// The state now, then the next one. `UnexpectedEof`: the keeper has ended.
    pub fn next(&mut self, limit: Duration) -> io::Result<State> {
        let line = self.0.next(limit, None)?;
        State::parse(&line)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))
    }
}
