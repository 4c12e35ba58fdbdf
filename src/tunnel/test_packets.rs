//! Inner packets for tests, made and checked without the code under test.

#[derive(Clone, Debug)]
pub(super) struct TestPacket {
    pub v6: bool,
    pub udp: bool,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Last byte of the addresses.
    pub hosts: [u8; 2],
    pub ports: [u16; 2],
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(super) const DF: u16 = 0x4000;

impl TestPacket {
    pub fn tcp(v6: bool, seq: u32, len: usize) -> TestPacket {
        TestPacket {
            v6,
            udp: false,
            tos: 0,
            ttl: 64,
            id: 100,
            fragment: 0,
            hosts: [1, 2],
            ports: [40_000, 443],
            seq,
            ack: 7,
            flags: 0x10,
            window: 512,
            urgent: 0,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..len).map(|i| (seq as usize + i) as u8).collect(),
        }
    }

    pub fn udp(v6: bool, len: usize) -> TestPacket {
        TestPacket { udp: true, options: Vec::new(), ..TestPacket::tcp(v6, 0, len) }
    }

    /// With right checksums.
    pub fn packet(&self) -> Vec<u8> {
        let mut transport = Vec::new();
        for port in self.ports {
            transport.extend(port.to_be_bytes());
        }
        if self.udp {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        } else {
            transport.extend(self.seq.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.extend([(20 + self.options.len() as u8) << 2, self.flags]);
            transport.extend(self.window.to_be_bytes());
            transport.extend([0, 0]);
            transport.extend(self.urgent.to_be_bytes());
            transport.extend(&self.options);
        }
        transport.extend(&self.payload);
        let protocol = if self.udp { 17 } else { 6 };
        let mut packet = self.network(protocol, transport.len());
        let network = packet.len();
        packet.extend(transport);
        let at = network + if self.udp { 6 } else { 16 };
        let sum = match !transport_sum(&packet) {
            0 if self.udp => 0xffff,
            sum => sum,
        };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// `body` of some other protocol behind a network header like this packet's.
    pub fn carry(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        [self.network(protocol, body.len()), body.to_vec()].concat()
    }

    fn network(&self, protocol: u8, len: usize) -> Vec<u8> {
        if self.v6 {
            let mut ip = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 9];
            ip.extend((len as u16).to_be_bytes());
            ip.extend([protocol, self.ttl]);
            for host in self.hosts {
                ip.extend([0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
            return ip;
        }
        let mut ip = vec![0x45, self.tos];
        ip.extend((20 + len as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, protocol, 0, 0]);
        for host in self.hosts {
            ip.extend([10, 10, 0, host]);
        }
        let sum = !plain_sum(&ip, 0);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip
    }
}

/// A VXLAN header and the Ethernet header behind it.
pub(super) fn vxlan(inner_v6: bool) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0, 0, 42, 0];
    bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    bytes.extend(if inner_v6 { [0x86, 0xdd] } else { [8, 0] });
    bytes
}

/// Leave the sum over the pseudo-header where the right checksum of the transport at `transport`
/// stands, `offset` bytes behind its beginning.
pub(super) fn leave_partial(packet: &mut [u8], transport: usize, offset: usize) {
    let at = transport + offset;
    let check = u16::from_be_bytes([packet[at], packet[at + 1]]);
    packet[at..at + 2].copy_from_slice(&[0, 0]);
    // Sum of the whole less that of the transport leaves the pseudo-header's.
    let pseudo = plain_sum(&(!check).to_be_bytes(), u32::from(!plain_sum(&packet[transport..], 0)));
    packet[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
}

/// Straight from RFC 1071.
fn plain_sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for w in bytes.chunks(2) {
        sum += u32::from(w[0]) << 8 | w.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Over pseudo-header and transport; without options or extension headers.
fn transport_sum(packet: &[u8]) -> u16 {
    let (addresses, protocol, from) = match packet[0] >> 4 {
        4 => (&packet[12..20], packet[9], 20),
        _ => (&packet[8..40], packet[6], 40),
    };
    let start = plain_sum(addresses, u32::from(protocol));
    let start = plain_sum(&((packet.len() - from) as u32).to_be_bytes(), u32::from(start));
    plain_sum(&packet[from..], u32::from(start))
}

/// Whether all checksums are right.
pub(super) fn is_right(packet: &[u8]) -> bool {
    (packet[0] >> 4 != 4 || plain_sum(&packet[..20], 0) == 0xffff)
        && transport_sum(packet) == 0xffff
}
