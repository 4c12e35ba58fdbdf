//! The five timers of a peer (paper §6; R59–R73).
//!
//! Callers report facts; this file owns the consequences. No other file computes a timeout.
//!
//! | fact | retransmit | keepalive | new handshake | wipe | persistent |
//! |---|---|---|---|---|---|
//! | initiation sent | 5 s + jitter | off | | | again |
//! | response sent | | off | | 540 s | again |
//! | data sent | | off | 15 s + the session's jitter if off | | again |
//! | keepalive sent | | off | | | again |
//! | anything authenticated received | | | off | | again |
//! | data received | | 10 s if off, else one more | | | |
//! | response consumed | off | | | 540 s | |
//! | first packet on next | off | | | | |
//!
//! "again" = from now on, if a persistent keepalive is set.

use std::time::Duration;

use super::consts::*;
use super::time::Time;

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Timer {
    /// The initiation was not answered (R64, R65).
    Retransmit,
    /// Data came and we sent nothing back (R68).
    Keepalive,
    /// Data went and nothing came back (R67).
    NewHandshake,
    /// Key material is too old to keep (R57).
    Wipe,
    /// The user wants a sign of life (R70).
    Persistent,
}

/// In the order they are served. Wipe comes first: when all are late, after a suspend, it must not
/// take the initiation that another one has just sent.
pub const ALL: [Timer; 5] =
    [Timer::Wipe, Timer::Retransmit, Timer::Keepalive, Timer::NewHandshake, Timer::Persistent];

impl Timer {
    /// Why we wake: for logs and for tests.
    pub fn reason(self) -> &'static str {
        match self {
            Timer::Retransmit => "retransmit handshake",
            Timer::Keepalive => "passive keepalive",
            Timer::NewHandshake => "new handshake after silence",
            Timer::Wipe => "wipe key material",
            Timer::Persistent => "persistent keepalive",
        }
    }
}

/// What the retransmit timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Again,
    GiveUp,
}

#[derive(Default)]
pub struct Timers {
    deadlines: [Option<Time>; ALL.len()],
    /// Retries of the handshake under way (R65).
    attempts: u32,
    /// More data came while a passive keepalive was due already (R68).
    need_another_keepalive: bool,
    /// The renewal at 165 s was asked for; once a session (R61).
    last_minute: bool,
    /// When we last sent an initiation or a response (R62).
    last_handshake_sent: Option<Time>,
    /// The network changed since: the next initiation need not wait so long (R62).
    rebound: bool,
    /// How much longer than 15 s silence may last (R67).
    patience: Duration,
    persistent: Duration,
}

impl Timers {
    pub fn get(&self, t: Timer) -> Option<Time> {
        self.deadlines[t as usize]
    }

    /// The earliest deadline and its reason.
    pub fn next(&self) -> Option<(Time, Timer)> {
        ALL.iter().filter_map(|&t| Some((self.get(t)?, t))).min_by_key(|(at, _)| *at)
    }

    /// Takes `t` off if it is due.
    pub fn take_due(&mut self, t: Timer, now: Time) -> bool {
        let due = self.get(t).is_some_and(|at| at <= now);
        if due {
            self.disarm(t);
        }
        due
    }

    // Facts.

    /// An initiation went out; `jitter` is 0..=333 ms (R64).
    pub fn initiation_sent(&mut self, now: Time, jitter: Duration) {
        self.last_handshake_sent = Some(now);
        self.rebound = false;
        self.authenticated_sent(now);
        self.arm(Timer::Retransmit, now.after(REKEY_TIMEOUT + jitter));
    }

    /// A response went out, which derived a session (R57, R62).
    pub fn response_sent(&mut self, now: Time, jitter: Duration) {
        self.last_handshake_sent = Some(now);
        self.session_derived(now, jitter);
        self.authenticated_sent(now);
    }

    /// A packet that was not empty went out (R67).
    pub fn data_sent(&mut self, now: Time) {
        self.authenticated_sent(now);
        if self.get(Timer::NewHandshake).is_none() {
            self.arm(Timer::NewHandshake, now.after(NEW_HANDSHAKE_TIMEOUT + self.patience));
        }
    }

    /// Anything authenticated went out, a keepalive for one (R69, R70).
    pub fn authenticated_sent(&mut self, now: Time) {
        self.disarm(Timer::Keepalive);
        self.traversal(now);
    }

    /// Anything authenticated came in: handshake message, keepalive or data (R67, R70).
    pub fn authenticated_received(&mut self, now: Time) {
        self.disarm(Timer::NewHandshake);
        self.traversal(now);
    }

