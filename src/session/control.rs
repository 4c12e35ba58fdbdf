//! A session's socket: one JSON line in, one out.
//!
//! | asked | answered with | when |
//! |---|---|---|
//! | `facts` | the facts of `hop up` | at once |
//! | `status` | every layer as it is now | when a fresh question to the agent is answered or late |
//! | `mended` | the same | when no layer is broken, or not within 3 s |
//! | `events` | all that happened and is remembered | at once |
//! | `rekey` | `{"rekeyed":true}` | when the tunnel has the keys that are on the disk |
//! | `down` | `{"state":"down"}` | when everything has been undone |
//!
//! The socket lies in a directory that only its user can enter, so whoever can connect may ask.
//! What is at the socket is believed for the same reason, and only after a look at it: the
//! directory is the user's own and nobody else can enter it, and so is who listens. A directory of
//! somebody else's, such as one that lay in wait in /tmp, is none of ours.
//! Bounds: 8 connections per turn, a request of 4096 bytes within 500 ms, an answer of 64 KiB,
//! 32 who wait.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::limits;
use super::report::Facts;
use crate::base::json::Fields;
use crate::host::paths::{self, Paths};
use crate::sys::{cmsg, line};

const PER_TURN: usize = 8;
const REQUEST_BYTES: usize = 4096;
const ANSWER_BYTES: usize = 64 * 1024;
const REQUEST_LIMIT: Duration = Duration::from_millis(500);
/// Who may wait for an answer at a time.
const WAITING: usize = 32;

/// What is asked of a session, besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Facts,
    Status,
    /// The status, once it is good or has had the time to become so.
    Mended,
    Events,
    Rekey,
}

/// The session's end of the socket.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file: another may have taken its place, or none.
    inode: u64,
    /// Who asked for the end and waits to hear that it is reached.
    waiting: Vec<UnixStream>,
    /// Who asked for the status and waits until it is known.
    curious: Vec<UnixStream>,
    /// Who waits for a good one.
    hopeful: Vec<UnixStream>,
}

impl Control {
    /// Listens in the first place where that can be. The caller holds the session's lock, so a
    /// socket that is there belongs to a session that was killed.
    pub fn open(paths: &Paths, name: &str) -> io::Result<Control> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for dir in paths.session_places() {
            let made = paths::ensure_private(dir).map_err(|error| io::Error::other(error.why));
            match made.and_then(|()| Control::bind(&paths::socket_in(dir, name))) {
                Ok(control) => return Ok(control),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind(path: &Path) -> io::Result<Control> {
        let (listener, inode) = listen(path)?;
        let (waiting, curious, hopeful) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Control { listener, path: path.to_owned(), inode, waiting, curious, hopeful })
    }

    /// Comes back where something cleaned it away. Asked now and then.
    pub fn stay(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| found.ino() == self.inode) {
            return;
        }
        let made = self.path.parent().is_some_and(|dir| paths::ensure_private(dir).is_ok());
        if let (true, Ok((listener, inode))) = (made, listen(&self.path)) {
            (self.listener, self.inode) = (listener, inode);
        }
    }

    /// Answers whoever is there with what `reply` says; those for whom it says nothing wait for
    /// [`Control::tell_status`] or [`Control::tell_mended`]. True when somebody asked for the end.
    pub fn serve(&mut self, mut reply: impl FnMut(Ask) -> Option<Value>) -> bool {
        for _ in 0..PER_TURN {
            let Ok((stream, _)) = self.listener.accept() else { break };
            let Ok(asked) = read_request(&stream) else {
                let _ = answer(&stream, &refusal("the request is not valid"));
                continue;
            };
            let ask = match asked.as_str() {
                "facts" => Ask::Facts,
                "status" => Ask::Status,
                "mended" => Ask::Mended,
                "events" => Ask::Events,
                "rekey" => Ask::Rekey,
                "down" if self.waiting.len() < WAITING => {
                    self.waiting.push(stream);
                    continue;
                }
                "down" => {
                    let _ = answer(&stream, &refusal("the session is ending"));
                    continue;
                }
                _ => {
                    let _ = answer(&stream, &refusal("no such request"));
                    continue;
                }
            };
            let patient = match ask {
                Ask::Mended => &mut self.hopeful,
                _ => &mut self.curious,
            };
            match reply(ask) {
                Some(data) => drop(answer(&stream, &granted(data))),
                None if patient.len() < WAITING => patient.push(stream),
                None => drop(answer(&stream, &refusal("too many are asking"))),
            }
        }
        !self.waiting.is_empty()
    }

