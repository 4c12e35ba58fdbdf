//! A laptop's connection that `front` has given away with its request: it is answered here, and is
//! this process's from then on. What it is for is connected with it, or told why not.
//!
//! Bounds: 1024 for which that is not decided; what had been read of one in front, 8 KiB, comes
//! within 2 s.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::methods::{self, Refused, Request};
use super::{bridge, migration, ports};
use crate::agent::joint::{self, FIRST_BYTES, REQUEST_LIMIT};
use crate::http::{answer, code};
use crate::rpc::code::Code;
use crate::rpc::method::{BRIDGE_TAKE, BYTES, MIGRATION_RECEIVE, MIGRATION_SEND, PORTS_CONNECT};
use crate::rpc::types::Message;
use crate::rpc::types::bridge::WishId;
use crate::rpc::types::migration::{AskPass, Side};
use crate::rpc::types::ports::PortNumber;
use crate::sys::tcp;

pub const MOST: usize = 1024;

/// It has not been answered.
pub struct Given {
    stream: TcpStream,
    /// What the laptop has sent on it already.
    first: Vec<u8>,
}

impl Given {
    /// With what was read of it: `first`, and what `front` goes on with.
    pub fn new(stream: OwnedFd, mut first: Vec<u8>, front: &UnixStream) -> io::Result<Given> {
        front.set_read_timeout(Some(REQUEST_LIMIT))?;
        let most = FIRST_BYTES.saturating_sub(first.len()) as u64 + 1;
        front.take(most).read_to_end(&mut first)?;
        match first.len() <= FIRST_BYTES {
            true => Ok(Given { stream: TcpStream::from(stream), first }),
            false => Err(ErrorKind::FileTooLarge.into()),
        }
    }

    /// It carries bytes from now on, of which these are the first.
    pub fn accept(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        self.put(&answer::switched(BYTES))?;
        // What comes from userspace is no TCP, and ends with its tunnel.
        let _ = tcp::ask_now_and_then(&self.stream);
        Ok((self.stream.into(), self.first))
    }

    pub fn refuse(self, Refused { code, why }: Refused) {
        self.end(code.word(), &why);
    }

    fn end(self, word: &str, why: &str) {
        // Whoever has gone hears nothing.
        let _ = self.put(&answer::line(&joint::refusal_line(word, why)));
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Nothing has been sent before: there is room.
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }
}

/// One of those that may be undecided.
struct Undecided;

static UNDECIDED: AtomicUsize = AtomicUsize::new(0);

impl Drop for Undecided {
    fn drop(&mut self) {
        UNDECIDED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Does what a request's line asks for.
pub fn call(request: &str, given: Given) {
    let before = UNDECIDED.fetch_add(1, Ordering::AcqRel);
    let _counted = Undecided;
    if before >= MOST {
        return given.end(code::BUSY, "too many connections wait for an answer");
    }
    if let Err((given, refused)) = begin(request, given) {
        given.refuse(refused);
    }
}

fn begin(request: &str, given: Given) -> Result<(), (Given, Refused)> {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err(refused) => return Err((given, refused)),
    };
    match request.method.as_str() {
        PORTS_CONNECT => match PortNumber::read_strictly(request.params) {
            Ok(wanted) => ports::connect(wanted, given),
            Err(error) => Err((given, methods::refused(Code::BadParams)(error))),
        },
        BRIDGE_TAKE => match WishId::read_strictly(request.params) {
            Ok(WishId { id }) => wish(id, given),
            Err(error) => Err((given, methods::refused(Code::BadParams)(error))),
        },
        MIGRATION_SEND => pass(Side::Source, request, given),
        MIGRATION_RECEIVE => pass(Side::Target, request, given),
        other => Err((given, methods::unknown(other))),
    }
}

fn pass(side: Side, request: Request, given: Given) -> Result<(), (Given, Refused)> {
    match AskPass::read_strictly(request.params) {
        Ok(asked) => migration::begin(side, &asked, given),
        Err(error) => Err((given, methods::refused(Code::BadParams)(error))),
    }
}

fn wish(id: u64, given: Given) -> Result<(), (Given, Refused)> {
    if let Err(unable) = bridge::claim(id) {
        return Err((given, unable.into()));
    }
    match given.accept() {
        // Whoever wished it may have gone meanwhile: its end tells.
        Ok((laptop, first)) => drop(bridge::take(id, laptop, first)),
        Err(_) => bridge::unclaim(id),
    }
    Ok(())
}
