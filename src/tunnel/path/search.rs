//! Which sizes the peer is asked about, when, and what follows from its answers (R103). Time and
//! the peer's whereabouts are handed in; questions are handed out.
//!
//! A handshake begins it, for every change that matters ends in one: a new network, another way, a
//! server that began anew, and every two minutes of use. The whole size is asked about first, and
//! mostly that is all. Without an answer sizes that occur in the world are asked about at once, the
//! largest that is answered is kept to from then on, and what lies between it and the next is asked
//! about in a few steps. Each size is asked about twice at least, and the whole one until the end,
//! so that a lost packet or two make nothing small. At most seven questions are on their way.
//!
//! Sizes are multiples of 16, for WireGuard pads to these (R07), or the interface's MTU. Nobody
//! is asked without need: who answers nothing is asked thrice again, and then every ten minutes at
//! most.

use std::net::SocketAddr;
use std::time::Duration;

use super::echo::MIN_LEN;
use crate::wg::{Reached, Time};

/// The least that a limit may be: every IPv4 path carries this much (RFC 791).
pub const LEAST: u16 = 576;
/// What is waited for the answers of one round, at least and at most.
const ROUND_LEAST: Duration = Duration::from_millis(250);
const ROUND_MOST: Duration = Duration::from_secs(1);
/// Beside twice the round trip.
const ROUND_MORE: Duration = Duration::from_millis(100);
/// What is told is asked about so often, at most.
const TELLS: u8 = 5;
/// How long after silence it is tried again, the first time and so often, each four times as long
/// as the one before; then with a handshake that is so much later at least.
const SILENT_FIRST: Duration = Duration::from_secs(5);
const SILENT_TRIES: u8 = 3;
const SILENT_PAUSE: Duration = Duration::from_secs(600);
/// Handshakes from one search for something between limit and whole to the next.
const THOROUGH: u8 = 5;
/// A session sends for that long (R52, R59); later there may be none to ask with.
const SESSION: Duration = Duration::from_secs(115);

/// The sizes that are asked about at once: of every IPv4 path; what a tunnel or two leave of 1,280
/// bytes; of a network that passes 1,280 over IPv6; and of ones near 1,340 and 1,420.
const STEPS: [u16; 5] = [LEAST, 1024, 1200, 1280, 1360];
/// Sizes between two of them.
const BETWEEN: u16 = 5;
const PADDING: u16 = 16;
/// Questions that are remembered.
const REMEMBERED: usize = 64;

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// Bytes of the longest packet within the tunnel.
    pub mtu: u16,
    /// Whether the peer answered a packet of that length.
    pub is_answered: bool,
    /// It is being found out just now.
    pub is_sought: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Rest,
    /// The whole size, and the limit if there is one.
    Whole,
    Steps,
    Between,
    /// The limit is told until the peer has heard it.
    Tell,
}

#[derive(Debug, Default)]
pub struct Search {
    /// The interface's MTU; 0 before the first look.
    full: u16,
    /// What is kept to; `full` for all.
    limit: u16,
    is_answered: bool,
    stage: Stage,
    /// Rounds of this stage.
    rounds: u8,
    ends: Option<Time>,
    /// Sizes of this stage.
    sizes: Vec<u16>,
    /// The largest that was answered in this search, and the smallest that was not.
    good: u16,
    bad: u16,
    /// What the peer last said that it had heard.
    heard: Option<Option<u16>>,
    /// The last question, and those that may still be answered.
    number: u16,
    asked: Vec<(u16, u16)>,
    /// The handshake that was seen last, and from where.
    at: Option<Time>,
    remote: Option<SocketAddr>,
    is_new: bool,
    /// Handshakes since it was last looked thoroughly.
    looks: u8,
    silences: u8,
    not_before: Option<Time>,
    again: Option<Time>,
}

impl Search {
    pub fn network_changed(&mut self) {
        self.is_new = true;
    }

    /// `None` where everything passes, or nothing is known.
    pub fn limit(&self) -> Option<u16> {
        (self.limit < self.full).then_some(self.limit)
    }

    pub fn state(&self) -> PathState {
        let is_sought = !matches!(self.stage, Stage::Rest | Stage::Tell);
        PathState { mtu: self.limit, is_answered: self.is_answered, is_sought }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.ends.or(self.again)
    }

    /// The question of this number was answered, by one who has heard that `told` is the limit.
    pub fn answered(&mut self, now: Time, number: u16, told: Option<u16>) {
        let Some((_, size)) = self.asked.iter().find(|(asked, _)| *asked == number) else { return };
        self.good = self.good.max(*size);
        self.heard = Some(told);
        (self.silences, self.not_before, self.again) = (0, None, None);
        let largest = self.sizes.iter().max().copied().unwrap_or(0);
        // Nothing more is to be waited for.
        if self.ends.is_some() && (self.good >= largest || self.stage == Stage::Tell) {
            self.ends = Some(now);
        }
    }

