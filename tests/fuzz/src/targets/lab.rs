//! The simulator and the stranger of tests/wg, compiled here as they are, and what several targets
//! start from. Not all of them is used here.

#[allow(dead_code)]
#[path = "../../../wg/packet.rs"]
mod packet;
#[allow(dead_code)]
#[path = "../../../wg/sim.rs"]
mod sim;
#[allow(dead_code)]
#[path = "../../../wg/stranger.rs"]
mod stranger;

pub use sim::*;
pub use stranger::{ADDRESS, INNER, Keys, Later, Stranger, mac2_is_right, stamp, with_cookie};

use hopbox::wg::Inbound;

/// Where somebody writes from who knows nothing.
pub const FOE: u8 = 250;
/// Unix time at which the simulation begins.
pub const EPOCH_S: u64 = 1_700_000_000;

/// Device A with a peer that has a session, the stranger, and with a peer that does not answer, B.
/// B is played by hand, too: its device hears nothing.
pub struct Lab {
    pub s: Sim,
    pub who: Stranger,
    pub keys: Keys,
    pub b: Stranger,
}

impl Lab {
    pub fn new() -> Lab {
        let mut s = Sim::strangers(3, 2);
        let mut who = stranger::introduce(&mut s, A);
        let keys = stranger::join(&mut s, A, &mut who, 0x1111);
        assert_eq!(s.inject(A, v4(ADDRESS), &keys.data(0, &[])), Inbound::Consumed);
        let b = Stranger::new(s.nodes[B].private, s.nodes[A].public);
        s.cut(A, B);
        let endpoint = s.nodes[B].addr;
        s.configure(A, B, |u| {
            u.endpoint = Some(endpoint);
            u.allowed_ips = vec![(inner(B), 32, true), (inner6(B), 128, true)];
        })
        .unwrap();
        s.send(A, B, b"anybody there?");
        Lab { s, who, keys, b }
    }

    /// The initiation that B has not answered yet.
    pub fn initiation(&self) -> Option<Vec<u8>> {
        let to_b = |w: &&Wire| w.kind() == Kind::Initiation && w.to == self.s.nodes[B].addr;
        self.s.wire.iter().rev().find(to_b).map(|w| w.bytes.clone())
    }
}

/// Whether a handshake message to the stranger's device has the mac1 that its public key makes.
pub fn mac1_is_right(who: &Stranger, d: &[u8]) -> bool {
    let end = d.len().saturating_sub(16);
    end >= 16 && who.remac(d)[..end] == d[..end]
}

/// What an inner packet says of itself, read once more: source, destination, length, ECN.
pub fn read(p: &[u8]) -> Option<(std::net::IpAddr, std::net::IpAddr, usize, u8)> {
    let word = |at: usize| usize::from(p[at]) << 8 | usize::from(p[at + 1]);
    match p.first()? >> 4 {
        4 if p.len() >= 20 && (20..=p.len()).contains(&word(2)) => {
            let ip = |at| <[u8; 4]>::try_from(&p[at..at + 4]).unwrap().into();
            Some((ip(12), ip(16), word(2), p[1] & 3))
        }
        6 if p.len() >= 40 && 40 + word(4) <= p.len() => {
            let ip = |at| <[u8; 16]>::try_from(&p[at..at + 16]).unwrap().into();
            Some((ip(8), ip(24), 40 + word(4), p[1] >> 4 & 3))
        }
        _ => None,
    }
}
