//! Two tunnels with traffic between them while everything else happens at once: configuration from
//! several threads, interfaces that go down and up, an interface that is deleted under questions.

use crate::device::{config, start};
use crate::lab::{Net, alone, eventually, ip};
use hopbox::sys::code;
use hopbox::tunnel::{self, Config, PeerConfig, Stopped, TunDevice, Tunnel};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STORM: Duration = Duration::from_secs(4);
const FLIPS: usize = 200;
const FLIP_TIME: Duration = Duration::from_secs(30);
/// Silence, one retry, and room.
const RECOVERY: Duration = Duration::from_secs(30);
const DELETIONS: usize = 20;
/// The longest a question may take, with room for a machine that is busy with other things.
const ANSWER: Duration = Duration::from_secs(3);

fn hex(key: &[u8; 32]) -> String {
    key.iter().map(|b| format!("{b:02x}")).collect()
}

/// A tunnel here and one in another namespace, and a socket pair of UDP through both.
struct Pair {
    a: Tunnel,
    b: Tunnel,
    far: Net,
    near_end: UdpSocket,
    far_end: UdpSocket,
    b_key: [u8; 32],
}

impl Pair {
    fn new() -> Pair {
        let keys = [(); 2].map(|()| *tunnel::generate_key().expect("key"));
        let publics = keys.map(|k| tunnel::public_key(&k));
        let [a, b] = [0, 1].map(|me| {
            let peer = PeerConfig {
                public_key: publics[1 - me],
                allowed_ips: vec![([10, 78, 0, 2 - me as u8].into(), 32)],
                ..PeerConfig::default()
            };
            let mut config = Config::default();
            (config.private_key, config.peers) = (keys[me], vec![peer]);
            let tun: TunDevice = crate::device::open(["ts0", "ts1"][me]);
            tunnel::start(tun, &config).expect("start")
        });
        for (t, peer, port) in
            [(&a, publics[1], b.listen_port()), (&b, publics[0], a.listen_port())]
        {
            let body = format!("public_key={}\nendpoint=127.0.0.1:{port}\n", hex(&peer));
            assert_eq!(t.set(&body), Ok(()));
        }
        let far = Net::new();
        ip(&format!("link set ts1 netns {}", far.path()));
        ip("addr add 10.78.0.1/24 dev ts0");
        ip("link set ts0 up");
        let bind = |to: &str| {
            let socket = UdpSocket::bind(to).expect("bind");
            socket.set_read_timeout(Some(Duration::from_millis(5))).expect("timeout");
            socket
        };
        let far_end = far.enter(|| {
            ip("addr add 10.78.0.2/24 dev ts1");
            ip("link set ts1 up");
            bind("10.78.0.2:7")
        });
        let near_end = bind("10.78.0.1:0");
        Pair { a, b, far, near_end, far_end, b_key: publics[1] }
    }

    /// Runs `work` while packets go there and back; how many came back.
    fn with_traffic(&self, work: impl FnOnce()) -> u64 {
        let (over, back) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buf = [0; 1500];
                while !over.load(Ordering::Relaxed) {
                    if let Ok((n, from)) = self.far_end.recv_from(&mut buf) {
                        let _ = self.far_end.send_to(&buf[..n], from);
                    }
                }
            });
            scope.spawn(|| {
                let mut buf = [0; 1500];
                while !over.load(Ordering::Relaxed) {
                    // Refused while the interface is down.
                    (0..8).for_each(|_| drop(self.near_end.send_to(&[7; 400], "10.78.0.2:7")));
                    while self.near_end.recv(&mut buf).is_ok() {
                        back.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            // The other threads must end also when this one fails.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            over.store(true, Ordering::Relaxed);
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
        });
        back.into_inner()
    }

    /// Traffic goes through. Where the far end forgot its session, the near end notices after 15 s
    /// without an answer (R67), and an initiation that is lost is repeated after 5.4 s (R64).
    fn works(&self) {
        let began = Instant::now();
        let mut back = 0;
        while back == 0 && began.elapsed() < RECOVERY {
            back = self.with_traffic(|| std::thread::sleep(Duration::from_millis(300)));
        }
        assert!(back > 0, "nothing comes through any more");
    }

    fn end(mut self) {
        for t in [&self.a, &self.b] {
            assert_eq!(t.status().expect("status").clamped_deadlines, 0);
        }
        assert_eq!((self.a.stop(), self.b.stop()), (Some(Stopped::Asked), Some(Stopped::Asked)));
    }
}

