//! A table of prefixes and what they must answer, moves and removals, then a slow linear model.

use super::*;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// "addr/len"
fn prefix(s: &str) -> (IpAddr, u8) {
    let (addr, len) = s.split_once('/').unwrap();
    (ip(addr), len.parse().unwrap())
}

fn router(routes: &[(&str, u32)]) -> Router {
    let mut r = Router::default();
    for (p, peer) in routes {
        let (addr, len) = prefix(p);
        assert!(r.insert(addr, len, PeerId(*peer)), "{p}");
    }
    r
}

fn owner(r: &Router, addr: &str) -> u32 {
    r.peer_for(ip(addr)).map_or(0, |p| p.0)
}

/// Peer 0 is nobody.
fn check(r: &Router, want: &[(&str, u32)]) {
    for (addr, peer) in want {
        assert_eq!(owner(r, addr), *peer, "{addr}");
    }
}

#[test]
fn longest_prefix_wins_in_ipv4() {
    // R75 R80. Several prefixes are written with bits beyond their length.
    let r = router(&[
        ("10.20.0.0/16", 1),
        ("10.20.30.0/24", 2),
        ("10.20.30.40/32", 3),
        ("10.20.30.64/26", 4),
        ("10.20.255.255/17", 5),
        ("172.16.99.99/12", 6),
        ("172.31.255.0/30", 7),
        ("192.168.1.129/25", 8),
        ("203.0.113.255/31", 9),
        ("128.0.0.0/1", 10),
        ("100.64.0.0/10", 11),
    ]);
    check(
        &r,
        &[
            ("10.20.0.0", 1),
            ("10.20.29.255", 1),
            ("10.20.31.0", 1),
            ("10.20.127.255", 1),
            ("10.20.30.0", 2),
            ("10.20.30.39", 2),
            ("10.20.30.41", 2),
            ("10.20.30.63", 2),
            ("10.20.30.128", 2),
            ("10.20.30.255", 2),
            ("10.20.30.40", 3),
            ("10.20.30.64", 4),
            ("10.20.30.127", 4),
            ("10.20.128.0", 5),
            ("10.20.255.255", 5),
            ("10.19.255.255", 0),
            ("10.21.0.0", 0),
            ("0.0.0.0", 0),
            ("127.255.255.255", 0),
            ("128.0.0.0", 10),
            ("255.255.255.255", 10),
            ("172.15.255.255", 10),
            ("172.16.0.0", 6),
            ("172.31.254.255", 6),
            ("172.31.255.0", 7),
            ("172.31.255.3", 7),
            ("172.31.255.4", 6),
            ("172.32.0.0", 10),
            ("192.168.1.127", 10),
            ("192.168.1.128", 8),
            ("192.168.1.255", 8),
            ("203.0.113.253", 10),
            ("203.0.113.254", 9),
            ("203.0.113.255", 9),
            ("100.63.255.255", 0),
            ("100.64.0.0", 11),
            ("100.127.255.255", 11),
            ("100.128.0.0", 0),
        ],
    );
}

#[test]
fn longest_prefix_wins_in_ipv6() {
    // R75 R80: borders inside and between the 64-bit halves.
    let r = router(&[
        ("2001:db8::/32", 1),
        ("2001:db8:1:2:3::/64", 2),
        ("2001:db8:1:2:8000::/65", 3),
        ("2001:db8:1:2::5/128", 4),
        ("2001:db8:1:2::4/127", 5),
        ("fd00::ffff/8", 6),
        ("fd12:3456:789a:1::/63", 7),
    ]);
    check(
        &r,
        &[
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", 0),
            ("2001:db8::", 1),
            ("2001:db8:1:1:ffff:ffff:ffff:ffff", 1),
            ("2001:db8:1:3::", 1),
            ("2001:db8:1:2::", 2),
            ("2001:db8:1:2::3", 2),
            ("2001:db8:1:2::6", 2),
            ("2001:db8:1:2:7fff:ffff:ffff:ffff", 2),
            ("2001:db8:1:2:8000::", 3),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", 3),
            ("2001:db8:1:2::5", 4),
            ("2001:db8:1:2::4", 5),
            ("2001:db9::", 0),
            ("fcff:ffff::1", 0),
            ("fd00::", 6),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6),
            ("fd12:3456:789a::", 7),
            ("fd12:3456:789a:1:ffff:ffff:ffff:ffff", 7),
            ("fd12:3456:789a:2::", 6),
            ("fe00::", 0),
            ("::", 0),
        ],
    );
}

