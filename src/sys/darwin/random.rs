//! Randomness of the operating system.

use std::io;

/// As much as one call gives.
const CHUNK: usize = 256;

/// Fill `out`, from a generator that is seeded before the first program runs (R97).
pub fn fill(out: &mut [u8]) -> io::Result<()> {
    for chunk in out.chunks_mut(CHUNK) {
        // SAFETY: the pointer and length describe `chunk`, which is writable for the whole call.
        if unsafe { libc::getentropy(chunk.as_mut_ptr().cast(), chunk.len()) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
