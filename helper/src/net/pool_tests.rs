//! Address and name rules: what never gets through, and what is in the way of what.

use super::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn ends(local: &str, peer: &str, prefix: u8) -> Endpoints {
    Endpoints { local: ip(local), peer: ip(peer), prefix }
}

fn net(text: &str) -> Net {
    Net::parse(text).unwrap()
}

#[test]
fn addresses_outside_the_pool_are_refused_by_field() {
    for bad in [
        "8.8.8.8",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "169.254.1.1",
        "10.11.0.1",
        "10.9.255.255",
        "10.10.0.0",
        "10.10.255.255",
    ] {
        let pools = Pools::default();
        let error = pools.check_ends(ends("10.10.0.1", bad, 32)).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("peer_ip"), "{bad}");
        let error = pools.check_ends(ends(bad, "10.10.0.2", 32)).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("local_ip"), "{bad}");
        assert!(pools.check_ip("ip", ip(bad)).is_err(), "{bad}");
    }
}

#[test]
fn the_two_ends_are_two_hosts_of_one_prefix() {
    let pools = Pools::default();
    assert!(pools.check_ends(ends("10.10.0.1", "10.10.0.2", 32)).is_ok());
    assert!(pools.check_ends(ends("10.10.0.2", "10.10.0.1", 24)).is_ok());
    assert!(pools.check_ends(ends("10.10.0.1", "10.10.0.1", 32)).is_err());
    assert!(pools.check_ends(ends("10.10.0.1", "10.10.7.255", 24)).is_err());
    assert!(pools.check_ends(ends("10.10.7.0", "10.10.7.1", 24)).is_err());
    assert!(pools.check_ends(ends("10.10.7.0", "10.10.7.255", 32)).is_ok());
    let narrow = Pools(vec![net("10.10.4.0/25")]);
    let error = narrow.check_ends(ends("10.10.4.1", "10.10.4.2", 24)).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("prefix"));
}

#[test]
fn names_are_one_label_and_the_suffix() {
    let longest = format!("{}.hop", "a".repeat(63));
    for good in ["a.hop", "my-box.hop", "b0x.hop", "x--y.hop", &longest] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    let long = format!("{}.hop", "a".repeat(64));
    for bad in [
        "a.hop\n1.2.3.4 bank.example",
        "a.hop\tbank",
        "a.hop #",
        "a.hop bank.example",
        "a.hop\r",
        "a\0.hop",
        "github.com",
        "",
        ".hop",
        "hop",
        "A.hop",
        "-a.hop",
        "a-.hop",
        "a.b.hop",
        "localhost.hop",
        "123.hop",
        "a_b.hop",
        "ä.hop",
        "a.hop.",
        "a.hop.hop",
        " a.hop",
        &long,
    ] {
        let error = check_name(bad).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("name"), "{bad:?}");
    }
}

