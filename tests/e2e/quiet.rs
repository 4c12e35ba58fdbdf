//! What is left when nobody speaks, and when everything ends.

use std::time::Duration;

use crate::capture::Capture;
use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{Engine, Outer, Pair, start};

const NOTHING: [u8; 0] = [];

/// Datagrams to either of a pair's ports: the first bytes of each, their types.
fn types(seen: &mut Capture) -> Vec<u8> {
    let ours = |port: u16| [51820, 51821].contains(&port);
    seen.take().iter().filter(|d| ours(d.dst_port)).map(|d| d.payload[0]).collect()
}

#[test]
fn an_idle_pair_is_silent_after_the_last_keepalive() {
    // R68 R69: who received last confirms after 10 s; nothing answers that, and nothing follows.
    need_root!("an_idle_pair_is_silent_after_the_last_keepalive");
    std::thread::scope(|s| {
        for b in [Engine::Hop, Engine::WireguardGo] {
            s.spawn(move || falls_silent(b));
        }
    });
}

fn falls_silent(b: Engine) {
    let p = Pair::new(Engine::Hop, b, Outer::V4, true);
    p.a.ping(3, "10.10.0.2");
    // A closed port: b's ICMP error is the last word, and a confirms that.
    p.a.sh("bash -c 'echo >/dev/udp/10.10.0.2/9'");
    std::thread::sleep(Duration::from_millis(500));
    let mut seen = Capture::start(&p.b);
    std::thread::sleep(Duration::from_millis(8500));
    assert_eq!(types(&mut seen), NOTHING, "{b:?}: before 10 s");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(types(&mut seen), [4], "{b:?}: one keepalive");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(types(&mut seen), NOTHING, "{b:?}: silent");
}

#[test]
fn a_device_that_is_taken_down_forgets_its_sessions() {
    // R95
    need_root!("a_device_that_is_taken_down_forgets_its_sessions");
    let p = Pair::of_hop();
    p.a.ping(1, "10.10.0.2");
    p.a.sh("wg set wg0 peer $(wg show wg0 peers) persistent-keepalive 1; ip link set wg0 down");
    p.a.sh("sleep 0.1");
    let mut seen = Capture::start(&p.b);
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(types(&mut seen), NOTHING, "nothing while down");
    p.a.sh("ip link set wg0 up");
    p.a.ping(1, "10.10.0.2");
    assert_eq!(types(&mut seen).first(), Some(&1), "a handshake comes first");
}

#[test]
fn engines_end_with_their_namespaces_devices() {
    // R95 R96; the end of netns.sh: interfaces that moved crosswise, and both hosts go away.
    need_root!("engines_end_with_their_namespaces_devices");
    let (a, b) = (Host::new("a"), Host::new("b"));
    let (mut one, mut two) = (start(&a, Engine::Hop), start(&b, Engine::Hop));
    a.sh("ip link set wg0 name wg1");
    a.move_link("wg1", &b);
    b.sh("ip link set wg0 name wg2");
    b.move_link("wg2", &a);
    b.sh("ip addr add 10.0.0.1/24 dev wg1; ip link set wg1 up");
    a.sh("sleep 0.2");
    assert!(one.is_running() && two.is_running(), "moving is no reason to end");
    // Deleted where they are now, not where they came from.
    b.sh("ip link del wg1");
    a.sh("ip link del wg2");
    let limit = Duration::from_secs(3);
    assert!(one.ended_within(limit) && two.ended_within(limit), "they saw it");
}