/// Calls `f` until the time is over; how often, and the longest call.
fn hammer(until: Instant, mut f: impl FnMut(u64)) -> (u64, Duration) {
    let (mut n, mut worst) = (0, Duration::ZERO);
    while Instant::now() < until {
        let began = Instant::now();
        f(n);
        worst = worst.max(began.elapsed());
        n += 1;
    }
    (n, worst)
}

#[test]
fn configuration_from_many_threads_while_traffic_runs() {
    alone(|| {
        let pair = Pair::new();
        pair.works();
        let (t, live) = (&pair.a, hex(&pair.b_key));
        let until = Instant::now() + STORM;
        let keepalive = |n: u64| {
            let secs = n % 3 * 10;
            let body = format!("public_key={live}\npersistent_keepalive_interval={secs}\n");
            assert_eq!(t.set(&body), Ok(()));
        };
        let others = |n: u64| {
            let key = format!("{:02x}", 1 + n % 50).repeat(32);
            let end = if n % 3 == 0 { "remove=true" } else { "allowed_ip=10.99.0.0/16" };
            assert_eq!(t.set(&format!("public_key={key}\n{end}\n")), Ok(()));
        };
        let read = |_| {
            let text = t.get().expect("an answer");
            assert!(text.ends_with('\n') && text.contains(&live));
            assert!(text.lines().all(|l| l.contains('=')));
            assert!(text.matches("allowed_ip=10.99.0.0/16").count() <= 1, "one owner a prefix");
        };
        let look = |n: u64| {
            assert!(t.status().expect("an answer").running);
            if n % 100 == 0 {
                t.network_changed();
            }
        };
        let mut calls = Vec::new();
        let back = pair.with_traffic(|| {
            calls = std::thread::scope(|scope| {
                let all = [
                    scope.spawn(move || hammer(until, keepalive)),
                    scope.spawn(move || hammer(until, others)),
                    scope.spawn(move || hammer(until, read)),
                    scope.spawn(move || hammer(until, look)),
                ];
                all.into_iter().map(|h| h.join().expect("a thread failed")).collect()
            });
        });
        println!("{back} packets came back; calls and the slowest of each thread: {calls:.1?}");
        assert!(back > 0 && calls.iter().all(|(n, worst)| *n > 0 && *worst <= ANSWER));
        pair.works();
        pair.end();
    });
}

#[test]
fn two_hundred_flips_while_traffic_runs() {
    alone(|| {
        let pair = Pair::new();
        pair.works();
        let mut flips = 0;
        let back = pair.with_traffic(|| {
            let began = Instant::now();
            while flips < FLIPS && began.elapsed() < FLIP_TIME {
                let flip = |name: &str| {
                    ip(&format!("link set {name} down"));
                    ip(&format!("link set {name} up"));
                };
                if flips % 4 == 3 {
                    pair.far.enter(|| flip("ts1"))
                } else {
                    flip("ts0")
                }
                flips += 1;
            }
        });
        println!("{flips} flips, {back} packets came back meanwhile");
        assert!(flips >= FLIPS / 4, "only {flips} in {FLIP_TIME:?}");
        for t in [&pair.a, &pair.b] {
            eventually("running again", || t.status().expect("an answer").running);
        }
        pair.works();
        pair.end();
    });
}

#[test]
fn an_interface_is_deleted_while_many_threads_ask() {
    alone(|| {
        for round in 0..DELETIONS {
            let t = start("ts2");
            if round % 2 == 0 {
                ip("link set ts2 up");
            }
            std::thread::scope(|scope| {
                for n in 0..6 {
                    let t = &t;
                    scope.spawn(move || while asks(t, n) {});
                }
                std::thread::sleep(Duration::from_millis(round as u64 % 7));
                ip("link del ts2");
            });
            eventually("the end is known", || t.ended() == Some(Stopped::DeviceGone));
        }
    });
}

/// One question; false when the tunnel is gone. Any other trouble than that, a full queue excepted,
/// and any long wait fails.
fn asks(t: &Tunnel, n: usize) -> bool {
    let began = Instant::now();
    let gone = |kind: ErrorKind| match kind {
        ErrorKind::BrokenPipe => true,
        ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    };
    let alive = match n % 3 {
        0 => t.get().map_or_else(|e| !gone(e.kind()), |_| true),
        1 => t.status().map_or_else(|e| !gone(e.kind()), |_| true),
        _ => match t.apply(config().request()) {
            Ok(()) | Err(code::EBUSY) => true,
            Err(code::ENODEV) => false,
            Err(other) => panic!("error number {other}"),
        },
    };
    assert!(began.elapsed() <= ANSWER, "{:?} for an answer", began.elapsed());
    alive
}
