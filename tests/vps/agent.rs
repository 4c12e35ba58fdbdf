//! `hop-agent` on a server as root and systemd see it: set up twice, asked, restarted, removed.

use std::collections::BTreeSet;
use std::path::Path;

use hopbox::base::key;
use hopbox::tunnel;
use serde_json::{Value, json};

use crate::lab;
use crate::machine::{Machine, Said};

mod guard;

const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
const HELPER: &str = "/usr/libexec/hopbox/hop-helper";

/// A server on which helper and agent are installed and nothing is set up.
fn installed() -> Machine {
    let [vps] = Machine::boot(["vps"]);
    let agent = Path::new(env!("CARGO_BIN_EXE_hop-agent"));
    vps.install(agent, "/root/hop-agent");
    super::site::install_helper(&vps, "/root");
    vps.ok("/root/hop-helper --install");
    let answer = json(&vps.ok("/root/hop-agent install"));
    assert_eq!(answer["changed"], true, "{answer}");
    vps
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is said to help, to people or to the laptop.
fn fix_of(said: &Said) -> String {
    let error = serde_json::from_str::<Value>(&said.out).unwrap_or_default();
    error["error"]["fix"].as_str().map_or_else(|| said.fix().to_owned(), str::to_owned)
}

fn public(n: u8) -> String {
    key::encode(&tunnel::public_key(&[n; 32])).to_string()
}

pub fn request(n: u8, user: &str) -> String {
    json!({"version": 1, "public_key": public(n), "name": "laptop", "user": user}).to_string()
}

/// `hop-agent setup` with this on standard input; exit code and answer.
fn setup(vps: &Machine, request: &str) -> (i32, Value) {
    let said = vps.sh(&format!("echo '{request}' | {AGENT} setup"));
    (said.code, json(&said.out))
}

/// Everything on the machine's disk but what booting and logging change by themselves.
fn files(vps: &Machine) -> String {
    vps.ok("cd / && find etc home opt root/.config root/.ssh usr/libexec usr/lib/systemd \
         usr/lib/sysusers.d var/lib/hopbox* -printf '%p %m %u %g %l\\n' 2>/dev/null | \
         LC_ALL=C sort; ls -A / /var/lib")
}

const WORK_PID: &str = "systemctl show -P MainPID hop-agent-work";

/// The other process has its user's rights and no sandbox, streams through the first, and what
/// runs below it goes on when it is replaced.
fn work_is_beside(vps: &Machine, status: &Value, token: &str) {
    assert_eq!(status["work"]["version"], env!("CARGO_PKG_VERSION"), "{status}");
    let pid = vps.ok(WORK_PID).trim().to_owned();
    assert_eq!(status["work"]["pid"].to_string(), pid);
    assert_eq!(vps.ok(&format!("stat -c %U /proc/{pid}")).trim(), "dev");
    let of = |pid: &str| vps.ok(&format!("grep -E 'NoNewPrivs|Seccomp:' /proc/{pid}/status"));
    assert_eq!(of(&pid), "NoNewPrivs:\t0\nSeccomp:\t0\n");
    let front = vps.ok("systemctl show -P MainPID hop-agent").trim().to_owned();
    assert_eq!(of(&front), "NoNewPrivs:\t1\nSeccomp:\t2\n");

    let ask = |body: &str, meanwhile: &str| {
        vps.ok(&format!(
            "bash <<'END'\nexec 3<>/dev/tcp/10.10.0.2/4200\nprintf 'POST /rpc HTTP/1.1\\r\\nHost: \
             10.10.0.2\\r\\nAuthorization: Bearer {token}\\r\\nContent-Length: {}\\r\\n\\r\\n%s' \
             '{body}' >&3\n{meanwhile}\ncat <&3\nEND",
            body.len()
        ))
    };
    a_run_is_the_logins(&ask);
    let said = ask(r#"{"method":"agent.clock","params":{"interval_ms":10,"count":2}}"#, ":");
    assert!(said.contains("application/x-ndjson"), "{said}");
    assert_eq!((said.matches("{\"event\":").count(), said.matches("{\"result\":").count()), (2, 1));

    // Into the unit's group, whatever the hierarchies of this machine are.
    let below = vps.ok("sleep 1000 >/dev/null 2>&1 & echo $!; \
         find /sys/fs/cgroup/ -path '*hop-agent-work.service/cgroup.procs' | \
         grep . >/tmp/groups || exit; \
         while read -r group; do echo $! >$group || exit; done </tmp/groups; rm /tmp/groups");
    let below = below.trim();
    let status = json(&vps.ok(&format!("{AGENT} start --restart")));
    assert_ne!(status["work"]["pid"].to_string(), pid, "{status}");
    assert_eq!(vps.sh(&format!("kill -0 {below}")).code, 0, "it was ended");
    vps.ok(&format!("systemctl stop hop-agent-work; kill -0 {below}; kill {below}"));
    let status = json(&vps.ok(&format!("{AGENT} status --json")));
    assert_eq!((&status["running"], &status["work"]), (&json!(true), &Value::Null), "{status}");
    assert!(json(&vps.ok(&format!("{AGENT} start")))["work"]["pid"].is_u64());
}

/// It has what a shell of the login's has, and goes on while what started it is replaced.
fn a_run_is_the_logins(ask: &dyn Fn(&str, &str) -> String) {
    let run = |script: &str, meanwhile: &str| {
        let params = json!({"command": ["sh", "-c", script]});
        let said = ask(&json!({"method": "run.start", "params": params}).to_string(), meanwhile);
        let (_, lines) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said}"));
        let lines = lines.lines().filter(|line| !line.is_empty()).map(json);
        let told: Vec<Value> = lines.collect();
        let texts = told.iter().filter_map(|line| line["event"]["out"].as_str());
        (texts.collect::<String>(), told.last().unwrap()["result"].clone())
    };
    let script = "id -un; pwd; echo $HOME $USER $SHELL; grep NoNewPrivs /proc/self/status; \
                  ls /root 2>&1 | grep -c denied; systemctl --version >/dev/null && echo systemd; \
                  env | grep -c -e INVOCATION_ID -e JOURNAL_STREAM; cat /proc/self/oom_score_adj";
    let (said, ended) = run(script, ":");
    let expected = "dev\n/home/dev\n/home/dev dev /bin/sh\nNoNewPrivs:\t0\n1\nsystemd\n0\n0\n";
    assert_eq!((said.as_str(), &ended), (expected, &json!({"code": 0})));
    let (said, ended) =
        run("echo a; sleep 3; echo b; exit 4", "sleep 1; systemctl restart hop-agent-work");
    assert_eq!((said.as_str(), &ended), ("a\nb\n", &json!({"code": 4})));
}

#[test]
fn a_server_is_set_up_for_two_laptops_and_cleaned_again() {
    lab::inside("agent::a_server_is_set_up_for_two_laptops_and_cleaned_again", || {
        let [vps] = Machine::boot(["vps"]);
        let agent = Path::new(env!("CARGO_BIN_EXE_hop-agent"));
        vps.install(agent, "/root/hop-agent");
        super::site::install_helper(&vps, "/root");
        let tables = "md5sum /etc/group /etc/gshadow /etc/passwd /etc/hosts";
        let before = (files(&vps), vps.ok(tables));

        let said = vps.sh(&format!("echo '{}' | /root/hop-agent setup", request(1, "dev")));
        assert_eq!(said.code, 5, "no helper yet: {}", said.out);
        vps.ok("/root/hop-helper --install; /root/hop-agent install");

        let (code, first) = setup(&vps, &request(1, "dev"));
        assert_eq!(code, 0, "{first}");
        let of = |answer: &Value, key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(of(&first, "agent_address"), "10.10.0.2");
        assert_eq!(of(&first, "laptop_address"), "10.10.0.1");
        assert_eq!(of(&first, "interface"), "wg0");
        let status = json(&vps.ok(&format!("{AGENT} start")));
        assert_eq!(status["running"], true, "{status}");
        work_is_beside(&vps, &status, &of(&first, "token"));
        assert_eq!(vps.ok("stat -c '%U %a' /var/lib/hopbox-agent/agent.key").trim(), "dev 600");
        assert_eq!(vps.ok("stat -c '%U %a' /var/lib/hopbox-agent/agent.json").trim(), "dev 600");
        let dirs = vps.ok("stat -c '%U %G %a' /etc/hopbox /var/lib/hopbox-agent");
        assert_eq!(dirs, "root root 755\ndev dev 700\n");
        for act in
            ["echo x >helper.json", "rm -f helper.json", "mv helper.json x", "touch lockdown"]
        {
            assert_ne!(vps.sh_as("dev", &format!("cd /etc/hopbox && {act}")).code, 0, "{act}");
        }
        assert_eq!(vps.ok("stat -c '%U %a' /etc/hopbox/helper.json").trim(), "root 644");
        let pid = vps.ok("systemctl show -P MainPID hop-agent").trim().to_owned();
        assert_eq!(vps.ok(&format!("stat -c %U /proc/{pid}")).trim(), "dev");
        assert!(vps.ok("ip -4 -o address show wg0").contains("10.10.0.2/24"));
        let health = "exec 3<>/dev/tcp/10.10.0.2/4200; printf 'GET /health HTTP/1.1\\r\\n\
                      Host: 10.10.0.2\\r\\n\\r\\n' >&3; cat <&3";
        assert!(vps.ok(&format!("bash -c \"{health}\"")).contains("\"status\":\"ok\""));

        // The same laptop again, and another one with another login; the agent runs on.
        let (_, again) = setup(&vps, &request(1, "dev"));
        for key in ["token", "preshared_key", "agent_public_key", "laptop_address"] {
            assert_eq!(again[key], first[key], "{key}");
        }
        assert_eq!(again["created"], false);
        let (code, second) = setup(&vps, &request(2, "pat"));
        assert_eq!(code, 0, "{second}");
        assert_eq!(of(&second, "laptop_address"), "10.10.0.3");
        assert_ne!(second["token"], first["token"]);
        assert_eq!(vps.ok("systemctl show -P MainPID hop-agent").trim(), pid, "no restart");
        let peers = json(&vps.ok(&format!("{AGENT} peers list")));
        assert_eq!(peers["peers"].as_array().unwrap().len(), 2, "{peers}");
        let shown = vps.ok_as("dev", &format!("{AGENT} status"));
        assert!(shown.contains("laptop-2") && shown.contains("never seen"), "{shown}");

        // No secret where others look.
        let secrets = [of(&first, "token"), of(&first, "preshared_key"), of(&second, "token")];
        let looks = "cat /proc/*/cmdline /proc/*/environ /var/log/hopbox/audit.log | tr '\\0' ' '; \
                     journalctl --no-pager; systemctl show hop-agent; hop() { :; }";
        let seen = vps.ok(&format!("{looks}; {AGENT} status --json; {AGENT} peers list"));
        let key = vps.ok("cat /var/lib/hopbox-agent/agent.key").trim().to_owned();
        for secret in secrets.iter().chain([&key]) {
            assert!(!secret.is_empty() && !seen.contains(secret.as_str()), "a secret is told");
        }

        // It survives what systemd does, and its own end.
        vps.ok("systemctl reload hop-agent; systemctl restart hop-helper; sleep 0.3");
        assert_eq!(vps.ok("systemctl show -P MainPID hop-agent").trim(), pid);
        let work = vps.ok(WORK_PID);
        vps.ok(&format!(
            "kill -9 {pid}; for i in $(seq 100); do sleep 0.1; n=$(systemctl show -P MainPID \
             hop-agent); [ $n != 0 ] && [ $n != {pid} ] && exit; done; exit 1"
        ));
        assert_eq!(vps.ok(WORK_PID), work, "the crash of one is none of the other's");
        let status = json(&vps.ok(&format!("{AGENT} start")));
        assert_eq!(status["peers"].as_array().unwrap().len(), 2, "{status}");

        let gone = json(&vps.ok(&format!("{AGENT} peers remove laptop-2")));
        assert_eq!(gone["public_key"], public(2).as_str());
        assert_eq!(vps.sh(&format!("{AGENT} peers remove laptop-2")).code, 4);
        assert_eq!(vps.sh(&format!("{AGENT} peers remove laptop")).code, 0);

        vps.ok(&format!("{AGENT} uninstall --purge"));
        vps.ok(&format!("{HELPER} --uninstall"));
        assert_eq!(vps.sh("ip link show wg0").code, 1);
        let after = (files(&vps), vps.ok(tables));
        assert_eq!(after.1, before.1);
        let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
            (before.0.lines().collect(), after.0.lines().collect());
        let more: Vec<_> = new.difference(&old).collect();
        let less: Vec<_> = old.difference(&new).collect();
        assert!(more.is_empty() && less.is_empty(), "left: {more:#?}\nmissing: {less:#?}");
    });
}

/// An agent that is hung, and one whose port another program has.
fn what_does_not_serve(vps: &Machine) {
    vps.ok(&format!("{AGENT} start && kill -STOP $(systemctl show -P MainPID hop-agent)"));
    let hung = vps.sh_as("dev", &format!("{AGENT} status"));
    assert_eq!(fix_of(&hung), "sudo systemctl restart hop-agent", "{hung}");
    vps.ok_as("dev", &fix_of(&hung));
    vps.ok_as("dev", &format!("until {AGENT} status; do sleep 0.1; done"));
    vps.ok("systemctl stop hop-agent && systemd-run -q -u other python3 -m http.server 4200 && \
            for i in $(seq 100); do ss -tln | grep -q :4200 && exit; sleep 0.1; done; exit 1");
    let said = vps.ok("systemctl start --no-block hop-agent; for i in $(seq 100); do \
            journalctl -o cat -u hop-agent | grep '^fix: .* ss ' && exit; sleep 0.1; done; exit 1");
    let shown = vps.ok_as("dev", said.lines().next().unwrap().trim_start_matches("fix: "));
    assert!(shown.contains(":4200 ") && shown.contains("\"python3\""), "{said}{shown}");
    vps.ok(&format!("systemctl stop other && {AGENT} start"));
}

#[test]
fn what_is_taken_or_damaged_is_left_alone() {
    lab::inside("agent::what_is_taken_or_damaged_is_left_alone", || {
        let vps = installed();
        // Another WireGuard, which is not even up: its name and its port are its own.
        vps.ok("mkdir -p /etc/wireguard; printf '[Interface]\\nListenPort = 51820\\n' \
                >/etc/wireguard/wg0.conf; ip address add 10.10.0.7/32 dev lo");
        let (code, answer) = setup(&vps, &request(1, "dev"));
        assert_eq!(code, 0, "{answer}");
        assert_eq!(answer["interface"], "hopbox0");
        assert_eq!(answer["listen_port"], 51821);
        assert_eq!(answer["agent_address"], "10.10.1.2");
        let status = json(&vps.ok(&format!("{AGENT} start")));
        assert_eq!(status["interface"], "hopbox0", "{status}");
        assert_eq!(status["heard"], false, "{status}");
        vps.ok(
            "printf x >/dev/udp/127.0.0.1/51821 || bash -c 'printf x >/dev/udp/127.0.0.1/51821'",
        );
        let status = json(&vps.ok(&format!("sleep 0.2; {AGENT} status --json")));
        assert_eq!(status["heard"], true, "which side saw packets: {status}");

        let refused = |request: &str, code: i32, word: &str| {
            let (seen, answer) = setup(&vps, request);
            assert_eq!(seen, code, "{request}: {answer}");
            for key in ["fault", "code", "what", "why", "fix"] {
                assert!(answer["error"][key].is_string(), "{answer}");
            }
            assert!(answer.to_string().contains(word), "{word}: {answer}");
        };
        refused("{}", 2, "version");
        refused("x", 2, "JSON");
        refused(&request(2, "nobody-here"), 2, "nobody-here");
        refused(&request(2, "-x"), 2, "begin with -");
        let mut taken: Value = json(&request(2, "dev"));
        taken["numbers_taken"] = json!([1]);
        refused(&taken.to_string(), 8, "10.10.1.0/24");
        let said = vps.sh_as("guest", &format!("echo '{}' | {AGENT} setup", request(2, "guest")));
        assert_eq!((said.code, said.out.contains("needs root")), (2, true), "{}", said.out);

        // A damaged key is named, and stays as it is.
        vps.ok("cp -p /var/lib/hopbox-agent/agent.key /root/key; echo damaged >/var/lib/hopbox-agent/agent.key");
        refused(&request(2, "dev"), 2, "/var/lib/hopbox-agent/agent.key");
        assert_eq!(vps.ok("cat /var/lib/hopbox-agent/agent.key"), "damaged\n");
        vps.ok("cp -p /root/key /var/lib/hopbox-agent/agent.key; cp -p /var/lib/hopbox-agent/agent.json /root/json");
        let edit = "sudo ${EDITOR:-vi} /var/lib/hopbox-agent/agent.json";
        vps.ok("echo damage >>/var/lib/hopbox-agent/agent.json");
        let damaged = vps.sh_as("dev", &format!("{AGENT} peers list"));
        assert_eq!(fix_of(&damaged), edit, "{damaged}");
        vps.ok_as("dev", &format!("EDITOR='sed -i /^damage/d'; {edit} && {AGENT} peers list"));
        // Somebody else's; and then whatever is wrong with it besides.
        vps.ok("cd /var/lib/hopbox-agent && chown pat agent.json && chmod 644 agent.json");
        for begins in ["sudo chown 2001 ", "chmod 600 "] {
            let foreign = vps.sh_as("dev", &format!("{AGENT} status"));
            let fix = fix_of(&foreign);
            assert!(fix.starts_with(begins), "{begins}: {foreign}");
            vps.ok_as("dev", &fix);
        }
        vps.ok_as("dev", &format!("{AGENT} status"));
        // An agent that was stopped.
        vps.ok("systemctl stop hop-agent");
        let stopped = vps.sh_as("dev", &format!("{AGENT} status"));
        assert_eq!((stopped.code, stopped.fix()), (3, "sudo systemctl start hop-agent.service"));
        vps.ok_as("dev", &format!("{} && sleep 1 && {AGENT} status", stopped.fix()));
        vps.ok("echo '{' >/var/lib/hopbox-agent/agent.json");
        refused(&request(2, "dev"), 2, "/var/lib/hopbox-agent/agent.json");
        vps.ok("cp -p /root/json /var/lib/hopbox-agent/agent.json");
        assert_eq!(setup(&vps, &request(2, "dev")).0, 0);
        // A disk that is full: nothing is half written, and it works again afterwards.
        let before = vps.ok("md5sum /var/lib/hopbox-agent/agent.json");
        vps.ok("mkdir /mnt/x; mount -t tmpfs -o size=64k tmpfs /mnt/x; cp -a /var/lib/hopbox-agent/. /mnt/x; \
                mount --bind /mnt/x /var/lib/hopbox-agent; \
                dd if=/dev/zero of=/var/lib/hopbox-agent/fill 2>/dev/null || :");
        refused(&request(3, "dev"), 1, "No space left");
        assert_eq!(vps.ok("md5sum /var/lib/hopbox-agent/agent.json"), before);
        vps.ok("rm /var/lib/hopbox-agent/fill");
        assert_eq!(setup(&vps, &request(3, "dev")).0, 0);

        what_does_not_serve(&vps);
        let unit = "/etc/systemd/system/hop-agent.service";
        let verified = vps.sh(&format!("systemd-analyze verify --man=no {unit}"));
        assert_eq!((verified.code, verified.err.trim()), (0, ""), "{}", verified.err);
        let security = vps.ok("systemd-analyze security --no-pager hop-agent.service");
        let level = security.lines().rfind(|line| line.contains("exposure level")).unwrap();
        let level: f32 = level.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        println!("NOTE exposure of hop-agent.service: {level}");
        eprintln!("NOTE exposure of hop-agent.service: {level}");
        assert!(level <= 2.5, "{security}");
    });
}
