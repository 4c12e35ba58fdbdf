//! Networks that lose what is longer than so many bytes and say nothing: what passes is found by
//! one end, told to the other, and full-size pings and TCP go both ways, over connections that were
//! there before, too.
//!
//! A network's drop is nft's, before fragments are put together. Cables hand over runs of datagrams
//! as one; so that their lengths are seen, each goes alone here.

use crate::device;
use crate::lab::{Net, Running, alone, eventually, have, ip, output, sh};
use hopbox::sys::icmp::Echo;
use hopbox::sys::ioctl;
use hopbox::tunnel::{self, Config, PathMtu, PathState, PeerConfig, Tunnel};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const OWN: [u8; 4] = [10, 79, 1, 1];
const PEER: [u8; 4] = [10, 79, 1, 2];
/// What is promised, and machines that do other things meanwhile.
const SOON: Duration = Duration::from_secs(6);
const BYTES: usize = 300_000;

/// A cable between the calling thread's network and another.
struct Cable {
    far: Net,
}

impl Cable {
    fn new() -> Cable {
        let far = Net::new();
        ip(&format!("link add pm0 type veth peer name pm1 netns {}", far.path()));
        let up = |name: &str, number: u8| {
            ip(&format!("addr add 203.0.113.{number}/24 dev {name}"));
            ip(&format!("addr add 2001:db8::{number}/64 dev {name} nodad"));
            ip(&format!("link set {name} up gso_max_segs 1"));
        };
        up("pm0", 1);
        far.enter(|| up("pm1", 2));
        Cable { far }
    }

    /// From now on it passes so many bytes towards the far end, and from there.
    fn passes(&self, there: u16, back: u16) {
        let narrow = |name: &str, most: u16| {
            sh(&format!(
                "nft 'add table inet n; delete table inet n; table inet n {{ chain c {{ type \
                 filter hook prerouting priority -450; iifname {name} meta length > {most} drop; \
                 }}; }}'"
            ));
        };
        self.far.enter(|| narrow("pm1", there));
        narrow("pm0", back);
    }
}

/// A tunnel of ours, and who answers it.
struct Lab {
    cable: Cable,
    near: Tunnel,
    /// One of ours, or a stranger.
    far: Option<Tunnel>,
    _program: Option<Running>,
}

fn config(own: [u8; 32], peer: [u8; 32], at: [u8; 4], path: PathMtu) -> Config {
    let peer = PeerConfig {
        public_key: tunnel::public_key(&peer),
        allowed_ips: vec![(at.into(), 32)],
        ..PeerConfig::default()
    };
    let mut config = Config::default();
    (config.private_key, config.peers, config.path) = (own, vec![peer], path);
    config
}

fn bring_up(name: &str, [a, b, c, d]: [u8; 4]) {
    ip(&format!("addr add {a}.{b}.{c}.{d}/24 dev {name}"));
    ip(&format!("link set {name} mtu 1420 up"));
}

impl Lab {
    /// Who is at the far end, and where over the cable.
    fn new(cable: Cable, far: impl FnOnce(&Cable, [[u8; 32]; 2]) -> Far, at: IpAddr) -> Lab {
        let keys = [(); 2].map(|()| *tunnel::generate_key().expect("key"));
        let Far { port, tunnel, program } = far(&cable, keys);
        let path = PathMtu::Seek { own: OWN.into(), peer: PEER.into() };
        let mut config = config(keys[0], keys[1], PEER, path);
        config.peers[0].endpoint = Some(SocketAddr::new(at, port));
        let near = tunnel::start(device::open("pmA"), &config).expect("start");
        bring_up("pmA", OWN);
        Lab { cable, near, far: tunnel, _program: program }
    }

    fn state(&self) -> PathState {
        self.near.status().expect("status").path.expect("it is sought")
    }

    /// The network is another one now.
    fn joins(&self) {
        self.near.network_changed();
        sh("ping -n -c 1 -W 5 10.79.1.2");
    }

