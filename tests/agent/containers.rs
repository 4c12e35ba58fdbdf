//! Containers of root's podman and of a docker of the test's own, in namespaces of the test's own:
//! made once, kept through whatever happens to the agent, ended as they wish, and never mistaken
//! for somebody else's. Their images are of this machine's busybox; no registry is asked.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Which engine a process of the test's is for.
const INSIDE: &str = "HOPBOX_CONTAINERS";
const SOON: Duration = Duration::from_secs(60);
const SECRET: &str = "s3cret-value";
const LIMIT_S: &str = "280";

/// `web` ends by the signal that its image names, and with a status of its own.
const WEB: &str = r#"
  web:
    type: container
    image: "box:1"
    command: [sh, -c, 'trap "echo bye; exit 7" INT; trap "exit 9" TERM; echo "up $TOKEN $TWO"; httpd -p 80 -h /data; while :; do sleep 0.05; done']
    ports: ["8080:80"]
    env: {TWO: "a\nb", PATH: "/bin:/own"}
    data: [{host: "DIR/data", container: /data}]
    limits: {memory: 64M, cpu: 0.5, pids: 40}
    restart: never
"#;

fn manifest(dir: &Path, services: &str) -> String {
    let services = services.replace("DIR", &dir.display().to_string());
    let none = if services.is_empty() { " {}" } else { "" };
    format!("name: app\nenv: {{TOKEN: {SECRET}}}\nservices:{none}\n{services}")
}

#[test]
fn a_container_is_kept_as_every_service_is() {
    kept_by("podman", "a_container_is_kept_as_every_service_is");
}

#[test]
fn a_container_of_docker_is_kept_as_every_service_is() {
    kept_by("docker", "a_container_of_docker_is_kept_as_every_service_is");
}

