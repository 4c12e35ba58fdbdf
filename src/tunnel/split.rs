//! One packet from the TUN, cut into the packets that it stands for.
//!
//! Does what a network card with segmentation offload does: copies the headers in front of each
//! piece of the payload and mends lengths, ids, sequence numbers, flags and checksums. The rules
//! are those of the kernel's own software fallback, so that nobody can tell the difference. What is
//! cut may lie in a datagram of a tunnel, whose headers are copied and mended as well (`outer`).

#[path = "split/outer.rs"] // the fuzz target compiles this file at another place
mod outer;

use self::outer::Outer;
use super::offload::{self, Header, Kind, TCP_CSUM, UDP_CSUM};
use super::sum;

const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// What is left of a packet from the TUN.
pub(super) struct Split<'a> {
    /// Headers of network and transport; empty for a packet that is not to be cut.
    head: &'a [u8],
    payload: &'a [u8],
    /// Payload bytes in each piece but the last.
    segment: usize,
    kind: Kind,
    /// What is in front of the network header.
    outer: Option<Outer>,
    /// Where the network header begins, and the transport header.
    network: usize,
    transport: usize,
    /// Sum over the pseudo-header without the length.
    pseudo: u16,
    /// Pieces and payload bytes that were taken.
    taken: u16,
    offset: usize,
    /// The empty packet has been handed out, or whatever there was.
    done: bool,
}

impl<'a> Split<'a> {
    /// `None` if the header contradicts the packet.
    pub fn new(header: &Header, packet: &'a mut [u8]) -> Option<Split<'a>> {
        if header.kind == Kind::Whole {
            if let Some(at) = header.checksum {
                offload::finish(packet, at).then_some(())?;
            }
            return Some(Split::whole(packet));
        }
        Split::cut(header, packet)
    }

    /// A packet that is complete.
    pub fn whole(packet: &'a [u8]) -> Split<'a> {
        Split {
            head: &[],
            payload: packet,
            segment: packet.len(),
            kind: Kind::Whole,
            outer: None,
            network: 0,
            transport: 0,
            pseudo: 0,
            taken: 0,
            offset: 0,
            done: false,
        }
    }

    fn cut(header: &Header, packet: &'a [u8]) -> Option<Split<'a>> {
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
        let (len, csum) = match header.kind {
            Kind::Udp => (UDP_LEN, UDP_CSUM),
            _ => (usize::from(packet.get(transport + 12)? >> 4) * 4, TCP_CSUM),
        };
        let shortest = if header.kind == Kind::Udp { UDP_LEN } else { TCP_LEN };
        if !version_fits || !is_network(inner) || len < shortest || header.segment == 0 {
            return None;
        }
        let (head, payload) = packet.split_at_checked(transport + len)?;
        let partial = u16::from_be_bytes(*head.get(transport + csum..)?.first_chunk()?);
        let covered = u16::try_from(packet.len() - transport).ok()?;
        Some(Split {
            head,
            payload,
            segment: usize::from(header.segment),
            kind: header.kind,
            outer,
            network,
            transport,
            pseudo: sum::take(partial, covered),
            taken: 0,
            offset: 0,
            done: false,
        })
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
        if self.kind != Kind::Whole {
            self.mend(out, last)?;
        }
        self.done = last;
        self.offset = end;
        self.taken = self.taken.wrapping_add(1);
        Some(len)
    }

    fn mend(&self, out: &mut [u8], last: bool) -> Option<()> {
        let len = u16::try_from(out.len() - self.network).ok()?;
        let (front, transport) = out.split_at_mut_checked(self.transport)?;
        mend_network(front.get_mut(self.network..)?, len, self.taken)?;
        match self.kind {
            Kind::Udp => *transport.get_mut(4..)?.first_chunk_mut()? = to_len(transport),
            _ => mend_tcp(transport, u32::try_from(self.offset).ok()?, self.taken == 0, last)?,
        }
        let udp = self.kind == Kind::Udp;
        let at = if udp { UDP_CSUM } else { TCP_CSUM };
        *transport.get_mut(at..)?.first_chunk_mut::<2>()? = [0, 0];
        let covered = sum::add(self.pseudo, u16::from_be_bytes(to_len(transport)));
        let total = sum::add(covered, sum::sum(transport));
        let check = offload::closed(total, udp).to_be_bytes();
        *transport.get_mut(at..)?.first_chunk_mut()? = check;
        match &self.outer {
            // Of a transport with a right checksum, with its pseudo-header, the sum is all ones.
            Some(outer) => outer.mend(out, self.taken, self.transport, !covered),
            None => Some(()),
        }
    }
}

fn is_v4(network: &[u8]) -> bool {
    network.first().is_some_and(|byte| byte >> 4 == 4)
}

/// Whether this may be all in front of a transport header.
fn is_network(network: &[u8]) -> bool {
    match network.first() {
        Some(byte) if byte >> 4 == 4 => {
            network.len() >= 20 && network.len() == usize::from(byte & 15) * 4
        }
        Some(byte) => byte >> 4 == 6 && network.len() >= 40,
        None => false,
    }
}

/// Of a piece, which is shorter than 64 KiB: `mend` has checked.
fn to_len(bytes: &[u8]) -> [u8; 2] {
    (bytes.len() as u16).to_be_bytes()
}

pub(super) fn mend_network(network: &mut [u8], len: u16, taken: u16) -> Option<()> {
    if network.first()? >> 4 == 4 {
        let ip = network.first_chunk_mut::<20>()?;
        (ip[2], ip[3]) = len.to_be_bytes().into();
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(taken);
        (ip[4], ip[5]) = id.to_be_bytes().into();
        (ip[10], ip[11]) = (0, 0);
        let check = !sum::sum(network);
        *network.get_mut(10..)?.first_chunk_mut()? = check.to_be_bytes();
    } else {
        *network.get_mut(4..)?.first_chunk_mut()? = len.checked_sub(40)?.to_be_bytes();
    }
    Some(())
}

fn mend_tcp(tcp: &mut [u8], offset: u32, first: bool, last: bool) -> Option<()> {
    let tcp = tcp.first_chunk_mut::<TCP_LEN>()?;
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset);
    [tcp[4], tcp[5], tcp[6], tcp[7]] = seq.to_be_bytes();
    // These announce something once: the end at the end, a smaller window at the beginning.
    if !last {
        tcp[13] &= !(FIN | PSH);
    }
    if !first {
        tcp[13] &= !CWR;
    }
    Some(())
}

#[cfg(test)]
#[path = "split/tests.rs"]
mod tests;
