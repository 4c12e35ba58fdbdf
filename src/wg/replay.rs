//! Sliding window against replays (R55, R56), after RFC 6479: a ring of 64-bit words, of which the
//! newest is only partly used, so that 8128 of the 8192 bits can be relied on.

use super::consts::{REJECT_AFTER_MESSAGES, WINDOW_BITS};

const WORDS: usize = (WINDOW_BITS / 64) as usize;
/// How far behind the newest counter an unseen one is still taken.
const REACH: u64 = WINDOW_BITS - 64;

/// Which counters of a session were seen.
pub struct Window {
    /// One above the greatest counter seen; 0 before the first.
    next: u64,
    words: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Window {
        Window { next: 0, words: [0; WORDS] }
    }
}

impl Window {
    /// Marks `counter` as seen. `false` if it was seen before, is too far behind, or is at or past
    /// the limit. Call only after the tag verified. The work is bounded by the ring, whatever the
    /// jump.
    #[must_use]
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        let newest = self.next.saturating_sub(1);
        if counter >= self.next {
            self.advance(newest, counter);
            self.next = counter + 1;
        } else if newest - counter > REACH {
            return false;
        }
        let word = &mut self.words[slot(counter)];
        let bit = 1 << (counter % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Clears the words between the old edge and the new one.
    fn advance(&mut self, newest: u64, counter: u64) {
        let steps = (counter / 64 - newest / 64).min(WORDS as u64);
        for i in 1..=steps {
            self.words[slot((newest / 64 + i) * 64)] = 0;
        }
    }
}

fn slot(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

#[cfg(test)]
mod tests;
