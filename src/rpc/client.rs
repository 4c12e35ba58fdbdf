//! Asks the agent through the tunnel. There are no proxies, redirects or opinions of the
//! environment: the token must reach the agent and nobody else.
//!
//! An address says nothing about who has it: with the tunnel down it is a gateway's, a stranger's
//! in the LAN, or another user's on this machine. So a token goes only through a [`Link`], the
//! interface whose other end has proven its key; and an answer that is to be believed comes from
//! there, too. Who knows the link is `session::through`. A tunnel that has no interface is a
//! [`Way`] of its own. Knows no sessions or files.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::code::Code;
use super::frames::PROTOCOL;
use super::method::{BYTES, Method, RUN_START, Stream};
use super::types::run::Run;
use super::types::{Message, TunnelMode};
use crate::base::field;
use crate::base::json::{Fields, ReadError};
pub use crate::http::client::Canceller;
use crate::http::client::{self, Failed, Lines, Request, Response, Switched};
use crate::http::{BODY_BYTES, code};
use crate::sys::through::{self, Link};

/// Longest sentence of an agent's that is kept.
const MESSAGE_CHARS: usize = 500;

/// The status of an agent that has as many calls as it may have: later it may have fewer.
const BUSY: u16 = 503;
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How an agent call can fail, coarse enough to choose an exit code by.
#[derive(Debug)]
pub enum CallError {
    /// No connection, or it broke: the text says how.
    Unreachable(String),
    /// The time ran out.
    Timeout(Duration),
    /// Something answered, but not as an agent does.
    Protocol(String),
    /// The agent answered with an error of its own.
    Remote { code: Code, word: String, message: String },
}

impl CallError {
    /// An agent that is just being started again, or a way to it that leads nowhere at this moment:
    /// a later try may do.
    pub fn is_passing(&self) -> bool {
        match self {
            CallError::Unreachable(_) | CallError::Timeout(_) => true,
            CallError::Remote { code, .. } => *code == Code::WorkAbsent,
            CallError::Protocol(_) => false,
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Unreachable(why) => write!(out, "no connection: {why}"),
            CallError::Timeout(limit) => write!(out, "no answer within {} ms", limit.as_millis()),
            CallError::Protocol(why) => write!(out, "not an agent's answer: {why}"),
            CallError::Remote { word, message, .. } => {
                write!(out, "the agent said {word}: {message}")
            }
        }
    }
}

/// What `GET /health` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub status: String,
    pub tunnel: bool,
    pub tunnel_mode: TunnelMode,
    pub local_ip: Ipv4Addr,
    pub version: String,
}

/// A way to one agent and nobody else, whose other end has proven its key.
pub trait Way: Send + Sync {
    fn connect(&self, to: SocketAddrV4, limit: Duration) -> std::io::Result<TcpStream>;
}

/// One agent, by where it answers. Holds the token; has no `Debug` for that reason.
pub struct Client {
    at: SocketAddrV4,
    host: String,
    /// Where there is a token there is a link, or a way: only [`Client::with_token`] and
    /// [`Client::by_way`] set it.
    token: Option<Zeroizing<String>>,
    link: Option<Link>,
    way: Option<Box<dyn Way>>,
}

impl Client {
    /// Through a tunnel and nothing else.
    pub fn through(link: Link, agent: Ipv4Addr, port: u16) -> Client {
        Client { link: Some(link), ..Client::anybody(&agent.to_string(), agent, port) }
    }

    /// The same with the token that the agent gave us.
    pub fn with_token(link: Link, agent: Ipv4Addr, port: u16, token: &str) -> Client {
        let token = Some(Zeroizing::new(token.to_owned()));
        Client { token, ..Client::through(link, agent, port) }
    }

    /// The same by another way than an interface. [`Client::begin`] has none then.
    pub fn by_way(way: Box<dyn Way>, agent: Ipv4Addr, port: u16, token: &str) -> Client {
        let token = Some(Zeroizing::new(token.to_owned()));
        Client { token, way: Some(way), ..Client::anybody(&agent.to_string(), agent, port) }
    }

    /// Whoever has this address, called by this name, by whatever way: no secret is told, and what
    /// is answered is not to be believed.
    pub fn anybody(name: &str, ip: Ipv4Addr, port: u16) -> Client {
        let host = format!("{name}:{port}");
        Client { at: SocketAddrV4::new(ip, port), host, token: None, link: None, way: None }
    }

