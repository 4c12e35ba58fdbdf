//! The socket at which `front` asks: one thread for each connection, at most 128 at a time for
//! calls and streams, and 1024 that wait for what a laptop's connection is to be connected with.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::given::{self, Given};
use super::{bridge, methods, snap, starts};
use crate::agent::joint;
use crate::agent::log;
use crate::base::failure::{Failure, Fault};
use crate::base::line_socket::{self, LineSocket};
use crate::fix;
use crate::rpc::VERSION;
use crate::sys::line::Lines;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};
use crate::sys::{cmsg, open_files, process};

/// More than `front` has streams and calls, and those that were given away.
const CONNECTIONS: usize = 128 + given::MOST;
/// What a request begins with; a descriptor comes with the first of it.
const PIECE: usize = 16 * 1024;
const OPEN_FILES: u64 = 64 * 1024;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves until a signal. What was started for a workspace goes on without this process.
pub fn serve(state_dir: &Path) -> Result<(), Failure> {
    let path = joint::path(state_dir);
    let failed = |error: io::Error| {
        let what = format!("cannot listen at {}", path.display());
        Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {}", state_dir))
    };
    // Two for each connection of a laptop's to a port here.
    open_files::raise(OPEN_FILES);
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt]).map_err(failed)?;
    // One that is there is of a process that was killed, or that ends: systemd runs one.
    let socket = LineSocket::bind(&path)?;
    log(&format!("hop-agent {VERSION}: work, at {}", path.display()));
    // What is to run and does not, while others are heard.
    let resume = || {
        snap::recover();
        snap::begin();
        starts::resume();
    };
    let _ = thread::Builder::new().name("resume".to_owned()).spawn(resume);
    bridge::begin();
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let fds = [(signals.as_fd(), Interest::READ), (socket.as_fd(), Interest::READ)];
        let [told, asked] = poll::wait_each(fds, None).map_err(failed)?;
        if told.any() {
            if let Some(signal) = signals.take() {
                log(&format!("ending on a signal ({signal:?})"));
                bridge::end();
                return Ok(());
            }
        }
        if asked.any() {
            accept(&socket, &open);
        }
    }
}

fn accept(socket: &LineSocket, open: &Arc<AtomicUsize>) {
    let stream = match socket.accept() {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
        Err(_) => return thread::sleep(PAUSE),
    };
    if line_socket::check_peer(&stream, process::uid()).is_err() {
        return log("somebody else than the agent's user asked, and was not heard");
    }
    if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
        open.fetch_sub(1, Ordering::AcqRel);
        let _ = stream.set_nonblocking(true);
        let _ = line_socket::put(&stream, &joint::refusal_line("busy", "too many calls"));
        return;
    }
    let counted = Counted(open.clone());
    let attend = move || {
        let _counted = counted;
        // Who has gone has nothing to be told.
        let _ = attend(stream);
    };
    let _ = thread::Builder::new().name("work".to_owned()).spawn(attend);
}

/// One connection of those that may be.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn attend(stream: UnixStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    poll::wait_one(stream.as_fd(), Interest::READ, Some(joint::REQUEST_LIMIT))?;
    stream.set_nonblocking(true)?;
    let received = cmsg::receive(&stream, &mut piece)?;
    stream.set_nonblocking(false)?;
    piece.truncate(received.bytes);
    let mut lines = Lines::after(piece, stream, joint::REQUEST_BYTES);
    let request = lines.next(joint::REQUEST_LIMIT, None)?;
    if let Some(fd) = received.fds.into_iter().next() {
        let (stream, first) = lines.into_parts();
        given::call(&request, Given::new(fd, first, &stream)?);
        return Ok(());
    }
    let stream = lines.stream();
    let last = methods::call(&request, stream)
        .unwrap_or_else(|refused| Some(joint::refusal_line(refused.code.word(), &refused.why)));
    last.map_or(Ok(()), |last| line_socket::put(stream, &last))
}
