//! Where the device's output goes: TUN and sockets, as one [`wg::Sink`].

use super::tun::{Trouble, Tun};
use super::udp::Udp;
use crate::wg::{self, Endpoint};

/// Datagrams and bytes that wait to be sent together; when either is reached they go out at once.
const LOOSE_MAX: usize = 64;
const LOOSE_BYTES: usize = 256 * 1024;

pub(super) struct Outside {
    pub tun: Tun,
    pub udp: Udp,
    /// Packets lost since they were last taken; at most a few for each packet of a turn.
    pub lost: Vec<wg::Drop>,
    /// The worst that the TUN said in this turn.
    pub trouble: Option<Trouble>,
    loose: Vec<Loose>,
    bytes: Vec<u8>,
}

/// A datagram that the device made on its own: `bytes[start..end]`.
struct Loose {
    to: Endpoint,
    tos: u8,
    start: usize,
    end: usize,
}

impl Outside {
    pub fn new(tun: Tun, udp: Udp) -> Outside {
        Outside { tun, udp, lost: Vec::new(), trouble: None, loose: Vec::new(), bytes: Vec::new() }
    }

    /// Send what waits.
    pub fn flush(&mut self) {
        if self.loose.is_empty() {
            return;
        }
        let (loose, bytes) = (&self.loose, &self.bytes);
        let nowhere = (Endpoint { remote: ([0, 0, 0, 0], 0).into(), local: None }, 0, &[][..]);
        let message = |i: usize| {
            loose
                .get(i)
                .map_or(nowhere, |l| (l.to, l.tos, bytes.get(l.start..l.end).unwrap_or_default()))
        };
        self.udp.send(loose.len(), message, &mut self.lost);
        self.loose.clear();
        self.bytes.clear();
    }

    pub fn take_lost(&mut self) -> Vec<wg::Drop> {
        std::mem::take(&mut self.lost)
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
        if self.loose.len() >= LOOSE_MAX || self.bytes.len() >= LOOSE_BYTES {
            self.flush();
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.loose.push(Loose { to: *to, tos, start, end: self.bytes.len() });
    }

    fn to_tun(&mut self, packet: &[u8]) {
        let written = self.tun.write(packet);
        self.note_tun(written);
    }
}
