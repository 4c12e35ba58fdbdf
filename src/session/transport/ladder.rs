//! When to try which way to the VPS: UDP first, SSH beside it where UDP stays silent, and UDP again
//! while SSH carries. It is given the time, and does nothing itself.
//!
//! As in Happy Eyeballs the ways are tried side by side: the later one begins after a time without
//! an answer, and the earlier one goes on trying. What answers carries.

use std::time::Duration;

use super::told::Rung;
use crate::host::config::Transport;

/// How long UDP may be silent before SSH begins.
const PATIENCE: Duration = Duration::from_millis(2500);
/// How often an answer is looked for while nothing carries; later, when that lasts, less often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
/// From one try over the pipe to the next, and how long they may be in vain.
const TRY_PIPE_EVERY: Duration = Duration::from_secs(1);
const PIPE_SILENT: Duration = Duration::from_secs(5);
/// From one try over UDP to the next while SSH carries, and when its answer is looked for.
const TRY_UDP_EVERY: Duration = Duration::from_secs(4);
const ANSWERED_BY: Duration = Duration::from_millis(300);
/// Each try forgets the one before it, so the two ways are not tried at once.
const APART: Duration = Duration::from_millis(500);
/// UDP that carries for less than this after it came back has not come back: each time doubles the
/// pause until the next try, up to this many times.
const HOLDS: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 6;
/// Pauses before a pipe that broke is begun anew, the first after one that had carried.
const PAUSES_S: [u64; 6] = [0, 1, 2, 4, 8, 15];
/// Least time from one begin to the next, however often the network changes.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a server refused the login: some shut out who is refused too often.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// What is to be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Before `start_pipe`.
    pub end_pipe: bool,
    pub start_pipe: bool,
    /// One handshake over this way alone.
    pub try_pipe: bool,
    pub try_udp: bool,
}

/// How a pipe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Broke,
    /// The server does not let this login in without what only a person can give.
    Refused,
}

/// Every moment is one of the boot clock.
pub struct Ladder {
    choice: Transport,
    /// Whether there is an SSH to begin.
    has_ssh: bool,
    rung: Option<Rung>,
    /// Since when nothing carries.
    silent_since: Option<Duration>,
    /// When SSH may begin, then.
    ssh_due: Duration,
    pipe: Pipe,
    /// Pipes that ended without having carried.
    failures: usize,
    last_begin: Option<Duration>,
    refused_until: Duration,
    next_udp: Duration,
    look_at: Option<Duration>,
    /// When UDP took over from SSH, and how often in a row it did not hold.
    udp_since: Option<Duration>,
    doublings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipe {
    None {
        not_before: Duration,
    },
    Starting,
    Open {
        since: Duration,
        next_try: Duration,
    },
    /// To be ended, for a network that is no more.
    Stale,
}

impl Ladder {
    /// Nothing carries yet.
    pub fn new(choice: Transport, has_ssh: bool, now: Duration) -> Ladder {
        Ladder {
            choice,
            has_ssh: has_ssh && choice != Transport::Udp,
            rung: None,
            silent_since: Some(now),
            ssh_due: now + patience(choice),
            pipe: Pipe::None { not_before: now },
            failures: 0,
            last_begin: None,
            refused_until: Duration::ZERO,
            next_udp: now,
            look_at: None,
            udp_since: None,
            doublings: 0,
        }
    }

    /// The way that carries, or did before there was silence.
    pub fn rung(&self) -> Option<Rung> {
        self.rung
    }

    pub fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// A pipe is there, and is tried.
    pub fn has_open_pipe(&self) -> bool {
        matches!(self.pipe, Pipe::Open { .. })
    }

    /// Another network, or the machine woke up: everything starts over.
    pub fn moved(&mut self, now: Duration) {
        self.silent_since = Some(now);
        self.ssh_due = now + patience(self.choice);
        (self.failures, self.doublings, self.udp_since) = (0, 0, None);
        let not_before = self.last_begin.map_or(now, |last| last + LEAST_PAUSE);
        self.pipe = match self.pipe {
            Pipe::None { .. } => Pipe::None { not_before },
            _ => Pipe::Stale,
        };
    }

    /// On this network UDP did not pass before: SSH need not wait.
    pub fn remembered(&mut self, now: Duration) {
        self.ssh_due = self.ssh_due.min(now);
    }

    /// The agent did not answer in its time, which is longer than a handshake's.
    pub fn missed(&mut self, now: Duration) {
        if self.silent_since.is_some() {
            return;
        }
        if self.udp_since.is_some_and(|since| now.saturating_sub(since) < HOLDS) {
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        }
        self.fall(now);
    }

    fn fall(&mut self, now: Duration) {
        self.silent_since = Some(now);
        self.ssh_due = now;
        self.next_udp = now + APART;
        if let Pipe::Open { since, next_try } = &mut self.pipe {
            (*since, *next_try) = (now, now);
        }
    }

