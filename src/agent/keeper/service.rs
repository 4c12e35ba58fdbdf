//! One run of a service: its process, what it says, and how it ended.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command};
use std::time::Instant;

use super::group::MARK;
use super::log::{Half, Log, Voice};
use super::process::Process;
use super::spec::Spec;
use crate::sys::{children, set_nonblocking};

const PIECE: usize = 32 * 1024;
/// As much as a pipe holds, and no more of what others go on saying.
const LAST_PIECES: usize = 4;
/// What systemd tells of the keeper, and is not true of what it starts.
const NOT_PASSED: [&str; 5] = [
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "NOTIFY_SOCKET",
    "MEMORY_PRESSURE_WATCH",
];

/// One of its two outputs.
struct Output<R> {
    voice: Voice,
    pipe: Option<R>,
    half: Half,
}

impl<R: Read + AsFd> Output<R> {
    fn new(voice: Voice, pipe: Option<R>) -> io::Result<Output<R>> {
        pipe.as_ref().map_or(Ok(()), |pipe| set_nonblocking(pipe.as_fd()))?;
        Ok(Output { voice, pipe, half: Half::default() })
    }

    /// A piece; false if there was none.
    fn hear(&mut self, log: &mut Log, piece: &mut [u8]) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        match pipe.read(piece) {
            Ok(count @ 1..) => {
                log.hear(self.voice, &mut self.half, piece.get(..count).unwrap_or_default());
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Ok(0) | Err(_) => {
                self.pipe = None;
                log.pause(self.voice, &mut self.half, true);
                false
            }
        }
    }

    fn pause(&mut self, log: &mut Log, is_over: bool) {
        let due = Log::is_due(&self.half).is_some_and(|due| is_over || due <= Instant::now());
        if due {
            log.pause(self.voice, &mut self.half, is_over);
        }
    }
}

pub struct Service {
    pub process: Process,
    pub began: Instant,
    /// Its own process has ended; what it started may be there still.
    pub is_over: bool,
    out: Output<ChildStdout>,
    err: Output<ChildStderr>,
    piece: Vec<u8>,
}

impl Service {
    /// In a session of its own: no terminal, and nobody's signals.
    pub fn start(spec: &Spec, mark: &Path) -> io::Result<Service> {
        let (program, words) = spec.argv.split_first().ok_or(ErrorKind::InvalidInput)?;
        if !Path::new(&spec.cwd).is_dir() {
            let why = format!("the directory {} is not there", spec.cwd);
            return Err(io::Error::new(ErrorKind::NotFound, why));
        }
        let mut command = Command::new(program);
        command.args(words).current_dir(&spec.cwd);
        for name in NOT_PASSED {
            command.env_remove(name);
        }
        command.envs(spec.env.iter().map(|(name, value)| (name, value))).env(MARK, mark);
        let mut child = children::start(&mut command)?;
        let out = Output::new(Voice::Out, child.stdout.take())?;
        let err = Output::new(Voice::Err, child.stderr.take())?;
        // It stays until it is reaped, so it is there, also if it has ended.
        let process = Process::of(child.id()).ok_or(ErrorKind::NotFound)?;
        let piece = vec![0; PIECE];
        Ok(Service { process, began: Instant::now(), is_over: false, out, err, piece })
    }

    /// What can be waited for.
    pub fn pipes(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.out.pipe.as_ref().map(AsFd::as_fd), self.err.pipe.as_ref().map(AsFd::as_fd)]
    }

    /// Whatever there is to hear; at most so much that an end is seen soon.
    pub fn hear(&mut self, log: &mut Log) {
        for _ in 0..LAST_PIECES {
            let heard = self.out.hear(log, &mut self.piece) | self.err.hear(log, &mut self.piece);
            if !heard {
                break;
            }
        }
        self.out.pause(log, false);
        self.err.pause(log, false);
    }

    /// When half a line is to be written.
    pub fn due(&self) -> Option<Instant> {
        [Log::is_due(&self.out.half), Log::is_due(&self.err.half)].into_iter().flatten().min()
    }

    /// Nobody is left who could say more.
    pub fn close(mut self, log: &mut Log) {
        self.hear(log);
        self.out.pause(log, true);
        self.err.pause(log, true);
    }
}
