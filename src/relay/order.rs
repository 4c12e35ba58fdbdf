//! A connection that is to be carried, and what becomes of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from near to far, and back.
    pub up: u64,
    pub down: u64,
    pub ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both ways have ended, and all was carried.
    Closed,
    /// One side reset it, or is gone; so the other was told.
    Reset,
    /// The far side was not to be had, or said no.
    Refused,
    /// It did not open in time.
    Late,
    /// There were too many.
    Full,
    /// The relay went away.
    Stopped,
}

/// Called once, on the thread that carries others meanwhile: it does not wait.
pub type Done = Box<dyn FnOnce(Carried) + Send>;

/// Bytes of one connection, or of several, so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub up: AtomicU64,
    pub down: AtomicU64,
    /// Connections that are carried now.
    pub open: AtomicUsize,
}

/// What is said with the far side before anything of the near one is carried.
pub trait Opening: Send {
    fn says(&self) -> &[u8];

    /// All that it has answered so far.
    fn hears(&mut self, bytes: &[u8]) -> Heard;
}

pub enum Heard {
    More,
    /// It is open; as many of the bytes were its answer, and what follows is carried.
    Open(usize),
    Refused,
}

/// A connection to be carried. The far socket may still be connecting where there is an opening.
pub struct Order {
    pub near: OwnedFd,
    pub far: OwnedFd,
    /// For the far side.
    pub first: Vec<u8>,
    pub opening: Option<(Box<dyn Opening>, Duration)>,
    pub tally: Arc<Tally>,
    pub done: Done,
}
