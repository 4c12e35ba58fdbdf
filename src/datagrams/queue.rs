//! What waits for room in the pipe: bounded in bytes and in time, and short in the long run, by
//! CoDel (RFC 8289): where packets wait for longer than [`TARGET`] all the time, one after the
//! other is marked (RFC 3168), or lost where its sender knows no marks, until there are fewer. What
//! is short goes before what is long, as far as it is little.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a packet may wait as long as others want.
const TARGET: Duration = Duration::from_millis(10);
/// For so long: a round trip of most lines.
const INTERVAL: Duration = Duration::from_millis(100);
/// What waited longer is too old for anybody: the pipe stood still.
const OLDEST: Duration = Duration::from_millis(250);
/// Of all that waits.
const BYTES: usize = 4 << 20;
/// One packet of a common size may always wait.
const ONE: usize = 1600;
/// What is no longer than this waits for none that is: handshakes, acknowledgements without data,
/// pings, what is typed. All that is known of it is how long it is.
const SHORT: usize = 160;
/// So much of it at a time; what is beyond waits with the others.
const SHORT_BYTES: usize = 8 * 1024;
/// What [`Datagram`] takes besides its bytes, so that a flood of short ones is bounded, too.
const EACH: usize = 64;

const ECT: std::ops::RangeInclusive<u8> = 1..=2;
const CE: u8 = 3;

pub struct Datagram {
    pub ecn: u8,
    pub bytes: Vec<u8>,
    since: Instant,
}

#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Datagram>,
    short: VecDeque<Datagram>,
    /// Of the two.
    bytes: usize,
    short_bytes: usize,
    /// When packets will have waited too long for long enough.
    above_until: Option<Instant>,
    /// When the next packet has to go; `None` while none has.
    drop_at: Option<Instant>,
    /// Packets that had to go since it was so, and at the last time that it was.
    count: u32,
    last_count: u32,
    last_drop: Option<Instant>,
    /// How many were lost here, and marked.
    pub lost: u64,
    pub marked: u64,
}

/// The same for other threads.
#[derive(Debug, Default)]
pub struct Counts {
    lost: AtomicU64,
    marked: AtomicU64,
}

