//! Sessions that live: on two machines in namespaces, with a helper and an agent. What happens
//! when several start one, when something a session needs is taken away, and when it is stopped
//! at an awkward moment. Needs root; each test makes its own machines.

mod rotate;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::cli::selftest::files::{self, HOST, NAME, Secrets, VPS_IP};
use hopbox::cli::selftest::machine::{self, Machine, SOON};
use hopbox::cli::selftest::programs::{self, Programs, Stash};
use hopbox::helper::DEFAULT_SOCKET;
use hopbox::host::paths::Paths;
use hopbox::session::control;
use hopbox::sys::{proc, signal};

/// Who runs `hop` and the agent: nobody on this machine.
const USER: Option<u32> = Some(4243);
const LIMIT: Duration = Duration::from_secs(30);

struct World {
    laptop: Machine,
    vps: Machine,
    programs: Programs,
    home: PathBuf,
    paths: Paths,
    helper: Option<Child>,
    vps_helper: Option<Child>,
    agent: Option<Child>,
}

impl World {
    /// Laptop and VPS, set up and with everything running but the tunnel; `None` without root.
    fn start(test: &str) -> Option<World> {
        if !proc::is_root() {
            println!("SKIP {test}: needs root for network namespaces");
            return None;
        }
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("hopbox-live-{}-{turn}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
        let hop = PathBuf::from(env!("CARGO_BIN_EXE_hop"));
        let helper = hop.with_file_name("hop-helper");
        assert!(helper.is_file(), "{} is missing: cargo build -p hop-helper", helper.display());
        let agent = PathBuf::from(env!("CARGO_BIN_EXE_hop-agent"));
        let stash = Stash::take(&Programs { hop, agent, helper }).unwrap();
        let programs = stash.put(&home.join("bin")).unwrap();
        let laptop = Machine::start("laptop", files::etc(USER)).unwrap();
        let vps = Machine::start("vps", files::etc(USER)).unwrap();
        machine::join(&laptop, files::LAPTOP_WAN, &vps, files::VPS_WAN).unwrap();

        let paths = Paths::below(&home.join("laptop"));
        let secrets = Secrets::generate().unwrap();
        files::write_laptop(&paths, &secrets).unwrap();
        files::give(&home.join("laptop"), USER).unwrap();
        vps.run(SOON, move || files::write_vps(&secrets, USER).map_err(|e| e.to_string())).unwrap();
        let (helper, vps_helper, agent) = (None, None, None);
        let mut world = World { laptop, vps, programs, home, paths, helper, vps_helper, agent };
        world.helper = Some(world.start_helper(true));
        world.vps_helper = Some(world.start_helper(false));
        world.start_agent();
        Some(world)
    }

    fn start_helper(&self, on_laptop: bool) -> Child {
        let (machine, name) = match on_laptop {
            true => (&self.laptop, "laptop-helper.log"),
            false => (&self.vps, "vps-helper.log"),
        };
        let mut command = programs::command(&self.programs.helper, None);
        command.arg("--listen");
        let log = self.home.join(name);
        let start = move || {
            let child = programs::start(command, &log).map_err(|error| error.to_string())?;
            while UnixStream::connect(DEFAULT_SOCKET).is_err() {
                thread::sleep(Duration::from_millis(2));
            }
            Ok(child)
        };
        machine.run(SOON, start).unwrap()
    }

    fn start_agent(&mut self) {
        let mut command = programs::command(&self.programs.agent, USER);
        command.arg("serve");
        let log = self.home.join("agent.log");
        let start = move || programs::start(command, &log).map_err(|error| error.to_string());
        self.agent = Some(self.vps.run(SOON, start).unwrap());
    }

    fn stop_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = programs::command(program, USER);
        let home = self.home.join("laptop");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config"));
        command.env("XDG_STATE_HOME", home.join("state"));
        command.env("XDG_RUNTIME_DIR", home.join("run")).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(&self.programs.hop, words);
        self.laptop.run(SOON, move || command.spawn().map_err(|error| error.to_string())).unwrap()
    }

    fn hop(&self, words: &[&str]) -> Output {
        let child = self.spawn(words);
        finish(child, LIMIT)
    }

    fn up(&self) {
        let output = self.hop(&["up"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", said(&output), self.log());
        assert_eq!(self.traces(), 3, "{}", said(&output));
    }

    /// How many of interface, route and name there are on the laptop.
    fn traces(&self) -> usize {
        let look = || {
            let hosts = fs::read_to_string("/etc/hosts").map_err(|error| error.to_string())?;
            let interfaces = machine::interfaces()?;
            Ok(usize::from(interfaces.iter().any(|name| name.starts_with("hopbox")))
                + usize::from(machine::has_route(VPS_IP)?)
                + usize::from(hosts.contains(NAME)))
        };
        self.laptop.run(SOON, look).unwrap()
    }

    fn assert_gone(&self, what: &str) {
        let end = Instant::now() + Duration::from_secs(3);
        while self.traces() > 0 || self.session().is_some() {
            assert!(Instant::now() < end, "{what}: {} traces\n{}", self.traces(), self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process number of the session that answers.
    fn session(&self) -> Option<u32> {
        let status = control::status(&self.paths.socket(HOST)).ok().flatten()?;
        status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.paths.log_file(HOST)).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.hop(&["down"]);
        let children = [self.agent.take(), self.helper.take(), self.vps_helper.take()];
        for mut child in children.into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn finish(mut child: Child, limit: Duration) -> Output {
    let end = Instant::now() + limit;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("still running: {}", said(&child.wait_with_output().unwrap()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn interrupt(child: &Child) {
    signal::send(child.id(), signal::Kind::Interrupt).unwrap();
}

#[test]
fn up_twice_at_once_is_one_session() {
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
    world.up();
}

#[test]
fn a_session_owns_nothing_of_the_terminal() {
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

#[test]
fn without_its_helper_a_session_ends_and_the_next_works() {
    let Some(mut world) = World::start("without_its_helper_a_session_ends") else { return };
    world.up();
    let mut helper = world.helper.take().unwrap();
    helper.kill().unwrap();
    helper.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while world.session().is_some() {
        assert!(Instant::now() < end, "the session did not notice");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(world.log().contains("session ends: the helper is gone"), "{}", world.log());
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    world.helper = Some(world.start_helper(true));
    world.assert_gone("a helper that starts anew");
    world.up();
}

#[test]
fn a_deleted_interface_ends_the_session() {
    let Some(world) = World::start("a_deleted_interface_ends_the_session") else { return };
    world.up();
    let delete = || {
        let status = Command::new("ip").args(["link", "del", "hopbox0"]).status();
        status.map_err(|error| error.to_string())
    };
    assert!(world.laptop.run(SOON, delete).unwrap().success());
    world.assert_gone("a deleted interface");
    assert!(world.log().contains("session ends: the interface hopbox0 is gone"), "{}", world.log());
    world.up();
}

#[test]
fn foreground_stays_and_ctrl_c_undoes_it() {
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
    let Some(mut world) = World::start("an_agent_that_is_not_there") else { return };
    world.stop_agent();
    let began = Instant::now();
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let text = said(&output);
    assert!(
        text.contains("does not answer on UDP 51820") && text.contains("\nfix: ssh "),
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
    world.start_agent();
    world.up();
}

#[test]
fn any_process_may_be_killed_at_any_moment_of_up() {
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
    world.vps.run(SOON, send).unwrap();
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