    /// Answers all who wait for the status.
    pub fn tell_status(&mut self, status: &Value) {
        for stream in self.curious.drain(..) {
            let _ = answer(&stream, &granted(status.clone()));
        }
    }

    /// Answers all who wait for a good one.
    pub fn tell_mended(&mut self, status: &Value) {
        for stream in self.hopeful.drain(..) {
            let _ = answer(&stream, &granted(status.clone()));
        }
    }

    /// Nobody can connect any more; whoever asked for the end can be told so by [`Farewell`].
    pub fn close(self) -> Farewell {
        let _ = fs::remove_file(&self.path);
        Farewell(self.waiting)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Those who wait for the end.
pub struct Farewell(Vec<UnixStream>);

impl Farewell {
    /// Tells them. Last act of a session: the lock is free by now.
    pub fn tell(self) {
        for stream in self.0 {
            let _ = answer(&stream, &granted(json!({"state": "down"})));
        }
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, u64)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, fs::symlink_metadata(path)?.ino()))
}

fn read_request(stream: &UnixStream) -> Result<String, ()> {
    stream.set_nonblocking(false).map_err(drop)?;
    stream.set_write_timeout(Some(REQUEST_LIMIT)).map_err(drop)?;
    let line = line::read(stream, REQUEST_BYTES, REQUEST_LIMIT).map_err(drop)?;
    let mut fields = Fields::parse(&line).map_err(drop)?;
    fields.int::<u32>("v", 1..=1).map_err(drop)?;
    let asked = fields.string("ask").map_err(drop)?;
    fields.finish().map_err(drop)?;
    Ok(asked)
}

fn answer(mut stream: &UnixStream, value: &Value) -> io::Result<()> {
    stream.write_all(format!("{value}\n").as_bytes())
}

fn granted(data: Value) -> Value {
    json!({"ok": true, "data": data})
}

fn refusal(why: &str) -> Value {
    json!({"ok": false, "error": why})
}

/// What the live session of a host finds when it looks at every layer, or `{"state":"starting"}`
/// with host and pid; `None` when there is no session. The keys, which stay:
///
/// | key | value |
/// |---|---|
/// | `state` | `starting`, `up`, or `degraded` when a layer is broken |
/// | `host`, `name`, `pid`, `up_s` | of the host and its session |
/// | `interface`, `local_ip`, `peer_ip`, `listen_port` | of the tunnel on this machine |
/// | `endpoint`, `endpoint_name` | the address in use, and what the host file calls it |
/// | `agent_version`, `connected`, `last_healthy` | by `GET /health`; the moment is RFC 3339 |
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
    pub local_ip: Option<Ipv4Addr>,
    pub peer_ip: Option<Ipv4Addr>,
    /// The first broken layer, and what is broken about it.
    pub broken: Option<(String, String)>,
}

impl Live {
    fn of(status: &Value) -> Live {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        let ip = |key: &str| status[key].as_str()?.parse().ok();
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
            local_ip: ip("local_ip"),
            peer_ip: ip("peer_ip"),
            broken: broken(),
        }
    }
}

/// The same as [`status`], for who decides on it.
pub fn live(paths: &Paths, host: &str) -> io::Result<Option<Live>> {
    Ok(status(paths, host)?.as_ref().map(Live::of))
}

/// The same once no layer is broken, or as it is after 3 s: session and helper put right what
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

fn ask(paths: &Paths, host: &str, what: &str, limit: Duration) -> io::Result<Option<Value>> {
    let Some(stream) = reach(paths, host, limit)? else { return Ok(None) };
    stream.set_write_timeout(Some(limit))?;
    answer(&stream, &json!({"v": 1, "ask": what}))?;
    let line = line::read(&stream, ANSWER_BYTES, limit)?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut fields = Fields::parse(&line).map_err(|error| invalid(&error.to_string()))?;
    match fields.take("data") {
        Some(data) => Ok(Some(data)),
        None => Err(invalid("the session refused the request")),
    }
}

