//! Services of a workspace on a booted machine: in units of the login's own manager, kept while the
//! agent is killed, ended as a whole, and there again after a reboot.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab;
use crate::machine::Machine;

const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
const ROOM: &str = ".local/state/hopbox-agent";
const SOON: Duration = Duration::from_secs(60);

/// One that counts aloud, one that forks as `npm run` does, one that is done at once.
const MANIFEST: &str = r#"
name: app
env: {GREETING: "hello  world"}
services:
  count:
    type: native
    command: 'i=0; while :; do i=$((i+1)); echo "$i"; sleep 0.02; done'
    limits: {memory: 64M, cpu: 0.5, pids: 40}
    health: {exec: 'test "$GREETING $HOME" = "hello  world $HOME" && pwd | grep -q "$USER"'}
  tree:
    type: native
    command: 'echo "$GREETING $HOME"; sleep 1000 & setsid sleep 1000 & wait'
    stop_timeout: 5s
    depends_on: [count]
  once:
    type: native
    command: 'exit 3'
    restart: never
"#;

pub struct Server {
    pub vps: Machine,
    token: String,
}

impl Server {
    pub fn set_up(user: &str) -> Server {
        let [vps] = Machine::boot(["vps"]);
        vps.install(Path::new(env!("CARGO_BIN_EXE_hop-agent")), "/root/hop-agent");
        super::site::install_helper(&vps, "/root");
        vps.ok("/root/hop-helper --install && /root/hop-agent install");
        let answer = vps.ok(&format!("echo '{}' | {AGENT} setup", super::agent::request(1, user)));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        vps.ok(&format!("{AGENT} start"));
        Server { vps, token: answer["token"].as_str().unwrap().to_owned() }
    }

    /// What is asked for, where `workspace.apply` puts it.
    pub fn wants(&self, user: &str, manifest: &str) {
        let desired = hopbox::workspace::read::manifest(manifest).unwrap().desired;
        let home = if user == "root" { "/root".to_owned() } else { format!("/home/{user}") };
        let dir = format!("{home}/{ROOM}/app");
        self.vps.ok_as(user, &format!("umask 077; mkdir -p {dir}"));
        fs::write(self.vps.path(&format!("{dir}/desired.json")), desired.text()).unwrap();
        self.vps.ok(&format!("chown {user}: {dir}/desired.json"));
    }

