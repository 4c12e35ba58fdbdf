//! `hop ports` beside a mirror that answers as the real one does, at its socket; with the real one
//! in tests/session.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hopbox::base::json::Fields;
use hopbox::base::line_socket::{self, LineSocket};
use hopbox::host::paths;
use hopbox::rpc::types::Message;
use hopbox::rpc::types::ports::{Owner, PortView};
use hopbox::session::ports::view::{
    MirrorAsk, MirrorEvent, MirrorView, MirrorViews, PortChange, PortState, WhyNot,
};
use serde_json::{Value, json};

use super::Home;

/// What one answers from.
pub(super) struct Mirror {
    ports: Arc<Mutex<Vec<MirrorView>>>,
    ends: Arc<AtomicBool>,
    serves: Option<JoinHandle<()>>,
}

impl Mirror {
    pub fn start(home: &Home, ports: Vec<MirrorView>) -> Mirror {
        let paths = home.paths();
        let dir = paths.session_places()[0].to_owned();
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let socket = LineSocket::bind(&paths::ports_socket_in(&dir, "mybox")).unwrap();
        let (ports, ends) = (Arc::new(Mutex::new(ports)), Arc::new(AtomicBool::new(false)));
        let (of_it, until) = (ports.clone(), ends.clone());
        let serves = thread::spawn(move || {
            let mut watching = Vec::new();
            while !until.load(Ordering::Relaxed) {
                for (stream, line) in socket.asked() {
                    serve(&of_it, &mut watching, stream, &line.unwrap());
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Mirror { ports, ends, serves: Some(serves) }
    }

    fn of(&self, port: u16) -> MirrorView {
        self.ports.lock().unwrap().iter().find(|view| view.port == port).unwrap().clone()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.serves.take().map(JoinHandle::join);
    }
}

fn serve(
    ports: &Mutex<Vec<MirrorView>>,
    watching: &mut Vec<UnixStream>,
    stream: UnixStream,
    line: &str,
) {
    let mut ports = ports.lock().unwrap();
    let grant = |data: Value| {
        let _ = line_socket::put(&stream, &json!({"ok": true, "data": data}).to_string());
    };
    let ask = MirrorAsk::read_strictly(Fields::parse(line).unwrap()).unwrap();
    let all = || MirrorViews { ports: ports.clone(), is_live: true }.to_json();
    match ask {
        MirrorAsk::List | MirrorAsk::Auto(_) => grant(all()),
        MirrorAsk::Watch => {
            grant(all());
            watching.push(stream);
        }
        MirrorAsk::Change(change) => {
            let Some(view) = ports.iter_mut().find(|view| view.port == change.port()) else {
                let refusal = json!({"ok": false, "error": "no such port"});
                let _ = line_socket::put(&stream, &refusal.to_string());
                return;
            };
            match change {
                PortChange::Pin { port, local } => {
                    let local = local.or(view.local).unwrap_or(port);
                    view.why_not = (local != port).then_some(WhyNot::Pinned);
                    (view.local, view.is_pinned) = (Some(local), true);
                }
                PortChange::Unpin(port) => {
                    (view.is_pinned, view.local, view.why_not) = (false, Some(port), None);
                }
                PortChange::Exclude(_) => {
                    (view.local, view.why_not) = (None, Some(WhyNot::Excluded));
                }
                PortChange::Include(port) => (view.local, view.why_not) = (Some(port), None),
            }
            grant(view.to_json());
            let event = MirrorEvent::Is(Box::new(view.clone())).to_json().to_string();
            for stream in watching {
                line_socket::put(stream, &event).unwrap();
            }
        }
    }
}

pub(super) fn view(port: u16, local: Option<u16>, why_not: Option<WhyNot>) -> MirrorView {
    let owner = Owner {
        pid: Some(4242),
        program: Some("node".to_owned()),
        checkout: Some("/home/dev/app".to_owned()),
        directory: Some("/home/dev/app".to_owned()),
        branch: Some("\x1b[2Jmain".to_owned()),
        ..Owner::default()
    };
    let addresses = vec!["127.0.0.1".parse().unwrap()];
    let server = PortView { port, addresses, owner, since_unix_ms: 1_000, hidden: 0 };
    MirrorView {
        port,
        server: Some(server),
        local,
        why_not,
        is_pinned: false,
        state: PortState::Ready,
        bytes_up: 0,
        bytes_down: 0,
        connections: 0,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn all() -> Vec<MirrorView> {
    let taken = WhyNot::Taken { by: Some("ruby (pid 9)".to_owned()) };
    let mut gone = view(4000, Some(4000), None);
    (gone.server, gone.state) = (None, PortState::Gone);
    vec![
        view(3000, Some(3001), Some(taken)),
        gone,
        view(5173, Some(5173), None),
        view(8080, None, Some(WhyNot::Off)),
        view(9229, None, Some(WhyNot::Excluded)),
    ]
}

#[test]
fn ports_are_listed_watched_and_changed() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let down = home.run(&["ports"]);
    assert_eq!(down.status.code(), Some(3), "{down:?}");
    assert!(text(&down.stderr).ends_with("fix: hop up mybox\n"), "{down:?}");
    let mirror = Mirror::start(&home, all());

    let table = text(&home.run(&["ports"]).stdout);
    assert_eq!(table, text(&home.run(&["ports", "ls", "--no-probe"]).stdout));
    assert!(table.contains("\n/home/dev/app (\\u{1b}[2Jmain):\n3000   3001  ready"), "{table}");
    assert!(table.contains("3000: ruby (pid 9) has that port here, so it is at 3001 here"));
    let list: Value = serde_json::from_slice(&home.run(&["ports", "--json"]).stdout).unwrap();
    let ports = list["data"]["ports"].as_array().unwrap();
    let urls: Vec<_> = ports.iter().map(|port| port["url"].as_str().unwrap_or("-")).collect();
    let at = |port: u16| format!("http://localhost:{port}");
    assert_eq!(urls, [&at(3001)[..], &at(4000), &at(5173), "-", "-"]);

    let mut watch = home.hop().args(["ports", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first: Vec<String> = lines.by_ref().take(5).map(Result::unwrap).collect();
    assert!(
        first[0].contains(" 3000 ready http://localhost:3001, node 4242 in /home"),
        "{first:?}"
    );
    assert!(first[3].contains(" 8080 ready not here,"), "{first:?}");
    let pinned = home.run(&["ports", "pin", "5173", "5174"]);
    assert_eq!(text(&pinned.stdout), "Port 5173 is pinned to http://localhost:5174 here.\n");
    let news = lines.next().unwrap().unwrap();
    assert!(news.contains(" 5173 ready http://localhost:5174,"), "{news}");
    assert!(mirror.of(5173).is_pinned && home.run(&["ports", "unpin", "5173"]).status.success());
    assert!(!mirror.of(5173).is_pinned);
    let excluded = home.run(&["ports", "exclude", "5173"]);
    assert!(excluded.status.success() && mirror.of(5173).local.is_none(), "{excluded:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();

    for bad in ["0", "65536", "+1", "x", "", "-1"] {
        assert_eq!(home.run(&["ports", "why", "--", bad]).status.code(), Some(2), "{bad}");
    }
    let refused = home.run(&["ports", "pin", "7"]);
    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    assert!(text(&refused.stderr).contains("no such port"), "{refused:?}");
}

/// The line between backticks, or after `fix: `.
fn advised(out: &Output) -> String {
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    let fix = stderr.lines().find_map(|line| line.strip_prefix("fix: "));
    let line = fix.or_else(|| stdout.split('`').nth(1));
    line.unwrap_or_else(|| panic!("nothing is advised: {out:?}")).to_owned()
}

#[test]
fn what_is_advised_of_ports_is_the_cure() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let mut all = all();
    all.push(view(5000, Some(5001), Some(WhyNot::Kept)));
    let _mirror = Mirror::start(&home, all);
    let hop = |line: &str| home.run(&line.split(' ').collect::<Vec<_>>());
    let typed = |line: &str| hop(line.strip_prefix("hop ").unwrap());
    for (port, code, begins) in [
        (3000, 0, "hop ports pin 3000 3001 -H mybox"),
        (5000, 0, "hop ports unpin 5000 -H mybox"),
        (8080, 3, "hop ports pin 8080 -H mybox"),
        (9229, 3, "hop ports include 9229 -H mybox"),
    ] {
        let why = hop(&format!("ports why {port}"));
        assert_eq!((why.status.code(), &advised(&why)[..]), (Some(code), begins));
        assert!(typed(&advised(&why)).status.success(), "{begins}");
        let then = hop(&format!("ports why {port}"));
        assert!(then.status.success() && !text(&then.stdout).contains('`'), "{then:?}");
    }
    for (line, code, shows) in [
        ("ports open 4000", 3, "refuses until somebody listens there"),
        ("ports open 1", 3, "No program of your login listens at port 1 of mybox"),
        ("ports pin 1", 8, "THERE  HERE"),
    ] {
        let failed = hop(line);
        assert_eq!(failed.status.code(), Some(code), "{failed:?}");
        let shown = typed(&advised(&failed));
        assert!(text(&shown.stdout).contains(shows), "{line}: {shown:?}");
    }
}

#[test]
fn a_port_is_opened_in_the_browser() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let _mirror = Mirror::start(&home, all());
    let program = home.paths().session_places()[0].join("browser");
    super::program(&program, "#!/bin/sh\necho \"$#$*\" >\"$0.told\"\n");
    let open = |program: &std::path::Path, port: &str| {
        home.hop().args(["ports", "open", port]).env("BROWSER", program).output().unwrap()
    };
    let done = open(&program, "3000");
    assert_eq!(text(&done.stdout), "http://localhost:3001 is open in the browser\n", "{done:?}");
    let told = fs::read_to_string(program.with_extension("told")).unwrap();
    assert_eq!(told, "1http://localhost:3001\n");
    for program in ["/nowhere/browser", "/bin/false"] {
        let failed = open(program.as_ref(), "3000");
        assert_eq!(failed.status.code(), Some(1), "{failed:?}");
        assert!(text(&failed.stderr).ends_with("fix: hop ports ls -H mybox\n"), "{failed:?}");
    }
}
