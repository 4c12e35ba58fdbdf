//! Ports of the server on laptops that are not as one would like them: numbers that are root's, an
//! ssh(1) that leads there already, hundreds of ports, no IPv6, sleep and a network that is away.
//! And server programs that are not, either (`odd_servers`).

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hopbox::session::ports::view::{MirrorView, PortState, WhyNot};
use hopbox::sys::signal::{Kind, send};
use hopbox_selftest::machine::{Machine, SOON};

use super::ports::{answers, companion, echo, is_free, server, take, view, views, wait_until};
use super::world::*;
use super::{full, odd_servers, shared, sshd};

/// Says its piece first, and hears the other to the end all the same.
const SPEAKS_FIRST: &str = r#"
import socket, sys
s = socket.create_server(('127.0.0.1', 7600))
print('ready', flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b'first')
    c.shutdown(socket.SHUT_WR)
    heard = 0
    while b := c.recv(65536):
        heard += len(b)
    c.close()
    print(heard, flush=True)
"#;

/// So many connections one after the other, each ended in another way than the one before.
const COMES_AND_GOES: &str = r#"
import socket, struct, sys
for n in range(int(sys.argv[1])):
    c = socket.create_connection(('::1' if n % 2 else '127.0.0.1', 7100), 30)
    c.sendall(b'x')
    if n % 5 == 0:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    elif n % 5 == 1:
        c.shutdown(socket.SHUT_WR)
        assert c.recv(9) == b'x' and not c.recv(9)
    elif n % 5 == 2:
        assert c.recv(9) == b'x'
    c.close()
"#;

fn python(world: &World, machine: &Machine, words: &[&str]) -> Child {
    let mut command = world.command(Path::new("python3"), &["-c"]);
    command.args(words);
    machine.run(SOON, move || command.spawn().map_err(|error| error.to_string())).unwrap()
}

fn local(world: &World, port: u16) -> Option<u16> {
    view(world, port)?.local
}

pub fn is_at(world: &World, port: u16, number: u16) {
    wait_until(world, &format!("{port} is at {number}"), || {
        local(world, port) == Some(number) && answers(world, number)
    });
}

/// The mirror begins anew, with what it remembers.
fn again(world: &World) {
    let before = companion(world, "--ports").unwrap();
    send(before, Kind::Kill).unwrap();
    wait_until(world, "another", || {
        companion(world, "--ports").is_some_and(|pid| pid != before) && !views(world).is_empty()
    });
}

fn first_unprivileged(machine: &Machine, first: u16) {
    sh(machine, &format!("echo {first} > /proc/sys/net/ipv4/ip_unprivileged_port_start"));
}

#[test]
fn ports_appear_on_a_laptop_whatever_it_is_like() {
    let _machine = shared();
    let Some(world) = World::start("ports_appear_on_a_laptop_whatever_it_is_like") else { return };
    let mut work = world.start_work(0);
    let first = server(&world, &["127.0.0.1-7100", "::1-7101"]);
    world.up();
    wait_until(&world, "there", || answers(&world, 7100) && answers(&world, 7101));
    root_has_the_low_ones(&world);
    ssh_was_first(&world);
    a_reader_goes(&world);
    each_way_ends_first(&world);
    nothing_is_left(&world);
    the_fifth_and_the_last(&world);
    without_v6(&world);
    asleep_and_cut_off(&world);
    odd_servers::come_and_go(&world);
    odd_servers::after_a_kill(&world, 7100);
    end(Some(first));
    let _ = (work.kill(), work.wait());
}

