//! A process that may do what the daemon may not, and the way to it. The daemon, which reads what
//! users write, has no right to change anything and runs no program; it asks its children, in typed
//! words alone: whoever takes the daemon over can ask for what they know, and for no other program.
//! One question at a time. Must not know: what is asked.

use crate::core::access::{Access, SandboxPaths};
use crate::core::sandbox;
use crate::proto::OpError;
use crate::server::program::{OUTPUT_MAX, Turn};
use crate::sys;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All that it runs for one question has to end within this.
const LIMIT: Duration = Duration::from_secs(10);
/// After this the daemon gives it up.
const GIVEN_UP: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(500);
/// Longest question and head of an answer, in bytes.
const LINE_MAX: u64 = 1 << 20;
const ANSWER_MAX: usize = LINE_MAX as usize + 3 * OUTPUT_MAX as usize;
/// What other programs may read and run: themselves and their libraries.
const RUNS: [&str; 3] = ["/usr", "/lib", "/lib64"];
const LOADER: &str = "/etc/ld.so.cache";

/// An answer: what it says, and bytes that belong to it.
pub type Answer = (Value, Vec<u8>);

/// What an answer says that is a result or an error.
pub fn result(head: &Value) -> Result<Value, OpError> {
    match head.get("error") {
        None => Ok(head.get("result").cloned().unwrap_or_default()),
        Some(error) => Err(OpError::from_json(error)),
    }
}

/// The daemon's end.
pub struct Worker {
    stream: UnixStream,
    input: Vec<u8>,
    asked: Option<Instant>,
    pub lost: bool,
}

impl Worker {
    /// Starts this program again, as what these words say, with a socket as its standard input.
    pub fn start(words: &[&Path]) -> Result<Worker, String> {
        let failed = |e: io::Error| format!("start the worker: {e}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let own = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(own);
        command.args(words).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        command.spawn().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        Ok(Worker { stream: ours, input: Vec::new(), asked: None, lost: false })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// To wait for. One that has ended would be ready for ever.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd()).filter(|_| !self.lost)
    }

    /// It has ended, or says nothing any more.
    pub fn is_gone(&self) -> bool {
        self.lost || self.is_overdue()
    }

    pub fn ask(&mut self, question: &Value) {
        let line = format!("{question}\n");
        self.asked = Some(Instant::now());
        // It reads while it has nothing to do, and so much fits into the socket.
        let sent = self.stream.write(line.as_bytes());
        self.lost |= !sent.is_ok_and(|sent| sent == line.len());
    }

    /// The answer, waited for.
    pub fn wait(&mut self) -> Option<Answer> {
        while !self.is_gone() {
            let answer = self.answer();
            if answer.is_some() {
                return answer;
            }
            sys::poll(&[(self.as_fd(), libc::POLLIN)], Some(PAUSE)).ok()?;
        }
        None
    }

    /// Nothing has come of a question for too long.
    fn is_overdue(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() > GIVEN_UP)
    }

    /// The answer, when all of it has come.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut buf = [0; 16_384];
        loop {
            match self.stream.read(&mut buf) {
                Ok(count) if count > 0 && self.input.len() <= ANSWER_MAX => {
                    self.input.extend(buf.iter().take(count));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.lost = true;
                    return None;
                }
            }
        }
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let head: Value = serde_json::from_slice(self.input.get(..end)?).unwrap_or_default();
        let len = head.get("bytes").and_then(Value::as_u64).unwrap_or(0) as usize;
        let body = self.input.get(end + 1..)?.get(..len)?.to_vec();
        (self.input, self.asked) = (Vec::new(), None);
        Some((head, body))
    }
}

/// The other end: answers until nobody asks any more. `paths` is what it needs besides the programs
/// of the machine.
pub fn serve(
    mut paths: SandboxPaths,
    mut answer: impl FnMut(&[u8], Turn) -> Answer,
) -> Result<(), String> {
    let failed = |e: io::Error| format!("worker: {e}");
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(failed)?;
    paths.extend(RUNS.map(|path| (PathBuf::from(path), Access::Run)));
    paths.push((PathBuf::from(LOADER), Access::Read));
    // Where they lead to, of which a part is links.
    let real = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
    let paths = paths.into_iter().map(|(path, access)| (real(path), access)).collect();
    sandbox::confine(&paths);
    let mut questions = BufReader::new(stream.try_clone().map_err(failed)?);
    loop {
        let mut line = Vec::new();
        let read = questions.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        let turn = Turn { deadline: Instant::now() + LIMIT, asker: stream.as_fd() };
        let (mut head, body) = answer(&line, turn);
        head["bytes"] = json!(body.len());
        let bytes = [format!("{head}\n").into_bytes(), body].concat();
        if (&stream).write_all(&bytes).is_err() {
            return Ok(());
        }
    }
}
