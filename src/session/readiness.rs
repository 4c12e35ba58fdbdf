//! Asks the agent through a new tunnel until it answers, with bounded patience.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::limits;
use crate::base::task::Tasks;
use crate::host::config::HostConfig;
use crate::rpc::client::{CallError, Client, Health};
use crate::sys::through::Link;

/// Pause after a failed question: doubles from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// Asks the agent from its own thread, so that a stop is heard while a question is out.
/// The thread ends with its answer, at `limits::FIRST_ANSWER`, or one question after being dropped.
pub struct Readiness {
    task: Tasks<Result<Health, CallError>>,
    enough: Arc<AtomicBool>,
}

impl Readiness {
    /// Through the interface with this index.
    pub fn start(host: &HostConfig, ifindex: u32) -> io::Result<Readiness> {
        let link = Link { ifindex, local: host.local_ip };
        let client = Client::through(link, host.peer_ip, host.api_port);
        let enough = Arc::new(AtomicBool::new(false));
        let stop = enough.clone();
        Ok(Readiness { task: Tasks::one("probe", move || ask(&client, &stop))?, enough })
    }

    /// The answer, or why there will be none.
    pub fn answer(&mut self) -> Option<Result<Health, CallError>> {
        self.task.take()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.task.as_fd()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}

fn ask(client: &Client, enough: &AtomicBool) -> Result<Health, CallError> {
    let end = Instant::now() + limits::FIRST_ANSWER;
    let mut pause = PAUSE.0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let error = match client.health(left.min(limits::ANSWER).max(PAUSE.0)) {
            Ok(health) => return Ok(health),
            Err(error) => error,
        };
        if enough.load(Ordering::Relaxed) || Instant::now() + pause >= end {
            return Err(error);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}