    /// Until it is known what passes; how long that took.
    #[track_caller]
    fn finds(&self, mtu: u16) -> Duration {
        let began = Instant::now();
        let want = PathState { mtu, is_answered: true, is_sought: false };
        while self.state() != want {
            let state = self.state();
            assert!(began.elapsed() < SOON, "not {mtu}: {state:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    /// A connection to the far side: our end, the other.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let listener =
            self.cable.far.enter(|| TcpListener::bind(SocketAddr::from((PEER, 0))).expect("bind"));
        let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        for end in [&near, &far] {
            end.set_read_timeout(Some(SOON)).expect("timeout");
            end.set_write_timeout(Some(SOON)).expect("timeout");
        }
        (near, far)
    }
}

struct Far {
    port: u16,
    tunnel: Option<Tunnel>,
    program: Option<Running>,
}

/// One of ours.
fn ours(path: PathMtu) -> impl FnOnce(&Cable, [[u8; 32]; 2]) -> Far {
    move |cable, keys| {
        let tunnel = cable.far.enter(|| {
            let config = config(keys[1], keys[0], OWN, path);
            let tunnel = tunnel::start(device::open("pmB"), &config).expect("start");
            bring_up("pmB", PEER);
            tunnel
        });
        Far { port: tunnel.listen_port(), tunnel: Some(tunnel), program: None }
    }
}

fn heeds() -> impl FnOnce(&Cable, [[u8; 32]; 2]) -> Far {
    ours(PathMtu::Heed { own: PEER.into() })
}

/// wireguard-go, which knows nothing of this. `more` is what else is said of its peer.
fn wireguard_go(name: &str, own: &[u8; 32], peer: &[u8; 32], port: u16, more: &str) -> Running {
    let base64 = |key: &[u8; 32]| {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        sh(&format!("echo {hex} | xxd -r -p | base64"))
    };
    let (own, peer) = (base64(own), base64(&tunnel::public_key(peer)));
    let running = Running::start("wireguard-go", &["-f", name]);
    let socket = format!("/run/wireguard/{name}.sock");
    eventually("the socket", || UnixStream::connect(&socket).is_ok());
    sh(&format!("umask 077; echo {own} > /run/{name}.key"));
    sh(&format!("wg set {name} private-key /run/{name}.key listen-port {port} peer {peer} {more}"));
    running
}

fn stranger(cable: &Cable, keys: [[u8; 32]; 2]) -> Far {
    let program = cable.far.enter(|| {
        let allowed = "allowed-ips 10.79.1.1/32";
        let running = wireguard_go("pmB", &keys[1], &keys[0], 51820, allowed);
        bring_up("pmB", PEER);
        running
    });
    Far { port: 51820, tunnel: None, program: Some(program) }
}

/// Somebody else's VPN over the cable, as a company has one; its far end is 10.80.1.2.
fn vpn(cable: &Cable) -> [Running; 2] {
    let keys = [(); 2].map(|()| *tunnel::generate_key().expect("key"));
    let far = cable.far.enter(|| {
        let running = wireguard_go("pmD", &keys[1], &keys[0], 51821, "allowed-ips 10.80.1.1/32");
        bring_up("pmD", [10, 80, 1, 2]);
        running
    });
    let there = "allowed-ips 10.80.1.2/32 endpoint 203.0.113.2:51821";
    let near = wireguard_go("pmC", &keys[0], &keys[1], 51821, there);
    bring_up("pmC", [10, 80, 1, 1]);
    [near, far]
}

/// There and back again, over one connection; how long it took.
fn both_ways((near, far): &mut (TcpStream, TcpStream)) -> Duration {
    let began = Instant::now();
    one_way(near, far);
    one_way(far, near);
    began.elapsed()
}

fn one_way(from: &mut TcpStream, to: &mut TcpStream) {
    let sent: Vec<u8> = (0..BYTES).map(|i| (i ^ i >> 8) as u8).collect();
    let mut came = vec![0; BYTES];
    std::thread::scope(|s| {
        s.spawn(|| from.write_all(&sent).expect("TCP goes on"));
        to.read_exact(&mut came).expect("TCP goes on");
    });
    assert!(sent == came);
}

/// Whether an echo of this size passes whole, whatever the kernel remembers.
fn passes(mtu: u16) -> bool {
    let index = ioctl::index("pmA").expect("index");
    let mut echo = Echo::through(PEER.into(), Some(index)).expect("ICMP");
    echo.forbid_fragments().expect("an option");
    (0..3).any(|n| {
        let limit = Duration::from_millis(700);
        matches!(echo.ping_sized(n, usize::from(mtu) - 20, limit), Ok(Some(_)))
    })
}

/// Both of one size: packets that pass, and those that are longer by a little or much.
fn pings(mtu: u16) {
    // What it was told of the last network it would believe for ten minutes.
    ip("route flush cache");
    sh(&format!("ping -n -c 2 -i 0.2 -W 3 -M do -s {} 10.79.1.2", mtu - 28));
    assert!(passes(mtu), "{mtu}");
    if mtu < 1420 {
        assert!(!passes(mtu + 1), "{mtu} and one");
        // Who forbids nothing is cut in pieces; the first is told that it has to.
        sh("ping -n -c 2 -i 0.2 -W 3 -M dont -s 1372 10.79.1.2");
        sh("ping -n -c 3 -i 0.2 -W 3 -s 1372 10.79.1.2");
        sh("ping -n -c 2 -i 0.2 -W 3 -M dont -s 8000 10.79.1.2");
    }
}

/// R103 and R104, as the world has them.
#[test]
fn what_a_network_passes_is_found_and_kept_to_both_ways() {
    alone(|| {
        if !have(&["nft", "ip", "ping"]) {
            return;
        }
        let lab = Lab::new(Cable::new(), heeds(), [203, 0, 113, 2].into());
        lab.joins();
        lab.finds(1420);
        let mut old = lab.connect();
        both_ways(&mut old);
        for (what, there, back, mtu) in [
            ("1,300 bytes", 1300, 1300, 1232),
            ("PPPoE", 1492, 1492, 1420),
            ("1,400 there", 1400, 1500, 1328),
            ("all", 1500, 1500, 1420),
            ("1,300 back", 1500, 1300, 1232),
            ("tunnels in tunnels", 700, 700, 640),
            ("all again", 1500, 1500, 1420),
        ] {
            lab.cable.passes(there, back);
            let joined = Instant::now();
            lab.joins();
            let took = both_ways(&mut old);
            both_ways(&mut lab.connect());
            lab.finds(mtu);
            println!(
                "{what}: {mtu} known and TCP both ways after {:?} ({took:?})",
                joined.elapsed()
            );
            assert!(joined.elapsed() < SOON, "{what}: {:?}", joined.elapsed());
            pings(mtu);
        }
        let status = lab.near.status().expect("status");
        assert_eq!(status.clamped_deadlines, 0);
        let lost = |name: &str| status.drops.iter().find(|d| d.0 == name).map(|d| d.1);
        assert!(lost("too_long") > Some(0), "what forbids it is refused and counted");
        assert_eq!(lost("send_too_big"), Some(0), "questions are no packets of the user's");
    });
}

/// IPv6, which no router fragments, over PPPoE and over a link that is as small as one may be.
#[test]
fn over_ipv6_and_a_small_link_packets_pass_whole() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new(Cable::new(), heeds(), "2001:db8::2".parse().expect("address"));
        lab.joins();
        lab.finds(1420);
        let mut old = lab.connect();
        let fragments = || sh("grep Ip6FragCreates /proc/net/snmp6");
        for (link, mtu) in [(1492, 1408), (1280, 1200), (1500, 1420)] {
            lab.cable.far.enter(|| ip(&format!("link set pm1 mtu {link}")));
            ip(&format!("link set pm0 mtu {link}"));
            lab.joins();
            both_ways(&mut old);
            lab.finds(mtu);
            pings(mtu);
            let before = fragments();
            both_ways(&mut lab.connect());
            assert_eq!(fragments(), before, "{link}: nothing was in pieces outside");
        }
    });
}

