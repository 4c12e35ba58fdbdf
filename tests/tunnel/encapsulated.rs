//! Other tunnels within this one: VXLAN of the real kernel, whose segments come to us uncut where
//! the kernel has that, and packets of those that it may lack, with the checksum it leaves to us.
//!
//! Whatever the kernel's queue had no room for is counted by us as well.

use crate::lab::{alone, eventually, have, ip, sh};
use crate::offload::{End, Lab, MIB, checksum_errors};
use crate::test_packets::{TestPacket, leave_partial, vxlan};
use hopbox::sys::ioctl;
use hopbox::tunnel::{Offload, Tunnel};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

fn counted(end: &Tunnel, name: &str) -> u64 {
    let drops = end.status().expect("status").drops;
    drops.iter().find(|drop| drop.0 == name).expect("a reason").1
}

/// What the kernel counts of an interface, see proc_net_dev(5).
fn column(name: &str, number: usize) -> u64 {
    let row = sh(&format!("grep '^ *{name}:' /proc/thread-self/net/dev | cut -d: -f2"));
    row.split_whitespace().nth(number).expect("a column").parse().expect("a number")
}

/// Packets that went to the queue of this TUN, and those that it had no room for.
fn queued(name: &str) -> u64 {
    column(name, 9)
}

fn lost_by_kernel(name: &str) -> u64 {
    column(name, 11)
}

/// Segments of TCP that this network namespace sent, and those of them that it sent again.
fn segments() -> (u64, u64) {
    let table = sh("grep ^Tcp: /proc/thread-self/net/snmp");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let of = |name| names.iter().position(|n| *n == name).and_then(|at| values[at].parse().ok());
    (of("OutSegs").expect("counted"), of("RetransSegs").expect("counted"))
}

/// A VXLAN between both ends of the tunnel, with the inner networks 10.79.1.0/24 and fd79::/64.
fn add_vxlan(lab: &Lab, v6: bool, checksums: bool) {
    let options = match (v6, checksums) {
        (false, true) => "udpcsum",
        (false, false) => "noudpcsum",
        (true, true) => "noudp6zerocsumtx",
        (true, false) => "udp6zerocsumtx udp6zerocsumrx",
    };
    let add = |dev: &str, mine: u8, other: u8| {
        let outer = |n| if v6 { format!("fd78::{n}") } else { format!("10.78.1.{n}") };
        let ends = format!("local {} remote {}", outer(mine), outer(other));
        ip(&format!("link add vx type vxlan id 42 dstport 4789 {ends} dev {dev} {options}"));
        ip(&format!("addr add 10.79.1.{mine}/24 dev vx"));
        ip(&format!("addr add fd79::{mine}/64 dev vx nodad"));
        ip("link set vx up");
    };
    lab.far.enter(|| add("toB", 2, 1));
    add("toA", 1, 2);
    sh("ping -n -c 1 -W 5 10.79.1.2");
}

/// More bytes than fit into the queue of a TUN cut up, as fast as TCP takes them.
fn bulk((mut from, mut to): (TcpStream, TcpStream)) {
    let bytes: Vec<u8> = (0..3 * MIB).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
    let (sent, mut came) = (bytes.clone(), vec![0; bytes.len()]);
    let writer = std::thread::spawn(move || from.write_all(&sent).map(|()| from));
    to.read_exact(&mut came).expect("TCP goes on");
    assert!(came == bytes, "what comes out is not what went in");
    drop(writer.join().expect("a thread").expect("TCP takes it"));
}

/// Both ways at once, over IPv4 and over IPv6 in the VXLAN.
fn streams(lab: &Lab) {
    let (up, down) =
        (lab.connect([10, 79, 1, 2].into()), lab.connect("fd79::2".parse().expect("an address")));
    std::thread::scope(|s| {
        s.spawn(|| bulk(up));
        s.spawn(|| bulk((down.1, down.0)));
    });
}

