//! The header fields that say how much of a flow a packet is: lengths, ids, sequence numbers, flags
//! and checksums. Written anew for each piece of a packet that is cut, and for the whole of packets
//! that are put together; the one is the inverse of the other.

use super::checksum::{self, closed};
use super::virtio_header::Kind;

pub const UDP_LEN: usize = 8;
pub const TCP_LEN: usize = 20;
pub const PSH: u8 = 0x08;
const FIN: u8 = 0x01;
const CWR: u8 = 0x80;

/// Which headers there are, and where.
#[derive(Clone, Copy)]
pub struct Headers {
    pub kind: Kind,
    /// Where the network header begins, and the transport header.
    pub network: usize,
    pub transport: usize,
}

/// A piece of a packet that is cut.
pub struct Piece {
    /// Pieces and payload bytes in front of it.
    pub number: u16,
    pub offset: usize,
    pub last: bool,
}

impl Headers {
    /// Make the headers of `packet`, a copy of the whole's, those of this piece; what its checksum
    /// is for besides the transport is `pseudo` and the length. The sum of these two.
    pub fn piece(&self, packet: &mut [u8], piece: &Piece, pseudo: u16) -> Option<u16> {
        let len = u16::try_from(packet.len() - self.network).ok()?;
        let (front, transport) = packet.split_at_mut_checked(self.transport)?;
        network(front.get_mut(self.network..)?, len, piece.number)?;
        let covered = length(transport);
        match self.kind {
            Kind::Udp => *transport.get_mut(4..)?.first_chunk_mut()? = covered,
            _ => tcp(transport, u32::try_from(piece.offset).ok()?, piece.number == 0, piece.last)?,
        }
        let at = self.kind.checksum_offset();
        *transport.get_mut(at..)?.first_chunk_mut::<2>()? = [0, 0];
        let pseudo = checksum::add(pseudo, u16::from_be_bytes(covered));
        let total = checksum::add(pseudo, checksum::sum(transport));
        let check = closed(total, self.kind == Kind::Udp).to_be_bytes();
        *transport.get_mut(at..)?.first_chunk_mut()? = check;
        Some(pseudo)
    }

    /// Make the headers `head` of the first packet those of a whole of `len` bytes, whose checksum
    /// is left to whoever cuts it: the field holds `pseudo`, the sum over the pseudo-header.
    pub fn whole(&self, head: &mut [u8], len: u16, push: bool, pseudo: u16) -> Option<()> {
        let (front, transport) = head.split_at_mut_checked(self.transport)?;
        network(front.get_mut(self.network..)?, len, 0)?;
        if self.kind == Kind::Udp {
            let covered = len.checked_sub(u16::try_from(self.transport).ok()?)?;
            *transport.get_mut(4..)?.first_chunk_mut()? = covered.to_be_bytes();
        } else if push {
            *transport.get_mut(13)? |= PSH;
        }
        let at = self.kind.checksum_offset();
        *transport.get_mut(at..)?.first_chunk_mut()? = pseudo.to_be_bytes();
        Some(())
    }
}

/// Length, id and checksum of a network header whose packet has `len` bytes and stands `ahead`
/// places behind the first.
pub fn network(network: &mut [u8], len: u16, ahead: u16) -> Option<()> {
    if is_v4(network) {
        let ip = network.first_chunk_mut::<20>()?;
        (ip[2], ip[3]) = len.to_be_bytes().into();
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(ahead);
        (ip[4], ip[5]) = id.to_be_bytes().into();
        (ip[10], ip[11]) = (0, 0);
        let check = !checksum::sum(network);
        *network.get_mut(10..)?.first_chunk_mut()? = check.to_be_bytes();
    } else {
        *network.get_mut(4..)?.first_chunk_mut()? = len.checked_sub(40)?.to_be_bytes();
    }
    Some(())
}

fn tcp(tcp: &mut [u8], offset: u32, first: bool, last: bool) -> Option<()> {
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

pub fn is_v4(network: &[u8]) -> bool {
    network.first().is_some_and(|byte| byte >> 4 == 4)
}

/// Whether this may be all in front of a transport header.
pub fn is_network(network: &[u8]) -> bool {
    match network.first() {
        Some(byte) if byte >> 4 == 4 => {
            network.len() >= 20 && network.len() == usize::from(byte & 15) * 4
        }
        Some(byte) => byte >> 4 == 6 && network.len() >= 40,
        None => false,
    }
}

/// Of a transport in a packet whose length has been found to fit in 16 bits.
pub fn length(bytes: &[u8]) -> [u8; 2] {
    (bytes.len() as u16).to_be_bytes()
}