/// The laptop's other VPN has a device that takes 1,420 bytes, on a line that takes all and on one
/// that loses what is longer than 1,300, of which it knows nothing itself.
#[test]
fn within_another_vpn_packets_pass_whole() {
    alone(|| {
        if !have(&["nft", "ip", "ping", "wg", "wireguard-go", "xxd"]) {
            return;
        }
        let cable = Cable::new();
        let _vpn = vpn(&cable);
        let lab = Lab::new(cable, heeds(), [10, 80, 1, 2].into());
        let fragments = || sh("grep '^Ip: [0-9]' /proc/net/snmp | cut -d' ' -f20");
        let mut connections = Vec::new();
        for (line, mtu) in [(1500, 1360), (1300, 1168), (1500, 1360)] {
            lab.cable.passes(line, line);
            lab.joins();
            connections.iter_mut().for_each(|old| _ = both_ways(old));
            lab.finds(mtu);
            pings(mtu);
            let before = fragments();
            let mut new = lab.connect();
            both_ways(&mut new);
            assert_eq!(fragments(), before, "{line}: nothing was in pieces outside");
            connections.push(new);
        }
    });
}

/// One that answers echoes as everybody does, and one that does not even that.
#[test]
fn a_stranger_that_knows_nothing_of_it_is_served_as_well() {
    alone(|| {
        if !have(&["nft", "ip", "ping", "wg", "wireguard-go", "xxd"]) {
            return;
        }
        let lab = Lab::new(Cable::new(), stranger, [203, 0, 113, 2].into());
        lab.joins();
        lab.finds(1420);
        lab.cable.passes(1300, 1300);
        lab.joins();
        lab.finds(1232);
        both_ways(&mut lab.connect());
        sh("ping -n -c 2 -i 0.2 -W 3 -M do -s 1204 10.79.1.2");
        lab.cable.passes(1500, 1500);
        lab.cable.far.enter(|| sh("echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all"));
        lab.near.network_changed();
        both_ways(&mut lab.connect());
        eventually("it gives up", || {
            let state = lab.state();
            !state.is_answered && !state.is_sought
        });
        both_ways(&mut lab.connect());
    });
}

