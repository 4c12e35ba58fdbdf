//! A laptop's connection, and one to the port that it is for: it goes where the kernel says that
//! somebody listens of whom we tell, and whoever has it in the end is looked at once more.
//!
//! Bound: 2 s until somebody takes it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::table;
use crate::agent::work::given::Given;
use crate::agent::work::methods::Refused;
use crate::agent::work::sandbox;
use crate::relay;
use crate::rpc::code::Code;
use crate::sys::loopback;
use crate::sys::poll::{self, Interest};

static RELAY: relay::Lazy = relay::Lazy::new("ports");
const LIMIT: Duration = Duration::from_secs(2);

/// Carried until both ways have ended; or the connection comes back, with why not.
pub fn connect(port: u16, given: Given) -> Result<(), (Given, Refused)> {
    let both =
        reach(port).and_then(|far| Ok((far, RELAY.get().map_err(|error| failed(port, &error))?)));
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
    Refused { code: Code::Failed, why: format!("port {port}: {error}") }
}

fn nobody(port: u16) -> Refused {
    let why = format!("nobody listens at port {port} of whom this login has a say");
    Refused { code: Code::NotFound, why }
}

fn reach(port: u16) -> Result<TcpStream, Refused> {
    let end = Instant::now() + LIMIT;
    let mut refused = nobody(port);
    let places = table::places(port);
    for &(at, user) in &places {
        match to(at, end) {
            Ok(stream) => {
                if is_there(&stream, user) {
                    return Ok(stream);
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
    match sandbox::connect(port) {
        Ok(stream) => Ok(stream),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(refused),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(refused),
        Err(error) => Err(failed(port, &error)),
    }
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
