//! Rules: what is asked for is what is there, nothing else changes, and every user has its own.

use super::machine::{Client, ClientProcess, Machine, until};
use super::{FOREIGN, OTHER_UID, UID};
use super::{added, id_of, in_kernel, log, nft, on_server, ruleset, spec, user};
use serde_json::{Value, json};

#[test]
fn a_rule_is_what_the_reply_says() {
    on_server("firewall::a_rule_is_what_the_reply_says", |m| {
        nft(FOREIGN);
        let (_, foreign) = ruleset();
        m.start();
        let mut client = Client::ready(m);
        assert_eq!(ruleset(), (String::new(), foreign.clone()), "nobody has asked for a table");
        let cases = [
            (spec(8448), "tcp dport 8448 accept"),
            (
                json!({"port_range": [49_152, 65_535], "protocol": "udp", "source": "any",
                       "app_name": "matrix-1", "description": "TURN \"; flush ruleset # ü"}),
                "udp dport 49152-65535 accept",
            ),
            (
                json!({"port": 22, "protocol": "tcp", "source": "10.0.0.0/8", "app_name": "a"}),
                "ip saddr 10.0.0.0/8 tcp dport 22 accept",
            ),
            (
                json!({"port": 22, "protocol": "tcp", "source": "192.0.2.7/32", "app_name": "a"}),
                "ip saddr 192.0.2.7 tcp dport 22 accept",
            ),
            (
                json!({"port_range": [1, 1], "protocol": "udp", "source": "0.0.0.0/0",
                       "app_name": "a"}),
                "meta nfproto ipv4 udp dport 1 accept",
            ),
            (
                json!({"port_range": [1, 16_384], "protocol": "tcp", "source": "128.0.0.0/1",
                       "app_name": "a"}),
                "ip saddr 128.0.0.0/1 tcp dport 1-16384 accept",
            ),
        ];
        let mut ids = Vec::new();
        for (asked, line) in cases {
            let made = client.ok("firewall.add_rule", asked.clone());
            let id = made["rule_id"].as_str().unwrap().to_owned();
            assert_eq!(
                (&made["table"], &made["effective"]),
                (&json!("inet hopbox"), &json!("accepted"))
            );
            assert_eq!(made["spec"]["description"], asked["description"]);
            assert!(made["nft_handle"].as_u64().is_some() && made["chain"].is_null(), "{made}");
            let (ours, others) = ruleset();
            assert!(ours.contains(&format!("{line} comment \"{id}\"")), "{line}: {ours}");
            assert_eq!(others, foreign);
            ids.push(id);
        }
        assert!(
            ruleset().0.contains("type filter hook input priority filter + 10; policy accept;")
        );
        assert_eq!(in_kernel(), ids);
        let listed = client.ok("firewall.list_rules", json!({}));
        let of = |key: &str| {
            listed["rules"].as_array().unwrap().iter().map(|r| r[key].clone()).collect::<Vec<_>>()
        };
        assert_eq!(of("rule_id"), ids.iter().map(|id| json!(id)).collect::<Vec<_>>());
        assert!(of("effective").iter().all(|said| said == "accepted"), "{listed}");
        let of_app = client.ok("firewall.list_rules", json!({"app_name": "matrix-1"}));
        assert_eq!(of_app["rules"].as_array().unwrap().len(), 1);
        for id in &ids {
            let gone = client.ok("firewall.remove_rule", json!({"rule_id": id}));
            assert_eq!(gone, json!({"removed": true, "rule_id": id}));
            assert!(!in_kernel().contains(id));
            assert_eq!(ruleset().1, foreign);
        }
        assert_eq!(ruleset(), (String::new(), foreign), "the table goes with its last rule");
        assert_eq!(
            client.code("firewall.remove_rule", json!({"rule_id": ids[0]})),
            "state_conflict"
        );
        m.stop();
    });
}

