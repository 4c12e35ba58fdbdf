//! What counts as well, on real sockets and with real commands: what listens and is not there, what
//! answers something else, and what never ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::work::probe::{Failing, Probe, is_to_itself};
use hopbox::sys::child::Broken;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

/// For what has to come, on any machine.
const LONG: Duration = Duration::from_secs(20);
/// For what is to be waited for in vain.
const BRIEF: Duration = Duration::from_millis(300);

/// Each connection to it, until the test ends.
fn listener(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    thread::spawn(move || socket.incoming().flatten().for_each(serve));
    at
}

fn http(at: SocketAddr, limit: Duration) -> Result<(), Failing> {
    let host = format!("localhost:{}", at.port());
    Probe::Http { at: vec![at], host, path: "/health?x=1".to_owned() }.ask(limit)
}

/// What is answered to whoever has asked.
fn answers(answer: &'static [u8], limit: Duration) -> Result<(), Failing> {
    let at = listener(move |mut stream| {
        let mut asked = [0; 4096];
        let count = stream.read(&mut asked).unwrap();
        let text = String::from_utf8_lossy(&asked[..count]).into_owned();
        assert!(text.starts_with("GET /health?x=1 HTTP/1.1\r\nHost: localhost:"), "{text}");
        let _ = stream.write_all(answer);
    });
    http(at, limit)
}

#[test]
fn an_answer_of_http_is_its_status() {
    for well in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
        b"HTTP/1.0 204 \r\n\r\n",
        b"HTTP/1.1 200\n\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk",
        b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let found = answers(well, LONG);
        assert!(found.is_ok(), "{}: {found:?}", String::from_utf8_lossy(well));
    }
    for (ill, status) in [
        (&b"HTTP/1.1 500 Internal Server Error\r\n\r\n"[..], 500),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 x\r\n\r\n", 503),
    ] {
        let found = answers(ill, LONG);
        assert!(matches!(found, Err(Failing::Status(found)) if found == status), "{found:?}");
    }
    for other in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 099 OK\r\n\r\n",
    ] {
        let found = answers(other, LONG);
        let shown = String::from_utf8_lossy(other);
        assert!(matches!(found, Err(Failing::NotHttp)), "{shown}: {found:?}");
    }
    assert!(matches!(answers(b"", LONG), Err(Failing::Closed)));
}

/// Neither its length nor its pace matters: the time and the bytes that are read are bounded.
#[test]
fn an_answer_without_end_is_none_or_its_status() {
    let endless = |first: &'static [u8], piece: &'static [u8], pause: Duration| {
        listener(move |mut stream| {
            let _ = stream.write_all(first);
            while stream.write_all(piece).is_ok() {
                thread::sleep(pause);
            }
        })
    };
    let (no, some) = (Duration::ZERO, Duration::from_millis(20));
    // A head, a body, and a stream of events.
    assert!(http(endless(b"HTTP/1.1 200 OK\r\n", b"X: yyyyyyyyyyyyyyyy\r\n", no), LONG).is_ok());
    assert!(http(endless(b"HTTP/1.1 200 OK\r\n\r\n", &[b'a'; 4096], no), LONG).is_ok());
    assert!(http(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"data: x\n\n", some), LONG).is_ok());
    let found = http(endless(b"HTTP/1.1 100 ", &[b'a'; 4096], no), LONG);
    assert!(matches!(found, Err(Failing::NotHttp)), "{found:?}");
    let began = Instant::now();
    for (first, piece) in [(&b"HTTP/1.1 200"[..], &b" "[..]), (b"", b"HTTP/1.1 100 \r\n\r\n")] {
        let found = http(endless(first, piece, some), BRIEF);
        assert!(matches!(found, Err(Failing::NoAnswer(BRIEF))), "{found:?}");
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn a_connection_counts_where_it_lasts() {
    let tcp = |at: SocketAddr| Probe::Tcp { at: vec![at] }.ask(LONG);
    // On a busy machine the other side may be late with it.
    let is_closed = |at| (0..50).any(|_| matches!(tcp(at), Err(Failing::Closed)));
    let closes = listener(drop);
    assert!(is_closed(closes));
    // As what forwards a port does when nothing is behind it.
    let resets = listener(|stream| {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        socket::setsockopt(&stream, sockopt::Linger, &at_once).unwrap();
    });
    assert!(is_closed(resets));
    let silent = listener(|stream| {
        thread::spawn(move || io::copy(&mut &stream, &mut io::sink()));
    });
    assert!(tcp(silent).is_ok());
    let speaks = listener(|mut stream| stream.write_all(b"220 ready\r\n").unwrap());
    assert!(tcp(speaks).is_ok());
    assert!(matches!(http(silent, BRIEF), Err(Failing::NoAnswer(BRIEF))));
    assert!(matches!(http(closes, LONG), Err(Failing::Closed)));

    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    assert!(matches!(tcp(datagrams), Err(Failing::NoConnection(_))));
    // Of several places the first that takes it.
    assert!(Probe::Tcp { at: vec![datagrams, silent] }.ask(LONG).is_ok());
    assert!(matches!(Probe::Tcp { at: Vec::new() }.ask(LONG), Err(Failing::NoConnection(_))));
}

/// As the kernel makes one by chance, about once in 28,000 looks at a port in its range.
#[test]
fn a_connection_to_itself_is_none() {
    let own = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None);
    let own = own.unwrap();
    socket::bind(own.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let at: SockaddrIn = socket::getsockname(own.as_raw_fd()).unwrap();
    socket::connect(own.as_raw_fd(), &at).unwrap();
    assert!(is_to_itself(&TcpStream::from(own)));
    let other = listener(drop);
    assert!(!is_to_itself(&TcpStream::connect(other).unwrap()));
}

#[test]
fn a_command_is_its_status_and_leaves_nothing() {
    let sh = |script: &'static str| {
        let command = move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            Ok(command)
        };
        Probe::Exec(Box::new(command))
    };
    assert!(sh("exit 0").ask(LONG).is_ok());
    // Most of them say a page.
    assert!(sh("head -c 1000000 /dev/zero").ask(LONG).is_ok());
    for (script, why) in [
        ("echo a; exit 3", "its check ended with 3: a"),
        ("echo a; echo no response >&2; echo >&2; exit 2", "its check ended with 2: no response"),
        ("kill -9 $$", "signal 9 ended its check"),
    ] {
        let failing = sh(script).ask(LONG).unwrap_err();
        assert_eq!(failing.to_string(), why);
    }
    let none = Probe::Exec(Box::new(|| Ok(Command::new("/nonexistent"))));
    assert!(matches!(none.ask(LONG), Err(Failing::Command(Broken::Start(_)))));
    let flood = sh("yes").ask(LONG);
    assert!(matches!(flood, Err(Failing::Command(Broken::Loud(_)))), "{flood:?}");
    // What it put into the background holds its outputs, and goes with it.
    for script in ["sleep 1003 & echo $! >&2; exit 7", "sleep 1003 & echo $! >&2; sleep 1003"] {
        let began = Instant::now();
        let failing = sh(script).ask(Duration::from_secs(2)).unwrap_err();
        assert!(began.elapsed() < LONG);
        if let Failing::Ended(how) = failing {
            let pid = how.rsplit(' ').next().unwrap().to_owned();
            let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The kernel ends it in its own time.
            let runs = || !state().is_empty() && !state().contains(") Z");
            while runs() {
                assert!(began.elapsed() < LONG, "{how}: {}", state());
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
