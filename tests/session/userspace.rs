//! A server that can have no TUN device: its agent serves the same tunnel in userspace, and the
//! laptop sees no difference but what another user's ports are.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox::rpc::method::AgentVersion;
use hopbox::rpc::types::{Nothing, TunnelMode};
use hopbox::session::userspace::open;
use hopbox_selftest::files::{HOST, VPS_IP, VPS_WAN};
use hopbox_selftest::machine::SOON;
use hopbox_selftest::programs;
use serde_json::Value;

use super::shared;
use super::world::*;

/// Nobody else on this machine.
const ANOTHER: Option<u32> = Some(4244);
const BULK: usize = 100 << 20;
/// On two busy cores, without optimisation.
const BULK_LIMIT: Duration = Duration::from_secs(240);

/// Sends back what comes until its end, then ends, too; where "reset" comes first, it resets.
const ECHO: &str = "
import socket, struct, sys, threading
def serve(c):
    with c:
        while True:
            b = c.recv(1 << 16)
            if b[:5] == b'reset':
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                return
            if not b:
                return
            c.sendall(b)
def listen(family, host, port):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port))
    s.listen(256)
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
for at in sys.argv[1:]:
    host, port = at.rsplit(':', 1)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    threading.Thread(target=listen, args=(family, host, int(port))).start()
";

/// On the server, as `user`; ready when the last of the ports is open.
fn echo(world: &World, user: Option<u32>, at: &[&str]) -> Child {
    let mut command = programs::command(Path::new("/usr/bin/python3"), user);
    command.args(["-c", ECHO]).args(at);
    let log = world.home.join(format!("echo-{}.log", at[0].replace([':', '.'], "-")));
    let ports: Vec<SocketAddr> =
        at.iter().map(|at| at.replace("::1:", "[::1]:").parse().unwrap()).collect();
    let start = move || {
        let child = programs::start(command, &log).map_err(|error| error.to_string())?;
        while !ports.iter().all(|at| TcpStream::connect(at).is_ok()) {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    };
    world.vps[0].machine.run(SOON, start).unwrap()
}

/// From the laptop, through the tunnel.
fn connect(world: &World, port: u16) -> Result<TcpStream, ErrorKind> {
    let connect = move || {
        let at = SocketAddr::from((VPS_IP, port));
        Ok(TcpStream::connect_timeout(&at, SOON).map_err(|error| error.kind()))
    };
    let stream = world.laptop.run(SOON * 2, connect).unwrap()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    Ok(stream)
}

fn answers(world: &World, port: u16, word: &[u8]) {
    let mut stream = connect(world, port).unwrap_or_else(|kind| panic!("port {port}: {kind}"));
    stream.write_all(word).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, word, "port {port}");
}

