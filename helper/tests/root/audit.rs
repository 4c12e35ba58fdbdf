//! The audit log: every change twice, every refusal once, nothing that cannot be trusted.

use super::machine::{Client, Machine, in_namespace, until};
use super::{STRANGER, UID, ends, handshake};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

const LOG: &str = "/run/hopbox-helper/audit.log";

/// All lines, each checked for form.
fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_ascii() && text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn of<'a>(lines: &'a [Value], op: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["op"] == op).collect()
}

#[test]
fn every_change_is_announced_and_confirmed() {
    in_namespace("audit::every_change_is_announced_and_confirmed", |m| {
        m.start();
        let mut user = m.client_process(UID, Some(m.group));
        user.say("daemon.handshake", handshake());
        let made = user.say("tun.create", json!({"label": "my \"box\""}));
        let lease = made["result"]["lease_id"].as_str().unwrap().to_string();
        user.say("tun.configure", ends(&lease, 0));
        user.say("hosts.add", json!({"name": "a.hop", "ip": "10.10.0.2", "lease_id": lease}));
        user.say("hosts.add", json!({"name": "no", "ip": "10.10.0.2"}));
        user.say("tun.fly\u{202e}\u{1b}", json!({}));
        user.kill();
        // Which of the two the helper sees first is the kernel's affair: no device, or no client.
        let last = || lines(LOG).pop().unwrap();
        until("the end is written", || last()["changes"].to_string().contains("a.hop removed"));
        let all = lines(LOG);
        let phases = |op: &str| -> Vec<String> {
            of(&all, op).iter().map(|line| line["phase"].as_str().unwrap().into()).collect()
        };
        assert_eq!(phases("(reconcile)"), ["done"]);
        for op in ["tun.create", "tun.configure"] {
            assert_eq!(phases(op), ["begin", "done"], "{op}");
        }
        let created = of(&all, "tun.create");
        assert_eq!(created[0]["args"]["label"], "my \"box\"");
        assert_eq!((&created[1]["lease"], &created[1]["outcome"]), (&json!(lease), &json!("ok")));
        assert_eq!(created[1]["changes"], json!(["device hopbox0 made"]));
        assert!(created.iter().all(|l| l["uid"] == UID && l["pid"].as_u64() > Some(1)));
        let refused = of(&all, "hosts.add")[3];
        assert_eq!(
            (&refused["outcome"], &refused["code"]),
            (&json!("error"), &json!("validation_failed"))
        );
        // A line that could not be read: what it was can be told, not what it said.
        let unread = of(&all, "(request)")[0];
        assert_eq!(unread["code"], "unknown_op");
        assert!(unread["bytes"].as_u64() > Some(40), "{unread}");
        assert_eq!(unread["fnv1a"].as_str().map(str::len), Some(16), "{unread}");
        assert!(!unread.to_string().contains("fly"), "{unread}");
        let end = last();
        assert!(["(hang-up)", "(lease lost)"].iter().any(|op| end["op"] == *op), "{end}");
        let seqs: Vec<u64> = all.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        // The order of keys is part of the form.
        let text = std::fs::read_to_string(LOG).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        for line in text.lines() {
            let time = line.strip_prefix("{\"ts\":").and_then(|rest| rest.split_once(",\"seq\":"));
            let time = time.unwrap_or_else(|| panic!("{line}")).0;
            assert!(time.split_once('.').is_some_and(|(_, part)| part.len() == 3), "{time}");
            assert!((now - 60.0..=now).contains(&time.parse().unwrap()), "{time}, now {now}");
        }
        m.stop();
    });
}

