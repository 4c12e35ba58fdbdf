//! Datagrams over a real ssh(1), sshd(8) and agent's command, by the laptop's own `SshPipe`: both
//! ways, through strangers, greetings and kills, and what is left of it afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::base::failure::Fault;
use hopbox::session::transport::{Event, SshPipe};
use hopbox::ssh::target::Target;
use hopbox::sys::mmsg::{Batch, Outgoing};
use hopbox::sys::poll::{self, Interest};
use hopbox::sys::signal;
use hopbox::sys::sock::{Family, Udp};
use hopbox_selftest::machine::SOON;

use super::world::*;
use super::{alone, shared, sshd};

const PORT: u16 = 51820;
/// A new pipe on a machine that is busy.
const READY: Duration = Duration::from_secs(20);

/// What stands where the tunnel is on both sides, and a pipe between them.
struct Bench {
    world: World,
    sshd: sshd::Sshd,
    target: Target,
    stop: Arc<AtomicBool>,
}

impl Bench {
    /// On the server whatever comes to the tunnel's port goes back.
    fn start(test: &str) -> Option<Bench> {
        let mut world = World::start(test)?;
        world.stop_agent(0);
        let sshd = sshd::start(&world, "/usr/bin:/bin");
        let target = sshd::target(&world);
        sshd::install_agent(&world);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let echo = move || {
            let socket = Udp::bind(Family::V4, PORT).map_err(|error| error.to_string())?;
            thread::spawn(move || echo(&socket, &stopped));
            Ok(())
        };
        world.vps[0].machine.run(SOON, echo).unwrap();
        Some(Bench { world, sshd, target, stop })
    }

    /// A socket that stands for the laptop's tunnel.
    fn tunnel(&self) -> UdpSocket {
        let bind = || UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string());
        let socket = self.world.laptop.run(SOON, bind).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn begin(&self, tunnel: &UdpSocket) -> SshPipe {
        self.begin_for(tunnel.local_addr().unwrap().port())
    }

    fn begin_for(&self, port: u16) -> SshPipe {
        let target = self.target.clone();
        let start = move || SshPipe::start(target, port).map_err(|error| error.to_string());
        self.world.laptop.run(SOON, start).unwrap()
    }

    fn ready(&self, tunnel: &UdpSocket) -> SshPipe {
        let pipe = self.begin(tunnel);
        assert_eq!(event(&pipe, READY), Some(Event::Ready));
        pipe
    }
}

const ROOM: usize = 65536;

