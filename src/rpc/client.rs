//! Asks the agent through the tunnel. Proxies, redirects and the environment's opinions about
//! them are off: the token must reach the agent and nobody else.
//!
//! An address says nothing about who has it: with the tunnel down it is a gateway's, a stranger's
//! in the LAN, or another user's on this machine. So a token goes only through a [`Link`], the
//! interface whose other end has proven its key; and an answer that is to be believed comes from
//! there, too. Who knows the link is `session::through`. Knows no sessions or files.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use zeroize::Zeroizing;

use super::wire::Bound;
use super::{BODY_BYTES, HEAD_BYTES};
use crate::base::json::{Fields, ReadError};
use crate::sys::through::Link;

/// Longest word and longest sentence of an agent's that is kept.
const WORD_CHARS: usize = 64;
const MESSAGE_CHARS: usize = 500;

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
    Remote { code: String, message: String },
}

impl std::fmt::Display for CallError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Unreachable(why) => write!(out, "no connection: {why}"),
            CallError::Timeout(limit) => write!(out, "no answer within {} ms", limit.as_millis()),
            CallError::Protocol(why) => write!(out, "not an agent's answer: {why}"),
            CallError::Remote { code, message } => write!(out, "the agent said {code}: {message}"),
        }
    }
}

/// What `GET /health` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub status: String,
    pub tunnel: bool,
    pub local_ip: Ipv4Addr,
    pub version: String,
}

/// One agent, by where it answers. Holds the token; has no `Debug` for that reason.
pub struct Client {
    base: String,
    /// Where there is a token there is a link: only [`Client::with_token`] sets it.
    token: Option<Zeroizing<String>>,
    link: Option<Link>,
}

impl Client {
    /// Through a tunnel and nothing else.
    pub fn through(link: Link, agent: Ipv4Addr, port: u16) -> Client {
        Client { base: format!("http://{agent}:{port}"), token: None, link: Some(link) }
    }

    /// The same with the token that the agent gave us.
    pub fn with_token(link: Link, agent: Ipv4Addr, port: u16, token: &str) -> Client {
        let token = Some(Zeroizing::new(token.to_owned()));
        Client { token, ..Client::through(link, agent, port) }
    }

    /// Whoever has this address or name, by whatever way: no secret is told, and what is answered
    /// is not to be believed.
    pub fn anybody(host: &str, port: u16) -> Client {
        Client { base: format!("http://{host}:{port}"), token: None, link: None }
    }

    /// `GET /health`, which needs no token. One connection, at most `limit` in all.
    pub fn health(&self, limit: Duration) -> Result<Health, CallError> {
        let answer = self.caller(limit).get(format!("{}/health", self.base)).call();
        let (status, body) = text_of(answer, limit)?;
        if status != 200 {
            return Err(error_in(status, &body));
        }
        read_health(&body).map_err(|error| CallError::Protocol(format!("/health: {error}")))
    }

    /// `POST /rpc` for a method that answers at once; `limit` bounds the whole call.
    pub fn call(&self, method: &str, params: Value, limit: Duration) -> Result<Value, CallError> {
        let request = json!({"method": method, "params": params}).to_string();
        let mut post = self.caller(limit).post(format!("{}/rpc", self.base));
        post = post.header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            post = post.header("Authorization", bearer.as_str());
        }
        let (status, body) = text_of(post.send(request), limit)?;
        let mut fields =
            Fields::parse(&body).map_err(|error| CallError::Protocol(error.to_string()))?;
        match fields.take("result") {
            Some(result) if status == 200 => Ok(result),
            _ => Err(error_in(status, &body)),
        }
    }

    fn caller(&self, limit: Duration) -> Agent {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .max_response_header_size(HEAD_BYTES)
            .timeout_global(Some(limit))
            .user_agent(concat!("hop/", env!("CARGO_PKG_VERSION")))
            .build();
        match self.link {
            None => config.new_agent(),
            Some(link) => {
                let bound = Bound { link, secret: self.token.is_some() };
                Agent::with_parts(config, bound, DefaultResolver::default())
            }
        }
    }
}

type Answer = Result<Response<ureq::Body>, ureq::Error>;

fn text_of(answer: Answer, limit: Duration) -> Result<(u16, String), CallError> {
    let mut answer = answer.map_err(|error| reason(error, limit))?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(BODY_BYTES as u64).read_to_string();
    Ok((status, body.map_err(|error| reason(error, limit))?))
}

fn reason(error: ureq::Error, limit: Duration) -> CallError {
    match error {
        ureq::Error::Timeout(_) => CallError::Timeout(limit),
        ureq::Error::Io(error) => CallError::Unreachable(error.to_string()),
        ureq::Error::HostNotFound => CallError::Unreachable("the name is not known".to_owned()),
        ureq::Error::ConnectionFailed => CallError::Unreachable("connection failed".to_owned()),
        other => CallError::Protocol(other.to_string()),
    }
}

/// The error object of an answer, or what can be said without one. A stranger's text is cut short.
fn error_in(status: u16, body: &str) -> CallError {
    let read = || -> Option<CallError> {
        let mut fields = Fields::parse(body).ok()?;
        let mut error = fields.opt_object("error").ok()??;
        Some(CallError::Remote {
            code: error.meant("code", word).ok()?,
            message: error.string("message").ok()?.chars().take(MESSAGE_CHARS).collect(),
        })
    };
    read().unwrap_or_else(|| CallError::Protocol(format!("HTTP status {status}")))
}

fn read_health(body: &str) -> Result<Health, ReadError> {
    // Later agents may add fields: an answer is read for what we need, a request is read strictly.
    let mut fields = Fields::parse(body)?;
    Ok(Health {
        status: fields.meant("status", word)?,
        tunnel: fields.bool("tunnel")?,
        local_ip: fields.parsed("local_ip", "an IPv4 address")?,
        version: fields.meant("version", word)?,
    })
}

/// A version, or a word of the protocol. It goes on to whoever asks a session, whose answers have
/// a limit.
fn word(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    let fits = (1..=WORD_CHARS).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("must be a word".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_error_object_is_told_from_a_strangers_page() {
        let ours = error_in(401, r#"{"error":{"code":"unauthorized","message":"no token"}}"#);
        assert!(matches!(ours, CallError::Remote { ref code, .. } if code == "unauthorized"));
        let long = json!({"error": {"code": "failed", "message": "m".repeat(100_000)}});
        assert!(error_in(500, &long.to_string()).to_string().len() < 600);
        let page = error_in(502, "<html>secret page</html>").to_string();
        assert_eq!(page, "not an agent's answer: HTTP status 502");
    }
}
