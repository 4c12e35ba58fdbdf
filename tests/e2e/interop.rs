//! hop against wireguard-go: both roles, all four mixes of inner and outer address family, with and
//! without preshared key; and wg(8) as the one who configures both.

use crate::need_root;
use crate::tunnel::{Engine, Outer, Pair, file, keys, start};

/// One pair: pings both ways over both inner families, then bulk data with a checksum.
fn carries_traffic(a: Engine, b: Engine, outer: Outer, preshared: bool) {
    let p = Pair::new(a, b, outer, preshared);
    // a knows b's endpoint, so a's first packet makes it the initiator.
    p.a.sh("ping -n -c 3 -i 0.05 -W 2 10.10.0.2");
    p.a.sh("ping -n -c 3 -i 0.05 -W 2 fd10::2");
    p.b.sh("ping -n -c 3 -i 0.05 -W 2 10.10.0.1");
    p.b.sh("ping -n -c 3 -i 0.05 -W 2 fd10::1");
    // Every size around the padding's and the MTU's edges, and fragments above it.
    for size in [0, 1, 15, 16, 17, 1391, 1392, 1393, 4000] {
        p.a.sh(&format!("ping -n -c 1 -W 2 -s {size} 10.10.0.2"));
        p.a.sh(&format!("ping -n -c 1 -W 2 -s {size} fd10::2"));
    }
    // One of 200: on a busy machine a stranger may lose a packet of a flood.
    p.a.sh("ping -n -q -c 200 -f -W 2 10.10.0.2 | grep -qE ' 0(.5)?% packet loss'");
    for (host, peer) in [(&p.a, &p.public_b), (&p.b, &p.public_a)] {
        let handshakes = host.sh("wg show wg0 latest-handshakes");
        let (key, time) = handshakes.trim().split_once('\t').expect("one peer");
        assert_eq!(key, peer);
        assert!(time.parse::<u64>().unwrap() > 1_600_000_000, "a time, not 1970: {time}");
    }
}

#[test]
fn hop_initiates_to_wireguard_go() {
    need_root!("hop_initiates_to_wireguard_go");
    for outer in [Outer::V4, Outer::V6] {
        for preshared in [false, true] {
            carries_traffic(Engine::Hop, Engine::WireguardGo, outer, preshared);
        }
    }
}

#[test]
fn wireguard_go_initiates_to_hop() {
    need_root!("wireguard_go_initiates_to_hop");
    for outer in [Outer::V4, Outer::V6] {
        for preshared in [false, true] {
            carries_traffic(Engine::WireguardGo, Engine::Hop, outer, preshared);
        }
    }
}

#[test]
fn hop_talks_to_hop() {
    need_root!("hop_talks_to_hop");
    for outer in [Outer::V4, Outer::V6] {
        carries_traffic(Engine::Hop, Engine::Hop, outer, true);
    }
}

#[test]
fn a_wrong_preshared_key_lets_nothing_through() {
    need_root!("a_wrong_preshared_key_lets_nothing_through");
    let p = Pair::new(Engine::Hop, Engine::WireguardGo, Outer::V4, true);
    let other = file(&p.b, &p.b.sh("wg genpsk"));
    p.b.sh(&format!("wg set wg0 peer {} preshared-key {other}", p.public_a));
    assert!(p.a.try_sh("ping -n -c 2 -i 0.2 -W 1 10.10.0.2").is_err());
    assert_eq!(p.a.sh("wg show wg0 latest-handshakes | cut -f2").trim(), "0");
}

#[test]
fn byte_counters_are_exact() {
    // R100: 148 + 92, a keepalive of 32 as confirmation or not, 10 pings of 84 padded to 96 + 32.
    need_root!("byte_counters_are_exact");
    let p = Pair::new(Engine::Hop, Engine::Hop, Outer::V4, false);
    p.a.sh("ping -n -c 10 -i 0.02 -W 2 10.10.0.2");
    let count = |host: &crate::netns::Host| -> Vec<u64> {
        let line = host.sh("wg show wg0 transfer");
        line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect()
    };
    let (a, b) = (count(&p.a), count(&p.b));
    let data = 10 * (96 + 32);
    assert_eq!(a, [92 + data, 148 + data], "rx, tx of the initiator");
    assert_eq!(b, [148 + data, 92 + data], "rx, tx of the responder");
}

