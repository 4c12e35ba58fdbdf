//! The agent's HTTP API against real bytes on loopback: every request gets the right answer, and
//! no bytes whatever do more than get an error or silence.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hopbox::agent::front::api::Api;
use hopbox::agent::joint::Work;
use hopbox::base::key;
use hopbox::http::server::Server;
use hopbox::rpc::VERSION;
use hopbox::rpc::client::{CallError, Client};
use hopbox::rpc::code::Code;
use hopbox::rpc::method::{AgentVersion, Method};
use hopbox::rpc::types::{Nothing, Version};
use hopbox::sys::through::Link;
use serde_json::{Value, json};

mod bridges;
mod browser;
mod containers;
mod crowd;
mod desk;
mod health;
mod migration;
mod ports;
mod probe;
mod run;
mod sandboxes;
mod scripts;
mod services;
mod snap;
mod snap_desk;
mod snap_hostile;
mod snap_locks;
mod snap_remote;
mod streams;
mod work;
mod workspace;

const TOKEN: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=";

/// A server whose tunnel address is loopback, as is the laptop's. Ends with the value.
struct Served {
    at: SocketAddr,
    _server: Server,
}

impl Served {
    fn start() -> Served {
        Served::at(Ipv4Addr::LOCALHOST)
    }

    fn at(ip: Ipv4Addr) -> Served {
        // Nobody listens there.
        Served::with(ip, Work::at(Path::new("/nowhere")))
    }