    /// `GET /health`, which needs no token. One connection, at most `limit` in all.
    pub fn health(&self, limit: Duration) -> Result<Health, CallError> {
        let (status, body) = self.ask("GET", "/health", None, limit).and_then(text)?;
        if status != 200 {
            return Err(error_in(status, &body));
        }
        read_health(&body).map_err(|error| CallError::Protocol(format!("/health: {error}")))
    }

    /// `POST /rpc`; `limit` bounds the whole call.
    pub fn call<M: Method>(
        &self,
        _: M,
        params: &M::Params,
        limit: Duration,
    ) -> Result<M::Answer, CallError> {
        let request = request::<M>(params);
        let (status, body) = self.ask("POST", "/rpc", Some(&request), limit).and_then(text)?;
        if status == 200 { answer_in::<M>(&body) } else { Err(error_in(status, &body)) }
    }

    /// `POST /rpc` for a method that streams; `limit` is for its beginning. Dropped, it ends.
    pub fn open<S: Stream>(
        &self,
        _: S,
        params: &S::Params,
        limit: Duration,
    ) -> Result<Events<S>, CallError> {
        let request = json!({"method": S::NAME, "params": params.to_json()}).to_string();
        let (response, limit) = self.ask("POST", "/rpc", Some(&request), limit)?;
        if response.is_stream() {
            return Ok(Events {
                lines: response.lines(),
                ended: false,
                result: None,
                of: PhantomData,
            });
        }
        let (status, body) = text((response, limit))?;
        Err(error_in(status, &body))
    }

    /// A connection on which frames cross (`frames`), and what has come on it already; `limit` is
    /// for its beginning.
    pub fn run(&self, run: &Run, limit: Duration) -> Result<(TcpStream, Vec<u8>), CallError> {
        self.switch(PROTOCOL, RUN_START, run, limit)
    }

    /// A connection on which bytes cross both ways, by a method that leads to such; likewise.
    pub fn bytes(
        &self,
        method: &str,
        params: &impl Message,
        limit: Duration,
    ) -> Result<(TcpStream, Vec<u8>), CallError> {
        self.switch(BYTES, method, params, limit)
    }

    /// The beginning of such a connection for who does not wait: it is being made, and what is to
    /// be said on it. The answer is for [`switched`].
    pub fn begin(
        &self,
        method: &str,
        params: &impl Message,
    ) -> std::io::Result<(OwnedFd, Zeroizing<String>)> {
        let link = self.link.ok_or(ErrorKind::NotConnected)?;
        let body = json!({"method": method, "params": params.to_json()}).to_string();
        let request = Request {
            method: "POST",
            path: "/rpc",
            host: &self.host,
            bearer: self.token.as_ref().map(|token| token.as_str()),
            upgrade: Some(BYTES),
            body: Some(&body),
        };
        Ok((through::begin(link, self.at)?, request.to_text()))
    }

    fn switch(
        &self,
        protocol: &'static str,
        method: &str,
        params: &impl Message,
        limit: Duration,
    ) -> Result<(TcpStream, Vec<u8>), CallError> {
        let request = json!({"method": method, "params": params.to_json()}).to_string();
        let asked = self.ask_for("POST", "/rpc", Some(&request), Some(protocol), limit)?;
        match asked.0.switched(protocol) {
            Ok(connection) => Ok(connection),
            Err(response) => {
                let (status, body) = text((response, limit))?;
                Err(error_in(status, &body))
            }
        }
    }

    fn ask(
        &self,
        method: &'static str,
        path: &'static str,
        body: Option<&str>,
        limit: Duration,
    ) -> Result<(Response, Duration), CallError> {
        self.ask_for(method, path, body, None, limit)
    }

