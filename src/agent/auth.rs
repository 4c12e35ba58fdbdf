//! Who may ask: the tunnel address and port can be reached by browser pages, other users of the
//! laptop and containers on the VPS. None of them has the token, and a page is refused before.

use std::net::Ipv4Addr;

use super::hub::Caller;
use super::request::{Head, Refusal};
use super::rpc::Desk;
use crate::host::check_name;
use crate::rpc::code;

/// Refuses requests that a browser made or that were meant for another server.
///
/// A page can reach us under its own name (DNS rebinding), so `Host` must be one of ours; and a
/// page's request from another origin carries `Origin`, which no client of ours sends.
pub fn not_a_page(head: &Head, local_ip: Ipv4Addr) -> Result<(), Refusal> {
    match head.only("host")? {
        Some(host) if is_ours(host, local_ip) => {}
        Some(_) => {
            let why = "the Host field must be the tunnel address or a .hop name";
            return Err(Refusal::of(403, code::HOST_REFUSED, why));
        }
        None => return Err(Refusal::of(400, code::BAD_REQUEST, "the Host field is missing")),
    }
    if head.has("origin") {
        let why = "requests from web pages are refused";
        return Err(Refusal::of(403, code::ORIGIN_REFUSED, why));
    }
    Ok(())
}

/// Who asks, by the token; refuses requests without one.
pub fn caller(head: &Head, desk: &dyn Desk, from: Ipv4Addr) -> Result<Caller, Refusal> {
    let given = head.only("authorization")?.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim_start_matches(' '))
    });
    given.and_then(|token| desk.caller(token, from)).ok_or_else(|| {
        let why = "the Authorization field must be Bearer and this laptop's token";
        Refusal::of(401, code::UNAUTHORIZED, why).with("WWW-Authenticate", "Bearer")
    })
}

/// The tunnel address or `<label>.hop`, with or without a port.
fn is_ours(host: &str, local_ip: Ipv4Addr) -> bool {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return false,
        None => host,
    };
    if host.parse() == Ok(local_ip) {
        return true;
    }
    let lower = host.to_ascii_lowercase();
    lower.strip_suffix(".hop").is_some_and(|label| check_name(label).is_ok())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let ip = Ipv4Addr::new(10, 10, 0, 2);
        for host in ["10.10.0.2", "10.10.0.2:4200", "mybox.hop", "MyBox.Hop:4200", "a-1.hop:1"] {
            assert!(is_ours(host, ip), "{host}");
        }
        let strangers = [
            "",
            ":",
            "10.10.0.1",
            "10.10.0.2:",
            "10.10.0.2:x",
            "10.10.0.2:+1",
            "10.10.0.2:99999",
            "010.010.0.2",
            "evil.example",
            "a.b.hop",
            ".hop",
            "hop",
            "mybox.hop.",
            "-a.hop",
            "localhost.hop",
            "127.0.0.1",
            "[::1]:4200",
            "mybox.hop:4200:1",
            "mybox.hop evil",
        ];
        for host in strangers {
            assert!(!is_ours(host, ip), "{host}");
        }
    }
}