#[test]
fn the_file_can_be_rotated_and_is_not_followed() {
    in_namespace("audit::the_file_can_be_rotated_and_is_not_followed", |m| {
        m.start();
        let meta = std::fs::metadata(LOG).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid()), (0o640, 0));
        let mut client = Client::ready(m);
        let round = |client: &mut Client| {
            let lease = client.ok("tun.create", json!({}))["lease_id"].clone();
            client.ok("tun.cleanup", json!({"lease_id": lease}));
        };
        for n in 0..5 {
            round(&mut client);
            std::fs::rename(LOG, format!("{LOG}.{n}")).unwrap();
            round(&mut client);
            m.run("kill", &["-USR1", &m.pid().to_string()]);
            until("a new file", || std::fs::metadata(LOG).is_ok());
        }
        round(&mut client);
        let mut seqs = Vec::new();
        for path in (0..5).map(|n| format!("{LOG}.{n}")).chain([LOG.to_string()]) {
            seqs.extend(lines(&path).iter().map(|line| line["seq"].as_u64().unwrap()));
        }
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "a line is lost");

        // A link in its place: nothing new is made, what exists can go, and the target is safe.
        let lease = client.ok("tun.create", json!({}))["lease_id"].clone();
        std::fs::write("/run/scratch/target", "").unwrap();
        std::fs::remove_file(LOG).unwrap();
        std::os::unix::fs::symlink("/run/scratch/target", LOG).unwrap();
        m.run("kill", &["-USR1", &m.pid().to_string()]);
        until("it is noticed", || client_health(m)["audit_ok"] == false);
        assert_eq!(client.code("tun.create", json!({})), "internal_error");
        assert_eq!(
            client.code("hosts.add", json!({"name": "a.hop", "ip": "10.10.0.2"})),
            "internal_error"
        );
        client.ok("tun.cleanup", json!({"lease_id": lease}));
        assert_eq!(std::fs::read_to_string("/run/scratch/target").unwrap(), "");
        assert!(client_health(m)["audit_lost"].as_u64() >= Some(3));
        std::fs::remove_file(LOG).unwrap();
        m.run("mkfifo", &[LOG]);
        assert_eq!(client.code("tun.create", json!({})), "internal_error");
        std::fs::remove_file(LOG).unwrap();
        round(&mut client);
        assert_eq!(client_health(m)["audit_ok"], true);
        m.stop();
    });
}

/// L2: no room for a line.
#[test]
fn a_full_log_lets_nothing_in_and_everything_out() {
    in_namespace("audit::a_full_log_lets_nothing_in_and_everything_out", |m| {
        let dir = "/run/scratch/log";
        std::fs::create_dir(dir).unwrap();
        m.run("mount", &["-t", "tmpfs", "-o", "mode=0750,size=64k", "tmpfs", dir]);
        std::fs::create_dir("/run/hopbox").unwrap();
        m.start_activated(m.socket.clone().to_str().unwrap());
        let mut client = Client::ready(m);
        let lease = client.ok("tun.create", json!({}))["lease_id"].clone();
        let _ = std::fs::write(format!("{dir}/filler"), vec![0; 1 << 20]);
        // What is left of a page may take some lines yet.
        let refused = (0..200).find(|_| client.code("tun.create", json!({"name": "eth0"})) == "x");
        assert_eq!(refused, None);
        until("the log is full", || client_health(m)["audit_ok"] == false);
        assert_eq!(client.code("tun.create", json!({})), "internal_error");
        assert!(!m.device_exists("hopbox1"));
        client.ok("tun.cleanup", json!({"lease_id": lease}));
        assert!(!m.device_exists("hopbox0"));
        std::fs::remove_file(format!("{dir}/filler")).unwrap();
        client.ok("tun.create", json!({}));
        // No half of a line in between.
        lines(&format!("{dir}/audit.log"));
        m.stop();
    });
}

fn client_health(m: &Machine) -> Value {
    Client::ready(m).ok("daemon.health", json!({}))
}

#[test]
fn strangers_at_the_door_are_told_ten_times_a_minute() {
    in_namespace("audit::strangers_at_the_door_are_told_ten_times_a_minute", |m| {
        m.start();
        m.run("chmod", &["0666", m.socket.to_str().unwrap()]);
        for _ in 0..15 {
            let mut stranger = m.client_process(STRANGER, None);
            assert_eq!(stranger.say("daemon.version", json!({})), Value::Null);
        }
        let all = lines(LOG);
        let denied = of(&all, "(connect)");
        assert_eq!(denied.len(), 10);
        assert!(denied.iter().all(|line| line["uid"] == STRANGER && line["phase"] == "deny"));
        m.stop();
    });
}