    /// The pipe is there. Whether it leads anywhere shows a handshake over it.
    pub fn pipe_opened(&mut self, now: Duration) {
        if self.pipe == Pipe::Starting {
            self.pipe = Pipe::Open { since: now, next_try: now };
            self.next_udp = self.next_udp.max(now + APART);
        }
    }

    pub fn pipe_ended(&mut self, how: Ended, now: Duration) {
        if how == Ended::Refused {
            self.refused_until = now + REFUSED_PAUSE;
        }
        self.pipe = Pipe::None { not_before: now + pause(self.failures) };
        self.failures = self.failures.saturating_add(1);
        if self.rung == Some(Rung::Ssh) && self.silent_since.is_none() {
            self.fall(now);
        }
    }

    /// Something came over `rung`, the answer to what was asked at `asked`. The way that carried
    /// before, if that is another.
    pub fn answered(&mut self, rung: Rung, asked: Duration, now: Duration) -> Option<Rung> {
        if self.silent_since.is_some_and(|since| asked < since) {
            return None;
        }
        let came = self.silent_since.take().is_some();
        let before = self.rung.replace(rung).filter(|before| *before != rung);
        match rung {
            Rung::Udp => {
                self.udp_since = before.map_or(self.udp_since, |_| Some(now));
                if self.udp_since.is_some_and(|since| now.saturating_sub(since) >= HOLDS) {
                    (self.udp_since, self.doublings) = (None, 0);
                }
            }
            Rung::Ssh => {
                self.failures = 0;
                if came || before.is_some() {
                    self.next_udp = now + self.udp_pause();
                }
            }
        }
        before
    }

    /// What to do now.
    pub fn look(&mut self, now: Duration) -> Steps {
        let mut steps = Steps::default();
        self.look_at.take_if(|at| *at <= now);
        self.end_what_is_over(now, &mut steps);
        if self.silent_since.is_some() {
            self.climb(now, &mut steps);
        }
        let carries = self.rung == Some(Rung::Ssh) && self.silent_since.is_none();
        let beside = self.silent_since.is_some() && self.has_open_pipe();
        let wanted = (carries || beside) && self.choice == Transport::Auto;
        if wanted && !steps.try_pipe && self.next_udp <= now {
            steps.try_udp = true;
            self.next_udp = now + self.udp_pause();
            self.look_at = Some(now + ANSWERED_BY);
            if let Pipe::Open { next_try, .. } = &mut self.pipe {
                *next_try = (*next_try).max(now + APART);
            }
        }
        steps
    }

    /// A pipe of another network; one beside UDP that carries; one that is silent for too long.
    fn end_what_is_over(&mut self, now: Duration, steps: &mut Steps) {
        let is_silent = self.silent_since.is_some();
        let not_before = match self.pipe {
            Pipe::Stale => self.last_begin.map_or(now, |last| last + LEAST_PAUSE),
            Pipe::None { .. } => return,
            _ if !is_silent && self.rung == Some(Rung::Udp) => now,
            Pipe::Open { since, .. } if is_silent && now.saturating_sub(since) >= PIPE_SILENT => {
                self.failures = self.failures.saturating_add(1);
                now + pause(self.failures)
            }
            _ => return,
        };
        steps.end_pipe = true;
        self.pipe = Pipe::None { not_before };
    }

    fn climb(&mut self, now: Duration, steps: &mut Steps) {
        match &mut self.pipe {
            Pipe::None { not_before } => {
                let due = self.ssh_due.max(*not_before).max(self.refused_until);
                if self.has_ssh && due <= now {
                    steps.start_pipe = true;
                    self.last_begin = Some(now);
                    self.pipe = Pipe::Starting;
                }
            }
            Pipe::Open { next_try, .. } if *next_try <= now => {
                steps.try_pipe = true;
                *next_try = now + TRY_PIPE_EVERY;
                self.next_udp = self.next_udp.max(now + APART);
            }
            _ => {}
        }
    }

    /// When to look next; `None` while UDP carries.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        if let Some(since) = self.silent_since {
            let lasts = now.saturating_sub(since) > LATER;
            return Some(now + if lasts { LOOK_LATER } else { LOOK_EVERY });
        }
        if self.pipe == Pipe::Stale || self.rung == Some(Rung::Udp) && self.has_pipe() {
            return Some(now);
        }
        let tries = self.rung == Some(Rung::Ssh) && self.choice == Transport::Auto;
        let next = tries.then_some(self.next_udp);
        self.look_at.into_iter().chain(next).min()
    }

    fn has_pipe(&self) -> bool {
        !matches!(self.pipe, Pipe::None { .. })
    }

    fn udp_pause(&self) -> Duration {
        TRY_UDP_EVERY.saturating_mul(1 << self.doublings.min(MOST_DOUBLINGS))
    }
}

fn patience(choice: Transport) -> Duration {
    if choice == Transport::Ssh { Duration::ZERO } else { PATIENCE }
}

fn pause(failures: usize) -> Duration {
    let last = PAUSES_S.len() - 1;
    Duration::from_secs(PAUSES_S.get(failures.min(last)).copied().unwrap_or(15))
}

#[cfg(test)]
mod tests;
