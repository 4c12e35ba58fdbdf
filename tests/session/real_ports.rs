//! What listens on a server is on the laptop, with the programs that people have there: python and
//! node on either loopback, PostgreSQL, WebSockets, many connections at once.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::machine::{Machine, SOON};
use hopbox_selftest::{files, programs};
use serde_json::Value;

use super::world::*;
use super::{full, shared};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session/ports.py");
/// Of what each of two ways carries.
const BYTES: [u64; 2] = [32 << 20, 1 << 30];
const CONNECTIONS: &str = "1000";

/// A server's program, ended with this value.
pub struct Runs(Option<Child>);

impl Runs {
    pub fn of(child: Child) -> Runs {
        Runs(Some(child))
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

fn on(machine: &Machine, mut command: Command) -> Child {
    machine.run(SOON, move || command.spawn().map_err(|error| error.to_string())).unwrap()
}

/// On the server, as the login, in the directory `app/web` of its checkout.
pub fn there(world: &World, line: &str) -> Runs {
    let mut command = programs::command(Path::new("sh"), USER);
    command.args(["-c", &format!("exec {line}")]).env("HOME", world.home.join("laptop"));
    command.current_dir(world.home.join("laptop/app/web"));
    Runs(Some(on(&world.vps[0].machine, command)))
}

pub fn here(world: &World, line: &str) -> Output {
    let mut command = world.command(Path::new("sh"), &["-c", line]);
    command.env("hop", &world.programs.hop);
    finish(on(&world.laptop, command), LIMIT * 6)
}

/// Debian's launcher of Chromium reads each file of a directory, and ends where there is none.
pub fn browsers_start(world: &World) {
    world.sh("mkdir -p /etc/chromium.d && touch /etc/chromium.d/none");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn out(world: &World, line: &str) -> String {
    let output = here(world, line);
    assert!(output.status.success(), "{line}: {}", said(&output));
    text(&output.stdout)
}

pub fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "never {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn answers(world: &World, url: &str) -> bool {
    here(world, &format!("curl -gsf -m 5 -o /dev/null {url}")).status.success()
}

pub fn listed(world: &World, port: u16) -> Option<Value> {
    let output = world.hop(&["ports", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    let ports = list["data"]["ports"].as_array()?;
    ports.iter().find(|view| view["port"] == port).cloned()
}

/// Up, with the part of the agent that has the login's rights, and a checkout.
pub fn ready(test: &str) -> Option<(World, Runs)> {
    let world = World::start(test)?;
    let app = world.home.join("laptop/app");
    fs::create_dir_all(app.join(".git")).unwrap();
    fs::create_dir_all(app.join("web")).unwrap();
    fs::write(app.join(".git/HEAD"), "ref: refs/heads/fix-1\n").unwrap();
    fs::write(app.join("web/index.html"), "of the server\n").unwrap();
    files::give(&app, USER).unwrap();
    let work = Runs(Some(world.start_work(0)));
    world.up();
    until("there is a mirror", || world.hop(&["ports"]).status.success());
    Some((world, work))
}

#[test]
fn what_listens_there_answers_here_and_is_told_of() {
    let _machine = shared();
    let Some((world, _work)) = ready("what_listens_there_answers_here_and_is_told_of") else {
        return;
    };
    let python = |ip: &str, port: u16| format!("python3 -m http.server --bind {ip} {port}");
    let node = |ip: &str, port: u16| {
        let answer = "(q, a) => a.end(\"node\")";
        format!("node -e 'require(\"http\").createServer({answer}).listen({port}, \"{ip}\")'")
    };
    let web = there(&world, &python("127.0.0.1", 8001));
    let _others = [
        there(&world, &python("::1", 8002)),
        there(&world, &node("127.0.0.1", 8003)),
        there(&world, &node("::1", 8004)),
    ];
    for port in 8001..=8004 {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let url = format!("http://{host}:{port}/");
            until(&url, || answers(&world, &url));
        }
    }

    // What is told of it.
    let view = listed(&world, 8001).unwrap();
    let app = world.home.join("laptop/app").display().to_string();
    let owner = &view["server"]["owner"];
    assert_eq!(
        (&view["state"], &view["url"], &owner["checkout"], &owner["branch"]),
        (&"ready".into(), &"http://localhost:8001".into(), &app.into(), &"fix-1".into()),
        "{view}"
    );
    assert!(owner["program"].as_str().unwrap().starts_with("python3"), "{view}");
    let why = out(&world, "$hop ports why 8002");
    assert!(why.contains("(::1)") && why.contains("It takes connections."), "{why}");
    let nobody = here(&world, "$hop ports why 8999");
    assert_eq!(nobody.status.code(), Some(3), "{}", said(&nobody));

    // One that ends and comes back keeps its number, and refuses meanwhile.
    drop(web);
    until("it is gone", || listed(&world, 8001).is_some_and(|view| view["state"] == "gone"));
    let code = || here(&world, "curl -s -m 20 http://localhost:8001/").status.code();
    until("it is refused", || code() == Some(7));
    let _web = there(&world, &python("0.0.0.0", 8001));
    until("it is back", || answers(&world, "http://localhost:8001/"));

    // What is wanted of it is done.
    out(&world, "$hop ports pin 8002 9002");
    until("9002", || answers(&world, "http://localhost:9002/"));
    out(&world, "$hop ports exclude 8003");
    until("8003 is gone", || !answers(&world, "http://localhost:8003/"));
    out(&world, "$hop ports include 8003");
    until("8003 is back", || answers(&world, "http://localhost:8003/"));
    taken_here(&world);
    told_there(&world);
}

/// A port that a program here has.
fn taken_here(world: &World) {
    let mut command = world.command(Path::new("python3"), &["-m", "http.server", "--bind", "::1"]);
    command.arg("8005");
    let _here = Runs(Some(on(&world.laptop, command)));
    until("one here listens", || answers(world, "http://[::1]:8005/"));
    let _there = there(world, "python3 -m http.server --bind 127.0.0.1 8005");
    until("it is moved", || listed(world, 8005).is_some_and(|view| view["local"].is_u64()));
    let view = listed(world, 8005).unwrap();
    assert_eq!(view["why_not"], "taken", "{view}");
    // Wanted at that very number it is nowhere, which is said by the exit code, too.
    let held = here(world, "$hop ports pin 8005 8005");
    assert_eq!(held.status.code(), Some(8), "{}", said(&held));
    assert!(text(&held.stdout).contains("python3"), "{}", said(&held));
    out(world, "$hop ports unpin 8005");
    until("it is moved", || listed(world, 8005).is_some_and(|view| view["local"].is_u64()));
    let view = listed(world, 8005).unwrap();
    assert_ne!(view["local"], 8005, "{view}");
    let page = out(world, &format!("curl -sf {}", view["url"].as_str().unwrap()));
    assert_eq!(page, "of the server\n");
    let why = out(world, "$hop ports why 8005");
    assert!(why.contains("has that port here"), "{why}");
}

/// Programs on the server ask where a port is on the laptop.
fn told_there(world: &World) {
    let agent = |words: &str| {
        let mut command = programs::command(Path::new("sh"), USER);
        command.args(["-c", &format!("\"$agent\" {words}")]).env("agent", &world.programs.agent);
        command.env("HOME", world.home.join("laptop")).current_dir(world.home.join("laptop"));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        finish(on(&world.vps[0].machine, command), LIMIT)
    };
    until("it is told", || text(&agent("url 8002").stdout) == "http://localhost:9002\n");
    assert_eq!(agent("url 8999").status.code(), Some(4));
    assert_eq!(agent("url x").status.code(), Some(2));
    let run = world.hop(&["run", "--", "sh", "-c", "echo $HOPBOX_URL_8002"]);
    assert_eq!(text(&run.stdout), "http://localhost:9002\n", "{}", said(&run));
    let kept = agent("port web");
    assert!(kept.status.success() && text(&kept.stdout).trim().parse::<u16>().is_ok());
    assert_eq!(agent("port web").stdout, kept.stdout);
    assert_ne!(agent("port").stdout, kept.stdout);
    assert_eq!(agent("port --release web").stdout, kept.stdout);
    assert_eq!(agent("port --release web").status.code(), Some(4));
    world.hop(&["down"]);
    let away = agent("url 8002");
    assert!(matches!(away.status.code(), Some(0 | 3)), "{}", said(&away));
}

/// Servers in network namespaces of their own.
#[test]
fn a_server_behind_the_wall_of_a_sandbox_answers_here() {
    let _machine = shared();
    let test = "a_server_behind_the_wall_of_a_sandbox_answers_here";
    let Some((world, _work)) = ready(test) else { return };
    if !there(&world, "unshare -Urn true").0.take().unwrap().wait().unwrap().success() {
        return println!("SKIP {test}: users may make no namespaces");
    }
    let pages = |port: u16| format!("python3 -m http.server --bind 127.0.0.1 {port}");
    let apart = |port: u16, dir: &str| {
        let line = format!("ip link set lo up; cd {dir}; exec {}", pages(port));
        there(&world, &format!("unshare -Urn sh -c '{line}'"))
    };
    let other = world.home.join("laptop/app/other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("index.html"), "of the second\n").unwrap();
    files::give(&other, USER).unwrap();
    let page = |port: u16| text(&here(&world, &format!("curl -sf -m 5 localhost:{port}")).stdout);
    let first = apart(8101, ".");
    let _bwrap = there(
        &world,
        &format!("bwrap --die-with-parent --unshare-net --dev-bind / / {}", pages(8102)),
    );
    for port in [8101, 8102] {
        until("it answers here", || page(port) == "of the server\n");
    }
    // Two have the same port: the first one is reached, and that there is another is said.
    let _second = apart(8101, "../other");
    let hidden = || listed(&world, 8101).map(|view| view["server"]["hidden"].clone());
    until("the second is known", || hidden() == Some(1.into()));
    assert_eq!(page(8101), "of the server\n");
    let why = out(&world, "$hop ports why 8101");
    assert!(why.contains("One more sandbox has that port"), "{why}");
    drop(first);
    until("the second is reached", || page(8101) == "of the second\n");
    until("it is the only one", || hidden() == Some(0.into()));
    // A workspace that wants none of it.
    let project = world.home.join("closed");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("hopbox.yaml"), "name: app\nports: {sandboxes: false}\n").unwrap();
    out(&world, &format!("cd {}; $hop up -y", project.display()));
    assert_eq!(page(8101), "");
    until("they are not told of", || {
        let is_gone = |port| listed(&world, port).is_none_or(|view| view["server"].is_null());
        is_gone(8101) && is_gone(8102)
    });
}

#[test]
fn many_bytes_connections_and_frames_come_through() {
    let _machine = shared();
    let Some((world, _work)) = ready("many_bytes_connections_and_frames_come_through") else {
        return;
    };
    let _serves = there(&world, &format!("python3 {CLIENT} serve localhost 8010"));
    until("it serves", || here(&world, &format!("python3 {CLIENT} ws 8010")).status.success());
    let said = out(&world, &format!("python3 {CLIENT} ws 8010"));
    assert_eq!(said, "all frames came back\n");
    let said = out(&world, &format!("python3 {CLIENT} many 8010 {CONNECTIONS}"));
    assert_eq!(said, format!("{CONNECTIONS} were open at once\n"));
    let bytes = BYTES[usize::from(full())];
    let said = out(&world, &format!("python3 {CLIENT} take 8010 {bytes}"));
    assert_eq!(said, format!("{bytes} bytes each way are the same\n"));
    // Nothing of them is left here or there.
    let left = "ss -Htn state close-wait state established 'sport = :8010' | wc -l";
    until("all are closed", || out(&world, left).trim() == "0");
    let view = listed(&world, 8010).unwrap();
    assert_eq!(view["connections"], 0, "{view}");
    assert!(view["bytes_up"].as_u64().unwrap() > bytes, "{view}");
    postgres(&world);
}

/// A database of the login's, asked with psql(1) here.
fn postgres(world: &World) {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let Some(bin) = found.map(|dir| dir.path().join("bin")).find(|bin| bin.join("initdb").exists())
    else {
        return println!("SKIP postgres: needs the package postgresql");
    };
    // Who it runs as needs a name.
    sh(&world.vps[0].machine, "echo 'dev:x:4243:4243::/:/bin/sh' >>/etc/passwd");
    let bin = bin.display();
    let flags = "-U dev -A trust --no-sync --wal-segsize=1 --locale=C";
    let mut makes = there(world, &format!("{bin}/initdb -D ../db {flags} >/dev/null"));
    let done = makes.0.take().unwrap().wait().unwrap();
    assert!(done.success(), "{done}");
    let listens = "-h 127.0.0.1 -p 5433 -k '' -c fsync=off";
    let _db = there(world, &format!("{bin}/postgres -D ../db {listens}"));
    let ask = |query: &str, then: &str| {
        let psql = "psql -h localhost -p 5433 -U dev -d postgres -Atc";
        text(&here(world, &format!("{psql} \"{query}\" {then}")).stdout)
    };
    let sum = "select sum(n) from generate_series(1, 1000000) n";
    // It says nothing before it is asked something.
    until("it takes connections", || listed(world, 5433).is_some_and(|it| it["state"] == "ready"));
    until("psql is answered", || ask(sum, "") == "500000500000\n");
    let long = "select repeat(md5(n::text), 100) from generate_series(1, 3000) n";
    assert_eq!(ask(long, "| wc -c").trim(), (3201 * 3000).to_string());
}