#[test]
fn wg_configures_peers_while_traffic_runs() {
    need_root!("wg_configures_peers_while_traffic_runs");
    let p = Pair::new(Engine::Hop, Engine::Hop, Outer::V4, false);
    p.a.sh("ping -n -c 1 -W 2 10.10.0.2");
    let flood = p.a.spawn(&["ping", "-n", "-q", "-i", "0.002", "10.10.0.2"]);

    // Another peer takes the address, then gives it back.
    let (_, stranger) = keys(&p.a);
    p.a.sh(&format!("wg set wg0 peer {stranger} allowed-ips 10.10.0.2/32"));
    assert_eq!(
        p.a.sh(&format!("wg show wg0 allowed-ips | grep '{stranger}' | cut -f2")).trim(),
        "10.10.0.2/32"
    );
    assert!(p.a.try_sh("ping -n -c 1 -W 1 10.10.0.2").is_err());
    p.a.sh(&format!("wg set wg0 peer {} allowed-ips 10.10.0.2/32,fd10::2/128", p.public_b));
    p.a.sh("ping -n -c 1 -W 2 10.10.0.2");

    // Removed and added again. The pause keeps two initiations 20 ms apart (R26), or the second
    // waits for its retry.
    let pause = "sleep 0.05; ";
    p.a.sh(&format!("wg set wg0 peer {stranger} remove; wg set wg0 peer {} remove", p.public_b));
    assert_eq!(p.a.sh("wg show wg0 peers").trim(), "");
    // ICMP errors are limited in rate, and the flood would take them all.
    drop(flood);
    p.a.sh("sleep 0.3");
    let unreachable = p.a.try_sh("ping -n -c 1 -W 2 10.10.0.2").unwrap_err();
    assert!(unreachable.contains("Unreachable"), "fails fast: {unreachable}");
    let _flood = p.a.spawn(&["ping", "-n", "-q", "-i", "0.002", "10.10.0.2"]);
    p.a.sh(&format!(
        "{pause} wg set wg0 peer {} endpoint 198.51.100.2:51820 allowed-ips 10.10.0.2/32",
        p.public_b
    ));
    p.a.sh("ping -n -c 1 -W 7 10.10.0.2");

    // What showconf prints, setconf, syncconf and addconf take.
    p.a.sh("wg showconf wg0 >/run/conf && wg syncconf wg0 /run/conf && wg addconf wg0 /run/conf");
    p.a.sh("wg showconf wg0 | diff - /run/conf");
    p.a.sh(&format!("{pause} wg setconf wg0 /run/conf && wg showconf wg0 | diff - /run/conf"));
    p.a.sh("ping -n -c 1 -W 7 10.10.0.2");
}

#[test]
fn a_new_private_key_works_at_once() {
    // R15 R23
    need_root!("a_new_private_key_works_at_once");
    let p = Pair::new(Engine::Hop, Engine::WireguardGo, Outer::V4, false);
    p.a.sh("ping -n -c 1 -W 2 10.10.0.2");
    let (private, public) = keys(&p.a);
    p.b.sh(&format!("wg set wg0 peer {} remove", p.public_a));
    p.b.sh(&format!("wg set wg0 peer {public} allowed-ips 10.10.0.1/32"));
    p.a.sh(&format!("wg set wg0 private-key {}", file(&p.a, &private)));
    assert_eq!(p.a.sh("wg show wg0 private-key").trim(), private);
    p.a.sh("ping -n -c 1 -W 2 10.10.0.2");
}

#[test]
fn our_own_public_key_is_never_a_peer() {
    // R20
    need_root!("our_own_public_key_is_never_a_peer");
    let p = Pair::new(Engine::Hop, Engine::Hop, Outer::V4, false);
    p.a.sh(&format!("wg set wg0 peer {} allowed-ips 10.10.0.7/32", p.public_a));
    assert_eq!(p.a.sh("wg show wg0 peers").trim(), p.public_b);
}

#[test]
fn the_engine_ends_with_its_interface_its_socket_or_a_signal() {
    need_root!("the_engine_ends_with_its_interface_its_socket_or_a_signal");
    let host = crate::netns::Host::new("a");
    let limit = std::time::Duration::from_secs(2);
    for how in ["ip link del wg0", "rm /var/run/wireguard/wg0.sock", "term"] {
        let mut engine = start(&host, Engine::Hop);
        if how == "term" {
            assert!(engine.terminate(), "SIGTERM");
        } else {
            host.sh(how);
            assert!(engine.ended_within(limit), "{how}: {}", engine.complaint());
        }
        assert!(host.try_sh("ip link show wg0").is_err(), "{how}");
        assert!(host.try_sh("test -e /var/run/wireguard/wg0.sock").is_err(), "{how}");
    }
    let mut engine = start(&host, Engine::Hop);
    let mut second = host.spawn(&[env!("CARGO_BIN_EXE_hop"), "wg", "-f", "wg0"]);
    assert!(second.ended_within(limit), "a second engine on the same name must give up");
    assert!(second.complaint().contains("wg0"));
    assert!(engine.is_running());
}
