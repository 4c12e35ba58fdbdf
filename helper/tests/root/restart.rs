//! The helper dies and comes back: what must live on does, and nothing else is left.

use super::machine::{Client, Machine, in_namespace, ip_json, pause, until};
use super::{OTHER_UID, UID, ends, handshake};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const STATE: &str = "/run/hopbox-helper/state.json";
const BLOCK: &str =
    "# --- hopbox managed start ---\n10.10.0.2\tbox.hop\n# --- hopbox managed end ---\n";

fn state() -> Value {
    serde_json::from_str(&std::fs::read_to_string(STATE).unwrap()).unwrap()
}

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or("ok")
}

/// A user's process with a configured device and a name; its lease.
fn tunnel(m: &Machine) -> (super::machine::ClientProcess, String) {
    let mut user = m.client_process(UID, Some(m.group));
    user.say("daemon.handshake", handshake());
    let made = user.say("tun.create", json!({"label": "box"}));
    let lease = made["result"]["lease_id"].as_str().unwrap().to_string();
    assert_eq!(code(&user.say("tun.configure", ends(&lease, 0))), "ok");
    let add = json!({"name": "box.hop", "ip": "10.10.0.2", "lease_id": lease});
    assert_eq!(code(&user.say("hosts.add", add)), "ok");
    (user, lease)
}

#[test]
fn a_tunnel_outlives_its_helper() {
    in_namespace("restart::a_tunnel_outlives_its_helper", |m| {
        let before = m.hosts();
        m.start();
        let (mut user, lease) = tunnel(m);
        assert!(user.packet());
        m.kill();
        assert!(user.packet(), "packets move while no helper runs");
        m.start();
        assert_eq!(m.hosts(), format!("{before}{BLOCK}"));
        let mut root = Client::ready(m);
        let health = root.ok("daemon.health", json!({}));
        assert_eq!(
            (&health["leases"], &health["last_reconcile"]["verified"]),
            (&json!(1), &json!(1))
        );
        // Nobody else gets it: not another user, not root.
        let mut other = m.client_process(OTHER_UID, Some(m.group));
        other.say("daemon.handshake", handshake());
        let id = json!({"lease_id": lease});
        assert_eq!(code(&other.say("tun.attach", id.clone())), "permission_denied");
        assert_eq!(root.code("tun.attach", id.clone()), "permission_denied");
        user.reconnect();
        let attached = user.say("tun.attach", id.clone());
        assert_eq!(attached["result"]["local"], "10.10.0.1", "{attached}");
        assert_eq!(attached["result"]["name"], "hopbox0");
        // Held now, and not to be had by another connection of the same user.
        let mut second = m.client_process(UID, Some(m.group));
        second.say("daemon.handshake", handshake());
        assert_eq!(code(&second.say("tun.attach", id)), "state_conflict");
        assert!(user.packet());
        // SIGQUIT is how a service manager stops a helper that another one follows.
        assert_eq!(m.end_with("-QUIT"), Some(0));
        assert!(m.device_exists("hopbox0") && m.hosts().contains("box.hop"));
        m.start();
        user.reconnect();
        assert_eq!(code(&user.say("tun.attach", json!({"lease_id": lease}))), "ok");
        assert!(user.packet());
        user.kill();
        until("everything is taken back", || !m.device_exists("hopbox0") && m.hosts() == before);
        until("and forgotten", || state()["leases"] == json!([]));
        m.stop();
    });
}

#[test]
fn a_holder_that_does_not_come_back_is_waited_for_30_s() {
    in_namespace("restart::a_holder_that_does_not_come_back_is_waited_for_30_s", |m| {
        let before = m.hosts();
        m.start();
        let (_user, _) = tunnel(m);
        m.kill();
        m.start();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(28) {
            assert!(m.device_exists("hopbox0") && m.hosts().contains("box.hop"));
            pause(500);
        }
        until("the lease ends", || !m.device_exists("hopbox0") && m.hosts() == before);
        assert!(begun.elapsed() < Duration::from_secs(33));
        m.stop();
    });
}

#[test]
fn nothing_is_left_when_both_are_killed() {
    in_namespace("restart::nothing_is_left_when_both_are_killed", |m| {
        let before = m.hosts();
        m.start();
        let (user, _) = tunnel(m);
        m.kill();
        user.kill();
        m.start();
        assert_eq!(m.hosts(), before);
        assert!(!m.device_exists("hopbox0"));
        let mut root = Client::ready(m);
        let health = root.ok("daemon.health", json!({}));
        assert_eq!(health["last_reconcile"]["dropped"], 1);
        // As before, but the holder made its device persistent; one is listed, one is not.
        let (mut user, _) = tunnel(m);
        m.kill();
        user.persist();
        user.kill();
        m.run("ip", &["tuntap", "add", "hopbox7", "mode", "tun"]);
        m.run("ip", &["tuntap", "add", "office7", "mode", "tun"]);
        m.start();
        assert!(!m.device_exists("hopbox0") && !m.device_exists("hopbox7"));
        assert!(m.device_exists("office7"), "not ours by name");
        assert_eq!(m.hosts(), before);
        m.stop();
    });
}

