//! Who gets a connection: whom the kernel says to be admitted, within bounds per user.

use crate::core::conn::Conn;
use crate::core::peer_cred::Peer;
use crate::core::serve::PAUSE;
use crate::core::server::Server;
use crate::core::service::Service;
use crate::proto::{Code, OpError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// One slot is root's.
pub const CONNECTIONS_MAX: usize = 32;
pub const CONNECTIONS_PER_UID: usize = 8;
/// Connections of one user that are still silent after `SILENCE`. Several programs that start
/// together shake hands long before that and are never counted.
pub const SILENT_PER_UID: usize = 4;
const SILENCE: Duration = Duration::from_secs(1);
/// Most connections accepted per turn of the loop.
const ACCEPTS_PER_TURN: usize = 8;

impl<S: Service> Server<S> {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // Out of descriptors: whoever came last and has said nothing goes first.
                    let silent = self.conns.iter().rposition(|conn| !conn.handshaken);
                    silent.map(|at| self.conns.remove(at));
                    self.accept_after = Instant::now() + PAUSE;
                    return;
                }
            }
        }
    }

    /// Makes room for one more silent connection of a user, at the cost of its oldest.
    fn end_silent(&mut self, uid: u32) {
        let silent = |conn: &Conn| {
            conn.peer.uid == uid && !conn.handshaken && conn.opened.elapsed() > SILENCE
        };
        if self.conns.iter().filter(|conn| silent(conn)).count() >= SILENT_PER_UID {
            let oldest = self.conns.iter().position(silent);
            oldest.map(|at| self.conns.remove(at));
        }
    }

    /// Dropping the stream closes it without a byte.
    fn admit(&mut self, stream: UnixStream) {
        let peer = match Peer::of(stream.as_fd()) {
            Some(peer) if peer.admitted(self.service.admission()) => peer,
            Some(peer) => return self.audit.denied(peer.who(0), Instant::now()),
            None => return,
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        self.end_silent(peer.uid);
        let own = self.conns.iter().filter(|conn| conn.peer.uid == peer.uid).count();
        let most = if peer.uid == 0 { CONNECTIONS_MAX } else { CONNECTIONS_MAX - 1 };
        let mut conn = Conn::new(self.next_id, stream, peer);
        if own >= CONNECTIONS_PER_UID || self.conns.len() >= most {
            let error = OpError::new(Code::LimitExceeded, "too many connections");
            conn.reply("", Err(error));
            conn.flush();
            return;
        }
        self.next_id += 1;
        self.conns.push(conn);
    }
}
