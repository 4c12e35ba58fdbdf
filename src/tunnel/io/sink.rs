//! TUN and sockets, and where the output of the device goes that is not the answer to a packet:
//! they are its [`wg::Sink`].

use super::aside::Aside;
use super::tun::{Tun, TunError};
use super::udp::Udp;
use crate::tunnel::queue::SendQueue;
use crate::wg::{self, Endpoint};

/// Bytes of datagrams that the device made on its own; when there is no room for one more, they go
/// out at once.
const OWN_BYTES: usize = 128 * 1024;

pub struct Io {
    pub tun: Tun,
    /// Beside it, until it has gone.
    pub aside: Option<Aside>,
    pub udp: Udp,
    /// Packets lost since they were last taken; at most a few for each packet of a turn.
    pub lost: Vec<wg::Drop>,
    /// The worst that the TUN said in this turn.
    pub tun_error: Option<TunError>,
    own: SendQueue,
}

impl Io {
    pub fn new(tun: Tun, udp: Udp) -> Io {
        let own = SendQueue::new(OWN_BYTES);
        Io { tun, aside: None, udp, lost: Vec::new(), tun_error: None, own }
    }

    /// Send what the device sent on its own. To be called before other datagrams are sent: it
    /// concerns earlier packets.
    pub fn flush(&mut self) {
        if !self.own.is_empty() {
            self.udp.send(&self.own, &mut self.lost);
            self.own.clear();
        }
    }

    /// Send one datagram that may not be cut in pieces on the way (R103). Whether it is lost is for
    /// whoever sent it to find out.
    pub fn send_whole(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]) {
        use wg::Sink;
        self.flush();
        self.to_wire(to, tos, datagram);
        self.udp.send_whole(&self.own);
        self.own.clear();
    }

    /// Whether who stands beside the TUN has taken this packet.
    pub fn put_aside(&mut self, packet: &[u8]) -> bool {
        let Some(aside) = &mut self.aside else { return false };
        let Some(written) = aside.offer(packet) else { return false };
        if let Err(error) = written {
            self.lost.push(wg::Drop::TunFull);
            if error == TunError::Gone {
                self.aside = None;
            }
        }
        true
    }

    /// Account for a write to the TUN.
    pub fn note_tun(&mut self, written: Result<(), TunError>) {
        let Err(error) = written else { return };
        self.lost.push(wg::Drop::TunFull);
        if matches!(error, TunError::Down | TunError::Gone) {
            self.tun_error = Some(error);
        }
    }
}

impl wg::Sink for Io {
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]) {
        if self.own.is_full(datagram.len()) {
            self.flush();
        }
        let room = self.own.slot().get_mut(..datagram.len());
        // Every datagram of ours is shorter than the longest that there is room for.
        debug_assert!(room.is_some(), "a datagram of {} bytes", datagram.len());
        if let Some(room) = room {
            room.copy_from_slice(datagram);
            self.own.push(to, tos, datagram.len(), None);
        }
    }

    fn to_tun(&mut self, packet: &[u8]) {
        let written = self.tun.write(packet);
        self.note_tun(written);
    }
}
