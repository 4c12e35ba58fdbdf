//! Cryptokey routing (R75, R77, R80, R96) against a list that is searched from end to end.

use super::bytes::Bytes;
use super::lab::*;
use hopbox::wg::{ConfigError, Drop, Outbound, PeerUpdate};
use std::net::IpAddr;

const STEPS: usize = 120;
/// The first of them has an endpoint, so that its packets can be told from the others'.
const PEERS: usize = 4;

/// (address without the bits beyond the length, length, owner)
#[derive(Default)]
struct List(Vec<(IpAddr, u8, usize)>);

impl List {
    fn apply(&mut self, peer: usize, (ip, len, add): (IpAddr, u8, bool)) {
        let ip = cut(ip, len);
        if add {
            self.0.retain(|(i, l, _)| (*i, *l) != (ip, len));
            self.0.push((ip, len, peer));
        } else {
            self.0.retain(|entry| *entry != (ip, len, peer));
        }
    }

    fn owner(&self, of: IpAddr) -> Option<usize> {
        let covers = |(ip, len, _): &&(IpAddr, u8, usize)| {
            ip.is_ipv4() == of.is_ipv4() && cut(of, *len) == *ip
        };
        self.0.iter().filter(covers).max_by_key(|(_, len, _)| *len).map(|(_, _, peer)| *peer)
    }

    fn of(&self, peer: usize) -> Vec<(IpAddr, u8)> {
        let mut all: Vec<_> =
            self.0.iter().filter(|(_, _, p)| *p == peer).map(|(ip, len, _)| (*ip, *len)).collect();
        all.sort();
        all
    }
}

fn cut(ip: IpAddr, len: u8) -> IpAddr {
    let keep = |byte: usize, b: u8| match usize::from(len).saturating_sub(8 * byte) {
        n @ 0..8 => b & !(0xff >> n),
        _ => b,
    };
    match ip {
        IpAddr::V4(a) => std::array::from_fn::<u8, 4, _>(|i| keep(i, a.octets()[i])).into(),
        IpAddr::V6(a) => std::array::from_fn::<u8, 16, _>(|i| keep(i, a.octets()[i])).into(),
    }
}

/// Addresses that are close to each other, so that prefixes meet.
fn address(b: &mut Bytes) -> IpAddr {
    match b.u8() {
        n @ 0..=127 => IpAddr::from([10, n & 3, b.u8() & 0x83, b.u8()]),
        128..=250 => {
            let mut a = [0; 16];
            (a[0], a[1]) = (0xfd, b.u8() & 1);
            a[7..9].copy_from_slice(&b.array::<2>());
            a[15] = b.u8();
            a.into()
        }
        _ => IpAddr::from(b.array::<16>()),
    }
}

fn key(peer: usize) -> [u8; 32] {
    [9 + peer as u8; 32]
}

pub fn router_ops(data: &[u8]) {
    let mut s = Sim::strangers(1, 1);
    let mut list = List::default();
    let mut there = [false; PEERS];
    let mut b = Bytes::new(data);
    for _ in 0..STEPS {
        if b.is_empty() {
            break;
        }
        let peer = b.below(PEERS);
        match b.u8() % 8 {
            0..4 => change(&mut s, &mut list, &mut there, peer, &mut b),
            4 => {
                update(&mut s, peer, |u| u.remove = true).unwrap();
                list.0.retain(|(_, _, p)| *p != peer);
                there[peer] = false;
            }
            5..7 => look_up(&mut s, &list, address(&mut b)),
            _ => compare(&s, &list, &there),
        }
    }
    compare(&s, &list, &there);
}

fn change(s: &mut Sim, list: &mut List, there: &mut [bool], peer: usize, b: &mut Bytes) {
    let (replace, only) = (b.below(4) == 0, b.below(4) == 0);
    let prefix = |b: &mut Bytes| (address(b), b.u8() % 130, b.below(3) > 0);
    let prefixes: Vec<_> = (0..b.below(5)).map(|_| prefix(b)).collect();
    let done = update(s, peer, |u| {
        u.replace_allowed_ips = replace;
        u.update_only = only;
        u.allowed_ips = prefixes.clone();
        u.endpoint = (peer == 0).then_some(v4(77));
    });
    let too_long = |(ip, len, _): &(IpAddr, u8, bool)| *len > if ip.is_ipv4() { 32 } else { 128 };
    if prefixes.iter().any(too_long) {
        return assert_eq!(done, Err(ConfigError::BadPrefix));
    }
    assert_eq!(done, Ok(()));
    if only && !there[peer] {
        return;
    }
    there[peer] = true;
    if replace {
        list.0.retain(|(_, _, p)| *p != peer);
    }
    prefixes.into_iter().for_each(|p| list.apply(peer, p));
}

fn update(s: &mut Sim, peer: usize, f: impl FnOnce(&mut PeerUpdate)) -> Result<(), ConfigError> {
    let mut u = PeerUpdate::default();
    u.public_key = key(peer);
    f(&mut u);
    s.act(A, |d, now, sink| d.update_peer(now, &u, sink))
}

fn look_up(s: &mut Sim, list: &List, dst: IpAddr) {
    let src = if dst.is_ipv4() { inner(A) } else { inner6(A) };
    let got = s.send_packet(A, &packet(src, dst, 0, b""));
    let want = match list.owner(dst) {
        Some(0) => Outbound::Staged,
        Some(_) => Outbound::Dropped(Drop::NoEndpoint),
        None => Outbound::Dropped(Drop::NoRoute),
    };
    assert_eq!(got, want, "{dst} in {:?}", list.0);
}

fn compare(s: &Sim, list: &List, there: &[bool]) {
    let peers = s.nodes[A].device.peers();
    assert_eq!(peers.len(), there.iter().filter(|t| **t).count());
    for p in peers {
        let n = usize::from(p.public_key[0] - 9);
        let mut told = p.allowed_ips.clone();
        told.sort();
        assert_eq!((there[n], told), (true, list.of(n)), "peer {n}");
    }
}
