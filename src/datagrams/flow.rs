//! One end of a pipe: what goes out and when, and what is made of what comes. Time is an argument.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::frame::{self, Bad, Frame, HEADER};
use super::queue::Queue;
use super::window::Window;

/// Somebody who has nothing to say says so this often.
const BEAT: Duration = Duration::from_secs(10);
/// Who is not heard for so long is not there.
const IDLE: Duration = Duration::from_secs(25);
/// The same where an answer is due at once. By then TCP tries again every few seconds only, and a
/// new connection is sooner there.
const AWAITED: Duration = Duration::from_secs(8);
/// What was taken is told when it is two packets, or after this time: an answer may go that way
/// meanwhile, and takes the word along.
const TELL_BYTES: u64 = 2800;
const TELL_AFTER: Duration = Duration::from_millis(4);
/// So much is handed over at a time: a packet of SSH's.
const PIECE: usize = 32 * 1024;

pub struct Flow {
    queue: Queue,
    window: Window,
    /// Bytes of frames with datagrams: that came, and of which the other end knows.
    taken: u64,
    told: u64,
    /// Since when it might be told of what came.
    owes_since: Option<Instant>,
    heard_at: Instant,
    said_at: Instant,
    /// Since when an answer to something is due.
    awaits_since: Instant,
}

impl Flow {
    pub fn new(now: Instant) -> Flow {
        Flow {
            queue: Queue::default(),
            window: Window::new(now),
            taken: 0,
            told: 0,
            owes_since: None,
            heard_at: now,
            said_at: now,
            awaits_since: now,
        }
    }

    /// Takes a datagram that is to go out.
    pub fn push(&mut self, ecn: u8, bytes: &[u8], now: Instant) {
        if !bytes.is_empty() && bytes.len() <= frame::LONGEST {
            self.queue.push(ecn, bytes, now);
        }
    }

    /// What waits, and what became of what did.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Something came, whatever it is.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// What came is a datagram with these bytes of the reader, or is the pipe's own business.
    pub fn hear(&mut self, frame: Frame, now: Instant) -> Result<Option<(u8, Range<usize>)>, Bad> {
        match frame {
            Frame::Datagram { ecn, at } => {
                self.taken += (at.len() + HEADER) as u64;
                self.owes_since.get_or_insert(now);
                return Ok(Some((ecn, at)));
            }
            Frame::Taken(total) => self.window.taken(total, now)?,
            Frame::Beat => {}
        }
        Ok(None)
    }

    /// Puts what may go out now into `out`, which is to go there before more is asked for.
    pub fn fill(&mut self, out: &mut Vec<u8>, now: Instant) {
        let begin = out.len();
        if self.window.under_way() == 0 {
            self.awaits_since = now;
        }
        let sends = !self.queue.is_empty() && self.window.has_room();
        let owed = self.taken - self.told;
        if owed > 0 && (sends || owed >= TELL_BYTES || self.tells_at().is_some_and(|at| now >= at))
        {
            frame::put_taken(out, self.taken);
            (self.told, self.owes_since) = (self.taken, None);
        }
        while !self.queue.is_empty() && out.len() < begin + PIECE && self.window.has_room() {
            let Some(next) = self.queue.pop(now) else { break };
            frame::put_datagram(out, next.ecn, &next.bytes);
            self.window.sent(next.bytes.len() + HEADER, now);
        }
        if out.len() == begin && now >= self.said_at + BEAT {
            frame::put_beat(out);
        }
        if out.len() > begin {
            self.said_at = now;
        }
    }

    /// Whether the other end has not been heard for longer than it may be silent.
    pub fn is_silent(&self, now: Instant) -> bool {
        now >= self.silent_at()
    }

    /// When there is something to do though nothing comes.
    pub fn wakes_at(&self) -> Instant {
        let beat = (self.said_at + BEAT).min(self.silent_at());
        self.tells_at().map_or(beat, |at| at.min(beat))
    }

    fn tells_at(&self) -> Option<Instant> {
        self.owes_since.map(|since| since + TELL_AFTER)
    }

    fn silent_at(&self) -> Instant {
        match self.window.under_way() {
            0 => self.heard_at + IDLE,
            _ => self.heard_at.max(self.awaits_since) + AWAITED,
        }
    }
}
