//! What a relay does to the datagrams of one direction, and what it counts. Pure values.

use std::fmt;
use std::time::Duration;

/// Which datagrams vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hole {
    #[default]
    None,
    Everything,
    /// Initiations, responses and cookie replies.
    Handshakes,
    Data,
}

/// The default is a good line.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub hole: Hole,
    pub loss_permille: u32,
    /// Everything is lost for the first duration of each period of the second.
    pub burst: Option<(Duration, Duration)>,
    pub duplicate_permille: u32,
    /// Every datagram comes once more after this time.
    pub replay_after: Option<Duration>,
    /// One to three bits change.
    pub flip_permille: u32,
    /// Number of datagrams among which the next one is drawn; 0 keeps the order.
    pub window: usize,
    /// No datagram waits longer than this in the window.
    pub hold: Duration,
    pub delay: Duration,
    /// The delay varies by this much to both sides, which reorders too.
    pub jitter: Duration,
    /// After this many of 1,000 datagrams comes an old response or cookie reply.
    pub old_permille: u32,
}

/// What happened in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub sent: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub replayed: u64,
    pub flipped: u64,
    pub delayed: u64,
    pub reordered: u64,
    pub old: u64,
    /// Cookie replies seen.
    pub cookies: u64,
    /// Not sent because a queue of the relay was full or a client was forgotten.
    pub overflow: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("received", self.received),
            ("sent", self.sent),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("replayed", self.replayed),
            ("flipped", self.flipped),
            ("delayed", self.delayed),
            ("reordered", self.reordered),
            ("old", self.old),
            ("cookies", self.cookies),
            ("overflow", self.overflow),
        ];
        let seen = all.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}"));
        f.write_str(&seen.collect::<Vec<_>>().join(", "))
    }
}
