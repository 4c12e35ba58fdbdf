//! Where the device's output goes: TUN and sockets, as one [`wg::Sink`].

use super::outbox::Outbox;
use super::tun::{Trouble, Tun};
use super::udp::Udp;
use crate::wg::{self, Endpoint};

/// Bytes of datagrams that the device made on its own; when there is no room for one more, they go
/// out at once.
const LOOSE_BYTES: usize = 128 * 1024;

pub(super) struct Outside {
    pub tun: Tun,
    pub udp: Udp,
    /// Packets lost since they were last taken; at most a few for each packet of a turn.
    pub lost: Vec<wg::Drop>,
    /// The worst that the TUN said in this turn.
    pub trouble: Option<Trouble>,
    loose: Outbox,
}

impl Outside {
    pub fn new(tun: Tun, udp: Udp) -> Outside {
        let loose = Outbox::new(LOOSE_BYTES);
        Outside { tun, udp, lost: Vec::new(), trouble: None, loose }
    }

    /// Send what waits.
    pub fn flush(&mut self) {
        if !self.loose.is_empty() {
            self.udp.send(&self.loose, &mut self.lost);
            self.loose.clear();
        }
    }

    /// Send what waits in `outbox`, behind what the device sent on its own, which concerns earlier
    /// packets.
    pub fn send(&mut self, outbox: &mut Outbox) {
        self.flush();
        if !outbox.is_empty() {
            self.udp.send(outbox, &mut self.lost);
            outbox.clear();
        }
    }

    /// Account for a write to the TUN.
    pub fn note_tun(&mut self, written: Result<(), Trouble>) {
        let Err(trouble) = written else { return };
        self.lost.push(wg::Drop::TunFull);
        if matches!(trouble, Trouble::Down | Trouble::Gone) {
            self.trouble = Some(trouble);
        }
    }
}

impl wg::Sink for Outside {
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]) {
        if self.loose.is_full(datagram.len()) {
            self.flush();
        }
        let room = self.loose.slot().get_mut(..datagram.len());
        // Every datagram of ours is shorter than the longest that there is room for.
        debug_assert!(room.is_some(), "a datagram of {} bytes", datagram.len());
        if let Some(room) = room {
            room.copy_from_slice(datagram);
            self.loose.push(to, tos, datagram.len());
        }
    }

    fn to_tun(&mut self, packet: &[u8]) {
        let written = self.tun.write(packet);
        self.note_tun(written);
    }
}
