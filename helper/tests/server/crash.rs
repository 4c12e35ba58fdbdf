//! Killed between any two steps, and started again: the disk says what is right, the kernel has it,
//! and nobody else's rules have changed.

use super::machine::{Client, Machine, pause, until};
use super::{FOREIGN, added, in_kernel, log, nft, nft_with, on_server, ruleset, spec};
use super::{with_nft, with_real_nft};
use serde_json::{Value, json};

const STATE: &str = "/run/hopbox-server/state.json";

fn send(client: &mut Client, op: &str, args: Value) {
    let line = json!({"v": 1, "id": "a", "op": op, "args": args});
    client.send(format!("{line}\n").as_bytes());
}

fn statuses() -> Vec<String> {
    let text = std::fs::read_to_string(STATE).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let rows = state["rules"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect()
}

fn listed(m: &Machine) -> Vec<String> {
    let rules = Client::ready(m).ok("firewall.list_rules", json!({}))["rules"].clone();
    let ids = rules.as_array().unwrap().iter().map(|rule| rule["rule_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn killed_at_any_step_it_goes_on_as_one_that_was_not() {
    on_server("crash::killed_at_any_step_it_goes_on_as_one_that_was_not", |m| {
        nft(FOREIGN);
        let (_, foreign) = ruleset();
        m.start();
        let kept = added(&mut Client::ready(m), 80);
        // Written and not made; made and not looked at; for one that comes and one that goes.
        let steps = [
            "case $1 in -f) exec sleep 1000 ;; esac; exec /usr/games/nft \"$@\"",
            "case $1 in -f) /usr/games/nft \"$@\" ;; esac; exec sleep 1000",
        ];
        for step in steps {
            let goes = added(&mut Client::ready(m), 81);
            for comes in [true, false] {
                let mut client = Client::ready(m);
                with_nft(m, step);
                match comes {
                    true => send(&mut client, "firewall.add_rule", spec(82)),
                    false => send(&mut client, "firewall.remove_rule", json!({"rule_id": goes})),
                }
                let status = if comes { "pending" } else { "removing" };
                until("it is written", || statuses().iter().any(|one| one == status));
                if step.ends_with("sleep 1000") {
                    let there =
                        |text: &str| nft_with("/usr/games/nft", "list ruleset").contains(text);
                    until(
                        "it is made",
                        || if comes { there("dport 82") } else { !there("dport 81") },
                    );
                }
                m.kill();
                with_real_nft(m);
                m.start();
                let left =
                    if comes { vec![kept.clone(), goes.clone()] } else { vec![kept.clone()] };
                assert_eq!((in_kernel(), listed(m)), (left.clone(), left), "{step} {comes}");
                assert!(statuses().iter().all(|one| one == "applied"), "{:?}", statuses());
                assert_eq!(ruleset().1, foreign);
            }
        }
        m.stop();
    });
}

/// At moments that nobody has chosen; whoever was told that it is open finds it open.
#[test]
fn killed_whenever_what_was_said_is_true() {
    on_server("crash::killed_whenever_what_was_said_is_true", |m| {
        let mut promised: Vec<String> = Vec::new();
        for round in 0..12_u16 {
            m.start();
            let mut client = Client::ready(m);
            promised.push(added(&mut client, 1000 + round));
            if round % 3 == 2 {
                let gone = promised.remove(0);
                client.ok("firewall.remove_rule", json!({"rule_id": gone}));
            }
            send(&mut client, "firewall.add_rule", spec(2000 + round));
            pause(u64::from(round) * 2);
            m.kill();
            m.start();
            let there = in_kernel();
            assert_eq!(there, listed(m), "round {round}");
            assert!(promised.iter().all(|id| there.contains(id)), "round {round}");
            // One that was on its way may have come.
            promised = there;
            m.kill();
        }
    });
}

#[test]
fn a_state_that_cannot_be_understood_stops_the_start() {
    on_server("crash::a_state_that_cannot_be_understood_stops_the_start", |m| {
        m.start();
        let kept = added(&mut Client::ready(m), 80);
        m.kill();
        let good = std::fs::read_to_string(STATE).unwrap();
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(STATE).unwrap().permissions().mode() & 0o7777, 0o600);
        let half = good[..good.len() / 2].to_owned();
        let newer = good.replace("\"version\":1", "\"version\":2");
        let planted = good.replace("\"any\"", "\"any; flush ruleset\"");
        for bad in [half, newer, planted, String::new(), "[]".into(), "x".repeat(2 << 20)] {
            std::fs::write(STATE, &bad).unwrap();
            let (code, said) = m.run_helper(&["--listen"]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("state.json") && said.contains("sudo mv"), "{said}");
            assert_eq!(std::fs::read_to_string(STATE).unwrap(), bad, "it stays as it is");
            assert_eq!(in_kernel(), std::slice::from_ref(&kept), "so do the rules");
        }
        std::fs::write(STATE, good).unwrap();
        m.run("chown", &["1000", STATE]);
        assert_eq!(m.run_helper(&["--listen"]).0, Some(1), "another's");
        m.run("chown", &["0", STATE]);
        m.start();
        assert_eq!(in_kernel(), [kept]);
        m.stop();
    });
}

/// The one difference from a daemon that believes the kernel: a rule that somebody planted there
/// does not become one that a user has asked for.
#[test]
fn what_the_disk_says_wins() {
    on_server("crash::what_the_disk_says_wins", |m| {
        m.start();
        let mut client = Client::ready(m);
        let ids = [added(&mut client, 80), added(&mut client, 81)];
        let planted = [
            "flush ruleset",
            "delete table inet hopbox",
            "flush chain inet hopbox input",
            "add rule inet hopbox input tcp dport 22 accept comment \"rule-0000000000000000\"",
            "insert rule inet hopbox input accept",
            "add chain inet hopbox other { type filter hook forward priority 0; policy drop; }",
            "add set inet hopbox s { type ipv4_addr; }",
            "chain inet hopbox input { policy drop; }",
        ];
        // While it runs, by the kernel's news.
        for script in planted {
            let made =
                || log().iter().filter(|l| l["changes"].to_string().contains("made anew")).count();
            let before = made();
            nft(script);
            until(script, || made() > before);
            assert_eq!(in_kernel(), ids, "{script}");
            assert!(!ruleset().0.contains("dport 22") && !ruleset().0.contains("policy drop"));
        }
        // While it does not.
        for script in planted {
            m.kill();
            nft(script);
            m.start();
            assert_eq!(in_kernel(), ids, "{script}");
            assert!(!ruleset().0.contains("dport 22") && !ruleset().0.contains("policy drop"));
        }
        // Without a state there is no rule.
        m.kill();
        std::fs::remove_file(STATE).unwrap();
        m.start();
        assert_eq!(ruleset().0, "");
        m.stop();
    });
}
