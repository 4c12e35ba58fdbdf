//! TCP/IP of our own in place of a TUN, against a kernel's at the other end of the tunnel: begun
//! here and there, over IPv4 and IPv6, 64 at once, what they cost while they stand still, and what
//! one costs in memory. `figures` measures it beside a kernel's own stack, by turns:
//! `cargo test --release --test tunnel userspace::figures -- --nocapture`.

use crate::lab::{alone, eventually, have, output, sh};
use crate::offload::{End, Lab, MIB, stream};
use hopbox::netstack::BEGUN_BYTES;
use hopbox::sys::set_nonblocking;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// `run`.
const MOST: usize = 64;
const BOTH: [&str; 2] = ["10.78.1.2", "fd78::2"];

fn lab() -> Lab {
    Lab::new([End::Userspace, End::Offload])
}

fn listen(lab: &Lab, ip: &str) -> TcpListener {
    let at = SocketAddr::new(ip.parse().expect("an address"), 0);
    lab.far.enter(|| TcpListener::bind(at).expect("bind"))
}

fn dial(lab: &Lab, to: SocketAddr) -> std::io::Result<TcpStream> {
    let connector = lab.stacks[0].as_ref().expect("a stack").connector();
    let stream = connector.connect(to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Our end of a connection, and the kernel's.
fn pair(lab: &Lab, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = dial(lab, listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    far.set_read_timeout(Some(PATIENCE)).expect("timeout");
    far.set_write_timeout(Some(PATIENCE)).expect("timeout");
    (near, far)
}

#[test]
fn begun_here_bytes_cross_both_ways_and_each_side_ends_by_itself() {
    alone(|| {
        if !have(&["ip", "ping", "ss"]) {
            return;
        }
        let lab = lab();
        for ip in BOTH {
            let listener = listen(&lab, ip);
            let (up, down) = (pair(&lab, &listener), pair(&lab, &listener));
            // What a window may be beyond 64 KiB was agreed on, in both directions.
            let seen = lab.far.enter(|| sh("ss -tin state established"));
            assert_eq!(seen.matches("wscale:5,").count(), 2, "{ip}: {seen}");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    stream(up.0.try_clone().unwrap(), up.1.try_clone().unwrap(), 8 * MIB, 1)
                });
                stream(down.1.try_clone().unwrap(), down.0.try_clone().unwrap(), 8 * MIB, 2);
            });
            for (mut first, mut second) in [(&up.0, &up.1), (&down.1, &down.0)] {
                first.shutdown(Shutdown::Write).expect("half of it ends");
                assert_eq!(second.read(&mut [0; 1]).expect("its end"), 0, "{ip}");
                second.write_all(b"answer").expect("the other half is open");
                second.shutdown(Shutdown::Write).expect("ends");
                let mut back = Vec::new();
                first.read_to_end(&mut back).expect("what came before the end");
                assert_eq!(back, b"answer", "{ip}");
            }
            // A reset of theirs is an end here, and what is closed unread here a reset there.
            let (mut near, far) = pair(&lab, &listener);
            hopbox::sys::loopback::reset(far);
            assert_eq!(near.read(&mut [0; 1]).expect("an end"), 0, "{ip}");
            let (near, mut far) = pair(&lab, &listener);
            far.write_all(b"unread").expect("sent");
            std::thread::sleep(Duration::from_millis(200));
            drop(near);
            let gone = far.read(&mut [0; 1]).map_err(|error| error.kind());
            assert!(matches!(gone, Err(ErrorKind::ConnectionReset) | Ok(0)), "{gone:?}");
            let nobody = SocketAddr::new(ip.parse().expect("an address"), 9);
            assert_eq!(dial(&lab, nobody).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        lab.nothing_broke();
    });
}

#[test]
fn begun_there_our_listeners_are_reached_and_pings_answered() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = lab();
        // The near side speaks first, as a laptop does.
        let listener = listen(&lab, BOTH[0]);
        drop(pair(&lab, &listener));
        for (own, at) in [("10.78.1.1", "127.0.0.1:7001"), ("fd78::1", "[::1]:7002")] {
            lab.far.enter(|| sh(&format!("ping -n -c 2 -W 5 -s 1300 {own}")));
            let listener = TcpListener::bind(at).expect("bind");
            let own: IpAddr = own.parse().expect("an address");
            let port = listener.local_addr().expect("address").port();
            let connect = |port| {
                let to = SocketAddr::new(own, port);
                lab.far.enter(|| TcpStream::connect_timeout(&to, PATIENCE))
            };
            let far = connect(port).expect("connect");
            let (near, _) = listener.accept().expect("accept");
            stream(far.try_clone().unwrap(), near.try_clone().unwrap(), 4 * MIB, 3);
            stream(near, far, 4 * MIB, 4);
            assert_eq!(connect(9).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        lab.nothing_broke();
    });
}

/// The thread of the stack, by its number. Tests here take turns.
fn thread() -> String {
    let all = std::fs::read_dir("/proc/self/task").expect("tasks").flatten();
    let mut named = all.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|it| it.trim() == "netstack")
    });
    let found = named.next().expect("its thread").path().display().to_string();
    assert!(named.next().is_none(), "one stack");
    found
}

