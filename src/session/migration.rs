//! The two agents of a migration, asked at once: how each is reached, and how what one of them
//! sends gets to the other. This machine carries the bytes and counts them, and knows nothing of
//! them. A host that is up is asked through its session; one that is not through a tunnel of this
//! process's own, so that nothing else here changes; over SSH where no UDP passes.
//!
//! Bounds: those of `relay` for what is read and not yet taken; without a byte either way 10 s more
//! than the agents wait for each other, who say every 5 s that they are there
//! (`rpc::types::migration::silence`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::in_use::{self, InUse, Refused};
use super::transport::{KeptWays, Ways};
use super::userspace::{self, Userspace};
use super::{limits, resolver, through};
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::fix;
use crate::host::config::{HostConfig, Transport};
use crate::host::paths::Paths;
use crate::host::store;
use crate::relay::{Carried, Ended, Order, Relay, Tally};
use crate::rpc::client::{CallError, Client};
use crate::rpc::method::{MIGRATION_RECEIVE, MIGRATION_SEND};
use crate::rpc::types::migration::{AskPass, silence};
use crate::sys::{clock, interrupt};

/// Two tries of the protocol, which are five seconds apart, and the way of the second.
const SHAKES_WITHIN: Duration = Duration::from_secs(7);
/// An agent that has just been started.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(10);
/// For the agents, who notice it first where they can, to say why.
const LONGER: Duration = Duration::from_secs(10);

/// An agent that can be asked as long as this is there.
pub struct Reached {
    pub host: HostConfig,
    own: Option<Own>,
}

/// A tunnel of this process's own, and the right to it.
struct Own {
    // Dropped first: nothing goes out any more once another may use the key.
    _ways: KeptWays,
    tunnel: Arc<Userspace>,
    _key: InUse,
}

impl Reached {
    /// The host need not be up. Errors: somebody else is about to bring it up or down, or it does
    /// not answer.
    pub fn to(paths: &Paths, name: &str) -> Result<Reached, Failure> {
        let (host, key) = store::load_with_key(paths, name)?;
        if through::link(paths, &host).is_some() {
            return Ok(Reached { host, own: None });
        }
        let held = in_use::take(paths, name).map_err(|refused| unusable(name, refused))?;
        let cannot = |error: io::Error| {
            let (what, next) = (format!("{name} cannot be reached"), fix!("hop doctor {}", name));
            Failure::new(Fault::Unreachable, what, error.to_string(), next)
        };
        let ways = Ways::new(paths, &host, Duration::from_nanos(clock::boot_nanos()))?;
        let remotes = resolver::now(&host).map_err(cannot)?;
        let remotes = ways.over_udp(&remotes).to_vec();
        let tunnel = userspace::open(&host, &key, &remotes, paths.stamp_file(name));
        let tunnel = Arc::new(tunnel.map_err(cannot)?);
        let ways = KeptWays::begin(ways, tunnel.clone(), remotes).map_err(cannot)?;
        shaken(&tunnel, &ways, &host).map_err(|error| error.unwrap_or_else(cannot))?;
        let reached = Reached { host, own: Some(Own { _ways: ways, tunnel, _key: held }) };
        reached.answers(paths)?;
        Ok(reached)
    }

    /// One more way to the agent; `None` where the session that it was to go through has ended.
    pub fn client(&self, paths: &Paths) -> Option<Client> {
        match &self.own {
            Some(own) => Some(own.tunnel.client(&self.host)),
            None => through::with_token(paths, &self.host),
        }
    }

    fn answers(&self, paths: &Paths) -> Result<(), Failure> {
        let name = &self.host.name;
        let asked = self.client(paths).map(|client| client.health(ANSWERS_WITHIN));
        let why = match asked {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => error.to_string(),
            None => "it went down".to_owned(),
        };
        let what = format!("the agent of {name} does not answer");
        Err(Failure::new(Fault::AgentSilent, what, why, fix!("hop doctor {}", name)))
    }
}

fn unusable(name: &str, refused: Refused) -> Failure {
    match refused {
        Refused::Held(_) => {
            let why = "another hop is just using its key";
            let what = format!("{name} cannot be asked");
            Failure::new(Fault::Busy, what, why, fix!("hop status {}", name))
        }
        Refused::Failed(file, why) => {
            let what = format!("cannot lock {}", file.display());
            Failure::new(Fault::Failed, what, why, fix!("ls -la {}", file))
        }
    }
}

