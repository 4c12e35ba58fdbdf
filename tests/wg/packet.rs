//! What the simulator and the tests read and write: inner packets, and datagrams as seen on a wire.

use std::net::{IpAddr, SocketAddr};

use hopbox::wg::Local;

pub type Dev = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Initiation,
    Response,
    Cookie,
    Data,
    Keepalive,
    Junk,
}

pub fn kind(d: &[u8]) -> Kind {
    match (d.first(), d.len()) {
        (Some(1), 148) => Kind::Initiation,
        (Some(2), 92) => Kind::Response,
        (Some(3), 64) => Kind::Cookie,
        (Some(4), 32) => Kind::Keepalive,
        (Some(4), 33..) => Kind::Data,
        _ => Kind::Junk,
    }
}

/// One datagram as it left a device.
#[derive(Clone, Debug)]
pub struct Wire {
    pub t: u64,
    pub from: Dev,
    pub to: SocketAddr,
    pub local: Option<Local>,
    pub tos: u8,
    pub bytes: Vec<u8>,
}

impl Wire {
    pub fn kind(&self) -> Kind {
        kind(&self.bytes)
    }

    pub fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    pub fn counter(&self) -> u64 {
        u64::from_le_bytes(self.bytes[8..16].try_into().unwrap())
    }

    pub fn has_mac2(&self) -> bool {
        self.bytes[self.bytes.len() - 16..] != [0; 16]
    }
}

/// The inner IPv4 address of a device.
pub fn inner(dev: Dev) -> IpAddr {
    IpAddr::from([10, 0, 0, dev as u8 + 1])
}

pub fn inner6(dev: Dev) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, dev as u16 + 1])
}

/// An inner packet with `payload` after the header; `tos` is the whole byte.
pub fn packet(src: IpAddr, dst: IpAddr, tos: u8, payload: &[u8]) -> Vec<u8> {
    let mut p;
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            p = vec![0x45, tos, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
            p.extend(s.octets());
            p.extend(d.octets());
            let total = (20 + payload.len()) as u16;
            p[2..4].copy_from_slice(&total.to_be_bytes());
            let sum = checksum(&p);
            p[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            p = vec![0x60 | tos >> 4, tos << 4, 0, 0, 0, 0, 17, 64];
            p[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            p.extend(s.octets());
            p.extend(d.octets());
        }
        _ => panic!("one family at a time"),
    }
    p.extend(payload);
    p
}

pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What follows the header of an inner packet.
pub fn payload(p: &[u8]) -> &[u8] {
    if p[0] >> 4 == 4 { &p[20..] } else { &p[40..] }
}