/// A laptop that has not noticed yet that its agent is another one sends into a session that has
/// ended: that is tried again.
fn health(world: &World) -> Value {
    let end = Instant::now() + LIMIT;
    let mut stream = loop {
        match connect(world, hopbox::rpc::API_PORT) {
            Ok(stream) => break stream,
            Err(ErrorKind::TimedOut) if Instant::now() < end => {}
            Err(kind) => panic!("the API: {kind}\n{}", world.log()),
        }
    };
    let request = format!("GET /health HTTP/1.1\r\nHost: {VPS_IP}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    serde_json::from_str(body).unwrap()
}

/// What the agent says of itself on its own machine.
fn agent(world: &World) -> Value {
    let mut command = world.command(&world.programs.agent, &["status", "--json"]);
    let run = move || command.output().map_err(|error| error.to_string());
    let output = world.vps[0].machine.run(SOON, run).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn until_agent(world: &World, mode: &str) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        let status = agent(world);
        if status["tunnel_mode"] == mode {
            return status;
        }
        assert!(Instant::now() < end, "never {mode}: {status:#}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_without_a_device_serves_in_userspace() {
    let _machine = shared();
    let Some(mut world) = World::start("a_server_without_a_device_serves_in_userspace") else {
        return;
    };
    // There is a helper, and nothing that it could make a device with.
    world.stop_agent(0);
    sh(&world.vps[0].machine, "mount -t tmpfs none /dev/net");
    world.start_agent(0);
    let status = until_agent(&world, "userspace");
    assert!(status["tunnel_why"].as_str().unwrap().contains("/dev/net/tun"), "{status}");
    world.up();
    world.sh(&format!("ping -c 2 -W 5 {VPS_IP}"));
    // There is none: it is looked for, and found when it comes.
    world.stop_agent(0);
    end(world.vps[0].helper.take());
    sh(&world.vps[0].machine, "umount /dev/net");
    world.start_agent(0);
    let status = until_agent(&world, "userspace");
    assert!(status["tunnel_why"].as_str().unwrap().contains("no helper"), "{status}");

    world.until("connected", LIMIT, |status| status["connected"] == true);
    assert_eq!(health(&world)["tunnel_mode"], "userspace");
    world.until("said", LIMIT, |status| status["tunnel_mode"] == "userspace");
    let said = said(&world.hop(&["status"]));
    assert!(said.contains("in userspace"), "{said}");
    world.sh(&format!("ping -c 2 -W 5 -s 1300 {HOST}.hop"));

    let all = ["127.0.0.1:7001", "::1:7002", "0.0.0.0:7003"];
    let own = echo(&world, USER, &all);
    let others = echo(&world, ANOTHER, &["127.0.0.1:7004", "0.0.0.0:7005"]);
    ports(&world);
    many(&world);
    bulk(&world, 7003);
    addresses(&world);
    world.start_vps_helper(0);
    until_agent(&world, "kernel");
    world.until("a device", LIMIT, |status| status["tunnel_mode"] == "kernel");
    // The kernel's rules hold now; what listens on loopback alone is answered beside it.
    answers(&world, 7003, b"mine");
    answers(&world, 7005, b"another's");
    answers(&world, 7001, b"mine on loopback");
    for port in [7004, 7007] {
        assert_eq!(connect(&world, port).err(), Some(ErrorKind::ConnectionRefused), "{port}");
    }
    if super::full() {
        bulk(&world, 7003);
    }
    end(Some(own));
    end(Some(others));
}

/// Killed a few seconds after its laptop came, an agent has written down where that is: the next
/// one shakes hands at once. What knows nothing is found after 15 s of silence (R67).
#[test]
fn an_agent_that_is_killed_soon_finds_its_laptop_again() {
    let _machine = shared();
    let Some(mut world) = World::start("an_agent_that_is_killed_soon_finds_its_laptop_again")
    else {
        return;
    };
    world.stop_agent(0);
    end(world.vps[0].helper.take());
    world.start_agent(0);
    until_agent(&world, "userspace");
    world.up();
    let rounds = if super::full() { 40 } else { 2 };
    let took: Vec<Duration> = (0..rounds).map(|_| killed_soon(&mut world)).collect();
    println!("usable after an agent was killed: {took:?}");
    // It was 4 to 8 s where nothing was written down; a SYN that is lost is sent again after 1 and
    // 3 s. One may have been killed before it had written, on a machine that is busy elsewhere.
    let best = took.iter().min().unwrap();
    assert!(*best < Duration::from_millis(3500), "{took:?}\n{}", world.log());
}

/// Without helper, right or device on the laptop: its own TCP/IP, and the agent, on a kernel's TUN
/// and in userspace.
#[test]
fn an_agent_is_asked_through_a_tunnel_without_a_device() {
    let _machine = shared();
    let test = "an_agent_is_asked_through_a_tunnel_without_a_device";
    let Some(mut world) = World::start(test) else { return };
    end(world.helper.take());
    let all = ["127.0.0.1:7001", "0.0.0.0:7003"];
    let own = echo(&world, USER, &all);
    for mode in ["kernel", "userspace"] {
        if mode == "userspace" {
            world.stop_agent(0);
            end(world.vps[0].helper.take());
            world.start_agent(0);
        }
        until_agent(&world, mode);
        through_ours(&world, mode);
        assert_eq!(world.traces(), 0, "{mode}: nothing changes on the laptop");
    }
    end(Some(own));
}

fn through_ours(world: &World, mode: &str) {
    let paths = world.paths.clone();
    let agent = world.vps[0].agent.as_ref().unwrap().id();
    let ask = move || {
        let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
        let (host, key) = store::load_with_key(&paths, HOST).map_err(|error| text(&error))?;
        let remotes = [SocketAddr::new(VPS_WAN.into(), host.endpoint.port)];
        let stamp = paths.stamp_file(HOST);
        let ours = open(&host, &key, &remotes, stamp).map_err(|error| text(&error))?;
        let client = ours.client(&host);
        let health = client.health(LIMIT).map_err(|error| text(&error))?;
        // The token is taken, over one connection after the other.
        for _ in 0..3 {
            client.call(AgentVersion, &Nothing, SOON).map_err(|error| text(&error))?;
        }
        let mut seen = Vec::new();
        for port in [7001, 7003] {
            let to = SocketAddr::from((VPS_IP, port));
            let stream = ours.connector().connect(to, SOON).map_err(|error| text(&error))?;
            seen.push(there_and_back(stream, 4 << 20));
        }
        // What stands still costs nothing, at either end: both stacks are the same program.
        let connect = |_| ours.connector().connect((VPS_IP, 7001).into(), SOON);
        let still: Vec<_> = (0..32).map(connect).collect();
        seen.push(still.iter().all(Result::is_ok));
        thread::sleep(Duration::from_secs(2));
        let before = [std::process::id(), agent].map(sleeps_of_stacks);
        thread::sleep(Duration::from_secs(3));
        let after = [std::process::id(), agent].map(sleeps_of_stacks);
        println!("sleeps of the stacks' threads: {before:?}, 3 s later {after:?}");
        seen.push(before == after && before.iter().all(|all| all.len() == 1));
        Ok((health.tunnel_mode == TunnelMode::Kernel, seen))
    };
    let (is_kernel, seen) = world.laptop.run(LIMIT, ask).unwrap();
    assert_eq!((is_kernel, seen), (mode == "kernel", vec![true; 4]), "{mode}");
}

/// How often each thread of a stack slept, and was woken.
fn sleeps_of_stacks(pid: u32) -> Vec<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        (name.trim() == "netstack").then_some(line.trim().parse().ok()?)
    };
    tasks.filter_map(of).collect()
}

