//! How much of a connection may be on its way to the laptop, by what became of what was. smoltcp
//! has no such limit but the other side's window (its congestion controls do not bound the bytes in
//! flight in 0.12), and sends all that waits again when a packet is lost: on a narrow way most of
//! what it sends would be for nothing. So no more waits with it than may be in flight. Slow start
//! and halving as RFC 5681 has them, counted in bytes.

/// At the beginning: ten segments (RFC 6928).
const FIRST: usize = 14_600;
/// Never less: what lets a lost packet be noticed by those behind it.
const LEAST: usize = 5_840;
const SEGMENT: usize = 1_460;

pub struct Flight {
    limit: usize,
    /// Growth is slow from here on.
    slow_from: usize,
    /// What waited for an acknowledgement when last looked at.
    waited: usize,
    /// So many bytes were on their way when one was lost last: those are not counted against it
    /// twice.
    recovering: usize,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { limit: FIRST, slow_from: usize::MAX, waited: 0, recovering: 0 }
    }
}

impl Flight {
    /// `waits` bytes wait for an acknowledgement now; whether some were sent `again` since then.
    pub fn look(&mut self, waits: usize, again: bool) {
        let acknowledged = self.waited.saturating_sub(waits);
        self.waited = waits;
        let is_recovering = self.recovering > 0;
        self.recovering = self.recovering.saturating_sub(acknowledged);
        if again && !is_recovering {
            self.limit = (self.limit / 2).max(LEAST);
            self.slow_from = self.limit;
            self.recovering = waits;
        } else if !is_recovering {
            self.limit += match self.limit < self.slow_from {
                true => acknowledged,
                false => acknowledged * SEGMENT / self.limit,
            };
        }
    }

    /// How many more may be given to it.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.waited)
    }

    /// They were.
    pub fn gave(&mut self, bytes: usize) {
        self.waited += bytes;
    }

    /// No more than fits into the buffer is of use.
    pub fn at_most(&mut self, bytes: usize) {
        self.limit = self.limit.min(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window is given, and acknowledged.
    fn round(flight: &mut Flight) -> usize {
        let window = flight.room();
        flight.gave(window);
        flight.look(0, false);
        window
    }

    #[test]
    fn it_doubles_until_something_is_lost_and_then_grows_slowly() {
        let mut flight = Flight::default();
        assert_eq!([(); 3].map(|()| round(&mut flight)), [FIRST, 2 * FIRST, 4 * FIRST]);
        let window = flight.room();
        flight.gave(window);
        flight.look(window, true);
        flight.look(window / 2, true);
        assert_eq!(flight.room(), 0, "no more than was halved once waits");
        flight.look(0, false);
        assert_eq!(flight.room(), 4 * FIRST);
        round(&mut flight);
        assert!((4 * FIRST + 1000..4 * FIRST + 1500).contains(&flight.room()), "a segment more");
        for _ in 0..20 {
            let window = flight.room();
            flight.gave(window);
            flight.look(window, true);
            flight.look(0, false);
        }
        assert_eq!(flight.room(), LEAST);
        flight.at_most(1000);
        assert_eq!(flight.room(), 1000);
    }
}
