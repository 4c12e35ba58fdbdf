//! One connection to the helper: a request, its reply, and what came with it.
//!
//! The helper is trusted with root but not with our descriptor table: what it sends is checked
//! before it is used. And it is root's: what listens in its place is asked nothing. Every wait is
//! bounded. Must not know: what is asked for.

use super::error::{HelperError, TIMEOUT};
use super::reply;
use crate::sys::cmsg::{self, Received};
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use hop_helper::proto::{self, Code};
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names another helper's socket, for tests and the self test.
const SOCKET_VARIABLE: &str = "HOPBOX_HELPER_SOCKET";
/// Where the helper listens where nothing else is said.
pub const DEFAULT_SOCKET: &str = match cfg!(target_os = "macos") {
    true => "/var/run/hopbox-helper.sock",
    false => "/run/hopbox/helper.sock",
};

/// The socket of the helper that this process asks.
pub fn socket_path() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// Pause after the helper has said that this user asks too often; it counts 20 per second.
const TOO_OFTEN_PAUSE: Duration = Duration::from_millis(100);
pub struct Connection {
    stream: UnixStream,
    next_id: u64,
    /// For each request, from its first byte to its reply's last.
    limit: Duration,
}

/// One reply line and what came with it.
pub struct Answer {
    pub result: Map<String, Value>,
    pub fds: Vec<OwnedFd>,
}

impl Connection {
    pub fn open(path: &Path, limit: Duration) -> Result<Connection, HelperError> {
        let stream = cmsg::connect_unix(path, TIMEOUT).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => HelperError::Refused { path },
                _ => HelperError::Missing { path, source },
            }
        })?;
        check_listener(path, cmsg::peer_uid(&stream)?, process::uid())?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, next_id: 1, limit })
    }

    /// Whether the helper has hung up: whatever was asked for on this connection is gone. Does
    /// not wait.
    pub fn closed(&self) -> bool {
        poll::look(self.stream.as_fd(), Interest::READ).broken()
    }

    /// A request whose reply brings no descriptor.
    pub fn call(&mut self, op: &str, args: Value) -> Result<Answer, HelperError> {
        let answer = self.exchange(op, args)?;
        match answer.fds.is_empty() {
            true => Ok(answer),
            false => Err(broken("a descriptor came that nobody asked for")),
        }
    }

    /// Asks again, within the same limit, while the helper says that this user asks too often. If
    /// it hangs up meanwhile, what it said is the reason.
    pub fn exchange(&mut self, op: &str, args: Value) -> Result<Answer, HelperError> {
        let end = Instant::now() + self.limit;
        let mut said = None;
        loop {
            match self.ask(op, &args, end) {
                Err(e) if e.too_often() && Instant::now() + TOO_OFTEN_PAUSE < end => {
                    said = Some(e);
                    std::thread::sleep(TOO_OFTEN_PAUSE);
                }
                Err(HelperError::Io(e)) if hung_up(&e) => {
                    return Err(said.unwrap_or(HelperError::Io(e)));
                }
                outcome => return outcome,
            }
        }
    }

    fn ask(&mut self, op: &str, args: &Value, deadline: Instant) -> Result<Answer, HelperError> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let sent = self.send(proto::request_line(&id, op, args.clone()).as_bytes(), deadline);
        // A helper that is full or does not admit us may answer and close before it reads: its
        // words are worth more than our broken pipe.
        let (line, fds) = match (sent, self.receive(deadline)) {
            (_, Ok(received)) => received,
            (Err(e), Err(_)) | (Ok(()), Err(e)) => return Err(e),
        };
        let reply = reply::parse_reply(&line).map_err(HelperError::Protocol)?;
        let error = match reply.outcome {
            Ok(result) if reply.id == id => return Ok(Answer { result, fds }),
            Ok(_) => return Err(broken("the reply is to another request")),
            Err(error) => error,
        };
        if !fds.is_empty() {
            return Err(broken("a descriptor came with an error"));
        }
        if error.code == Code::ProtocolVersionMismatch.as_str() {
            let (ours, theirs, message) = (proto::VERSION, reply.v, error.message);
            return Err(HelperError::Incompatible { ours, theirs, message });
        }
        let (code, message) = (error.code, error.message);
        let (field, retry, of_another) = (error.field, error.retry, error.of_another);
        Err(HelperError::Op { code, message, field, retry, of_another })
    }

    fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), HelperError> {
        let mut rest = line;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(e) => self.wait(e, Interest::WRITE, deadline)?,
            }
        }
        Ok(())
    }

    /// One reply line without its newline, and every descriptor that came on the way.
    fn receive(&mut self, deadline: Instant) -> Result<(Vec<u8>, Vec<OwnedFd>), HelperError> {
        let mut line = Vec::new();
        let mut fds = Vec::new();
        let mut buf = [0; 4096];
        while line.len() < proto::MAX_REPLY {
            let Received { bytes, fds: more, truncated } =
                match cmsg::receive(&self.stream, &mut buf) {
                    Ok(received) => received,
                    Err(e) => {
                        self.wait(e, Interest::READ, deadline)?;
                        continue;
                    }
                };
            fds.extend(more);
            if truncated || fds.len() > 1 {
                return Err(broken("more descriptors came than may"));
            }
            if bytes == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            line.extend(buf.iter().take(bytes));
            match line.iter().position(|b| *b == b'\n') {
                Some(end) if end + 1 == line.len() => {
                    line.pop();
                    return Ok((line, fds));
                }
                Some(_) => return Err(broken("there is text behind the reply")),
                None => {}
            }
        }
        Err(broken("the reply is too long"))
    }

    /// After an error that means "not now", waits until the connection is ready again.
    fn wait(&self, e: io::Error, what: Interest, deadline: Instant) -> Result<(), HelperError> {
        if e.kind() == io::ErrorKind::Interrupted {
            return Ok(());
        }
        if e.kind() != io::ErrorKind::WouldBlock {
            return Err(e.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        poll::wait_one(self.stream.as_fd(), what, Some(left))?;
        Ok(())
    }
}

/// The helper's socket is root's. One at another path, which is for tests and was named by this
/// process's own user, may be that user's, too.
fn check_listener(path: &Path, uid: u32, own: u32) -> Result<(), HelperError> {
    let named = path != Path::new(DEFAULT_SOCKET) && !cmsg::is_nobody(uid);
    match uid == 0 || (named && uid == own) {
        true => Ok(()),
        false => Err(HelperError::Stranger { path: path.to_owned(), uid }),
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The other end closed, whichever way the kernel puts it.
pub fn hung_up(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

pub fn broken(what: &str) -> HelperError {
    HelperError::Protocol(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_roots() {
        let (usual, other) = (Path::new(DEFAULT_SOCKET), Path::new("/tmp/helper.sock"));
        let fits = |path, uid, own| check_listener(path, uid, own).is_ok();
        for own in [0, 1000, 65_534] {
            assert!(fits(usual, 0, own) && fits(other, 0, own));
            assert!(!fits(usual, 1001, own) && !fits(other, 1001, own));
            assert!(!fits(other, 65_534, own) && !fits(other, u32::MAX, own));
        }
        assert!(fits(other, 1000, 1000) && !fits(usual, 1000, 1000));
    }
}