/// Whether an echo gives back so many bytes, and then its end.
fn there_and_back(mut stream: TcpStream, count: usize) -> bool {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let sent: Vec<u8> = (0..count as u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let (mut sink, all) = (stream.try_clone().unwrap(), sent.clone());
    let writes = thread::spawn(move || {
        sink.write_all(&all).unwrap();
        sink.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writes.join().unwrap();
    back == sent
}

fn killed_soon(world: &mut World) -> Duration {
    world.stop_agent(0);
    // As before the first laptop came.
    sh(&world.vps[0].machine, "rm -f /var/lib/hopbox-agent/agent.endpoints");
    world.start_agent(0);
    health(world);
    thread::sleep(Duration::from_secs(2));
    world.stop_agent(0);
    world.start_agent(0);
    let began = Instant::now();
    health(world);
    began.elapsed()
}

fn ports(world: &World) {
    for port in [7001, 7002, 7003] {
        answers(world, port, b"hello");
    }
    let root = || TcpListener::bind("127.0.0.1:7006").map_err(|error| error.to_string());
    let root = world.vps[0].machine.run(SOON, root).unwrap();
    // Another user's, root's, one that nobody has.
    for port in [7004, 7005, 7006, 7007] {
        let began = Instant::now();
        assert_eq!(connect(world, port).err(), Some(ErrorKind::ConnectionRefused), "{port}");
        assert!(began.elapsed() < Duration::from_secs(3), "{port}: {:?}", began.elapsed());
    }
    drop(root);
    let mut stream = connect(world, 7001).unwrap();
    stream.write_all(b"reset").unwrap();
    let gone = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(gone, Err(ErrorKind::ConnectionReset));
    assert_eq!(agent(world)["drops"]["stack_refused"], 4);
}

fn many(world: &World) {
    let mut streams: Vec<_> = (0..200).map(|_| connect(world, 7001).unwrap()).collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&[n as u8; 3000]).unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; 3000];
        stream.read_exact(&mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == n as u8), "{n}");
    }
}

/// Both ways at once, every byte looked at.
fn bulk(world: &World, port: u16) {
    let piece = |n: usize| -> Vec<u8> {
        (0..1u32 << 16).map(|at| (at.wrapping_mul(at ^ n as u32) >> 5) as u8).collect()
    };
    let mut stream = connect(world, port).unwrap();
    let mut sink = stream.try_clone().unwrap();
    let began = Instant::now();
    let writes = thread::spawn(move || {
        for n in 0..BULK >> 16 {
            sink.write_all(&piece(n)).unwrap();
        }
        sink.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = vec![0; 1 << 16];
    for n in 0..BULK >> 16 {
        stream.read_exact(&mut back).unwrap();
        assert!(back == piece(n), "piece {n}");
        assert!(began.elapsed() < BULK_LIMIT, "{n} pieces in {BULK_LIMIT:?}");
    }
    assert_eq!(stream.read(&mut back).unwrap(), 0, "its end");
    writes.join().unwrap();
    let took = began.elapsed();
    let status = agent(world);
    let mode = &status["tunnel_mode"];
    println!("{mode}: {} MiB there and back in {took:?}: {}", BULK >> 20, status["drops"]);
}

/// An address that is not the laptop's is not heard here either.
fn addresses(world: &World) {
    world.sh("ip address add 10.10.0.77/32 dev hopbox0");
    world.sh(&format!("! ping -c 2 -W 1 -I 10.10.0.77 {VPS_IP}"));
    world.sh("ip address del 10.10.0.77/32 dev hopbox0");
    let drops = agent(world)["drops"].clone();
    assert!(drops["wrong_source"].as_u64() >= Some(2), "{drops}");
}
