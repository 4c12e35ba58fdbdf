//! How much may be under way at a time: as much as the pipe delivers in the least time that it ever
//! took, and a little more, so that the buffers on the way stay almost empty and TCP has always
//! something to send. Beyond the other end's word on what it took nothing is known of the pipe.
//!
//! It doubles with each round trip until the pipe has no more to give, as TCP does, grows by a
//! quarter where there is room again, and goes by what was delivered between the sending of a byte
//! and its arrival, as BBR does: that is true of a pipe that stood still for a retransmission, too,
//! where a burst of arrivals is not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frame::Bad;

/// A few packets are always under way: the line's own buffers hold as much.
const LEAST: u64 = 6 * 1024;
const MOST: u64 = 4 << 20;
/// What the buffers on the way may add, so that TCP is not kept from growing.
const SPARE: Duration = Duration::from_millis(15);
/// Less than that, or than a sixth of the least time, is none: the pipe has more to give. What goes
/// out at once waits for itself.
const EMPTY: Duration = Duration::from_millis(6);
/// The least time is looked for again after so long: routes change, and what stands in the buffers
/// all the time looks like a longer line.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// For so long little is sent then.
const DRAIN: Duration = Duration::from_millis(200);
/// Where even the least that may be under way takes longer than the line, the line is another one.
const LOOK_SOON: Duration = Duration::from_millis(1250);
/// Of what is under way; beyond it what is sent counts with what was sent before.
const MARKS: usize = 4096;

/// Bytes that were sent together.
struct Mark {
    /// Of the first after them, counted from the beginning.
    end: u64,
    at: Instant,
    /// What had been taken then, and when.
    taken: u64,
    taken_at: Instant,
}

pub struct Window {
    size: u64,
    sent: u64,
    taken: u64,
    taken_at: Instant,
    marks: VecDeque<Mark>,
    least: Option<(Duration, Instant)>,
    /// Until then little is sent, and the least time of the line is looked for.
    drains_until: Option<Instant>,
    /// Up to there it doubles with each round trip: TCP's slow start threshold.
    threshold: u64,
    /// Bytes that had been sent when there was no more room: what came before says what the pipe
    /// can do, and what came after may say what was there to send.
    full_at: u64,
    best: Best,
}

/// The highest of the rates that were seen lately, in bytes a second: a packet that is lost on the
/// way makes all others wait, and the line is no slower for it.
struct Best {
    now: f64,
    before: f64,
    since: Instant,
}

/// For so long a rate is believed, and for as long again.
const LATELY: Duration = Duration::from_millis(500);

impl Best {
    fn of(&mut self, rate: f64, now: Instant) -> f64 {
        if now.saturating_duration_since(self.since) > LATELY {
            (self.before, self.now, self.since) = (self.now, 0.0, now);
        }
        self.now = self.now.max(rate);
        self.now.max(self.before)
    }
}

impl Window {
    pub fn new(now: Instant) -> Window {
        Window {
            size: 2 * LEAST,
            sent: 0,
            taken: 0,
            taken_at: now,
            marks: VecDeque::new(),
            least: None,
            drains_until: None,
            threshold: MOST,
            full_at: 0,
            best: Best { now: 0.0, before: 0.0, since: now },
        }
    }

    pub fn under_way(&self) -> u64 {
        self.sent.saturating_sub(self.taken)
    }

    /// Whether more may be sent; to be asked while there is something to send.
    pub fn has_room(&mut self) -> bool {
        let size = if self.drains_until.is_some() { LEAST } else { self.size };
        let has_room = self.under_way() < size;
        if !has_room {
            self.full_at = self.sent;
        }
        has_room
    }

    pub fn sent(&mut self, bytes: usize, now: Instant) {
        if self.under_way() == 0 {
            // Nothing was delivered meanwhile because nothing was sent.
            self.taken_at = now;
        }
        self.sent += bytes as u64;
        if self.marks.len() < MARKS {
            let (taken, taken_at) = (self.taken, self.taken_at);
            self.marks.push_back(Mark { end: self.sent, at: now, taken, taken_at });
        } else if let Some(last) = self.marks.back_mut() {
            last.end = self.sent;
        }
    }

    /// The other end has taken so many bytes in all.
    pub fn taken(&mut self, total: u64, now: Instant) -> Result<(), Bad> {
        if total > self.sent {
            return Err(Bad::Taken);
        }
        let more = total.saturating_sub(self.taken);
        (self.taken, self.taken_at) =
            (self.taken.max(total), if more > 0 { now } else { self.taken_at });
        let mut arrived = None;
        while self.marks.front().is_some_and(|mark| mark.end <= total) {
            arrived = self.marks.pop_front();
        }
        if let Some(mark) = arrived {
            self.learn(&mark, more, now);
        }
        Ok(())
    }

