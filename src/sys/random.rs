//! Randomness of the operating system.

use std::io;

/// Fill `out`. Blocks until the system's generator has been seeded (R97), which is a matter of the
/// first moments after boot; never hands out weaker bytes instead.
pub fn fill(mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        // SAFETY: the pointer and length describe `out`, which is writable for the whole call.
        let n = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => out = out.get_mut(n..).unwrap_or_default(),
            Err(_) => {
                let e = io::Error::last_os_error();
                if e.kind() != io::ErrorKind::Interrupted {
                    return Err(e);
                }
            }
        }
    }
    Ok(())
}
