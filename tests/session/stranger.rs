//! Somebody else has the agent's address: a gateway or a machine in the LAN that answers as an
//! agent does, another program of this machine, another user in a directory or at a socket of ours.
//! Nothing that is secret reaches them, and nothing that they say is believed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::base::key;
use hopbox::host::store;
use hopbox::rpc::client::Client;
use hopbox::rpc::method::PeersList;
use hopbox::rpc::types::Nothing;
use hopbox::rpc::{API_PORT, VERSION};
use hopbox::session::through;
use hopbox::sys::through::Link;
use hopbox_selftest::files::{HOST, VPS_IP};
use hopbox_selftest::machine::{self, Machine, SOON};
use hopbox_selftest::programs;
use serde_json::{Value, json};

use super::shared;
use super::world::*;

/// Every byte that a stranger was sent.
type Heard = Arc<Mutex<Vec<u8>>>;

/// A key and a token that are nobody's.
const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// Serves as an agent would, on this listener, and keeps what it hears.
fn impostor(listener: TcpListener) -> Heard {
    let heard = Heard::default();
    let kept = heard.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = kept.clone();
            thread::spawn(move || drop(answer(stream, &kept)));
        }
    });
    heard
}

fn answer(mut stream: TcpStream, heard: &Heard) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut asked = Vec::new();
    // A question is short, and whoever asks waits.
    let _ = (&mut stream).take(64 * 1024).read_to_end(&mut asked);
    heard.lock().unwrap().extend(&asked);
    let text = String::from_utf8_lossy(&asked).into_owned();
    let is = |method: &str| text.contains(method);
    let result = match () {
        () if is("keys.rotate") => json!({
            "agent_public_key": KEY, "preshared_key": KEY, "token": KEY,
            "laptop_address": "10.10.0.1",
        }),
        () if is("peers.list") => json!({"peers": [{"name": "mallory"}], "you": KEY}),
        () if is("peers.remove") => json!({"name": "mallory"}),
        () => json!({"version": VERSION}),
    };
    let body = match text.starts_with("GET") {
        true => json!({"status": "ok", "tunnel": true, "local_ip": VPS_IP, "version": VERSION}),
        false => json!({"result": result}),
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A machine beside the laptop, which the laptop takes for its gateway to 10.10.0.0/16, and what
/// it hears on the agent's address and port.
fn gateway(world: &World) -> (Machine, Heard) {
    let stranger = Machine::start("stranger", Vec::new()).unwrap();
    let (at, there) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    machine::join_as(&world.laptop, ("lan", at), &stranger, there, 24).unwrap();
    sh(&stranger, "ip address add 10.10.0.2/32 dev lo");
    world.sh("ip route add 10.10.0.0/16 via 192.0.2.2");
    let listen = || TcpListener::bind((VPS_IP, API_PORT)).map_err(|error| error.to_string());
    let listener = stranger.run(SOON, listen).unwrap();
    (stranger, impostor(listener))
}

/// The files that an answer could change.
fn kept(world: &World) -> (String, [u8; 32]) {
    let host = fs::read_to_string(world.paths.host_file(HOST)).unwrap();
    (host, *key::load(&store::key_file(&world.paths, HOST)).unwrap())
}

fn token(world: &World) -> String {
    let host: Value =
        serde_json::from_str(&fs::read_to_string(world.paths.host_file(HOST)).unwrap()).unwrap();
    host["token"].as_str().unwrap().to_owned()
}

/// Every command that asks an agent something.
const QUESTIONS: [&[&str]; 6] = [
    &["rotate"],
    &["host", "peers"],
    &["host", "revoke", "mallory", "--yes"],
    &["ping", "-c", "1"],
    &["doctor"],
    &["status"],
];

/// It failed, or told what is true whoever listens: that the host is down.
fn is_not_believed(output: &Output) -> bool {
    !output.status.success() || said(output).contains("mybox is down")
}

fn ask_all(world: &World) -> Vec<Output> {
    QUESTIONS.iter().map(|words| world.hop(words)).collect()
}

#[test]
fn with_the_session_down_nobody_is_told_a_secret_or_believed() {
    let _machine = shared();
    let Some(world) = World::start("with_the_session_down_nobody_is_told") else { return };
    let before = kept(&world);
    let (_stranger, heard) = gateway(&world);
    // It is there, and answers whoever asks.
    let ask = || {
        let asked = Client::anybody(&VPS_IP.to_string(), VPS_IP, API_PORT).health(SOON);
        asked.map(|health| health.version).map_err(|error| error.to_string())
    };
    assert_eq!(world.laptop.run(SOON * 2, ask).unwrap(), VERSION);
    heard.lock().unwrap().clear();
    let outputs = ask_all(&world);
    let sent = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    println!("the stranger heard {} bytes", sent.len());
    for output in &outputs {
        println!("{}", said(output));
        assert!(is_not_believed(output) && !said(output).contains("locked out"));
    }
    assert!(!sent.contains(&token(&world)), "the token was told: {sent}");
    assert_eq!(sent, "", "nothing at all is asked of a stranger");
    assert_eq!(kept(&world), before, "nothing of what it said was kept");
    // The same after a session that was killed, whose files still say that it is up.
    world.up();
    hopbox::sys::process::kill_and_reap(world.session().unwrap()).unwrap();
    world.assert_gone("killed");
    ask_all(&world);
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "");
    assert_eq!(kept(&world), before);
}