/// A server of before: what begins in a small network is told to send no more than passes.
#[test]
fn a_server_that_does_not_heed_sends_what_passes_over_new_connections() {
    alone(|| {
        if !have(&["nft", "ip", "ping"]) {
            return;
        }
        let lab = Lab::new(Cable::new(), ours(PathMtu::Fixed), [203, 0, 113, 2].into());
        lab.cable.passes(1300, 1300);
        lab.joins();
        lab.finds(1232);
        both_ways(&mut lab.connect());
        assert!(!output("ping -n -c 1 -W 1 -M do -s 1392 10.79.1.2").status.success());
    });
}

/// Sends what a router would that takes no more than 600 bytes, about a datagram of ours.
const FORGED: &str = r#"
import socket, struct, sys
def summed(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
near, far = (socket.inet_aton("203.0.113.%d" % n) for n in (1, 2))
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1480, 1, 0, 64, 17, 0, near, far)
udp = struct.pack("!HHHH", int(sys.argv[1]), int(sys.argv[2]), 1460, 0)
icmp = struct.pack("!BBHHH", 3, 4, 0, 0, 600) + ip + udp
icmp = icmp[:2] + struct.pack("!H", summed(icmp)) + icmp[4:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.sendto(icmp, ("203.0.113.1", 0))
"#;

/// R103: a network that may not be believed says that nothing long passes.
#[test]
fn what_a_forged_icmp_says_of_the_path_is_not_heard() {
    alone(|| {
        if !have(&["ip", "ping", "python3"]) {
            return;
        }
        let lab = Lab::new(Cable::new(), heeds(), [203, 0, 113, 2].into());
        lab.joins();
        lab.finds(1420);
        let port = lab.near.listen_port();
        let far = lab.far.as_ref().map_or(0, Tunnel::listen_port);
        let heard = || sh("grep '^Icmp: [0-9]' /proc/net/snmp | cut -d' ' -f5");
        let none = heard();
        lab.cable.far.enter(|| sh(&format!("python3 -c '{FORGED}' {port} {far}")));
        eventually("the kernel has it", || heard() != none);
        let fragments = || sh("grep '^Ip: [0-9]' /proc/net/snmp | cut -d' ' -f20");
        let before = fragments();
        both_ways(&mut lab.connect());
        lab.joins();
        both_ways(&mut lab.connect());
        lab.finds(1420);
        pings(1420);
        assert_eq!(fragments(), before, "nothing is in pieces outside");
    });
}
