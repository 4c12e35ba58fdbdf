//! Changes that undo themselves unless they are confirmed: in time, by their user, once; and
//! whoever is killed meanwhile.

use super::machine::{Client, ClientProcess, Machine, until};
use super::{FOREIGN, OTHER_UID, UID, added, id_of, in_kernel, log, nft, nft_with, on_server};
use super::{ruleset, spec, user, with_nft, with_real_nft};
use serde_json::{Value, json};

const STATE: &str = "/run/hopbox-server/state.json";
/// From then on nft does not do what it is told, where the worker may look.
const FLAG: &str = "/usr/games/flag";

fn planned(client: &mut ClientProcess, change: Result<u16, &str>) -> Value {
    let reply = match change {
        Ok(port) => client.say("firewall.plan_add", spec(port)),
        Err(rule) => client.say("firewall.plan_remove", json!({"rule_id": rule})),
    };
    reply["result"]["digest"].clone()
}

/// Opens this port, or closes this rule, until confirmed: what confirms it, and the rule.
fn tried(client: &mut ClientProcess, change: Result<u16, &str>, lasts: u64) -> (Value, String) {
    let digest = planned(client, change);
    let reply = client.say("firewall.apply", json!({"digest": digest, "confirm_s": lasts}));
    (json!({"id": reply["result"]["confirm_id"]}), id_of(&reply))
}

fn code(client: &mut ClientProcess, op: &str, args: &Value) -> String {
    client.say(op, args.clone())["error"]["code"].as_str().unwrap_or("none").to_owned()
}

fn said(what: &str) -> usize {
    log().iter().filter(|line| line["changes"].to_string().contains(what)).count()
}

#[test]
fn what_nobody_confirms_is_undone() {
    on_server("trial::what_nobody_confirms_is_undone", |m| {
        nft(FOREIGN);
        let (_, foreign) = ruleset();
        m.start();
        let (mut one, mut other) = (user(m, UID), user(m, OTHER_UID));
        // In time: it stays, over a new start. Once, and by nobody else.
        let (yes, kept) = tried(&mut one, Ok(80), 60);
        let listed = one.say("firewall.list_rules", json!({}))["result"]["rules"][0].clone();
        assert!((1..60).contains(&listed["confirm_within_s"].as_u64().unwrap()), "{listed}");
        assert_eq!(code(&mut other, "firewall.confirm", &yes), "permission_denied");
        // Nor is there a second change of it meanwhile.
        let remove = json!({"rule_id": kept});
        for op in ["firewall.remove_rule", "firewall.plan_remove"] {
            assert_eq!(code(&mut one, op, &remove), "state_conflict", "{op}");
        }
        let said_yes = one.say("firewall.confirm", yes.clone());
        assert_eq!(said_yes["result"], json!({"confirmed": true, "rule_id": kept}));
        assert_eq!(code(&mut one, "firewall.confirm", &yes), "state_conflict", "twice");
        let listed = one.say("firewall.list_rules", json!({}))["result"]["rules"][0].clone();
        assert!(listed["confirm_within_s"].is_null(), "{listed}");
        // Late: what was opened is closed, and what was closed is open.
        for change in [Ok(81), Err(kept.as_str())] {
            let (undone, made) = (said("undone: not confirmed"), said("until confirmed"));
            let (late, _) = tried(&mut one, change, 1);
            assert_eq!(said("until confirmed"), made + 1);
            until("it is undone", || said("undone: not confirmed") == undone + 1);
            until("in the kernel, too", || in_kernel() == std::slice::from_ref(&kept));
            assert_eq!(code(&mut one, "firewall.confirm", &late), "state_conflict", "late");
        }
        // Whoever has planned before that plans again.
        let digest = planned(&mut one, Ok(90));
        tried(&mut one, Ok(82), 1);
        until("it is undone", || in_kernel() == std::slice::from_ref(&kept));
        assert_eq!(code(&mut one, "firewall.apply", &json!({"digest": digest})), "state_conflict");
        // Closed for good, with one of another user that comes and goes beside it.
        let (yes, _) = tried(&mut one, Err(&kept), 60);
        let (_, theirs) = tried(&mut other, Ok(443), 60);
        assert_eq!(in_kernel(), std::slice::from_ref(&theirs));
        let listed = Client::ready(m).ok("firewall.list_rules", json!({}))["rules"].clone();
        assert_eq!((&listed[0]["rule_id"], listed.as_array().unwrap().len()), (&json!(theirs), 1));
        assert!(listed[0]["nft_handle"].as_u64().is_some(), "{listed}");
        assert_eq!(one.say("firewall.confirm", yes)["ok"], true);
        m.kill();
        m.start();
        assert_eq!(ruleset(), (String::new(), foreign));
        // Only what is a time and a name.
        let mut one = user(m, UID);
        for lasts in [json!(0), json!(61), json!("1"), json!(1.0), Value::Null] {
            let args = json!({"digest": planned(&mut one, Ok(80)), "confirm_s": lasts});
            assert_eq!(code(&mut one, "firewall.apply", &args), "validation_failed", "{args}");
        }
        assert_eq!(code(&mut one, "firewall.confirm", &json!({})), "validation_failed");
        assert_eq!(code(&mut one, "firewall.confirm", &json!({"id": "x"})), "state_conflict");
        m.stop();
    });
}

