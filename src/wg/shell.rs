//! What the protocol asks of whoever runs it.

use super::endpoint::Endpoint;

/// Where randomness comes from. Only the operating system's may be used outside tests (R98).
pub trait Entropy: Send {
    fn fill(&mut self, out: &mut [u8]);
}

/// Where the device's output goes that is not the direct answer to an input.
pub trait Sink {
    /// One datagram to send; `tos` is the whole outer TOS or traffic class byte.
    fn to_wire(&mut self, to: &Endpoint, tos: u8, datagram: &[u8]);
    /// One packet for the TUN that did not come from the wire: an ICMP error of our own.
    fn to_tun(&mut self, packet: &[u8]);
}
