//! Services that have a check, and those that wait for them: with real processes and listeners, and
//! an agent that is killed on the way. Without systemd, as on most machines of tests.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::work::Worker;

const SOON: Duration = Duration::from_secs(60);
const BRIEF: Duration = Duration::from_millis(700);

/// An agent, and a workspace with these services. Nothing where services would be systemd's.
fn workspace(name: &str, services: &str) -> Option<Workspace> {
    if Path::new("/run/systemd/system").exists() {
        eprintln!("SKIP {name}: this machine has systemd");
        return None;
    }
    let worker = Worker::running(name);
    let app = worker.dir.join("hopbox-agent/app");
    fs::create_dir_all(&app).unwrap();
    for dir in [&worker.dir.join("hopbox-agent"), &app] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let dir = worker.dir.display().to_string();
    let text = format!("name: app\nenv: {{D: {dir}}}\nservices:\n{services}");
    let desired = hopbox::workspace::read::manifest(&text);
    let desired = desired.unwrap_or_else(|wrongs| panic!("{wrongs:#?}")).desired;
    let names = desired.services.keys().cloned().collect();
    fs::write(app.join("desired.json"), desired.text()).unwrap();
    Some(Workspace { worker, names })
}

struct Workspace {
    worker: Worker,
    names: Vec<String>,
}