#[test]
fn what_is_refused_leaves_no_trace() {
    on_server("firewall::what_is_refused_leaves_no_trace", |m| {
        m.start();
        let mut client = Client::ready(m);
        let with = |key: &str, value: Value| {
            let mut spec = spec(80);
            spec[key] = value;
            spec
        };
        for (key, value) in [
            ("port", json!(0)),
            ("port_range", json!([1, 2])),
            ("protocol", json!("icmp")),
            ("source", json!("::/0")),
            ("source", json!("10.0.0.1/8")),
            ("app_name", json!("A")),
            ("app_name", json!("abc\n")),
            ("description", json!("\u{1b}[2J")),
            ("command", json!("flush ruleset")),
        ] {
            let said = client.call("firewall.add_rule", with(key, value)).0;
            assert_eq!(said["error"]["code"], "validation_failed", "{said}");
            assert_eq!(said["error"]["field"], key, "{said}");
        }
        for op in ["firewall.flush", "firewall.", "nginx.reload", "exec.run", "tun.create"] {
            let code = client.code(op, json!({}));
            assert!(["unknown_op", "not_supported"].contains(&code.as_str()), "{op}: {code}");
        }
        for id in ["rule-1", "rule-00000000000000zz", "rule-0000000000000000; drop", ""] {
            assert_eq!(
                client.code("firewall.remove_rule", json!({"rule_id": id})),
                "validation_failed"
            );
        }
        assert_eq!(ruleset().0, "");
        assert!(!std::path::Path::new("/run/hopbox-server/state.json").exists());
        // The same again, and one of another application.
        added(&mut client, 80);
        assert_eq!(client.code("firewall.add_rule", spec(80)), "state_conflict");
        client.ok("firewall.add_rule", with("app_name", json!("other")));
        assert_eq!(in_kernel().len(), 2);
        m.stop();
    });
}

