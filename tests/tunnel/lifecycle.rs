//! Start, stop, up, down, moved, deleted: what a tunnel does with its interface, what it leaves.

use crate::device::{config, open, start};
use crate::lab::{Net, alone, eventually, ip};
use hopbox::sys::poll::{Interest, wait_one};
use hopbox::sys::{code, ioctl};
use hopbox::tunnel::{self, Stopped, Tunnel};
use hopbox_selftest::sys::veth::Rtnl;
use nix::sched::CpuSet;
use nix::unistd::Pid;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

fn running(t: &Tunnel) -> bool {
    t.status().expect("status").running
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).expect("proc").count()
}

#[test]
fn two_hundred_starts_leave_no_descriptor_and_no_thread() {
    alone(|| {
        drop(start("tl0"));
        let before = (count("/proc/self/fd"), count("/proc/self/task"));
        for i in 0..200 {
            let mut t = start("tl0");
            if i % 2 == 0 {
                ip("link set tl0 up");
                eventually("running", || running(&t));
            }
            assert_eq!(t.stop(), Some(Stopped::Asked));
            assert_eq!(t.stop(), Some(Stopped::Asked), "stopping twice is the same as once");
        }
        assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), before);
    });
}

#[test]
fn the_protocol_runs_exactly_while_the_interface_is_up() {
    alone(|| {
        let t = start("tl1");
        assert!(!running(&t));
        for _ in 0..20 {
            ip("link set tl1 up");
            eventually("up", || running(&t));
            ip("link set tl1 down");
            eventually("down", || !running(&t));
        }
        ip("link set tl1 mtu 1300 up");
        eventually("mtu", || t.status().expect("status").mtu == 1300);
    });
}

#[test]
fn an_interface_that_is_up_already_starts_at_once() {
    alone(|| {
        let tun = open("tl2");
        ip("link set tl2 up");
        let t = tunnel::start(tun, &config()).expect("start");
        eventually("running", || running(&t));
    });
}

/// On one CPU the data plane begins when this thread waits: after the interface came up, and with
/// all that was told of it before still to be read.
#[test]
fn an_interface_that_comes_up_meanwhile_starts_once() {
    alone(|| {
        ip("link set lo up");
        let here = nix::sched::sched_getaffinity(Pid::from_raw(0)).expect("CPUs");
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|cpu| here.is_set(*cpu) == Ok(true));
        one.set(first.expect("a CPU")).expect("set");
        nix::sched::sched_setaffinity(Pid::from_raw(0), &one).expect("pinned");
        let mut rtnl = Rtnl::open().expect("rtnetlink");
        for round in 0..20 {
            let peer = UdpSocket::bind("127.0.0.1:0").expect("peer");
            let mut config = config();
            config.peers[0].endpoint = Some(peer.local_addr().expect("address"));
            let tun = open("tl3");
            let t = tunnel::start(tun, &config).expect("start");
            rtnl.set_up("tl3").expect("up");
            eventually("running", || running(&t));
            peer.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
            let mut initiations = 0;
            while peer.recv(&mut [0; 2000]).is_ok() {
                initiations += 1;
            }
            assert_eq!(initiations, 1, "round {round}");
        }
    });
}

#[test]
fn deleting_the_interface_ends_the_tunnel() {
    alone(|| {
        for up in [false, true] {
            let t = start("tl3");
            if up {
                ip("link set tl3 up");
                eventually("running", || running(&t));
            }
            assert_eq!(t.ended(), None);
            ip("link del tl3");
            assert!(
                wait_one(t.end_fd(), Interest::READ, Some(Duration::from_secs(5))).expect("poll")
            );
            assert_eq!(t.ended(), Some(Stopped::DeviceGone));
            assert!(t.get().is_err() && t.set("") == Err(code::ENODEV));
        }
    });
}

