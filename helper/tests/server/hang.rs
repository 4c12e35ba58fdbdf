//! nft(8) that hangs, fails, says too much, or is not there: others are served meanwhile, and what
//! has failed is as if it had not been asked for.

use super::machine::{Client, pause, until};
use super::{UID, added, in_kernel, log, on_server, spec, user, with_nft, with_real_nft};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn while_nft_hangs_others_are_served() {
    on_server("hang::while_nft_hangs_others_are_served", |m| {
        m.start();
        let (mut one, mut other) = (Client::ready(m), Client::ready(m));
        one.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let kept = added(&mut one, 80);
        with_nft(m, "exec sleep 1000");
        let args = json!({"v": 1, "id": "slow", "op": "firewall.add_rule", "args": spec(81)});
        one.send(format!("{args}\n").as_bytes());
        let begun = |op: &str| log().iter().any(|l| l["op"] == op && l["phase"] == "begin");
        until("it has begun", || begun("firewall.add_rule"));
        let started = Instant::now();
        let mut asked = 0;
        while started.elapsed() < Duration::from_secs(2) {
            let before = Instant::now();
            assert_eq!(other.ok("daemon.health", json!({}))["firewall"]["rules"], 2);
            assert!(before.elapsed() < Duration::from_secs(2), "nft stalls others");
            asked += 1;
            pause(60);
        }
        assert!(asked > 5, "{asked}");
        // A user more, whose refusals are written down.
        assert_eq!(user(m, UID).say("tun.fly", json!({}))["error"]["code"], "unknown_op");
        assert_eq!(log().last().unwrap()["op"], "(request)");
        // Whoever hangs up while it waits takes nothing with it.
        let mut third = Client::ready(m);
        third.send(b"{\"v\":1,\"id\":\"a\",\"op\":\"firewall.list_rules\"}\n");
        drop(third);
        with_real_nft(m);
        let (reply, _) = one.read_reply();
        assert_eq!(reply["error"]["code"], "kernel_error", "{reply}");
        let why = reply["error"]["message"].as_str().unwrap();
        assert!(why.contains("does not end") && why.len() <= 200, "{why}");
        assert_eq!(in_kernel(), std::slice::from_ref(&kept));
        assert_eq!(one.ok("daemon.health", json!({}))["status"], "ok");
        let next = added(&mut one, 81);
        assert_eq!(in_kernel(), [kept, next]);
        m.stop();
    });
}

#[test]
fn whatever_nft_does_a_change_is_made_or_is_not() {
    on_server("hang::whatever_nft_does_a_change_is_made_or_is_not", |m| {
        m.start();
        let mut client = Client::ready(m);
        let kept = added(&mut client, 80);
        let real = "exec /usr/games/nft \"$@\"";
        let making = |what: &str| format!("case $1 in -f) {what} ;; esac; {real}");
        let scripts = [
            // Fails, with more than anybody wants to hear, and with what turns a terminal.
            making("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1"),
            making("printf 'Error: \\033[2J\\n' >&2; exit 1"),
            making("exit 1"),
            making("kill -9 $$"),
            // Says that it was done.
            making("exit 0"),
            making("exec /usr/games/nft add table inet hopbox"),
            // Lists something else, or without end, or no JSON.
            "case $1 in -f) exec /usr/games/nft \"$@\" ;; *) echo '{}' ;; esac".to_owned(),
            "case $1 in -f) exec /usr/games/nft \"$@\" ;; *) exec yes ;; esac".to_owned(),
            "case $1 in -f) exec /usr/games/nft \"$@\" ;; *) exit 1 ;; esac".to_owned(),
        ];
        for script in scripts {
            with_nft(m, &script);
            let (reply, _) = client.call("firewall.add_rule", spec(81));
            assert_eq!(reply["error"]["code"], "kernel_error", "{script}: {reply}");
            let why = reply["error"]["message"].as_str().unwrap();
            assert!(why.len() <= 200 && why.bytes().all(|b| (b' '..=b'~').contains(&b)), "{why:?}");
            let (reply, _) = client.call("firewall.remove_rule", json!({"rule_id": kept}));
            assert_eq!(reply["error"]["code"], "kernel_error", "{script}: {reply}");
            with_real_nft(m);
            let rules = client.ok("firewall.list_rules", json!({}))["rules"].clone();
            assert_eq!((rules.as_array().unwrap().len(), &rules[0]["rule_id"]), (1, &json!(kept)));
            // What it left in the kernel is put right with the next change.
            let next = added(&mut client, 82);
            assert_eq!(in_kernel(), [kept.clone(), next.clone()], "{script}");
            client.ok("firewall.remove_rule", json!({"rule_id": next}));
            assert_eq!(in_kernel(), std::slice::from_ref(&kept), "{script}");
        }
        // Its environment is empty, and its directory is no caller's.
        with_nft(
            m,
            &format!(
                "[ \"$(/usr/bin/env | grep -cv -e ^PWD= -e ^SHLVL= -e ^_=)$PWD\" = 0/ ] || exit 1; {real}"
            ),
        );
        added(&mut client, 83);
        // What another could write is not run.
        m.run("chown", &["1000", "/usr/games/script"]);
        let (reply, _) = client.call("firewall.add_rule", spec(84));
        let why = reply["error"]["message"].as_str().unwrap();
        assert!(why.contains("must be a regular file of root"), "{reply}");
        m.stop();
    });
}
