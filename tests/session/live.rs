//! What happens when several start a session, when something that it needs is taken away, and when
//! it is stopped at an awkward moment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox::rpc::API_PORT;
use hopbox::rpc::client::Client;
use hopbox::rpc::method::{AgentClock, AgentVersion};
use hopbox::rpc::types::{Clock, Nothing};
use hopbox::session::companion::Kind;
use hopbox::session::through;
use hopbox_selftest::files;
use hopbox_selftest::machine::SOON;
use serde_json::Value;

use super::shared;
use super::world::*;

#[test]
fn up_twice_at_once_is_one_session() {
    let _machine = shared();
    let Some(world) = World::start("up_twice_at_once_is_one_session") else { return };
    let children: Vec<Child> = (0..4).map(|_| world.spawn(&["up"])).collect();
    let outputs: Vec<Output> = children.into_iter().map(|child| finish(child, LIMIT)).collect();
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", said(output));
    }
    let already = outputs.iter().filter(|output| said(output).contains("is up already")).count();
    assert_eq!(already, 3);
    assert_eq!(world.traces(), 3);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(world.traces(), 0, "down returns when it is done");
    one_line_stays_on_a_terminal(&world);
    // Nobody can be asked here: whether there is such a laptop is looked at before.
    for (laptop, code) in [("ghost", 4), ("laptop", 8)] {
        let refused = world.hop(&["host", "revoke", laptop]);
        assert_eq!(refused.status.code(), Some(code), "{}", said(&refused));
    }
}

/// Of `hop up` and `hop doctor`, whose agent takes its time, on a terminal of script(1)'s.
fn one_line_stays_on_a_terminal(world: &World) {
    let play = |line: &str| {
        let line = format!("stty cols 60; {} {line}", world.programs.hop.display());
        let mut command = world.command(Path::new("script"), &["-qec", &line, "/dev/null"]);
        command.env("TERM", "xterm");
        let start = move || command.spawn().map_err(|error| error.to_string());
        finish(world.laptop.run(SOON, start).unwrap(), LIMIT)
    };
    let stays = |output: &Output| {
        let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let last = |line: &str| line.rsplit("\x1b[K").next().unwrap_or_default().to_owned();
        shown.lines().map(last).collect::<Vec<String>>()
    };
    let up = play("up");
    let line = "mybox is up: mybox.hop is 10.10.0.2, usable after ";
    assert!(matches!(&stays(&up)[..], [only] if only.starts_with(line)), "{}", said(&up));
    let doctor = play("doctor");
    let line = "mybox: nothing is wrong, ";
    assert!(matches!(&stays(&doctor)[..], [only] if only.starts_with(line)), "{}", said(&doctor));
    let verbose = world.hop(&["down"]).status.success().then(|| play("up -v")).unwrap();
    assert!(stays(&verbose).len() >= 7, "{}", said(&verbose));
}