#[test]
fn what_is_somebody_elses_is_not_touched() {
    in_namespace("restart::what_is_somebody_elses_is_not_touched", |m| {
        m.start();
        let (user, _) = tunnel(m);
        m.kill();
        user.kill();
        // The name is used again, by a device of another kind and with another number.
        m.run("ip", &["link", "add", "hopbox0", "type", "veth", "peer", "far0"]);
        m.run("ip", &["link", "add", "idle0", "type", "veth", "peer", "far1"]);
        m.run("ip", &["link", "set", "idle0", "up"]);
        m.run("ip", &["route", "add", "10.10.9.2/32", "dev", "idle0", "proto", "104"]);
        m.run("ip", &["route", "add", "10.10.8.2/32", "dev", "idle0"]);
        m.start();
        assert!(m.device_exists("hopbox0"));
        let routes = ip_json(&["route", "show"]).to_string();
        assert!(!routes.contains("10.10.9.2") && routes.contains("10.10.8.2"), "{routes}");
        m.stop();
        assert!(m.device_exists("hopbox0"));
    });
}

#[test]
fn what_was_changed_meanwhile_is_put_right() {
    in_namespace("restart::what_was_changed_meanwhile_is_put_right", |m| {
        m.start();
        let (mut user, lease) = tunnel(m);
        m.kill();
        m.run("ip", &["route", "del", "10.10.0.2/32"]);
        m.run("ip", &["addr", "add", "10.10.5.1/32", "dev", "hopbox0"]);
        m.set_hosts(&m.hosts().replace("box.hop", "box.hop\n10.10.0.9\tevil.hop"));
        m.start();
        assert!(ip_json(&["route", "show"]).to_string().contains("10.10.0.2"));
        let addresses = ip_json(&["addr", "show", "hopbox0"])[0]["addr_info"].clone();
        assert_eq!(addresses.as_array().map(Vec::len), Some(1), "{addresses}");
        assert!(!m.hosts().contains("evil"), "{}", m.hosts());
        user.reconnect();
        assert_eq!(code(&user.say("tun.attach", json!({"lease_id": lease}))), "ok");
        // The same on SIGHUP, while it runs.
        m.run("ip", &["route", "del", "10.10.0.2/32"]);
        m.hang_up();
        assert!(user.packet());
        // Root narrows the pools: what lies outside ends.
        m.write_config(&json!({"pools": ["10.99.0.0/16"]}));
        m.hang_up();
        assert!(!m.device_exists("hopbox0") && !m.hosts().contains("box.hop"));
        m.stop();
    });
}

#[test]
fn a_device_that_goes_away_takes_its_lease_along() {
    in_namespace("restart::a_device_that_goes_away_takes_its_lease_along", |m| {
        let before = m.hosts();
        m.start();
        let (mut user, lease) = tunnel(m);
        m.run("ip", &["link", "del", "hopbox0"]);
        until("the name is gone", || m.hosts() == before);
        assert_eq!(user.say("tun.list", json!({}))["result"]["leases"], json!([]));
        assert_eq!(code(&user.say("tun.attach", json!({"lease_id": lease}))), "state_conflict");
        m.stop();
    });
}

#[test]
fn after_a_reboot_nothing_is_believed() {
    in_namespace("restart::after_a_reboot_nothing_is_believed", |m| {
        let before = m.hosts();
        m.start();
        let (_user, lease) = tunnel(m);
        m.kill();
        std::fs::remove_file("/run/hopbox-helper/epoch").unwrap();
        m.start();
        assert_eq!(m.hosts(), before);
        assert_eq!(state()["leases"], json!([]));
        assert!(!state().to_string().contains(&lease));
        m.stop();
    });
}