/// What comes goes back, with the marks of ECN that it came with.
fn echo(socket: &Udp, stopped: &AtomicBool) {
    let (mut batch, mut room) = (Batch::new(), vec![0; ROOM]);
    while !stopped.load(Ordering::Relaxed) {
        let _ = poll::wait_one(socket.as_fd(), Interest::READ, Some(Duration::from_millis(200)));
        if !batch.receive(socket, &mut room, ROOM).is_ok_and(|count| count == 1) {
            continue;
        }
        let Some(got) = batch.received(0) else { continue };
        let (to, tos, data) = (got.from, got.tos, &room[..got.len]);
        let _ = batch.send(socket, 1, |_| Outgoing { to, from: None, tos, segment: 0, data });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn event(pipe: &SshPipe, within: Duration) -> Option<Event> {
    let end = Instant::now() + within;
    loop {
        if let Some(event) = pipe.take() {
            return Some(event);
        }
        let left = end.checked_duration_since(Instant::now())?;
        poll::wait_one(pipe.fd(), Interest::READ, Some(left)).unwrap();
    }
}

fn fault(pipe: &SshPipe) -> Fault {
    match event(pipe, READY) {
        Some(Event::Ended(failure)) => failure.fault,
        other => panic!("{other:?}"),
    }
}

fn comes_back(tunnel: &UdpSocket, pipe: &SshPipe, bytes: &[u8]) {
    let mut room = [0; 65536];
    tunnel.send_to(bytes, pipe.local()).unwrap();
    let (count, from) = tunnel.recv_from(&mut room).unwrap();
    assert!(from == pipe.local() && room[..count] == *bytes, "{count} of {}", bytes.len());
}

/// Who started it, and whether it has ended and nobody has heard of it.
fn parent(pid: u32) -> Option<(u32, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let has_ended = words.next()? == "Z";
    Some((words.next()?.parse().ok()?, has_ended))
}

fn runs(pid: u32) -> bool {
    parent(pid).is_some_and(|(_, has_ended)| !has_ended)
}

impl Bench {
    /// Processes by what they are: those of ssh(1) here, of sshd(8) there but the listener, and the
    /// agent's command.
    fn processes(&self) -> BTreeMap<&'static str, Vec<u32>> {
        let home = self.world.home.display().to_string();
        let mut found = BTreeMap::<_, Vec<u32>>::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let is_below = |mut pid: u32| {
                while let Some((above, _)) = parent(pid).filter(|(above, _)| *above > 1) {
                    if above == self.sshd.pid() {
                        return true;
                    }
                    pid = above;
                }
                false
            };
            let kind = match line.as_str() {
                line if line.starts_with("ssh ") && line.contains(&home) => "ssh",
                line if line.contains("hop-agent datagrams") && is_below(pid) => "agent",
                _ if is_below(pid) => "sshd",
                _ => continue,
            };
            found.entry(kind).or_default().push(pid);
        }
        found.retain(|_, pids| {
            pids.retain(|pid| runs(*pid));
            !pids.is_empty()
        });
        found
    }

    /// Nothing of those is left, nor anything else that is there for a pipe.
    fn all_gone(&self, before: &BTreeMap<&str, Vec<u32>>, what: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        let left = || before.values().flatten().filter(|pid| runs(**pid)).count();
        while left() > 0 || !self.processes().is_empty() {
            assert!(Instant::now() < end, "{what}: {} are left, {:?}", left(), self.processes());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn datagrams_go_both_ways_over_ssh_and_nothing_is_left_of_it() {
    let _turn = shared();
    let Some(bench) = Bench::start("datagrams_go_both_ways_over_ssh") else { return };
    let (tunnel, other) = (bench.tunnel(), bench.tunnel());
    let pipe = bench.ready(&tunnel);
    for len in [1, 32, 148, 1420, 1500, 9000, 65_507] {
        comes_back(&tunnel, &pipe, &vec![len as u8; len]);
    }
    // Nobody else on this machine is heard, and nothing comes to anybody else.
    other.send_to(b"stranger", pipe.local()).unwrap();
    comes_back(&tunnel, &pipe, b"own");
    other.set_nonblocking(true).unwrap();
    assert!(other.recv_from(&mut [0; 100]).is_err());
    other.set_nonblocking(false).unwrap();
    pipe.follow(other.local_addr().unwrap().port());
    comes_back(&other, &pipe, b"moved");
    let before = bench.processes();
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), ["agent", "ssh", "sshd"]);
    drop(pipe);
    bench.all_gone(&before, "dropped");
    marks(&bench);
    kills(&bench, &tunnel);
}

/// What is marked for ECN arrives so, each way.
fn marks(bench: &Bench) {
    let bind = || Udp::on_loopback().map_err(|error| error.to_string());
    let socket = bench.world.laptop.run(SOON, bind).unwrap();
    let pipe = bench.begin_for(socket.port());
    assert_eq!(event(&pipe, READY), Some(Event::Ready));
    let (mut batch, mut room) = (Batch::new(), vec![0; ROOM]);
    for tos in [0, 1, 2, 3, 0] {
        let outgoing =
            |_| Outgoing { to: pipe.local(), from: None, tos, segment: 0, data: b"marked" };
        assert_eq!(batch.send(&socket, 1, outgoing).unwrap(), 1);
        assert!(poll::wait_one(socket.as_fd(), Interest::READ, Some(READY)).unwrap(), "{tos}");
        assert_eq!(batch.receive(&socket, &mut room, ROOM).unwrap(), 1);
        assert_eq!(batch.received(0).unwrap().tos & 3, tos);
    }
}

/// Kilobytes of memory that this process has.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Whatever the other end says, and whatever it does not take, costs no more than it may.
#[test]
fn a_server_that_means_ill_is_bounded() {
    let _turn = alone();
    let Some(bench) = Bench::start("a_server_that_means_ill") else { return };
    let (tunnel, other) = (bench.tunnel(), bench.tunnel());
    other.set_nonblocking(true).unwrap();
    let hello = "out(b'hopbox-datagrams 1\\n')";
    let becomes = |script: &str| {
        let begin = "#!/usr/bin/python3\nimport sys, time\ndef out(data):\n    \
                     sys.stdout.buffer.write(data); sys.stdout.buffer.flush()\n";
        let file = "/usr/libexec/hopbox/hop-agent";
        let line =
            format!("rm -f {file}; cat >{file} <<'END'\n{begin}{script}\nEND\nchmod 755 {file}");
        sh(&bench.world.vps[0].machine, &line);
        (bench.begin(&tunnel), memory())
    };
    let ended = |pipe: &SshPipe| {
        // It may have begun before.
        let first = event(pipe, READY);
        let last = if first == Some(Event::Ready) { event(pipe, READY) } else { first };
        match last {
            Some(Event::Ended(failure)) => failure,
            other => panic!("{other:?}"),
        }
    };
    let (pipe, before) = becomes("while True: out(b'x' * 65536)");
    let failure = ended(&pipe);
    assert!(failure.why.contains("no hello within") && memory() < before + 16_384, "{failure:?}");
    // Frames that are none.
    for frame in
        ["b'\\0\\xff\\xff' + bytes(70000)", "b'\\7\\0\\0'", "b'\\4\\0\\x08' + b'\\xff' * 8"]
    {
        let (pipe, _) = becomes(&format!("{hello}; out({frame}); time.sleep(60)"));
        let failure = ended(&pipe);
        assert!(failure.fault == Fault::Remote && failure.why.len() < 400, "{frame}: {failure:?}");
    }
    // What has no end: datagrams, beats, and words beside them.
    for forever in [
        "out((b'\\0\\4\\xb0' + bytes(1200)) * 50)",
        "out(b'\\5\\0\\0' * 20000)",
        "sys.stderr.write('y' * 4096)",
    ] {
        let (pipe, before) = becomes(&format!("{hello}\nwhile True: {forever}"));
        assert_eq!(event(&pipe, READY), Some(Event::Ready), "{forever}");
        assert_eq!(event(&pipe, Duration::from_secs(3)), None, "{forever}");
        let more = memory().saturating_sub(before);
        assert!(more < 16_384, "{forever}: {more} kB");
        assert!(other.recv_from(&mut [0; 100]).is_err(), "it came to somebody else");
        let began = Instant::now();
        drop(pipe);
        assert!(began.elapsed() < Duration::from_secs(4), "{forever}: {:?}", began.elapsed());
    }
    // Takes nothing: what waits is bounded, in bytes and in time, and told.
    let (pipe, before) = becomes(&format!("{hello}; time.sleep(60)"));
    assert_eq!(event(&pipe, READY), Some(Event::Ready));
    for n in 0..20_000 {
        tunnel.send_to(&[1; 1200], pipe.local()).unwrap();
        if n % 100 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    let (more, lost) = (memory().saturating_sub(before), pipe.waited_too_long().lost);
    assert!(more < 16_384 && lost > 1000, "{more} kB, {lost} lost");
    assert_eq!(ended(&pipe).fault, Fault::Timeout);
    println!("a server that takes nothing: {more} kB more, {lost} of 20000 lost");
}

/// kill -9 of each of the three, many times: it is heard of, and nothing is left.
fn kills(bench: &Bench, tunnel: &UdpSocket) {
    let rounds = std::env::var("HOP_KILLS").map_or(20, |value| value.parse().unwrap());
    let before = descriptors();
    for round in 0..rounds {
        let pipe = bench.ready(tunnel);
        comes_back(tunnel, &pipe, &[7; 1200]);
        let victim = ["ssh", "sshd", "agent"][round % 3];
        let there = bench.processes();
        for pid in there.get(victim).expect(victim) {
            let _ = signal::send(*pid, signal::Kind::Kill);
        }
        let began = Instant::now();
        let ended = event(&pipe, READY);
        assert!(matches!(ended, Some(Event::Ended(_))), "{victim}: {ended:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{victim}: {:?}", began.elapsed());
        drop(pipe);
        bench.all_gone(&there, victim);
    }
    assert!(descriptors() <= before, "{} descriptors, and {before} before", descriptors());
}

#[test]
fn who_is_not_the_server_is_told_apart_and_a_greeting_is_no_answer() {
    let _turn = shared();
    let Some(mut bench) = Bench::start("who_is_not_the_server") else { return };
    let tunnel = bench.tunnel();
    // What a login says before the command begins.
    let rc = bench.world.home.join("laptop/.ssh/rc");
    fs::write(&rc, "head -c 400000 /dev/zero | tr '\\0' h; printf 'hopbox-datagrams \\n'\n")
        .unwrap();
    let pipe = bench.ready(&tunnel);
    comes_back(&tunnel, &pipe, b"after a greeting");
    drop(pipe);
    fs::write(&rc, "cat /dev/zero\n").unwrap();
    assert_eq!(fault(&bench.begin(&tunnel)), Fault::Remote, "a login that never ends to greet");
    fs::remove_file(rc).unwrap();
    bench.all_gone(&BTreeMap::new(), "a flood");
    // A key that is not let in, and one for another server's host key.
    let good = bench.target.clone();
    let keys = bench.world.home.join("sshd");
    bench.world.sh(&format!("ssh-keygen -q -t ed25519 -N '' -f {}/other", keys.display()));
    bench.target.identity = Some(keys.join("other"));
    assert_eq!(fault(&bench.begin(&tunnel)), Fault::Denied);
    bench.target = good.clone();
    let (_, known) = good.pinned.clone().unwrap();
    let wrong = fs::read_to_string(keys.join("other.pub")).unwrap();
    fs::write(&known, format!("hopbox-mybox {wrong}")).unwrap();
    let fault_of_key = fault(&bench.begin(&tunnel));
    assert!(matches!(fault_of_key, Fault::HostKeyChanged | Fault::HostKeyUnknown));
    // A server whose agent is of a time before.
    sshd::target(&bench.world);
    sh(
        &bench.world.vps[0].machine,
        "printf '#!/bin/sh\\nexit 2\\n' >/usr/libexec/hopbox/hop-agent",
    );
    assert_eq!(fault(&bench.begin(&tunnel)), Fault::Remote);
    sh(&bench.world.vps[0].machine, "rm /usr/libexec/hopbox/hop-agent");
    assert_eq!(fault(&bench.begin(&tunnel)), Fault::NotFound);
    // A captive portal: whoever is called, it answers.
    let portal = || TcpListener::bind("0.0.0.0:2222").map_err(|error| error.to_string());
    let portal = bench.world.vps[0].machine.run(SOON, portal).unwrap();
    let answers = thread::spawn(move || {
        let (mut stream, _) = portal.accept().unwrap();
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1000]);
    });
    bench.target.port = Some(2222);
    assert_eq!(fault(&bench.begin(&tunnel)), Fault::Unreachable);
    answers.join().unwrap();
    bench.all_gone(&BTreeMap::new(), "strangers");
}