    fn ask_for(
        &self,
        method: &'static str,
        path: &'static str,
        body: Option<&str>,
        upgrade: Option<&'static str>,
        limit: Duration,
    ) -> Result<(Response, Duration), CallError> {
        let length = body.map_or(0, str::len);
        if length > BODY_BYTES {
            return Err(too_long(length));
        }
        let end = Instant::now() + limit;
        let failed = |failed: Failed| reason(failed, limit);
        let mut pause = PAUSE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let stream = self.connect(left).map_err(|error| failed(error.into()))?;
            let bearer = self.token.as_ref().map(|token| token.as_str());
            let request = Request { method, path, host: &self.host, bearer, upgrade, body };
            let response = client::ask(stream, &request, end).map_err(failed)?;
            // Who is busy has not begun with it.
            if response.status != BUSY || Instant::now() + pause >= end {
                return Ok((response, limit));
            }
            drop(response);
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn connect(&self, limit: Duration) -> std::io::Result<TcpStream> {
        if let Some(way) = &self.way {
            return way.connect(self.at, limit);
        }
        let Some(link) = self.link else {
            return TcpStream::connect_timeout(&self.at.into(), limit);
        };
        match through::connect(link, self.at, limit) {
            // Without a secret a system that lets no user name the interface (Linux before 5.7)
            // may go by the address alone.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.token.is_none() => {
                through::connect_from(link.local, self.at, limit)
            }
            outcome => outcome,
        }
    }
}

/// What a method that streams sends.
pub struct Events<S> {
    lines: Lines,
    ended: bool,
    result: Option<Value>,
    of: PhantomData<S>,
}

impl<S: Stream> Events<S> {
    /// The next event; `None` after the last one, if it ended well. Waits as long as the agent
    /// lives, which it says every few seconds.
    pub fn next_event(&mut self) -> Result<Option<S::Event>, CallError> {
        if self.ended {
            return Ok(None);
        }
        let protocol = |error: ReadError| CallError::Protocol(error.to_string());
        let line = self.lines.next_line().map_err(|failed| reason(failed, client::SILENCE))?;
        let Some(line) = line else {
            return Err(CallError::Unreachable("it was cut off".to_owned()));
        };
        let mut fields = Fields::parse(&line).map_err(protocol)?;
        if let Some(event) = fields.take("event") {
            return S::Event::of(event).map(Some).map_err(protocol);
        }
        self.ended = true;
        self.result = fields.take("result");
        if self.result.is_some() { Ok(None) } else { Err(error_in(200, &line)) }
    }

    /// What it ended with, after the last event.
    pub fn result(&mut self) -> Option<Value> {
        self.result.take()
    }

    /// Ends it from another thread.
    pub fn canceller(&self) -> std::io::Result<Canceller> {
        self.lines.canceller()
    }
}

/// What the beginning of an answer to [`Client::begin`] says: from which byte on the connection
/// is the caller's, once that is known.
pub fn switched(bytes: &[u8]) -> Result<Option<usize>, CallError> {
    match client::switched(bytes, BYTES).map_err(|failed| reason(failed, Duration::ZERO))? {
        Switched::Unknown => Ok(None),
        Switched::At(bytes) => Ok(Some(bytes)),
        Switched::Refused(status, body) => Err(error_in(status, &body)),
    }
}

/// What no agent reads is not sent.
fn too_long(bytes: usize) -> CallError {
    let message = format!("it has {bytes} bytes, and a host takes {BODY_BYTES} at once");
    CallError::Remote { code: Code::BadParams, word: code::TOO_LARGE.to_owned(), message }
}

/// The text of a call.
pub fn request<M: Method>(params: &M::Params) -> String {
    json!({"method": M::NAME, "params": params.to_json()}).to_string()
}

fn text((response, limit): (Response, Duration)) -> Result<(u16, String), CallError> {
    let status = response.status;
    Ok((status, response.text().map_err(|failed| reason(failed, limit))?))
}

fn reason(failed: Failed, limit: Duration) -> CallError {
    match failed {
        Failed::Lost(error) => CallError::Unreachable(error.to_string()),
        Failed::Late => CallError::Timeout(limit),
        Failed::NotHttp(why) => CallError::Protocol(why),
    }
}

/// What a method answered, or why it did not.
pub fn answer_in<M: Method>(text: &str) -> Result<M::Answer, CallError> {
    let protocol = |error: ReadError| CallError::Protocol(error.to_string());
    let mut fields = Fields::parse(text).map_err(protocol)?;
    match (fields.take("result"), fields.opt_object("error").map_err(protocol)?) {
        (Some(result), None) => M::Answer::of(result).map_err(protocol),
        (None, Some(mut error)) => Err(refusal_in(&mut error).unwrap_or_else(protocol)),
        _ => Err(CallError::Protocol("it is neither a result nor an error".to_owned())),
    }
}