#[test]
fn a_damaged_state_is_moved_aside_and_a_newer_one_is_not_judged() {
    in_namespace("restart::a_damaged_state_is_moved_aside_and_a_newer_one_is_not_judged", |m| {
        let before = m.hosts();
        m.start();
        m.stop();
        let whole = std::fs::read_to_string(STATE).unwrap();
        let long = "x".repeat(9 << 20);
        for text in ["", "[]", "{", &whole[..whole.len() / 2], "\0\0\0", &long] {
            m.set_hosts(&format!("{before}{BLOCK}"));
            std::fs::write(STATE, text).unwrap();
            m.start();
            assert_eq!(m.hosts(), before);
            assert!(std::fs::metadata("/run/hopbox-helper/state.json.damaged").is_ok());
            Client::ready(m).ok("tun.list", json!({}));
            m.stop();
        }
        for rows in [r#""ifindex":1,"name":"lo""#, r#""ifindex":1,"name":"hopbox0; reboot""#] {
            let row = format!(
                r#"{{"id":"L-0","mtu":1420,"uid":0,"status":"applied","local":null,"peer":null,"prefix":null,{rows}}}"#
            );
            std::fs::write(STATE, whole.replace("\"leases\":[]", &format!("\"leases\":[{row}]")))
                .unwrap();
            m.start();
            assert_eq!(state()["leases"], json!([]));
            m.stop();
        }
        let newer = whole.replace("\"version\":1", "\"version\":2");
        std::fs::write(STATE, &newer).unwrap();
        let (exit, stderr) = m.run_helper(&["--listen", "/run/hopbox/helper.sock"]);
        assert_eq!((exit, stderr.contains("newer helper")), (Some(1), true), "{stderr}");
        assert_eq!(std::fs::read_to_string(STATE).unwrap(), newer);
        std::fs::remove_file(STATE).unwrap();
        m.start();
        m.stop();
    });
}

#[test]
fn a_full_disk_lets_nothing_in_and_everything_out() {
    in_namespace("restart::a_full_disk_lets_nothing_in_and_everything_out", |m| {
        let before = m.hosts();
        std::fs::create_dir("/run/hopbox-helper").unwrap();
        m.run("mount", &["-t", "tmpfs", "-o", "mode=0700,size=64k", "tmpfs", "/run/hopbox-helper"]);
        m.start();
        let mut client = Client::ready(m);
        let lease = client.ok("tun.create", json!({}))["lease_id"].as_str().unwrap().to_string();
        client.ok("tun.configure", ends(&lease, 0));
        let add = |name: &str| json!({"name": name, "ip": "10.10.0.2", "lease_id": lease});
        client.ok("hosts.add", add("a.hop"));
        let fill = || {
            let _ = std::fs::write("/run/hopbox-helper/filler", vec![0; 1 << 20]);
        };
        fill();
        let (with_a, routes) = (m.hosts(), ip_json(&["route", "show"]));
        assert_eq!(client.code("tun.create", json!({})), "internal_error");
        assert_eq!(client.code("tun.configure", ends(&lease, 3)), "internal_error");
        assert_eq!(client.code("hosts.add", add("b.hop")), "internal_error");
        assert_eq!((m.hosts(), ip_json(&["route", "show"])), (with_a, routes));
        assert!(!m.device_exists("hopbox1"));
        let health = client.ok("daemon.health", json!({}));
        assert_eq!(health["status"], "degraded");
        client.ok("hosts.remove", json!({"name": "a.hop"}));
        client.ok("tun.cleanup", json!({"lease_id": lease}));
        assert!(m.hosts() == before && !m.device_exists("hopbox0"));
        std::fs::remove_file("/run/hopbox-helper/filler").unwrap();
        client.ok("tun.create", json!({}));
        m.stop();
    });
}

/// strace(1) on the running helper, from when it is there.
pub fn attach(m: &Machine, args: &[&str]) -> Child {
    let mut strace = Command::new("strace")
        .arg("-qq")
        .args(args)
        .args(["-p", &m.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", m.pid());
    until("strace is there", || {
        let ended = strace.try_wait().unwrap().is_some();
        assert!(!ended, "strace could not attach");
        !std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0")
    });
    // Seized, and now it sets its options; nothing tells when that is done.
    pause(20);
    strace
}

/// After the helper has ended.
pub fn stop_tracing(mut strace: Child) {
    strace.wait().unwrap();
}

/// Kills the helper at its `nth` call of `call`.
fn kill_at(m: &Machine, call: &str, nth: u32) -> Child {
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:signal=KILL:when={nth}"));
    attach(m, &["-o", "/dev/null", "-e", &trace, "-e", &inject])
}

/// One course of changes with a kill in it; false when the course ended before the kill.
fn course(m: &mut Machine, before: &str, name: &str, call: &str, nth: u32) -> bool {
    let at = format!("{call} {nth}");
    m.set_hosts(before);
    m.start();
    let clean = m.hosts();
    let mut client = Client::ready(m);
    let mut strace = kill_at(m, call, nth);
    let lease = client.call("tun.create", json!({})).0["result"]["lease_id"].clone();
    let lease = lease.as_str().unwrap_or("L-0000000000000000").to_string();
    client.call("tun.configure", ends(&lease, 0));
    let add = json!({"name": name, "ip": "10.10.0.2", "lease_id": lease});
    let (added, _) = client.call("hosts.add", add);
    let with = m.hosts();
    let (removed, _) = client.call("hosts.remove", json!({"name": name}));
    if removed["ok"] == true {
        strace.kill().unwrap();
        strace.wait().unwrap();
        m.stop();
        return false;
    }
    strace.wait().unwrap();
    m.kill();
    m.start();
    let after = m.hosts();
    let has = after.contains(name);
    // Blank lines may stay where a block was in the middle of the file.
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty()).map(str::to_string).collect()
    };
    if !has {
        assert_eq!(lines(&after), lines(&clean), "{at}");
    } else if added["ok"] == true {
        assert_eq!(after, with, "{at}");
    }
    let row = state();
    assert_eq!(row["edit"], Value::Null, "{at}: the edit is still written down");
    assert_eq!(!row["hosts"].as_array().unwrap().is_empty(), has, "{at}");
    // The client comes back; a device without a descriptor is gone in any case.
    let mut again = Client::ready(m);
    if m.device_exists("hopbox0") {
        again.ok("tun.attach", json!({"lease_id": lease}));
    }
    drop((client, again));
    until("nothing is left", || !m.device_exists("hopbox0"));
    m.stop();
    assert_eq!(lines(&m.hosts()), lines(&clean), "{at}");
    true
}

