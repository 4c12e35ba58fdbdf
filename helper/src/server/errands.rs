//! What is done by the service manager: the daemon's queue of that, and the worker that does one
//! after the other. It is another worker than nft's, so that neither waits for the other, and has
//! no capability: process 1 does it, which takes the word of whoever is root. What is asked is read
//! twice, here and there, by the same lines. Must not know: how any of it is done.

use crate::core::access::{Access, SandboxPaths};
use crate::core::conn::Outcome;
use crate::core::peer_cred::Caller;
use crate::proto::{Args, Code, OpError};
use crate::server::cgroup;
use crate::server::program::Turn;
use crate::server::worker::{self, Worker};
use crate::sys;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// How the daemon starts its worker, with the directory of its state behind that.
pub const WORD: &str = "--errands";
/// Most that wait, of a user and of all of them.
const PER_UID: usize = 8;
const MAX: usize = 32;

/// Something to do, typed.
pub enum Errand {
    Cgroup(cgroup::Wish),
}

impl Errand {
    pub fn read(op: &str, args: &Args) -> Result<Errand, OpError> {
        cgroup::Wish::read(op, args).map(Errand::Cgroup)
    }

    fn run(self, uid: u32, turn: Turn) -> Result<Value, OpError> {
        match self {
            Errand::Cgroup(wish) => cgroup::run(&wish, uid, turn),
        }
    }
}

/// The daemon's end.
pub struct Errands {
    worker: Worker,
    now: Option<Caller>,
    queue: VecDeque<(Caller, Value)>,
    pub done: VecDeque<(u64, Outcome)>,
    pub changes: Vec<String>,
}

impl Errands {
    pub fn open(state: &Path) -> Result<Errands, String> {
        let worker = Worker::start(&[Path::new(WORD), state])?;
        let (done, changes) = (VecDeque::new(), Vec::new());
        Ok(Errands { worker, now: None, queue: VecDeque::new(), done, changes })
    }

    /// Takes one on, which was read; `finished` tells its end.
    pub fn begin(&mut self, who: Caller, op: &str, args: &Value) -> Result<(), OpError> {
        let own = self.queue.iter().filter(|(waits, _)| waits.uid == who.uid).count();
        if own >= PER_UID || self.queue.len() >= MAX {
            let error = OpError::new(Code::LimitExceeded, "the service manager is busy");
            return Err(OpError { retry: true, ..error });
        }
        self.queue.push_back((who, json!({"op": op, "args": args, "uid": who.uid})));
        self.go_on();
        Ok(())
    }

    pub fn advance(&mut self) {
        if let Some((head, _)) = self.worker.answer() {
            let changes = head.get("changes").and_then(Value::as_array);
            let texts = changes.into_iter().flatten().filter_map(Value::as_str);
            self.changes.extend(texts.map(str::to_owned));
            let outcome = match head.get("error") {
                None => Ok(head.get("result").cloned().unwrap_or_default().into()),
                Some(error) => Err(OpError::from_json(error)),
            };
            self.done.extend(self.now.take().map(|who| (who.conn, outcome)));
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.now.is_none() && !self.worker.lost {
            if let Some((who, question)) = self.queue.pop_front() {
                self.worker.ask(&question);
                self.now = Some(who);
            }
        }
    }

    pub fn watches(&self) -> Option<BorrowedFd<'_>> {
        // One that has ended would be ready for ever.
        Some(self.worker.as_fd()).filter(|_| !self.worker.lost)
    }

    pub fn is_idle(&self) -> bool {
        self.now.is_none()
    }

    pub fn is_lost(&self) -> bool {
        self.worker.lost || self.worker.is_overdue()
    }
}

/// The worker.
pub fn serve(_state: &Path) -> Result<(), String> {
    sys::no_capabilities().map_err(|e| format!("give up capabilities: {e}"))?;
    let read = |path| (PathBuf::from(path), Access::Look);
    let paths: SandboxPaths = ["/proc", "/sys/fs/cgroup"].map(read).to_vec();
    worker::serve(paths, |line, turn| {
        let answer = match question(line).and_then(|(errand, uid)| errand.run(uid, turn)) {
            Ok(result) => json!({"result": result}),
            Err(error) => json!({"error": error.to_json()}),
        };
        (answer, Vec::new())
    })
}

/// Checked as if a stranger had asked.
fn question(line: &[u8]) -> Result<(Errand, u32), OpError> {
    let wrong = || OpError::new(Code::InternalError, "no question");
    let question: Value = serde_json::from_slice(line).map_err(|_| wrong())?;
    let args = question.get("args").and_then(Value::as_object).ok_or_else(wrong)?;
    let op = question.get("op").and_then(Value::as_str).ok_or_else(wrong)?;
    let uid = question.get("uid").and_then(Value::as_u64).and_then(|uid| u32::try_from(uid).ok());
    Ok((Errand::read(op, &Args(args))?, uid.ok_or_else(wrong)?))
}
