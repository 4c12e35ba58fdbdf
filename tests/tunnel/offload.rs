//! Bulk data with and without what the kernel does for many packets at once, in every combination.
//!
//! Every byte is checked where it arrives. A kernel checks the checksum of every inner packet that
//! was not merged, and its count of wrong ones must stay zero; those of merged ones are checked by
//! the side that merges (`src/tunnel/gso/coalesce/tests.rs`).

use crate::lab::{Net, alone, have, ip, sh};
use hopbox::agent::front::beside;
use hopbox::netstack::door::{self, Doors};
use hopbox::netstack::{self, BEGUN_BYTES, Flow, Netstack, Own, Settings};
use hopbox::sys::{ioctl, packet_pair, process};
use hopbox::tunnel::{self, Config, Offload, PathMtu, PeerConfig, TunDevice, Tunnel};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
pub const MIB: usize = 1 << 20;

/// How one end meets its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Offload,
    /// With the packets of a burst sealed and opened by this many threads more.
    Workers(usize),
    /// Nothing is agreed on with TUN and sockets.
    Plain,
    /// Like that, and the TUN has no virtio-net header: a very old kernel.
    Bare,
    /// With the agent's answers for what listens on loopback alone.
    Beside,
    /// No TUN at all: TCP/IP of our own. For the near end.
    Userspace,
}

pub struct Lab {
    pub far: Net,
    pub near_end: Tunnel,
    pub far_end: Tunnel,
    /// Of the near end and the far end, where they have one.
    pub stacks: [Option<Netstack>; 2],
}

fn device(name: &str, end: End) -> TunDevice {
    let open = if end == End::Bare { ioctl::open_bare_tun } else { ioctl::open_tun };
    let tun = open(name).expect("TUN");
    if end == End::Bare {
        // As whoever had it before may have left it: what is agreed on stays with the device.
        ioctl::set_offload(tun.fd.as_fd(), Offload::Tcp).expect("offloads of before");
    }
    TunDevice { fd: tun.fd, name: tun.name, mtu: 1420, vnet_hdr: tun.vnet_hdr }
}

/// TCP/IP of our own in place of a device: the stack, and its tunnel. It lets nobody but the
/// listeners of this user's loopback be reached.
fn in_userspace(config: &Config) -> (Tunnel, Option<Netstack>) {
    let (ours, theirs) = packet_pair().expect("a pair");
    let own = Own { v4: Some([10, 78, 1, 1].into()), v6: "fd78::1".parse().ok() };
    let settings = Settings { own, mtu: 1420, seed: 7, buffer_bytes: BEGUN_BYTES };
    let stack = netstack::start(ours, &settings, Box::new(OwnListeners)).expect("a stack");
    let device = TunDevice { fd: theirs, name: "none".into(), mtu: 1420, vnet_hdr: false };
    (tunnel::start(device, config).expect("start"), Some(stack))
}

struct OwnListeners;

impl Doors for OwnListeners {
    fn open(&mut self, flow: Flow) -> Option<TcpStream> {
        door::to_listener_of(process::uid(), flow.port)
    }
}

fn start(name: &str, end: End, config: &Config) -> (Tunnel, Option<Netstack>) {
    if end == End::Userspace {
        return in_userspace(config);
    }
    let device = device(name, end);
    assert_eq!(device.vnet_hdr, end != End::Bare);
    let tunnel = match end {
        End::Beside => {
            let own = [10, 78, 1, 2].into();
            let (stack, beside) = beside::open(own, device.mtu, name).expect("a stack");
            let tunnel = tunnel::start_beside(device, beside, config).expect("start");
            return (tunnel, Some(stack));
        }
        End::Offload => tunnel::start(device, config).expect("start"),
        End::Workers(n) => tunnel::start_with_workers(device, config, n).expect("start"),
        _ => tunnel::start_plain(device, config).expect("start"),
    };
    (tunnel, None)
}

fn bring_up(name: &str, number: u8) {
    ip(&format!("addr add 10.78.1.{number}/24 dev {name}"));
    ip(&format!("addr add fd78::{number}/64 dev {name} nodad"));
    ip(&format!("link set {name} mtu 1420 up"));
}

