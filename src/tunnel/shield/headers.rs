//! What the shield reads of an IPv4 packet, and which flow it is of. Judges nothing.

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// The shortest TCP header.
pub const TCP_LEN: usize = 20;
const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The header, and what is at hand of what is behind it: of a packet that is quoted not all.
pub struct Packet<'a> {
    pub protocol: u8,
    pub src: u32,
    pub dst: u32,
    pub id: u16,
    /// Where the body stands in the whole that it is a fragment of.
    pub offset: usize,
    pub more: bool,
    pub has_options: bool,
    pub body: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn read(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let ip = bytes.first_chunk::<20>()?;
        let header = usize::from(ip[0] & 15) * 4;
        if ip[0] >> 4 != 4 || header < ip.len() {
            return None;
        }
        let fragment = u16::from_be_bytes([ip[6], ip[7]]);
        Some(Packet {
            protocol: ip[9],
            src: u32::from_be_bytes([ip[12], ip[13], ip[14], ip[15]]),
            dst: u32::from_be_bytes([ip[16], ip[17], ip[18], ip[19]]),
            id: u16::from_be_bytes([ip[4], ip[5]]),
            offset: usize::from(fragment & OFFSET) * 8,
            more: fragment & MORE != 0,
            has_options: header > ip.len(),
            body: bytes.get(header..)?,
        })
    }

    /// The flow of a packet that was sent from here; of ICMP, echo requests have one.
    pub fn flow_of_sender(&self) -> Option<Flow> {
        let (source, destination, id) = self.numbers(ECHO)?;
        Some(match id {
            Some(id) => Flow::new(ICMP, self.dst, id, 0),
            None => Flow::new(self.protocol, self.dst, source, destination),
        })
    }

    /// The flow of a packet that came; of ICMP, answers to echo requests have one.
    pub fn flow_of_receiver(&self) -> Option<Flow> {
        let (source, destination, id) = self.numbers(ECHO_REPLY)?;
        Some(match id {
            Some(id) => Flow::new(ICMP, self.src, id, 0),
            None => Flow::new(self.protocol, self.src, destination, source),
        })
    }

    /// The ports, or the number of an echo of this `kind`.
    fn numbers(&self, kind: u8) -> Option<(u16, u16, Option<u16>)> {
        let b = self.body.first_chunk::<8>()?;
        let number = |a, b| u16::from_be_bytes([a, b]);
        match self.protocol {
            TCP | UDP => Some((number(b[0], b[1]), number(b[2], b[3]), None)),
            ICMP if b[0] == kind && b[1] == 0 => Some((0, 0, Some(number(b[4], b[5])))),
            _ => None,
        }
    }

    /// None of them is set for what is no TCP.
    pub fn tcp_flags(&self) -> u8 {
        self.body.get(13).copied().filter(|_| self.protocol == TCP).unwrap_or(0)
    }
}

/// What belongs together, as it is seen from here: somebody else's address, and a port of ours and
/// one of theirs; of echoes their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: u8,
    /// Address, port here, port there.
    pub pair: u64,
}

impl Flow {
    pub fn new(protocol: u8, remote: u32, here: u16, there: u16) -> Flow {
        let pair = u64::from(remote) << 32 | u64::from(here) << 16 | u64::from(there);
        Flow { protocol, pair }
    }
}