impl Workspace {
    fn asked(&self, method: &str, params: &Value) -> UnixStream {
        let mut stream = UnixStream::connect(self.worker.dir.join("agent.work.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        writeln!(stream, "{}", json!({"method": method, "params": params})).unwrap();
        stream
    }

    fn start(&self, service: &str) -> UnixStream {
        self.asked("services.start", &json!({"workspace": "app", "service": service}))
    }

    fn act(&self, what: &str, service: &str) -> Vec<Value> {
        let name = json!({"workspace": "app", "service": service});
        lines(self.asked(&format!("services.{what}"), &name))
    }

    fn view(&self, service: &str) -> Value {
        let all = lines(self.asked("services.list", &json!({})));
        let all = all[0]["result"]["services"].as_array().unwrap().clone();
        all.into_iter().find(|view| view["service"] == service).unwrap()
    }

    fn until(&self, service: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let view = self.view(service);
            if is_so(&view) {
                return view;
            }
            assert!(Instant::now() < end, "{view}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn is(&self, service: &str, state: &str, health: &str) -> Value {
        self.until(service, |view| view["state"] == state && view["health"]["state"] == health)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.worker.dir.join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !thread::panicking() || self.worker.dir.join("agent.work.sock").exists() {
            for name in &self.names {
                let _ = self.act("stop", name);
            }
        }
    }
}

fn lines(mut stream: UnixStream) -> Vec<Value> {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The last state that was told.
fn last(lines: &[Value]) -> &Value {
    assert_eq!(lines.last().unwrap(), &json!({"result": {}}), "{lines:?}");
    &lines[lines.len() - 2]["event"]
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Takes connections and keeps them.
fn listen(port: u16) {
    let end = Instant::now() + SOON;
    let socket = loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(socket) => break socket,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    };
    thread::spawn(move || socket.incoming().flatten().collect::<Vec<_>>());
}

#[test]
fn each_starts_once_what_it_depends_on_is_as_it_has_to_be() {
    let port = free_port();
    let services = format!(
        "  db: {{type: native, command: exec sleep 1000, health: {{tcp: {port}}}}}
  once: {{type: native, command: 'sleep 0.3; echo x >$D/once', restart: never}}
  web:
    type: native
    command: cat $D/once; exec sleep 1000
    depends_on: {{db: healthy, once: completed}}
  after: {{type: native, command: exec sleep 1000, depends_on: [web]}}
  bad: {{type: native, command: exit 3, restart: never}}
  never: {{type: native, command: exec sleep 1000, depends_on: {{bad: completed}}}}
"
    );
    let Some(mut app) = workspace("depends", &services) else { return };
    let waits = app.start("after");
    app.is("db", "running", "starting");
    app.until("once", |view| view["state"] == "done");
    thread::sleep(BRIEF);
    assert_eq!(
        (&app.view("web")["state"], &app.view("after")["state"]),
        (&json!("new"), &json!("new"))
    );

    // Whoever waits is told that the agent has gone; what was started goes on, as does its time.
    let before = app.view("db");
    app.worker.kill();
    let mut text = String::new();
    let _ = { waits }.read_to_string(&mut text);
    assert!(!text.contains("result"), "{text}");
    app.worker.start();
    let db = app.is("db", "running", "starting");
    assert_eq!((&db["pid"], &db["generation"]), (&before["pid"], &json!(1)));
    let since = |view: &Value| view["health"]["since_ms"].as_u64().unwrap();
    assert!(since(&db).abs_diff(since(&before)) < 2000, "{before} {db}");

    let waits = app.start("after");
    thread::sleep(BRIEF);
    assert_eq!(app.view("web")["state"], "new");
    listen(port);
    let told = lines(waits);
    assert_eq!(
        (&last(&told)["service"], &last(&told)["state"]),
        (&json!("after"), &json!("running"))
    );
    assert_eq!(app.view("web")["state"], "running");
    assert_eq!(app.view("once")["generation"], 1, "what is done is not done again");
    app.is("db", "running", "healthy");
    // What is healthy is so for the next agent, too, at once.
    app.worker.kill();
    app.worker.start();
    assert_eq!(app.view("db")["health"]["state"], "healthy");

    let told = app.act("start", "never");
    let error = &told.last().unwrap()["error"];
    let why = "it needs bad to be completed, and it failed: it ended with 3";
    assert_eq!((&error["code"], &error["message"]), (&json!("unmet"), &json!(why)), "{told:?}");
    assert_eq!(app.view("never")["state"], "new");
    // Somebody stops what is waited for; whoever waits goes.
    app.act("stop", "db");
    assert_eq!(app.view("db")["health"], Value::Null);
}

#[test]
fn an_unhealthy_one_is_ended_and_started_again_as_its_policy_says() {
    let check = "health: {exec: 'echo look >>$D/$N.looks; test -e $D/$N.well', interval: 100ms, \
                 timeout: 400ms, steady_interval: 200ms, retries: 2}";
    let services = format!(
        "  ill: {{type: native, command: exec sleep 1000, env: {{N: ill}}, {check}}}
  shown: {{type: native, command: exec sleep 1000, env: {{N: shown}}, restart: never, {check}}}
  plain: {{type: native, command: exec sleep 1000}}
"
    );
    let Some(app) = workspace("unhealthy", &services) else { return };
    // It never becomes well, and is started again; then it does.
    let first = last(&app.act("start", "ill")).clone();
    let second = app.until("ill", |view| view["state"] == "running" && view["generation"] == 2);
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(second["last_exit"], json!({"signal": 15}), "{second}");
    fs::write(app.file("ill.well"), "").unwrap();
    let well = app.is("ill", "running", "healthy");
    // Then it is not any more.
    fs::remove_file(app.file("ill.well")).unwrap();
    app.until("ill", |view| view["generation"].as_u64() > well["generation"].as_u64());
    app.act("stop", "ill");
    let looks = || fs::read_to_string(app.file("ill.looks")).unwrap().lines().count();
    let (stopped, before) = (app.view("ill"), looks());
    assert_eq!((&stopped["state"], &stopped["health"]), (&json!("stopped"), &Value::Null));
    thread::sleep(BRIEF);
    assert!(looks() <= before + 1, "nobody looks at what is stopped");

    app.act("start", "shown");
    let shown = app.is("shown", "running", "unhealthy");
    assert_eq!(shown["health"]["why"], "its check ended with 1");
    assert_eq!(shown["health"]["will_restart"], false);
    fs::write(app.file("shown.well"), "").unwrap();
    let again = app.is("shown", "running", "healthy");
    assert_eq!((&again["pid"], &again["generation"]), (&shown["pid"], &json!(1)));
    assert_eq!(last(&app.act("start", "plain"))["health"], Value::Null);
}

/// It hangs, it floods, and it leaves something behind: each is a failure, and nothing stays.
#[test]
fn a_check_that_does_what_it_likes_harms_nobody() {
    let services = "  hangs: {type: native, command: exec sleep 1000, restart: never, \
                    health: {interval: 100ms, timeout: 200ms, \
                             exec: 'trap \"\" TERM; sleep 1007 & wait'}}
  floods: {type: native, command: exec sleep 1000, restart: never, \
                    health: {exec: 'yes', interval: 100ms, timeout: 200ms}}
  forks: {type: native, command: exec sleep 1000, \
                    health: {exec: 'setsid sleep 1008 >/dev/null 2>&1 & (sleep 1008) & echo up'}}
";
    let Some(app) = workspace("hostile", services) else { return };
    let began = Instant::now();
    for service in ["hangs", "floods", "forks"] {
        assert_eq!(last(&app.act("start", service))["state"], "running", "{service}");
    }
    app.is("forks", "running", "healthy");
    let hangs = app.is("hangs", "running", "unhealthy");
    assert!(hangs["health"]["why"].as_str().unwrap().contains("longer than"), "{hangs}");
    let floods = app.is("floods", "running", "unhealthy");
    assert!(floods["health"]["why"].is_string(), "{floods}");
    assert!(began.elapsed() < SOON);
    let end = Instant::now() + SOON;
    let left = || {
        let found = std::process::Command::new("pgrep").args(["-f", "^sleep 100[78]"]).output();
        String::from_utf8(found.unwrap().stdout).unwrap()
    };
    app.act("stop", "hangs");
    while !left().is_empty() {
        assert!(Instant::now() < end, "{}", left());
        thread::sleep(Duration::from_millis(50));
    }
}
