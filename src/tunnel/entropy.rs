//! The operating system's randomness, for the protocol and for new keys.

use crate::sys::random;
use crate::wg;
use std::io;
use zeroize::Zeroizing;

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

/// A new private key, clamped.
pub fn generate_key() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    random::fill(&mut key[..])?;
    key[0] &= 248;
    key[31] = (key[31] & 127) | 64;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wg::Entropy;

    #[test]
    fn nothing_is_filled_before_the_generator_was_asked_once() {
        // R97: there is no System without a successful read; later reads differ.
        let mut system = System::new().expect("a seeded generator");
        let (mut one, mut other) = ([0u8; 32], [0u8; 32]);
        system.fill(&mut one);
        system.fill(&mut other);
        assert!(one != other && one != [0; 32]);
    }
}
