//! More cores: seals and opens the datagrams of a burst in several places at once.
//!
//! Fork and join within one turn. A whole buffer moves to a lane with the list of what is to be
//! done in it, and comes back; nothing is shared, so there is nothing to lock. Counters are
//! assigned before and windows moved after, by the one owner of the sessions, so the order of
//! packets is what it is without lanes (R54, R55, R86). With two cores or fewer there are no lanes,
//! and no thread is started before a burst fills more than one buffer.

use super::burst::Burst;
use super::outbox::Outbox;
use crate::wg::{Arrival, Endpoint, Opened, Opening, Sealing};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Lanes besides the thread that owns everything: what is behind one lane's reach is the kernel's
/// part of the work, which they do not share.
const LANES: usize = 3;
/// Bytes of datagrams that are sent together.
pub(super) const OUT_BYTES: usize = 256 * 1024;

/// Datagrams on their way to the wire, and those of them that are still to be sealed.
pub(super) struct Outgoing {
    pub outbox: Outbox,
    jobs: Vec<(usize, usize, Sealing)>,
}

impl Outgoing {
    pub fn new() -> Outgoing {
        Outgoing { outbox: Outbox::new(OUT_BYTES), jobs: Vec::new() }
    }

    /// The first `len` bytes of the slot are a datagram, sealed or to be sealed by `later`.
    pub fn push(&mut self, to: &Endpoint, tos: u8, len: usize, later: Option<Sealing>) {
        let start = self.outbox.filled();
        self.outbox.push(to, tos, len);
        self.jobs.extend(later.map(|job| (start, len, job)));
    }

    pub fn seal(&mut self) {
        for (start, len, job) in self.jobs.drain(..) {
            if let Some(datagram) = self.outbox.bytes_mut(start, len) {
                job.seal(datagram);
            }
        }
    }
}

/// A datagram that came, in the buffer at `at`.
pub(super) struct Arrived {
    pub at: usize,
    pub len: usize,
    pub from: Arrival,
    pub opening: Option<Opening>,
    pub opened: Option<Opened>,
}

/// Datagrams from the wire, and what is known of those that were opened elsewhere.
pub(super) struct Incoming {
    pub burst: Burst,
    pub arrived: Vec<Arrived>,
}

impl Incoming {
    pub fn new() -> Incoming {
        Incoming { burst: Burst::new(), arrived: Vec::new() }
    }

    pub fn open(&mut self) {
        for a in &mut self.arrived {
            let datagram = self.burst.bytes(a.at, a.len);
            if let (Some(opening), Some(datagram)) = (a.opening.take(), datagram) {
                a.opened = Some(opening.open(datagram));
            }
        }
    }
}

pub(super) enum Parcel {
    Out(Outgoing),
    In(Incoming),
}

impl Parcel {
    fn work(&mut self) {
        match self {
            Parcel::Out(out) => out.seal(),
            Parcel::In(incoming) => incoming.open(),
        }
    }
}

struct Lane {
    work: SyncSender<Parcel>,
    done: Receiver<Parcel>,
    thread: JoinHandle<()>,
}

impl Lane {
    fn start() -> Option<Lane> {
        let (work, inbox) = sync_channel::<Parcel>(1);
        let (out, done) = sync_channel(1);
        let body = move || {
            // Ends when the other side is gone.
            for mut parcel in inbox {
                parcel.work();
                if out.send(parcel).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("lane".into()).spawn(body).ok()?;
        Some(Lane { work, done, thread })
    }
}

pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// How many there may be, and how many have a parcel.
    most: usize,
    busy: usize,
}

impl Lanes {
    /// As many as this machine has cores for, when they are needed.
    pub fn for_this_machine() -> Lanes {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Lanes::new(cores.saturating_sub(2).min(LANES))
    }

    pub fn new(most: usize) -> Lanes {
        Lanes { lanes: Vec::new(), most, busy: 0 }
    }

    /// How many there may be; 0 for doing everything at once and in place.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn is_free(&self) -> bool {
        self.busy < self.most
    }

    /// Give a parcel away. It comes back at once if there is nobody to take it.
    pub fn fork(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        if self.busy == self.lanes.len() && self.is_free() {
            match Lane::start() {
                Some(lane) => self.lanes.push(lane),
                // Without threads it goes on as it did.
                None => self.most = self.lanes.len(),
            }
        }
        let Some(lane) = self.lanes.get(self.busy) else { return Err(parcel) };
        lane.work.send(parcel).map_err(|e| e.0)?;
        self.busy += 1;
        Ok(())
    }

    /// Wait for what was given away, in that order. A lane takes as long as its buffer is large.
    pub fn join(&mut self, mut back: impl FnMut(Parcel)) {
        for lane in self.lanes.iter().take(self.busy) {
            if let Ok(parcel) = lane.done.recv() {
                back(parcel);
            }
        }
        self.busy = 0;
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for Lane { work, done, thread } in self.lanes.drain(..) {
            drop((work, done));
            let _ = thread.join();
        }
    }
}
