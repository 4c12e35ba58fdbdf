//! The table of timers × facts, executed literally beside `timers.rs` over random facts.

use super::*;

const S: u64 = 1_000_000_000;

/// Cells of the table: one deadline a timer, in nanoseconds. It knows nothing but the table.
#[derive(Default, Clone, Copy)]
struct Table {
    rt: Option<u64>,
    pk: Option<u64>,
    nh: Option<u64>,
    zk: Option<u64>,
    pp: Option<u64>,
    every: u64,
    another: bool,
    attempts: u32,
    sent: Option<u64>,
    minute: bool,
    /// Drawn with a session, spent on NH.
    spread: u64,
}

impl Table {
    fn traffic(&mut self, t: u64) {
        if self.every > 0 {
            self.pp = Some(t + self.every * S);
        }
    }

    fn fact(&mut self, fact: u8, t: u64, j: u64) {
        match fact {
            0 => (self.rt, self.pk, self.sent) = (Some(t + 5 * S + j), None, Some(t)),
            1 => {
                (self.pk, self.zk, self.sent) = (None, Some(t + 540 * S), Some(t));
                self.spread = j;
            }
            2 => (self.pk, self.nh) = (None, self.nh.or(Some(t + 15 * S + self.spread))),
            3 => self.pk = None,
            4 => self.nh = None,
            5 if self.pk.is_some() => self.another = true,
            5 => self.pk = Some(t + 10 * S),
            6 => (self.zk, self.spread) = (Some(t + 540 * S), j),
            7 => (self.rt, self.attempts, self.minute) = (None, 0, false),
            8 => *self = Table { every: self.every, ..Table::default() },
            9 => self.every = [0, 1, 5, 25, 65535][(j % 5) as usize],
            10 => self.attempts = 0,
            11 => (self.sent, self.rt) = (None, None),
            _ => {}
        }
        if fact == 9 && self.every == 0 {
            self.pp = None;
        }
        if fact <= 4 {
            self.traffic(t);
        }
    }

    /// RT, PK and ZK have consequences in the table; NH and PP only send, which is another fact.
    fn fired(&mut self, timer: Timer, t: u64) -> Option<Retry> {
        match timer {
            Timer::Retransmit if self.attempts <= 18 => self.attempts += 1,
            Timer::Retransmit => {
                (self.pk, self.zk) = (None, self.zk.or(Some(t + 540 * S)));
                return Some(Retry::GiveUp);
            }
            Timer::Keepalive if std::mem::take(&mut self.another) => self.pk = Some(t + 10 * S),
            _ => {}
        }
        (timer == Timer::Retransmit).then_some(Retry::Again)
    }

    /// The extensions: nothing initiates while RT is armed; a wish that comes too early arms it.
    fn may_initiate(&mut self, t: u64, j: u64) -> bool {
        let early = self.sent.is_some_and(|s| t - s < 5 * S);
        let may = self.rt.is_none() && !early;
        if early {
            self.rt = self.rt.or(self.sent.map(|s| s + 5 * S + j));
        }
        may
    }

    fn cell(&mut self, timer: Timer) -> &mut Option<u64> {
        match timer {
            Timer::Retransmit => &mut self.rt,
            Timer::Keepalive => &mut self.pk,
            Timer::NewHandshake => &mut self.nh,
            Timer::Wipe => &mut self.zk,
            Timer::Persistent => &mut self.pp,
        }
    }
}