/// `cases`: whether the outer datagrams are those of IPv6, and whether they have checksums.
fn through_vxlan(ends: [End; 2], cases: &'static [(bool, bool)]) {
    alone(move || {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new(ends);
        for &(v6, checksums) in cases {
            add_vxlan(&lab, v6, checksums);
            let look = |tun: &str| (segments(), checksum_errors(), queued(tun));
            let before = [look("toA"), lab.far.enter(|| look("toB"))];
            streams(&lab);
            let after = [look("toA"), lab.far.enter(|| look("toB"))];
            for (n, end) in [&lab.near_end, &lab.far_end].into_iter().enumerate() {
                let ((sent0, again0), wrong0, queued0) = before[n];
                let ((sent1, again1), wrong1, queued1) = after[n];
                let (sent, again, queued) = (sent1 - sent0, again1 - again0, queued1 - queued0);
                let level = end.status().expect("status").tun_offload;
                println!(
                    "v6 {v6}, checksums {checksums}, {level:?}: {sent} segments in {queued}, \
                     {again} again"
                );
                if level >= Offload::Tunnels {
                    assert!(queued < sent, "{queued} packets for {sent} segments");
                    // The queue has room for every window there is.
                    assert!(again * 50 <= sent, "{again} of {sent}");
                }
                // Without checksums over IPv6, one that finds no VXLAN yet counts as wrong.
                assert_eq!(wrong1, wrong0, "wrong checksums");
            }
            ip("link del vx");
            lab.far.enter(|| ip("link del vx"));
        }
        lab.nothing_was_refused();
        assert_eq!(counted(&lab.near_end, "tun_overflow"), lost_by_kernel("toA"));
        let far = lab.far.enter(|| lost_by_kernel("toB"));
        assert_eq!(counted(&lab.far_end, "tun_overflow"), far);
    });
}

#[test]
fn tcp_in_a_vxlan_goes_through_without_loss() {
    through_vxlan(
        [End::Offload, End::Offload],
        &[(false, true), (false, false), (true, true), (true, false)],
    );
}

#[test]
fn tcp_in_a_vxlan_with_workers_here_and_no_offload_there() {
    through_vxlan([End::Workers(2), End::Plain], &[(false, true), (true, false)]);
}

/// The kernel loses what finds the queue of the TUN full, and tells nobody but its own counter.
#[test]
fn what_the_queue_of_the_tun_has_no_room_for_is_counted() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new([End::Offload, End::Offload]);
        assert!(ip("-o link show toA").contains(" qlen 1000"), "as with Ethernet");
        ip("link set toA txqueuelen 1");
        let socket = UdpSocket::bind("10.78.1.1:0").expect("bind");
        socket.connect("10.78.1.2:9").expect("connect");
        eventually("the queue overflows", || {
            for _ in 0..1000 {
                // The other side may refuse the port.
                let _ = socket.send(&[0; 100]);
            }
            lost_by_kernel("toA") > 0
        });
        assert_eq!(counted(&lab.near_end, "tun_overflow"), lost_by_kernel("toA"));
        assert_eq!(counted(&lab.near_end, "tun_overflow"), lost_by_kernel("toA"), "once");
        assert_eq!(counted(&lab.far_end, "tun_overflow"), 0);
    });
}

const ETH_P_IP: u16 = 0x0800;
const PACKET_VNET_HDR: i32 = 15;

/// Sends and receives whole packets of an interface; with a virtio-net header if asked.
fn packet_socket(interface: &str, header: bool) -> OwnedFd {
    let protocol = i32::from(ETH_P_IP.to_be());
    // SAFETY: socket(2) takes no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, protocol) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let (on, patience) = (i32::from(header), libc::timeval { tv_sec: 5, tv_usec: 0 });
    // SAFETY: a zeroed address is a valid one of this type.
    let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    at.sll_family = libc::AF_PACKET as u16;
    at.sll_protocol = ETH_P_IP.to_be();
    at.sll_ifindex = ioctl::index(interface).expect("an interface") as i32;
    // SAFETY: every value outlives its call, and each length is that of its value.
    let results = unsafe {
        let (raw, len) = (fd.as_raw_fd(), size_of::<libc::sockaddr_ll>() as u32);
        let (of_time, of_int) = (size_of::<libc::timeval>() as u32, size_of::<i32>() as u32);
        [
            libc::setsockopt(
                raw,
                libc::SOL_PACKET,
                PACKET_VNET_HDR,
                (&raw const on).cast(),
                of_int,
            ),
            libc::setsockopt(
                raw,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                of_time,
            ),
            libc::bind(raw, (&raw const at).cast(), len),
        ]
    };
    assert_eq!(results, [0; 3], "{}", std::io::Error::last_os_error());
    fd
}