#[test]
fn an_interface_in_another_namespace_still_works() {
    alone(|| {
        let t = start("tl4");
        let other = Net::new();
        ip(&format!("link set tl4 netns {}", other.path()));
        assert_eq!(t.ended(), None);
        other.enter(|| ip("link set tl4 up"));
        eventually("up there", || running(&t));
        other.enter(|| ip("link set tl4 down"));
        eventually("down there", || !running(&t));
        other.enter(|| ip("link del tl4"));
        eventually("gone", || t.ended() == Some(Stopped::DeviceGone));
    });
}

#[test]
fn a_request_with_one_bad_line_changes_nothing() {
    alone(|| {
        let t = start("tl5");
        let before = t.get().expect("get");
        let peer = "public_key=".to_owned() + &"ab".repeat(32);
        for bad in [
            "replace_peers=true\nlisten_port=x\n".to_owned(),
            format!("fwmark=5\nreplace_peers=true\n{peer}\nallowed_ip=10.0.0.0/99\n"),
            format!("private_key={}\n{peer}\nnonsense=1\n", "0".repeat(64)),
        ] {
            assert_eq!(t.set(&bad), Err(code::EINVAL), "{bad}");
        }
        let taken = UdpSocket::bind("0.0.0.0:0").expect("bind");
        let port = taken.local_addr().expect("addr").port();
        let body = format!("private_key={}\nfwmark=7\nlisten_port={port}\n", "0".repeat(64));
        assert_eq!(t.set(&body), Err(code::EADDRINUSE));
        assert!(*t.get().expect("get") == *before);
        drop(taken);
        assert_eq!(t.set(&format!("listen_port={port}\n")), Ok(()));
        assert_eq!(t.listen_port(), port);
        t.network_changed();
        t.status().expect("status");
        assert_eq!(t.listen_port(), port, "a change of the network keeps the port");
    });
}

#[test]
fn what_was_configured_is_what_is_told() {
    alone(|| {
        let c = config();
        let t = tunnel::start(open("tl6"), &c).expect("start");
        assert_ne!(t.listen_port(), 0);
        let told = t.get().expect("get");
        let has = |line: &str| told.lines().any(|l| l == line);
        assert!(has(&format!("listen_port={}", t.listen_port())));
        assert!(has("endpoint=127.0.0.1:9") && has("allowed_ip=10.0.0.2/32"));
        assert!(has("persistent_keepalive_interval=25") && has("protocol_version=1"));
        assert!(has(&format!("preshared_key={}", "07".repeat(32))));
        let s = t.status().expect("status");
        assert_eq!(s.peers.len(), 1);
        assert_eq!(s.peers[0].public_key, c.peers[0].public_key);
        assert_eq!((s.peers[0].last_handshake, s.clamped_deadlines), (None, 0));
    });
}

#[test]
fn a_hundred_and_thirty_thousand_prefixes_are_taken_in_time() {
    alone(|| {
        let t = start("tl7");
        let mut body = format!("public_key={}\n", "ab".repeat(32));
        for a in 0..255 {
            for b in 0..256 {
                body += &format!("allowed_ip=10.{a}.{b}.0/24\nallowed_ip=fd00:{a:x}:{b:x}::/48\n");
            }
        }
        let start = Instant::now();
        assert_eq!(t.set(&body), Ok(()));
        println!("set: {:?} for {} bytes", start.elapsed(), body.len());
        let start = Instant::now();
        assert_eq!(t.get().expect("get").matches("allowed_ip=").count(), 255 * 256 * 2 + 1);
        println!("get: {:?}", start.elapsed());
    });
}

#[test]
fn a_device_has_the_name_that_was_asked_for_or_there_is_none() {
    alone(|| {
        let made = ioctl::open_tun("tl%d").map(|tun| tun.name);
        assert_eq!(made.map_err(|e| e.kind()), Err(std::io::ErrorKind::InvalidInput));
        assert!(!ip("-o link").contains("tl"), "what the kernel made of it is gone");
    });
}
