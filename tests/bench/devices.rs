//! What devices need around them to be measured alone.

use hopbox::wg::{Endpoint, Entropy, HEADROOM, Now, Sink, TAILROOM, Time, Wall};

/// No secret here is worth one, and each run has the same.
pub struct Noise(pub u64);

impl Entropy for Noise {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

/// Keeps what is sent.
#[derive(Default)]
pub struct Wire(pub Vec<Vec<u8>>);

impl Sink for Wire {
    fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
        self.0.push(datagram.to_vec());
    }

    fn to_tun(&mut self, _: &[u8]) {}
}

pub fn now(ns: u64) -> Now {
    Now { boot: Time::from_nanos(ns), wall: Wall { secs: 1_700_000_000, nanos: 0 } }
}

/// An IPv4 packet of UDP, with room around it.
pub fn packet(from: [u8; 4], to: [u8; 4], len: usize) -> Vec<u8> {
    let mut buf = vec![0; HEADROOM + len + TAILROOM];
    let p = &mut buf[HEADROOM..HEADROOM + len];
    p[0] = 0x45;
    p[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    p[8..10].copy_from_slice(&[64, 17]);
    p[12..16].copy_from_slice(&from);
    p[16..20].copy_from_slice(&to);
    buf
}
