//! hop-helper-server as root, with the real nft(8), in namespaces of its own as the tests of
//! hop-helper are: no rule of this machine is in reach.

// What the helper's own tests need besides.
#[allow(dead_code)]
#[path = "../root/machine.rs"]
mod machine;

mod crash;
mod firewall;
mod hang;
mod install;
mod kernel;
mod plan;
mod trial;

use machine::{Client, ClientProcess, Machine};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const UID: u32 = 1000;
const OTHER_UID: u32 = 1001;
const NFT: &str = "/usr/sbin/nft";

/// What others have on the machine: no byte of it may change.
const FOREIGN: &str = "
table inet filter {
    set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
    chain input { type filter hook input priority 0; policy accept; ip saddr @friends accept; }
    chain hopbox { tcp dport 22 accept comment \"rule-0000000000000000\"; }
}
table ip hopbox {
    chain input { type filter hook input priority 5; }
}
table arp hopbox {
    chain in { type filter hook input priority 0; }
}
table ip6 nat {
    chain out { type nat hook postrouting priority 100; oifname \"x\" masquerade; }
}
";

fn on_server(name: &str, body: fn(&mut Machine)) {
    if !std::path::Path::new(NFT).exists() {
        let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!strict, "CI must not skip {name}: {NFT} is missing");
        return eprintln!("SKIP {name}: {NFT} is missing");
    }
    machine::in_namespace(name, |m| {
        m.be_server();
        body(m);
    });
}

/// The other side of every client that is a process of its own.
#[test]
fn client_process() {
    machine::run_client_process();
}

fn nft_with(program: &str, script: &str) -> String {
    let mut command = Command::new(program);
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{script}");
    String::from_utf8(out.stdout).unwrap()
}

fn nft(script: &str) -> String {
    nft_with(NFT, script)
}

/// The rules of the machine, ours and those of others.
fn ruleset() -> (String, String) {
    let all = nft("list ruleset");
    let (mut ours, mut others, mut in_ours) = (String::new(), String::new(), false);
    for line in all.lines() {
        if line.starts_with("table ") {
            in_ours = line == "table inet hopbox {";
        }
        let text = if in_ours { &mut ours } else { &mut others };
        *text += &format!("{line}\n");
    }
    (ours, others)
}

/// The comments of our rules, in order.
fn in_kernel() -> Vec<String> {
    let (ours, _) = ruleset();
    let rules = ours.lines().filter_map(|line| line.split_once("comment \"")?.1.split_once('"'));
    rules.map(|(id, _)| id.to_owned()).collect()
}

fn spec(port: u16) -> Value {
    json!({"port": port, "protocol": "tcp", "source": "any", "app_name": "app"})
}

fn added(client: &mut Client, port: u16) -> String {
    client.ok("firewall.add_rule", spec(port))["rule_id"].as_str().unwrap().to_owned()
}

/// A client of a member of the group, hands shaken.
fn user(m: &Machine, uid: u32) -> ClientProcess {
    let mut user = m.client_process(uid, Some(m.group));
    let shake = json!({"client_version": "test", "client_protocol_version": 1});
    assert_eq!(user.say("daemon.handshake", shake)["ok"], true);
    user
}

fn id_of(reply: &Value) -> String {
    assert_eq!(reply["ok"], true, "{reply}");
    reply["result"]["rule_id"].as_str().unwrap().to_owned()
}

/// Waits until the daemon has looked at what it has made itself, of which the kernel brings news.
fn settled(m: &Machine) {
    machine::pause(400);
    Client::ready(m).ok("firewall.list_rules", json!({}));
}

/// Puts a script in the place of nft; the real one is `/usr/games/nft` then. Both are where the
/// worker may run programs.
fn with_nft(m: &Machine, script: &str) {
    if !std::path::Path::new("/usr/games/nft").exists() {
        m.run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/usr/games"]);
        m.run("cp", &[NFT, "/usr/games/nft"]);
    }
    std::fs::write("/usr/games/script", format!("#!/bin/sh\n{script}\n")).unwrap();
    m.run("chmod", &["0755", "/usr/games/script"]);
    settled(m);
    m.run("mount", &["--bind", "/usr/games/script", NFT]);
}

fn with_real_nft(m: &Machine) {
    m.run("umount", &["-l", NFT]);
}

fn log() -> Vec<Value> {
    let text = std::fs::read_to_string("/run/hopbox-server/audit.log").unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
