//! One session from lock to clean-up: what both `hop up --foreground` and the background process
//! do. One thread waits for signals, the control socket, the end of the tunnel and the helper.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::{Control, Farewell};
use super::report::{Report, log};
use super::up::{self, Live};
use super::{Kind, Trouble};
use crate::helper::DEFAULT_SOCKET;
use crate::host::config::{self, HostConfig};
use crate::host::keys;
use crate::host::paths::Paths;
use crate::sys::clock;
use crate::sys::lock::Lock;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};
use crate::tunnel::{self, Stopped};

/// How often the helper's connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Another helper socket, for tests and the self test.
const SOCKET_VARIABLE: &str = "HOPBOX_HELPER_SOCKET";

/// Why an up session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `hop down`, Ctrl-C or a termination signal.
    Asked,
    /// The tunnel or the helper went away; the text says which.
    Lost(String),
}

/// What a session waits on besides its tunnel.
struct Ears {
    control: Control,
    signals: Signals,
}

impl Ears {
    /// Waits at most `limit`, answers the control socket; true = end.
    fn listen(
        &mut self,
        extra: Option<BorrowedFd<'_>>,
        limit: Duration,
        status: impl Fn() -> Value,
    ) -> bool {
        let mut fds =
            vec![(self.signals.as_fd(), Interest::READ), (self.control.as_fd(), Interest::READ)];
        fds.extend(extra.map(|fd| (fd, Interest::READ)));
        if let Err(error) = poll::wait(&fds, &mut Vec::new(), Some(limit)) {
            log(&format!("cannot wait: {error}"));
            return true;
        }
        let mut end = false;
        while let Some(signal) = self.signals.take() {
            end |= matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Hangup);
        }
        end | self.control.serve(status)
    }
}

/// Brings a host up, says so through `report`, and stays until it ends. Everything is undone
/// when this returns.
pub fn run(paths: &Paths, name: &str, report: &mut dyn Report) -> Result<End, Trouble> {
    let host = config::load(paths, name)?;
    let key = keys::load(&paths.key_file(name))?;
    paths.ensure_runtime()?;
    // Without the directory only the mark of handshake timestamps is lost.
    let _ = paths.ensure_state();
    let lock = take_lock(paths, name)?;
    let ears = open_ears(paths, name)?;
    let mut session = Session { host, ears, stamps: paths.stamp_file(name) };
    let outcome = session.live(&key, report);
    let farewell = session.ears.close();
    drop(lock);
    farewell.tell();
    outcome
}

impl Ears {
    fn close(self) -> Farewell {
        self.control.close()
    }
}

struct Session {
    host: HostConfig,
    stamps: PathBuf,
    ears: Ears,
}

impl Session {
    fn live(&mut self, key: &keys::Secret, report: &mut dyn Report) -> Result<End, Trouble> {
        let starting = json!({"state": "starting", "host": self.host.name, "pid": pid()});
        let ears = RefCell::new(&mut self.ears);
        let mut pause = |extra: Option<BorrowedFd<'_>>, limit: Duration| {
            ears.borrow_mut().listen(extra, limit, || starting.clone())
        };
        let live = up::bring_up(
            &self.host,
            key,
            &helper_socket(),
            self.stamps.clone(),
            report,
            &mut pause,
        )?;
        report.ready(&live.facts);
        let end = self.watch(&live);
        live.take_down();
        Ok(end)
    }

    /// Stays until somebody asks for the end or something the tunnel needs is gone.
    fn watch(&mut self, live: &Live) -> End {
        let since = Instant::now();
        loop {
            let Some(tunnel) = &live.parts.tunnel else { return End::Lost("no tunnel".to_owned()) };
            let status = || status_of(live, since);
            if self.ears.listen(Some(tunnel.end_fd()), LOOK_EVERY, status) {
                return End::Asked;
            }
            if let Some(stopped) = tunnel.ended() {
                return End::Lost(ending(&stopped, &live.facts.interface));
            }
            if live.parts.helper.closed() {
                return End::Lost("the helper is gone, and with it the lease".to_owned());
            }
        }
    }
}

fn ending(stopped: &Stopped, interface: &str) -> String {
    match stopped {
        Stopped::Asked => "the tunnel was stopped".to_owned(),
        Stopped::DeviceGone => format!("the interface {interface} is gone"),
        Stopped::Failed(why) => format!("the tunnel failed: {why}"),
    }
}

/// The live facts, for `hop status` and `hop up` when up.
fn status_of(live: &Live, since: Instant) -> Value {
    let mut value = live.facts.to_json();
    let tunnel = live.parts.tunnel.as_ref().and_then(|tunnel| tunnel.status().ok());
    let peer = tunnel.as_ref().and_then(|status| status.peers.first());
    if let Value::Object(fields) = &mut value {
        let (now_s, _) = clock::wall();
        let age = peer.and_then(|peer| peer.last_handshake);
        let age = age.map(|wall| now_s.saturating_sub(wall.secs));
        let rows = [
            ("state", json!("up")),
            ("pid", json!(pid())),
            ("up_s", json!(since.elapsed().as_secs())),
            ("handshake_age_s", json!(age)),
            ("rx_bytes", json!(peer.map(|peer| peer.rx_bytes))),
            ("tx_bytes", json!(peer.map(|peer| peer.tx_bytes))),
            ("listen_port", json!(tunnel.as_ref().map(|status| status.listen_port))),
            ("drops", json!(tunnel.as_ref().map(drops))),
        ];
        fields.extend(rows.map(|(key, value)| (key.to_owned(), value)));
    }
    value
}

/// Reason → packets dropped for it, every reason named.
fn drops(status: &tunnel::Status) -> Value {
    status.drops.iter().map(|(reason, count)| (reason.to_string(), json!(count))).collect()
}

fn pid() -> u32 {
    std::process::id()
}

fn helper_socket() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// One session per host. The lock ends with the process, however that ends.
fn take_lock(paths: &Paths, name: &str) -> Result<Lock, Trouble> {
    let path = paths.lock_file(name);
    match Lock::take(&path) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => {
            let what = format!("another session of {name} is running or ending");
            let why = format!("{} is locked", path.display());
            Err(Trouble::new(Kind::Busy, what, why, format!("hop down {name}")))
        }
        Err(error) => {
            let what = format!("cannot lock {}", path.display());
            let next = format!("ls -la {}", path.display());
            Err(Trouble::new(Kind::Failed, what, error.to_string(), next))
        }
    }
}

fn open_ears(paths: &Paths, name: &str) -> Result<Ears, Trouble> {
    let path = paths.socket(name);
    let fail = |what: String, error: std::io::Error| {
        let next = format!("ls -la {}", path.display());
        Trouble::new(Kind::Failed, what, error.to_string(), next)
    };
    let signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| fail("cannot listen for signals".to_owned(), error))?;
    let control = Control::bind(&path)
        .map_err(|error| fail(format!("cannot listen on {}", path.display()), error))?;
    Ok(Ears { control, signals })
}