    fn learn(&mut self, mark: &Mark, more: u64, now: Instant) {
        let trip = now.saturating_duration_since(mark.at);
        let was_full = self.full_at > mark.taken;
        let (least, since) = self.least.unwrap_or((trip, now));
        let again = if self.size <= LEAST { LOOK_SOON } else { LOOK_AGAIN };
        if trip <= least {
            self.least = Some((trip, now));
        } else if self.drains_until.is_none() && now.saturating_duration_since(since) > again {
            // Where the pipe is not full nothing has to be drained.
            self.least = Some((trip, now));
            self.drains_until = was_full.then(|| now + least + DRAIN);
        }
        if let Some(until) = self.drains_until {
            if now >= until {
                (self.drains_until, self.threshold, self.size) = (None, self.size, LEAST);
            }
            return;
        }
        let (least, _) = self.least.unwrap_or((trip, now));
        if !was_full {
            return;
        }
        if trip.saturating_sub(least) < EMPTY.max(least / 6) {
            self.size += if self.size < self.threshold { more } else { more / 4 };
        } else {
            let took = now.saturating_duration_since(mark.taken_at).max(least);
            let delivered = self.taken.saturating_sub(mark.taken) as f64;
            let rate = self.best.of(delivered / took.as_secs_f64().max(1e-6), now);
            let fits = rate * (least + SPARE).as_secs_f64();
            (self.size, self.threshold) = (fits as u64, fits as u64);
        }
        self.size = self.size.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of so many bytes a millisecond, one way and back in so long, which a flow with
    /// everything to send goes over for so long. What stood in its buffer at the end of each
    /// second, in milliseconds, and how many bytes came.
    fn run(window: &mut Window, line: (u64, u64), begin: Instant, ms: u64) -> (Vec<u64>, u64) {
        run_with_losses(window, line, u64::MAX, begin, ms)
    }

    /// Of so many packets one is lost on the way, and comes a trip later; what is behind it waits.
    fn run_with_losses(
        window: &mut Window,
        line: (u64, u64),
        one_of: u64,
        begin: Instant,
        ms: u64,
    ) -> (Vec<u64>, u64) {
        let (rate, trip) = line;
        let (mut buffer, mut came, mut waits) = (0, 0, Vec::new());
        let (mut passed, mut due) = (0_u64, 0);
        let mut on_the_way: VecDeque<(u64, u64)> = VecDeque::new();
        let before = window.taken;
        for at in 0..ms {
            let now = begin + Duration::from_millis(at);
            while on_the_way.front().is_some_and(|(due, _)| *due <= at) {
                let (_, bytes) = on_the_way.pop_front().unwrap();
                came += bytes;
                window.taken(before + came, now).unwrap();
            }
            while window.has_room() {
                window.sent(1403, now);
                buffer += 1403;
            }
            let out = rate.min(buffer);
            buffer -= out;
            let is_lost = passed / 1403 / one_of != (passed + out) / 1403 / one_of;
            due = due.max(at + trip * if is_lost { 2 } else { 1 });
            if out > 0 {
                on_the_way.push_back((due, out));
            }
            passed += out;
            if at % 1000 == 999 {
                waits.push(buffer / rate);
            }
        }
        // What is under way when it ends is the next one's.
        window.taken(window.sent, begin + Duration::from_millis(ms)).unwrap();
        (waits, came)
    }

    #[test]
    fn a_line_is_filled_and_its_buffer_is_not() {
        for (rate, trip) in [(2500, 40), (125, 40), (2500, 300), (12_500, 5), (100_000, 1)] {
            let begin = Instant::now();
            let mut window = Window::new(begin);
            let (waits, came) = run(&mut window, (rate, trip), begin, 30_000);
            let used = came * 100 / (rate * 30_000);
            assert!(used >= 75, "{used} % of {rate} bytes/ms over {trip} ms");
            let least = 6 * 1024 / rate;
            let worst = *waits.iter().skip(4).max().unwrap();
            assert!(
                worst <= 25 + trip / 2 + least,
                "{worst} ms at {rate} bytes/ms over {trip} ms: {waits:?}"
            );
        }
    }

    #[test]
    fn a_loss_makes_a_line_no_slower() {
        for (rate, trip, least) in [(2500, 40, 55), (437, 40, 85), (12_500, 10, 85)] {
            let begin = Instant::now();
            let mut window = Window::new(begin);
            let (_, came) = run_with_losses(&mut window, (rate, trip), 100, begin, 30_000);
            let used = came * 100 / (rate * 30_000);
            assert!(used >= least, "{used} % of {rate} bytes/ms over {trip} ms");
        }
    }

    #[test]
    fn a_line_that_changes_is_found_again() {
        let mut begin = Instant::now();
        let mut window = Window::new(begin);
        for (rate, trip) in [(2500, 20), (250, 20), (2500, 120), (2500, 20)] {
            let (waits, came) = run(&mut window, (rate, trip), begin, 30_000);
            let used = came * 100 / (rate * 30_000);
            assert!(used >= 75, "{used} % of {rate} bytes/ms over {trip} ms");
            assert!(*waits.last().unwrap() <= 50, "{waits:?}");
            begin += Duration::from_secs(30);
        }
    }

    #[test]
    fn a_word_on_more_than_was_sent_is_a_lie_and_an_old_one_is_none() {
        let now = Instant::now();
        let mut window = Window::new(now);
        window.sent(1000, now);
        assert_eq!(window.taken(1001, now), Err(Bad::Taken));
        window.taken(900, now).unwrap();
        window.taken(10, now).unwrap();
        assert_eq!(window.under_way(), 100);
        // However fast somebody says that he took it: there is an end to what is under way.
        for _ in 0..100_000 {
            while window.has_room() {
                window.sent(65_510, now);
            }
            window.taken(window.sent, now).unwrap();
        }
        assert!(window.size <= MOST && window.marks.len() <= MARKS);
    }
}
