//! Who gets a connection: whom the kernel says to be admitted, within bounds per user.

use super::*;

impl Server {
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
            Some(peer) if peer.admitted(&self.config) => peer,
            Some(peer) => {
                let who = Who { conn: 0, uid: peer.uid, gid: peer.gid, pid: peer.pid };
                return self.audit.denied(who, Instant::now());
            }
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
            conn.reply("", &Err(error), None);
            conn.flush();
            return;
        }
        self.next_id += 1;
        self.conns.push(conn);
    }
}