    /// As curl asks: every line of the answer.
    pub fn rpc(&self, method: &str, params: Value) -> Vec<Value> {
        let body = json!({"method": method, "params": params}).to_string();
        fs::write(self.vps.path("/root/body"), body).unwrap();
        let said = self.vps.ok(&format!(
            "curl -sS -m 60 -H 'Authorization: Bearer {}' -d @/root/body http://10.10.0.2:4200/rpc",
            self.token
        ));
        let said = said.lines().filter(|line| !line.is_empty());
        said.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What is told while this is carried out, which is all done.
    fn apply(&self, manifest: &str) -> Vec<Value> {
        let desired = hopbox::workspace::read::manifest(manifest).unwrap().desired.to_json();
        let shown = self.rpc("workspace.plan", json!({"desired": desired}));
        let digest = &shown[0]["result"]["digest"];
        let mut told = self.rpc("workspace.apply", json!({"digest": digest}));
        assert_eq!(told.pop(), Some(json!({"result": {}})), "{shown:?} {told:?}");
        told.into_iter().map(|line| line["event"].clone()).collect()
    }

    /// The last state that is told.
    pub fn act(&self, what: &str, service: &str) -> Value {
        let name = json!({"workspace": "app", "service": service});
        let lines = self.rpc(&format!("services.{what}"), name);
        let [.., view, result] = &lines[..] else { panic!("{what} {service}: {lines:?}") };
        assert_eq!(result, &json!({"result": {}}), "{what} {service}: {lines:?}");
        view["event"].clone()
    }

    pub fn view(&self, service: &str) -> Value {
        let lines = self.rpc("services.list", json!({"workspace": "app"}));
        let all = lines[0]["result"]["services"].as_array().unwrap();
        all.iter().find(|view| view["service"] == service).unwrap().clone()
    }

    pub fn until(&self, service: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let view = self.view(service);
            if is_so(&view) {
                return view;
            }
            let told = "journalctl -n 30 --no-pager; tail -n 20 /home/dev/.local/state/*/*/*/*/log";
            assert!(Instant::now() < end, "{view}\n{}", self.vps.sh(told).out);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Who listens at a port, once somebody does and its process is known.
    pub fn port(&self, port: u16) -> Value {
        let end = Instant::now() + SOON;
        loop {
            let lines = self.rpc("ports.list", json!({}));
            let all = lines[0]["result"]["ports"].as_array().unwrap();
            let found = all.iter().find(|view| view["port"] == port);
            if let Some(view) = found.filter(|view| view["owner"]["program"].is_string()) {
                return view.clone();
            }
            let there = || self.vps.sh("ps -ef; lsns -t net -o NS,PID,USER,COMMAND").out;
            assert!(Instant::now() < end, "{port}: {lines:?}\n{}", there());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// What a service said, line by line.
    pub fn said(&self, user: &str, service: &str) -> String {
        let dir = format!("{ROOM}/app/services/{service}");
        self.vps.ok_as(user, &format!("cd {dir}; cat $(ls -r log*) | sed -n 's/^[0-9]* o //p'"))
    }

    pub fn user_unit(&self, service: &str, property: &str) -> String {
        let show = format!("systemctl --user show -P {property} hopbox-app.{service}");
        let said = self.vps.ok_as("dev", &format!("XDG_RUNTIME_DIR=/run/user/2001 {show}"));
        said.trim().to_owned()
    }
}

/// Whether this machine's systemd has the controllers of limits to give.
fn has_controllers(vps: &Machine) -> bool {
    let all = vps.sh("cat /sys/fs/cgroup/cgroup.controllers").out;
    ["cpu", "memory", "pids"].iter().all(|one| all.split_whitespace().any(|word| word == *one))
}

#[test]
fn services_live_beside_the_agent_and_through_a_reboot() {
    lab::inside("services::services_live_beside_the_agent_and_through_a_reboot", || {
        let mut server = Server::set_up("dev");
        assert_eq!(server.vps.ok("loginctl show-user -P Linger dev").trim(), "yes");
        server.wants("dev", MANIFEST);
        let states = |server: &Server| {
            ["count", "once", "tree"].map(|name| server.view(name)["state"].clone())
        };
        assert_eq!(states(&server), ["new", "new", "new"]);

        let view = server.act("start", "count");
        assert_eq!((&view["state"], &view["wanted"]), (&json!("running"), &json!(true)), "{view}");
        let vps = &server.vps;
        let pid = view["pid"].to_string();
        assert_eq!(vps.ok(&format!("stat -c %U /proc/{pid}")).trim(), "dev");
        let group = vps.ok(&format!("cat /proc/{pid}/cgroup"));
        assert!(group.contains("user@2001.service/app.slice/hopbox-app.count.service"), "{group}");
        assert_eq!(server.user_unit("count", "ActiveState"), "active");
        // A limit is what the kernel has; where it has none, that is said.
        let degraded = view["degraded"].as_array().unwrap().len();
        assert_eq!(degraded, if has_controllers(vps) { 0 } else { 3 }, "{view}");
        server.until("count", |view| view["health"]["state"] == "healthy");
        // Again: it is there.
        assert_eq!(server.act("start", "count")["pid"], view["pid"]);

        let tree = server.act("start", "tree");
        assert_eq!(tree["state"], "running");
        assert_eq!(server.said("dev", "tree"), "hello  world /home/dev\n");
        server.act("start", "once");
        let once = server.until("once", |view| view["state"] == "failed");
        assert_eq!((&once["last_exit"], &once["restarts"]), (&json!({"code": 3}), &json!(0)));

        killed_agents(&server, &pid);
        killed_keeper(&server);

        // As a whole, whoever only waits, and whoever has a session of their own.
        let view = server.act("stop", "tree");
        assert_eq!((&view["state"], &view["wanted"]), (&json!("stopped"), &json!(false)), "{view}");
        assert_ne!(vps.sh("pgrep -u dev -x sleep -a | grep 'sleep 1000'").code, 0, "orphans");
        assert_eq!(server.user_unit("tree", "ActiveState"), "inactive");
        // Another program in the place of the one that runs, as in an upgrade.
        let program = "/usr/libexec/hopbox/hop-agent";
        vps.ok(&format!("cp {program} {program}.new && mv {program}.new {program}"));
        let restarted = server.act("restart", "count");
        assert_ne!(restarted["pid"].to_string(), pid);
        assert_eq!(restarted["state"], "running");

        // The machine's next life: what was to run runs, and nothing else.
        server.vps.reboot();
        let again = server.until("count", |view| view["state"] == "running");
        assert!(again["last_exit"].is_object(), "{again}");
        assert!(again["generation"].as_u64() > restarted["generation"].as_u64(), "{again}");
        assert_eq!(server.view("tree")["state"], "stopped");

        only_what_differs(&server);

        server.vps.ok(&format!("{AGENT} uninstall --purge"));
        let left = "ls /var/lib/systemd/linger; ls -d /etc/systemd/system/user@*; \
                    pgrep -u dev -a -f 'hop-agent keep'";
        let end = Instant::now() + SOON;
        loop {
            let left = server.vps.sh(left).out;
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "{left}");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// What is as it should be is not touched, and a hook has what a login has.
fn only_what_differs(server: &Server) {
    let count = server.view("count");
    let hooks = "hooks: {setup: 'id -un; pwd; echo $GREETING'}\nservices:";
    let manifest = MANIFEST.replace("exit 3", "exit 0").replace("services:", hooks);
    let told = server.apply(&manifest);
    let said: String = told.iter().filter_map(|event| event["out"].as_str()).collect();
    assert_eq!(said, "dev\n/home/dev\nhello world\n");
    let done = told.iter().filter(|event| event["done"] == true);
    let mut done: Vec<String> = done.map(|event| event["step"].to_string()).collect();
    done.sort();
    let steps = [
        json!({"do": "keep"}),
        json!({"do": "replace", "service": "once", "volumes": []}),
        json!({"do": "setup"}),
        json!({"do": "start", "service": "tree"}),
    ];
    assert_eq!(done, steps.map(|step| step.to_string()));
    server.until("once", |view| view["state"] == "done");
    assert_eq!(server.view("tree")["state"], "running");
    assert_eq!(server.view("count")["pid"], count["pid"]);
    assert!(server.apply(&manifest).is_empty(), "nothing is left to do");
    server.apply("name: app\n");
    assert_eq!(server.rpc("services.list", json!({}))[0]["result"]["services"], json!([]));
    let left = server.vps.sh("systemctl --user -M dev@ list-units 'hopbox-app*' --no-legend").out;
    assert_eq!(left, "", "units");
}

/// Root has no manager but the system's; and a machine whose manager was replaced has its services.
#[test]
fn a_root_login_has_units_of_the_systems() {
    lab::inside("services::a_root_login_has_units_of_the_systems", || {
        let server = Server::set_up("root");
        server.wants("root", MANIFEST);
        let view = server.act("start", "count");
        assert_eq!(view["state"], "running", "{view}");
        let group = server.vps.ok(&format!("cat /proc/{}/cgroup", view["pid"]));
        assert!(group.contains("/system.slice/hopbox-app.count.service"), "{group}");
        // Somebody else's word to the manager is no wish of ours: it is there again.
        server.vps.ok("systemctl stop hopbox-app.count; systemctl restart hop-agent-work");
        let again = server.until("count", |view| view["state"] == "running");
        assert_ne!(again["pid"], view["pid"]);
        // Sixteen at once on one service: one of them does it, nobody's answer is another's.
        let ask = |n: usize| {
            let what = if n % 2 == 0 { "restart" } else { "start" };
            let service = if n % 4 < 2 { "count" } else { "tree" };
            format!(
                "curl -sS -m 60 -H 'Authorization: Bearer {}' -d '{{\"method\":\"services.{what}\",\
                 \"params\":{{\"workspace\":\"app\",\"service\":\"{service}\"}}}}' \
                 http://10.10.0.2:4200/rpc >/tmp/answer.{service}.{n} & ",
                server.token
            )
        };
        server.vps.ok(&((0..16).map(ask).collect::<String>() + "wait"));
        for service in ["count", "tree"] {
            let said = server.vps.ok(&format!("cat /tmp/answer.{service}.*"));
            let other =
                if service == "tree" { "\"service\":\"count\"" } else { "\"service\":\"tree\"" };
            assert!(!said.contains(other), "{said}");
            let view = server.until(service, |view| view["state"] == "running");
            let alive = server.vps.ok(&format!(
                "cat /sys/fs/cgroup/systemd/system.slice/hopbox-app.{service}.service/cgroup.procs \
                 /sys/fs/cgroup/system.slice/hopbox-app.{service}.service/cgroup.procs 2>/dev/null || :"
            ));
            let pid = view["pid"].to_string();
            assert!(alive.lines().any(|line| line == pid), "{alive} {view}");
        }
        // Who is not there, and what cannot be a name.
        for (params, code) in [
            (json!({"workspace": "app", "service": "nothing"}), "not_found"),
            (json!({"workspace": "other", "service": "count"}), "not_found"),
            (json!({"workspace": "../app", "service": "count"}), "bad_params"),
            (json!({"workspace": "app", "service": "../count"}), "bad_params"),
            (json!({"workspace": "app"}), "bad_params"),
        ] {
            let lines = server.rpc("services.start", params);
            assert_eq!(lines[0]["error"]["code"], code, "{lines:?}");
        }
        assert_eq!(
            server.rpc("services.list", json!({"workspace": "no"}))[0]["error"]["code"],
            "not_found"
        );
        what_is_public_is_open(&server);
    });
}

const MOUNTED: &str = r#"
name: app
services:
  web:
    type: native
    command: 'echo here > ~/shop/tmp/made; exec sleep 100000'
    tmpfs: [{path: ~/shop/tmp, size: 1M}]
    volumes: [{path: ~/shop/data, source: /srv/data}]
"#;

/// By root's helper, before a service starts and until it is removed; what cannot be mounted is
/// taken back, and the service does not start.
fn what_is_mounted_is_there_while_it_is_wanted(server: &Server) {
    let vps = &server.vps;
    let mounts = || {
        let text = vps.ok("cat /proc/1/mountinfo");
        let of = |line: &str| {
            let place = line.split(' ').nth(4)?.strip_prefix("/root/shop/")?.to_owned();
            Some((place, line.contains(" ro,")))
        };
        let mut found: Vec<(String, bool)> = text.lines().filter_map(of).collect();
        found.sort();
        found
    };
    let both = [("data".to_owned(), true), ("tmp".to_owned(), false)];
    vps.ok("mkdir -p /srv/data && echo x >/srv/data/file");
    // Root has not listed it.
    let plan = |manifest: &str| {
        let desired = hopbox::workspace::read::manifest(manifest).unwrap().desired.to_json();
        server.rpc("workspace.plan", json!({"desired": desired})).remove(0)
    };
    let shown = plan(MOUNTED);
    let told = server.rpc("workspace.apply", json!({"digest": shown["result"]["digest"]}));
    let told = format!("{told:?}");
    assert!(told.contains("~/shop/data is not mounted") && told.contains("bind-sources"), "{told}");
    assert_ne!(server.view("web")["state"], "running");
    assert_eq!(mounts(), [], "what was mounted before that is taken back");
    vps.ok("echo /srv/data >/etc/hopbox/bind-sources");
    server.apply(MOUNTED);
    assert_eq!(server.view("web")["state"], "running");
    assert_eq!(mounts(), both);
    server.until("web", |_| vps.sh("cat /root/shop/tmp/made").code == 0);
    vps.ok("cat /root/shop/data/file");
    assert_eq!(plan(MOUNTED)["result"]["steps"], json!([]), "what is there is not asked for again");
    // As after a boot, in which mounts go.
    server.act("stop", "web");
    vps.ok("umount /root/shop/tmp /root/shop/data");
    server.act("start", "web");
    assert_eq!(mounts(), both);
    // Another service has its place there; and another size is another mount.
    let other = MOUNTED.replace(
        "  web:",
        "  else: {type: native, command: exec sleep 9999, \
                                           tmpfs: [{path: ~/shop/tmp, size: 1M}]}\n  web:",
    );
    let shown = plan(&other);
    let told = server.rpc("workspace.apply", json!({"digest": shown["result"]["digest"]}));
    assert!(format!("{told:?}").contains("another service has it there"), "{told:?}");
    assert_eq!(mounts(), both);
    let larger = MOUNTED.replace("size: 1M", "size: 2M");
    server.apply(&larger.replace("    volumes: [{path: ~/shop/data, source: /srv/data}]\n", ""));
    assert_eq!(mounts(), [("tmp".to_owned(), false)]);
    vps.ok("grep /root/shop/tmp /proc/1/mountinfo | grep -q size=2048k");
    server.apply("name: app\n");
    assert_eq!(mounts(), []);
}

const PUBLIC: &str = r#"
name: app
services:
  web:
    type: native
    command: 'exec python3 -m http.server --bind 0.0.0.0 8080'
    ports: [8080]
    public: true
"#;

/// What is public is asked for, open while it is wanted, and ended where it cannot be opened.
fn what_is_public_is_open(server: &Server) {
    let vps = &server.vps;
    let plan = |manifest: &str| {
        let desired = hopbox::workspace::read::manifest(manifest).unwrap().desired.to_json();
        server.rpc("workspace.plan", json!({"desired": desired})).remove(0)
    };
    assert_eq!(plan(PUBLIC)["error"]["code"], "no_firewall", "there is no helper for it");
    vps.ok("/root/hop-helper-server --install");
    // Root's word that nothing is opened: the service does not stay.
    vps.ok("touch /etc/hopbox/lockdown");
    let shown = plan(PUBLIC);
    let steps = shown["result"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["do"] == "publish"), "{shown}");
    let told = server.rpc("workspace.apply", json!({"digest": shown["result"]["digest"]}));
    let why = told.last().unwrap()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("web is stopped, since it is not open"), "{told:?}");
    assert_eq!(server.view("web")["state"], "stopped");
    assert_ne!(vps.sh("nft list table inet hopbox | grep 8080").code, 0);
    vps.ok("rm /etc/hopbox/lockdown");

    server.apply(PUBLIC);
    assert_eq!(server.view("web")["state"], "running");
    vps.ok("nft list table inet hopbox | grep -q 'tcp dport 8080 accept'");
    let listed = server.rpc("firewall.list", json!({}));
    let rules = listed[0]["result"]["rules"].as_array().unwrap();
    let of_app = rules.iter().find(|rule| rule["spec"]["app_name"] == "hopbox-app").unwrap();
    assert_eq!(of_app["effective"], "accepted", "{listed:?}");
    assert_eq!(plan(PUBLIC)["result"]["steps"], json!([]), "what is open is not asked for again");
    // Closed by hand, it is opened again by the next plan, and by that alone.
    server.rpc("firewall.close", json!({"rule_id": of_app["rule_id"]}));
    assert_eq!(plan(PUBLIC)["result"]["steps"][0]["do"], "publish");
    server.apply(PUBLIC);
    // Another namespace gets what is let in, and a chain of somebody's that drops it is named.
    vps.ok("ip netns add far && ip link add near type veth peer name far netns far && \
            ip addr add 192.0.2.1/24 dev near && ip link set near up && \
            ip -n far addr add 192.0.2.2/24 dev far && ip -n far link set far up");
    let get = "ip netns exec far curl -sS -m 5 -o /dev/null http://192.0.2.1:8080/";
    let end = Instant::now() + SOON;
    while vps.sh(get).code != 0 {
        assert!(Instant::now() < end, "{}", vps.sh(get));
    }
    let private = PUBLIC.replace("    public: true\n", "");
    let told = server.apply(&private);
    assert_eq!(told[0]["step"]["do"], "close", "{told:?}");
    assert_ne!(vps.sh("nft list table inet hopbox | grep 8080").code, 0);
    vps.ok("nft 'table inet own { chain in { type filter hook input priority 0; \
            tcp dport 8080 drop; }; }'");
    let told = server.apply(PUBLIC);
    assert!(json!(told).to_string().contains("the chain inet own in"), "{told:?}");
    assert_ne!(vps.sh(&get.replace("-m 5", "-m 1")).code, 0);
    what_is_mounted_is_there_while_it_is_wanted(server);
    server.apply(PUBLIC);
    // The agent's end is the end of what it opened.
    vps.ok("/root/hop-agent uninstall --purge");
    assert_ne!(vps.sh("nft list table inet hopbox").code, 0);
}

/// The agent is killed and replaced: the same processes, and every line that was said.
fn killed_agents(server: &Server, pid: &str) {
    for unit in ["hop-agent-work", "hop-agent"] {
        server.vps.ok(&format!(
            "for i in $(seq 10); do kill -9 $(systemctl show -P MainPID {unit}); \
             systemctl restart {unit}; done"
        ));
    }
    server.vps.ok(&format!("{AGENT} start --restart"));
    let view = server.until("count", |view| view["state"] == "running");
    assert_eq!(view["pid"].to_string(), pid);
    assert_eq!((&view["generation"], &view["restarts"]), (&json!(1), &json!(0)));
    assert_eq!(view["health"]["state"], "healthy", "{view}");
    let said = server.said("dev", "count");
    let numbers: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() > 20 && numbers.iter().copied().eq(1..=numbers.len() as u64), "{said}");

    // One that ends while nobody looks: how it ended is known.
    server.vps.ok("systemctl stop hop-agent-work");
    let keeper = server.user_unit("count", "MainPID");
    server.vps.ok(&format!("pkill -9 -P {keeper}; sleep 1; systemctl start hop-agent-work"));
    let view = server.until("count", |view| view["state"] == "running");
    assert_eq!(
        (&view["last_exit"], &view["restarts"]),
        (&json!({"signal": 9}), &json!(1)),
        "{view}"
    );
}

/// What was started goes with it, and the next keeper goes on.
fn killed_keeper(server: &Server) {
    let before = server.view("tree");
    let old = before["pid"].to_string();
    let keeper = server.user_unit("tree", "MainPID");
    server.vps.ok(&format!("kill -9 {keeper}"));
    let view = server.until("tree", |view| {
        view["state"] == "running" && view["generation"].as_u64() > before["generation"].as_u64()
    });
    assert_eq!(view["last_exit"], json!({"lost": "keeper"}), "{view}");
    let sleeping = server.vps.ok("pgrep -u dev -x sleep -a | grep -c 'sleep 1000'");
    assert_eq!(sleeping.trim(), "2", "orphans, or two at a time");
    assert_eq!(server.vps.sh(&format!("kill -0 {old}")).code, 1);
}
