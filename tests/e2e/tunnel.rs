//! Two hosts with a WireGuard interface each, configured by wg(8).

use crate::netns::{Host, Running};

/// Which program owns an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Hop,
    WireguardGo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    V4,
    V6,
}

/// Hosts a and b, joined by a veth, with wg0 on each: 10.10.0.1 and 10.10.0.2, fd10::1 and fd10::2.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    /// Both end with the pair.
    _engines: [Running; 2],
    pub public_a: String,
    pub public_b: String,
}

impl Pair {
    /// Both interfaces are up and know each other; only a knows where b is.
    pub fn new(engine_a: Engine, engine_b: Engine, outer: Outer, preshared: bool) -> Pair {
        let (a, b) = (Host::new("a"), Host::new("b"));
        a.join(&b);
        a.sh("ip addr add 198.51.100.1/24 dev wan; ip addr add fd00::1/64 dev wan nodad");
        b.sh("ip addr add 198.51.100.2/24 dev wan; ip addr add fd00::2/64 dev wan nodad");
        let engine_a = start(&a, engine_a);
        let engine_b = start(&b, engine_b);
        let (private_a, public_a) = keys(&a);
        let (private_b, public_b) = keys(&b);
        let psk = a.sh("wg genpsk");
        let psk_on = |host: &Host| match preshared {
            true => format!("preshared-key {}", file(host, &psk)),
            false => String::new(),
        };
        let endpoint = match outer {
            Outer::V4 => "198.51.100.2:51820",
            Outer::V6 => "[fd00::2]:51820",
        };
        a.sh(&format!(
            "wg set wg0 private-key {} peer {public_b} {} endpoint {endpoint} \
             allowed-ips 10.10.0.2/32,fd10::2/128",
            file(&a, &private_a),
            psk_on(&a),
        ));
        b.sh(&format!(
            "wg set wg0 listen-port 51820 private-key {} peer {public_a} {} \
             allowed-ips 10.10.0.1/32,fd10::1/128",
            file(&b, &private_b),
            psk_on(&b),
        ));
        for (host, n) in [(&a, 1), (&b, 2)] {
            host.sh(&format!(
                "ip addr add 10.10.0.{n}/24 dev wg0 && ip addr add fd10::{n}/64 dev wg0 nodad && \
                 ip link set wg0 mtu 1420 up"
            ));
        }
        Pair { a, b, _engines: [engine_a, engine_b], public_a, public_b }
    }
}

/// Starts `engine` for wg0 and waits for interface and socket.
pub fn start(host: &Host, engine: Engine) -> Running {
    let running = match engine {
        Engine::Hop => host.spawn(&[env!("CARGO_BIN_EXE_hop"), "wg", "-f", "wg0"]),
        Engine::WireguardGo => host.spawn(&["wireguard-go", "-f", "wg0"]),
    };
    host.until("ip link show wg0 && test -S /var/run/wireguard/wg0.sock && wg show wg0");
    running
}

/// A new private key and its public key, as wg(8) makes them.
pub fn keys(host: &Host) -> (String, String) {
    let private = host.sh("wg genkey").trim().to_string();
    let public = host.sh(&format!("echo {private} | wg pubkey")).trim().to_string();
    (private, public)
}

/// A file on the host's private /run with this content, for wg(8) to read.
pub fn file(host: &Host, content: &str) -> String {
    host.sh(&format!("f=$(mktemp /run/key.XXXXXX) && echo '{}' >$f && echo $f", content.trim()))
        .trim()
        .to_string()
}