#[test]
fn status_watch_tells_each_change_until_its_reader_leaves() {
    let _machine = shared();
    let Some(world) = World::start("status_watch_tells_each_change") else { return };
    world.up();
    let mut child = world.spawn(&["status", "--watch", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut state = || {
        let line = lines.next().expect("it goes on").unwrap();
        let one: Value = serde_json::from_str(&line).expect("one object a line");
        assert_eq!(one["schema"], "hopbox.status/1");
        one["data"]["state"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!((state(), state()), ("up".to_owned(), "up".to_owned()));
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert!((0..30).any(|_| state() == "down"), "it hears of the end");
    drop(lines);
    let end = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it ends with its reader");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_session_owns_nothing_of_the_terminal() {
    let _machine = shared();
    let Some(world) = World::start("a_session_owns_nothing_of_the_terminal") else { return };
    // Descriptor 9 is a file that nobody closes on exec.
    let script = format!("exec 9</etc/hosts; {} up", world.programs.hop.display());
    let mut command = world.command(Path::new("/bin/sh"), &["-c", &script]);
    let start = move || command.spawn().map_err(|error| error.to_string());
    let child = world.laptop.run(SOON, start).unwrap();
    // That this returns shows that the session holds neither end of the output pipes.
    let output = finish(child, LIMIT);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let pid = world.session().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(
        (fields[3], fields[4]),
        (pid.to_string().as_str(), "0"),
        "session, terminal: {stat}"
    );
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(!target.ends_with("hosts"), "inherited {}", target.display());
    }
    // By inode: in a chroot the link's text begins outside of it.
    let inode = |link: &str| fs::metadata(format!("/proc/{pid}/{link}")).unwrap().ino();
    assert_eq!(inode("cwd"), inode("root"));
}

/// From the process with the login's rights over the one that faces the network, through the
/// tunnel, to the laptop; and it ends there when nobody listens here any more.
#[test]
fn a_stream_of_the_servers_work_comes_through_the_tunnel() {
    let _machine = shared();
    let Some(world) = World::start("a_stream_of_the_servers_work") else { return };
    world.up();
    let host = store::load(&world.paths, files::HOST).unwrap();
    let paths = world.paths.clone();
    let client = move || through::with_token(&paths, &host).ok_or("not up".to_owned());
    let asked = client.clone();
    let version = move || {
        let version = asked()?.call(AgentVersion, &Nothing, SOON);
        version.map(|version| version.work).map_err(|error| error.to_string())
    };
    assert_eq!(world.laptop.run(SOON, version.clone()).unwrap(), None);
    let work = world.start_work(0);
    let end_of = Instant::now() + SOON;
    while world.laptop.run(SOON, version.clone()).unwrap().map(|work| work.pid) != Some(work.id()) {
        assert!(Instant::now() < end_of, "it does not answer");
        thread::sleep(Duration::from_millis(20));
    }
    let open = move || {
        let asked = Clock { interval_ms: 20, count: 1_000_000 };
        let mut events = client()?.open(AgentClock, &asked, SOON).map_err(|e| e.to_string())?;
        for n in 1..=50 {
            let tick = events.next_event().map_err(|error| error.to_string())?;
            assert_eq!(tick.map(|tick| tick.n), Some(n));
        }
        Ok(events)
    };
    drop(world.laptop.run(SOON * 2, open).unwrap());
    let tasks = format!("/proc/{}/task", work.id());
    // What the session's companions follow stays.
    let busy = || {
        let names = fs::read_dir(&tasks).unwrap().flatten();
        let names = names.filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
        names.filter(|name| name == "work\n").count() > Kind::all().count()
    };
    let end_of = Instant::now() + SOON;
    while busy() {
        assert!(Instant::now() < end_of, "it goes on for nobody");
        thread::sleep(Duration::from_millis(20));
    }
    end(Some(work));
}

#[test]
fn a_restarted_helper_takes_the_lease_over_and_packets_flow_meanwhile() {
    let _machine = shared();
    let Some(mut world) = World::start("a_restarted_helper_takes_the_lease_over") else { return };
    world.up();
    let pid = world.session();
    world.kill_helper();
    world.until("without a helper", Duration::from_secs(10), |s| s["broken"] == "helper");
    let client = Client::anybody("10.10.0.2", files::VPS_IP, API_PORT);
    let ask = move || client.health(Duration::from_secs(3)).map_err(|error| error.to_string());
    world.laptop.run(SOON, ask).unwrap();
    world.start_helper();
    let back = world.until("whole again", LIMIT, |s| s["broken"].is_null());
    assert_eq!((back["pid"].as_u64(), world.traces()), (pid.map(u64::from), 3));
    assert!(back["events"].to_string().contains("the helper is back"), "{back}");
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(world.traces(), 0, "the new helper undoes what the old one did");
}

#[test]
fn without_a_helper_a_session_ends_and_the_next_works() {
    let _machine = shared();
    let Some(mut world) = World::start("without_a_helper_a_session_ends") else { return };
    world.up();
    world.kill_helper();
    let output = world.hop(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    // It looks for another one for half a minute.
    let end = Instant::now() + LIMIT * 2;
    // Its last words come when everything is undone and its socket is gone.
    while !world.log().contains("session ends: the helper is gone") {
        assert!(Instant::now() < end, "the session did not end\n{}", world.log());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(world.session(), None);
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    world.start_helper();
    world.assert_gone("a helper that starts anew");
    world.up();
}

#[test]
fn a_deleted_interface_ends_the_session() {
    let _machine = shared();
    let Some(world) = World::start("a_deleted_interface_ends_the_session") else { return };
    world.up();
    let delete = || {
        let status = Command::new("ip").args(["link", "del", "hopbox0"]).status();
        status.map_err(|error| error.to_string())
    };
    assert!(world.laptop.run(SOON, delete).unwrap().success());
    world.assert_gone("a deleted interface");
    // Its last words come when everything is undone and its socket is gone.
    let end = Instant::now() + LIMIT;
    while !world.log().contains("session ends: the interface hopbox0 is gone") {
        assert!(Instant::now() < end, "{}", world.log());
        thread::sleep(Duration::from_millis(10));
    }
    world.up();
}

#[test]
fn foreground_stays_and_ctrl_c_undoes_it() {
    let _machine = shared();
    let Some(world) = World::start("foreground_stays_and_ctrl_c_undoes_it") else { return };
    for round in 0..2 {
        let mut child = world.spawn(&["up", "--foreground"]);
        let end = Instant::now() + Duration::from_secs(10);
        while world.traces() < 3 {
            assert!(Instant::now() < end, "not up: {}", said(&finish(child, Duration::ZERO)));
            thread::sleep(Duration::from_millis(10));
        }
        assert!(child.try_wait().unwrap().is_none());
        let already = world.hop(&["up"]);
        assert!(said(&already).contains("is up already"), "{}", said(&already));
        match round {
            0 => interrupt(&child),
            _ => assert_eq!(world.hop(&["down"]).status.code(), Some(0)),
        }
        let output = finish(child, Duration::from_secs(5));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(world.traces(), 0);
    }
}

#[test]
fn an_agent_that_is_not_there_is_exit_6_and_nothing_is_left() {
    let _machine = shared();
    let Some(mut world) = World::start("an_agent_that_is_not_there") else { return };
    world.stop_agent(0);
    let began = Instant::now();
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let text = said(&output);
    assert!(
        text.contains("does not answer on UDP 51820") && text.contains("\nfix: hop setup "),
        "{text}"
    );
    world.assert_gone("an agent that is not there");

    // Stopped while waiting, in three ways.
    for way in 0..3 {
        let words: &[&str] = if way == 1 { &["up", "-f"] } else { &["up"] };
        let child = world.spawn(words);
        thread::sleep(Duration::from_millis(700));
        let stopped = Instant::now();
        match way {
            2 => assert_eq!(world.hop(&["down"]).status.code(), Some(0)),
            _ => interrupt(&child),
        }
        let output = finish(child, Duration::from_secs(5));
        assert_eq!(output.status.code(), Some(130), "way {way}: {}", said(&output));
        assert!(stopped.elapsed() < Duration::from_secs(2), "way {way}: {:?}", stopped.elapsed());
        world.assert_gone("stopped while waiting");
    }
    world.start_agent(0);
    world.up();
}

#[test]
fn any_process_may_be_killed_at_any_moment_of_up() {
    let _machine = shared();
    let Some(world) = World::start("any_process_may_be_killed_at_any_moment_of_up") else { return };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..12 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let moment = Duration::from_micros(seed % 12_000);
        let mut child = world.spawn(&["up", "-f"]);
        thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        world.assert_gone(&format!("round {round}: kill -9 after {moment:?}"));
        // Six requests a round, and the helper takes 20 a second from one user.
        thread::sleep(Duration::from_millis(300));
    }
    world.up();
}

#[test]
fn status_counts_what_was_dropped_and_why() {
    let _machine = shared();
    let Some(world) = World::start("status_counts_what_was_dropped_and_why") else { return };
    world.up();
    let status = || -> serde_json::Value {
        let output = world.hop(&["status", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let before = status();
    assert_eq!(before["schema"], "hopbox.status/1");
    assert_eq!(before["data"]["state"], "up");
    assert!(before["data"]["drops"].as_object().unwrap().len() >= 30, "every reason is named");
    let port = before["data"]["listen_port"].as_u64().unwrap();
    let send = move || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
        let to = format!("{}:{port}", files::LAPTOP_WAN);
        // No message; a data message for nobody; an initiation with a wrong MAC.
        let mut data = [7u8; 64];
        data[..4].copy_from_slice(&[4, 0, 0, 0]);
        let mut initiation = [7u8; 148];
        initiation[..4].copy_from_slice(&[1, 0, 0, 0]);
        for _ in 0..5 {
            for datagram in [&b"hello"[..], &data, &initiation] {
                socket.send_to(datagram, &to).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    };
    world.vps[0].machine.run(SOON, send).unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let drops = status()["data"]["drops"].clone();
        let count = |reason: &str| {
            drops[reason].as_u64().unwrap() - before["data"]["drops"][reason].as_u64().unwrap()
        };
        if ["malformed", "unknown_index", "bad_mac1"].map(count) == [5, 5, 5] {
            break;
        }
        assert!(Instant::now() < end, "{drops}");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(world.hop(&["status"]).status.code(), Some(3));
}
