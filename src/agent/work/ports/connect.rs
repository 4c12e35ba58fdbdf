//! A laptop's connection, and one to the port that it is for: it goes where the kernel says that
//! somebody listens of whom we tell, and whoever has it in the end is looked at once more.
//!
//! Bounds: 2 s until somebody takes it, 1 s more until its program does, where that is wanted.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::table;
use crate::agent::work::given::Given;
use crate::agent::work::methods::Refused;
use crate::agent::work::sandbox;
use crate::relay;
use crate::rpc::code::Code;
use crate::rpc::types::ports::PortNumber;
use crate::sys::poll::{self, Interest};
use crate::sys::{accepted, loopback};

static RELAY: relay::Lazy = relay::Lazy::new("ports");
const LIMIT: Duration = Duration::from_secs(2);
const ACCEPT_LIMIT: Duration = Duration::from_secs(1);

/// Carried until both ways have ended; or the connection comes back, with why not.
pub fn connect(wanted: PortNumber, given: Given) -> Result<(), (Given, Refused)> {
    let port = wanted.port;
    let both =
        reach(wanted).and_then(|far| Ok((far, RELAY.get().map_err(|error| failed(port, &error))?)));
    let (far, relay) = match both {
        Ok(both) => both,
        Err(refused) => return Err((given, refused)),
    };
    // Who has gone meanwhile wants nothing of it any more.
    if let Ok((near, first)) = given.accept() {
        relay.carry(near, far.into(), first, Box::new(|_| {}));
    }
    Ok(())
}

fn failed(port: u16, error: &io::Error) -> Refused {
    let is_late = error.kind() == ErrorKind::TimedOut;
    let code = if is_late { Code::Timeout } else { Code::Failed };
    Refused { code, why: format!("port {port}: {error}") }
}

fn nobody(port: u16) -> Refused {
    let why = format!("nobody listens at port {port} of whom this login has a say");
    Refused { code: Code::NotFound, why }
}

fn reach(PortNumber { port, is_accepted }: PortNumber) -> Result<TcpStream, Refused> {
    let end = Instant::now() + LIMIT;
    let mut refused = nobody(port);
    let places = table::places(port);
    for &(at, user) in &places {
        match to(at, end) {
            Ok(stream) => {
                if is_there(&stream, user) {
                    return if is_accepted { accepted(port, stream, None) } else { Ok(stream) };
                }
                loopback::reset(stream);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => refused = failed(port, &error),
        }
    }
    // Behind a wall, where nobody has it here.
    if !places.is_empty() {
        return Err(refused);
    }
    match sandbox::connect(port, is_accepted) {
        Ok((stream, None)) => Ok(stream),
        Ok((stream, asked)) => accepted(port, stream, asked),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(refused),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(refused),
        Err(error) => Err(failed(port, &error)),
    }
}

/// Nothing of it is left with a program that does not take it: it is reset.
fn accepted(port: u16, stream: TcpStream, asked: Option<OwnedFd>) -> Result<TcpStream, Refused> {
    // A kernel that cannot say has said so before: what it took is taken.
    if accepted::within(&stream, asked, ACCEPT_LIMIT).unwrap_or(true) {
        return Ok(stream);
    }
    loopback::reset(stream);
    let why = "its program takes no connection";
    Err(failed(port, &io::Error::new(ErrorKind::TimedOut, why)))
}

/// The port may have become another user's since it was looked at, or nobody's: a socket that is
/// given the number of the port that it connects to is connected with itself.
fn is_there(stream: &TcpStream, user: u32) -> bool {
    let ends = (stream.local_addr(), stream.peer_addr());
    let is_itself = matches!(ends, (Ok(here), Ok(there)) if here == there);
    !is_itself && loopback::user_at_other_end(stream).is_none_or(|found| found == user)
}

fn to(at: SocketAddr, end: Instant) -> io::Result<TcpStream> {
    let stream = loopback::connect(at)?;
    while !poll::look(stream.as_fd(), Interest::WRITE).any() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = "its program takes no connection";
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        poll::wait_one(stream.as_fd(), Interest::WRITE, Some(left))?;
    }
    stream.take_error()?.map_or(Ok(stream), Err)
}
