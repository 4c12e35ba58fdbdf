//! New keys while the host is up: connections stay, and a kill of either side, at whatever moment,
//! leaves two sides that find each other.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::base::key;
use hopbox::host::store;
use hopbox::rpc::API_PORT;
use hopbox_selftest::files::{HOST, VPS_IP};
use hopbox_selftest::machine::SOON;
use hopbox_selftest::programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::shared;
use super::world::*;

const CONFIG: &str = "/var/lib/hopbox-agent/agent.json";

impl World {
    /// As systemd ends it.
    fn ask_agent_to_end(&mut self, n: usize) {
        let agent = self.vps[n].agent.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(agent.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        finish(agent, LIMIT);
    }

    fn agent_key(&self, name: &str) -> [u8; 32] {
        let path = Path::new("/var/lib/hopbox-agent").join(name);
        let read = move || key::load(&path).map(|key| *key).map_err(|error| error.to_string());
        self.vps[0].machine.run(SOON, read).unwrap()
    }

    /// The agent's counters of dropped packets, by reason; those that are zero are left out.
    fn agent_drops(&self) -> Value {
        let mut command = programs::command(&self.programs.agent, USER);
        command.args(["status", "--json"]);
        let ask = move || command.output().map_err(|error| error.to_string());
        let output = self.vps[0].machine.run(SOON, ask).unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(status["running"], true, "{status}");
        status["drops"].clone()
    }

    fn laptop_key(&self) -> [u8; 32] {
        *key::load(&store::key_file(&self.paths, HOST)).unwrap()
    }

    /// Laptops in the agent's file, those that wait included.
    pub fn entries(&self) -> usize {
        let read = || fs::read_to_string(CONFIG).map_err(|error| error.to_string());
        let text = self.vps[0].machine.run(SOON, read).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        config["peers"].as_array().unwrap().len()
    }
}

/// A connection through the tunnel, and its other end.
fn connect(world: &World) -> (TcpStream, TcpStream) {
    let at = SocketAddr::from((VPS_IP, 9000));
    let listen = move || TcpListener::bind(at).map_err(|error| error.to_string());
    let listener = world.vps[0].machine.run(SOON, listen).unwrap();
    let dial = move || TcpStream::connect_timeout(&at, LIMIT).map_err(|error| error.to_string());
    // As long as the caller allows: a lost packet costs seconds.
    let laptop = world.laptop.run(LIMIT, dial).unwrap();
    let (vps, _) = listener.accept().unwrap();
    for stream in [&laptop, &vps] {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
    }
    (laptop, vps)
}

fn carries(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

#[test]
fn both_sides_get_new_keys_and_connections_stay() {
    let _machine = shared();
    let Some(mut world) = World::start("both_sides_get_new_keys") else { return };
    world.up();
    let (mut laptop, mut vps) = connect(&world);
    for round in 0..2 {
        let (agent, own) = (world.agent_key("agent.key"), world.laptop_key());
        carries(&mut laptop, &mut vps, b"before");
        let output = world.hop(&["rotate", "--json"]);
        assert_eq!(output.status.code(), Some(0), "round {round}: {}", said(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["data"]["through"], "the tunnel", "{answer}");
        assert_eq!(answer["data"]["agent_key_changed"], true, "{answer}");
        assert_eq!(answer["data"]["confirmed"], true, "{answer}");
        carries(&mut laptop, &mut vps, b"after");
        carries(&mut vps, &mut laptop, b"and back");
        assert_ne!(world.agent_key("agent.key"), agent);
        assert_eq!(world.agent_key("agent.key.bak"), agent, "the one before is kept");
        assert_ne!(world.laptop_key(), own);
        assert_eq!(world.entries(), 1, "the old pair is forgotten");
        let mode = || {
            let found =
                fs::metadata("/var/lib/hopbox-agent/agent.key.bak").map_err(|e| e.to_string())?;
            Ok(found.permissions().mode() & 0o777)
        };
        assert_eq!(world.vps[0].machine.run(SOON, mode).unwrap(), 0o600);
        let output = world.hop(&["status"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    assert_eq!(world.agent_drops()["wrong_source"], Value::Null, "packets under the new keys");
    asks_again(&world);
    // What is on the disks is what runs.
    world.stop_agent(0);
    world.start_agent(0);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.up();
}

/// Where it cannot go over SSH, and is refused, which comes at once, it asks for a while.
fn asks_again(world: &World) {
    let vps = &world.vps[0].machine;
    let refuse = format!(
        "nft add table inet t && \
         nft 'add chain inet t c {{ type filter hook input priority 0 ; }}' && \
         nft add rule inet t c tcp dport {API_PORT} reject with tcp reset"
    );
    sh(vps, &refuse);
    let mut child = world.spawn(&["rotate"]);
    thread::sleep(Duration::from_secs(2));
    let ended = child.try_wait().unwrap();
    sh(vps, "nft delete table inet t");
    let output = finish(child, LIMIT);
    assert_eq!((ended, output.status.code()), (None, Some(0)), "{}", said(&output));
}

#[test]
fn a_kill_of_either_side_leaves_a_pair_that_works() {
    let _machine = shared();
    let Some(mut world) = World::start("a_kill_of_either_side") else { return };
    world.up();
    // A rotation takes some 30 ms when nothing else runs: moments within it and after it.
    for (round, after_ms) in [0, 3, 6, 10, 15, 22, 30, 45, 70, 110].into_iter().enumerate() {
        let mut child = world.spawn(&["rotate"]);
        thread::sleep(Duration::from_millis(after_ms));
        if round % 2 == 0 {
            child.kill().unwrap();
            let _ = finish(child, LIMIT);
        } else {
            world.stop_agent(0);
            world.start_agent(0);
            let _ = finish(child, LIMIT);
        }
        assert_eq!(world.hop(&["down"]).status.code(), Some(0), "round {round}");
        let output = world.hop(&["up"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "round {round}: {}{}",
            said(&output),
            world.log()
        );
    }
    let output = world.hop(&["rotate"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(world.entries(), 1);
}

#[test]
fn the_agent_outlives_its_helper() {
    let _machine = shared();
    let Some(mut world) = World::start("the_agent_outlives_its_helper") else { return };
    world.up();
    let (mut laptop, mut vps) = connect(&world);
    for _ in 0..2 {
        end(world.vps[0].helper.take());
        carries(&mut laptop, &mut vps, b"packets need no helper");
        world.start_vps_helper(0);
        let log = world.home.join(agent_log(0));
        let limit = Instant::now() + LIMIT;
        while !fs::read_to_string(&log).unwrap().contains("the helper is back") {
            assert!(Instant::now() < limit, "{}", fs::read_to_string(&log).unwrap());
            thread::sleep(Duration::from_millis(20));
        }
        carries(&mut vps, &mut laptop, b"nor its return");
        fs::write(&log, "").unwrap();
    }
    assert_eq!(world.hop(&["status"]).status.code(), Some(0));
}

/// A laptop notices after 15 s that the agent it talks to is another process (R67). An agent that
/// ended cleanly, or lived for a while, knows where it was and shakes hands by itself.
#[test]
fn a_restarted_agent_finds_its_laptops() {
    let _machine = shared();
    let Some(mut world) = World::start("a_restarted_agent_finds_its_laptops") else { return };
    // As a process of that machine sees it.
    let helper = world.vps[0].helper.as_ref().unwrap().id();
    let file = PathBuf::from(format!("/proc/{helper}/root/var/lib/hopbox-agent/agent.endpoints"));
    world.up();
    world.ask_agent_to_end(0);
    goes_on_at_once(&mut world, &file);

    // From another port, which is written down by itself, in time for a kill.
    fs::remove_file(&file).unwrap();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.up();
    let limit = Instant::now() + LIMIT;
    while !file.exists() {
        assert!(Instant::now() < limit, "not written down");
        thread::sleep(Duration::from_millis(50));
    }
    world.stop_agent(0);
    goes_on_at_once(&mut world, &file);
}

/// The agent is started, and the laptop, which knows nothing of it, is heard before it could have
/// noticed.
fn goes_on_at_once(world: &mut World, file: &Path) {
    let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, fs::read_to_string(file).unwrap().lines().count()), (0o600, 1));
    let began = Instant::now();
    world.start_agent(0);
    let has_address = || {
        let bound = || TcpListener::bind((VPS_IP, 9000)).map(drop).map_err(|e| e.to_string());
        world.vps[0].machine.run(SOON, bound).is_ok()
    };
    while !has_address() {
        assert!(began.elapsed() < LIMIT, "the agent does not serve");
        thread::sleep(Duration::from_millis(5));
    }
    let (mut laptop, mut vps) = connect(world);
    carries(&mut laptop, &mut vps, b"to the new process");
    let took = began.elapsed();
    println!("NOTE restart of the agent: usable again after {took:?}");
    assert!(took < Duration::from_secs(14), "{took:?}");
}