/// In between any two steps: after the file, after nft, after the answer, in the middle of the
/// undoing; and after the confirmation.
#[test]
fn killed_at_any_step_what_was_not_confirmed_is_undone() {
    on_server("trial::killed_at_any_step_what_was_not_confirmed_is_undone", |m| {
        m.start();
        let kept = added_by(m, 80);
        let written = "case $1 in -f) exec sleep 1000 ;; esac; exec /usr/games/nft \"$@\"";
        let made = "case $1 in -f) /usr/games/nft \"$@\" ;; esac; exec sleep 1000";
        for closes in [false, true] {
            let change = if closes { Err(kept.as_str()) } else { Ok(81) };
            for step in [written, made] {
                let mut one = user(m, UID);
                let args = json!({"digest": planned(&mut one, change), "confirm_s": 60});
                with_nft(m, step);
                let asks = std::thread::spawn(move || one.say("firewall.apply", args));
                let status = if closes { "withheld" } else { "pending" };
                until("it is written", || {
                    std::fs::read_to_string(STATE).unwrap_or_default().contains(status)
                });
                if step == made {
                    let there =
                        |text: &str| nft_with("/usr/games/nft", "list ruleset").contains(text);
                    let is = || if closes { !there("dport 80") } else { there("dport 81") };
                    until("it is made", is);
                }
                m.kill();
                let _ = asks.join();
                with_real_nft(m);
                m.start();
                assert_eq!(in_kernel(), std::slice::from_ref(&kept), "{step} {closes}");
            }
            // Answered.
            tried(&mut user(m, UID), change, 60);
            m.kill();
            m.start();
            assert_eq!(in_kernel(), std::slice::from_ref(&kept), "answered {closes}");
            // Undone on the disk and not in the kernel.
            with_nft(m, &format!("[ ! -e {FLAG} ] || {written}; exec /usr/games/nft \"$@\""));
            tried(&mut user(m, UID), change, 2);
            std::fs::write(FLAG, "").unwrap();
            until("it is undone on the disk", || {
                let text = std::fs::read_to_string(STATE).unwrap();
                !text.contains("withheld") && !text.contains("pending")
            });
            m.kill();
            with_real_nft(m);
            std::fs::remove_file(FLAG).unwrap();
            assert_ne!(in_kernel(), std::slice::from_ref(&kept), "{closes}");
            m.start();
            assert_eq!(in_kernel(), std::slice::from_ref(&kept), "undoing {closes}");
        }
        // Confirmed: that stays.
        let mut one = user(m, UID);
        let (yes, id) = tried(&mut one, Ok(82), 60);
        assert_eq!(one.say("firewall.confirm", yes)["ok"], true);
        m.kill();
        m.start();
        assert_eq!(in_kernel(), [kept.clone(), id]);
        let mut one = user(m, UID);
        let (yes, _) = tried(&mut one, Err(&kept), 60);
        assert_eq!(one.say("firewall.confirm", yes)["ok"], true);
        m.kill();
        m.start();
        assert_eq!(in_kernel().len(), 1);
        m.stop();
    });
}

fn added_by(m: &Machine, port: u16) -> String {
    id_of(&user(m, UID).say("firewall.add_rule", spec(port)))
}

/// Where nft fails just then it is undone later, and nobody has to ask for it.
#[test]
fn what_cannot_be_undone_at_once_is_undone_later() {
    on_server("trial::what_cannot_be_undone_at_once_is_undone_later", |m| {
        m.start();
        let kept = added(&mut Client::ready(m), 80);
        let mut one = user(m, UID);
        let fails = "case $1 in -f) exit 1 ;; esac";
        with_nft(m, &format!("[ ! -e {FLAG} ] || {fails}; exec /usr/games/nft \"$@\""));
        tried(&mut one, Ok(81), 2);
        std::fs::write(FLAG, "").unwrap();
        until("it has failed", || said("undone: not confirmed") == 1);
        let mut root = Client::ready(m);
        until("that is said", || root.ok("daemon.health", json!({}))["status"] == "degraded");
        with_real_nft(m);
        drop((one, root));
        let begun = std::time::Instant::now();
        while in_kernel() != std::slice::from_ref(&kept) {
            assert!(begun.elapsed().as_secs() < 120, "it stays open");
            super::machine::pause(500);
        }
        m.stop();
    });
}