/// How often it slept, and was woken.
fn sleeps(thread: &str) -> u64 {
    let status = std::fs::read_to_string(format!("{thread}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("a number")
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).map_or(0, |n: usize| n * 4096)
}

/// As much as goes until nothing goes for a while.
fn fill(mut stream: &TcpStream) -> usize {
    set_nonblocking(stream.as_fd()).expect("not blocking");
    let (piece, mut sent, mut since) = ([7; 64 * 1024], 0, Instant::now());
    while since.elapsed() < Duration::from_millis(60) {
        match stream.write(&piece) {
            Ok(count) => (sent, since) = (sent + count, Instant::now()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    sent
}

#[test]
fn many_at_once_cost_nothing_while_they_stand_still_and_no_more_than_they_may() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = lab();
        let listener = listen(&lab, BOTH[0]);
        let pairs: Vec<_> = (0..MOST).map(|_| pair(&lab, &listener)).collect();
        let to = listener.local_addr().expect("address");
        assert_eq!(dial(&lab, to).unwrap_err().kind(), ErrorKind::ResourceBusy);
        for (n, (near, far)) in pairs.iter().enumerate() {
            for (mut from, mut to) in [(near, far), (far, near)] {
                from.write_all(&[n as u8; 3000]).expect("sent");
                let mut came = [0; 3000];
                to.read_exact(&mut came).expect("came");
                assert!(came.iter().all(|byte| *byte == n as u8), "{n}");
            }
        }
        // The last acknowledgements cross.
        std::thread::sleep(Duration::from_secs(2));
        let thread = thread();
        let before = sleeps(&thread);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(sleeps(&thread), before, "it was woken while nothing moved");

        // Nobody reads at either side: what waits in memory is what was said.
        let before = resident_bytes();
        let sent: usize = pairs.iter().map(|(near, far)| fill(near) + fill(far)).sum();
        let grew = resident_bytes().saturating_sub(before);
        println!("{} MiB were sent, and {} MiB are in memory", sent / MIB, grew / MIB);
        assert!(sent > MOST * 2 * BEGUN_BYTES, "the buffers are full: {sent}");
        assert!(grew < MOST * 2 * BEGUN_BYTES + 32 * MIB, "{grew}");

        // Half of it is enough for another one; and all of it is given back.
        drop(pairs);
        let flows = lab.stacks[0].as_ref().expect("a stack").flows();
        eventually("they are over", || flows.count() == 0);
        drop(pair(&lab, &listener));
    });
}

/// Bytes a second of one connection, for a second after half a second.
fn rate(from: TcpStream, mut to: TcpStream) -> f64 {
    let end = Instant::now() + Duration::from_millis(1700);
    let writer = std::thread::spawn(move || {
        let piece = vec![7; 128 * 1024];
        while Instant::now() < end && (&from).write_all(&piece).is_ok() {}
        let _ = from.shutdown(Shutdown::Both);
    });
    let (mut room, mut counted, mut since) = (vec![0; 256 * 1024], 0, None);
    let began = Instant::now();
    let mut rate = 0.0;
    while let Ok(count @ 1..) = to.read(&mut room) {
        match since {
            None if began.elapsed() > Duration::from_millis(500) => since = Some(Instant::now()),
            Some(since) => {
                counted += count;
                let took: Duration = Instant::elapsed(&since);
                if took > Duration::from_secs(1) {
                    rate = counted as f64 / took.as_secs_f64();
                    break;
                }
            }
            None => {}
        }
    }
    drop(to);
    let _ = writer.join();
    rate
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// By turns, so that whatever else the machine does falls on both.
#[test]
fn figures() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let rounds = std::env::var("HOP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        let mut rates = [[(); 2]; 2].map(|each| each.map(|()| Vec::new()));
        for _ in 0..rounds {
            for (kind, end) in [End::Offload, End::Userspace].into_iter().enumerate() {
                let lab = Lab::new([end, End::Offload]);
                for up in [true, false] {
                    let (near, far) = match end {
                        End::Userspace => pair(&lab, &listen(&lab, BOTH[0])),
                        _ => lab.connect(BOTH[0].parse().expect("an address")),
                    };
                    let (from, to) = if up { (near, far) } else { (far, near) };
                    rates[kind][usize::from(up)].push(rate(from, to));
                }
                drop(lab);
                // Where its peer's namespace has ended first it has gone with that.
                let _ = output("ip link del to0");
            }
        }
        let [kernel, ours] = rates.map(|each| each.map(median));
        for (n, way) in ["down", "up"].iter().enumerate() {
            let (kernel, ours) = (kernel[n] / 1e6, ours[n] / 1e6);
            let ratio = ours / kernel;
            println!("{way}: {ours:.0} MB/s in userspace, {kernel:.0} MB/s by a TUN: {ratio:.2}");
            // Aim: 0.4, of a release.
            assert!(ratio > 0.1, "{way}");
        }
    });
}
