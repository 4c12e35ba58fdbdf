//! Services where no systemd is: a keeper in the background each, and no limits.

use std::fs;
use std::io::{Read, Write};
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

struct Login {
    dir: PathBuf,
    work: Option<Child>,
}

impl Login {
    fn new() -> Login {
        let dir = std::env::temp_dir().join(format!("hopbox-services-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let app = dir.join("hopbox-agent/app");
        fs::create_dir_all(&app).unwrap();
        for dir in [&dir, &dir.join("hopbox-agent"), &app] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let desired = hopbox::workspace::read::manifest(MANIFEST).unwrap().desired;
        fs::write(app.join("desired.json"), desired.text()).unwrap();
        Login { dir, work: None }
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

    /// The lines of an answer.
    fn ask(&self, method: &str, params: Value) -> Vec<Value> {
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
        for service in ["plain", "limited"] {
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
    let mut login = Login::new();
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