/// Calls at which the helper is killed: all that change something.
const CHANGING: [&str; 8] =
    ["openat", "write", "pwrite64", "ftruncate", "fsync", "rename", "sendto", "ioctl"];
/// Calls between which nothing differs that a kill could show: a kill there leaves what a kill at
/// the next changing one leaves.
const LOOKING: [&str; 23] = [
    "accept4",
    "brk",
    "clock_nanosleep",
    "close",
    "fcntl",
    "fdatasync",
    "fstat",
    "futex",
    "getpid",
    "getrandom",
    "getsockopt",
    "lseek",
    "madvise",
    "mmap",
    "mremap",
    "munmap",
    "newfstatat",
    "poll",
    "ppoll",
    "read",
    "recvfrom",
    "sendmsg",
    "statx",
];

/// Nothing that the helper does in a course of changes has been forgotten above.
fn every_call_is_known(m: &mut Machine, before: &str) {
    m.set_hosts(before);
    m.start();
    let mut client = Client::ready(m);
    let strace = attach(m, &["-f", "-o", "/run/scratch/calls"]);
    let made = client.ok("tun.create", json!({}));
    let lease = made["lease_id"].as_str().unwrap().to_string();
    client.ok("tun.configure", ends(&lease, 0));
    client.ok("hosts.add", json!({"name": "a.hop", "ip": "10.10.0.2", "lease_id": lease}));
    client.ok("hosts.remove", json!({"name": "a.hop"}));
    client.ok("tun.cleanup", json!({"lease_id": lease}));
    m.kill();
    stop_tracing(strace);
    let calls = std::fs::read_to_string("/run/scratch/calls").unwrap();
    let harmless = ["restart_syscall", "rt_sigaction", "rt_sigprocmask", "umask", "+++", "---"];
    for line in calls.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or("");
        let name = call.split('(').next().unwrap_or("").trim_start_matches("<...");
        let known = CHANGING.iter().chain(&LOOKING).chain(&harmless).any(|known| *known == name);
        assert!(known || name.is_empty(), "a call that nobody is killed at: {line}");
    }
    assert!(calls.lines().count() > 50, "{calls}");
}

/// H7, R6: killed at any system call of any change, the next start finds everything old or new.
fn killed_at_every_call(m: &mut Machine, before: &str, name: &str, cuts: bool) {
    if Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("SKIP strace is missing");
    }
    every_call_is_known(m, before);
    let mut kills = 0;
    for call in CHANGING {
        // More than any course has.
        let last = (1..100).take_while(|nth| course(m, before, name, call, *nth)).count();
        // Other C libraries open and rename by other calls.
        let others = cfg!(not(target_env = "gnu")) && matches!(call, "openat" | "rename");
        let in_place = !cuts && call == "ftruncate";
        assert!(last > 0 || others || in_place, "{call} was never called");
        kills += last;
    }
    assert!(kills > 40, "only {kills} kills");
}

#[test]
fn killed_at_every_call_with_the_block_last() {
    in_namespace("restart::killed_at_every_call_with_the_block_last", |m| {
        killed_at_every_call(m, "127.0.0.1 localhost\n# no newline at the end", "a.hop", true);
    });
}

#[test]
fn killed_at_every_call_with_text_behind_the_block() {
    in_namespace("restart::killed_at_every_call_with_text_behind_the_block", |m| {
        let block = "# --- hopbox managed start ---\n10.10.0.9\told.hop\n";
        let before = "127.0.0.1 localhost\n".to_string() + block;
        let before = before + "# --- hopbox managed end ---\n192.0.2.1 later\n";
        // In its place, and where there is too little room for it.
        killed_at_every_call(m, &before, "a.hop", false);
        killed_at_every_call(m, &before, "too-long-for-that.hop", true);
    });
}
