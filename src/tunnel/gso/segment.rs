//! One packet from the TUN, cut into the packets that it stands for.
//!
//! Does what a network card with segmentation offload does: copies the headers in front of each
//! piece of the payload and has them rewritten (`rewrite`). The rules are those of the kernel's own
//! software fallback, so that nobody can tell the difference. What is cut may lie in a datagram of
//! a tunnel, whose headers are copied and rewritten as well (`outer`).

use super::checksum;
use super::outer::Outer;
use super::rewrite::{Headers, Piece, TCP_LEN, UDP_LEN, is_network, is_v4};
use super::virtio_header::{Header, Kind};

const TCP: u8 = 6;
/// Of its flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const URG: u8 = 0x20;
/// "More fragments", and where a fragment stands.
const FRAGMENT: u16 = 0x3fff;

/// What is left of a packet from the TUN.
pub struct Segments<'a> {
    /// Headers of network and transport; empty for a packet that is not to be cut.
    head: &'a [u8],
    payload: &'a [u8],
    /// Payload bytes in each piece but the last.
    segment: usize,
    headers: Headers,
    /// What is in front of the network header.
    outer: Option<Outer>,
    /// Sum over the pseudo-header without the length.
    pseudo: u16,
    /// Pieces and payload bytes that were taken.
    taken: u16,
    offset: usize,
    /// The empty packet has been handed out, or whatever there was.
    done: bool,
}

impl<'a> Segments<'a> {
    /// `None` if the header contradicts the packet.
    pub fn new(header: &Header, packet: &'a mut [u8]) -> Option<Segments<'a>> {
        if header.kind == Kind::Whole {
            if let Some(at) = header.checksum {
                checksum::finish(packet, at).then_some(())?;
            }
            return Some(Segments::whole(packet));
        }
        Segments::cut(header, packet)
    }

    /// A packet that is complete.
    pub fn whole(packet: &'a [u8]) -> Segments<'a> {
        Segments {
            head: &[],
            payload: packet,
            segment: packet.len(),
            headers: Headers { kind: Kind::Whole, network: 0, transport: 0 },
            outer: None,
            pseudo: 0,
            taken: 0,
            offset: 0,
            done: false,
        }
    }

    fn cut(header: &Header, packet: &'a [u8]) -> Option<Segments<'a>> {
        let (start, _) = header.checksum?;
        let transport = usize::from(start);
        let outer = match &header.tunnel {
            Some(tunnel) => Some(Outer::new(tunnel, packet)?),
            None => None,
        };
        let network = header.tunnel.map_or(0, |tunnel| usize::from(tunnel.network));
        let inner = packet.get(network..transport)?;
        let version_fits = match header.kind {
            Kind::Tcp4 => is_v4(inner),
            Kind::Tcp6 => !is_v4(inner),
            _ => true,
        };
        let (len, shortest) = match header.kind {
            Kind::Udp => (UDP_LEN, UDP_LEN),
            _ => (usize::from(packet.get(transport + 12)? >> 4) * 4, TCP_LEN),
        };
        if !version_fits || !is_network(inner) || len < shortest || header.segment == 0 {
            return None;
        }
        let (head, payload) = packet.split_at_checked(transport + len)?;
        let at = transport + header.kind.checksum_offset();
        let partial = u16::from_be_bytes(*head.get(at..)?.first_chunk()?);
        let covered = u16::try_from(packet.len() - transport).ok()?;
        Some(Segments {
            head,
            payload,
            segment: usize::from(header.segment),
            headers: Headers { kind: header.kind, network, transport },
            outer,
            pseudo: checksum::take(partial, covered),
            taken: 0,
            offset: 0,
            done: false,
        })
    }

    /// From here on no packet of TCP is longer than `most` bytes. Others stay as they are (R104).
    /// To be called before the first is taken.
    pub fn limit(&mut self, most: usize) {
        match self.headers.kind {
            Kind::Tcp4 | Kind::Tcp6 => {
                let room = most.saturating_sub(self.head.len()).max(1);
                self.segment = self.segment.min(room);
            }
            Kind::Whole if self.payload.len() > most => {
                if let Some(cut) = Segments::of_tcp(self.payload, most) {
                    *self = cut;
                }
            }
            Kind::Whole | Kind::Udp => {}
        }
    }

    /// A packet of TCP over IPv4 that is complete and right, cut. `None` for any other: a
    /// beginning, an end by force and urgent bytes stand where they stand.
    fn of_tcp(packet: &'a [u8], most: usize) -> Option<Segments<'a>> {
        let ip = packet.first_chunk::<20>()?;
        let (transport, fragment) =
            (usize::from(ip[0] & 15) * 4, u16::from_be_bytes([ip[6], ip[7]]));
        let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if !is_v4(ip) || ip[9] != TCP || fragment & FRAGMENT != 0 || len != packet.len() {
            return None;
        }
        let tcp = packet.get(transport..)?;
        let head = transport + usize::from(tcp.get(12)? >> 4) * 4;
        if head < transport + TCP_LEN || tcp.get(13)? & (SYN | RST | URG) != 0 {
            return None;
        }
        let pseudo = checksum::add(checksum::sum(ip.get(12..)?), u16::from(TCP));
        let covered = checksum::add(pseudo, u16::try_from(tcp.len()).ok()?);
        if checksum::add(covered, checksum::sum(tcp)) != u16::MAX {
            return None;
        }
        let (head, payload) = packet.split_at_checked(head)?;
        is_network(head.get(..transport)?).then_some(Segments {
            head,
            payload,
            segment: most.checked_sub(head.len()).filter(|room| *room > 0)?,
            headers: Headers { kind: Kind::Tcp4, network: 0, transport },
            outer: None,
            pseudo,
            taken: 0,
            offset: 0,
            done: false,
        })
    }

    /// How all of them begin: the headers, and more of what is not to be cut.
    pub fn front(&self) -> &[u8] {
        if self.head.is_empty() { self.payload } else { self.head }
    }

    /// Bytes of the next packet; `None` when there is none.
    pub fn next_len(&self) -> Option<usize> {
        let left = self.payload.len() - self.offset;
        (!self.done).then_some(self.head.len() + left.min(self.segment))
    }

    /// Write the next packet to the front of `out`; its length. `None` when there is none, or no
    /// room for it.
    pub fn next(&mut self, out: &mut [u8]) -> Option<usize> {
        let len = self.next_len()?;
        let out = out.get_mut(..len)?;
        let (head, body) = out.split_at_mut_checked(self.head.len())?;
        head.copy_from_slice(self.head);
        let end = self.offset + body.len();
        body.copy_from_slice(self.payload.get(self.offset..end)?);
        let last = end == self.payload.len();
        if self.headers.kind != Kind::Whole {
            self.rewrite(out, last)?;
        }
        self.done = last;
        self.offset = end;
        self.taken = self.taken.wrapping_add(1);
        Some(len)
    }

    fn rewrite(&self, out: &mut [u8], last: bool) -> Option<()> {
        let piece = Piece { number: self.taken, offset: self.offset, last };
        let pseudo = self.headers.piece(out, &piece, self.pseudo)?;
        match &self.outer {
            // Of a transport with a right checksum, with its pseudo-header, the sum is all ones.
            Some(outer) => outer.rewrite(out, self.taken, self.headers.transport, !pseudo),
            None => Some(()),
        }
    }
}

#[cfg(test)]
pub mod tests;
