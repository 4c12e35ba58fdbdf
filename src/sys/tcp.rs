//! What of a TCP connection the standard library has no word for.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// A connection of which the other side acknowledges nothing for so long has ended. The kernel's
/// own limit is a number of tries, some 15 minutes of them.
#[cfg(target_os = "linux")]
pub fn end_unacknowledged(stream: &TcpStream, after: Duration) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    let ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(stream, sockopt::TcpUserTimeout, &ms)?)
}

#[cfg(all(test, target_os = "linux"))]
pub fn unacknowledged_limit(stream: &TcpStream) -> io::Result<Duration> {
    use nix::sys::socket::{getsockopt, sockopt};
    let ms = getsockopt(stream, sockopt::TcpUserTimeout)?;
    Ok(Duration::from_millis(ms.into()))
}

/// Servers alone want it, which are none of this system's.
#[cfg(target_os = "macos")]
pub fn end_unacknowledged(_: &TcpStream, _: Duration) -> io::Result<()> {
    Ok(())
}