    fn with(ip: Ipv4Addr, work: Work) -> Served {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let SocketAddr::V4(own) = at else { panic!("{at}") };
        let api = Arc::new(Api::new(own, Arc::new(desk::OneLaptop(work))));
        Served { at, _server: Server::start(listener, api).unwrap() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, says that no more will come, and returns what came back.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have refused and closed before all is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        String::from_utf8(answer).expect("an answer is UTF-8")
    }

    /// The same, but what may come later is waited for: whoever says that no more comes has gone
    /// where a stream is concerned.
    fn send_and_wait(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Status and JSON body of the answer to a request.
    fn ask(&self, request: &str) -> (u16, Value, String) {
        let answer = self.send(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
        (status, serde_json::from_str(body).unwrap(), head.to_owned())
    }
}

fn rpc(body: &str, fields: &str) -> String {
    let length = body.len();
    format!(
        "POST /rpc HTTP/1.1\r\nHost: mybox.hop\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn with_token(body: &str) -> String {
    rpc(body, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

#[test]
fn health_is_exactly_what_the_specification_says() {
    let served = Served::start();
    let port = served.at.port();
    for host in
        ["127.0.0.1", &format!("127.0.0.1:{port}"), "mybox.hop", &format!("MYBOX.hop:{port}")]
    {
        let (status, body, head) =
            served.ask(&format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(status, 200, "{host}");
        let version = env!("CARGO_PKG_VERSION");
        let expected = json!({
            "status": "ok", "tunnel": true, "tunnel_mode": "kernel", "local_ip": "127.0.0.1",
            "version": version,
        });
        assert_eq!(body, expected);
        assert!(head.contains("Connection: close") && head.contains("no-store"), "{head}");
    }
}

#[test]
fn requests_that_are_refused() {
    let served = Served::start();
    let health = |fields: &str| format!("GET /health HTTP/1.1\r\n{fields}\r\n");
    let call = r#"{"method":"agent.version"}"#;
    let long = "x".repeat(9000);
    let table: Vec<(String, u16, &str)> = vec![
        (health(""), 400, "bad_request"),
        (health("Host: evil.example\r\n"), 403, "host_refused"),
        (health("Host: localhost:4200\r\n"), 403, "host_refused"),
        // A page of a network whose DNS gives out .hop names, and has one of them lead here.
        (health("Host: evil.hop\r\n"), 403, "host_refused"),
        (health("Host: evil.hop\r\nHost: mybox.hop\r\n"), 400, "bad_request"),
        (health("Host: mybox.hop:1\r\n"), 403, "host_refused"),
        (health("Host: mybox.hop.\r\n"), 403, "host_refused"),
        (health("Host:\r\n"), 403, "host_refused"),
        (health("Host: mybox.hop, evil.hop\r\n"), 403, "host_refused"),
        (health("Host: evil.hop\r\nX-Forwarded-Host: mybox.hop\r\n"), 403, "host_refused"),
        (
            "GET http://mybox.hop/health HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(),
            400,
            "bad_request",
        ),
        (
            "GET http://mybox.hop/health HTTP/1.1\r\nHost: evil.hop\r\n\r\n".into(),
            400,
            "bad_request",
        ),
        ("GET /health HTTP/1.0\r\n\r\n".into(), 400, "bad_request"),
        // It is nobody's way to other ports.
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 400, "bad_request"),
        ("GET http://127.0.0.1:22/ HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 400, "bad_request"),
        ("GET /http://127.0.0.1:22/ HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 404, "not_found"),
        (health("Host: mybox.hop\r\nOrigin:\r\n"), 403, "origin_refused"),
        (health("Host: mybox.hop\r\norigin: http://mybox.hop:4200\r\n"), 403, "origin_refused"),
        (
            rpc(call, &format!("Authorization: Bearer {TOKEN}\r\n")).replace("mybox", "evil"),
            403,
            "host_refused",
        ),
        (health("Host: mybox.hop\r\nHost: mybox.hop\r\n"), 400, "bad_request"),
        (health("Host: mybox.hop\r\nOrigin: http://mybox.hop\r\n"), 403, "origin_refused"),
        (health("Host: mybox.hop\r\nOrigin: null\r\n"), 403, "origin_refused"),
        ("POST /health HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 405, "method_not_allowed"),
        ("GET /rpc HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 405, "method_not_allowed"),
        ("OPTIONS /rpc HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 405, "method_not_allowed"),
        ("GET / HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 404, "not_found"),
        ("GET /health/ HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 404, "not_found"),
        ("GET //health HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 404, "not_found"),
        ("GET /%68ealth HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".into(), 404, "not_found"),
        (rpc(call, ""), 401, "unauthorized"),
        (rpc(call, "Authorization: Bearer\r\n"), 401, "unauthorized"),
        (rpc(call, "Authorization: Bearer wrong\r\n"), 401, "unauthorized"),
        (rpc(call, &format!("Authorization: Basic {TOKEN}\r\n")), 401, "unauthorized"),
        (rpc(call, &format!("Authorization: Bearer {TOKEN}x\r\n")), 401, "unauthorized"),
        (rpc(call, &format!("Authorization: Bearer {}\r\n", &TOKEN[..43])), 401, "unauthorized"),
        (
            rpc(call, &format!("Authorization: Bearer {TOKEN}\r\nOrigin: x\r\n")),
            403,
            "origin_refused",
        ),
        (
            format!(
                "POST /rpc HTTP/1.1\r\nHost: mybox.hop\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            ),
            411,
            "length_required",
        ),
        (
            format!(
                "POST /rpc HTTP/1.1\r\nHost: mybox.hop\r\nAuthorization: Bearer {TOKEN}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            501,
            "not_implemented",
        ),
        (
            format!(
                "POST /rpc HTTP/1.1\r\nHost: mybox.hop\r\nAuthorization: Bearer {TOKEN}\r\n\
                 Content-Length: 1048577\r\n\r\n"
            ),
            413,
            "too_large",
        ),
        (with_token(call).replace("Content-Length: 26", "Content-Length: 27"), 400, "bad_request"),
        (with_token(""), 400, "bad_request"),
        (with_token("[]"), 400, "bad_request"),
        (with_token("{\"method\":1}"), 400, "bad_request"),
        (with_token(r#"{"method":"agent.version","method":"agent.version"}"#), 400, "bad_request"),
        (with_token(r#"{"method":"agent.version","id":1}"#), 400, "bad_request"),
        (with_token(&"[".repeat(100_000)), 400, "bad_request"),
        (with_token(r#"{"method":"agent.fly"}"#), 200, "unknown_method"),
        (with_token(r#"{"method":"agent.version","params":[]}"#), 200, "bad_params"),
        (with_token(r#"{"method":"agent.version","params":{"a":1}}"#), 200, "bad_params"),
        (with_token(r#"{"method":"peers.list","params":{"a":1}}"#), 200, "bad_params"),
        (with_token(r#"{"method":"peers.add","params":{"name":"a"}}"#), 200, "bad_params"),
        (
            with_token(r#"{"method":"peers.add","params":{"name":"a","public_key":"short"}}"#),
            200,
            "bad_params",
        ),
        (with_token(r#"{"method":"peers.remove"}"#), 200, "bad_params"),
        (with_token(r#"{"method":"peers.remove","params":{"peer":"laptop"}}"#), 200, "conflict"),
        (with_token(r#"{"method":"peers.remove","params":{"peer":"ghost"}}"#), 200, "no_such_peer"),
        (with_token(r#"{"method":"keys.rotate","params":{"old":"x"}}"#), 200, "bad_params"),
        // Another laptop's keys are not this one's to rotate.
        (with_token(&rotate(&[8; 32], Some(&[9; 32]))), 200, "conflict"),
        (with_token(r#"{"method":"agent.reload"}"#), 200, "unknown_method"),
        ("GET /health HTTP/2.0\r\nHost: mybox.hop\r\n\r\n".into(), 505, "not_implemented"),
        (format!("GET /{long} HTTP/1.1\r\nHost: mybox.hop\r\n\r\n"), 431, "too_large"),
        (health(&format!("Host: mybox.hop\r\n{}", "a: b\r\n".repeat(64))), 431, "too_large"),
        ("GET /health HTTP/1.1\r\nHost: mybox.hop\r\n".into(), 400, "bad_request"),
        ("\u{16}\u{3}\u{1}\r\n\r\n".into(), 400, "bad_request"),
    ];
    for (request, status, code) in table {
        let (seen, body, head) = served.ask(&request);
        let shown = &request[..request.len().min(200)];
        assert_eq!((seen, &body["error"]["code"]), (status, &code.into()), "{shown:?}");
        assert!(body["error"]["message"].is_string() && !body.to_string().contains(TOKEN));
        assert_eq!(head.contains("\r\nAllow: "), status == 405, "{shown:?}");
        assert_eq!(head.contains("\r\nWWW-Authenticate: Bearer"), status == 401, "{shown:?}");
    }
}

fn rotate(new: &[u8; 32], old: Option<&[u8; 32]>) -> String {
    let mut params = json!({"public_key": key::encode(new).as_str()});
    if let Some(old) = old {
        params["old"] = json!(key::encode(old).as_str());
    }
    json!({"method": "keys.rotate", "params": params}).to_string()
}

#[test]
fn a_laptop_is_told_of_its_peers_and_gets_new_keys() {
    let served = Served::start();
    let (_, answer, _) = served.ask(&with_token(r#"{"method":"peers.list"}"#));
    assert_eq!(answer["result"]["you"], key::encode(&desk::LAPTOP).as_str());
    assert!(!answer.to_string().contains(TOKEN));
    let (_, answer, _) = served.ask(&with_token(r#"{"method":"agent.status"}"#));
    assert_eq!(answer["result"]["heard"], true);
    for old in [None, Some(&desk::LAPTOP)] {
        let (_, answer, _) = served.ask(&with_token(&rotate(&[8; 32], old)));
        assert_eq!(answer["result"]["laptop_address"], "10.10.0.1", "{answer}");
        assert!(answer["result"]["preshared_key"].is_string());
    }
}

/// Here the agent is this program.
#[test]
fn a_laptop_is_told_which_program_answers_it() {
    let served = Served::start();
    let (_, answer, _) = served.ask(&with_token(r#"{"method":"agent.running"}"#));
    let sum = Command::new("b2sum").arg(std::env::current_exe().unwrap()).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let own = &answer["result"]["programs"][0];
    assert_eq!((&own["name"], &own["version"]), (&json!("hop-agent"), &json!(VERSION)), "{answer}");
    assert_eq!(own["b2sum"].as_str(), sum.split(' ').next(), "{answer}");
}

/// A method of a later agent.
struct Fly;

impl Method for Fly {
    const NAME: &'static str = "agent.fly";
    type Params = Nothing;
    type Answer = Nothing;
}

#[test]
fn our_own_client_is_served() {
    let served = Served::start();
    let port = served.at.port();
    let limit = Duration::from_secs(5);
    let ifindex = nix::net::if_::if_nametoindex("lo").unwrap();
    let link = Link { ifindex, local: Ipv4Addr::LOCALHOST };
    let client = Client::with_token(link, Ipv4Addr::LOCALHOST, port, TOKEN);
    assert_eq!(client.health(limit).unwrap().local_ip, Ipv4Addr::LOCALHOST);
    let version = client.call(AgentVersion, &Nothing, limit).unwrap();
    assert_eq!(version, Version { version: env!("CARGO_PKG_VERSION").to_owned(), work: None });
    match client.call(Fly, &Nothing, limit) {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::UnknownMethod),
        other => panic!("{other:?}"),
    }
    match Client::through(link, Ipv4Addr::LOCALHOST, port).call(AgentVersion, &Nothing, limit) {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::Unauthorized),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_expects_to_be_asked_is_asked() {
    let served = Served::start();
    let body = r#"{"method":"agent.version"}"#;
    let request = rpc(body, &format!("Authorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\n"));
    let answer = served.send(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    let unknown = rpc(body, &format!("Authorization: Bearer {TOKEN}\r\nExpect: tea\r\n"));
    assert_eq!(served.ask(&unknown).0, 417);
}

#[test]
fn a_request_in_single_bytes_is_the_same_request() {
    let served = Served::start();
    let mut stream = served.connect();
    stream.set_nodelay(true).unwrap();
    for byte in with_token(r#"{"method":"agent.version"}"#).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// A small generator, so that a failing seed can be tried again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// A request with some bytes changed, cut out, doubled or put in.
fn mutated(dice: &mut Dice, seeds: &[String]) -> Vec<u8> {
    let mut bytes = seeds[dice.roll(seeds.len())].clone().into_bytes();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(bytes.len());
        match dice.roll(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll(256) as u8),
            2 => {
                let piece = bytes[at..(at + dice.roll(40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => drop(bytes.drain(at..(at + dice.roll(20)).min(bytes.len()))),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.roll(256) as u8;
                }
            }
        }
    }
    bytes
}

#[test]
fn any_bytes_get_an_answer_or_silence() {
    // A panic in a connection's thread would only end that thread here, but the program in use.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if [Some("http"), Some("call")].contains(&thread::current().name()) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        usual(info);
    }));
    let served = Served::start();
    let seeds = [
        "GET /health HTTP/1.1\r\nHost: mybox.hop\r\n\r\n".to_owned(),
        with_token(r#"{"method":"agent.version","params":{}}"#),
        rpc("{}", "Expect: 100-continue\r\nOrigin: x\r\n"),
        "\0".repeat(300),
    ];
    for seed in 1..=1500u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let answer = served.send(&mutated(&mut dice, &seeds));
        let fine = answer.is_empty() || answer.starts_with("HTTP/1.1 ");
        assert!(fine && !answer.contains(TOKEN), "seed {seed}: {answer:?}");
    }
    assert_eq!(served.ask(&seeds[0]).0, 200, "the server still serves");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

#[test]
fn the_program_explains_itself() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hop-agent")).args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let version = format!("hop-agent {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["version"]), (Some(0), version, String::new()));
    assert!(run(&["--help"]).1.contains("usage: hop-agent"));
    for words in [&["sreve"][..], &["serve", "--colour"], &["version", "x"], &["--config", "x"]] {
        let (code, _, stderr) = run(words);
        assert_eq!(code, Some(2), "{words:?}");
        assert!(stderr.ends_with("fix: /usr/libexec/hopbox/hop-agent --help\n"), "{stderr}");
    }
    let (code, _, stderr) = run(&["serve", "--config", "/nowhere/agent.json"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nowhere/agent.json"), "{stderr}");
}
