//! Where laptops answer for ports of this server, as each of them has told last. Kept in memory
//! alone, and as long as the laptop watches what listens here: it tells it again.
//!
//! Bound: 64 laptops; 256 ports that a program is told of when it starts.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rpc::types::ports::Mapped;
use crate::workspace::env::Env;

const LAPTOPS: usize = 64;
const VARIABLES: usize = 256;

/// Of each laptop, by its key; who told last is the last.
static TOLD: Mutex<Vec<(String, Mapped)>> = Mutex::new(Vec::new());

fn told_so_far() -> MutexGuard<'static, Vec<(String, Mapped)>> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn told(laptop: &str, mapped: Mapped) {
    let mut all = told_so_far();
    all.retain(|(known, _)| known != laptop);
    if all.len() >= LAPTOPS {
        all.remove(0);
    }
    all.push((laptop.to_owned(), mapped));
}

/// Laptops that watch, once for each time that they do.
static WATCHING: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// While it is there a laptop watches.
pub struct Watching(String);

impl Watching {
    pub fn begin(laptop: &str) -> Watching {
        WATCHING.lock().unwrap_or_else(PoisonError::into_inner).push(laptop.to_owned());
        Watching(laptop.to_owned())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|laptop| *laptop == self.0) {
            all.swap_remove(at);
        }
        // One that came back before its end was seen is there.
        if !all.contains(&self.0) {
            told_so_far().retain(|(laptop, _)| *laptop != self.0);
        }
    }
}

/// What a program is told that starts now: `HOPBOX_URL_3000=http://localhost:3001`.
pub fn variables(is_meant: impl Fn(u16) -> bool) -> Env {
    let mut env = Env::default();
    let meant = all().ports.into_iter().filter(|(server, _)| is_meant(*server));
    for (server, local) in meant.take(VARIABLES) {
        env.set(format!("HOPBOX_URL_{server}"), format!("http://localhost:{local}"));
    }
    env
}

/// Each port once: as the laptop has it that told of it last.
pub fn all() -> Mapped {
    let all = told_so_far();
    let mut known = BTreeSet::new();
    let ports = all.iter().rev().flat_map(|(_, mapped)| &mapped.ports);
    Mapped { ports: ports.filter(|(server, _)| known.insert(*server)).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_told_last_is_heard() {
        let of = |ports: &[(u16, u16)]| Mapped { ports: ports.to_vec() };
        told("a", of(&[(80, 1080), (81, 1081)]));
        told("b", of(&[(80, 2080)]));
        assert_eq!(all(), of(&[(80, 2080), (81, 1081)]));
        told("a", of(&[(80, 3080)]));
        assert_eq!(all(), of(&[(80, 3080)]));
        (0..2 * LAPTOPS).for_each(|n| told(&n.to_string(), Mapped::default()));
        assert_eq!(told_so_far().len(), LAPTOPS);
        assert_eq!(all(), Mapped::default());
        // In the same test: what is told is told to all of them.
        told("c", of(&[(80, 1080), (81, 1081)]));
        let env = variables(|port| port == 80);
        let env: Vec<_> = env.iter().collect();
        assert_eq!(env, [("HOPBOX_URL_80", "http://localhost:1080")]);
        let first = Watching::begin("c");
        let second = Watching::begin("c");
        drop(first);
        assert_eq!(all().ports.len(), 2, "it is there again");
        drop(second);
        assert_eq!(all(), Mapped::default());
    }
}
