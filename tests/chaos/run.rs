//! Which seeds and which engines a scenario runs with.

use crate::rng::{Rng, surprise};
use crate::site::{Engine, Site};

/// One run of a scenario.
#[derive(Clone, Copy)]
pub struct Run {
    pub name: &'static str,
    pub seed: u64,
    pub ends: [Engine; 2],
    /// Everything at its full length.
    pub full: bool,
}

impl Run {
    /// The stage of this run; `what` tells parts of a scenario apart.
    pub fn site(&self, what: &str, keepalive_s: u16) -> Site {
        Site::new(format!("{} {what}", self.name), self.ends, self.seed, keepalive_s)
    }

    pub fn with(self, ends: [Engine; 2]) -> Run {
        Run { ends, ..self }
    }
}

pub const OURS: [Engine; 2] = [Engine::Hop, Engine::Hop];
pub const TO_STRANGER: [Engine; 2] = [Engine::Hop, Engine::WireguardGo];
pub const FROM_STRANGER: [Engine; 2] = [Engine::WireguardGo, Engine::Hop];

pub fn is_full() -> bool {
    std::env::var("HOP_CHAOS").is_ok_and(|v| v == "full")
}

/// Runs `scene` with a fixed seed; in full also with new ones, and against strangers.
pub fn runs(name: &'static str, fixed: u64, scene: impl Fn(Run)) {
    let full = is_full();
    let ours = |seed| Run { name, seed, ends: OURS, full };
    if let Some(seed) = chosen() {
        return scene(ours(seed));
    }
    scene(ours(fixed));
    if !full {
        return;
    }
    let mut rng = Rng::new(surprise());
    for _ in 1..repeats() {
        scene(ours(rng.next()));
    }
    scene(ours(rng.next()).with(TO_STRANGER));
    scene(ours(rng.next()).with(FROM_STRANGER));
}

/// HOP_SEED, decimal or with 0x.
pub fn chosen() -> Option<u64> {
    let text = std::env::var("HOP_SEED").ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("HOP_SEED={text}: not a number")))
}

fn repeats() -> usize {
    let set = std::env::var("HOP_RUNS").ok().and_then(|n| n.parse().ok());
    set.unwrap_or(3).clamp(1, 1000)
}

/// Runs all parts at the same time; they mostly wait. Fails if one does.
pub fn at_once<T: Send>(parts: Vec<T>, part: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        let part = &part;
        let all: Vec<_> = parts.into_iter().map(|p| scope.spawn(move || part(p))).collect();
        let failed = all.into_iter().filter_map(|t| t.join().err()).count();
        assert_eq!(failed, 0, "parts that failed");
    });
}
