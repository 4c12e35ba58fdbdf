//! Faults that are really there, on two machines in namespaces, and what `hop doctor` makes of
//! them: the first fault it names must be the one that was put in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox::text::advice::{self, Effect, LOOK, TABLE};
use hopbox_selftest::files::{HOST, NAME};
use serde_json::Value;

use crate::advice::typed;
use crate::shared;
use crate::world::{USER, World, said, sh};

/// What the doctor says: the whole answer, and its first fault.
fn doctor(world: &World) -> (Value, String) {
    let output = world.hop(&["doctor", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let data = answer["data"].clone();
    let first = data["first"].as_str().unwrap_or("none").to_owned();
    assert_eq!(output.status.code(), Some(if first == "none" { 0 } else { 3 }));
    for check in data["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false) {
        for key in ["cause", "evidence", "fix"] {
            assert!(!check[key].as_str().unwrap().is_empty(), "no {key}: {check}");
        }
    }
    (data, first)
}

/// What is advised where somebody has to look says something in the state that it is advised in;
/// what takes SSH or sudo is in tests/vps.
fn shows_something(world: &World, data: &Value) {
    for check in data["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false) {
        let fix = check["fix"].as_str().unwrap();
        let mut rows = TABLE.iter().filter(|(_, effect)| *effect == Effect::Shows(LOOK));
        let elsewhere = ["ssh ", "sudo ", "ping ", "journalctl ", "systemctl "];
        let is_here = !elsewhere.iter().any(|word| fix.starts_with(word));
        if is_here && rows.any(|(form, _)| advice::is_of(form, fix)) {
            let done = typed(world, fix);
            let words = done.stdout.len() + done.stderr.len();
            let is_there = !matches!(done.status.code(), Some(126 | 127) | None);
            assert!(words > 0 && is_there, "{fix}: {}", said(&done));
        }
    }
}

struct Ward {
    world: World,
    right: usize,
    wrong: Vec<String>,
}

impl Ward {
    fn expect(&mut self, fault: &str, injected: &str) {
        let (data, first) = doctor(&self.world);
        shows_something(&self.world, &data);
        if first == fault {
            self.right += 1;
        } else {
            self.wrong.push(format!("{injected}: {first}, not {fault}: {data}"));
        }
    }

    /// Changes a line of the host file for one look.
    fn with_host_file(&mut self, change: impl Fn(&mut Value), fault: &str, injected: &str) {
        let path = self.world.paths.host_file(HOST);
        let before = fs::read_to_string(&path).unwrap();
        let mut host: Value = serde_json::from_str(&before).unwrap();
        change(&mut host);
        fs::write(&path, host.to_string()).unwrap();
        self.expect(fault, injected);
        fs::write(&path, before).unwrap();
    }

    /// One look between two lines of shell on a machine.
    fn with(&mut self, vps: bool, (before, after): (&str, &str), fault: &str) {
        let machine = |world: &World, line: &str| {
            sh(if vps { &world.vps[0].machine } else { &world.laptop }, line);
        };
        machine(&self.world, before);
        self.expect(fault, before);
        machine(&self.world, after);
    }

    fn healthy(&self, when: &str) {
        let (data, first) = doctor(&self.world);
        assert_eq!(first, "none", "{when}: {data}");
    }
}

fn ward(test: &str) -> Option<Ward> {
    let world = World::start(test)?;
    // Whoever may send no ICMP gets no packet size measured.
    sh(&world.laptop, "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
    sh(&world.vps[0].machine, "until ss -lun | grep -q ':51820 '; do sleep 0.05; done");
    Some(Ward { world, right: 0, wrong: Vec::new() })
}

const ANOTHER_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

#[test]
fn faults_of_a_host_that_is_down_are_named() {
    let _shared = shared();
    let Some(mut ward) = ward("faults_of_a_host_that_is_down_are_named") else { return };
    ward.healthy("down as its user wants it");
    files(&mut ward);
    keys_and_names(&mut ward);
    way(&mut ward);
    helper(&mut ward);
    agent(&mut ward);
    assert_eq!(ward.wrong, Vec::<String>::new(), "{} were right", ward.right);
    assert!(ward.right >= 20, "only {} faults were put in", ward.right);
    ward.world.up();
    ward.healthy("with every fault undone");
}

fn files(ward: &mut Ward) {
    let (host, key) = (ward.world.paths.host_file(HOST), store::key_file(&ward.world.paths, HOST));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    ward.with_host_file(|host| host["peer_ip"] = "10.10.0".into(), "host_file_damaged", "no IP");
    ward.with_host_file(|host| host["version"] = 99.into(), "host_file_newer", "version 99");
    let without = |host: &mut Value| drop(host.as_object_mut().unwrap().remove("version"));
    ward.with_host_file(without, "host_file_damaged", "no version");
    ward.with_host_file(|host| host["version"] = "2".into(), "host_file_damaged", "a word");
    mode(&host, 0o644);
    ward.expect("host_file_open", "mode 644");
    mode(&host, 0o600);

    mode(&key, 0o640);
    ward.expect("key_open", "mode 640");
    mode(&key, 0o600);
    let away = key.with_extension("away");
    fs::rename(&key, &away).unwrap();
    ward.expect("key_missing", "no key");
    // One that is a key, and not the one that the VPS knows.
    fs::write(&key, format!("{ANOTHER_KEY}\n")).unwrap();
    mode(&key, 0o600);
    chown(&key, USER, USER).unwrap();
    ward.expect("keys_or_port", "another key");
    fs::rename(&away, &key).unwrap();

    let state = ward.world.home.join("laptop/state/hopbox");
    let (state, uid) = (state.display(), USER.unwrap());
    sh(&ward.world.laptop, &format!("mkdir -p {state} && chown -R {uid} {state}/.."));
    let full = format!(
        "mount -t tmpfs -o size=64k,uid={uid} none {state} && \
         ! dd if=/dev/zero of={state}/full bs=1k count=100"
    );
    ward.with(false, (&full, &format!("umount {state}")), "storage");
    let stamp = ward.world.paths.stamp_file(HOST);
    let stamp = stamp.display();
    let future = format!("touch -d '3 days' {stamp} && chown {uid} {stamp}");
    // Which keeps no handshake from being heard.
    ward.with(false, (&future, &format!("rm {stamp}")), "none");
}

fn keys_and_names(ward: &mut Ward) {
    let endpoint = |name: &'static str| move |host: &mut Value| host["endpoint"] = name.into();
    ward.with_host_file(|host| host["public_key"] = ANOTHER_KEY.into(), "keys_or_port", "peer key");
    ward.with_host_file(|host| host["preshared_key"] = ANOTHER_KEY.into(), "keys", "preshared key");
    ward.with_host_file(endpoint("no-such.example:51820"), "dns", "a name without address");
    // A resolver that never answers: the packets to it vanish.
    let deaf = "echo 'hosts: files dns' > /etc/nsswitch.conf && \
                echo 'nameserver 198.51.100.2' > /etc/resolv.conf";
    sh(&ward.world.laptop, deaf);
    let nft =
        "nft add table inet t && nft 'add chain inet t in { type filter hook input priority 0 ; }'";
    sh(&ward.world.vps[0].machine, &format!("{nft} && nft add rule inet t in udp dport 53 drop"));
    ward.with_host_file(endpoint("vps.example:51820"), "dns", "a resolver that is silent");
    sh(&ward.world.vps[0].machine, "nft delete table inet t");
    sh(&ward.world.laptop, "echo 'hosts: files' > /etc/nsswitch.conf");
}

fn way(ward: &mut Ward) {
    let chain = |hook: &str, rule: &str| {
        format!(
            "nft add table inet t && \
             nft 'add chain inet t c {{ type filter hook {hook} priority 0 ; }}' && \
             nft add rule inet t c {rule}"
        )
    };
    let undo = "nft delete table inet t";
    ward.with(true, (&chain("input", "meta l4proto udp drop"), undo), "udp_blocked");
    ward.with(true, (&chain("input", "ip saddr 198.51.100.1 drop"), undo), "unreachable");
    ward.with(false, (&chain("output", "udp dport 51820 drop"), undo), "udp_forbidden_here");
    // One way only: from here it cannot be told from keys that do not fit, and that is said.
    ward.with(false, (&chain("input", "udp sport 51820 drop"), undo), "keys_or_port");

    ward.world.stop_agent(0);
    ward.expect("agent_stopped", "no agent");
    ward.world.start_agent(0);

    let vpn = "ip tuntap add dev vpn9 mode tun && ip addr add 203.0.113.9/32 dev vpn9 && \
               ip link set vpn9 up";
    let gone = "ip link del vpn9";
    let takes = |what: &str| format!("{vpn} && ip route add {what} dev vpn9 src 203.0.113.9");
    ward.with(false, (&takes("198.51.100.2/32"), gone), "vpn_takes_endpoint");
    ward.with(false, (&takes("10.10.0.0/24"), gone), "address_taken");
    let away = "ip addr flush dev uplink";
    let back = "ip addr add 198.51.100.1/24 dev uplink";
    ward.with(false, (away, back), "no_route");
}

fn helper(ward: &mut Ward) {
    ward.world.kill_helper();
    ward.expect("helper_missing", "no helper");
    let admit = "/etc/hopbox/helper.json";
    let keep = format!("cp {admit} /etc/hopbox/keep; cp /etc/group /etc/hopbox/group");
    let nobody = format!("{keep}; echo '{{\"allow_uids\":[]}}' > {admit}; echo > /etc/group");
    sh(&ward.world.laptop, &nobody);
    ward.world.start_helper();
    ward.expect("helper_refused", "a helper that does not admit this user");
    ward.world.kill_helper();
    let back = format!("cp /etc/hopbox/keep {admit}; cp /etc/hopbox/group /etc/group");
    sh(&ward.world.laptop, &back);
    ward.world.start_helper();
}

/// Asked through a tunnel without a device, as who has no right to one.
fn agent(ward: &mut Ward) {
    ward.with_host_file(|host| host["token"] = "x".repeat(44).into(), "token", "another token");
    let wall = "nft add table inet t && \
                nft 'add chain inet t c { type filter hook input priority 0 ; }' && \
                nft add rule inet t c tcp dport 4200 reject with tcp reset";
    ward.with(true, (wall, "nft delete table inet t"), "agent_silent");
    ward.healthy("with the agent's faults undone");
    let (data, _) = doctor(&ward.world);
    let of = |what: &str| data["checks"].as_array().unwrap().iter().any(|c| c["check"] == what);
    assert!(of("agent") && of("token") && !of("interface"), "{data}");
    assert_eq!(ward.world.traces(), 0, "nothing changes here");
}

#[test]
fn faults_of_a_host_that_is_up_are_named() {
    let _shared = shared();
    let Some(mut ward) = ward("faults_of_a_host_that_is_up_are_named") else { return };
    ward.world.up();
    ward.healthy("after up");
    ping(&ward.world);
    proxied(&ward.world);

    let keep = "cp /etc/hosts /etc/hopbox/hosts.keep";
    let back = "cat /etc/hopbox/hosts.keep > /etc/hosts && rm /etc/hopbox/hosts.keep";
    let other = format!(
        "{keep} && {{ echo 203.0.113.5 {NAME}; cat /etc/hopbox/hosts.keep; }} > /etc/hosts"
    );
    ward.with(false, (&other, back), "name_elsewhere");
    ward.with_host_file(|host| host["token"] = "x".repeat(44).into(), "token", "another token");

    let hole = "nft add table inet t && \
                nft 'add chain inet t c { type filter hook input priority 0 ; }' && \
                nft add rule inet t c udp dport 51820 meta length \\> 1300 drop";
    ward.with(true, (hole, "nft delete table inet t"), "mtu");
    let vpn = "ip tuntap add dev vpn9 mode tun && ip addr add 203.0.113.9/32 dev vpn9 && \
               ip link set vpn9 up && ip rule add pref 100 to 10.10.0.2 lookup 100 && \
               ip route add 10.10.0.2 dev vpn9 src 203.0.113.9 table 100";
    ward.with(false, (vpn, "ip rule del pref 100; ip link del vpn9"), "route_taken");
    ward.healthy("with the network's faults undone");

    let agent = ward.world.vps[0].agent.as_ref().unwrap().id();
    let signal_agent =
        |kind: &str| sh(&ward.world.vps[0].machine, &format!("kill -{kind} {agent}"));
    signal_agent("STOP");
    let (data, first) = doctor(&ward.world);
    signal_agent("CONT");
    assert_eq!(first, "agent_silent", "{data}");
    ward.healthy("after the agent was stopped for a while");

    let pid = ward.world.session().unwrap();
    sh(&ward.world.laptop, &format!("kill -STOP {pid}"));
    ward.expect("hung", "a session that does not run");
    sh(&ward.world.laptop, &format!("kill -CONT {pid}"));
    sh(&ward.world.laptop, &format!("kill -KILL {pid}"));
    world_without_session(&ward.world);
    ward.expect("killed", "kill -9");
    ward.world.up();
    sh(&ward.world.laptop, "ip link del hopbox0");
    world_without_session(&ward.world);
    ward.expect("ended", "a deleted interface");
    assert_eq!(ward.wrong, Vec::<String>::new(), "{} were right", ward.right);
}

fn world_without_session(world: &World) {
    let end = Instant::now() + Duration::from_secs(10);
    while world.session().is_some() {
        assert!(Instant::now() < end, "the session stays");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A proxy that the environment names is no fault of the tunnel, and cuts programs off from it;
/// what is advised lets them pass.
fn proxied(world: &World) {
    let asked = "curl -sS -m 20 -o /dev/null -w '%{http_code}' http://mybox.hop:4200/health";
    // Nobody listens there.
    let set = "export http_proxy=http://user:secret@127.0.0.1:9";
    let line = |line: &str| typed(world, &format!("{set}; {line}"));
    let refused = line(asked);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    let doctor = line("hop doctor --json");
    assert_eq!(doctor.status.code(), Some(3), "{}", said(&doctor));
    assert!(!said(&doctor).contains("secret"), "{}", said(&doctor));
    let answer: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(answer["data"]["first"], "http_proxy", "{answer}");
    let checks = answer["data"]["checks"].as_array().unwrap();
    let fix = checks.iter().find(|check| check["ok"] == false).unwrap()["fix"].as_str().unwrap();
    let passed = line(&format!("{fix}; {asked}"));
    // The agent's own answer to those who ask it by a name, as pages of strangers do.
    assert_eq!(String::from_utf8_lossy(&passed.stdout), "403", "{}", said(&passed));
    let well = line(&format!("{fix}; hop doctor"));
    assert_eq!(well.status.code(), Some(0), "{}", said(&well));
    // Told of a host that is up already, too, and it is no failure.
    let up = line("hop up");
    assert_eq!(up.status.code(), Some(0), "{}", said(&up));
    let told = "http_proxy sends programs here to a proxy for mybox.hop: export no_proxy=";
    assert!(said(&up).contains(told), "{}", said(&up));
    assert!(!said(&up).contains("secret"), "{}", said(&up));
}

/// The packet size is what really passes, and without ICMP the agent is asked.
fn ping(world: &World) {
    let ping = || -> Value {
        let output = world.hop(&["ping", "-c", "2", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let answer = ping();
    let data = &answer["data"];
    assert_eq!((&data["method"], &data["path_mtu"]), (&"icmp".into(), &1420.into()), "{data}");
    assert_eq!((&data["received"], &data["loss_percent"]), (&2.into(), &0.0.into()), "{data}");

    let hole = "nft add table inet t && \
                nft 'add chain inet t c { type filter hook input priority 0 ; }' && \
                nft add rule inet t c udp dport 51820 meta length \\> 1300 drop";
    sh(&world.vps[0].machine, hole);
    let data = ping()["data"].clone();
    sh(&world.vps[0].machine, "nft delete table inet t");
    // 20 IP, 8 UDP and 32 of WireGuard are around a packet that is padded to 16.
    assert_eq!(data["path_mtu"], 1232, "{data}");

    sh(&world.laptop, "echo 1 0 > /proc/sys/net/ipv4/ping_group_range");
    let data = ping()["data"].clone();
    sh(&world.laptop, "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
    assert_eq!((&data["method"], &data["path_mtu"]), (&"agent".into(), &Value::Null), "{data}");
}
