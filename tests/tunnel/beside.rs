//! What listens on the server's loopback alone, at the tunnel's address: beside a kernel's TUN,
//! with real listeners, and with what a laptop could do to it.

use crate::lab::{Net, Running, alone, eventually, have, sh};
use crate::offload::{End, Lab, MIB};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const OWN: [u8; 4] = [10, 78, 1, 2];

fn lab() -> Lab {
    Lab::new([End::Offload, End::Beside])
}

/// Listens there until it is dropped.
fn listen(net: &Net, at: &str) -> TcpListener {
    let listener = net.enter(|| TcpListener::bind(at));
    listener.unwrap_or_else(|error| panic!("{at}: {error}"))
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(OWN, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection through the tunnel to this listener, and from where it sees it.
fn meet(listener: &TcpListener) -> (TcpStream, TcpStream, IpAddr) {
    let near = connect(listener.local_addr().expect("address").port()).expect("connect");
    let (far, from) = listener.accept().expect("accept");
    far.set_read_timeout(Some(PATIENCE)).expect("timeout");
    (near, far, from.ip())
}

/// Whatever is made in it is another user's, who is of this thread alone.
fn as_another<T: Send>(make: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        // SAFETY: takes numbers only; of this thread, which ends.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        make()
    };
    std::thread::scope(|s| s.spawn(inside).join().expect("a thread"))
}

fn exchange(near: &TcpStream, far: &TcpStream, word: &[u8]) {
    for (mut from, mut to) in [(near, far), (far, near)] {
        from.write_all(word).expect("written");
        let mut came = vec![0; word.len()];
        to.read_exact(&mut came).expect("read");
        assert_eq!(came, word);
    }
}

fn is_refused(port: u16) -> bool {
    let began = Instant::now();
    let refused = matches!(connect(port), Err(e) if e.kind() == ErrorKind::ConnectionRefused);
    assert!(began.elapsed() < Duration::from_secs(5), "at once");
    refused
}

#[test]
fn loopback_listeners_of_the_user_answer_at_the_tunnel_address() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let lab = lab();
        let local = |ip: &str| ip.parse::<IpAddr>().expect("address");
        let laptop = local("10.78.1.1");
        for (at, from) in [
            ("127.0.0.1:7001", local("127.0.0.1")),
            ("[::1]:7002", local("::1")),
            // The system's own business.
            ("0.0.0.0:7003", laptop),
            ("10.78.1.2:7004", laptop),
            ("[::]:7005", local("::ffff:10.78.1.1")),
        ] {
            let listener = listen(&lab.far, at);
            let (mut near, mut far, seen) = meet(&listener);
            assert_eq!(seen, from, "{at}");
            exchange(&near, &far, b"word");
            // Its end is heard, each way on its own.
            near.shutdown(std::net::Shutdown::Write).expect("shut");
            assert_eq!(far.read(&mut [0; 9]).expect("an end"), 0, "{at}");
            far.write_all(b"late").expect("written");
            drop(far);
            let mut rest = Vec::new();
            near.read_to_end(&mut rest).expect("read");
            assert_eq!(rest, b"late", "{at}");
        }
        // Nobody's, and another user's.
        assert!(is_refused(7006));
        let _other = lab.far.enter(|| as_another(|| TcpListener::bind("127.0.0.1:7007")));
        assert!(is_refused(7007), "another user's listener is not reached");
        // An address of loopback that is not the one.
        let _elsewhere = listen(&lab.far, "127.0.0.2:7008");
        assert!(is_refused(7008));
        lab.nothing_broke();
        let flows = lab.stacks[1].as_ref().expect("a stack").flows();
        eventually("no connection is left", || flows.count() == 0);
    });
}

#[test]
fn a_server_that_moves_between_loopback_and_all_addresses_is_answered_where_it_is() {
    alone(|| {
        if !have(&["ip", "ping", "python3", "curl"]) {
            return;
        }
        let lab = lab();
        let flows = lab.stacks[1].as_ref().expect("a stack").flows();
        for _ in 0..2 {
            for (bind, aside) in [("127.0.0.1", true), ("0.0.0.0", false), ("::1", true)] {
                // Nothing of ours is in its way, whatever is still going on.
                let server = lab.far.enter(|| {
                    Running::start("python3", &["-u", "-m", "http.server", "7010", "-b", bind])
                });
                eventually("it answers", || {
                    let page = sh("curl -s -m 5 http://10.78.1.2:7010/ || true");
                    page.contains("Directory listing")
                });
                // A connection that is open when it goes.
                let mut held = connect(7010).expect("connect");
                held.write_all(b"GET / HTTP/1.1\r\n").expect("written");
                assert_eq!(flows.count() > 0, aside, "{bind}");
                drop(server);
                let ended = held.read(&mut [0; 100]).map_or_else(
                    |e| e.kind(),
                    |n| {
                        assert_eq!(n, 0, "{bind}");
                        ErrorKind::UnexpectedEof
                    },
                );
                let known = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(known.contains(&ended), "{bind}: {ended}");
                assert!(is_refused(7010), "{bind}: it is gone");
            }
        }
        // Both at once: the one for all is the system's, and the other is its own.
        let _all = listen(&lab.far, "10.78.1.2:7011");
        let one = listen(&lab.far, "127.0.0.1:7011");
        one.set_nonblocking(true).expect("nonblocking");
        let _near = connect(7011).expect("connect");
        assert_eq!(one.accept().map(drop).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
        lab.nothing_broke();
    });
}

/// SYNs from an address that answers nothing, each from a port of its own.
const FLOOD: &str = r#"
import socket, struct, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
a, b = socket.inet_aton("10.10.0.1"), socket.inet_aton("10.78.1.2")
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def total(data):
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
sent, last = 0, ""
for n in range(count):
    tcp = struct.pack("!HHIIBBHHH", 10000 + n % 50000, port, n, 0, 5 << 4, 2, 65535, 0, 0)
    check = total(a + b + struct.pack("!HH", 6, 20) + tcp)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, n & 0xffff, 0, 64, 6, 0) + a + b
    try: raw.sendto(ip + tcp, ("10.78.1.2", 0)); sent += 1
    except OSError as error: last = error
