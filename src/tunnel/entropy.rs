//! The operating system's randomness for the protocol.

use crate::sys::random;
use crate::wg;
use std::io;

pub(super) struct System(());

impl System {
    /// Waits until the generator is seeded (R97); fails where the system has none.
    pub fn new() -> io::Result<System> {
        random::fill(&mut [0u8; 32])?;
        Ok(System(()))
    }
}

impl wg::Entropy for System {
    fn fill(&mut self, out: &mut [u8]) {
        if random::fill(out).is_err() {
            // It worked at the start. Going on with predictable keys is the one thing not to do.
            std::process::abort();
        }
    }
}
