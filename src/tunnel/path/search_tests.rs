//! Searches over paths that are made up: of a size, with loss, silent, one that changes.

use super::*;

const RTT: Duration = Duration::from_millis(30);

fn remote(n: u8) -> SocketAddr {
    ([198, 51, 100, n], 51820).into()
}

/// A path, and who is at its end.
struct World {
    now: Time,
    search: Search,
    mtu: u16,
    reached: Reached,
    /// The longest packet within the tunnel that passes both ways; 0 for none at all.
    passes: u16,
    /// The n-th question of all is lost.
    lost: fn(usize) -> bool,
    asked: Vec<u16>,
    /// What the peer keeps to.
    there: Option<u16>,
}

impl World {
    fn new(passes: u16) -> World {
        let now = Time::from_nanos(1_000_000_000);
        let reached = Reached { at: now, remote: remote(1), round_trip: Some(RTT) };
        let search = Search::default();
        let asked = Vec::new();
        World { now, search, mtu: 1420, reached, passes, lost: |_| false, asked, there: None }
    }

    fn handshake(&mut self) {
        self.reached.at = self.now;
    }

    /// Goes on for so long; until when questions were asked.
    fn run(&mut self, time: Duration) -> Duration {
        let (began, end) = (self.now, self.now.after(time));
        let mut last = Duration::ZERO;
        let mut answers: Vec<(Time, u16, Option<u16>)> = Vec::new();
        loop {
            for (number, size) in self.search.turn(self.now, self.mtu, Some(self.reached)) {
                last = self.now.since(began);
                self.asked.push(size);
                if size <= self.passes && !(self.lost)(self.asked.len() - 1) {
                    self.there = self.search.limit();
                    answers.push((self.now.after(RTT), number, self.search.limit()));
                }
            }
            let answer = answers.first().map(|(at, ..)| *at);
            let deadline = self.search.next_deadline();
            assert!(deadline.is_none_or(|at| at > self.now), "no deadline is due after a turn");
            let Some(next) = answer.into_iter().chain(deadline).min().filter(|at| *at <= end)
            else {
                self.now = end;
                return last;
            };
            self.now = next;
            if answer == Some(next) {
                let (_, number, told) = answers.remove(0);
                self.search.answered(self.now, number, told);
            }
        }
    }

    #[track_caller]
    fn found(&self, mtu: u16) {
        let PathState { mtu: found, is_answered, is_sought } = self.search.state();
        assert_eq!((found, is_answered, is_sought), (mtu, true, false));
        let limit = (mtu < self.mtu).then_some(mtu);
        assert_eq!((self.search.limit(), self.there), (limit, limit), "and the peer knows");
    }
}

/// R103: one question where everything passes.
#[test]
fn what_passes_whole_is_asked_about_once_for_each_handshake() {
    let mut world = World::new(9000);
    for n in 1..=4 {
        world.handshake();
        world.run(Duration::from_secs(120));
        assert_eq!(world.asked, vec![1420; n]);
        world.found(1420);
        assert_eq!(world.search.next_deadline(), None, "nothing wakes it");
    }
}

/// R103: every size is found, soon, and by few questions.
#[test]
fn every_size_is_found_and_the_peer_told() {
    for mtu in [576, 600, 1280, 1420, 8920] {
        for passes in (576..=mtu).step_by(7) {
            let mut world = World::new(passes);
            world.mtu = mtu;
            let took = world.run(Duration::from_secs(60));
            let want = if passes == mtu { mtu } else { passes / 16 * 16 };
            world.found(want);
            assert!(world.asked.len() < 90, "{passes} of {mtu}: {} questions", world.asked.len());
            let limit = if mtu > 1420 { 6 } else { 3 };
            assert!(took < Duration::from_secs(limit), "{passes} of {mtu}: {took:?}");
        }
    }
}

/// R104: something that passes is kept to long before the largest that does is known.
#[test]
fn a_limit_is_there_within_two_rounds() {
    let mut world = World::new(1240);
    world.run(Duration::from_millis(510));
    assert_eq!(world.search.limit(), Some(1200));
    world.run(Duration::from_secs(2));
    world.found(1232);
}