    /// What is to be asked now: numbers and sizes.
    pub fn turn(&mut self, now: Time, mtu: u16, reached: Option<Reached>) -> Vec<(u16, u16)> {
        let Some(reached) = reached else { return Vec::new() };
        self.follow(mtu);
        let is_another = self.remote != Some(reached.remote);
        if self.at.replace(reached.at) != Some(reached.at) {
            self.remote = Some(reached.remote);
            self.handshake(now, is_another);
        } else if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.begin(now, true);
        }
        if self.ends.is_none_or(|ends| ends > now) {
            return Vec::new();
        }
        self.judge(now);
        if self.stage == Stage::Rest || now.since(reached.at) > SESSION {
            (self.stage, self.ends) = (Stage::Rest, None);
            return Vec::new();
        }
        self.rounds = self.rounds.saturating_add(1);
        let trip = reached.round_trip.unwrap_or(ROUND_LEAST);
        let wait = (trip.saturating_mul(2) + ROUND_MORE).clamp(ROUND_LEAST, ROUND_MOST);
        self.ends = Some(now.after(wait));
        self.ask()
    }

    /// The interface has another MTU: all begins anew.
    fn follow(&mut self, mtu: u16) {
        if self.full != mtu {
            (self.full, self.limit, self.is_answered) = (mtu, mtu, false);
            (self.at, self.is_new) = (None, true);
        }
    }

    fn handshake(&mut self, now: Time, is_another: bool) {
        self.is_new |= is_another;
        let waits = self.not_before.is_some_and(|at| at > now) && !self.is_new;
        if waits || (self.stage != Stage::Rest && !self.is_new) {
            return;
        }
        self.looks = self.looks.saturating_add(1);
        let is_thorough = self.is_new || self.looks >= THOROUGH || self.limit == self.full;
        self.begin(now, is_thorough);
    }

    fn begin(&mut self, now: Time, is_thorough: bool) {
        if is_thorough {
            self.looks = 0;
        }
        self.is_new = false;
        (self.good, self.bad) = (0, self.full);
        self.asked.clear();
        self.heard = None;
        let sizes = self.limit().into_iter().chain([self.full]).collect();
        self.enter(now, Stage::Whole, sizes);
    }

    /// Its first round is to come at once.
    fn enter(&mut self, now: Time, stage: Stage, sizes: Vec<u16>) {
        (self.stage, self.sizes, self.rounds, self.ends) = (stage, sizes, 0, Some(now));
    }

    /// A round is over; what comes next is entered.
    fn judge(&mut self, now: Time) {
        if self.rounds == 0 {
            return;
        }
        match self.stage {
            Stage::Rest => {}
            Stage::Tell if self.heard == Some(self.limit()) || self.rounds >= TELLS => self.rest(),
            Stage::Tell => {}
            _ if self.good == self.full => self.settle(now),
            // The limit holds, and whether a little more passes is looked at more rarely.
            Stage::Whole if self.looks > 0 && self.good > 0 => {
                if self.rounds > 1 {
                    self.settle(now);
                }
            }
            Stage::Whole => {
                let steps = STEPS.into_iter().filter(|size| (self.good..self.full).contains(size));
                let sizes = steps.chain([self.full]).collect();
                self.enter(now, Stage::Steps, sizes);
            }
            Stage::Steps | Stage::Between => self.narrow(now),
        }
    }

    /// What passes is kept to at once; what lies above is asked about twice.
    fn narrow(&mut self, now: Time) {
        if self.good > 0 {
            (self.limit, self.is_answered) = (self.good, true);
        }
        if self.rounds < 2 {
            return;
        }
        if self.good == 0 {
            return self.silence(now);
        }
        let above = self.sizes.iter().copied().filter(|size| *size > self.good);
        self.bad = above.min().unwrap_or(self.full).min(self.bad).max(self.good);
        match between(self.good, self.bad) {
            sizes if sizes.is_empty() => self.settle(now),
            mut sizes => {
                sizes.push(self.full);
                self.enter(now, Stage::Between, sizes);
            }
        }
    }

    fn settle(&mut self, now: Time) {
        (self.limit, self.is_answered) = (self.good, true);
        match self.heard == Some(self.limit()) {
            true => self.rest(),
            false => self.enter(now, Stage::Tell, vec![MIN_LEN as u16]),
        }
    }

    /// Nobody answers: nothing follows from it. There may be no way just now, or nobody who answers
    /// echoes.
    fn silence(&mut self, now: Time) {
        self.rest();
        self.is_answered = false;
        let pause = SILENT_FIRST.saturating_mul(4u32.saturating_pow(self.silences.into()));
        self.again = (self.silences < SILENT_TRIES).then(|| now.after(pause));
        self.silences = self.silences.saturating_add(1);
        self.not_before = Some(now.after(SILENT_PAUSE));
    }

    fn rest(&mut self) {
        (self.stage, self.ends) = (Stage::Rest, None);
        self.sizes.clear();
    }

    /// This round's questions: the sizes that are still in doubt.
    fn ask(&mut self) -> Vec<(u16, u16)> {
        let mut questions = Vec::with_capacity(self.sizes.len());
        for size in &self.sizes {
            if *size > self.good || self.stage == Stage::Tell {
                self.number = self.number.wrapping_add(1);
                questions.push((self.number, *size));
            }
        }
        let gone = (self.asked.len() + questions.len()).saturating_sub(REMEMBERED);
        self.asked.drain(..gone.min(self.asked.len()));
        self.asked.extend(&questions);
        questions
    }
}

/// Some of the multiples of 16 that lie between these two, spread evenly.
fn between(good: u16, bad: u16) -> Vec<u16> {
    let count = bad.saturating_sub(1).saturating_sub(good) / PADDING;
    let (all, take) = (u32::from(count), count.min(BETWEEN));
    let nth = |n: u16| match count <= BETWEEN {
        true => n,
        false => (u32::from(n) * all / u32::from(BETWEEN + 1)) as u16,
    };
    (1..=take).map(|n| good + nth(n) * PADDING).collect()
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
