//! One request over HTTPS, by the system's curl(1). Everything that it is told, the token too,
//! stands in a configuration on its standard input: arguments and environments are everybody's to
//! read. No proxy, no ~/.curlrc and no variable of the user's has a say in where the token goes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zeroize::Zeroizing;

use super::trouble::Trouble;
use crate::sys::child::{self, Broken, Input, Limits};

/// Where it is: whoever is first in a PATH is not given a token.
const PROGRAMS: [&str; 4] =
    ["/usr/bin/curl", "/usr/local/bin/curl", "/bin/curl", "/run/current-system/sw/bin/curl"];
/// Longest answer, its head included.
pub const ANSWER_BYTES: usize = 1024 * 1024;
/// Longest body. An older curl takes no line of a configuration that has 100 KiB.
pub const BODY_BYTES: usize = 48 * 1024;
/// For a connection to stand, at most.
const CONNECT: Duration = Duration::from_secs(10);
/// Beyond its own limit, for a curl that does not keep it.
const SPARE: Duration = Duration::from_secs(3);

/// Holds the token; has no `Debug` for that reason.
pub struct Request<'a> {
    /// Begins with `https://`.
    pub url: &'a str,
    pub token: &'a str,
    /// JSON, which makes it a POST.
    pub body: Option<&'a str>,
    /// Who signs the server's certificate, instead of those whom the system trusts.
    pub ca_file: Option<&'a Path>,
    /// For all of it.
    pub limit: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server answered, whatever that is; a redirect is an answer.
pub fn ask(request: &Request) -> Result<Response, Trouble> {
    let program = PROGRAMS.iter().find(|path| Path::new(path).is_file());
    let program = program.ok_or_else(|| Trouble::NoCurl("it is not installed".to_owned()))?;
    let config = config(request)?;
    let mut command = Command::new(program);
    // The first argument: else ~/.curlrc has been read.
    command.args(["-q", "-K", "-"]).env_clear();
    let limits = Limits { time: request.limit + SPARE, bytes: ANSWER_BYTES };
    let mut input = config.as_bytes();
    let done = child::talk(&mut command, Input::From(&mut input), &mut |_, _| {}, limits);
    let done = done.map_err(|broken| match broken {
        Broken::Slow(_) => Trouble::Slow(request.limit),
        Broken::Loud(most) => Trouble::Loud(most),
        Broken::Start(_) => Trouble::NoCurl(broken.to_string()),
        Broken::Lost(_) | Broken::Stopped => Trouble::Cut(broken.to_string()),
    })?;
    match done.status.code() {
        Some(0) => response(&done.stdout).ok_or_else(|| Trouble::Strange("no HTTP".to_owned())),
        code => Err(trouble(code.unwrap_or_default(), done.complaint(), request.limit)),
    }
}

/// By the exit codes of curl(1).
fn trouble(code: i32, why: String, limit: Duration) -> Trouble {
    match code {
        5..=7 => Trouble::Unreachable(why),
        28 => Trouble::Slow(limit),
        35 | 51 | 53 | 54 | 58..=60 | 64 | 66 | 77 | 80 | 82 | 83 | 90 | 91 => {
            Trouble::Untrusted(why)
        }
        63 => Trouble::Loud(ANSWER_BYTES),
        1..=4 | 26 | 27 | 43 => Trouble::NoCurl(why),
        // Where it is not known whether anything was asked: 18, 52, 55, 56, 92, ...
        _ => Trouble::Cut(why),
    }
}

fn config(request: &Request) -> Result<Zeroizing<String>, Trouble> {
    let Request { url, token, body, ca_file, limit } = request;
    let seconds = |time: Duration| time.as_secs().max(1).to_string();
    let bearer = Zeroizing::new(format!("Authorization: Bearer {token}"));
    // Of one size from the start: no copy of the token is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(2 * BODY_BYTES + 16 * 1024));
    let switches = ["silent", "show-error", "include", "globoff", "tlsv1.2"];
    switches.iter().for_each(|switch| line(&mut text, switch, None));
    let (connect, most) = (seconds((*limit).min(CONNECT)), ANSWER_BYTES.to_string());
    for (option, value) in [
        ("url", *url),
        ("proto", "=https"),
        ("noproxy", "*"),
        ("connect-timeout", &connect),
        ("max-time", &seconds(*limit)),
        ("max-filesize", &most),
        ("header", &bearer),
        ("header", "Accept: application/json"),
        ("header", "Expect:"),
    ] {
        line(&mut text, option, Some(value));
    }
    if let Some(ca_file) = ca_file {
        // And nobody else.
        line(&mut text, "cacert", Some(&ca_file.to_string_lossy()));
        line(&mut text, "capath", Some("/dev/null"));
    }
    if let Some(body) = body {
        if body.len() > BODY_BYTES {
            return Err(Trouble::Full);
        }
        line(&mut text, "header", Some("Content-Type: application/json"));
        line(&mut text, "data-raw", Some(body));
    }
    Ok(text)
}

/// As curl reads it between quotes.
fn line(text: &mut String, option: &str, value: Option<&str>) {
    text.push_str(option);
    if let Some(value) = value {
        text.push_str(" = \"");
        for char in value.chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push('\n');
}

/// The last of the answers: those before it (1xx) say that one comes.
fn response(mut bytes: &[u8]) -> Option<Response> {
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, rest) = bytes.split_at_checked(end)?;
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let first = lines.next().filter(|first| first.starts_with("HTTP/"))?;
        let status: u16 = first.split(' ').nth(1)?.parse().ok()?;
        bytes = rest.get(4..)?;
        if (100..200).contains(&status) {
            continue;
        }
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(field).collect();
        return Some(Response { status, headers, body: bytes.to_vec() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_is_told_is_one_line_each_whatever_is_in_it() {
        let body = "{\"a\":\"b\\\\c\\n\"}";
        let ca_file = Some(Path::new("/a \"b\"\ninsecure"));
        let limit = Duration::from_millis(1);
        let request = Request { url: "https://x", token: "t", body: Some(body), ca_file, limit };
        let text = config(&request).unwrap();
        assert!(!text.lines().any(|line| line == "insecure"), "{}", *text);
        assert!(text.contains("cacert = \"/a \\\"b\\\"\\ninsecure\"\n"), "{}", *text);
        assert!(text.contains("data-raw = \"{\\\"a\\\":\\\"b\\\\\\\\c\\\\n\\\"}\"\n"), "{}", *text);
        assert!(text.contains("max-time = \"1\"\n") && text.contains("proto = \"=https\"\n"));
        let long = "x".repeat(BODY_BYTES + 1);
        assert!(config(&Request { body: Some(&long), ..request }).is_err());
    }

    #[test]
    fn the_last_answer_is_the_answer() {
        let bytes =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 429 \r\nRateLimit-Reset: 7\r\n\r\n{}\r\n\r\n";
        let found = response(bytes).unwrap();
        assert_eq!((found.status, found.body.as_slice()), (429, &b"{}\r\n\r\n"[..]));
        assert_eq!(found.header("ratelimit-reset"), Some("7"));
        for wrong in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"nothing\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(response(wrong), None);
        }
    }
}
