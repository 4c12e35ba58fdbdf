//! Ports of this login's programs: told of when they listen and when they end, with whose they are;
//! reached where they listen, by as many connections as browsers make; and nobody else's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::http::client::{Request, ask};
use hopbox::rpc::client::Events;
use hopbox::rpc::method::{BYTES, PORTS_CONNECT, PortsList, PortsMapped, PortsWatch, WorkMapped};
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::ports::{Mapped, PortEvent, PortView};
use hopbox::session::ports::probe::probe;
use hopbox::session::ports::view::PortState;
use hopbox::sys::open_files;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, geteuid, setfsuid};
use serde_json::{Value, json};

use super::TOKEN;
use super::work::Worker;

const SOON: Duration = Duration::from_secs(30);

fn watch(worker: &Worker) -> Events<PortsWatch> {
    let mut events = worker.client().open(PortsWatch, &Nothing, SOON).unwrap();
    while events.next_event().unwrap().unwrap() != PortEvent::Settled {}
    events
}

/// The next view of a port, or that nobody listens there any more.
fn next(events: &mut Events<PortsWatch>, port: u16) -> Option<PortView> {
    loop {
        match events.next_event().unwrap().unwrap() {
            PortEvent::Listens(view) if view.port == port => return Some(*view),
            PortEvent::Gone(gone) if gone == port => return None,
            _ => {}
        }
    }
}

fn listed(worker: &Worker, port: u16) -> Option<PortView> {
    let all = worker.client().call(PortsList, &Nothing, SOON).unwrap().ports;
    all.into_iter().find(|view| view.port == port)
}

/// Which word refuses it, if one does.
fn connect(worker: &Worker, port: u16) -> Result<TcpStream, String> {
    let body = json!({"method": PORTS_CONNECT, "params": {"port": port}}).to_string();
    let (bearer, upgrade, body) = (Some(TOKEN), Some(BYTES), Some(body.as_str()));
    let request =
        Request { method: "POST", path: "/rpc", host: "mybox.hop", bearer, upgrade, body };
    let stream = TcpStream::connect(worker.served.at).unwrap();
    let answer = ask(stream, &request, Instant::now() + SOON).unwrap();
    match answer.switched(BYTES) {
        Ok((stream, first)) => {
            assert!(first.is_empty());
            stream.set_read_timeout(Some(SOON)).unwrap();
            Ok(stream)
        }
        Err(answer) => {
            let said: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
            Err(said["error"]["code"].as_str().unwrap().to_owned())
        }
    }
}

/// Says back what it hears, to its end.
fn echo(listener: TcpListener) -> Arc<AtomicUsize> {
    let open = Arc::<AtomicUsize>::default();
    let count = open.clone();
    let serve = move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), count) = (stream, count.clone()) else { return };
            count.fetch_add(1, Ordering::SeqCst);
            let one = thread::Builder::new().stack_size(64 * 1024);
            one.spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    let _ = stream.write_all(&piece[..read]);
                }
                count.fetch_sub(1, Ordering::SeqCst);
            })
            .unwrap();
        }
    };
    thread::spawn(serve);
    open
}

fn asks_back(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).unwrap();
    let mut heard = vec![0; word.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, word);
}

fn ms(times: &mut [Duration], share: usize) -> u128 {
    times.sort();
    times[(times.len() - 1) * share / 100].as_millis()
}

#[test]
fn a_port_is_told_of_soon_and_reached_where_it_listens() {
    let worker = Worker::running("ports-told");
    let mut events = watch(&worker);
    let mut times = Vec::new();
    let all = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0", "127.0.0.9:0"].repeat(4);
    for (n, at) in all.into_iter().enumerate() {
        // At any moment between two looks.
        thread::sleep(Duration::from_millis(n as u64 * 37 % 200));
        let Ok(listener) = TcpListener::bind(at) else { continue };
        let began = Instant::now();
        let at = listener.local_addr().unwrap();
        let mut view = next(&mut events, at.port()).unwrap();
        times.push(began.elapsed());
        assert_eq!(view.addresses, [at.ip()]);
        // Whose it is may be found a second later, beside tests with thousands of connections.
        if view.owner.pid.is_none() {
            view = next(&mut events, at.port()).unwrap();
        }
        let owner = view.owner;
        assert_eq!(owner.pid, Some(std::process::id()));
        let this = std::env::current_exe().unwrap();
        assert_eq!(owner.program.as_deref(), this.file_name().unwrap().to_str());
        let dir = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(owner.directory.as_deref(), Some(dir.as_str()));
        let accepts = thread::spawn(move || listener.accept().unwrap());
        let mut here = connect(&worker, at.port()).unwrap();
        let (mut there, _) = accepts.join().unwrap();
        assert_eq!(there.local_addr().unwrap().ip(), reached_at(at.ip()), "{at}");
        // Each way ends on its own.
        here.write_all(b"question").unwrap();
        here.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        there.read_to_string(&mut heard).unwrap();
        there.write_all(b"answer").unwrap();
        drop(there);
        here.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "questionanswer");
        assert_eq!(next(&mut events, at.port()), None);
    }
    let (half, most) = (ms(&mut times, 50), ms(&mut times, 95));
    println!("NOTE listen() to event: p50 {half} ms, p95 {most} ms, {} times", times.len());
    assert!(most < 5000, "{times:?}");
}

