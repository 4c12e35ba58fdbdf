//! Tables in the manner of the kernel's and wireguard-go's counter tests, then a set as model.
//! The window's size is told again here: 8192 bits, of which 8128 can be relied on (R56).

use std::collections::BTreeSet;

use super::*;

const USABLE: u64 = 8128;
const LIMIT: u64 = u64::MAX - 8192;

/// Each step is a counter and whether it is taken; a fresh window for each table.
fn run(name: &str, steps: impl IntoIterator<Item = (u64, bool)>) {
    let mut w = Window::default();
    for (n, (counter, taken)) in steps.into_iter().enumerate() {
        assert_eq!(w.accept(counter), taken, "{name}: step {n}, counter {counter}");
    }
}

#[test]
fn hand_chosen_steps() {
    // R56
    let t = USABLE + 1;
    run("small", [(0, true), (1, true), (1, false), (9, true), (8, true), (7, true), (7, false)]);
    run("first is not zero", [(5, true), (0, true), (5, false), (0, false), (4, true)]);
    run(
        "window edge",
        [
            (t, true),
            (t - 1, true),
            (t - 1, false),
            (t - 2, true),
            (2, true),
            (2, false),
            (t + 16, true),
            // 16 + 1 back from the edge is gone, one above it is not.
            (3, false),
            (t + 16, false),
            (t * 4, true),
            (t * 4 - USABLE, true),
            (10, false),
            (t * 4 - USABLE - 1, false),
            (t * 4 - USABLE + 1, true),
            (t * 4 - USABLE, false),
            (t * 4 + 1, true),
            (t * 4 - USABLE + 1, false),
            (0, false),
        ],
    );
    run(
        "limit",
        [
            (LIMIT, false),
            (u64::MAX, false),
            (0, true),
            (LIMIT - 1, true),
            (LIMIT, false),
            (LIMIT - 1, false),
            (LIMIT - 2, true),
            (LIMIT + 1, false),
            (LIMIT - 1 - USABLE, true),
            (LIMIT - 2 - USABLE, false),
            (u64::MAX, false),
            (LIMIT - 2, false),
            (0, false),
        ],
    );
}

#[test]
fn a_refused_counter_moves_nothing() {
    // R53 R56: the limit and beyond do not advance the window.
    run("limit first", [(LIMIT, false), (u64::MAX, false), (0, true), (1, true)]);
    run("too old", [(20_000, true), (1, false), (20_000 - USABLE, true), (20_001, true)]);
}

#[test]
fn forward_then_everything_again() {
    // R56
    let n = 3 * WINDOW_BITS;
    run("forward", (0..n).map(|c| (c, true)).chain((0..n).map(|c| (c, false))));
}

#[test]
fn backward_from_the_newest() {
    // R56: the whole usable window and not one more.
    for newest in [USABLE, 8191, 8192, 8193, 100_000, 100_031, LIMIT - 1] {
        let oldest = newest - USABLE;
        let down = (oldest..=newest).rev().map(|c| (c, true));
        let below = (oldest.saturating_sub(100)..oldest).rev().map(|c| (c, false));
        let again = (oldest..=newest).rev().map(|c| (c, false));
        run("backward", down.chain(below).chain(again));
    }
}

#[test]
fn gaps_around_word_and_window_borders() {
    // R56: jump from every phase of a word; what was skipped can still come, what was seen cannot.
    let gaps = [
        1, 2, 63, 64, 65, 127, 128, 129, 4096, 8063, 8064, 8065, 8127, 8128, 8129, 8191, 8192,
        8193, 8255, 8256, 8257, 16_383, 16_384, 16_385,
    ];
    for gap in gaps {
        for phase in (0..130).chain(8060..8260) {
            let newest = phase + gap;
            let mut w = Window::default();
            assert!(w.accept(phase) && w.accept(newest), "gap {gap} phase {phase}");
            assert!(!w.accept(newest), "gap {gap} phase {phase}");
            assert!(!w.accept(phase), "seen or too old: gap {gap} phase {phase}");
            let skipped = BTreeSet::from([phase + 1, phase + gap / 2, newest - 1]);
            for skipped in skipped.into_iter().filter(|s| phase < *s && *s < newest) {
                let twice = [w.accept(skipped), w.accept(skipped)];
                let fresh = newest - skipped <= USABLE;
                assert_eq!(twice, [fresh, false], "gap {gap} phase {phase} skipped {skipped}");
            }
        }
    }
}

#[test]
fn old_words_are_cleared_when_the_ring_comes_round() {
    // R56: bits of counters one ring earlier must not make fresh ones look seen.
    for jump in [1, 63, 64, 65, USABLE, WINDOW_BITS - 1, WINDOW_BITS, WINDOW_BITS + 1, 1 << 40] {
        let mut w = Window::default();
        for c in 0..WINDOW_BITS {
            assert!(w.accept(c));
        }
        let newest = WINDOW_BITS - 1 + jump;
        assert!(w.accept(newest));
        for c in (WINDOW_BITS.max(newest - USABLE)..newest).rev() {
            assert!(w.accept(c), "jump {jump}: {c} was never seen");
        }
    }
}

#[test]
fn far_jumps_take_bounded_work() {
    // R56: a loop over each skipped word would need 2^52 steps a jump, that is, for ever.
    let mut w = Window::default();
    let step = LIMIT / 4096;
    for n in 0..4096 {
        assert!(w.accept(n * step), "jump {n}");
    }
    assert!(w.accept(LIMIT - 1));
}

/// SplitMix64: a seed makes the whole run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What the window should do, remembered in full.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
}

impl Model {
    fn accept(&mut self, counter: u64) -> bool {
        let newest = self.seen.last().copied().unwrap_or(0);
        counter < LIMIT && newest.saturating_sub(counter) <= USABLE && self.seen.insert(counter)
    }
}

#[test]
fn random_traffic_against_a_set() {
    // R56
    for seed in 0..60 {
        let mut r = Random(seed);
        let (mut window, mut model) = (Window::default(), Model::default());
        let mut at = [0, 60, 8100, LIMIT - 30_000][seed as usize % 4];
        for step in 0..4000 {
            let spread = [3, 70, 700, 8200, 17_000][r.below(5) as usize];
            let counter = match r.below(20) {
                0..8 => at.saturating_add(1 + r.below(3)),
                8..17 => at.saturating_sub(r.below(spread)),
                17..19 => at.saturating_add(r.below(spread)),
                // Rarely anywhere, so that the run does not end at the limit at once.
                _ if r.below(200) == 0 => at.saturating_add(r.below(1 << (20 + seed % 40))),
                _ => at.saturating_sub(USABLE - 2 + r.below(5)),
            };
            let want = model.accept(counter);
            assert_eq!(window.accept(counter), want, "seed {seed} step {step} counter {counter}");
            if want {
                at = at.max(counter);
            }
        }
    }
}