impl Counts {
    /// How many waited too long and were lost, and marked.
    pub fn get(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.marked.load(Ordering::Relaxed))
    }

    pub fn tell(&self, queue: &Queue) {
        self.lost.store(queue.lost, Ordering::Relaxed);
        self.marked.store(queue.marked, Ordering::Relaxed);
    }
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.short.is_empty()
    }

    /// The oldest go where there is no room.
    pub fn push(&mut self, ecn: u8, bytes: &[u8], now: Instant) {
        while self.bytes + bytes.len() + EACH > BYTES && self.take().is_some() {
            self.lost += 1;
        }
        let room = bytes.len() + EACH;
        self.bytes += room;
        let is_first = bytes.len() <= SHORT && self.short_bytes + room <= SHORT_BYTES;
        self.short_bytes += if is_first { room } else { 0 };
        let line = if is_first { &mut self.short } else { &mut self.waiting };
        line.push_back(Datagram { ecn: ecn & 3, bytes: bytes.to_vec(), since: now });
    }

    /// The next that is to be sent.
    pub fn pop(&mut self, now: Instant) -> Option<Datagram> {
        // However old: it is little, and a handshake is tried again after seconds only.
        if let Some(next) = self.short.pop_front() {
            let room = next.bytes.len() + EACH;
            (self.bytes, self.short_bytes) = (self.bytes - room, self.short_bytes - room);
            return Some(next);
        }
        loop {
            let mut next = self.take()?;
            let age = now.saturating_duration_since(next.since);
            let is_due = self.is_due(age, now);
            if is_due && ECT.contains(&next.ecn) {
                next.ecn = CE;
                self.marked += 1;
            } else if is_due || age > OLDEST && self.bytes > ONE {
                self.lost += 1;
                continue;
            }
            return Some(next);
        }
    }

    fn take(&mut self) -> Option<Datagram> {
        let first = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(first.bytes.len() + EACH);
        Some(first)
    }

    /// CoDel's law: whether the packet that waited so long has to go.
    fn is_due(&mut self, age: Duration, now: Instant) -> bool {
        if age < TARGET || self.bytes <= ONE {
            (self.above_until, self.drop_at) = (None, None);
            return false;
        }
        let above_until = *self.above_until.get_or_insert(now + INTERVAL);
        match self.drop_at {
            Some(at) if now >= at => {
                self.count = self.count.saturating_add(1);
                self.drop_at = Some(at + INTERVAL.div_f64(f64::from(self.count).sqrt()));
            }
            None if now >= above_until => {
                // It was so a moment ago: what was needed then is where to begin.
                let recently = |last: Instant| now.saturating_duration_since(last) < INTERVAL * 16;
                let needed = self.count.saturating_sub(self.last_count);
                let again = needed > 1 && self.last_drop.is_some_and(recently);
                self.count = if again { needed } else { 1 };
                self.last_count = self.count;
                self.drop_at = Some(now + INTERVAL.div_f64(f64::from(self.count).sqrt()));
            }
            _ => return false,
        }
        self.last_drop = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What goes in at one rate and out at another, packets a millisecond, for so long.
    fn run(queue: &mut Queue, ecn: u8, (come, go): (usize, usize), ms: u32) -> Duration {
        let begin = Instant::now();
        let mut worst = Duration::ZERO;
        for at in 0..ms {
            let now = begin + MS * at;
            (0..come).for_each(|_| queue.push(ecn, &[0; 1400], now));
            for next in (0..go).map_while(|_| queue.pop(now)) {
                worst = worst.max(now - next.since);
            }
        }
        worst
    }

    #[test]
    fn what_has_room_is_neither_lost_nor_marked() {
        let mut queue = Queue::default();
        assert_eq!(run(&mut queue, 2, (3, 3), 10_000), Duration::ZERO);
        assert_eq!((queue.lost, queue.marked, queue.is_empty()), (0, 0, true));
        // A burst that is gone in less than an interval is none of its business.
        let now = Instant::now();
        (0..60).for_each(|_| queue.push(0, &[0; 1400], now));
        assert!((0..60).all(|at| queue.pop(now + MS * at).is_some()));
        assert_eq!(queue.lost, 0);
    }

    #[test]
    fn what_has_none_is_marked_where_it_can_be_and_lost_from_the_head_where_not() {
        let mut queue = Queue::default();
        let worst = run(&mut queue, 0, (5, 4), 2_000);
        assert!(queue.lost > 10 && queue.marked == 0, "{}", queue.lost);
        assert!(worst <= OLDEST, "{worst:?}");
        let mut queue = Queue::default();
        run(&mut queue, 1, (5, 4), 1_000);
        assert!(queue.marked > 5, "{}", queue.marked);
        // Marked, and as a whole no older than anything may become.
        run(&mut queue, 1, (50, 1), 2_000);
        assert!(queue.lost > 0);
    }

    #[test]
    fn a_pipe_that_stood_still_carries_what_is_new() {
        let (mut queue, begin) = (Queue::default(), Instant::now());
        (0..1000_u32).for_each(|at| queue.push(0, &at.to_be_bytes().repeat(300), begin + MS * at));
        let now = begin + MS * 1000;
        let oldest = queue.pop(now).unwrap().since;
        assert!(now - oldest <= OLDEST, "{:?}", now - oldest);
    }

    #[test]
    fn what_is_short_waits_for_nothing_long_and_keeps_nothing_long_waiting_for_ever() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..100).for_each(|_| queue.push(0, &[1; 1400], now));
        (0..100).for_each(|n| queue.push(0, &[n; SHORT], now));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        let first = order.iter().position(|next| next.bytes.len() > SHORT).unwrap();
        assert_eq!((order.len(), first), (200, SHORT_BYTES / (SHORT + EACH)));
        let short = order.iter().filter(|next| next.bytes.len() <= SHORT);
        assert!(short.map(|next| next.bytes[0]).eq(0..100), "in their own order");
        assert!(queue.is_empty() && (queue.bytes, queue.short_bytes) == (0, 0));
        queue.push(0, &[0; SHORT], now);
        assert!(queue.pop(now + OLDEST * 2).is_some() && queue.lost == 0);
    }

    #[test]
    fn a_flood_is_bounded_whatever_its_packets_are() {
        for bytes in [1, 40, 1400, 65_507] {
            let (mut queue, now) = (Queue::default(), Instant::now());
            let count = 2 * BYTES / (bytes + EACH) + SHORT_BYTES;
            (0..count).for_each(|_| queue.push(0, &vec![0; bytes], now));
            assert!(
                queue.bytes <= BYTES && queue.waiting.len() + queue.short.len() <= BYTES / EACH,
                "{bytes}"
            );
            assert!(queue.lost > 0);
        }
    }
}
