//! Services where no systemd is: a keeper in the background each, and no limits.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const MANIFEST: &str = r#"
name: app
services:
  plain: {type: native, command: "echo up; exec sleep 1000"}
  limited: {type: native, command: "exec sleep 1000", limits: {pids: 20}}
"#;
/// `flood` goes on as soon as all that it says is taken.
const TALKERS: &str = r#"
name: app
services:
  talk: {type: native, command: "printf 'a\\033[2Jb\\n'; echo err >&2; exec sleep 1000"}
  flood:
    type: native
    command: "seq -f %0300.0f 40000; touch \"$OVER\"; exec sleep 1000"
    env: {OVER: OVER_PATH}
  broken: {type: native, command: "echo why >&2; exit 3", restart: never}
"#;

struct Login {
    dir: PathBuf,
    work: Option<Child>,
    services: &'static [&'static str],
}

impl Login {
    fn new(name: &str, manifest: &str, services: &'static [&'static str]) -> Login {
        let name = format!("hopbox-services-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        let app = dir.join("hopbox-agent/app");
        fs::create_dir_all(&app).unwrap();
        for dir in [&dir, &dir.join("hopbox-agent"), &app] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let over = dir.join("over").display().to_string();
        let manifest = manifest.replace("OVER_PATH", &over);
        let desired = hopbox::workspace::read::manifest(&manifest).unwrap().desired;
        fs::write(app.join("desired.json"), desired.text()).unwrap();
        Login { dir, work: None, services }
    }

    fn start_work(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hop-agent"));
        command.arg("work").arg("--config").arg(self.dir.join("agent.json"));
        command.env("XDG_STATE_HOME", &self.dir).stdin(Stdio::null()).stderr(Stdio::null());
        self.work = Some(command.spawn().unwrap());
    }

    fn kill_work(&mut self) {
        if let Some(mut work) = self.work.take() {
            work.kill().unwrap();
            work.wait().unwrap();
        }
    }

    /// Where the answer will come.
    fn open(&self, method: &str, params: Value) -> UnixStream {
        let end = Instant::now() + SOON;
        let mut stream = loop {
            match UnixStream::connect(self.dir.join("agent.work.sock")) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "nobody listens: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(SOON)).unwrap();
        writeln!(stream, "{}", json!({"method": method, "params": params})).unwrap();
        stream
    }

    /// The lines of an answer.
    fn ask(&self, method: &str, params: Value) -> Vec<Value> {
        let mut stream = self.open(method, params);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn act(&self, what: &str, service: &str) -> Vec<Value> {
        let name = json!({"workspace": "app", "service": service});
        self.ask(&format!("services.{what}"), name)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        for service in self.services {
            if Path::new(&self.dir).join("agent.work.sock").exists() && self.work.is_some() {
                self.act("stop", service);
            }
        }
        self.kill_work();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn without_systemd_a_service_is_kept_in_the_background() {
    if Path::new("/run/systemd/system").exists() {
        return eprintln!("SKIP without_systemd_a_service_is_kept: this machine has systemd");
    }
    let mut login = Login::new("alone", MANIFEST, &["plain", "limited"]);
    login.start_work();
    let lines = login.act("start", "plain");
    let view = &lines[lines.len() - 2]["event"];
    assert_eq!((&view["state"], &view["degraded"]), (&json!("running"), &json!([])), "{lines:?}");
    // What limits it has could not be kept: it is not started.
    let lines = login.act("start", "limited");
    let error = &lines[lines.len() - 1]["error"];
    assert_eq!(error["code"], "failed", "{lines:?}");
    assert!(error["message"].as_str().unwrap().contains("systemd"), "{lines:?}");

    for _ in 0..10 {
        login.kill_work();
        login.start_work();
    }
    let listed = login.ask("services.list", json!({}));
    let services = listed[0]["result"]["services"].as_array().unwrap();
    let plain = services.iter().find(|view| view["service"] == "plain").unwrap();
    assert_eq!((&plain["pid"], &plain["generation"]), (&view["pid"], &json!(1)), "{listed:?}");

    let lines = login.act("stop", "plain");
    let stopped = &lines[lines.len() - 2]["event"];
    assert_eq!((&stopped["state"], &stopped["wanted"]), (&json!("stopped"), &json!(false)));
    let pid = view["pid"].as_u64().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "it runs on");
}

/// The next event of a stream.
fn event(from: &mut BufReader<UnixStream>) -> Value {
    loop {
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "it ended");
        if line != "\n" {
            return serde_json::from_str::<Value>(&line).unwrap()["event"].take();
        }
    }
}

fn name(service: &str) -> Value {
    json!({"workspace": "app", "service": service})
}

#[test]
fn what_services_say_is_seen_and_nobody_waits_for_who_looks() {
    if Path::new("/run/systemd/system").exists() {
        return eprintln!("SKIP what_services_say_is_seen: this machine has systemd");
    }
    let mut login = Login::new("logs", TALKERS, &["talk", "flood", "broken"]);
    login.start_work();
    // Two that look before there is anything; one of them reads nothing.
    let params = json!({"services": [name("flood")], "follow": true});
    let slow = login.open("logs.stream", params.clone());
    let mut watch = BufReader::new(login.open("services.watch", json!({})));
    for _ in 0..3 {
        assert_eq!(event(&mut watch)["state"], "new");
    }
    login.act("start", "flood");
    let end = Instant::now() + 2 * SOON;
    while !login.dir.join("over").exists() {
        assert!(Instant::now() < end, "it waits for who does not read");
        thread::sleep(Duration::from_millis(20));
    }
    while event(&mut watch)["state"] != "running" {}
    // Each line once and none missing, through a rotation and then as they come.
    let mut slow = BufReader::new(slow);
    let mut expected = 1;
    while expected <= 40_000 {
        let line = event(&mut slow);
        if line["stream"] == "out" {
            let number: u32 = line["text"].as_str().unwrap().parse().unwrap();
            assert_eq!(number, expected, "{line}");
            expected += 1;
        }
    }
    assert!(login.dir.join("hopbox-agent/app/services/flood/log.1").exists(), "no rotation");
    drop(slow);

    login.act("start", "talk");
    let both = [name("talk"), name("flood")];
    let said = |lines: &[Value], stream: &str, text: &str| {
        lines.iter().map(|line| &line["event"]).any(|event| {
            event["service"] == "talk" && event["stream"] == stream && event["text"] == text
        })
    };
    let end = Instant::now() + SOON;
    let lines = loop {
        let asked = json!({"services": both, "last": 3, "follow": false});
        let lines = login.ask("logs.stream", asked);
        let whole = said(&lines, "out", "a\u{1b}[2Jb") && said(&lines, "err", "err");
        if whole && lines.len() == 8 {
            break lines;
        }
        assert!(Instant::now() < end, "{lines:?}");
    };
    assert_eq!(lines.last().unwrap(), &json!({"result": {}}));

    login.act("start", "broken");
    let end = Instant::now() + SOON;
    let views = loop {
        let views = login.ask("services.list", json!({}))[0]["result"]["services"].take();
        if views.as_array().unwrap().iter().any(|view| view["state"] == "failed") {
            break views;
        }
        assert!(Instant::now() < end, "{views}");
    };
    let view = |service: &str| {
        views.as_array().unwrap().iter().find(|view| view["service"] == service).unwrap().clone()
    };
    let broken = view("broken");
    let told = (&broken["last_lines"], &broken["last_exit"]);
    assert_eq!(told, (&json!(["why"]), &json!({"code": 3})), "{broken}");
    let talk = view("talk");
    assert!(talk["memory_bytes"].as_u64().unwrap() > 0 && talk["cpu_ms"].is_u64(), "{talk}");
    assert_eq!((&talk["ports"], &talk["last_lines"]), (&json!([]), &json!([])));
    let refused = login.ask("logs.stream", json!({"services": [name("none")], "follow": true}));
    assert_eq!(refused[0]["error"]["code"], "not_found", "{refused:?}");
}
