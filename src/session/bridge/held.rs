//! Ports that are held at their number for the answer of a page. Pure but for its lock and the
//! clock that it begins by.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::ports::view::MirrorView;
use crate::sys::clock;

const LIFE_MS: u64 = 600_000;
/// A browser comes back for a picture, or for the next page.
const AFTER_MS: u64 = 10_000;

pub struct HeldPort {
    pub port: u16,
    pub since_ms: u64,
    /// Bytes that had come back by then.
    pub bytes: u64,
    pub done_ms: Option<u64>,
}

/// Those that are held.
#[derive(Default)]
pub struct Held(Mutex<Vec<HeldPort>>);

impl Held {
    pub fn all(&self) -> MutexGuard<'_, Vec<HeldPort>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldPort {
    /// From now on.
    pub fn new(view: &MirrorView) -> HeldPort {
        let (since_ms, bytes) = (clock::boot_ms(), view.bytes_down);
        HeldPort { port: view.port, since_ms, bytes, done_ms: None }
    }

    pub fn is_over(&mut self, view: Option<&MirrorView>, now_ms: u64) -> bool {
        if let Some(view) = view {
            match view.connections == 0 && view.bytes_down > self.bytes {
                true => drop(self.done_ms.get_or_insert(now_ms)),
                false => self.done_ms = None,
            }
        }
        let is_late = now_ms.saturating_sub(self.since_ms) >= LIFE_MS;
        is_late || self.done_ms.is_some_and(|done| now_ms.saturating_sub(done) >= AFTER_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ports::view::PortState;

    fn view(connections: u32, bytes_down: u64) -> MirrorView {
        MirrorView {
            port: 1455,
            server: None,
            local: Some(1455),
            why_not: None,
            is_pinned: true,
            state: PortState::Listening,
            bytes_up: 0,
            bytes_down,
            connections,
        }
    }

    #[test]
    fn a_port_is_let_go_after_its_answer_or_after_ten_minutes() {
        let held = || HeldPort { port: 1455, since_ms: 1_000, bytes: 7, done_ms: None };
        let mut one = held();
        assert!(!one.is_over(Some(&view(0, 7)), 500_000), "nobody came yet");
        assert!(!one.is_over(Some(&view(1, 90)), 501_000), "somebody is there");
        assert!(!one.is_over(Some(&view(0, 90)), 502_000));
        assert!(!one.is_over(Some(&view(1, 91)), 503_000), "once more");
        assert!(!one.is_over(Some(&view(0, 99)), 504_000));
        assert!(one.is_over(Some(&view(0, 99)), 514_000));
        let mut unused = held();
        assert!(!unused.is_over(None, 600_999) && unused.is_over(Some(&view(1, 7)), 601_000));
    }
}
