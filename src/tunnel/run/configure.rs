//! A change of the configuration, carried out as a whole or not at all.

use super::Loop;
use crate::sys::{code, errno};
use crate::tunnel::request::Request;
use crate::tunnel::uapi;
use crate::wg::Now;
use std::io;

impl Loop {
    /// Carry out a whole configuration request. What the system may refuse comes first, and then
    /// nothing is changed.
    pub(super) fn apply(&mut self, now: Now, request: &Request) -> Result<(), i32> {
        self.apply_sockets(request).map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => code::EADDRINUSE,
            _ => errno(&e),
        })?;
        match (request.private_key, &request.other_private_keys) {
            (None, None) => {}
            (Some(key), None) => {
                let key = Some(key).filter(|k| *k != [0; 32]);
                self.device.set_private_key(now, key, &mut self.io);
            }
            (key, Some(others)) => {
                let main = key.or_else(|| self.device.private_key());
                self.device.set_private_keys(now, main, others, &mut self.io);
            }
        }
        if request.replace_peers {
            self.device.remove_all_peers();
        }
        for peer in &request.peers {
            let done = self.device.update_peer(now, peer, &mut self.io);
            done.map_err(|e| uapi::refused(&e))?;
        }
        self.io.flush();
        Ok(())
    }

    /// Mark and port: both, or neither.
    fn apply_sockets(&mut self, request: &Request) -> io::Result<()> {
        let udp = &mut self.io.udp;
        let before = udp.sockets.mark();
        if let Some(mark) = request.fwmark.filter(|m| *m != before) {
            udp.sockets.set_mark(mark)?;
        }
        if let Some(port) = request.listen_port.filter(|p| *p != udp.sockets.port()) {
            if let Err(e) = udp.rebind(port) {
                let _ = udp.sockets.set_mark(before);
                return Err(e);
            }
            self.publish_port();
        }
        Ok(())
    }

    /// [`Loop::apply`] before the thread exists.
    pub fn configure(&mut self, request: &Request) -> Result<(), i32> {
        self.apply(self.clock.now(), request)
    }
}