#[test]
fn with_the_session_up_other_ways_to_its_address_lead_nobody_astray() {
    let _machine = shared();
    let Some(world) = World::start("with_the_session_up_other_ways") else { return };
    let (_stranger, heard) = gateway(&world);
    world.up();
    // A rule takes what this user sends to the stranger, before the tunnel's route is asked.
    world.sh("ip route add 10.10.0.2 via 192.0.2.2 table 77");
    world.sh("ip rule add priority 5 uidrange 4243-4243 table 77");
    let before = kept(&world);
    for words in [&["rotate"][..], &["host", "peers"], &["ping", "-c", "1"]] {
        let output = world.hop(words);
        assert!(output.status.success(), "through the tunnel all the same: {}", said(&output));
        assert!(!said(&output).contains("mallory"), "{}", said(&output));
    }
    assert_ne!(kept(&world), before, "the agent's own answer was kept");
    world.until("asked", LIMIT, |status| {
        status["layers"][4]["ok"] == true && status["broken"] == "route"
    });
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "");
    world.sh("ip rule del priority 5");

    // One for all: what comes back through the tunnel is dropped as if it were forged, then.
    world.sh("ip rule add priority 5 table 77");
    let before = kept(&world);
    for words in [QUESTIONS[0], QUESTIONS[2]] {
        let output = world.hop(words);
        assert!(!output.status.success(), "{}", said(&output));
    }
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "");
    assert_eq!(kept(&world), before);
    world.sh("ip rule del priority 5");

    // The address is one of this machine, and anybody's program listens there.
    world.sh("ip address add 10.10.0.2/32 dev lo");
    let listen = || TcpListener::bind((VPS_IP, API_PORT)).map_err(|error| error.to_string());
    let local = impostor(world.laptop.run(SOON, listen).unwrap());
    let before = kept(&world);
    let output = world.hop(QUESTIONS[2]);
    assert!(!said(&output).contains("locked out"), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&local.lock().unwrap()), "");
    assert_eq!(kept(&world), before);
}

/// A session goes down between the question whether it is up and the call; another device has its
/// name and its addresses by then.
#[test]
fn a_link_leads_to_its_own_interface_or_nowhere() {
    let _machine = shared();
    let Some(world) = World::start("a_link_leads_to_its_own_interface") else { return };
    world.up();
    let host = store::load(&world.paths, HOST).unwrap();
    let link = through::link(&world.paths, &host).unwrap();
    let call = |world: &World, link: Link| {
        let token = token(world);
        let call = move || {
            let client = Client::with_token(link, VPS_IP, API_PORT, &token);
            let limit = Duration::from_secs(2);
            client.call(PeersList, &Nothing, limit).map_err(|error| error.to_string())
        };
        world.laptop.run(SOON, call)
    };
    assert!(call(&world, link).is_ok());
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(through::link(&world.paths, &host), None);
    let (_stranger, heard) = gateway(&world);
    world.sh("ip link set lan down && ip link set lan name hopbox0 && ip link set hopbox0 up
         ip address add 10.10.0.1/32 dev hopbox0 && ip route replace 10.10.0.2 via 192.0.2.2");
    let outcome = call(&world, link);
    println!("{outcome:?}");
    assert!(outcome.is_err());
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "");
}

/// A user that is neither ours nor root.
const OTHER: u32 = 4244;

/// Listens at a path as another user, says to every question that a host is up, and writes what it
/// hears into a file. Ends with this value.
struct Squatter {
    child: Child,
    heard: PathBuf,
}

const SQUAT: &str = r#"
import json, os, socket, sys
path, heard, facts = sys.argv[1:]
os.umask(0)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(16)
open(heard, "wb").close()
while True:
    stream, _ = listener.accept()
    stream.settimeout(0.3)
    try:
        asked = stream.recv(4096)
        open(heard, "ab").write(asked)
        if asked:
            stream.sendall(facts.encode() + b"\n")
    except OSError:
        pass
    stream.close()
"#;

impl Squatter {
    fn start(world: &World, path: &Path) -> Squatter {
        let facts = json!({
            "host": HOST, "name": "mybox.hop", "interface": "lo", "ifindex": 1, "pid": 1,
            "endpoint": "192.0.2.2:1", "local_ip": "10.10.0.1", "peer_ip": "10.10.0.2",
            "agent_version": VERSION, "handshake_us": 1, "answered_us": 1, "total_us": 1,
            "state": "up", "layers": [],
        });
        let heard = scratch().join("heard");
        chown(heard.parent().unwrap(), Some(OTHER), Some(OTHER)).unwrap();
        let mut command = programs::command(Path::new("/usr/bin/python3"), Some(OTHER));
        command.args(["-c", SQUAT]).arg(path).arg(&heard);
        command.arg(json!({"ok": true, "data": facts}).to_string());
        let start = move || command.spawn().map_err(|error| error.to_string());
        let child = world.laptop.run(SOON, start).unwrap();
        let end = Instant::now() + LIMIT;
        while !heard.exists() {
            assert!(Instant::now() < end, "nobody listens at {}", path.display());
            thread::sleep(Duration::from_millis(5));
        }
        Squatter { child, heard }
    }