#[test]
fn the_whole_internet_is_a_prefix_of_one_family() {
    // R80: /0 works, and is not the other family's; a v4-mapped address is IPv6.
    let mut r = router(&[("0.0.0.0/0", 1)]);
    check(&r, &[("0.0.0.0", 1), ("255.255.255.255", 1), ("::", 0), ("::ffff:1.2.3.4", 0)]);
    assert!(r.insert(ip("ffff::"), 0, PeerId(2)));
    check(&r, &[("1.2.3.4", 1), ("::", 2), ("ff02::1", 2), ("::ffff:1.2.3.4", 2)]);
    assert!(r.insert(ip("1.2.3.4"), 32, PeerId(3)));
    check(&r, &[("1.2.3.4", 3), ("1.2.3.5", 1), ("::ffff:1.2.3.4", 2)]);
    r.remove(ip("9.9.9.9"), 0, PeerId(1));
    check(&r, &[("1.2.3.5", 0), ("1.2.3.4", 3), ("::1", 2)]);
}

#[test]
fn a_prefix_given_to_another_peer_moves() {
    // R80: whatever bits beyond its length it is written with.
    let mut r = router(&[("192.0.2.0/24", 1), ("192.0.2.64/26", 1), ("2001:db8::/48", 1)]);
    assert!(r.insert(ip("192.0.2.77"), 24, PeerId(2)));
    assert!(r.insert(ip("2001:db8:0:ffff::1"), 48, PeerId(2)));
    check(&r, &[("192.0.2.1", 2), ("192.0.2.65", 1), ("2001:db8::1", 2)]);
    assert_eq!(r.len(), 3);
    assert_eq!(r.prefixes(PeerId(1)), [prefix("192.0.2.64/26")]);
    assert_eq!(r.prefixes(PeerId(2)), [prefix("192.0.2.0/24"), prefix("2001:db8::/48")]);
    // And to the same peer again: nothing.
    assert!(r.insert(ip("192.0.2.0"), 24, PeerId(2)));
    assert_eq!(r.len(), 3);
}

#[test]
fn only_its_owner_loses_a_prefix() {
    // R80
    let mut r = router(&[("192.0.2.0/24", 1), ("192.0.2.0/25", 2)]);
    r.remove(ip("192.0.2.0"), 24, PeerId(2));
    r.remove(ip("192.0.2.0"), 26, PeerId(2));
    r.remove(ip("192.0.2.0"), 99, PeerId(2));
    assert_eq!(r.len(), 2);
    r.remove(ip("192.0.2.1"), 25, PeerId(2));
    check(&r, &[("192.0.2.1", 1)]);
    r.remove(ip("192.0.2.0"), 24, PeerId(1));
    check(&r, &[("192.0.2.1", 0)]);
    r.remove(ip("192.0.2.0"), 24, PeerId(1));
    assert_eq!(r.len(), 0);
}

#[test]
fn removing_a_peer_removes_its_prefixes_and_no_others() {
    // R96 R80: what it shadowed shows again.
    let mut r = router(&[
        ("10.0.0.0/8", 1),
        ("10.1.0.0/16", 2),
        ("10.1.1.0/24", 1),
        ("10.1.1.1/32", 2),
        ("::/0", 2),
        ("fd00::/8", 1),
    ]);
    r.remove_peer(PeerId(2));
    check(&r, &[("10.1.0.1", 1), ("10.1.1.1", 1), ("fd00::1", 1), ("2001:db8::1", 0)]);
    assert_eq!((r.len(), r.prefixes(PeerId(2)).len()), (3, 0));
    r.remove_peer(PeerId(7));
    assert_eq!(r.len(), 3);
    r.remove_peer(PeerId(1));
    assert_eq!(r.len(), 0);
    check(&r, &[("10.1.1.1", 0), ("fd00::1", 0)]);
}

#[test]
fn too_long_prefixes_are_refused() {
    // R80
    let mut r = Router::default();
    for (addr, len) in [("192.0.2.0", 33), ("192.0.2.0", 255), ("::", 129), ("::", 255)] {
        assert!(!r.insert(ip(addr), len, PeerId(1)));
    }
    assert_eq!(r.len(), 0);
    assert!(r.insert(ip("192.0.2.0"), 32, PeerId(1)) && r.insert(ip("::"), 128, PeerId(1)));
}

#[test]
fn prefixes_are_listed_masked_ipv4_first_and_shortest_first() {
    // R80
    let r = router(&[
        ("fd00::1/128", 1),
        ("10.9.8.7/8", 1),
        ("fd12:3456::1/16", 1),
        ("10.9.8.7/32", 1),
        ("1.2.3.4/0", 1),
    ]);
    let want = ["0.0.0.0/0", "10.0.0.0/8", "10.9.8.7/32", "fd12::/16", "fd00::1/128"];
    assert_eq!(r.prefixes(PeerId(1)), want.map(prefix));
}

// The model: a list, searched from end to end, masks bit by bit.

