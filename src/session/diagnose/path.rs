//! What is sent to find out how far packets get. All of it is bounded: a few datagrams, seconds.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::{Agent, Handshake, Outer, Reply};
use crate::base::failure::{Failure, Fault};
use crate::base::key::Secret;
use crate::base::time_text::took;
use crate::fix;
use crate::host::config::{HostConfig, Transport};
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::session::resolver::with_second;
use crate::session::transport::{KeptWays, Ways};
use crate::session::userspace::{self, Userspace};
use crate::session::{limits, ping};
use crate::sys::{clock, threads};

const WAIT: Duration = Duration::from_millis(700);
/// Two tries of the protocol, which are five seconds apart.
pub const TWO_TRIES: Duration = Duration::from_millis(6500);
/// For the first of them to arrive, and an answer to come back.
pub const ONE_TRY: Duration = Duration::from_millis(2000);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// No datagram of the protocol begins like this, so whoever speaks it drops it.
const PROBE: [u8; 16] = [0xff; 16];

/// Asks the endpoint's port, and one that nobody should have, whether somebody is there.
pub fn outer(to: SocketAddr) -> Outer {
    let beside = SocketAddr::new(to.ip(), if to.port() == 9 { 10 } else { 9 });
    let (port, beside) = thread::scope(|scope| {
        let other = threads::start_within(scope, "ask", move || ask(beside));
        let port = ask(to);
        // Where there is no thread it is asked afterwards.
        let other = other.map_or_else(|_| Ok(ask(beside)), ScopedJoinHandle::join);
        (port, other.unwrap_or(Reply::Silent))
    });
    Outer { to, port, beside, ping: ping::answers_ping(to.ip(), WAIT) }
}

fn ask(to: SocketAddr) -> Reply {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let talk = || -> std::io::Result<()> {
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(WAIT / 2))?;
        socket.connect(to)?;
        // The error for the first datagram is told with the second, or while waiting.
        for _ in 0..2 {
            socket.send(&PROBE)?;
            match socket.recv(&mut [0; 64]) {
                Err(error)
                    if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    };
    match talk() {
        Ok(()) => Reply::Silent,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Reply::Closed,
        Err(error) => Reply::Refused(error.to_string()),
    }
}

/// What a server says to a tunnel of this process's own, which has no device, so that nothing on
/// this machine changes: its handshake, and then its agent. Only while no session is there: the VPS
/// keeps one session for a key.
pub fn handshake(
    host: &HostConfig,
    key: &Secret,
    to: SocketAddr,
    timestamp_file: PathBuf,
    wait: Duration,
    ask: impl FnOnce(&Client) -> Agent,
) -> (Handshake, Option<Agent>) {
    let remotes = with_second(vec![to], host.second_port);
    let tried = userspace::open(host, key, &remotes, timestamp_file).and_then(|own| {
        let outcome = try_handshake(&own, wait)?;
        let agent = (outcome == Handshake::Done).then(|| ask(&own.client(host)));
        Ok((outcome, agent))
    });
    tried.unwrap_or_else(|error| (Handshake::NotTried(error.to_string()), None))
}

/// The same over SSH, which stands in where no UDP passes. Errors: what keeps it from that.
pub fn over_ssh(
    paths: &Paths,
    host: &HostConfig,
    key: &Secret,
    ask: impl FnOnce(&Client) -> Agent,
) -> Result<Agent, Failure> {
    let host = &HostConfig { transport: Transport::Ssh, ..host.clone() };
    let what = format!("{} does not answer over SSH", host.name);
    let failed = |why: String| {
        Failure::new(Fault::NoHandshake, what.clone(), why, fix!("hop doctor {}", host.name))
    };
    let here = |error: std::io::Error| failed(error.to_string());
    let ways = Ways::new(paths, host, Duration::from_nanos(clock::boot_nanos()))?;
    let own = userspace::open(host, key, &[], paths.stamp_file(&host.name)).map_err(here)?;
    let own = Arc::new(own);
    let ways = KeptWays::begin(ways, own.clone(), Vec::new()).map_err(here)?;
    let end = Instant::now() + limits::FIRST_ANSWER;
    while Instant::now() < end {
        thread::sleep(LOOK_EVERY);
        if own.tunnel().status().map_err(here)?.has_handshake() {
            return Ok(ask(&own.client(host)));
        }
        if let Some(failure) = ways.failure() {
            return Err(failure);
        }
    }
    Err(failed(format!("no handshake within {}", took(limits::FIRST_ANSWER))))
}

fn try_handshake(own: &Userspace, wait: Duration) -> std::io::Result<Handshake> {
    let end = Instant::now() + wait;
    while Instant::now() < end {
        thread::sleep(LOOK_EVERY);
        let status = own.tunnel().status()?;
        if status.has_handshake() {
            return Ok(Handshake::Done);
        }
        if let Some((reason, _)) = status.drops.iter().find(|(_, count)| *count > 0) {
            return Ok(Handshake::Rejected(reason.to_string()));
        }
    }
    Ok(Handshake::Silent)
}
