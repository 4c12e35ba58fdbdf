//! What an address leads to that a server wants opened, read as browsers read it (the URL standard
//! of WHATWG): where two readings are possible it is refused, not guessed at.
//!
//! Pure. Bounds: 8 KiB; values in values four deep, 8 ports.

use std::net::Ipv6Addr;

use super::place::{self, Place};

const MOST_BYTES: usize = 8 * 1024;
const DEPTH: usize = 4;
const PORTS: usize = 8;
/// Of an address in a log or a notice.
const SHORT_CHARS: usize = 120;

/// An address of http or https, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    /// In lower case, as it is spelled; of IPv6 with its brackets.
    pub host: String,
    port: Option<u16>,
    /// From the path on, in ASCII.
    tail: String,
    pub place: Place,
}

impl Address {
    /// Or why it is never opened.
    pub fn read(text: &str) -> Result<Address, &'static str> {
        if text.len() > MOST_BYTES {
            return Err("it is longer than 8 KiB");
        }
        // Browsers drop some of them anywhere, and then read another address.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("it holds blanks or control characters");
        }
        // A slash to browsers, and none to others.
        if text.contains('\\') {
            return Err("it holds a backslash");
        }
        let (scheme, rest) = scheme(text).ok_or("only http and https are opened")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).unwrap_or_default();
        if authority.contains('@') {
            return Err("it carries credentials");
        }
        let (host, port) = split(authority)?;
        let host = host.to_lowercase();
        let place = place::of(&host)?;
        Ok(Address { scheme, host, port, tail: in_ascii(tail), place })
    }

    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }

    /// The same at another port.
    pub fn at(self, port: u16) -> Address {
        Address { port: Some(port), ..self }
    }

    /// What a browser is given.
    pub fn text(&self) -> String {
        self.origin() + &self.tail
    }

    /// Scheme, host and port: what may be written down, since what follows can be a secret.
    pub fn origin(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.scheme, self.host)
    }

    /// For a question: a long one is cut.
    pub fn short(&self) -> String {
        short(&self.text())
    }

    /// Ports of this machine that somebody is sent to in the end: those of loopback addresses in
    /// its values, such as an encoded `redirect_uri`.
    pub fn callbacks(&self) -> Vec<u16> {
        let mut found = Vec::new();
        in_values(&self.tail, DEPTH, &mut found);
        found
    }
}

pub fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn scheme(text: &str) -> Option<(&'static str, &str)> {
    ["http", "https"].into_iter().find_map(|scheme| {
        let (head, rest) = text.split_once("://")?;
        (head.eq_ignore_ascii_case(scheme)).then_some((scheme, rest))
    })
}

