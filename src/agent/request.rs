//! Bytes → one HTTP/1.1 request head. Small on purpose: one request per connection, bodies by
//! `Content-Length` only, and anything unusual is refused rather than guessed at, so that no two
//! readers of the same bytes can disagree about where a request ends.

use crate::rpc::{BODY_BYTES, code};

/// Header fields of one request.
const FIELDS: usize = 64;

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
}

fn bad(why: &str) -> Refusal {
    Refusal::of(400, code::BAD_REQUEST, why)
}

/// Request line and header fields. Names are in lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Without the query.
    pub path: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head without the empty line at its end.
    pub fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
        let text = std::str::from_utf8(bytes).map_err(|_| bad("the head is not UTF-8"))?;
        let control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        if first.bytes().any(control) {
            return Err(bad("control characters in the request line"));
        }
        let (method, path) = request_line(first)?;
        let mut fields = Vec::new();
        for line in lines {
            if fields.len() == FIELDS {
                return Err(Refusal::of(431, code::TOO_LARGE, "too many header fields"));
            }
            if line.bytes().any(control) {
                return Err(bad("control characters in a header field"));
            }
            fields.push(field(line)?);
        }
        Ok(Head { method, path, fields })
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    /// The value of a field that may occur once.
    pub fn only(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut found = self.fields.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        match found.next() {
            None => Ok(first),
            Some(_) => Err(bad(&format!("the {name} field occurs twice"))),
        }
    }

    /// Bytes of the body that follows; `None` when no length is given.
    pub fn body_length(&self) -> Result<Option<usize>, Refusal> {
        if self.has("transfer-encoding") {
            let why = "bodies are read by Content-Length only";
            return Err(Refusal::of(501, code::NOT_IMPLEMENTED, why));
        }
        let Some(value) = self.only("content-length")? else { return Ok(None) };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("Content-Length is not a number"));
        }
        match value.parse::<usize>() {
            Ok(length) if length <= BODY_BYTES => Ok(Some(length)),
            _ => {
                let why = format!("a body may have {BODY_BYTES} bytes");
                Err(Refusal::of(413, code::TOO_LARGE, why))
            }
        }
    }
}

fn request_line(line: &str) -> Result<(String, String), Refusal> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line must be method, path and version"));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
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

fn field(line: &str) -> Result<(String, String), Refusal> {
    let Some((name, value)) = line.split_once(':') else {
        return Err(bad("a header field has no colon"));
    };
    // This also refuses folded lines and space before the colon (request smuggling).
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(bad("the name of a header field is not valid"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
