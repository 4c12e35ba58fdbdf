//! Which bridges a workspace of this login declares, as far as this process knows.

use std::sync::{Mutex, PoisonError};

use crate::workspace::manifest::{Bridge, Bridges};

static DECLARED: Mutex<Bridges> = Mutex::new(Bridges::new());

pub fn set(bridges: Bridges) {
    *DECLARED.lock().unwrap_or_else(PoisonError::into_inner) = bridges;
}

pub fn any() -> bool {
    !DECLARED.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

pub fn is(bridge: Bridge) -> bool {
    DECLARED.lock().unwrap_or_else(PoisonError::into_inner).contains(&bridge)
}