fn report(real: &mut Timers, fact: u8, now: Time, jitter: Duration) {
    match fact {
        0 => real.initiation_sent(now, jitter),
        1 => real.response_sent(now, jitter),
        2 => real.data_sent(now),
        3 => real.authenticated_sent(now),
        4 => real.authenticated_received(now),
        5 => real.data_received(now),
        6 => real.session_derived(now, jitter),
        7 => real.handshake_complete(),
        8 => real.stop(),
        9 => {
            let secs = [0, 1, 5, 25, 65535][(jitter.as_nanos() % 5) as usize];
            real.set_persistent(secs);
            assert_eq!(real.persistent_secs(), secs);
        }
        10 => real.new_cause(),
        11 => real.permit_initiation(),
        _ => {}
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// R57 R59–R73
#[test]
fn a_million_random_facts_move_the_deadlines_as_the_table_says() {
    let mut state = 11;
    for script in 0..1000u64 {
        let (mut real, mut table, mut t) = (Timers::default(), Table::default(), script * S);
        for step in 0..1100 {
            // Mostly short steps, so that retries run out; sometimes a sleep.
            t += match next(&mut state) % 20 {
                0 => next(&mut state) % (700 * S),
                1..6 => 0,
                _ => next(&mut state) % (4 * S),
            };
            let (now, jitter) = (Time::from_nanos(t), next(&mut state) % (333_000_000 + 1));
            let duration = Duration::from_nanos(jitter);
            for timer in ALL {
                let due = table.cell(timer).is_some_and(|at| at <= t);
                assert_eq!(real.take_due(timer, now), due, "{script}/{step} {timer:?}");
                if due {
                    *table.cell(timer) = None;
                    let answer = table.fired(timer, t);
                    match timer {
                        Timer::Retransmit => assert_eq!(Some(real.retransmit_fired(now)), answer),
                        Timer::Keepalive => real.keepalive_fired(now),
                        _ => {}
                    }
                }
            }
            match next(&mut state) % 24 {
                // Stops and changes of configuration are rare.
                fact @ 0..8 => {
                    report(&mut real, fact as u8, now, duration);
                    table.fact(fact as u8, t, jitter);
                }
                8 if next(&mut state) % 20 == 0 => {
                    let fact = 8 + (next(&mut state) % 4) as u8;
                    report(&mut real, fact, now, duration);
                    table.fact(fact, t, jitter);
                }
                9 => {
                    let minute = !std::mem::replace(&mut table.minute, true);
                    assert_eq!(real.take_last_minute(), minute, "{script}/{step}");
                }
                10..14 => {
                    let may = table.may_initiate(t, jitter);
                    assert_eq!(real.may_initiate(now, || duration), may, "{script}/{step}");
                }
                // A retry, as the device does it.
                14..20 => {
                    report(&mut real, 0, now, duration);
                    table.fact(0, t, jitter);
                }
                _ => {}
            }
            let cells = ALL.map(|timer| table.cell(timer).map(Time::from_nanos));
            assert_eq!(ALL.map(|timer| real.get(timer)), cells, "{script}/{step}");
            assert_eq!(real.next().map(|(at, _)| at), cells.into_iter().flatten().min());
        }
    }
}

// R65: 19 retries after the first initiation, then no more.
#[test]
fn the_retry_after_the_nineteenth_gives_up() {
    let mut t = Timers::default();
    for i in 0..19 {
        assert_eq!(t.retransmit_fired(Time::ZERO), Retry::Again, "retry {i}");
    }
    assert_eq!(t.retransmit_fired(Time::ZERO), Retry::GiveUp);
    assert_eq!(t.get(Timer::Wipe), Some(Time::ZERO.after(Duration::from_secs(540))));
    t.new_cause();
    assert_eq!(t.retransmit_fired(Time::ZERO), Retry::Again);
}

// R57 R101: what is late at once is served in an order that destroys nothing.
#[test]
fn wiping_is_served_before_anything_that_sends() {
    assert_eq!(ALL[0], Timer::Wipe);
    let mut seen = ALL.map(|t| t as usize);
    seen.sort();
    assert_eq!(seen, [0, 1, 2, 3, 4], "each timer has a place of its own");
}

// R64
#[test]
fn every_timer_has_a_reason_of_its_own() {
    let mut reasons = ALL.map(Timer::reason);
    reasons.sort();
    assert!(reasons.windows(2).all(|w| w[0] != w[1]));
}
