//! Bytes → one HTTP/1.1 request head. Small on purpose: one request per connection, bodies by
//! `Content-Length` only, and anything unusual is refused rather than guessed at, so that no two
//! readers of the same bytes can disagree about where a request ends.

use super::head::{self, HeadError, Headers};
use super::{BODY_BYTES, code};

/// A request that is not done: HTTP status, error code, reason, and header fields to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub why: String,
    pub fields: Vec<(&'static str, &'static str)>,
}

impl Refusal {
    pub fn of(status: u16, code: &'static str, why: impl Into<String>) -> Refusal {
        Refusal { status, code, why: why.into(), fields: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &'static str) -> Refusal {
        self.fields.push((name, value));
        self
    }

    /// What is here works with other methods of HTTP only.
    pub fn wrong_method(allowed: &'static str) -> Refusal {
        let why = format!("only {allowed} works here");
        Refusal::of(405, code::METHOD_NOT_ALLOWED, why).with("Allow", allowed)
    }

    pub fn busy() -> Refusal {
        Refusal::of(503, code::BUSY, "too many connections")
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Refusal {
        match error {
            HeadError::TooManyFields => Refusal::of(431, code::TOO_LARGE, "too many header fields"),
            HeadError::Bad(why) => bad(why),
            HeadError::Twice => bad("a header field occurs twice"),
        }
    }
}

fn bad(why: &str) -> Refusal {
    Refusal::of(400, code::BAD_REQUEST, why)
}

/// Request line and header fields.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Without the query.
    pub path: String,
    fields: Headers,
}

impl Head {
    /// Reads a head without the empty line at its end.
    pub fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
        let (first, fields) = head::parse(bytes)?;
        let (method, path) = request_line(first)?;
        Ok(Head { method, path, fields })
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.has(name)
    }

    /// The value of a field that may occur once.
    pub fn only(&self, name: &str) -> Result<Option<&str>, Refusal> {
        Ok(self.fields.only(name)?)
    }

    /// The body that follows a request that must have one.
    pub fn body(&self) -> Result<Body, Refusal> {
        let length = self.body_length()?.ok_or_else(|| {
            Refusal::of(411, code::LENGTH_REQUIRED, "the Content-Length field is missing")
        })?;
        let asks = match self.only("expect")? {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("100-continue") => true,
            Some(_) => {
                return Err(Refusal::of(417, code::NOT_IMPLEMENTED, "that cannot be expected"));
            }
        };
        Ok(Body { length, asks })
    }

    /// Bytes of the body that follows; `None` when no length is given.
    pub fn body_length(&self) -> Result<Option<usize>, Refusal> {
        if self.has("transfer-encoding") {
            let why = "bodies are read by Content-Length only";
            return Err(Refusal::of(501, code::NOT_IMPLEMENTED, why));
        }
        let length = self.fields.content_length()?;
        if length.is_some_and(|length| length > BODY_BYTES) {
            let why = format!("a body may have {BODY_BYTES} bytes");
            return Err(Refusal::of(413, code::TOO_LARGE, why));
        }
        Ok(length)
    }
}

/// A body that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub length: usize,
    /// The client waits to be told that it is wanted.
    pub asks: bool,
}

fn request_line(line: &str) -> Result<(String, String), Refusal> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line must be method, path and version"));
    };
    if method.is_empty() || !method.bytes().all(head::is_token) {
        return Err(bad("the method is not valid"));
    }
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err(match version.starts_with("HTTP/") {
            true => Refusal::of(505, code::NOT_IMPLEMENTED, "HTTP/1.1 is spoken here"),
            false => bad("the version is not HTTP"),
        });
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("the path must begin with /"));
    }
    let path = target.split('?').next().unwrap_or_default();
    Ok((method.to_owned(), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match Head::parse(head.as_bytes()).and_then(|head| head.body_length()) {
            Ok(_) => 200,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn a_head_is_read() {
        let head = Head::parse(b"POST /rpc?x=1 HTTP/1.1\r\nHost: a\r\nContent-LENGTH:\t 7 ")
            .unwrap_or_else(|_| panic!());
        assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/rpc"));
        assert_eq!(head.only("host").ok().flatten(), Some("a"));
        assert_eq!(head.body_length().ok().flatten(), Some(7));
    }

    #[test]
    fn anything_unusual_is_refused() {
        let table = [
            ("", 400),
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET / HTTP/1.1 x", 400),
            ("GET / HTTP/2.0", 505),
            ("GET / ICY/1.0", 400),
            ("GET http://a/ HTTP/1.1", 400),
            ("GET /\u{e4} HTTP/1.1", 400),
            ("G@T / HTTP/1.1", 400),
            ("GET /\u{0} HTTP/1.1", 400),
            ("GET / HTTP/1.1\nHost: a", 400),
            ("GET / HTTP/1.1\r\nHost", 400),
            ("GET / HTTP/1.1\r\nHost : a", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded", 400),
            ("GET / HTTP/1.1\r\nHost: a\nX: b", 400),
            ("GET / HTTP/1.1\r\n: a", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1", 400),
            ("GET / HTTP/1.1\r\nContent-Length: +1", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1, 1", 400),
            ("GET / HTTP/1.1\r\nContent-Length: ", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1048577", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 501),
        ];
        for (head, expected) in table {
            assert_eq!(status(head), expected, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1{}", "\r\na: b".repeat(65));
        assert_eq!(status(&many), 431);
        assert_eq!(
            Head::parse(b"GET / HTTP/1.1\r\na: \xff").err().map(|refusal| refusal.status),
            Some(400)
        );
    }
}
