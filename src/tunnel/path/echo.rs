//! Questions whether packets of a size pass, and their answers: ICMP echoes over IPv4 that say so
//! at their beginning. The rest of one is zeros.
//!
//! Both ends are authenticated by the tunnel; what is random here tells questions of this tunnel
//! from those of one before it and from programs' own.

use std::net::Ipv4Addr;

use crate::tunnel::gso::checksum;

/// Types of ICMP (RFC 792).
pub const ANSWER: u8 = 0;
pub const QUESTION: u8 = 8;

const IP_LEN: usize = 20;
const ICMP: u8 = 1;
/// The header of an echo, and what stands behind it: whose it is, what is random, the limit that
/// its sender keeps to (0 for none).
const ECHO_LEN: usize = 8;
const NAME: [u8; 8] = *b"path-mtu";
const NONCE_AT: usize = IP_LEN + ECHO_LEN + NAME.len();
const LIMIT_AT: usize = NONCE_AT + 8;
/// The shortest question.
pub const MIN_LEN: usize = LIMIT_AT + 2;

/// What one of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    id: u16,
    number: u16,
    nonce: [u8; 8],
    pub limit: Option<u16>,
}

#[derive(Default)]
pub struct Secret {
    id: u16,
    nonce: [u8; 8],
}

impl Secret {
    pub fn new(random: [u8; 10]) -> Secret {
        let [a, b, nonce @ ..] = random;
        Secret { id: u16::from_be_bytes([a, b]), nonce }
    }

    /// A packet of `size` bytes, or as short as it can be.
    pub fn question(
        &self,
        own: Ipv4Addr,
        peer: Ipv4Addr,
        number: u16,
        limit: Option<u16>,
        size: u16,
    ) -> Vec<u8> {
        let size = size.max(MIN_LEN as u16);
        let mut packet = Vec::with_capacity(size.into());
        packet.extend([0x45, 0]);
        packet.extend(size.to_be_bytes());
        // No fragments of it, within the tunnel as without.
        packet.extend([0, 0, 0x40, 0, 64, ICMP, 0, 0]);
        packet.extend(own.octets());
        packet.extend(peer.octets());
        packet.extend([QUESTION, 0, 0, 0]);
        packet.extend(self.id.to_be_bytes());
        packet.extend(number.to_be_bytes());
        packet.extend(NAME);
        packet.extend(self.nonce);
        packet.extend(limit.unwrap_or(0).to_be_bytes());
        packet.resize(size.into(), 0);
        seal(&mut packet, IP_LEN, 10);
        seal(&mut packet, usize::from(size), IP_LEN + 2);
        packet
    }

    /// The number of the question, if it was ours, and the limit that it told.
    pub fn own(&self, answer: &Echo) -> Option<(u16, Option<u16>)> {
        let is_ours = answer.id == self.id && answer.nonce == self.nonce;
        is_ours.then_some((answer.number, answer.limit))
    }
}

/// Writes the checksum at `at` of the header that is before `end`: of IP, or all behind it.
fn seal(packet: &mut [u8], end: usize, at: usize) {
    let from = if at < IP_LEN { 0 } else { IP_LEN };
    let Some(header) = packet.get_mut(from..end) else { return };
    if let Some(field) = header.get_mut(at - from..).and_then(|h| h.first_chunk_mut()) {
        *field = [0, 0];
    }
    let sum = !checksum::sum(header);
    if let Some(field) = header.get_mut(at - from..).and_then(|h| h.first_chunk_mut()) {
        *field = sum.to_be_bytes();
    }
}

/// Who sent a packet over IPv4.
pub fn source(packet: &[u8]) -> Ipv4Addr {
    let octets = packet.get(12..).and_then(|p| p.first_chunk::<4>());
    octets.map_or(Ipv4Addr::UNSPECIFIED, |octets| Ipv4Addr::from(*octets))
}

/// The echo that `packet` is, of this `kind` and between these two.
pub fn read(packet: &[u8], kind: u8, from: Ipv4Addr, to: Ipv4Addr) -> Option<Echo> {
    let p = packet.first_chunk::<MIN_LEN>()?;
    // Most packets end here.
    if p[9] != ICMP || p[IP_LEN] != kind || p[0] != 0x45 {
        return None;
    }
    let is_whole = u16::from_be_bytes([p[6], p[7]]) & 0x3fff == 0 && p[IP_LEN + 1] == 0;
    let is_between = p[12..16] == from.octets() && p[16..20] == to.octets();
    if !is_whole || !is_between || p[IP_LEN + ECHO_LEN..NONCE_AT] != NAME {
        return None;
    }
    let two = |at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
    Some(Echo {
        id: two(IP_LEN + 4),
        number: two(IP_LEN + 6),
        nonce: *p[NONCE_AT..].first_chunk()?,
        limit: Some(two(LIMIT_AT)).filter(|limit| *limit != 0),
    })
}

/// Makes a question that [`read`] has read its answer.
pub fn turn(packet: &mut [u8]) {
    let len = packet.len();
    let Some(p) = packet.first_chunk_mut::<MIN_LEN>() else { return };
    for i in 12..16 {
        p.swap(i, i + 4);
    }
    p[8] = 64;
    p[IP_LEN] = ANSWER;
    seal(packet, IP_LEN, 10);
    seal(packet, len, IP_LEN + 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

    /// R103: a question is an echo that everybody answers, of the very size.
    #[test]
    fn a_question_becomes_its_answer_and_is_known_again() {
        let secret = Secret::new([7; 10]);
        for size in [48, 576, 1419, 1420] {
            let mut packet = secret.question(A, B, 9, Some(1232), size);
            assert_eq!(packet.len(), usize::from(size));
            assert_eq!(checksum::sum(&packet[..20]), 0xffff);
            assert_eq!(checksum::sum(&packet[20..]), 0xffff);
            let asked = read(&packet, QUESTION, source(&packet), B).expect("a question");
            assert_eq!(asked.limit, Some(1232));
            assert_eq!(read(&packet, ANSWER, A, B), None);
            turn(&mut packet);
            assert_eq!(checksum::sum(&packet[..20]), 0xffff);
            assert_eq!(checksum::sum(&packet[20..]), 0xffff);
            let answer = read(&packet, ANSWER, B, A).expect("an answer");
            assert_eq!(secret.own(&answer), Some((9, Some(1232))));
            assert_eq!(Secret::new([8; 10]).own(&answer), None);
        }
        assert_eq!(secret.question(A, B, 9, None, 0).len(), MIN_LEN);
    }

    #[test]
    fn what_is_another_s_is_no_question() {
        let packet = Secret::new([7; 10]).question(A, B, 9, None, 100);
        assert_eq!(read(&packet, QUESTION, A, A), None, "to another");
        for len in 0..MIN_LEN {
            assert_eq!(read(&packet[..len], QUESTION, A, B), None, "{len}");
        }
        for at in [0, 6, 9, 20, 21, 28, 35] {
            let mut other = packet.clone();
            other[at] ^= 0x21;
            assert_eq!(read(&other, QUESTION, A, B), None, "{at}");
        }
    }
}