impl Lab {
    pub fn new(ends: [End; 2]) -> Lab {
        let far = Net::new();
        ip(&format!("link add to0 type veth peer name to1 netns {}", far.path()));
        ip("addr add 203.0.113.1/24 dev to0");
        ip("link set to0 up");
        let keys = [(); 2].map(|()| tunnel::generate_key().expect("key"));
        let config = |mine: usize, number: u8, endpoint: Option<SocketAddr>| {
            let peer = PeerConfig {
                public_key: tunnel::public_key(&keys[1 - mine]),
                preshared_key: None,
                own_public_key: None,
                inherits: None,
                endpoint,
                allowed_ips: vec![
                    // Whose packets are made by hand (`encapsulated`).
                    ([10, 10, 0, number].into(), 32),
                    ([10, 78, 1, number].into(), 32),
                    ([0xfd78, 0, 0, 0, 0, 0, 0, u16::from(number)].into(), 128),
                ],
                persistent_keepalive: 0,
            };
            Config {
                private_key: *keys[mine],
                other_private_keys: Vec::new(),
                listen_port: 0,
                second_port: None,
                peers: vec![peer],
                timestamp_file: None,
                shield: None,
                path: PathMtu::Fixed,
            }
        };
        let (far_end, beside) = far.enter(|| {
            ip("addr add 203.0.113.2/24 dev to1");
            ip("link set to1 up");
            let end = start("toB", ends[1], &config(1, 1, None));
            bring_up("toB", 2);
            end
        });
        let there = SocketAddr::from(([203, 0, 113, 2], far_end.listen_port()));
        let (near_end, stack) = start("toA", ends[0], &config(0, 2, Some(there)));
        if stack.is_none() {
            bring_up("toA", 1);
            sh("ping -n -c 1 -W 5 10.78.1.2");
        }
        Lab { far, near_end, far_end, stacks: [stack, beside] }
    }

    /// A TCP connection to the far side: our end, the other.
    pub fn connect(&self, to: IpAddr) -> (TcpStream, TcpStream) {
        let listener = self.far.enter(|| TcpListener::bind((to, 0)).expect("bind"));
        let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (far, _) = listener.accept().expect("accept");
        for end in [&near, &far] {
            end.set_read_timeout(Some(PATIENCE)).expect("timeout");
            end.set_write_timeout(Some(PATIENCE)).expect("timeout");
        }
        (near, far)
    }

    /// Nothing was lost to a wrong checksum, on either side, nor by us.
    pub fn nothing_broke(&self) {
        for wrong in [checksum_errors(), self.far.enter(checksum_errors)] {
            assert_eq!(wrong, 0, "inner packets with wrong checksums");
        }
        self.nothing_was_refused();
    }

    pub fn nothing_was_refused(&self) {
        for end in [&self.near_end, &self.far_end] {
            let status = end.status().expect("status");
            let count = |name: &str| status.drops.iter().find(|d| d.0 == name).map(|d| d.1);
            for name in ["tun_malformed", "inner_malformed", "forged", "replayed", "oversize"] {
                assert_eq!(count(name), Some(0), "{name}");
            }
        }
    }
}

/// `InCsumErrors` of TCP and UDP, both families together.
pub fn checksum_errors() -> u64 {
    let snmp = sh("cat /proc/net/snmp");
    let mut lines = snmp.lines();
    let mut errors = 0;
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if !names.starts_with("Tcp:") && !names.starts_with("Udp:") {
            continue;
        }
        let at = names.split_whitespace().position(|n| n == "InCsumErrors").expect("counted");
        let value = values.split_whitespace().nth(at).expect("a value");
        errors += value.parse::<u64>().expect("a number");
    }
    let six = sh("grep -E '^(Udp6|UdpLite6)InCsumErrors' /proc/net/snmp6 || true");
    errors + six.split_whitespace().filter_map(|w| w.parse::<u64>().ok()).sum::<u64>()
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn byte_at(place: usize) -> u8 {
    (place ^ place >> 8 ^ place >> 16) as u8
}

/// Write `bytes` in pieces of random sizes, and check each of them at the other end.
pub fn stream(mut from: TcpStream, mut to: TcpStream, bytes: usize, seed: u64) {
    let writer = std::thread::spawn(move || {
        let mut rng = Rng(seed);
        let mut place = 0;
        while place < bytes {
            let most = [1, 50, 1380, 5000, 65_536, 262_144][rng.below(6)];
            let n = (1 + rng.below(most)).min(bytes - place);
            let chunk: Vec<u8> = (place..place + n).map(byte_at).collect();
            from.write_all(&chunk).expect("TCP goes on");
            place += n;
        }
        from
    });
    let mut buf = vec![0; 256 * 1024];
    let mut place = 0;
    while place < bytes {
        let n = to.read(&mut buf).expect("TCP goes on");
        assert!(n > 0, "ends at {place} of {bytes}");
        for (i, b) in buf[..n].iter().enumerate() {
            assert_eq!(*b, byte_at(place + i), "byte {} of {bytes}", place + i);
        }
        place += n;
    }
    drop(writer.join().expect("the writer wrote all"));
}

/// Both directions at once, over IPv4 and IPv6.
fn streams(lab: &Lab, bytes: usize) {
    let ends: Vec<_> = ["10.78.1.2", "fd78::2", "10.78.1.2", "fd78::2"]
        .iter()
        .map(|to| lab.connect(to.parse().expect("an address")))
        .enumerate()
        .map(|(i, (near, far))| if i < 2 { (near, far) } else { (far, near) })
        .collect();
    std::thread::scope(|s| {
        for (i, (from, to)) in ends.into_iter().enumerate() {
            s.spawn(move || stream(from, to, bytes, i as u64));
        }
    });
}

