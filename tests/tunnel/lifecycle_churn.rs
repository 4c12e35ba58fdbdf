//! Ten thousand starts and stops: each stop comes in time, and nothing of any of them stays.
//!
//! Most run on one end of a socket pair in place of a TUN, because the kernel takes some ten
//! milliseconds to take a TUN away. Bounds: 40 s and 30 s; on a slow machine fewer cycles are made,
//! but never fewer than a tenth.

use crate::device::{config, start};
use crate::lab::{alone, eventually, output};
use hopbox::tunnel::{self, Config, Stopped, TunDevice};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

const CYCLES: usize = 10_000;
const TIME: Duration = Duration::from_secs(40);
const TUN_CYCLES: usize = 500;
const TUN_TIME: Duration = Duration::from_secs(30);
/// What a stop may take, and what an allocator may keep over all cycles.
const STOP_LIMIT: Duration = Duration::from_secs(1);
const KEPT_KB: usize = 8 * 1024;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// Threads of tunnels. The threads of waiting tests come and go and are none of them.
fn planes() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten();
    let name = |t: std::fs::DirEntry| std::fs::read_to_string(t.path().join("comm"));
    tasks.filter_map(|t| name(t).ok()).filter(|n| n == "data-plane\n").count()
}

fn resident_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Starts, makes it do something, stops; how long the stop took.
fn cycle(config: &Config, n: usize) -> Duration {
    let (near, far) = UnixDatagram::pair().expect("socket pair");
    let tun = TunDevice { fd: near.into(), name: "pair0".into(), mtu: 1420, vnet_hdr: false };
    let mut t = tunnel::start(tun, config).expect("start");
    if n % 2 == 0 {
        // For the peer: it is staged, and a handshake begins.
        let mut p = [0; 20];
        (p[0], p[3]) = (0x45, 20);
        p[16..].copy_from_slice(&[10, 0, 0, 2]);
        far.send(&p).expect("a packet");
    }
    if n % 3 == 0 {
        assert!(t.status().is_ok());
    }
    if n % 5 == 0 {
        t.network_changed();
    }
    let began = Instant::now();
    if n % 7 == 0 {
        drop(t);
    } else {
        assert_eq!(t.stop(), Some(Stopped::Asked), "cycle {n}");
    }
    began.elapsed()
}

#[test]
fn ten_thousand_starts_and_stops_leave_nothing() {
    alone(|| {
        let config = config();
        for n in 0..200 {
            cycle(&config, n);
        }
        let (fds, memory) = (descriptors(), resident_kb());
        let (began, mut worst, mut done) = (Instant::now(), Duration::ZERO, 0);
        while done < CYCLES && began.elapsed() < TIME {
            worst = worst.max(cycle(&config, done));
            done += 1;
        }
        let grown = resident_kb().saturating_sub(memory);
        println!(
            "{done} cycles in {:.1?}, slowest stop {worst:.1?}, {grown} KiB more",
            began.elapsed()
        );
        assert!(done >= CYCLES / 10, "only {done} cycles in {TIME:?}");
        assert!(worst <= STOP_LIMIT, "a stop took {worst:?}");
        assert_eq!((descriptors(), planes()), (fds, 0));
        assert!(grown <= KEPT_KB, "{grown} KiB more than before");
    });
}

#[test]
fn five_hundred_interfaces_come_and_go() {
    alone(|| {
        drop(start("tc0"));
        let fds = descriptors();
        let (began, mut worst, mut done) = (Instant::now(), Duration::ZERO, 0);
        while done < TUN_CYCLES && began.elapsed() < TUN_TIME {
            let mut t = start("tc0");
            let stopping = Instant::now();
            assert_eq!(t.stop(), Some(Stopped::Asked), "cycle {done}");
            worst = worst.max(stopping.elapsed());
            done += 1;
        }
        println!("{done} interfaces in {:.1?}, slowest stop {worst:.1?}", began.elapsed());
        assert!(done >= TUN_CYCLES / 10, "only {done} in {TUN_TIME:?}");
        assert!(worst <= STOP_LIMIT, "a stop took {worst:?}");
        assert_eq!((descriptors(), planes()), (fds, 0));
        eventually("the last one is gone", || !output("ip link show tc0").status.success());
    });
}
