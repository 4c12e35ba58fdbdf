//! Arbitrary bytes from the TUN: what is sealed, for whom, and with which padding (R75, R76, R78,
//! R81, R87), and the ICMP errors that answer the rest.

use super::lab::*;
use hopbox::wg::{DEFAULT_MTU, Drop, Outbound, PeerUpdate};
use std::cell::RefCell;
use std::net::IpAddr;

/// Owns [`NOWHERE`], and cannot be reached.
const SILENT: Dev = 7;

pub fn tun_packet(data: &[u8]) {
    thread_local! {
        // Its time stands still, so the session in it lives on. Made anew now and then, because
        // the simulator remembers every nonce.
        static LAB: RefCell<(u32, Lab)> = RefCell::new((0, lab()));
    }
    LAB.with_borrow_mut(|(used, l)| {
        *used += 1;
        if *used % 10_000 == 0 {
            *l = lab();
        }
        from_tun(l, data);
    });
    unreachable(data);
}

fn lab() -> Lab {
    let mut l = Lab::new();
    let mut u = PeerUpdate::default();
    u.public_key = [9; 32];
    u.allowed_ips = vec![(inner(SILENT), 32, true), (inner6(SILENT), 128, true)];
    l.s.act(A, |d, now, sink| d.update_peer(now, &u, sink)).unwrap();
    l
}

fn from_tun(l: &mut Lab, data: &[u8]) {
    l.s.forget();
    let got = l.s.send_packet(A, data);
    let Some((_, dst, _, ecn)) = read(data) else {
        return assert_eq!(got, Outbound::Dropped(Drop::TunMalformed));
    };
    let is = |dev| dst == inner(dev) || dst == inner6(dev);
    if is(INNER) {
        let sent = l.s.wire.first().expect("sealed at once");
        assert_eq!((sent.to, sent.tos), (v4(ADDRESS), if ecn == 3 { 2 } else { ecn }));
        let plain = l.keys.open(&sent.bytes).expect("sealed for the stranger");
        let (whole, padding) = plain.split_at(data.len());
        assert_eq!(whole, data);
        assert!(padding.len() < 16 && padding.iter().all(|b| *b == 0));
        let mtu = usize::from(DEFAULT_MTU);
        assert!(plain.len() % 16 == 0 || plain.len() == mtu || data.len() > mtu, "R87");
        assert!(data.len() > mtu || plain.len() <= mtu, "R87");
    } else if is(B) {
        assert_eq!(got, Outbound::Staged);
    } else {
        let why = if is(SILENT) { Drop::NoEndpoint } else { Drop::NoRoute };
        assert_eq!(got, Outbound::Dropped(why));
    }
}

/// A device without peers, to which everything is unreachable.
fn unreachable(data: &[u8]) {
    let mut s = Sim::strangers(1, 1);
    s.send_packet(A, data);
    let errors: Vec<_> = s
        .log
        .iter()
        .filter_map(|e| match &e.fact {
            Fact::Icmp(p) => Some(p.clone()),
            _ => None,
        })
        .collect();
    assert!(s.wire.is_empty() && errors.len() <= 1);
    let Some(error) = errors.first() else { return };
    let (src, dst, len, _) = read(data).expect("an error in answer to garbage");
    let (from, to, whole, _) = read(error).expect("an error is a packet");
    assert_eq!((from, to, whole), (dst, src, error.len()));
    assert!(!src.is_multicast() && !dst.is_multicast() && !src.is_unspecified());
    let header = if dst.is_ipv4() { 20 } else { 40 };
    assert!(error.len() <= if dst.is_ipv4() { 576 } else { 1280 });
    let quote = &error[header + 8..];
    assert!(quote.len() <= len && data.starts_with(quote), "it quotes the packet alone");
    match dst {
        IpAddr::V4(_) => {
            assert_eq!((error[9], error[20], error[21]), (1, 3, 1));
            assert_eq!((checksum(&error[..20]), checksum(&error[20..])), (0, 0));
            let at = usize::from(data[0] & 15) * 4;
            assert!(data[9] != 1 || matches!(data[at], 0 | 8 | 13 | 14), "error answers error");
            assert_eq!((data[6] & 0x1f, data[7]), (0, 0), "a fragment is answered");
        }
        IpAddr::V6(_) => {
            assert_eq!((error[6], error[40], error[41]), (58, 1, 3));
            let mut pseudo = error[8..40].to_vec();
            pseudo.extend(((error.len() - 40) as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, 58]);
            pseudo.extend(&error[40..]);
            assert_eq!(checksum(&pseudo), 0);
            assert!(data[6] != 58 || data[40] >= 128, "error answers error");
        }
    }
}
