//! The outer datagram of a tunnel (VXLAN, GENEVE and their kin) around a packet that is cut.
//!
//! Knows of the tunnel's protocol only that every piece gets a copy of its header.

use super::checksum::{self, UDP_CSUM};
use super::rewrite::{UDP_LEN, is_network, is_v4, length, network};
use super::virtio_header::Tunnel;

pub struct Outer {
    /// Where the UDP header begins.
    udp: usize,
    /// Sum over its pseudo-header without the length; none for datagrams without a checksum.
    pseudo: Option<u16>,
}

impl Outer {
    /// `None` if `tunnel` contradicts the packet.
    pub fn new(tunnel: &Tunnel, packet: &[u8]) -> Option<Outer> {
        let udp = usize::from(tunnel.udp);
        let front = packet.get(..udp)?;
        let fits = is_network(front)
            && is_v4(front) != tunnel.v6
            && usize::from(tunnel.network) >= udp + UDP_LEN;
        let covered = u16::try_from(packet.len() - udp).ok().filter(|_| fits)?;
        let partial = u16::from_be_bytes(*packet.get(udp + UDP_CSUM..)?.first_chunk()?);
        let pseudo = tunnel.checksum.then(|| checksum::take(partial, covered));
        Some(Outer { udp, pseudo })
    }

    /// Make these headers those of `out`, which is `taken` pieces behind the first. Everything from
    /// the inner `transport` on is finished, and its sum is `inner`.
    pub fn rewrite(&self, out: &mut [u8], taken: u16, transport: usize, inner: u16) -> Option<()> {
        let len = u16::try_from(out.len()).ok()?;
        network(out.get_mut(..self.udp)?, len, taken)?;
        let udp = out.get_mut(self.udp..)?;
        let len = length(udp);
        *udp.get_mut(4..)?.first_chunk_mut()? = len;
        let Some(pseudo) = self.pseudo else { return Some(()) };
        *udp.get_mut(UDP_CSUM..)?.first_chunk_mut::<2>()? = [0, 0];
        let front = udp.get(..transport.checked_sub(self.udp)?)?;
        // Words that begin at an odd byte add up to the same with their bytes swapped.
        let inner = if front.len() % 2 == 0 { inner } else { inner.swap_bytes() };
        let total =
            checksum::add(checksum::add(pseudo, u16::from_be_bytes(len)), checksum::sum(front));
        let check = checksum::closed(checksum::add(total, inner), true).to_be_bytes();
        *udp.get_mut(UDP_CSUM..)?.first_chunk_mut()? = check;
        Some(())
    }
}

#[cfg(test)]
mod tests;