#[test]
fn anything_that_uses_the_addresses_is_in_the_way() {
    let view = View {
        neighbours: vec![(ip("10.10.20.2"), 2), (ip("10.10.9.77"), 9)],
        name_servers: vec![ip("10.10.21.53")],
        routes: vec![
            (net("0.0.0.0/0"), 2),
            (net("10.10.16.0/20"), 6),
            (net("0.0.0.0/1"), 3),
            (net("10.10.1.0/24"), 2),
            (net("10.10.2.2/32"), 4),
            (net("10.10.9.2/32"), 9),
        ],
        addresses: vec![(ip("10.10.3.1"), 2), (ip("10.10.4.9"), 5)],
    };
    let lease = Held { ifindex: 9, ends: Some(ends("10.10.9.1", "10.10.9.2", 32)) };
    let held = [lease, Held { ifindex: 10, ends: None }];
    let found = |local: &str, peer: &str, prefix, own| {
        conflict(ends(local, peer, prefix), own, &view, &held, false)
    };
    // Wider routes are never in the way: default routes, also in two halves, and those of a LAN.
    assert_eq!(found("10.10.0.1", "10.10.0.2", 32, None), None);
    assert_eq!(found("10.10.0.1", "10.10.1.2", 32, None), None);
    assert_eq!(found("10.10.1.1", "10.10.0.2", 32, None), None);
    // One that is equal, or within ours.
    assert_eq!(
        found("10.10.1.1", "10.10.1.2", 24, None),
        Some(Conflict::Route(net("10.10.1.0/24"), 2))
    );
    for (local, peer) in [("10.10.0.1", "10.10.2.2"), ("10.10.2.2", "10.10.0.1")] {
        assert_eq!(found(local, peer, 32, None), Some(Conflict::Route(net("10.10.2.2/32"), 4)));
    }
    assert_eq!(
        found("10.10.0.1", "10.10.2.9", 24, None),
        Some(Conflict::Route(net("10.10.2.2/32"), 4))
    );
    // Of a wider one a pair of single addresses that nobody has; more if root has given it.
    for last in ["2", "53"] {
        let peer = format!("10.10.21.{last}");
        let wide = conflict(ends("10.10.21.1", &peer, 24), None, &view, &held, false);
        assert_eq!(wide, Some(Conflict::Wider(net("10.10.16.0/20"), 6)));
        assert_eq!(conflict(ends("10.10.21.1", &peer, 24), None, &view, &held, true), None);
    }
    assert_eq!(found("10.10.21.1", "10.10.21.2", 32, None), None);
    assert_eq!(found("10.10.128.1", "10.10.128.2", 24, None), None, "no route but the default");
    for (local, peer) in [("10.10.21.1", "10.10.21.53"), ("10.10.21.53", "10.10.21.1")] {
        let server = Some(Conflict::NameServer(ip("10.10.21.53")));
        assert_eq!(found(local, peer, 32, None), server);
    }
    for (local, peer) in [("10.10.20.1", "10.10.20.2"), ("10.10.20.2", "10.10.20.1")] {
        let there = Some(Conflict::Neighbour(ip("10.10.20.2"), 2));
        assert_eq!(found(local, peer, 32, None), there);
        assert_eq!(conflict(ends(local, peer, 24), None, &view, &held, true), there);
    }
    // Local addresses, as an end or within the route.
    assert_eq!(
        found("10.10.3.1", "10.10.3.2", 32, None),
        Some(Conflict::Address(ip("10.10.3.1"), 2))
    );
    assert_eq!(
        found("10.10.4.1", "10.10.4.2", 24, None),
        Some(Conflict::Address(ip("10.10.4.9"), 5))
    );
    // Other leases, in both roles and by prefix; one's own is not in the way.
    assert_eq!(found("10.10.9.1", "10.10.9.3", 32, None), Some(Conflict::Lease(9)));
    assert_eq!(found("10.10.9.7", "10.10.9.1", 32, None), Some(Conflict::Lease(9)));
    assert_eq!(found("10.10.9.7", "10.10.9.8", 24, None), Some(Conflict::Lease(9)));
    assert_eq!(found("10.10.9.1", "10.10.9.2", 32, Some(9)), None);
}

#[test]
fn only_private_ranges_can_be_pools() {
    for good in ["10.10.0.0/16", "192.168.7.0/24", "100.64.0.0/10", "172.31.0.0/16"] {
        assert!(check_pool(net(good)).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0/0", "8.0.0.0/8", "172.16.0.0/11", "10.0.0.0/7", "10.1.1.0/25"] {
        assert!(Net::parse(bad).is_none_or(|net| check_pool(net).is_err()), "{bad}");
    }
    for bad in [
        "10.10.0.0/+16",
        "10.10.0.0/016",
        "010.10.0.0/16",
        "10.10.0.1/16",
        "10.10.0.0",
        "10.10.0.0/33",
        "10.10.0.0/",
        "x/8",
        "/8",
    ] {
        assert_eq!(Net::parse(bad), None, "{bad}");
    }
}