/// Host and port.
fn split(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, port)) => {
            inner.parse::<Ipv6Addr>().map_err(|_| "its host is no address")?;
            (authority.get(..inner.len() + 2).unwrap_or_default(), port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.len() + port.map_or(0, |port| port.len() + 1) != authority.len() {
        return Err("its port is none");
    }
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let number = |port: &str| port.parse().ok().filter(|port| *port > 0);
    match port {
        None => Ok((host, None)),
        Some(port) => {
            let port = Some(port).filter(digits).and_then(number).ok_or("its port is none")?;
            Ok((host, Some(port)))
        }
    }
}

/// What is not, as browsers write it.
fn in_ascii(tail: &str) -> String {
    let escaped = |byte: u8| match byte.is_ascii_graphic() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    tail.bytes().map(escaped).collect()
}

fn in_values(tail: &str, depth: usize, found: &mut Vec<u16>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for pair in tail.split(['?', '&', ';', '#']) {
        let value = decoded(pair.split_once('=').map_or(pair, |(_, value)| value));
        let Some((_, rest)) = scheme(&value) else { continue };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        match split(authority) {
            Ok((host, Some(port @ 1024..)))
                if place::is_loopback_somehow(&host.to_lowercase())
                    && !found.contains(&port)
                    && found.len() < PORTS =>
            {
                found.push(port);
            }
            _ => {}
        }
        in_values(tail, depth, found);
    }
}

/// Without `%XX`; what is no text then is none.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let mut ahead = rest.clone();
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        Address::read(text).ok().map(|address| address.place)
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let refused = [
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "-",
            "--help",
            "",
            "http:example.org",
            "http:/example.org",
            "http:///example.org",
            "https://",
            "http://user@example.org/",
            "http://user:pw@example.org",
            "http://@example.org",
            "http://example.org\\@127.0.0.1/",
            "http://127.0.0.1\\.example.org/",
            "http://exa\tmple.org/",
            "http://example.org/\n",
            " http://example.org",
            "http://example.org/\u{1b}[2J",
            "http://example.org/a b",
            "http://example.org:/",
            "http://example.org:0/",
            "http://example.org:65536/",
            "http://example.org:+80/",
            "http://example.org:8080:1/",
            "http://[::1/",
            "http://[::1]x/",
            "http://[fe80::1%25eth0]/",
            "http://[127.0.0.1]/",
            "http://%31%32%37.0.0.1/",
            "http://exa<mple.org/",
            "ftp://example.org/",
            "view-source:http://example.org",
            "http://1.2.3.4.5/",
            "http://256.256.256.256/",
            "http://0x/",
            "http://..",
            "http://example..org/",
            "http://a|b/",
            "httpx://example.org",
        ];
        for text in refused {
            assert_eq!(place(text), None, "{text:?}");
        }
        assert!(Address::read(&format!("http://example.org/{}", "a".repeat(9000))).is_err());
    }

    #[test]
    fn addresses_lead_where_browsers_go() {
        let table = [
            ("https://example.org/a?b=c#d", Place::Public),
            ("HTTPS://Example.ORG:8443", Place::Public),
            ("https://xn--mnchen-3ya.example/", Place::Public),
            ("http://93.184.216.34/", Place::Public),
            ("http://[2606:2800:220:1::1]/", Place::Public),
            ("http://localhost:5173/x", Place::Loopback),
            ("http://LOCALHOST./", Place::Loopback),
            ("http://app.localhost:3000", Place::Loopback),
            ("http://127.0.0.1:8080/", Place::Loopback),
            ("http://[::1]:8080/", Place::Loopback),
        ];
        for (text, expected) in table {
            assert_eq!(place(text), Some(expected), "{text}");
        }
        let near = [
            "http://192.168.1.1/",
            "http://10.0.0.1",
            "http://172.16.0.1",
            "http://172.31.9.9:80",
            "http://169.254.169.254/latest",
            "http://100.64.0.1",
            "http://[fe80::1]/",
            "http://[fd00::1]",
            "http://router/",
            "http://printer.local/",
            "http://nas.lan./",
            "http://metadata.google.internal/",
            "http://other.hop/",
            "http://224.0.0.251/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://münchen.example/",
            "http://１２７.0.0.1/",
            "http://ⓛocalhost/",
            "http://127。0。0。1/",
        ];
        for text in near {
            assert!(matches!(place(text), Some(Place::Near(_))), "{text}: {:?}", place(text));
        }
    }

    #[test]
    fn an_address_that_is_spelled_strangely_is_refused() {
        let odd = [
            "http://2130706433/",
            "http://0x7f000001",
            "http://017700000001",
            "http://127.1/",
            "http://0x7f.1",
            "http://127.0.0.2/",
            "http://127.255.255.254",
            "http://0/",
            "http://0.0.0.0:80",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://010.0.0.1/",
            "http://192.168.257/",
            "http://0300.0250.1.1/",
            "http://127.0.0.1./",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:8.8.8.8]/",
            "http://134744072/",
        ];
        for text in odd {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn ports_that_the_answer_comes_to_are_found_wherever_they_stand() {
        let table: [(&str, &[u16]); 9] = [
            ("https://a.example/o?redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth&x=1", &[1455]),
            ("https://a.example/o?x=1&redirect_uri=http://127.0.0.1:54545/callback", &[54545]),
            ("https://a.example/o?r=HTTP%3a%2f%2f%5b%3A%3A1%5d%3a4000%2f", &[4000]),
            // In the value of a value.
            (
                "https://a.example/l?continue=https%3A%2F%2Fb.example%2Fo%3Fredirect_uri%3D\
                 http%253A%252F%252Flocalhost%253A8085%252F",
                &[8085],
            ),
            ("https://a.example/o#redirect_uri=http://2130706433:3000/", &[3000]),
            ("https://a.example/?a=http://localhost:80/&b=http://localhost/", &[]),
            ("https://a.example/?a=http://example.org:3000/&b=localhost:3000", &[]),
            ("https://a.example/?a=http://localhost:1/&b=http://localhost:99999/%zz", &[]),
            ("https://a.example/?a=http://x@localhost:3000/&b=http://localhost:3000/", &[3000]),
        ];
        for (text, expected) in table {
            assert_eq!(Address::read(text).unwrap().callbacks(), expected, "{text}");
        }
        let many: String = (2000..2100).map(|p| format!("&a=http://localhost:{p}/")).collect();
        assert_eq!(
            Address::read(&format!("http://a.example/?{many}")).unwrap().callbacks().len(),
            8
        );
    }

    #[test]
    fn what_is_opened_is_ascii_and_what_is_told_has_no_secret() {
        let address = Address::read("https://Example.org:1/grüße?code=secret").unwrap();
        assert_eq!(address.text(), "https://example.org:1/gr%C3%BC%C3%9Fe?code=secret");
        assert_eq!(address.origin(), "https://example.org:1");
        assert_eq!(address.at(5174).origin(), "https://example.org:5174");
        assert_eq!(short(&"é".repeat(200)).chars().count(), 121);
    }
}