/// SplitMix64: a seed makes the whole run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Few different addresses, so that prefixes nest and collide; sometimes any.
    fn address(&mut self) -> IpAddr {
        let mut bytes = [0; 16];
        let any = self.below(8) == 0;
        for b in &mut bytes {
            *b = match self.below(4) {
                _ if any => self.next() as u8,
                0 => 0xff,
                1 => 0x80,
                _ => 0,
            };
        }
        if self.below(2) == 0 {
            let [a, b, c, d, ..] = bytes;
            IpAddr::from([a, b, c, d])
        } else {
            IpAddr::from(bytes)
        }
    }
}

fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn bit(bytes: &[u8], n: u8) -> bool {
    bytes[usize::from(n / 8)] >> (7 - n % 8) & 1 == 1
}

fn covers(net: &[u8], len: u8, addr: &[u8]) -> bool {
    net.len() == addr.len() && (0..len).all(|n| bit(net, n) == bit(addr, n))
}

#[derive(Default)]
struct Model(Vec<(Vec<u8>, u8, PeerId)>);

impl Model {
    fn find(&self, net: &[u8], len: u8) -> Option<usize> {
        self.0.iter().position(|(n, l, _)| *l == len && covers(n, len, net))
    }

    fn insert(&mut self, net: Vec<u8>, len: u8, peer: PeerId) {
        match self.find(&net, len) {
            Some(at) => self.0[at].2 = peer,
            None => self.0.push((net, len, peer)),
        }
    }

    fn remove(&mut self, net: &[u8], len: u8, peer: PeerId) {
        if let Some(at) = self.find(net, len).filter(|at| self.0[*at].2 == peer) {
            self.0.remove(at);
        }
    }

    fn peer_for(&self, addr: &[u8]) -> Option<PeerId> {
        let fits = self.0.iter().filter(|(net, len, _)| covers(net, *len, addr));
        fits.max_by_key(|(_, len, _)| *len).map(|(.., peer)| *peer)
    }
}

/// The lengths that a look-up tries are those in use, each with its number of prefixes: a stale one
/// would cost each packet a search. By peer there is what there is by prefix.
fn check_table<B: Bits + std::fmt::Debug>(table: &Table<B>, seed: u64) {
    let mut want = BTreeMap::new();
    for (len, _) in table.owners.keys() {
        *want.entry(*len).or_default() += 1;
    }
    assert_eq!(table.lengths, want, "seed {seed}");
    let owned = table.owners.iter().map(|((len, bits), peer)| (*peer, *len, *bits));
    assert_eq!(table.owned, owned.collect(), "seed {seed}");
}

#[test]
fn random_operations_against_a_list() {
    // R75 R77 R80 R96: 24 seeds of 500 operations, three look-ups after each.
    for seed in 0..24 {
        let mut r = Random(seed);
        let (mut router, mut model) = (Router::default(), Model::default());
        for step in 0..500 {
            let (addr, peer) = (r.address(), PeerId(1 + r.below(12) as u32));
            let net = octets(addr);
            let width = net.len() as u64 * 8;
            let len = match r.below(3) {
                0 => (r.below(width / 8 + 1) * 8) as u8,
                _ => r.below(width + 1) as u8,
            };
            match r.below(100) {
                0..60 => {
                    assert!(router.insert(addr, len, peer));
                    model.insert(net, len, peer);
                }
                60..75 => {
                    router.remove(addr, len, peer);
                    model.remove(&net, len, peer);
                }
                75..96 if !model.0.is_empty() => {
                    // One that is there, by its owner or by somebody else.
                    let (net, len, owner) = model.0[r.below(model.0.len() as u64) as usize].clone();
                    let by = if r.below(4) == 0 { peer } else { owner };
                    let addr = match <[u8; 4]>::try_from(net.as_slice()) {
                        Ok(v4) => IpAddr::from(v4),
                        Err(_) => IpAddr::from(<[u8; 16]>::try_from(net.as_slice()).unwrap()),
                    };
                    router.remove(addr, len, by);
                    model.remove(&net, len, by);
                }
                _ => {
                    router.remove_peer(peer);
                    model.0.retain(|(.., p)| *p != peer);
                }
            }
            assert_eq!(router.len(), model.0.len(), "seed {seed} step {step}");
            check_table(&router.v4, seed);
            check_table(&router.v6, seed);
            for _ in 0..3 {
                let addr = r.address();
                let want = model.peer_for(&octets(addr));
                assert_eq!(router.peer_for(addr), want, "seed {seed} step {step} {addr}");
            }
        }
        for peer in (1..=12).map(PeerId) {
            let mine = model.0.iter().filter(|(.., p)| *p == peer);
            let listed = router.prefixes(peer);
            assert_eq!(listed.len(), mine.clone().count(), "seed {seed}");
            for (net, len, _) in mine {
                let there = |(a, l): &(IpAddr, u8)| l == len && covers(net, *len, &octets(*a));
                assert!(listed.iter().any(there), "seed {seed}");
            }
        }
    }
}
