//! Peers that move, and what is not taken for moving.

use std::net::UdpSocket;
use std::time::Duration;

use crate::need_root;
use crate::tunnel::{Engine, Outer, Pair, file, keys};

#[test]
fn a_client_that_changes_its_address_is_followed() {
    // R88; netns 10, E09: another address and another port at once.
    need_root!("a_client_that_changes_its_address_is_followed");
    for server in [Engine::Hop, Engine::WireguardGo] {
        let p = Pair::new(Engine::Hop, server, Outer::V4, true);
        p.a.ping(1, "fd10::2");
        assert_eq!(p.a_seen(), "198.51.100.1:51821");
        p.a.sh("ip addr del 198.51.100.1/24 dev wan; ip addr add 198.51.100.99/24 dev wan");
        p.a.ping(1, "fd10::2");
        assert_eq!(p.a_seen(), "198.51.100.99:51821");
        p.a.sh("wg set wg0 listen-port 9999");
        p.a.ping(1, "fd10::2");
        assert_eq!(p.a_seen(), "198.51.100.99:9999");
        // And the server can speak first now.
        p.b.ping(1, "10.10.0.1");
        assert_eq!(p.a.sh("wg show wg0 listen-port").trim(), "9999");
    }
}

#[test]
fn a_client_that_changes_its_family_is_followed() {
    // R88; netns 11, E10: IPv4, IPv6, another IPv6 port, IPv4 again.
    need_root!("a_client_that_changes_its_family_is_followed");
    let p = Pair::of_hop();
    for (port, server, client) in [
        (51821, "198.51.100.2:51820", "198.51.100.1"),
        (51821, "[fd00::2]:51820", "[fd00::1]"),
        (9998, "[fd00::2]:51820", "[fd00::1]"),
        (9998, "198.51.100.2:51820", "198.51.100.1"),
    ] {
        p.a.sh(&format!("wg set wg0 listen-port {port}"));
        p.a_knows(server);
        p.a.ping(1, "10.10.0.2");
        assert_eq!(p.a_seen(), format!("{client}:{port}"));
        p.b.ping(1, "fd10::1");
    }
}

#[test]
fn a_server_that_moves_is_found_by_its_name() {
    // R93, E11: wg(8) resolves; whoever asks it again gets the new address, and the session lives.
    need_root!("a_server_that_moves_is_found_by_its_name");
    let p = Pair::of_hop();
    p.a.sh("echo 198.51.100.2 vps.example >/run/hosts; mount --bind /run/hosts /etc/hosts");
    p.a_knows("vps.example:51820");
    p.a.ping(1, "10.10.0.2");
    let shaken = p.a.sh("wg show wg0 latest-handshakes");
    p.b.sh("ip addr del 198.51.100.2/24 dev wan; ip addr add 198.51.100.77/24 dev wan");
    p.a.no_ping("10.10.0.2");
    p.a.sh("echo 198.51.100.77 vps.example >/run/hosts");
    p.a_knows("vps.example:51820");
    p.a.ping(1, "10.10.0.2");
    assert_eq!(p.b_seen(), "198.51.100.77:51820");
    assert_eq!(p.a.sh("wg show wg0 latest-handshakes"), shaken, "the same session");
}

#[test]
fn a_more_specific_prefix_elsewhere_bars_the_content_and_not_the_endpoint() {
    // R77 R88; netns 12
    need_root!("a_more_specific_prefix_elsewhere_bars_the_content_and_not_the_endpoint");
    let p = Pair::of_hop();
    p.a.sh(&format!("wg set wg0 peer {} allowed-ips 10.10.0.0/24", p.public_b));
    p.a.ping(1, "10.10.0.2");
    let inbox = p.a.run(|| UdpSocket::bind("10.10.0.1:1111")).expect("bind");
    inbox.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let shout = |word: &'static [u8]| {
        p.b.run(move || UdpSocket::bind("10.10.0.2:0").unwrap().send_to(word, "10.10.0.1:1111"))
            .expect("sent");
    };
    let mut buf = [0; 16];
    shout(b"X");
    assert_eq!(inbox.recv(&mut buf).expect("allowed"), 1);

    let (_, other) = keys(&p.a);
    p.a.sh(&format!("wg set wg0 peer {other} allowed-ips 10.10.0.2/32"));
    p.b.sh("wg set wg0 listen-port 9997");
    shout(b"Y");
    assert!(inbox.recv(&mut buf).is_err(), "the source belongs to another peer");
    assert_eq!(p.b_seen(), "198.51.100.2:9997", "authentic all the same");

    p.a.sh(&format!("wg set wg0 peer {other} remove"));
    shout(b"Z");
    assert_eq!(inbox.recv(&mut buf).expect("allowed again"), 1);
    assert_eq!(buf[0], b'Z');
}

#[test]
fn a_private_key_is_replaced_while_running() {
    // R13 R15 R23; netns 13, E14: with a preshared key; the old peer goes after the new one came.
    need_root!("a_private_key_is_replaced_while_running");
    let p = Pair::of_hop();
    p.a.ping(1, "10.10.0.2");
    let psk = p.a.sh("wg show wg0 preshared-keys | cut -f2");
    let (private, public) = keys(&p.a);
    p.a.sh(&format!("wg set wg0 private-key {}", file(&p.a, &private)));
    p.b.sh(&format!(
        "wg set wg0 peer {public} preshared-key {} allowed-ips 10.10.0.1/32 peer {} remove",
        file(&p.b, &psk),
        p.public_a
    ));
    p.a.sh("ping -n -c 1 -W 1 10.10.0.2");
    assert_eq!(p.b.sh("wg show wg0 peers").trim(), public);
    assert_eq!(p.a.sh("wg show wg0 public-key").trim(), public);
}

#[test]
fn a_preshared_key_is_added_changed_and_removed() {
    // R13, E14: it matters at the next handshake only, and then it must agree.
    need_root!("a_preshared_key_is_added_changed_and_removed");
    let p = Pair::new(Engine::Hop, Engine::WireguardGo, Outer::V4, false);
    p.a.ping(1, "10.10.0.2");
    let key = |host: &crate::netns::Host, peer: &str, value: &str| {
        host.sh(&format!("wg set wg0 peer {peer} preshared-key {}", file(host, value)));
    };
    // A new private key at a makes the next handshake happen at once.
    let shake = || {
        let (private, public) = keys(&p.a);
        let old = p.b.sh("wg show wg0 peers");
        let psk = p.b.sh("wg show wg0 preshared-keys | cut -f2");
        let psk = if psk.trim() == "(none)" { String::new() } else { psk };
        p.b.sh(&format!(
            "wg set wg0 peer {} remove peer {public} preshared-key {} allowed-ips 10.10.0.1/32",
            old.trim(),
            file(&p.b, &psk)
        ));
        p.a.sh(&format!("wg set wg0 private-key {}", file(&p.a, &private)));
        public
    };
    let (one, two) = (p.a.sh("wg genpsk"), p.a.sh("wg genpsk"));
    key(&p.a, &p.public_b, &one);
    p.a.ping(1, "10.10.0.2");
    for (ours, theirs, works) in [
        (&one, &one, true),
        (&one, &two, false),
        (&two, &two, true),
        (&String::new(), &String::new(), true),
    ] {
        let peer = p.b.sh("wg show wg0 peers").trim().to_string();
        key(&p.a, &p.public_b, ours);
        key(&p.b, &peer, theirs);
        shake();
        match works {
            true => p.a.sh("ping -n -c 1 -W 2 10.10.0.2"),
            false => p.a.no_ping("10.10.0.2"),
        };
    }
}