/// An agent's error object. A stranger's text is cut short.
pub fn refusal_in(error: &mut Fields) -> Result<CallError, ReadError> {
    let word = error.meant("code", field::word)?;
    let message = error.string("message")?.chars().take(MESSAGE_CHARS).collect();
    Ok(CallError::Remote { code: Code::of(&word), word, message })
}

/// The error object of an answer, or what can be said without one.
fn error_in(status: u16, body: &str) -> CallError {
    let read = || -> Option<CallError> {
        let mut error = Fields::parse(body).ok()?.opt_object("error").ok()??;
        refusal_in(&mut error).ok()
    };
    read().unwrap_or_else(|| CallError::Protocol(format!("HTTP status {status}")))
}

fn read_health(body: &str) -> Result<Health, ReadError> {
    // Later agents may add fields: an answer is read for what we need, a request is read strictly.
    let mut fields = Fields::parse(body)?;
    Ok(Health {
        status: fields.meant("status", field::word)?,
        tunnel: fields.bool("tunnel")?,
        tunnel_mode: TunnelMode::read(&mut fields),
        local_ip: fields.parsed("local_ip", "an IPv4 address")?,
        version: fields.meant("version", field::word)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn who_is_busy_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let body = r#"{"status":"ok","tunnel":true,"local_ip":"10.10.0.2","version":"9"}"#;
            let busy = r#"{"error":{"code":"busy","message":"too many connections"}}"#;
            let answers = [(503, busy), (503, busy), (200, body)].into_iter();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                stream.write_all((head + "\r\n" + body).as_bytes()).unwrap();
            }
        });
        let client = Client::anybody("x", Ipv4Addr::LOCALHOST, port);
        assert_eq!(client.health(Duration::from_secs(30)).unwrap().version, "9");
        server.join().unwrap();
    }

    #[test]
    fn health_is_read_with_fields_of_later_versions() {
        let body = r#"{"status":"ok","tunnel":true,"local_ip":"10.10.0.2","version":"9","x":1}"#;
        let health = read_health(body).unwrap();
        assert_eq!((health.tunnel, health.local_ip), (true, Ipv4Addr::new(10, 10, 0, 2)));
        assert!(read_health(r#"{"status":"ok"}"#).is_err());
        for bad in ["", "1 2", "1\u{1b}[2J", &"9".repeat(65)] {
            let body =
                json!({"status": "ok", "tunnel": true, "local_ip": "10.10.0.2", "version": bad});
            assert!(read_health(&body.to_string()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn where_a_connection_is_ours_is_known_once_its_head_is_there() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: hopbox-bytes\r\n\r\n";
        for cut in 0..answer.len() {
            assert!(matches!(switched(&answer[..cut]), Ok(None)), "{cut}");
        }
        let with_more = [&answer[..], b"\0\r\n\r\n"].concat();
        assert_eq!(switched(&with_more).unwrap(), Some(answer.len()));
        let other = String::from_utf8_lossy(answer).replace("bytes", "run");
        assert!(matches!(switched(other.as_bytes()), Err(CallError::Protocol(_))));
        let error = r#"{"error":{"code":"not_found","message":"nobody listens there"}}"#;
        let head = format!("HTTP/1.1 404 X\r\nContent-Length: {}\r\n\r\n", error.len());
        let refused = head + error;
        for cut in 0..refused.len() {
            assert!(matches!(switched(&refused.as_bytes()[..cut]), Ok(None)), "{cut}");
        }
        let refused = switched(refused.as_bytes()).unwrap_err();
        assert!(matches!(refused, CallError::Remote { code: Code::NotFound, .. }));
        for bad in [&b"SSH-2.0-x\r\n\r\n"[..], &[b'x'; 100_000]] {
            assert!(matches!(switched(bad), Err(CallError::Protocol(_))));
        }
    }

    #[test]
    fn an_error_object_is_told_from_a_strangers_page() {
        let ours = error_in(401, r#"{"error":{"code":"unauthorized","message":"no token"}}"#);
        assert!(matches!(ours, CallError::Remote { code: Code::Unauthorized, .. }));
        let long = json!({"error": {"code": "failed", "message": "m".repeat(100_000)}});
        assert!(error_in(500, &long.to_string()).to_string().len() < 600);
        let page = error_in(502, "<html>secret page</html>").to_string();
        assert_eq!(page, "not an agent's answer: HTTP status 502");
    }
}