print(sent, "were sent", last)
"#;

#[test]
fn scans_and_half_open_floods_are_bounded_and_keep_nobody_out() {
    alone(|| {
        if !have(&["ip", "ping", "python3"]) {
            return;
        }
        let lab = lab();
        let flows = lab.stacks[1].as_ref().expect("a stack").flows();
        let (aside, all) = (listen(&lab.far, "127.0.0.1:7020"), listen(&lab.far, "0.0.0.0:7021"));
        // More ports than there are questions.
        let began = Instant::now();
        let refused = (20_000..22_500).filter(|port| is_refused(*port)).count();
        println!("2,500 ports were looked at in {:?}", began.elapsed());
        assert_eq!(refused, 2500);
        let words = |listener: &TcpListener| {
            let (near, far, _) = meet(listener);
            exchange(&near, &far, b"still there");
        };
        words(&all);
        eventually("loopback is answered again", || connect(7020).is_ok());
        let _ = aside.accept();
        let flood = |port: &str, count: &str| sh(&format!("python3 -c '{FLOOD}' {port} {count}"));
        let mut most = 0;
        std::thread::scope(|s| {
            let sent = s.spawn(|| flood("7020", "3000"));
            let until = Instant::now() + Duration::from_secs(3);
            while !sent.is_finished() || Instant::now() < until {
                most = most.max(flows.count());
                std::thread::sleep(Duration::from_millis(1));
            }
            println!("{}; at most {most} flows are held", sent.join().expect("a thread"));
        });
        assert!((2..=257).contains(&most), "{most}");
        // What the flood made of the listener's queue is this listener's own.
        let other = listen(&lab.far, "127.0.0.1:7022");
        eventually("another address is answered beside it", || connect(7022).is_ok());
        let _ = other.accept();
        words(&all);
        lab.nothing_broke();
    });
}

/// Bytes a second of a connection that was made.
fn speed((mut near, mut far): (TcpStream, TcpStream), up: bool) -> f64 {
    const BYTES: usize = MIB * if cfg!(debug_assertions) { 1 } else { 256 };
    let (from, to) = if up { (&mut near, &mut far) } else { (&mut far, &mut near) };
    let piece = vec![7; 256 * 1024];
    let began = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| (0..BYTES / piece.len()).for_each(|_| from.write_all(&piece).expect("TCP")));
        let (mut room, mut came) = (vec![0; 256 * 1024], 0);
        while came < BYTES {
            let count = to.read(&mut room).expect("TCP goes on");
            assert!(count > 0, "the end after {came} bytes");
            came += count;
        }
    });
    BYTES as f64 / began.elapsed().as_secs_f64()
}

/// Says what it costs; asserts only that it works.
#[test]
fn what_answers_beside_the_device_costs_the_device_nothing() {
    for (what, end, at) in [
        ("kernel, nothing beside it", End::Offload, "10.78.1.2:7030"),
        ("kernel, a stack beside it", End::Beside, "10.78.1.2:7030"),
        ("the stack beside it", End::Beside, "127.0.0.1:7030"),
    ] {
        alone(move || {
            if !have(&["ip", "ping"]) {
                return;
            }
            let lab = Lab::new([End::Offload, end]);
            let listener = listen(&lab.far, at);
            let _open = (end == End::Beside).then(|| {
                // One connection beside it, so that there are flows to look among.
                meet(&listen(&lab.far, "127.0.0.1:7031"))
            });
            for (way, up) in [("up", true), ("down", false)] {
                let (near, far, _) = meet(&listener);
                println!("{what}, {way}: {:.0} MB/s", speed((near, far), up) / 1e6);
            }
            lab.nothing_broke();
        });
    }
}

#[test]
fn a_stack_that_has_gone_takes_nothing_with_it() {
    alone(|| {
        if !have(&["ip", "ping"]) {
            return;
        }
        let mut lab = lab();
        let (aside, all) = (listen(&lab.far, "127.0.0.1:7040"), listen(&lab.far, "0.0.0.0:7041"));
        drop(meet(&aside));
        drop(lab.stacks[1].take());
        assert!(is_refused(7040), "as if it had never been there");
        let (near, far, from) = meet(&all);
        exchange(&near, &far, b"word");
        assert_eq!(SocketAddr::new(from, 1), SocketAddr::from(([10, 78, 1, 1], 1)));
        let status = lab.far_end.status().expect("status");
        assert_eq!(status.clamped_deadlines, 0);
    });
}
