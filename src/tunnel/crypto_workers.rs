//! More cores: seals and opens the datagrams of a burst in several places at once.
//!
//! Fork and join within one turn. A whole buffer moves to a worker with the list of what is to be
//! done in it, and comes back; nothing is shared, so there is nothing to lock. Counters are
//! assigned before and windows moved after, by the one owner of the sessions, so the order of
//! packets is what it is without workers (R54, R55, R86). With two cores or fewer there are none,
//! and no thread is started before a burst fills more than one buffer.

use super::queue::{RecvBuffer, SendQueue};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Workers besides the thread that owns everything: what is behind one worker's reach is the
/// kernel's part of the work, which they do not share.
const MOST: usize = 3;

pub(super) enum Job {
    Seal(SendQueue),
    Open(RecvBuffer),
}

impl Job {
    fn run(&mut self) {
        match self {
            Job::Seal(queue) => queue.seal(),
            Job::Open(buffer) => buffer.open(),
        }
    }
}

struct Worker {
    jobs: SyncSender<Job>,
    done: Receiver<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start() -> Option<Worker> {
        let (jobs, inbox) = sync_channel::<Job>(1);
        let (out, done) = sync_channel(1);
        let body = move || {
            // Ends when the other side is gone.
            for mut job in inbox {
                job.run();
                if out.send(job).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("crypto".into()).spawn(body).ok()?;
        Some(Worker { jobs, done, thread })
    }
}

pub(super) struct CryptoWorkers {
    workers: Vec<Worker>,
    /// How many there may be, and how many have a job.
    most: usize,
    busy: usize,
}

impl CryptoWorkers {
    /// As many as this machine has cores for, when they are needed.
    pub fn for_this_machine() -> CryptoWorkers {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        CryptoWorkers::new(cores.saturating_sub(2).min(MOST))
    }

    pub fn new(most: usize) -> CryptoWorkers {
        CryptoWorkers { workers: Vec::new(), most, busy: 0 }
    }

    /// How many there may be; 0 for doing everything at once and in place.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn is_free(&self) -> bool {
        self.busy < self.most
    }

    /// Give a job away. It comes back at once if there is nobody to take it.
    pub fn submit(&mut self, job: Job) -> Result<(), Job> {
        if self.busy == self.workers.len() && self.is_free() {
            match Worker::start() {
                Some(worker) => self.workers.push(worker),
                // Without threads it goes on as it did.
                None => self.most = self.workers.len(),
            }
        }
        let Some(worker) = self.workers.get(self.busy) else { return Err(job) };
        worker.jobs.send(job).map_err(|e| e.0)?;
        self.busy += 1;
        Ok(())
    }

    /// Wait for what was given away, in that order. It takes as long as a buffer is large.
    pub fn collect(&mut self, mut back: impl FnMut(Job)) {
        for worker in self.workers.iter().take(self.busy) {
            if let Ok(job) = worker.done.recv() {
                back(job);
            }
        }
        self.busy = 0;
    }
}

impl Drop for CryptoWorkers {
    fn drop(&mut self) {
        for Worker { jobs, done, thread } in self.workers.drain(..) {
            drop((jobs, done));
            let _ = thread.join();
        }
    }
}