/// Numbered datagrams of random sizes, in bursts of equal ones, some of them as runs of the
/// sender's own (UDP_SEGMENT): those that come are what was sent, in order.
fn datagrams(lab: &Lab, to: &str) {
    let to: IpAddr = to.parse().expect("an address");
    let far = lab.far.enter(|| UdpSocket::bind((to, 0)).expect("bind"));
    far.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    let near = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("bind");
    near.connect(far.local_addr().expect("address")).expect("connect");
    // Each burst waits for the one before, so that no buffer overflows on a busy machine.
    let (seen, next) = std::sync::mpsc::channel();
    let sender = std::thread::spawn(move || {
        let (mut rng, mut n) = (Rng(9), 0u32);
        for round in 0..100 {
            let len = [12, 64, 100, 1000, 1372, 1500, 5000][rng.below(7)];
            let count = 1 + rng.below(40).min(60_000 / len);
            let mut run = Vec::new();
            for _ in 0..count {
                n += 1;
                let mut d: Vec<u8> = (0..len as u32).map(|i| (i * n) as u8).collect();
                d[..4].copy_from_slice(&n.to_be_bytes());
                d[4..8].copy_from_slice(&(len as u32).to_be_bytes());
                run.push(d);
            }
            let as_run = round % 3 == 0 && len <= 1372 && segment(&near, len);
            if as_run {
                near.send(&run.concat()).expect("a run");
                segment(&near, 0);
            } else {
                for d in &run {
                    near.send(d).expect("UDP takes it");
                }
            }
            while next.recv_timeout(Duration::from_secs(1)).is_ok_and(|last| last != n) {}
        }
        near.send(&[0; 8]).expect("the end");
        n
    });
    let (mut buf, mut last, mut came) = (vec![0; 65_536], 0, 0);
    while let Ok(len) = far.recv(&mut buf) {
        let word = |at: usize| u32::from_be_bytes([buf[at], buf[at + 1], buf[at + 2], buf[at + 3]]);
        let n = word(0);
        if n == 0 {
            break;
        }
        assert!(n > last, "{n} after {last}");
        assert_eq!(word(4) as usize, len, "the length of {n}");
        let right = (8..len).all(|i| buf[i] == (i as u32 * n) as u8);
        assert!(right, "the bytes of {n}");
        (last, came) = (n, came + 1);
        let _ = seen.send(n);
    }
    let sent = sender.join().expect("sender");
    println!("{to}: {came} of {sent} datagrams");
    assert!(came * 100 >= sent * 97, "{came} of {sent}");
}

/// Have the kernel cut what this socket sends; 0 for no more.
pub fn segment(socket: &UdpSocket, len: usize) -> bool {
    let value = len as i32;
    // SAFETY: the option's value is one i32, which outlives the call.
    let r = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    r == 0
}

fn both(ends: [End; 2]) {
    alone(move || {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new(ends);
        for (tunnel, end) in [(&lab.near_end, ends[0]), (&lab.far_end, ends[1])] {
            let agreed = tunnel.status().expect("status").tun_offload;
            match end {
                // Linux 6.2 has it for UDP, too.
                End::Offload | End::Workers(_) => assert!(agreed >= Offload::Tcp, "{agreed:?}"),
                _ => assert_eq!(agreed, Offload::Nothing),
            }
        }
        streams(&lab, 4 * MIB);
        datagrams(&lab, "10.78.1.2");
        datagrams(&lab, "fd78::2");
        lab.nothing_broke();
    });
}

#[test]
fn offloads_at_both_ends() {
    both([End::Offload, End::Offload]);
}

#[test]
fn offloads_here_and_none_there() {
    both([End::Offload, End::Plain]);
}

#[test]
fn none_here_and_a_tun_without_header_there() {
    both([End::Plain, End::Bare]);
}

#[test]
fn a_tun_without_header_here_and_offloads_there() {
    both([End::Bare, End::Offload]);
}

#[test]
fn more_threads_here_and_there() {
    both([End::Workers(1), End::Workers(3)]);
}

#[test]
fn the_mtu_changes_under_load() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new([End::Offload, End::Offload]);
        let (near, far) = lab.connect([10, 78, 1, 2].into());
        let (far6, near6) = lab.connect("fd78::2".parse().expect("an address"));
        std::thread::scope(|s| {
            let up = s.spawn(|| stream(near, far, 8 * MIB, 1));
            let down = s.spawn(|| stream(far6, near6, 8 * MIB, 2));
            // Inner and outer: both below and above what the other was made for.
            for round in 0.. {
                if up.is_finished() && down.is_finished() {
                    break;
                }
                let mtu = [1280, 1420, 9000, 1300][round % 4];
                ip(&format!("link set toA mtu {mtu}"));
                lab.far.enter(|| ip(&format!("link set toB mtu {mtu}")));
                if round % 3 == 0 {
                    let wire = [1500, 1400, 1500, 9000][round / 3 % 4];
                    ip(&format!("link set to0 mtu {wire}"));
                    lab.far.enter(|| ip(&format!("link set to1 mtu {wire}")));
                }
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        lab.nothing_broke();
    });
}