/// The next packet that is one of TestPacket's.
fn receive(from: &OwnedFd) -> Vec<u8> {
    loop {
        let mut room = vec![0; 2000];
        // SAFETY: `room` is writable for its length.
        let n = unsafe { libc::recv(from.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
        assert!(n > 0, "{}", std::io::Error::last_os_error());
        room.truncate(n as usize);
        if room.get(12..15) == Some(&[10, 10, 0]) {
            return room;
        }
    }
}

/// Packets that carry others, each with where the checksum of the innermost stands.
fn carriers() -> Vec<(&'static str, Vec<u8>, usize)> {
    let (tcp, udp) = (TestPacket::tcp(false, 7, 900), TestPacket::udp(false, 333));
    let tcp6 = TestPacket::tcp(true, 7, 901);
    let outer = TestPacket::udp(false, 0);
    let ethernet = &vxlan(false)[8..];
    let in_datagram = |front: &[u8], inner: &TestPacket| {
        TestPacket { payload: [front, &inner.packet()].concat(), ..outer.clone() }.packet()
    };
    let geneve = [&[3, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0x80, 2][..], &[7; 8], ethernet].concat();
    let gre =
        |front: &[u8], inner: &TestPacket| outer.carry(47, &[front, &inner.packet()].concat());
    vec![
        ("VXLAN", in_datagram(&vxlan(false), &tcp), 20 + 8 + 22 + 20),
        ("VXLAN", in_datagram(&vxlan(true), &tcp6), 20 + 8 + 22 + 40),
        ("GENEVE", in_datagram(&geneve, &udp), 20 + 8 + 34 + 20),
        ("IPIP", outer.carry(4, &tcp.packet()), 20 + 20),
        ("SIT", outer.carry(41, &tcp6.packet()), 20 + 40),
        ("GRE", gre(&[0, 0, 8, 0], &udp), 20 + 4 + 20),
        ("GRE", gre(&[0x20, 0, 0x86, 0xdd, 0, 0, 0, 42], &tcp6), 20 + 8 + 40),
        ("GRETAP", gre(&[&[0, 0, 0x65, 0x58][..], ethernet].concat(), &tcp), 20 + 18 + 20),
    ]
}

fn checksums_within(ends: [End; 2]) {
    alone(move || {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = Lab::new(ends);
        let near = packet_socket("toA", true);
        let far = lab.far.enter(|| packet_socket("toB", false));
        for (name, whole, transport) in carriers() {
            let udp = name == "GENEVE" || name == "GRE" && whole.len() < 500;
            let offset = if udp { 6 } else { 16 };
            let mut packet = whole.clone();
            leave_partial(&mut packet, transport, offset);
            let [start, offset] = [transport as u16, offset as u16].map(u16::to_ne_bytes);
            let header = [&[1, 0, 0, 0, 0, 0][..], &start, &offset].concat();
            let bytes = [header, packet].concat();
            // SAFETY: `bytes` is readable for its length.
            let n = unsafe { libc::send(near.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            assert_eq!(n, bytes.len() as isize, "{name}: {}", std::io::Error::last_os_error());
            assert!(receive(&far) == whole, "{name}: what comes out is not what went in");
        }
        lab.nothing_broke();
    });
}

#[test]
fn a_checksum_within_another_tunnel_is_finished_by_us() {
    checksums_within([End::Offload, End::Offload]);
}

#[test]
fn a_checksum_within_another_tunnel_is_finished_by_the_kernel() {
    checksums_within([End::Plain, End::Bare]);
}
