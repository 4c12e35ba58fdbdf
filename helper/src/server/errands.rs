//! What is done by the service manager: the daemon's queue of that, and the worker that does one
//! after the other. It is another worker than nft's, so that neither waits for the other, and has
//! no capability: process 1 does it, which takes the word of whoever is root. What is asked is read
//! twice, here and there, by the same lines. Must not know: how any of it is done.

use crate::core::access::{Access, SandboxPaths};
use crate::core::conn::Outcome;
use crate::core::peer_cred::Caller;
use crate::proto::{Args, Code, OpError};
use crate::server::cgroup;
use crate::server::mount::{self, Mounts};
use crate::server::program::Turn;
use crate::server::queue::Queue;
use crate::server::worker::{self, Answer, Worker};
use crate::sys;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// How the daemon starts its worker, with the directory of its state behind that.
pub const WORD: &str = "--errands";
/// The first question, which no user can ask.
const START: &str = "(start)";

/// Something to do, typed.
pub enum Errand {
    Cgroup(cgroup::Wish),
    Mount(mount::Wish),
}

impl Errand {
    pub fn read(op: &str, args: &Args) -> Result<Errand, OpError> {
        match op.split_once('.') {
            Some(("mount", _)) => mount::Wish::read(op, args).map(Errand::Mount),
            _ => cgroup::Wish::read(op, args).map(Errand::Cgroup),
        }
    }
}

/// The daemon's end.
pub struct Errands {
    pub worker: Worker,
    now: Option<Caller>,
    queue: Queue<Value>,
    pub done: VecDeque<(u64, Outcome)>,
    pub changes: Vec<String>,
}

impl Errands {
    pub fn open(state: &Path) -> Result<Errands, String> {
        let worker = Worker::start(&[Path::new(WORD), state])?;
        let (done, changes) = (VecDeque::new(), Vec::new());
        let mut errands = Errands { worker, now: None, queue: Queue::default(), done, changes };
        // It has put right then what it could, or says why it will not serve.
        errands.worker.ask(&json!({"op": START}));
        let answer = errands.worker.wait().ok_or("the worker of errands does not begin")?;
        match errands.take(&answer) {
            Err(e) => Err(e.message),
            Ok(_) => Ok(errands),
        }
    }

    /// Takes one on, which was read; `finished` tells its end.
    pub fn begin(&mut self, who: Caller, op: &str, args: &Value) -> Result<(), OpError> {
        let question = json!({"op": op, "args": args, "uid": who.uid, "gid": who.gid});
        self.queue.push(who, question)?;
        self.go_on();
        Ok(())
    }

    pub fn advance(&mut self) {
        if let Some(answer) = self.worker.answer() {
            let outcome = self.take(&answer);
            self.done.extend(self.now.take().map(|who| (who.conn, outcome)));
        }
        self.go_on();
    }

    fn take(&mut self, (head, _): &Answer) -> Outcome {
        let changes = head.get("changes").and_then(Value::as_array);
        let texts = changes.into_iter().flatten().filter_map(Value::as_str);
        self.changes.extend(texts.map(str::to_owned));
        worker::result(head).map(Into::into)
    }

    fn go_on(&mut self) {
        if self.now.is_none() && !self.worker.lost {
            if let Some((who, question)) = self.queue.pop() {
                self.worker.ask(&question);
                self.now = Some(who);
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        self.now.is_none()
    }
}

/// The worker.
pub fn serve(state: &Path) -> Result<(), String> {
    sys::no_capabilities().map_err(|e| format!("give up capabilities: {e}"))?;
    let dir = state.join("mounts");
    let mut mounts = Mounts::open(dir.clone());
    let look = |path| (PathBuf::from(path), Access::Look);
    let mut paths: SandboxPaths = ["/proc", "/sys/fs/cgroup"].map(look).to_vec();
    paths.push((dir, Access::Own));
    worker::serve(paths, |line, turn| {
        let changes = |mounts: &mut Mounts| json!(std::mem::take(&mut mounts.changes));
        let answer = match &mut mounts {
            Ok(mounts) => match answer(mounts, line, turn) {
                Ok(result) => json!({"result": result, "changes": changes(mounts)}),
                Err(e) => json!({"error": e.to_json(), "changes": changes(mounts)}),
            },
            Err(why) => json!({"error": OpError::new(Code::InternalError, &**why).to_json()}),
        };
        (answer, Vec::new())
    })
}

/// What is asked is checked as if a stranger had.
fn answer(mounts: &mut Mounts, line: &[u8], turn: Turn) -> Result<Value, OpError> {
    let wrong = || OpError::new(Code::InternalError, "no question");
    let question: Value = serde_json::from_slice(line).map_err(|_| wrong())?;
    let op = question.get("op").and_then(Value::as_str).ok_or_else(wrong)?;
    if op == START {
        return mounts.reconcile(turn).map(|()| Value::Null);
    }
    let number = |key: &str| question.get(key).and_then(|n| u32::try_from(n.as_u64()?).ok());
    let (uid, gid) = number("uid").zip(number("gid")).ok_or_else(wrong)?;
    let args = question.get("args").and_then(Value::as_object).ok_or_else(wrong)?;
    match Errand::read(op, &Args(args))? {
        Errand::Cgroup(wish) => cgroup::run(&wish, uid, turn),
        Errand::Mount(wish) => mounts.run(wish, (uid, gid), turn),
    }
}
