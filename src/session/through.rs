//! The agent of a host that is up, asked through the tunnel that a live session of this user holds.
//!
//! 10.10.N.2 is the agent's while a session is up and a stranger's otherwise. So what is secret,
//! and what is to be believed, goes through the interface of that session, which has said at its
//! own socket that it is up; should it end meanwhile, its interface's index leads nowhere. Where no
//! session says so there is no client: ask over SSH. Whoever asks for long looks at the session's
//! [`end`], too: through a tunnel that is no more nothing would be heard, not even that.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::report::Facts;
use super::{control, unread};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::{Canceller, Client};
use crate::sys::poll::{self, Interest};
use crate::sys::threads;
use crate::sys::through::Link;

/// For questions with this laptop's token. `None` when the host is not up.
pub fn with_token(paths: &Paths, host: &HostConfig) -> Option<Client> {
    let link = link(paths, host)?;
    Some(Client::with_token(link, host.peer_ip, host.api_port, &host.token))
}

/// For what may be asked without one.
pub fn without_token(paths: &Paths, host: &HostConfig) -> Option<Client> {
    Some(Client::through(link(paths, host)?, host.peer_ip, host.api_port))
}

/// The interface of the host's live session.
pub fn link(paths: &Paths, host: &HostConfig) -> Option<Link> {
    let Facts { ifindex, local_ip, peer_ip, .. } = control::facts(paths, &host.name)?;
    // A session that began with another host file goes elsewhere.
    let same = local_ip == host.local_ip && peer_ip == host.peer_ip;
    ifindex.filter(|_| same).map(|ifindex| Link { ifindex, local: local_ip })
}

/// Readable when the end of the host's live session begins. `None` of one that does not tell.
pub fn end(paths: &Paths, host: &HostConfig) -> Option<UnixStream> {
    control::stay(paths, &host.name)
}

/// Ends a stream when its session begins to end, from a thread that stays until then; and when
/// nobody reads any more what is made of it, which would be found out with the next word alone.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    is_over: bool,
    is_unread: bool,
    stream: Option<Canceller>,
}

impl Watch {
    /// An error: there is no thread to be had, without which a view might have no end.
    pub fn begin(paths: &Paths, host: &HostConfig) -> io::Result<Watch> {
        let watch = Watch::default();
        if let (Some(session), its) = (end(paths, host), watch.clone()) {
            threads::start("session", move || {
                let _ = poll::wait_one(session.as_fd(), Interest::READ, None);
                let mut watched = its.watched();
                watched.is_over = true;
                watched.stream.iter().for_each(Canceller::cancel);
                // Kept until here: the session waits for it.
                drop(session);
            })?;
        }
        Ok(watch)
    }

    /// From now on the reader of our standard output is looked at, where it is a program.
    pub fn until_unread(&self) {
        let its = self.clone();
        unread::then(move || {
            let mut watched = its.watched();
            watched.is_unread = true;
            watched.stream.iter().for_each(Canceller::cancel);
        });
    }

    pub fn is_unread(&self) -> bool {
        self.watched().is_unread
    }

    /// The stream that is read from now on.
    pub fn attend(&self, stream: Canceller) {
        let mut watched = self.watched();
        if watched.is_over || watched.is_unread {
            stream.cancel();
        }
        watched.stream = Some(stream);
    }

    pub fn is_over(&self) -> bool {
        self.watched().is_over
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
