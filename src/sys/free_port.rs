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
            // Without IPv6 there is nothing to see.
            let Ok(listener) = TcpListener::bind((ip, 0)) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{ip}");
            drop(listener);
            assert!(is_free(port), "{ip}");
        }
    }
}