    fn heard(&self) -> String {
        fs::read_to_string(&self.heard).unwrap()
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.heard.parent().unwrap());
    }
}

/// An empty directory of another user, which all may enter.
fn lair(path: &Path) {
    let _ = fs::remove_dir_all(path);
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    chown(path, Some(OTHER), Some(OTHER)).unwrap();
}

/// With another runtime directory, or none.
fn hop_in(world: &World, runtime: Option<&Path>, words: &[&str]) -> Output {
    let mut command = world.command(&world.programs.hop, words);
    match runtime {
        Some(dir) => command.env("XDG_RUNTIME_DIR", dir),
        None => command.env_remove("XDG_RUNTIME_DIR"),
    };
    let start = move || command.spawn().map_err(|error| error.to_string());
    finish(world.laptop.run(SOON, start).unwrap(), LIMIT)
}

#[test]
fn a_session_is_this_users_or_none() {
    let _machine = shared();
    let Some(world) = World::start("a_session_is_this_users_or_none") else { return };
    let before = kept(&world);
    let user = USER.unwrap();
    // In wait below /tmp; behind a link; and in a directory of ours, where only root could put it.
    let fallback = PathBuf::from(format!("/tmp/hopbox-{user}"));
    let (linked, own) = (world.home.join("linked"), world.home.join("own"));
    lair(&fallback);
    lair(&world.home.join("lair"));
    for dir in [&linked, &own, &own.join("hopbox")] {
        fs::create_dir(dir).unwrap();
        chown(dir, USER, USER).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    symlink(world.home.join("lair"), linked.join("hopbox")).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let places = [
        (None, fallback.join("mybox.sock"), fallback.join("mybox.sock")),
        (Some(linked.as_path()), world.home.join("lair/mybox.sock"), linked.join("hopbox")),
        (Some(own.as_path()), fallback.join("own.sock"), own.join("hopbox/mybox.sock")),
    ];
    for (runtime, at, shown) in &places {
        let squatter = Squatter::start(&world, at);
        if shown.ends_with("own/hopbox/mybox.sock") {
            fs::rename(at, shown).unwrap();
        }
        for words in QUESTIONS {
            let output = hop_in(&world, *runtime, words);
            assert!(is_not_believed(&output), "{words:?}: {}", said(&output));
        }
        let output = hop_in(&world, *runtime, &["status", "--json"]);
        println!("{}: {}", shown.display(), said(&output));
        let output = hop_in(&world, *runtime, &["down"]);
        println!("{}: {}", shown.display(), said(&output));
        let output = hop_in(&world, *runtime, &["up"]);
        assert_eq!(squatter.heard(), "", "{}", shown.display());
        // Whoever lies in wait keeps nobody from a session of their own.
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(!said(&output).contains("already"), "{}", said(&output));
        assert_eq!(hop_in(&world, *runtime, &["down"]).status.code(), Some(0));
        assert_eq!((world.traces(), squatter.heard().as_str()), (0, ""));
        let _ = fs::remove_file(shown);
    }
    assert_eq!(kept(&world), before);
    fs::remove_dir_all(&fallback).unwrap();
}

#[test]
fn a_helper_is_roots_or_none() {
    let _machine = shared();
    let Some(mut world) = World::start("a_helper_is_roots_or_none") else { return };
    world.kill_helper();
    let lair_at = world.home.join("lair");
    lair(&lair_at);
    let named = lair_at.join("helper.sock");
    let squatter = Squatter::start(&world, &named);
    for words in [&["up"][..], &["doctor"], &["bugreport"]] {
        let mut command = world.command(&world.programs.hop, words);
        command.env("HOPBOX_HELPER_SOCKET", &named);
        let start = move || command.spawn().map_err(|error| error.to_string());
        let output = finish(world.laptop.run(SOON, start).unwrap(), LIMIT);
        println!("{}", said(&output));
        assert!(said(&output).contains("user 4244 listens"), "{}", said(&output));
    }
    // In the usual place, which root would have had to give away.
    world.sh("rm -rf /run/hopbox && mkdir -m 777 /run/hopbox");
    let usual = Squatter::start(&world, Path::new("/run/hopbox/helper.sock"));
    for words in [&["up"][..], &["doctor"], &["bugreport"]] {
        let output = world.hop(words);
        assert!(said(&output).contains("user 4244 listens"), "{}", said(&output));
    }
    assert_eq!((squatter.heard(), usual.heard()), (String::new(), String::new()));
}