#[test]
fn every_user_has_its_own_rules() {
    on_server("firewall::every_user_has_its_own_rules", |m| {
        m.start();
        let (mut one, mut other) = (user(m, UID), user(m, OTHER_UID));
        let mut root = Client::ready(m);
        let own = id_of(&one.say("firewall.add_rule", spec(80)));
        let theirs = id_of(&other.say("firewall.add_rule", spec(80)));
        let ids = |reply: &Value| {
            let rules = reply["result"]["rules"].as_array().unwrap().clone();
            rules
                .iter()
                .map(|rule| rule["rule_id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&one.say("firewall.list_rules", json!({}))), std::slice::from_ref(&own));
        assert_eq!(
            ids(&other.say("firewall.list_rules", json!({}))),
            std::slice::from_ref(&theirs)
        );
        let said = one.say("firewall.remove_rule", json!({"rule_id": theirs}));
        assert_eq!(said["error"]["code"], "permission_denied");
        let said = one.say("firewall.plan_remove", json!({"rule_id": theirs}));
        assert_eq!(said["error"]["code"], "permission_denied");
        assert_eq!(in_kernel(), [own.clone(), theirs.clone()]);
        // The user's share, which is not the other's.
        for port in 100..131 {
            while one.say("firewall.add_rule", spec(port))["error"]["code"] == "limit_exceeded" {
                super::machine::pause(50);
            }
        }
        let last = one.say("firewall.add_rule", spec(200));
        assert_eq!(last["error"]["code"], "limit_exceeded", "{last}");
        id_of(&other.say("firewall.add_rule", spec(200)));
        // A stranger gets no byte; root may end what it wants.
        let mut stranger = m.client_process(1002, None);
        assert_eq!(stranger.say("daemon.version", json!({})), Value::Null);
        root.ok("firewall.remove_rule", json!({"rule_id": own}));
        assert_eq!(
            root.ok("firewall.list_rules", json!({}))["rules"].as_array().unwrap().len(),
            33
        );
        // Who hangs up keeps its rules.
        other.kill();
        assert!(in_kernel().contains(&theirs));
        m.stop();
        assert!(in_kernel().contains(&theirs), "to stop the daemon closes nothing");
    });
}

#[test]
fn who_asked_for_what_is_written_down() {
    on_server("firewall::who_asked_for_what_is_written_down", |m| {
        m.start();
        let mut one = user(m, UID);
        let id = id_of(&one.say("firewall.add_rule", spec(80)));
        let lines = log();
        let of = |phase: &str| {
            let found =
                lines.iter().find(|l| l["op"] == "firewall.add_rule" && l["phase"] == phase);
            found.unwrap_or_else(|| panic!("{phase}: {lines:?}"))
        };
        let (begin, done) = (of("begin"), of("done"));
        assert_eq!((&begin["uid"], &begin["args"]), (&json!(UID), &spec(80)));
        assert_eq!((&done["outcome"], &done["rule"]), (&json!("ok"), &json!(id)));
        assert_eq!(done["changes"], json!([format!("open tcp/80 from any for app ({id})")]));
        assert!(done["duration_us"].as_u64().is_some_and(|us| us > 0), "{done}");
        let told = |client: &mut ClientProcess| {
            client.say("firewall.history", json!({}))["result"].clone()
        };
        let mine = told(&mut one);
        assert_eq!(mine["entries"][0]["changes"], done["changes"], "{mine}");
        assert_eq!(told(&mut user(m, OTHER_UID)), json!({"entries": []}), "not another's");
        // Moved away by somebody, and opened again when that is said.
        std::fs::rename("/run/hopbox-server/audit.log", "/run/hopbox-server/audit.log.1").unwrap();
        m.run("kill", &["-USR1", &m.pid().to_string()]);
        until("it is there again", || {
            std::path::Path::new("/run/hopbox-server/audit.log").exists()
        });
        one.say("firewall.remove_rule", json!({"rule_id": id}));
        let closed = format!("close tcp/80 from any for app ({id})");
        let last = log().pop().unwrap();
        assert_eq!(
            (&last["changes"], &last["op"]),
            (&json!([closed]), &json!("firewall.remove_rule"))
        );
        // Where nothing can be written nothing is opened; what is open can be closed.
        let id = id_of(&one.say("firewall.add_rule", spec(81)));
        m.run("chown", &["1000", "/run/hopbox-server/audit.log"]);
        m.run("kill", &["-USR1", &m.pid().to_string()]);
        until("it says so", || one.say("daemon.health", json!({}))["result"]["audit_ok"] == false);
        assert_eq!(one.say("firewall.add_rule", spec(82))["error"]["code"], "internal_error");
        assert_eq!(one.say("firewall.remove_rule", json!({"rule_id": id}))["ok"], true);
        assert_eq!(in_kernel(), Vec::<String>::new());
        m.stop();
    });
}

/// Two users, one seed: whatever they ask for, the table is what they were told, and nothing of
/// others changes.
#[test]
fn whatever_is_asked_for_nothing_else_changes() {
    on_server("firewall::whatever_is_asked_for_nothing_else_changes", |m| {
        nft(FOREIGN);
        let (_, foreign) = ruleset();
        m.start();
        let mut users = [user(m, UID), user(m, OTHER_UID)];
        let mut model: Vec<(usize, u16, String)> = Vec::new();
        let mut seed = std::env::var("HOP_SEED").map_or(18, |seed| seed.parse().unwrap());
        let mut draw = |below: u64| {
            seed = u64::wrapping_add(u64::wrapping_mul(seed, 6_364_136_223_846_793_005), 1_442_695);
            (seed >> 33) % below
        };
        for step in 0..120 {
            let (at, port) = (draw(2) as usize, 1 + draw(20) as u16);
            let add = draw(3) > 0 || model.is_empty();
            let (op, args, expected) = if add {
                let known = model.iter().any(|(by, known, _)| (*by, *known) == (at, port));
                ("firewall.add_rule", spec(port), if known { "state_conflict" } else { "ok" })
            } else {
                let (by, _, id) = &model[draw(model.len() as u64) as usize];
                let args = json!({"rule_id": id});
                ("firewall.remove_rule", args, if *by == at { "ok" } else { "permission_denied" })
            };
            let reply = loop {
                let reply = users[at].say(op, args.clone());
                // More than 20 a second.
                if reply["error"]["code"] != "limit_exceeded" {
                    break reply;
                }
                super::machine::pause(50);
            };
            let code = reply["error"]["code"].as_str().unwrap_or("ok");
            assert_eq!(code, expected, "step {step}: {op} {args} {reply}");
            match (expected, add) {
                ("ok", true) => model.push((at, port, id_of(&reply))),
                ("ok", false) => model.retain(|(.., id)| *id != args["rule_id"]),
                _ => {}
            }
            let ids: Vec<String> = model.iter().map(|(.., id)| id.clone()).collect();
            assert_eq!(
                (in_kernel(), ruleset().1 == foreign),
                (ids, true),
                "step {step}: {op} {args}"
            );
        }
        m.stop();
    });
}

#[test]
fn root_locks_it_and_it_has_no_right_left() {
    on_server("firewall::root_locks_it_and_it_has_no_right_left", |m: &mut Machine| {
        m.start();
        let mut client = Client::ready(m);
        let id = added(&mut client, 80);
        std::fs::write("/run/scratch/lockdown", "").unwrap();
        assert_eq!(client.code("firewall.add_rule", spec(81)), "lockdown_active");
        client.ok("firewall.remove_rule", json!({"rule_id": id}));
        std::fs::remove_file("/run/scratch/lockdown").unwrap();
        // The process that reads what users write can change nothing; its child may.
        let status = std::fs::read_to_string(format!("/proc/{}/status", m.pid())).unwrap();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().to_owned()
        };
        for set in ["CapEff:", "CapPrm:", "CapInh:"] {
            assert_eq!(u64::from_str_radix(&of(set), 16).unwrap(), 0, "{set}");
        }
        assert_eq!((of("NoNewPrivs:"), of("Seccomp:")), ("1".into(), "2".into()));
        let health = client.ok("daemon.health", json!({}));
        assert_eq!((&health["status"], &health["limits"]["rules"]), (&json!("ok"), &json!(128)));
        let rss = m.rss_kib();
        println!("NOTE rss {rss} KiB");
        m.stop();
    });
}