    /// A packet that was not empty came in (R68).
    pub fn data_received(&mut self, now: Time) {
        if self.get(Timer::Keepalive).is_none() {
            self.arm(Timer::Keepalive, now.after(KEEPALIVE_TIMEOUT));
        } else {
            self.need_another_keepalive = true;
        }
    }

    /// The handshake is confirmed: a response was consumed, or data came on next (R72).
    pub fn handshake_complete(&mut self) {
        self.disarm(Timer::Retransmit);
        self.attempts = 0;
        self.last_minute = false;
    }

    /// A session was derived (R57). `jitter` is 0..=333 ms and serves for all of it: drawn for each
    /// packet it would cost more than sealing one, and what it is for is that the two peers do not
    /// lose patience together (R67).
    pub fn session_derived(&mut self, now: Time, jitter: Duration) {
        self.patience = jitter;
        self.arm(Timer::Wipe, now.after(WIPE_AFTER));
    }

    /// All timers off, all memory of handshakes gone (R73, R95).
    pub fn stop(&mut self) {
        *self = Timers { persistent: self.persistent, ..Timers::default() };
    }

    // Consequences.

    /// The retransmit timer fired (R64, R65).
    pub fn retransmit_fired(&mut self, now: Time) -> Retry {
        if self.attempts <= MAX_RETRIES {
            self.attempts += 1;
            return Retry::Again;
        }
        self.disarm(Timer::Keepalive);
        if self.get(Timer::Wipe).is_none() {
            self.arm(Timer::Wipe, now.after(WIPE_AFTER));
        }
        Retry::GiveUp
    }

    /// The passive keepalive fired and was sent: is one more due later (R68)?
    pub fn keepalive_fired(&mut self, now: Time) {
        if std::mem::take(&mut self.need_another_keepalive) {
            self.arm(Timer::Keepalive, now.after(KEEPALIVE_TIMEOUT));
        }
    }

    /// May an initiation go out now (R62)? If not, the retransmit timer is armed, so that the wish
    /// is not forgotten: for `spread` after the moment it may go.
    ///
    /// While that timer is armed, nothing else initiates. Otherwise steady traffic would take the
    /// jitter away, and two peers whose initiations crossed would cross for ever (R24, R64).
    pub fn may_initiate(&mut self, now: Time, spread: impl FnOnce() -> Duration) -> bool {
        if self.get(Timer::Retransmit).is_some() {
            return false;
        }
        let wait = if self.rebound { REBIND_INTERVAL } else { REKEY_TIMEOUT };
        match self.last_handshake_sent {
            Some(last) if now.since(last) < wait => {
                let spread = if self.rebound { Duration::ZERO } else { spread() };
                self.arm(Timer::Retransmit, last.after(wait + spread));
                false
            }
            _ => true,
        }
    }

    /// The way to the peer may have changed, and what went the old way says nothing about the new
    /// one: the next initiation goes now, or `REBIND_INTERVAL` after the last (R62, R101).
    pub fn rebound(&mut self) {
        self.rebound = true;
        self.disarm(Timer::Retransmit);
    }

    /// A handshake is wanted for a new reason: retries count from zero (R66).
    pub fn new_cause(&mut self) {
        self.attempts = 0;
    }

    /// Our key changed: what was initiated is void, and the next initiation need not wait (R23).
    pub fn permit_initiation(&mut self) {
        self.last_handshake_sent = None;
        self.disarm(Timer::Retransmit);
    }

    /// The renewal at 165 s: true once a session (R61).
    pub fn take_last_minute(&mut self) -> bool {
        !std::mem::replace(&mut self.last_minute, true)
    }

    /// Sets the persistent keepalive, in seconds; 0 turns it off. The timer is armed by the next
    /// traffic (R70).
    pub fn set_persistent(&mut self, secs: u16) {
        self.persistent = Duration::from_secs(secs.into());
        if secs == 0 {
            self.disarm(Timer::Persistent);
        }
    }

    pub fn persistent_secs(&self) -> u16 {
        u16::try_from(self.persistent.as_secs()).unwrap_or(u16::MAX)
    }

    fn traversal(&mut self, now: Time) {
        if !self.persistent.is_zero() {
            self.arm(Timer::Persistent, now.after(self.persistent));
        }
    }

    fn arm(&mut self, t: Timer, at: Time) {
        self.deadlines[t as usize] = Some(at);
    }

    fn disarm(&mut self, t: Timer) {
        self.deadlines[t as usize] = None;
    }
}

#[cfg(test)]
mod tests;
