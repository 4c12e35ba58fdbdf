//! Two hosts with a WireGuard interface each, configured by wg(8).

use std::sync::atomic::{AtomicU32, Ordering};

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

/// Where b is, in a pair made by [`Pair::new`].
pub const B_V4: &str = "198.51.100.2:51820";
pub const B_V6: &str = "[fd00::2]:51820";

/// Hosts a and b with wg0 on each: 10.10.0.1 and 10.10.0.2, fd10::1 and fd10::2. Port 51821 is a's,
/// 51820 b's.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    // Both end with the pair.
    _engine_a: Running,
    pub engine_b: Running,
    pub public_a: String,
    pub public_b: String,
}

impl Pair {
    /// Joined by a veth; both interfaces are up and know each other; only a knows where b is.
    pub fn new(engine_a: Engine, engine_b: Engine, outer: Outer, preshared: bool) -> Pair {
        let (a, b) = (Host::new("a"), Host::new("b"));
        a.join(&b);
        a.sh("ip addr add 198.51.100.1/24 dev wan; ip addr add fd00::1/64 dev wan");
        b.sh("ip addr add 198.51.100.2/24 dev wan; ip addr add fd00::2/64 dev wan");
        let pair = Pair::apart(a, b, [engine_a, engine_b], preshared);
        pair.a_knows(if outer == Outer::V4 { B_V4 } else { B_V6 });
        pair
    }

    /// Two of ours, joined by IPv4.
    pub fn of_hop() -> Pair {
        Pair::new(Engine::Hop, Engine::Hop, Outer::V4, true)
    }

    /// On hosts that are joined in whatever way; neither knows where the other is.
    pub fn apart(a: Host, b: Host, [engine_a, engine_b]: [Engine; 2], preshared: bool) -> Pair {
        let (engine_a, engine_b) = (start(&a, engine_a), start(&b, engine_b));
        let ((private_a, public_a), (private_b, public_b)) = (keys(&a), keys(&b));
        let psk = if preshared { a.sh("wg genpsk") } else { String::new() };
        for (host, private, port, n, peer, m) in
            [(&a, &private_a, 51821, 1, &public_b, 2), (&b, &private_b, 51820, 2, &public_a, 1)]
        {
            let psk = match preshared {
                true => format!("preshared-key {}", file(host, &psk)),
                false => String::new(),
            };
            host.sh(&format!(
                "wg set wg0 listen-port {port} private-key {} peer {peer} {psk} \
                 allowed-ips 10.10.0.{m}/32,fd10::{m}/128 && \
                 ip addr add 10.10.0.{n}/24 dev wg0 && ip addr add fd10::{n}/64 dev wg0 nodad && \
                 ip link set wg0 mtu 1420 up",
                file(host, private),
            ));
        }
        Pair { a, b, _engine_a: engine_a, engine_b, public_a, public_b }
    }

    /// Tells a where b is.
    pub fn a_knows(&self, endpoint: &str) {
        self.a.sh(&format!("wg set wg0 peer {} endpoint {endpoint}", self.public_b));
    }

    /// Tells b where a is.
    pub fn b_knows(&self, endpoint: &str) {
        self.b.sh(&format!("wg set wg0 peer {} endpoint {endpoint}", self.public_a));
    }

    /// Where a believes b to be.
    pub fn b_seen(&self) -> String {
        endpoint_of(&self.a, &self.public_b)
    }

    /// Where b believes a to be.
    pub fn a_seen(&self) -> String {
        endpoint_of(&self.b, &self.public_a)
    }
}

fn endpoint_of(host: &Host, peer: &str) -> String {
    let line = host.sh(&format!("wg show wg0 endpoints | grep -F '{peer}'"));
    line.split_whitespace().nth(1).unwrap_or_default().to_string()
}

/// Authenticated bytes of the one peer: received, sent.
pub fn transfer(host: &Host, interface: &str) -> [u64; 2] {
    let line = host.sh(&format!("wg show {interface} transfer"));
    let mut numbers = line.split_whitespace().skip(1).map(|n| n.parse().unwrap());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

/// Starts `engine` for wg0 and waits for interface and socket.
pub fn start(host: &Host, engine: Engine) -> Running {
    start_as(host, engine, "wg0")
}

/// Starts `engine` for an interface of this name and waits for interface and socket.
pub fn start_as(host: &Host, engine: Engine, name: &str) -> Running {
    let running = match engine {
        Engine::Hop => host.spawn(&[env!("CARGO_BIN_EXE_hop"), "wg", "-f", name]),
        Engine::WireguardGo => host.spawn(&["wireguard-go", "-f", name]),
    };
    host.until(&format!(
        "ip link show {name} && test -S /var/run/wireguard/{name}.sock && wg show {name}"
    ));
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
    static FILES: AtomicU32 = AtomicU32::new(0);
    let path = format!("/run/file{}", FILES.fetch_add(1, Ordering::Relaxed));
    let text = if content.is_empty() { String::new() } else { format!("{}\n", content.trim()) };
    let to = path.clone();
    host.run(move || std::fs::write(to, text)).unwrap();
    path
}