/// Both settings of the system: ports below 1024 for root alone, and for everybody.
fn root_has_the_low_ones(world: &World) {
    first_unprivileged(&world.vps[0].machine, 0);
    let taken = take(world, "[::1]:1025");
    let why = |port| view(world, port).and_then(|view| view.why_not);
    let web = server(world, &["127.0.0.1-80"]);
    is_at(world, 80, 1024);
    let safe = server(world, &["::1-443"]);
    is_at(world, 443, 1026);
    assert_eq!((why(80), why(443)), (Some(WhyNot::Privileged), Some(WhyNot::Privileged)));
    first_unprivileged(&world.laptop, 81);
    let open = server(world, &["0.0.0.0-81"]);
    is_at(world, 81, 81);
    assert_eq!(why(81), None);
    first_unprivileged(&world.laptop, 1024);
    again(world);
    for (port, number) in [(80, 1024), (443, 1026), (81, 1027)] {
        is_at(world, port, number);
        assert_eq!(why(port), Some(WhyNot::Privileged), "{port}");
        let said = format!("port {port} of mybox is at localhost:{number}");
        assert_eq!(world.log().matches(&said).count(), 1, "once: {}", world.log());
    }
    drop(taken);
    [web, safe, open].into_iter().for_each(|server| end(Some(server)));
}

/// `ssh -L` of the same port stays where it is, and is named with its process.
fn ssh_was_first(world: &World) {
    let _sshd = sshd::start(world, "/usr/bin:/bin");
    let ssh = sshd::login(world, "ssh", &["-N", "-L", "7400:127.0.0.1:7400", sshd::ALIAS]);
    wait_until(world, "ssh leads there", || !is_free(world, 7400));
    let there = server(world, &["127.0.0.1-7400"]);
    wait_until(world, "told", || view(world, 7400).is_some_and(|view| view.why_not.is_some()));
    let by = format!("ssh (pid {})", ssh.id());
    let MirrorView { local, why_not, .. } = view(world, 7400).unwrap();
    assert_eq!((local, why_not), (None, Some(WhyNot::SshForward { by: Some(by.clone()) })));
    let why = said(&world.hop(&["ports", "why", "7400"]));
    assert!(why.contains(&by), "{why}");
    assert!(world.log().contains(&by), "{}", world.log());
    assert!(answers(world, 7400), "by ssh");
    end(Some(ssh));
    is_at(world, 7400, 7400);
    end(Some(there));
}

/// Whoever has read enough keeps no shell waiting for the next change, and 16 may watch.
fn a_reader_goes(world: &World) {
    for words in [&["ports", "ls", "--watch"][..], &["ports", "--watch", "--json"]] {
        for _ in 0..20 {
            let mut child = world.spawn(words);
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert!(line.ends_with('\n'), "{line}");
            drop(output);
            let ended = finish(child, SOON);
            assert_eq!(ended.status.code(), Some(0), "{words:?}: {}", said(&ended));
        }
    }
}

fn each_way_ends_first(world: &World) {
    let mut there = python(world, &world.vps[0].machine, &[SPEAKS_FIRST]);
    let mut said = BufReader::new(there.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().as_deref(), Some("ready"));
    wait_until(world, "7600", || local(world, 7600) == Some(7600));
    let speak = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(LIMIT))?;
        let mut first = String::new();
        stream.read_to_string(&mut first)?;
        stream.write_all(&[b'x'; 1 << 20])?;
        stream.shutdown(Shutdown::Write)?;
        Ok(first)
    };
    let ask = move || {
        let first = TcpStream::connect(("127.0.0.1", 7600)).and_then(speak);
        first.map_err(|error: std::io::Error| error.to_string())
    };
    assert_eq!(world.laptop.run(LIMIT, ask).unwrap(), "first");
    assert_eq!(said.next().as_deref(), Some("1048576"), "after its own end");
    end(Some(there));
}

/// Whoever comes and goes, in whatever way, leaves no connection that one side has forgotten.
fn nothing_is_left(world: &World) {
    let count = if full() { "10000" } else { "300" };
    let came = python(world, &world.laptop, &[COMES_AND_GOES, count]);
    let came = finish(came, LIMIT * 10);
    assert!(came.status.success(), "{}", said(&came));
    let half_closed = |machine: &Machine| {
        let look = || {
            let output = Command::new("ss").args(["-Htn", "state", "close-wait"]).output();
            Ok(String::from_utf8_lossy(&output.map_err(|e| e.to_string())?.stdout).into_owned())
        };
        machine.run(SOON, look).unwrap()
    };
    for machine in [&world.laptop, &world.vps[0].machine] {
        wait_until(world, "closed", || half_closed(machine).is_empty());
    }
    wait_until(world, "none open", || view(world, 7100).is_some_and(|it| it.connections == 0));
}