/// A connection to the host's session, which is this user's. Nothing has been sent on it.
fn reach(paths: &Paths, host: &str, limit: Duration) -> io::Result<Option<UnixStream>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    for dir in paths.session_dirs() {
        if paths::check_private(dir, paths.owner()).is_err() {
            continue;
        }
        let stream = match cmsg::connect_unix(&paths::socket_in(dir, host), limit) {
            Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => continue,
            // Longer than a socket's path can be: nobody could listen there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => continue,
            other => other?,
        };
        let uid = cmsg::peer_uid(&stream)?;
        if uid != paths.owner() || cmsg::is_nobody(uid) {
            let why = format!("user {uid} listens there, and not you");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        return Ok(Some(stream));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn scratch(what: &str) -> (PathBuf, Paths) {
        let name = format!("hopbox-control-{what}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&root);
        (root.clone(), Paths::below(&root))
    }

    fn served(control: &mut Control) -> bool {
        loop {
            crate::sys::poll::wait_one(control.as_fd(), crate::sys::poll::Interest::READ, None)
                .unwrap();
            let end = control.serve(|ask| (ask != Ask::Status).then(|| json!({"state": "up"})));
            control.tell_status(&json!({"state": "up"}));
            if end {
                return true;
            }
        }
    }

    #[test]
    fn answers_status_and_down_and_survives_nonsense() {
        let (root, paths) = scratch("all");
        let mut control = Control::open(&paths, "mybox").unwrap();
        let (path, ours) = (control.path.clone(), paths.clone());
        let at = path.clone();
        let client = thread::spawn(move || {
            for nonsense in ["\n", "{}\n", "[1]\n", "{\"v\":1,\"ask\":\"fly\"}\n", "\u{0}"] {
                let mut stream = UnixStream::connect(&at).unwrap();
                stream.write_all(nonsense.as_bytes()).unwrap();
            }
            let up = status(&ours, "mybox").unwrap();
            (up, down(&ours, "mybox").unwrap())
        });
        assert!(served(&mut control));
        let farewell = control.close();
        assert!(!path.exists());
        farewell.tell();
        assert_eq!(client.join().unwrap(), (Some(json!({"state": "up"})), true));
        assert_eq!(status(&paths, "mybox").unwrap(), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_request_that_drips_in_has_the_same_time_as_any_other() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let drip = thread::spawn(move || {
            for _ in 0..200 {
                if one.write_all(b" ").is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let began = std::time::Instant::now();
        assert!(read_request(&other).is_err());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(other);
        drip.join().unwrap();
    }

    #[test]
    fn a_killed_sessions_socket_is_nobody() {
        let (root, paths) = scratch("stale");
        let control = Control::open(&paths, "mybox").unwrap();
        let path = control.path.clone();
        drop(control);
        assert!(path.exists());
        assert_eq!(status(&paths, "mybox").unwrap(), None);
        assert!(!down(&paths, "mybox").unwrap());
        Control::open(&paths, "mybox").unwrap().close().tell();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_is_cleaned_away_comes_back_and_a_state_that_cannot_be_written_has_a_stand_in() {
        let (root, paths) = scratch("cleaned");
        let mut control = Control::open(&paths, "mybox").unwrap();
        let path = control.path.clone();
        assert!(path.starts_with(root.join("state")));
        control.stay();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        control.stay();
        assert!(UnixStream::connect(&path).is_ok());
        // Another file in its place is not it.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        control.stay();
        assert!(UnixStream::connect(&path).is_ok());
        control.close().tell();
        fs::remove_dir_all(root.join("state")).unwrap();
        fs::write(root.join("state"), "a file where a directory should be").unwrap();
        let control = Control::open(&paths, "mybox").unwrap();
        assert!(control.path.starts_with(root.join("run")));
        fs::remove_dir_all(root).unwrap();
    }
}