/// Voluntary context switches of a thread or process.
fn switches(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.map_or(0, |text| text.trim().parse().unwrap())
}

#[test]
fn an_idle_pipe_sleeps() {
    // Other tests have threads of this name.
    let _turn = alone();
    let Some(bench) = Bench::start("an_idle_pipe_sleeps") else { return };
    let tunnel = bench.tunnel();
    let pipe = bench.ready(&tunnel);
    comes_back(&tunnel, &pipe, b"before");
    thread::sleep(Duration::from_millis(500));
    let agent = bench.processes()["agent"][0];
    let name = |path: &std::path::Path| fs::read_to_string(path.join("comm")).unwrap_or_default();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|entry| entry.path());
    let mut watched: Vec<String> = tasks
        .filter(|path| name(path).trim() == "ssh-pipe")
        .map(|path| format!("{}/status", path.display()))
        .collect();
    watched.push(format!("/proc/{agent}/status"));
    let before: Vec<u64> = watched.iter().map(|path| switches(path)).collect();
    thread::sleep(Duration::from_secs(11));
    for (path, before) in watched.iter().zip(before) {
        let woke = switches(path).checked_sub(before);
        println!("{path}: {woke:?} wakeups in 11 s");
        let about =
            || format!("{path}: {woke:?} wakeups, {:?}, {:?}", pipe.take(), bench.processes());
        assert!(woke.is_some_and(|woke| woke <= 6), "{}", about());
    }
    comes_back(&tunnel, &pipe, b"after");
    assert!(pipe.take().is_none());
}
