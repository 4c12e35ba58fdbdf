//! Which vector code is in use, and why: the fastest that gives the right answers.

use super::backend::Backend;
use super::check;
use std::sync::OnceLock;

static CHOICE: OnceLock<(Option<Backend>, &'static str)> = OnceLock::new();

/// What is in use and why, in a few words.
pub fn status() -> &'static str {
    CHOICE.get_or_init(choose).1
}

/// Vector code was there and gave wrong answers: the processor, or what compiled it, is broken.
pub fn is_broken() -> bool {
    status().contains("wrong answers")
}

fn choose() -> (Option<Backend>, &'static str) {
    choose_of(&Backend::all(), check::agrees)
}

pub(super) fn choose_of(
    here: &[Backend],
    agrees: impl Fn(Backend) -> bool,
) -> (Option<Backend>, &'static str) {
    match here.iter().position(|b| agrees(*b)) {
        Some(0) => (Some(here[0]), here[0].name()),
        Some(n) => (Some(here[n]), "not the fastest vector code: that gave wrong answers"),
        None if here.is_empty() => (None, "no vector code for this processor or build"),
        None => (None, "no vector code: it gave wrong answers"),
    }
}

impl Backend {
    /// The fastest one that agrees with the crate; `None` where the crate is to do the work. Looked
    /// for once in a process, in about 0.1 ms.
    pub fn detect() -> Option<Backend> {
        CHOICE.get_or_init(choose).0
    }
}
