//! Whether a TCP port could be listened at on this machine.

use std::io::ErrorKind;
use std::net::TcpListener;

/// In all the ways in which programs do: one family does not see the other's.
pub fn is_free(port: u16) -> bool {
    let is_taken = |ip: &str| {
        TcpListener::bind((ip, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    };
    !["127.0.0.1", "::1", "0.0.0.0", "::"].into_iter().any(is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_listened_at_is_seen_in_every_way() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            // The kernel gives those below its own to nobody else.
            let first = 10_000 + (std::process::id() % 10_000) as u16;
            let port = (first..).find(|port| is_free(*port)).unwrap();
            // Without IPv6 there is nothing to see.
            let Ok(listener) = TcpListener::bind((ip, port)) else { continue };
            assert!(!is_free(port), "{ip}");
            drop(listener);
            assert!(is_free(port), "{ip}");
        }
    }
}