#[test]
fn lost_questions_make_nothing_small_for_long() {
    let first_two: fn(usize) -> bool = |n| n < 2;
    let every_third = |n| n % 3 == 0;
    let one_burst = |n| n < 7;
    for (lost, is_slow) in [(first_two, false), (every_third, false), (one_burst, true)] {
        let mut world = World::new(1500);
        world.lost = lost;
        let took = world.run(Duration::from_secs(4));
        world.found(1420);
        assert!(is_slow || took < Duration::from_secs(1), "{took:?}");
        let mut world = World::new(1240);
        world.lost = lost;
        world.run(Duration::from_secs(8));
        world.found(1232);
    }
}

#[test]
fn it_grows_and_shrinks_with_the_network_and_with_handshakes() {
    let mut world = World::new(1240);
    world.run(Duration::from_secs(5));
    world.found(1232);
    // The same path became better, and nothing says so.
    world.passes = 1500;
    world.run(Duration::from_secs(120));
    world.found(1232);
    world.handshake();
    world.run(Duration::from_secs(1));
    world.found(1420);
    // And worse.
    world.passes = 1300;
    world.handshake();
    world.run(Duration::from_secs(3));
    world.found(1296);
    // Another network.
    world.passes = 1000;
    world.search.network_changed();
    world.handshake();
    world.run(Duration::from_secs(3));
    world.found(992);
    // The way there is another one.
    world.passes = 1420;
    (world.reached.remote, world.reached.at) = (remote(2), world.now);
    world.run(Duration::from_secs(1));
    world.found(1420);
}

/// Two questions a handshake are all that it takes to stay small.
#[test]
fn who_stays_limited_asks_little_and_now_and_then_for_more() {
    let mut world = World::new(1240);
    world.run(Duration::from_secs(5));
    world.asked.clear();
    for _ in 0..3 {
        world.handshake();
        world.run(Duration::from_secs(120));
        world.found(1232);
    }
    assert!(world.asked.iter().all(|size| [1232, 1420].contains(size)), "{:?}", world.asked);
    assert!(world.asked.len() <= 9, "{:?}", world.asked);
    world.passes = 1330;
    for _ in 0..2 {
        world.handshake();
        world.run(Duration::from_secs(120));
    }
    world.found(1328);
}

#[test]
fn silence_says_nothing_and_is_not_asked_for_ever() {
    let mut world = World::new(0);
    world.run(Duration::from_secs(3600));
    let state = world.search.state();
    assert_eq!((state.mtu, state.is_answered, state.is_sought), (1420, false, false));
    let asked = world.asked.len();
    // All that is asked with is over 115 s after the handshake.
    assert!(asked <= 4 * 13, "{asked}");
    for _ in 0..100 {
        world.now = world.now.after(Duration::from_secs(15));
        world.handshake();
        world.run(Duration::from_secs(1));
    }
    assert!(world.asked.len() <= asked + 4 * 13, "{} for ever", world.asked.len());
    // A limit that was found stays.
    let mut world = World::new(1240);
    world.run(Duration::from_secs(5));
    world.passes = 0;
    world.search.network_changed();
    world.handshake();
    world.run(Duration::from_secs(2));
    assert_eq!(world.search.limit(), Some(1232));
    world.passes = 1500;
    world.run(Duration::from_secs(7));
    world.found(1420);
}

#[test]
fn what_nobody_asked_is_no_answer() {
    let mut world = World::new(1240);
    world.run(Duration::from_secs(5));
    for number in 0..=u16::MAX {
        if !world.search.asked.iter().any(|(asked, _)| *asked == number) {
            world.search.answered(world.now, number, None);
        }
    }
    world.found(1232);
}

/// The interface's MTU is what may pass at most.
#[test]
fn another_mtu_of_the_interface_begins_it_anew() {
    let mut world = World::new(1500);
    world.run(Duration::from_secs(5));
    world.mtu = 1280;
    world.run(Duration::from_secs(5));
    world.found(1280);
}

#[test]
fn between_two_sizes_are_multiples_of_16_and_few() {
    for good in (576..9000).step_by(16) {
        for bad in [good, good + 1, good + 12, good + 16, good + 17, good + 80, 9200] {
            let sizes = between(good, bad);
            assert!(sizes.len() <= 5 && sizes.is_sorted(), "{good} {bad}: {sizes:?}");
            assert_eq!(sizes.is_empty(), bad <= good + 16, "{good} {bad}: {sizes:?}");
            for size in sizes {
                assert!(good < size && size < bad && size % 16 == 0, "{good} {bad}: {size}");
            }
        }
    }
}
