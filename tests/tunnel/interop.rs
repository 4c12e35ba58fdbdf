//! `hop wg` and Debian's wireguard-go, each as initiator and as responder, over a veth.

use crate::lab::{HOP, Net, Running, alone, eventually, have, ip, output, sh};
use std::os::unix::net::UnixStream;

/// Bring up one end of the tunnel in the calling thread's namespace.
fn end(program: &str, interface: &str, number: u8) -> Running {
    let running = match program {
        "hop" => Running::start(HOP, &["wg", "-f", interface]),
        other => Running::start(other, &["-f", interface]),
    };
    let path = format!("/run/wireguard/{interface}.sock");
    eventually("the socket", || UnixStream::connect(&path).is_ok());
    sh(&format!("umask 077; wg genkey > /run/{interface}.key"));
    sh(&format!("wg set {interface} private-key /run/{interface}.key listen-port 51820"));
    ip(&format!("addr add 10.77.1.{number}/24 dev {interface}"));
    ip(&format!("addr add fd77::{number}/64 dev {interface} nodad"));
    ip(&format!("link set {interface} mtu 1420 up"));
    running
}

fn peer(interface: &str, other: &str, number: u8, endpoint: &str) {
    sh(&format!(
        "wg set {interface} peer $(wg pubkey < /run/{other}.key) {endpoint} \
         allowed-ips 10.77.1.{number}/32,fd77::{number}/128"
    ));
}

fn pair(initiator: &str, responder: &str) {
    let far = Net::new();
    ip(&format!("link add ti0 type veth peer name ti1 netns {}", far.path()));
    ip("addr add 10.77.0.1/24 dev ti0");
    ip("link set ti0 up");
    let _near = end(initiator, "tia", 1);
    let _far = far.enter(|| {
        ip("addr add 10.77.0.2/24 dev ti1");
        ip("link set ti1 up");
        end(responder, "tib", 2)
    });
    peer("tia", "tib", 2, "endpoint 10.77.0.2:51820");
    far.enter(|| peer("tib", "tia", 1, ""));
    sh("ping -n -c 3 -i 0.2 -W 3 10.77.1.2");
    sh("ping -n -c 3 -i 0.2 -W 3 fd77::2");
    // Fragments within, the largest packet that fits, and the other direction.
    sh("ping -n -c 2 -i 0.2 -W 3 -s 8000 10.77.1.2");
    sh("ping -n -c 2 -i 0.2 -W 3 -M do -s 1392 10.77.1.2");
    far.enter(|| sh("ping -n -c 3 -i 0.2 -W 3 -f 10.77.1.1"));
    let at: u64 = sh("wg show tia latest-handshakes | cut -f2").parse().expect("a time");
    assert!(at > 0, "a handshake was completed");
    // A new port of the initiator: the responder follows the endpoint.
    sh("wg set tia listen-port 51999");
    sh("ping -n -c 2 -i 0.2 -W 3 10.77.1.2");
    let endpoint = far.enter(|| sh("wg show tib endpoints | cut -f2"));
    assert_eq!(endpoint, "10.77.0.1:51999");
    if responder == "hop" {
        // wireguard-go 0.0.20220316 stays silent here, also towards itself.
        responder_loses_its_address(&far);
    }
}

/// The address that answers were pinned to goes away (R90).
fn responder_loses_its_address(far: &Net) {
    far.enter(|| ip("addr add 10.77.0.3/24 dev ti1"));
    sh("wg set tia peer $(wg pubkey < /run/tib.key) endpoint 10.77.0.3:51820");
    sh("ping -n -c 2 -i 0.2 -W 3 10.77.1.2");
    let followed = sh("wg show tia endpoints | cut -f2");
    assert_eq!(followed, "10.77.0.3:51820", "the answer comes from the address that was asked");
    far.enter(|| ip("addr del 10.77.0.3/24 dev ti1"));
    // Lost, for nobody is at that address any more.
    output("ping -n -c 1 -W 1 10.77.1.2");
    far.enter(|| sh("ping -n -c 3 -i 0.3 -W 3 10.77.1.1"));
    assert_eq!(sh("wg show tia endpoints | cut -f2"), "10.77.0.2:51820");
}

#[test]
fn hop_initiates_to_hop() {
    alone(|| {
        if have(&["wg", "ip", "ping"]) {
            pair("hop", "hop");
        }
    });
}

#[test]
fn hop_initiates_to_wireguard_go() {
    alone(|| {
        if have(&["wg", "ip", "ping", "wireguard-go"]) {
            pair("hop", "wireguard-go");
        }
    });
}

#[test]
fn wireguard_go_initiates_to_hop() {
    alone(|| {
        if have(&["wg", "ip", "ping", "wireguard-go"]) {
            pair("wireguard-go", "hop");
        }
    });
}