fn shaken(
    tunnel: &Userspace,
    ways: &KeptWays,
    host: &HostConfig,
) -> Result<(), Result<Failure, io::Error>> {
    let limit = match (host.transport, &host.ssh) {
        (Transport::Udp, _) | (Transport::Auto, None) => SHAKES_WITHIN,
        _ => limits::FIRST_ANSWER,
    };
    let end = Instant::now() + limit;
    let failed = |why: String| {
        let what = format!("{} does not answer", host.name);
        let next = fix!("hop doctor {}", host.name);
        match ways.failure() {
            Some(Failure { what: ssh, why: not, next, .. }) => {
                let why = format!("{why}; nor over SSH: {ssh}: {not}");
                Failure::new(Fault::NoHandshake, what, why, next)
            }
            None => Failure::new(Fault::NoHandshake, what, why, next),
        }
    };
    while Instant::now() < end {
        if tunnel.tunnel().status().map_err(Err)?.has_handshake() {
            return Ok(());
        }
        if interrupt::is_due() {
            return Err(Ok(failed("it was waited for".to_owned())));
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(Ok(failed(format!("no handshake within {}", took(limit)))))
}

/// What one agent sends on its way to the other. Dropped, it ends for both.
pub struct Crossing {
    tally: Arc<Tally>,
    ended: Receiver<Carried>,
    _relay: Relay,
    moved: (u64, Instant),
    stalled_after: Duration,
}

/// Why a crossing ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// One of them, or the way to it, is gone.
    Cut,
    /// Nothing moved for this long.
    Stalled(Duration),
}

/// Begins a pass. The receiver is there first: what it is sent it has room for.
pub fn cross(source: &Client, target: &Client, pass: &AskPass) -> Result<Crossing, CallError> {
    let here = |error: io::Error| CallError::Unreachable(error.to_string());
    let (far, said) = target.bytes(MIGRATION_RECEIVE, pass, LIMIT)?;
    let (near, first) = source.bytes(MIGRATION_SEND, pass, LIMIT)?;
    // Nothing was written to it yet: there is room for what came with an answer's head.
    io::Write::write_all(&mut &near, &said).map_err(here)?;
    carry(near.into(), far.into(), first, silence(pass.is_last) + LONGER).map_err(here)
}

fn carry(
    near: OwnedFd,
    far: OwnedFd,
    first: Vec<u8>,
    stalled_after: Duration,
) -> io::Result<Crossing> {
    let (tally, relay) = (Arc::new(Tally::default()), Relay::start("migration")?);
    let (told, ended) = mpsc::channel();
    let done = Box::new(move |carried| {
        let _ = told.send(carried);
    });
    relay.carry_as(Order { near, far, first, opening: None, tally: tally.clone(), done });
    let moved = (0, Instant::now());
    Ok(Crossing { tally, ended, _relay: relay, moved, stalled_after })
}

impl Crossing {
    /// To the target, so far; what the agents say about it is in it.
    pub fn bytes(&self) -> u64 {
        self.tally.up.load(Ordering::Relaxed)
    }

    /// Waits at most this long for its end: true once both sides have said all. A side that was
    /// not content has closed the same way; who asks them for the outcome knows.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, Broken> {
        if let Ok(carried) = self.ended.recv_timeout(limit) {
            return match carried.ended {
                Ended::Closed => Ok(true),
                _ => Err(Broken::Cut),
            };
        }
        let all = self.bytes() + self.tally.down.load(Ordering::Relaxed);
        let (before, since) = self.moved;
        if all != before {
            self.moved = (all, Instant::now());
        } else if since.elapsed() >= self.stalled_after {
            return Err(Broken::Stalled(self.stalled_after));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    fn between() -> (UnixStream, UnixStream, Crossing) {
        let ((source, near), (far, target)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let crossing = carry(near.into(), far.into(), b"first ".to_vec(), LIMIT).unwrap();
        (source, target, crossing)
    }

    #[test]
    fn each_way_ends_on_its_own_and_is_counted() {
        let (mut source, mut target, mut crossing) = between();
        source.write_all(b"then").unwrap();
        source.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        target.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"first then");
        assert_eq!(crossing.wait(Duration::from_millis(20)), Ok(false), "the other way is open");
        target.write_all(b"well").unwrap();
        drop(target);
        heard.clear();
        source.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"well");
        // But for what came with the head of the answer.
        assert_eq!((crossing.wait(LIMIT), crossing.bytes()), (Ok(true), 4));
    }

    #[test]
    fn one_that_is_cut_or_stands_still_is_no_end() {
        let (source, mut target, mut crossing) = between();
        // What was not read is lost: a reset, as of a machine that is gone.
        target.write_all(b"unread").unwrap();
        target.read_exact(&mut [0; 6]).unwrap();
        thread::sleep(Duration::from_millis(50));
        drop(source);
        let ended = loop {
            match crossing.wait(Duration::from_millis(50)) {
                Ok(false) => {}
                ended => break ended,
            }
        };
        assert_eq!(ended, Err(Broken::Cut));
        let (_source, _target, mut crossing) = between();
        assert_eq!(crossing.wait(Duration::from_millis(50)), Ok(false));
        crossing.moved = (crossing.bytes(), Instant::now() - LIMIT);
        assert_eq!(crossing.wait(Duration::from_millis(20)), Err(Broken::Stalled(LIMIT)));
        drop(crossing);
        let mut rest = Vec::new();
        let _ = (&_target).read_to_end(&mut rest);
        assert_eq!(rest, b"first ", "dropped, it ends for both");
    }
}