fn kept_by(engine: &str, name: &str) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    if let Some(why) = unable(engine) {
        let is_root = nix::unistd::geteuid().is_root();
        let strict = is_root && std::env::var_os("CI").is_some();
        assert!(!strict, "in CI nothing that root can run is skipped: {why}");
        return eprintln!("SKIP {name}: {why}");
    }
    let out = Command::new("timeout")
        .args(["-k", "5", LIMIT_S, "unshare", "-mnpf", "--mount-proc", "--kill-child"])
        .args(["--propagation=private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("containers::{name}"), "--nocapture", "--test-threads=1"])
        .env(INSIDE, engine)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    errors.lines().filter(|line| line.starts_with("NOTE ")).for_each(|line| eprintln!("{line}"));
}

fn unable(engine: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if Path::new("/run/systemd/system").exists() {
        return Some("this machine has systemd, and its units are its own".to_owned());
    }
    let there = |tool: &str| {
        let dirs = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"];
        dirs.iter().any(|dir| Path::new(dir).join(tool).exists())
    };
    let daemon = if engine == "docker" { "dockerd" } else { "podman" };
    let tools = [engine, daemon, "busybox", "iptables", "ip"];
    tools.iter().find(|tool| !there(tool)).map(|tool| format!("needs {tool}"))
}

fn engine() -> String {
    std::env::var(INSIDE).unwrap()
}

/// `$E` is the engine.
fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-euc", script]).env("E", engine()).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{script}: {errors}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Memory in place of what engines keep, and an image.
fn prepare(dir: &Path) {
    sh("ip link set lo up; ip address add 10.10.0.2/32 dev lo; \
        mkdir -p /var/lib/containers /var/lib/docker; \
        for dir in /run /var/lib/containers /var/lib/docker; do \
        mount -t tmpfs -o mode=0755 tmpfs $dir; done");
    // crun refuses a machine that has controllers in both kinds of groups.
    sh("! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified");
    // Its end is that of the namespace.
    sh("[ $E != docker ] || { dockerd --storage-driver vfs >/run/dockerd.log 2>&1 & \
        for i in $(seq 300); do docker version >/dev/null 2>&1 && exit; sleep 0.1; done; \
        cat /run/dockerd.log >&2; exit 1; }");
    sh(&format!(
        "cd {}; mkdir -p root/bin root/tmp root/etc data; echo hello >data/index.html; \
         for file in /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*'); do \
         install -D $file root$file; done; \
         for name in sh sleep httpd cat; do ln -s busybox root/bin/$name; done; \
         tar -C root -cf root.tar .; \
         $E import root.tar docker.io/library/raw:1 >/dev/null; \
         printf 'FROM docker.io/library/raw:1\\nSTOPSIGNAL INT\\nVOLUME /vol\\n' >Containerfile; \
         DOCKER_BUILDKIT=0 $E build -q -t docker.io/library/box:1 - <Containerfile",
        dir.display()
    ));
}

struct Login {
    dir: PathBuf,
    work: Option<Child>,
}

impl Login {
    fn start_work(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hop-agent"));
        command.arg("work").arg("--config").arg(self.dir.join("agent.json"));
        command.env("XDG_STATE_HOME", &self.dir).stdin(Stdio::null());
        self.work = Some(command.spawn().unwrap());
    }

    fn kill_work(&mut self) {
        if let Some(mut work) = self.work.take() {
            work.kill().unwrap();
            work.wait().unwrap();
        }
    }

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
        let request = json!({"caller": "me", "address": "10.10.0.2", "method": method,
                             "params": params});
        writeln!(stream, "{request}").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn plan(&self, services: &str) -> Value {
        let text = manifest(&self.dir, services);
        let desired = hopbox::workspace::read::manifest(&text).unwrap().desired.to_json();
        self.ask("workspace.plan", json!({"desired": desired})).remove(0)["result"].clone()
    }

    /// What was told; the last line says how it ended.
    fn apply(&self, services: &str) -> Vec<Value> {
        let digest = self.plan(services)["digest"].clone();
        self.ask("workspace.apply", json!({"digest": digest}))
    }

    fn act(&self, what: &str, service: &str) -> Value {
        let name = json!({"workspace": "app", "service": service});
        let lines = self.ask(&format!("services.{what}"), name);
        assert_eq!(lines.last().unwrap(), &json!({"result": {}}), "{what}: {lines:?}");
        lines[lines.len() - 2]["event"].clone()
    }

    fn view(&self, service: &str) -> Value {
        let lines = self.ask("services.list", json!({}));
        let all = lines[0]["result"]["services"].as_array().unwrap();
        all.iter().find(|view| view["service"] == service).unwrap().clone()
    }

    fn until(&self, service: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let view = self.view(service);
            if is_so(&view) {
                return view;
            }
            assert!(Instant::now() < end, "{view}\n{}", self.said(service));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn service(&self, service: &str) -> PathBuf {
        self.dir.join("hopbox-agent/app/services").join(service)
    }

    fn said(&self, service: &str) -> String {
        fs::read_to_string(self.service(service).join("log")).unwrap_or_default()
    }
}

/// Every command line that is seen from now on.
struct Seen(Arc<Mutex<BTreeSet<String>>>, Arc<AtomicBool>, thread::JoinHandle<()>);

impl Seen {
    fn watch() -> Seen {
        let (lines, is_over) = (Arc::<Mutex<BTreeSet<String>>>::default(), Arc::default());
        let (into, end) = (Arc::clone(&lines), Arc::<AtomicBool>::clone(&is_over));
        let look = move || {
            while !end.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    into.lock().unwrap().insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
                thread::sleep(Duration::from_millis(2));
            }
        };
        Seen(lines, is_over, thread::spawn(look))
    }

    fn lines(self) -> BTreeSet<String> {
        self.1.store(true, Ordering::Relaxed);
        self.2.join().unwrap();
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn get() -> String {
    let mut stream = TcpStream::connect("10.10.0.2:8080").unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

const ID: &str = "$E inspect --type container -f '{{.Id}}' hopbox-app.web";

fn inside() {
    // A process has the same number in each namespace of its own.
    let dir = std::env::temp_dir().join(format!("hopbox-containers-{}", engine()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    prepare(&dir);
    let mut login = Login { dir, work: None };
    login.start_work();
    let (id, pid) = made_once(&login);
    killed(&mut login, &id, &pid);
    looked_at(&mut login);
    ended(&login, &id);
    refused(&login);
    removed(&login);
    login.kill_work();
    // An engine leaves the groups of its own, which are this machine's.
    sh("find /sys/fs/cgroup -depth -type d -regex '.*/\\(libpod_parent\\|docker\\).*' \
         -exec rmdir {} + 2>/dev/null || :");
    let _ = fs::remove_dir_all(&login.dir);
}

fn made_once(login: &Login) -> (String, Value) {
    let seen = Seen::watch();
    let told = json!({"ports": [{"server": 8080, "laptop": 18_080}]});
    login.ask("ports.mapped", told);
    let lines = login.apply(WEB);
    assert_eq!(lines.last().unwrap(), &json!({"result": {}}), "{lines:?}\n{}", login.said("web"));
    let seen = seen.lines();
    let created = seen.iter().find(|line| line.contains("create --pull=never")).unwrap();
    assert!(created.contains("--env TOKEN"), "{created}");
    let told = |line: &&String| line.contains(SECRET) || line.contains("/bin:/own");
    assert_eq!(seen.iter().find(told), None, "a command line has a value");
    assert!(!login.service("web").join("container.env").exists());
    for file in ["spec.json", "made.json", "container.now"] {
        let text = fs::read_to_string(login.service("web").join(file)).unwrap();
        assert!(!text.contains(SECRET), "{file}");
    }
    let view = login.until("web", |view| view["state"] == "running" && view["pid"].is_u64());
    assert_eq!(view["degraded"], json!([]), "{view}");
    let pid = view["pid"].clone();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(&sh(ID)), "{groups}");
    while !login.said("web").contains(&format!("up {SECRET} a")) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(get().ends_with("hello\n"), "{}", get());
    let env = sh("$E exec hopbox-app.web cat /proc/1/environ | tr '\\0' '\\n'");
    assert!(env.contains("HOPBOX_URL_8080=http://localhost:18080\n"), "{env}");
    assert!(env.contains("PATH=/bin:/own\n") && env.contains("TWO=a\nb"), "{env}");
    // Whoever listens for it: it is the container's.
    let end = Instant::now() + SOON;
    let port = loop {
        let ports = login.ask("ports.list", json!({})).remove(0)["result"]["ports"].clone();
        let port = ports.as_array().unwrap().iter().find(|port| port["port"] == 8080).cloned();
        match port.filter(|port| port["owner"]["container"].is_string()) {
            Some(port) => break port,
            None => assert!(Instant::now() < end, "{ports}"),
        }
    };
    let owner = &port["owner"];
    assert_eq!(port["addresses"], json!(["10.10.0.2"]));
    assert_eq!((&owner["container"], &owner["pid"]), (&json!("hopbox-app.web"), &pid), "{port}");
    assert_eq!(owner["service"], json!({"workspace": "app", "service": "web"}));
    let id = sh(ID);
    let plan = login.plan(WEB);
    assert_eq!(plan["steps"], json!([]), "nothing is to be done");
    assert_eq!(login.act("start", "web")["pid"], pid);
    (id, pid)
}

fn keeper(login: &Login) -> String {
    let state = fs::read_to_string(login.service("web").join("state.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    state["keeper"].to_string()
}

/// Who keeps it, and who keeps them.
fn killed(login: &mut Login, id: &str, pid: &Value) {
    for _ in 0..3 {
        login.kill_work();
        login.start_work();
        assert_eq!((&login.view("web")["pid"], &sh(ID)), (pid, &id.to_owned()));
    }
    // Where no systemd is nobody starts another keeper but who is asked to.
    sh(&format!("kill -9 {}", keeper(login)));
    let lost = login.until("web", |view| view["state"] == "lost");
    assert_eq!(lost["pid"], Value::Null);
    let view = login.act("start", "web");
    assert_eq!((&view["state"], view["pid"] == *pid), (&json!("running"), false), "{view}");
    assert_eq!((&view["last_exit"], sh(ID)), (&json!({"lost": "keeper"}), id.to_owned()));
    assert_eq!(sh("$E ps -q | wc -l"), "1");
    // The engine's client is nobody's to keep.
    sh("pkill -9 -f \"^[^ ]*$E (attach|start)\"");
    thread::sleep(Duration::from_secs(3));
    let after = login.view("web");
    assert_eq!((&after["state"], &after["pid"]), (&json!("running"), &view["pid"]), "{after}");
}

/// One that answers at its published port after a moment and is waited for; one that another waits
/// for in vain; and one that is ended for it, and started again.
fn looked_at(login: &mut Login) {
    let one = |name: &str, command: &str, more: &str| {
        let command = format!("trap \"exit 0\" INT; {command}while :; do sleep 0.05; done");
        let rest = format!("image: \"box:1\", command: [sh, -c, '{command}'], {more}");
        format!("  {name}: {{type: container, {rest}}}\n")
    };
    let serves = "sleep 1; httpd -p 80 -h /tmp; echo >/tmp/up; ";
    let well =
        one("well", serves, "ports: [\"8081:80\"], health: {http: \"http://localhost:8081/up\"}");
    let after = one(
        "after",
        "echo >/tmp/up; ",
        "depends_on: {well: healthy}, health: {exec: test -e /tmp/up}",
    );
    let lines = login.apply(&format!("{WEB}{well}{after}"));
    assert_eq!(lines.last().unwrap(), &json!({"result": {}}), "{lines:?}");
    let healthy = |view: &Value| view["health"]["state"] == "healthy";
    let before = login.view("well");
    assert!(healthy(&before), "what needs it was started: {before}");
    login.until("after", healthy);
    login.kill_work();
    login.start_work();
    let now = login.view("well");
    assert!(healthy(&now) && now["pid"] == before["pid"], "{before} {now}");

    let check = "health: {exec: \"echo ill; exit 3\", interval: 100ms, timeout: 200ms}";
    let ill = one("ill", "", &format!("restart: never, {check}"));
    let never = one("never", "", "depends_on: {ill: healthy}");
    let again = one("again", "", check);
    let lines = login.apply(&format!("{WEB}{ill}{never}{again}"));
    let why = lines.last().unwrap()["error"]["message"].as_str().unwrap();
    assert!(why.contains("needs ill to be healthy, and it is unhealthy"), "{why}");
    // The last look of a start has a second, which an engine beside other work may need for itself;
    // those after it have more.
    let view = login.until("ill", |view| {
        let health = &view["health"];
        health["state"] == "unhealthy" && health["why"] == "its check ended with 3: ill"
    });
    let told = (&view["state"], &view["health"]["why"], &view["health"]["will_restart"]);
    assert_eq!(told, (&json!("running"), &json!("its check ended with 3: ill"), &json!(false)));
    assert_eq!(login.view("never")["state"], "new");
    let view = login.until("again", |view| view["generation"].as_u64() > Some(1));
    assert_eq!(view["last_exit"], json!({"code": 0}), "{view}\n{}", login.said("again"));
    let lines = login.apply(WEB);
    assert_eq!(lines.last().unwrap(), &json!({"result": {}}), "{lines:?}");
}

fn ended(login: &Login, id: &str) {
    let pid = login.view("web")["pid"].clone();
    let began = Instant::now();
    let view = login.act("stop", "web");
    assert_eq!((&view["state"], &view["wanted"]), (&json!("stopped"), &json!(false)), "{view}");
    assert_eq!(view["last_exit"], json!({"code": 7}), "{view}\n{}", login.said("web"));
    assert!(began.elapsed() < Duration::from_secs(9), "it was asked as its image says");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(login.said("web").contains(" o bye\n"), "{}", login.said("web"));
    assert_eq!((sh("$E ps -q | wc -l").as_str(), sh(ID).as_str()), ("0", id));
    let view = login.act("restart", "web");
    assert_eq!((&view["state"], sh(ID).as_str()), (&json!("running"), id));
    // By itself, by somebody else, and for want of memory.
    let once = format!(
        "{WEB}  once: {{type: container, image: \"box:1\", command: [sh, -c, 'exit 3'], restart: never}}\n"
    );
    login.apply(&once);
    let view = login.until("once", |view| view["state"] == "failed");
    assert_eq!(view["last_exit"], json!({"code": 3}));
    sh("$E kill -s KILL hopbox-app.web");
    let view = login.until("web", |view| view["state"] == "failed");
    assert_eq!(view["last_exit"], json!({"code": 137}));
}

/// A container of that name that somebody has made; an image that nobody has.
fn refused(login: &Login) {
    let own = sh("$E create --name hopbox-app.other docker.io/library/box:1 sleep 1000");
    sh("$E start hopbox-app.other");
    let other = "  other: {type: container, image: \"box:1\"}\n";
    let lines = login.apply(other);
    let error = &lines.last().unwrap()["error"];
    let why = error["message"].as_str().unwrap();
    assert!(why.contains(&format!("{} rename hopbox-app.other", engine())), "{why}");
    assert_eq!(sh("$E ps -q --no-trunc -f name=hopbox-app.other"), own);
    login.apply("");
    assert_eq!(sh("$E ps -q --no-trunc -f name=hopbox-app.other"), own, "it is gone");

    let none = "  none: {type: container, image: \"localhost/nothing:1\"}\n";
    let lines = login.apply(none);
    let why = lines.last().unwrap()["error"]["message"].as_str().unwrap();
    assert!(why.contains(&format!("{} pull localhost/nothing:1", engine())), "{why}");
    let is_told = |line: &Value| line["event"]["err"].is_string();
    assert!(lines.iter().any(is_told), "{lines:?}");
}

/// With the volume that nobody has named, and only after it was in the plan.
fn removed(login: &Login) {
    login.apply(WEB);
    let id = sh(ID);
    let before = sh("$E volume ls -q | wc -l");
    let other = WEB.replace("pids: 40", "pids: 41");
    let steps = login.plan(&other)["steps"].clone();
    assert_eq!(steps[0]["volumes"], json!(["/vol"]), "{steps}");
    login.apply(&other);
    let view = login.until("web", |view| view["state"] == "running");
    assert_eq!((view["degraded"].clone(), sh(ID) == id), (json!([]), false));
    assert_eq!(sh("$E volume ls -q | wc -l"), before);
    let steps = login.plan("")["steps"].clone();
    assert_eq!((&steps[0]["do"], &steps[0]["volumes"]), (&json!("remove"), &json!(["/vol"])));
    login.apply("");
    assert_eq!(sh("$E ps -a --format '{{.Names}}'"), "hopbox-app.other");
    assert_eq!(
        sh("$E kill hopbox-app.other >/dev/null; $E rm -f -v hopbox-app.other >/dev/null; \
                   $E volume ls -q"),
        ""
    );
    assert!(fs::read_to_string(login.dir.join("data/index.html")).is_ok(), "named data stays");
}
