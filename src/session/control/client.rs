//! What other programs ask a host's session. What is at a socket of its is believed after a look at
//! it: the directory is this user's own and nobody else can enter it, and so is who listens. A
//! directory of somebody else's, such as one that lay in wait in /tmp, is none of ours.
//!
//! Bounds: an answer of 64 KiB; a time for each question, of `limits`.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::server;
use crate::base::json::Fields;
use crate::base::line_socket;
use crate::host::paths::{self, Paths};
use crate::session::limits;
use crate::session::path_mtu::PathMtu;
use crate::session::report::Facts;
use crate::session::transport::Told;
use crate::sys::line::Lines;

const ANSWER_BYTES: usize = 64 * 1024;

/// What the live session of a host finds when it looks at every layer, or `{"state":"starting"}`
/// with host and pid; `None` when there is no session. The keys, which stay:
///
/// | key | value |
/// |---|---|
/// | `state` | `starting`, `up`, or `degraded` when a layer is broken |
/// | `host`, `name`, `pid`, `up_s` | of the host and its session |
/// | `interface`, `local_ip`, `peer_ip`, `listen_port` | of the tunnel on this machine |
/// | `endpoint`, `endpoint_name` | the address for UDP, and what the host file calls it |
/// | `transport` | `{choice, rung, why, ssh_failed, ssh_fix}`: the way in use, or null for none |
/// | `path_mtu` | `{mtu, interface, answered, sought, outer}` of the longest packet, or null |
/// | `agent_version`, `connected`, `last_healthy` | by `GET /health`; the moment is RFC 3339 |
/// | `tunnel_mode` | `kernel` or `userspace`: what the server's end is, by the same |
/// | `rtt_ms` | of the last question to the agent, null when it had no answer |
/// | `handshake_age_s`, `handshake_rtt_ms` | of the last handshake, or null |
/// | `rival` | whether another machine seems to use our key |
/// | `rx_bytes`, `tx_bytes`, `drops` | traffic, and packets dropped by reason |
/// | `layers` | `{layer, ok, detail}`: helper, interface, route, handshake, agent, name |
/// | `broken` | the first broken layer, or null |
/// | `events` | the newest 20, oldest first: `{at, at_unix, what}` |
pub fn status(paths: &Paths, host: &str) -> io::Result<Option<Value>> {
    ask(paths, host, "status", limits::STATUS)
}

/// What programs decide on of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub is_starting: bool,
    pub interface: String,
    pub handshake_age: Option<Duration>,
    /// Another machine seems to use this machine's key.
    pub rival: bool,
    /// What the host file called the server when the session began.
    pub endpoint_name: String,
    /// `None` of a session that does not tell.
    pub transport: Option<Told>,
    /// How long packets may be; `None` of a session that does not tell.
    pub path_mtu: Option<PathMtu>,
    /// The first broken layer, and what is broken about it.
    pub broken: Option<(String, String)>,
}

impl Live {
    fn of(status: &Value) -> Live {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let broken = || {
            let layer = status["broken"].as_str()?;
            let found = status["layers"].as_array()?.iter().find(|one| one["layer"] == layer)?;
            Some((layer.to_owned(), found["detail"].as_str().unwrap_or("broken").to_owned()))
        };
        Live {
            is_starting: status["state"] == "starting",
            interface: text("interface"),
            handshake_age: status["handshake_age_s"].as_u64().map(Duration::from_secs),
            rival: status["rival"] == true,
            endpoint_name: text("endpoint_name"),
            transport: Told::from_json(status["transport"].clone()),
            path_mtu: PathMtu::from_json(status["path_mtu"].clone()),
            broken: broken(),
        }
    }
}

/// The same as [`status`], for who decides on it.
pub fn live(paths: &Paths, host: &str) -> io::Result<Option<Live>> {
    Ok(status(paths, host)?.as_ref().map(Live::of))
}

/// The same once no layer is broken, or as it is after 6.5 s: session and helper put right what
/// others have changed of a tunnel.
pub fn mended(paths: &Paths, host: &str) -> io::Result<Option<Live>> {
    match ask(paths, host, "mended", limits::MENDED_STATUS) {
        Ok(status) => Ok(status.as_ref().map(Live::of)),
        // A session of an older version does not know the question, and tells how it is.
        Err(_) => live(paths, host),
    }
}

/// What `hop up` said when it was done; nothing is looked at for it. `None` when there is no
/// session, or it is not usable yet.
pub fn facts(paths: &Paths, host: &str) -> Option<Facts> {
    ask(paths, host, "facts", limits::FACTS).ok()?.and_then(Facts::from_json)
}

/// Whether there is a session, be it just starting. An error of one that does not answer in time.
pub fn answers(paths: &Paths, host: &str) -> io::Result<bool> {
    Ok(ask(paths, host, "facts", limits::FACTS)?.is_some())
}

/// All events that the live session remembers.
pub fn events(paths: &Paths, host: &str) -> io::Result<Option<Value>> {
    ask(paths, host, "events", limits::FACTS)
}

/// Has a session take the keys that are on the disk now; `None` when there is none.
pub fn rekey(paths: &Paths, host: &str) -> io::Result<Option<Value>> {
    ask(paths, host, "rekey", limits::FACTS)
}

/// Asks a session to end and waits until it has. False when there is none.
pub fn down(paths: &Paths, host: &str) -> io::Result<bool> {
    Ok(ask(paths, host, "down", limits::DOWN)?.is_some())
}

/// Readable as soon as the session of this host begins to end, or has been killed. `None` where
/// there is none, or it is of a version that does not say.
pub fn stay(paths: &Paths, host: &str) -> Option<UnixStream> {
    let (user, request) = (paths.owner(), json!({"v": 1, "ask": server::STAY}).to_string());
    let mut dirs = paths.session_dirs().filter(|dir| paths::check_private(dir, user).is_ok());
    dirs.find_map(|dir| {
        let socket = paths::socket_in(dir, host);
        let stream = line_socket::connect(&socket, user, limits::FACTS).ok()?;
        line_socket::put(&stream, &request).ok()?;
        data(&Lines::new(&stream, ANSWER_BYTES).next(limits::FACTS, None).ok()?).ok()?;
        Some(stream)
    })
}

/// A session that ends while it is asked is none: nobody is at its socket when it is asked again.
fn ask(paths: &Paths, host: &str, what: &str, limit: Duration) -> io::Result<Option<Value>> {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match ask_once(paths, host, what, limit) {
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
            ask_once(paths, host, what, limit)
        }
        answer => answer,
    }
}

fn ask_once(paths: &Paths, host: &str, what: &str, limit: Duration) -> io::Result<Option<Value>> {
    use ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    let (user, request) = (paths.owner(), json!({"v": 1, "ask": what}).to_string());
    for dir in paths.session_dirs() {
        if paths::check_private(dir, user).is_err() {
            continue;
        }
        let socket = paths::socket_in(dir, host);
        match line_socket::ask(&socket, user, &request, ANSWER_BYTES, limit) {
            // The last: longer than a socket's path can be, so that nobody could listen there.
            Err(error) if matches!(error.kind(), ConnectionRefused | NotFound | InvalidInput) => {}
            line => return data(&line?).map(Some),
        }
    }
    Ok(None)
}

fn data(line: &str) -> io::Result<Value> {
    let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    let mut fields = Fields::parse(line).map_err(|error| invalid(error.to_string()))?;
    fields.take("data").ok_or_else(|| invalid("the session refused the request".to_owned()))
}
