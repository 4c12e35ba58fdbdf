//! One session from lock to clean-up: what both `hop up --foreground` and the background process
//! do. While the host is up, `watch` has the word.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::control::Control;
use super::in_use::{self, InUse, Refused};
use super::journal::log;
use super::report::Report;
use super::state::Record;
use super::up;
use super::watch::Watch;
use crate::base::failure::{Failure, Fault};
use crate::base::key;
use crate::fix;
use crate::helper::socket_path;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};

/// Why an up session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `hop down`, Ctrl-C or a termination signal.
    Asked,
    /// The tunnel or the helper went away; the text says which.
    Lost(String),
}

/// Who may ask something of a session.
pub struct Ears {
    pub control: Control,
    signals: Signals,
}

impl Ears {
    pub fn fds(&self) -> Vec<(BorrowedFd<'_>, Interest)> {
        vec![(self.signals.as_fd(), Interest::READ), (self.control.as_fd(), Interest::READ)]
    }

    /// Whether a signal asked for the end.
    pub fn stopped(&mut self) -> bool {
        let mut end = false;
        while let Some(signal) = self.signals.take() {
            end |= matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Hangup);
        }
        end
    }

    /// While the host comes up: waits at most `limit` and answers with `starting`; true = end.
    fn listen(&mut self, extra: Option<BorrowedFd<'_>>, limit: Duration, starting: &Value) -> bool {
        let mut fds = self.fds();
        fds.extend(extra.map(|fd| (fd, Interest::READ)));
        if let Err(error) = poll::wait(&fds, &mut Vec::new(), Some(limit)) {
            log(&format!("cannot wait: {error}"));
            return true;
        }
        self.stopped() | self.control.serve(|_| Some(starting.clone()))
    }
}

/// Brings a host up, says so through `report`, and stays until it ends. Everything is undone
/// when this returns.
pub fn run(paths: &Paths, name: &str, report: &mut dyn Report) -> Result<End, Failure> {
    let (host, key) = store::load_with_key(paths, name)?;
    let lock = take_lock(paths, name)?;
    let ears = open_ears(paths, name)?;
    let mut session = Session { host, ears, timestamp_file: paths.stamp_file(name) };
    let outcome = session.live(paths, &key, report);
    let farewell = session.ears.control.close();
    drop(lock);
    farewell.tell();
    outcome
}

struct Session {
    host: HostConfig,
    timestamp_file: PathBuf,
    ears: Ears,
}

impl Session {
    fn live(
        &mut self,
        paths: &Paths,
        key: &key::Secret,
        report: &mut dyn Report,
    ) -> Result<End, Failure> {
        let HostConfig { name, .. } = &self.host;
        let starting = json!({
            "state": "starting", "host": name, "name": up::name_of(&self.host), "pid": pid(),
        });
        let ears = RefCell::new(&mut self.ears);
        let mut pause = |extra: Option<BorrowedFd<'_>>, limit: Duration| {
            ears.borrow_mut().listen(extra, limit, &starting)
        };
        let mut live = up::bring_up(
            &self.host,
            key,
            &socket_path(),
            self.timestamp_file.clone(),
            report,
            &mut pause,
        )?;
        report.ready(&live.facts);
        let record = Record::open(paths, &self.host.name);
        let end = match Watch::new(paths, &self.host, &mut live, &mut self.ears, record) {
            Ok(mut watch) => watch.run(),
            Err(error) => End::Lost(format!("cannot watch over the tunnel: {error}")),
        };
        live.take_down();
        Ok(end)
    }
}

pub fn pid() -> u32 {
    std::process::id()
}

/// One session per host. The lock ends with the process, however that ends.
fn take_lock(paths: &Paths, name: &str) -> Result<InUse, Failure> {
    in_use::take(paths, name).map_err(|refused| match refused {
        Refused::Held(pid) => {
            let what = format!("another session of {name} is running or ending");
            let who = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            let why = format!("{who} uses this laptop's key for it");
            Failure::new(Fault::Held, what, why, fix!("hop down {}", name))
        }
        Refused::Failed(path, why) => {
            let what = format!("cannot lock {}", path.display());
            Failure::new(Fault::Failed, what, why, fix!("ls -la {}", path))
        }
    })
}

fn open_ears(paths: &Paths, name: &str) -> Result<Ears, Failure> {
    let fail = |what: &str, error: std::io::Error| {
        let [usual, other] = paths.session_places();
        Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {} {}", usual, other))
    };
    let signals = Signals::catch(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])
        .map_err(|error| fail("cannot listen for signals", error))?;
    let control = Control::open(paths, name)
        .map_err(|error| fail("there is no place for the session's socket", error))?;
    Ok(Ears { control, signals })
}