fn reached_at(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[test]
fn what_is_not_there_is_refused_at_once_and_another_users_is_not_there() {
    let worker = Worker::running("ports-others");
    let mut events = watch(&worker);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut times: Vec<Duration> = (0..20)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(connect(&worker, free).err().as_deref(), Some("not_found"));
            began.elapsed()
        })
        .collect();
    println!("NOTE refused after p95 {} ms", ms(&mut times, 95));
    assert!(ms(&mut times, 50) < 1000, "{times:?}");
    if !geteuid().is_root() {
        return println!("SKIP another user's port: needs root");
    }
    // This thread's sockets are that user's.
    setfsuid(Uid::from_raw(4243));
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    setfsuid(Uid::from_raw(0));
    let port = theirs.local_addr().unwrap().port();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(listed(&worker, port), None);
    assert_eq!(connect(&worker, port).err().as_deref(), Some("not_found"));
    theirs.set_nonblocking(true).unwrap();
    assert_eq!(theirs.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // One's own beside it is, at its own address alone.
    let own = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    assert_eq!(next(&mut events, port).unwrap().addresses, [Ipv6Addr::LOCALHOST]);
    let accepts = thread::spawn(move || own.accept().unwrap());
    let _stream = connect(&worker, port).unwrap();
    accepts.join().unwrap();
    assert_eq!(theirs.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_port_that_takes_no_connection_is_given_up_and_holds_up_no_other() {
    let worker = Worker::running("ports-hung");
    // A queue of none: the second connection waits for the program.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&hung, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let at = hung.local_addr().unwrap();
    let _first = TcpStream::connect(at).unwrap();
    let began = Instant::now();
    let waits = thread::scope(|scope| {
        let tries = || scope.spawn(|| connect(&worker, at.port()).err());
        let tries: Vec<_> = (0..20).map(|_| tries()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        echo(listener);
        asks_back(&mut connect(&worker, port).unwrap(), b"meanwhile");
        tries.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(waits.iter().all(|word| word.as_deref() == Some("timeout")), "{waits:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A python program that listens here, ready when this returns.
fn python(code: &str) -> (Child, u16) {
    let mut command = Command::new("python3");
    command.args(["-uc", code]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

const PAGES: &str = "
import http.server as h
s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)
print(s.server_port); s.serve_forever()";
/// Accepts when a first byte has come.
const DEFERS: &str = "
import socket
s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
s.bind(('127.0.0.1', 0)); s.listen(8); print(s.getsockname()[1])
while True: s.accept()";

#[test]
fn whether_a_program_takes_connections_is_what_it_does_and_not_what_the_kernel_does() {
    let worker = Worker::running("ports-state");
    let state = |port: u16| {
        let found = probe(&worker.client(), &[port]);
        found.first().map(|(_, state)| *state)
    };
    let (mut pages, port) = python(PAGES);
    assert_eq!(state(port), Some(PortState::Ready));
    // There is room in its queue, and nobody takes anything out of it.
    let pid = Pid::from_raw(i32::try_from(pages.id()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    for _ in 0..3 {
        assert_eq!(state(port), Some(PortState::Hung));
    }
    kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(state(port), Some(PortState::Ready));
    let (mut defers, deferred) = python(DEFERS);
    assert_eq!(state(deferred), Some(PortState::Ready));
    // It waits for the first word of who comes, as databases do; it ends what comes at once.
    let silent = TcpListener::bind("[::]:0").unwrap();
    let short = TcpListener::bind("127.0.0.1:0").unwrap();
    let port_of = |one: &TcpListener| one.local_addr().unwrap().port();
    let quiet = [port_of(&silent), port_of(&short)];
    let _open = echo(silent);
    thread::spawn(move || short.incoming().for_each(drop));
    quiet.iter().for_each(|port| assert_eq!(state(*port), Some(PortState::Ready)));
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = TcpStream::connect(full.local_addr().unwrap()).unwrap();
    assert_eq!(state(port_of(&full)), Some(PortState::Hung));
    for child in [&mut pages, &mut defers] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn descriptors(worker: &Worker) -> usize {
    fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap().count()
}

/// Until the process has no more descriptors than that.
fn until_closed(worker: &Worker, most: usize) {
    let end = Instant::now() + SOON;
    while descriptors(worker) > most {
        assert!(Instant::now() < end, "{} of {most}", descriptors(worker));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_thousand_at_once_and_many_after_another_leave_nothing_behind() {
    open_files::raise(20_000);
    let worker = Worker::running("ports-many");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = echo(listener);
    asks_back(&mut connect(&worker, port).unwrap(), b"one");
    // A thread that carries has one itself, and there are 64 of them at most.
    let before = descriptors(&worker) + 64;
    let began = Instant::now();
    let many: usize = std::env::var("HOPBOX_PORTS").map_or(1000, |many| many.parse().unwrap());
    for n in 0..many {
        let mut stream = connect(&worker, port).unwrap();
        if n % 10 == 0 {
            asks_back(&mut stream, b"word");
        }
    }
    let each = began.elapsed() / u32::try_from(many).unwrap();
    println!("NOTE {many} after another: {} us each", each.as_micros());
    until_closed(&worker, before);

    // As many begin at once as have slots.
    let body = json!({"method": PORTS_CONNECT, "params": {"port": port}}).to_string();
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: mybox.hop\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: Upgrade\r\nUpgrade: {BYTES}\r\nContent-Length: {}\r\n\r\n{body}early",
        body.len()
    );
    let began = Instant::now();
    let mut all: Vec<TcpStream> = Vec::new();
    for _ in 0..25 {
        let mut some: Vec<TcpStream> =
            (0..40).map(|_| TcpStream::connect(worker.served.at).unwrap()).collect();
        some.iter_mut().for_each(|stream| stream.write_all(head.as_bytes()).unwrap());
        for stream in &mut some {
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\nearly") {
                let mut piece = [0; 512];
                let read = stream.read(&mut piece).unwrap();
                assert_ne!(read, 0, "{:?}", String::from_utf8_lossy(&heard));
                heard.extend_from_slice(&piece[..read]);
            }
            assert!(heard.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&heard));
        }
        all.append(&mut some);
    }
    println!("NOTE 1000 at once: {} ms", began.elapsed().as_millis());
    assert_eq!(open.load(Ordering::SeqCst), 1000);
    all.iter_mut().for_each(|stream| asks_back(stream, b"all of them"));
    drop(all);
    until_closed(&worker, before);
    assert_eq!(listed(&worker, port).unwrap().port, port);
}

/// What it has read of files, as it asks for them: what the kernel answers to questions is no file.
fn bytes_read(worker: &Worker) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", worker.pid())).unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Processor time of all of its threads, in ns.
fn cpu_ns(worker: &Worker) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", worker.pid())).unwrap().flatten();
    let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn who_is_connected_costs_nothing_and_nobody_watching_costs_nothing_at_all() {
    open_files::raise(20_000);
    let worker = Worker::running("ports-idle");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let pairs: Vec<_> =
        (0..4000).map(|_| (TcpStream::connect(at).unwrap(), listener.accept().unwrap())).collect();
    let events = watch(&worker);
    // What is new is looked at closely for a while.
    thread::sleep(Duration::from_secs(6));
    let took = |seconds: u64| {
        let before = cpu_ns(&worker);
        thread::sleep(Duration::from_secs(seconds));
        (cpu_ns(&worker) - before) as f64 / 1e7 / seconds as f64
    };
    // A neighbour makes some of them dear, and none of them cheap.
    let before = bytes_read(&worker);
    let share = (0..6).map(|_| took(1)).fold(f64::MAX, f64::min);
    // The table in /proc would be 30 times 1 MB.
    assert!(bytes_read(&worker) - before < 4 << 20, "it reads the table");
    println!("NOTE watching beside {} connections: {share:.3} % of a processor", pairs.len());
    if std::env::var_os("HOP_SESSION").is_some_and(|value| value == "full") {
        println!("NOTE {:.3} % of it in a whole minute", took(60));
    }
    assert!(share < 5.0, "{share} %");
    drop(events);
    worker.until_idle();
    // Who watched may still be on its way out in the first of them.
    assert_eq!((0..5).map(|_| took(1)).fold(f64::MAX, f64::min), 0.0, "nobody watches");
}

/// Who takes nothing is told nothing, and keeps nobody else from being told.
#[test]
fn who_reads_nothing_is_in_nobodys_way() {
    let worker = Worker::running("ports-slow");
    let slow = worker.client().open(PortsWatch, &Nothing, SOON).unwrap();
    let mut events = watch(&worker);
    for _ in 0..3 {
        let (all, ports) = listen_at(21_000, 200);
        until_told(&mut events, &ports, &ports);
        drop(all);
        until_gone(&mut events, ports);
    }
    drop((slow, events));
    worker.until_idle();
}

/// So many from this port on, which the kernel gives to nobody who wants any: what was told of
/// another's that has ended is about another number.
fn listen_at(first: u16, count: usize) -> (Vec<TcpListener>, BTreeSet<u16>) {
    let free = (first..).filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let all: Vec<_> = free.take(count).collect();
    let ports = all.iter().map(|one| one.local_addr().unwrap().port()).collect();
    (all, ports)
}

/// All of `new`, and nothing of an end of those that are `there`.
fn until_told(events: &mut Events<PortsWatch>, new: &BTreeSet<u16>, there: &BTreeSet<u16>) {
    let mut told = BTreeSet::new();
    while !told.is_superset(new) {
        match events.next_event().unwrap().unwrap() {
            PortEvent::Listens(view) => drop(told.insert(view.port)),
            PortEvent::Gone(port) => assert!(!there.contains(&port), "{port} listens"),
            PortEvent::Settled => {}
        }
    }
}

fn until_gone(events: &mut Events<PortsWatch>, mut ports: BTreeSet<u16>) {
    while !ports.is_empty() {
        if let PortEvent::Gone(port) = events.next_event().unwrap().unwrap() {
            ports.remove(&port);
        }
    }
}

/// The kernel's list of who listens leaves some out while others end, and there may be no
/// descriptor to ask for it with: neither is an end.
#[test]
fn a_port_that_listens_is_not_gone_whatever_comes_and_goes_beside_it() {
    let worker = Worker::running("ports-steady");
    let mut events = watch(&worker);
    let (steady, mut ports) = listen_at(22_000, 100);
    until_told(&mut events, &ports, &ports);
    for round in 0..1000 {
        let at = if round % 2 == 0 { "127.0.0.1:0" } else { "[::]:0" };
        drop((0..20).map(|_| TcpListener::bind(at)).collect::<Vec<_>>());
    }
    // Of these it is told after all of those.
    let limit = |files: &str| {
        let (pid, files) = (worker.pid().to_string(), format!("--nofile={files}"));
        let done = Command::new("prlimit").args(["--pid", &pid, &files]).status().unwrap();
        assert!(done.success());
    };
    limit("3:4096");
    let (late, more) = listen_at(23_000, 1);
    thread::sleep(Duration::from_secs(1));
    limit("4096:4096");
    ports.extend(&more);
    until_told(&mut events, &more, &ports);
    drop((steady, late));
    until_gone(&mut events, ports);
}

#[test]
fn one_port_of_several_listeners_is_told_once_and_lasts_as_long_as_one_of_them() {
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
    use std::os::fd::AsRawFd;
    let worker = Worker::running("ports-shared");
    let mut events = watch(&worker);
    let shared = |port: u16| {
        let (flags, kind) = (SockFlag::SOCK_CLOEXEC, SockType::Stream);
        let fd = socket::socket(AddressFamily::Inet, kind, flags, None).unwrap();
        socket::setsockopt(&fd, sockopt::ReusePort, &true).unwrap();
        let at = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        socket::bind(fd.as_raw_fd(), &at).unwrap();
        socket::listen(&fd, socket::Backlog::new(16).unwrap()).unwrap();
        TcpListener::from(fd)
    };
    let first = shared(0);
    let port = first.local_addr().unwrap().port();
    let one = next(&mut events, port).unwrap();
    let others = [shared(port), shared(port)];
    thread::sleep(Duration::from_millis(700));
    assert_eq!(listed(&worker, port).unwrap(), one, "nothing is new");
    drop(first);
    drop(connect(&worker, port).unwrap());
    let view = listed(&worker, port).unwrap();
    assert_eq!(view.addresses, one.addresses);
    drop(others);
    while next(&mut events, port).is_some() {}
    assert_eq!(connect(&worker, port).err().as_deref(), Some("not_found"));
}

#[test]
fn what_a_laptop_tells_of_its_ports_is_known_here() {
    let worker = Worker::running("ports-mapped");
    let mapped = Mapped { ports: vec![(5173, 5173), (80, 8080)] };
    worker.client().call(PortsMapped, &mapped, SOON).unwrap();
    let known = worker.work().call(None, WorkMapped, &Nothing).unwrap();
    assert_eq!(known, mapped);
    // Only within this machine.
    assert!(worker.client().call(WorkMapped, &Nothing, SOON).is_err());
}

#[test]
fn what_is_run_has_the_limit_of_descriptors_that_its_login_has() {
    let worker = Worker::with_files("ports-files", 500);
    let limits = fs::read_to_string(format!("/proc/{}/limits", worker.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft > 500, "{files}");
    let body = json!({"method": "run.start", "params": {"command": ["sh", "-c", "ulimit -Sn"]}});
    let said = worker.served.send_and_wait(&super::with_token(&body.to_string()));
    assert!(said.contains(r#"{"out":"500\n"}"#), "{said}");
}
