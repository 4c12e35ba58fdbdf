//! What is said of a rule is what packets meet: connections from another machine, through tables of
//! others.

use super::machine::{Client, Machine};
use super::{nft, on_server, spec};
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A machine next door, 192.0.2.2, and us, 192.0.2.1, with a listener on port 80.
fn neighbour(m: &Machine) {
    let script = "set -e; ip link set lo up; ip netns add far
        ip link add near0 type veth peer name far0 netns far
        ip addr add 192.0.2.1/24 dev near0; ip link set near0 up
        ip -n far addr add 192.0.2.2/24 dev far0; ip -n far link set far0 up";
    m.run("sh", &["-c", script]);
}

/// Whether a connection from there to port 80 here comes about.
fn gets_in() -> bool {
    let script = "use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die; alarm 2;
        connect(S, sockaddr_in(80, inet_aton('192.0.2.1'))) or exit 1";
    let far = ["netns", "exec", "far", "perl", "-e", script];
    Command::new("ip").args(far).status().unwrap().success()
}

#[test]
fn effective_is_what_packets_meet() {
    on_server("kernel::effective_is_what_packets_meet", |m| {
        neighbour(m);
        let _listener = std::net::TcpListener::bind("192.0.2.1:80").unwrap();
        m.start();
        let mut client = Client::ready(m);
        let made = client.ok("firewall.add_rule", spec(80));
        assert!(made["effective"] == "accepted" && gets_in());
        let input = |rules: &str| {
            format!(
                "table inet f {{\nchain in {{ type filter hook input priority 0; {rules} }}\n}}"
            )
        };
        let established = "policy drop; ct state established,related accept;";
        let tables = [
            (input("policy drop;"), "shadowed", "inet f in"),
            (input(established), "shadowed", "inet f in"),
            (input(&format!("{established} tcp dport {{ 22, 80 }} accept;")), "accepted", ""),
            (
                input(&format!("{established} iif lo accept; tcp dport 22 accept;")),
                "shadowed",
                "inet f in",
            ),
            (input("tcp dport 1-100 reject with tcp reset;"), "shadowed", "inet f in"),
            // A verdict of ours, before or behind, is not the last word.
            (input("policy drop;").replace("priority 0", "priority 300"), "shadowed", "inet f in"),
            (
                "table ip raw {\nchain pre { type filter hook prerouting priority -300; \
                 tcp dport 80 drop; }\n}"
                    .to_owned(),
                "shadowed",
                "ip raw pre",
            ),
            (
                "table inet f {\nchain web { tcp dport vmap { 80 : accept, 81 : drop }; }
                 chain in { type filter hook input priority 0; policy drop; \
                 ct state vmap { established : accept, new : jump web }; }\n}"
                    .to_owned(),
                "accepted",
                "",
            ),
            (
                "table inet f {\nchain web { tcp dport 80 return; accept; }
                 chain in { type filter hook input priority 0; policy drop; goto web; }\n}"
                    .to_owned(),
                "shadowed",
                "inet f in",
            ),
        ];
        for (table, effective, chain) in tables {
            nft(&table);
            let rule = client.ok("firewall.list_rules", json!({}))["rules"][0].clone();
            assert_eq!(rule["effective"], effective, "{table}");
            assert_eq!(rule["chain"].as_str().unwrap_or(""), chain, "{table}");
            assert_eq!(gets_in(), effective == "accepted", "{table}");
            let name: Vec<&str> = table.split_whitespace().take(3).collect();
            nft(&format!("delete table {} {}", name[1], name[2]));
        }
        // What depends on more than the rules is not guessed.
        nft(&input("policy drop; limit rate 5/second accept;"));
        let rule = client.ok("firewall.list_rules", json!({}))["rules"][0].clone();
        assert_eq!((&rule["effective"], &rule["chain"]), (&json!("unknown"), &json!("inet f in")));
        m.stop();
    });
}

/// Copies in the place of what a firewall writes to.
fn scratch(m: &Machine, dirs: &[&str]) {
    for dir in dirs {
        let copy = format!("/run/scratch{dir}");
        m.run("mkdir", &["-p", &copy]);
        m.run("cp", &["-aT", dir, &copy]);
        m.run("mount", &["--bind", &copy, dir]);
    }
}

/// What is said of a rule for port 80, at which somebody listens, and of which chain.
fn told_by(m: &mut Machine) -> impl FnMut() -> (String, String) + use<> {
    let listener = std::net::TcpListener::bind("192.0.2.1:80").unwrap();
    m.start();
    let mut client = Client::ready(m);
    client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.ok("firewall.add_rule", spec(80));
    move || {
        let _ = &listener;
        let rule = client.ok("firewall.list_rules", json!({}))["rules"][0].clone();
        let text = |key: &str| rule[key].as_str().unwrap_or("").to_owned();
        (text("effective"), text("chain"))
    }
}

/// The real ufw, which speaks to the kernel by iptables: most of its conditions nft tells people
/// alone.
#[test]
fn ufw_is_seen() {
    on_server("kernel::ufw_is_seen", |m| {
        if Command::new("ufw").arg("version").output().is_err() {
            return eprintln!("SKIP ufw_is_seen: ufw is missing");
        }
        scratch(m, &["/etc/ufw", "/etc/default", "/lib/ufw"]);
        neighbour(m);
        let mut told = told_by(m);
        m.run("ufw", &["--force", "enable"]);
        assert_eq!(told(), ("shadowed".into(), "ip filter INPUT".into()));
        assert!(!gets_in());
        m.run("ufw", &["allow", "80/tcp"]);
        assert_eq!(told(), ("accepted".into(), String::new()));
        assert!(gets_in());
        m.run("ufw", &["deny", "from", "192.0.2.99", "to", "any", "port", "443", "proto", "tcp"]);
        assert_eq!(told().0, "accepted", "another port's");
        m.stop();
    });
}

// The bus and the daemon end with this namespace of processes.
#[allow(clippy::zombie_processes)]
#[test]
fn firewalld_is_seen() {
    on_server("kernel::firewalld_is_seen", |m| {
        for tool in ["firewalld", "firewall-cmd", "dbus-daemon"] {
            if Command::new(tool).arg("--help").output().is_err() {
                return eprintln!("SKIP firewalld_is_seen: {tool} is missing");
            }
        }
        scratch(m, &["/etc/firewalld"]);
        std::fs::create_dir("/run/dbus").unwrap();
        neighbour(m);
        let start = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let _bus = start("dbus-daemon", &["--system", "--nofork", "--nopidfile"]);
        super::machine::until("there is a bus", || {
            std::path::Path::new("/run/dbus/system_bus_socket").exists()
        });
        let _firewalld = start("firewalld", &["--nofork", "--nopid"]);
        let runs =
            || Command::new("firewall-cmd").arg("--state").output().unwrap().status.success();
        let begun = Instant::now();
        while !runs() {
            assert!(begun.elapsed() < Duration::from_secs(60), "firewalld does not start");
            super::machine::pause(200);
        }
        let mut told = told_by(m);
        assert_eq!(told(), ("shadowed".into(), "inet firewalld filter_INPUT".into()));
        assert!(!gets_in());
        m.run("firewall-cmd", &["--add-port=80/tcp"]);
        assert_eq!(told(), ("accepted".into(), String::new()));
        assert!(gets_in());
        m.stop();
    });
}
