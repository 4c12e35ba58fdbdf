//! Who may ask: the tunnel address and port can be reached by browser pages, other users of the
//! laptop and containers on the VPS. None of them has the token, and a page is refused before.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::backend::{Backend, Caller};
use crate::http;
use crate::http::request::{Head, Refusal};
use crate::rpc::code::Code;

/// Refuses requests that a browser made or that were meant for another server.
///
/// A page can reach us under its own name (DNS rebinding), also under a `.hop` name that some
/// network's DNS gives out, so `Host` must be our address or a name that a laptop gave us; and a
/// page's request from another origin carries `Origin`, which no client of ours sends.
pub fn not_a_page(head: &Head, own: SocketAddrV4, backend: &dyn Backend) -> Result<(), Refusal> {
    match head.only("host")? {
        Some(host) if is_ours(host, own, &|name| backend.is_called(name)) => {}
        Some(_) => {
            let why = "the Host field must be the tunnel address, or the .hop name that a laptop \
                       has given this server (hop upgrade, or hop setup again, gives it)";
            return Err(Refusal::of(403, Code::HostRefused.word(), why));
        }
        None => return Err(Refusal::of(400, http::code::BAD_REQUEST, "the Host field is missing")),
    }
    if head.has("origin") {
        let why = "requests from web pages are refused";
        return Err(Refusal::of(403, Code::OriginRefused.word(), why));
    }
    Ok(())
}

/// Who asks, by the token; refuses requests without one.
pub fn caller(head: &Head, backend: &dyn Backend, from: Ipv4Addr) -> Result<Caller, Refusal> {
    let given = head.only("authorization")?.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim_start_matches(' '))
    });
    given.and_then(|token| backend.caller(token, from)).ok_or_else(|| {
        let why = "the Authorization field must be Bearer and this laptop's token";
        Refusal::of(401, Code::Unauthorized.word(), why).with("WWW-Authenticate", "Bearer")
    })
}

/// The tunnel address or a name that `is_called` knows and `.hop`, without a port or with ours.
fn is_ours(host: &str, own: SocketAddrV4, is_called: &dyn Fn(&str) -> bool) -> bool {
    let port = format!(":{}", own.port());
    let host = host.strip_suffix(&port).unwrap_or(host).to_ascii_lowercase();
    host == own.ip().to_string() || host.strip_suffix(".hop").is_some_and(is_called)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that reaches us has its own name there, however the network's DNS spells ours.
    #[test]
    fn only_our_own_names_are_ours() {
        let own = SocketAddrV4::new(Ipv4Addr::new(10, 10, 0, 2), 4200);
        let is_ours = |host: &str| is_ours(host, own, &|name| ["mybox", "a-1"].contains(&name));
        for host in ["10.10.0.2", "10.10.0.2:4200", "mybox.hop", "MyBox.Hop:4200", "a-1.hop"] {
            assert!(is_ours(host), "{host}");
        }
        let strangers = [
            "",
            ":",
            ":4200",
            "10.10.0.1",
            "10.10.0.2:",
            "10.10.0.2:x",
            "10.10.0.2:80",
            "10.10.0.2:4201",
            "10.10.0.2:04200",
            "10.10.0.2:+4200",
            "10.10.0.2:99999",
            "10.10.0.2:4200:4200",
            "10.10.0.2.",
            "10.10.2",
            "168427522",
            "0x0a0a0002",
            "010.010.0.2",
            "evil.hop",
            "evil.hop:4200",
            "mybox",
            "mybox:4200",
            "mybox.hop.",
            "mybox.hop.:4200",
            "mybox.hop:1",
            "mybox.hop:",
            "mybox.hop:4200:1",
            "mybox.hop evil",
            "mybox.hop,evil.hop",
            "mybox.hop@evil.hop",
            "evil.mybox.hop",
            "mybox.hop.evil.example",
            "mybox.hop.hop",
            "mybox..hop",
            "xn--mybox.hop",
            "\u{212a}.hop",
            ".hop",
            "hop",
            "evil.example",
            "localhost",
            "localhost.hop",
            "127.0.0.1",
            "127.0.0.1:4200",
            "[::1]:4200",
            "[::ffff:10.10.0.2]",
            "[::ffff:10.10.0.2]:4200",
            "::ffff:10.10.0.2",
            "user@10.10.0.2",
            "http://10.10.0.2",
        ];
        for host in strangers {
            assert!(!is_ours(host), "{host}");
        }
    }
}