/// The same number there and here for each of many, whichever one asks for.
fn the_fifth_and_the_last(world: &World) {
    let count = if full() { 500 } else { 100 };
    let places: Vec<String> = (0..count).map(|n| format!("127.0.0.1-{}", 10_000 + n)).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let began = Instant::now();
    let there = server(world, &places);
    let here =
        || views(world).iter().filter(|it| it.port >= 10_000 && it.local == Some(it.port)).count();
    wait_until(world, "all", || here() == count);
    println!("{count} ports are here after {:?}", began.elapsed());
    for port in [10_000, 10_004, 9_999 + count as u16] {
        assert!(answers(world, port), "{port}");
    }
    end(Some(there));
    let gone = |it: &MirrorView| it.port < 10_000 || it.state == PortState::Gone;
    // The server's first is among them.
    wait_until(world, "gone", || view(world, 7100).is_some() && views(world).iter().all(gone));
}

/// A laptop without IPv6 has the other family; and this one too, once there is.
fn without_v6(world: &World) {
    let v6 = |is_on: bool| {
        let off = i32::from(!is_on);
        world.sh(&format!("echo {off} > /proc/sys/net/ipv6/conf/lo/disable_ipv6"));
    };
    let reach = |at: &str| echo(world, format!("{at}:7101"));
    v6(false);
    again(world);
    wait_until(world, "127.0.0.1", || reach("127.0.0.1").is_ok());
    assert!(reach("[::1]").is_err());
    assert_eq!(view(world, 7101).unwrap().why_not, None);
    v6(true);
    wait_until(world, "::1", || reach("[::1]").is_ok());
}

/// What is open goes on, and what is mapped is there afterwards; who stopped meanwhile refuses.
fn asleep_and_cut_off(world: &World) {
    let away = Duration::from_secs(if full() { 60 } else { 3 });
    let leaves = server(world, &["127.0.0.1-7700"]);
    wait_until(world, "7700", || answers(world, 7700));
    let connect = || TcpStream::connect(("127.0.0.1", 7100)).map_err(|error| error.to_string());
    let mut open = world.laptop.run(SOON, connect).unwrap();
    open.set_read_timeout(Some(LIMIT)).unwrap();
    let mut goes_on = |when: &str| {
        open.write_all(b"x").unwrap();
        let mut heard = [0];
        open.read_exact(&mut heard).unwrap_or_else(|error| panic!("{when}: {error}"));
    };
    goes_on("at first");
    let asleep = [world.session().unwrap(), companion(world, "--ports").unwrap()];
    let [session, mirror] = asleep;
    world.sh(&format!("kill -STOP {session} {mirror}"));
    std::thread::sleep(away);
    let [session, mirror] = asleep;
    world.sh(&format!("kill -CONT {session} {mirror}"));
    goes_on("after sleep");
    wait_until(world, "both answer", || answers(world, 7100) && answers(world, 7101));
    world.sh("ip link set uplink down");
    end(Some(leaves));
    std::thread::sleep(away);
    world.sh("ip link set uplink up");
    goes_on("after the network was away");
    wait_until(world, "both are back", || answers(world, 7100) && answers(world, 7101));
    wait_until(world, "gone", || view(world, 7700).is_some_and(|it| it.state == PortState::Gone));
    let began = Instant::now();
    let knock = || Ok(TcpStream::connect(("127.0.0.1", 7700)).map(drop).map_err(|e| e.kind()));
    let refused = world.laptop.run(SOON, knock).unwrap();
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    println!("nobody listens: refused after {:?}", began.elapsed());
    assert_eq!(companion(world, "--ports"), Some(asleep[1]), "{}", world.log());
}
