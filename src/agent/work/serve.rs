//! The socket at which `front` asks: one thread for each connection, at most 64 at a time.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::methods;
use crate::agent::joint::{self, Lines};
use crate::agent::log;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::VERSION;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use crate::sys::signal::{Kind as Signal, Signals};

const CONNECTIONS: usize = 64;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves until a signal. What was started for a workspace goes on without this process.
pub fn serve(state_dir: &Path) -> Result<(), Failure> {
    let path = joint::path(state_dir);
    let failed = |error: io::Error| {
        let what = format!("cannot listen at {}", path.display());
        Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {}", state_dir))
    };
    // Nobody's directory but this user's: whoever else could enter it could listen in our place.
    let dir = fs::symlink_metadata(state_dir).map_err(failed)?;
    if !dir.is_dir() || dir.uid() != process::uid() || dir.mode() & 0o022 != 0 {
        let what = format!("{} cannot be used", state_dir.display());
        let why = "it must be a directory of this user, which nobody else can write";
        return Err(Failure::new(Fault::Usage, what, why, fix!("ls -ld {}", state_dir)));
    }
    let mut signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt]).map_err(failed)?;
    // One that is there is of a process that was killed, or that ends: systemd runs one.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    log(&format!("hop-agent {VERSION}: work, at {}", path.display()));
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let fds = [(signals.as_fd(), Interest::READ), (listener.as_fd(), Interest::READ)];
        let [told, asked] = poll::wait_each(fds, None).map_err(failed)?;
        if told.any() {
            if let Some(signal) = signals.take() {
                log(&format!("ending on a signal ({signal:?})"));
                let _ = fs::remove_file(&path);
                return Ok(());
            }
        }
        if asked.any() {
            accept(&listener, &open);
        }
    }
}

fn accept(listener: &UnixListener, open: &Arc<AtomicUsize>) {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        Err(_) => return thread::sleep(PAUSE),
    };
    if !joint::is_own(&stream) {
        return log("somebody else than the agent's user asked, and was not heard");
    }
    if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
        open.fetch_sub(1, Ordering::AcqRel);
        let _ = stream.set_nonblocking(true);
        let _ = (&stream).write(joint::refusal_line("busy", "too many calls").as_bytes());
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
    stream.set_nonblocking(false)?;
    let mut lines = Lines::new(stream, joint::REQUEST_BYTES);
    let request = lines.next(joint::REQUEST_LIMIT, None)?;
    let stream = lines.stream();
    let last = methods::call(&request, stream)
        .unwrap_or_else(|refused| joint::refusal_line(refused.code.word(), &refused.why));
    joint::put(stream, &last)
}
