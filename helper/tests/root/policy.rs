//! What is others' stays theirs: addresses of a LAN, of other users, and what root keeps for one.

use super::machine::{Client, ClientProcess, Machine, in_namespace, until};
use super::{OTHER_UID, STRANGER, UID, handshake};
use serde_json::{Value, json};

/// A network of its own, with hosts in it that answer.
const LAN: &str = "set -e; ip link set lo up; ip netns add far; \
    ip link add lan0 type veth peer name far0 netns far; ip link set lan0 up; \
    ip -n far link set far0 up; ip addr add $0 dev lan0; ip route add default via 10.10.254.1; \
    for ip in 10.10.60.2 10.10.60.3 10.10.53.53; do ip -n far addr add $ip/8 dev far0; done";

fn member(m: &Machine, uid: u32) -> ClientProcess {
    let mut client = m.client_process(uid, Some(m.group));
    assert_eq!(client.say("daemon.handshake", handshake())["ok"], true);
    client
}

fn lease(client: &mut ClientProcess) -> String {
    let made = client.say("tun.create", json!({}));
    made["result"]["lease_id"].as_str().unwrap().to_string()
}

/// What comes of taking these ends, and the words of a refusal.
fn take(client: &mut ClientProcess, lease: &str, ends: (&str, &str, u8)) -> (String, String) {
    let (local, peer, prefix) = ends;
    let args = json!({"lease_id": lease, "local_ip": local, "peer_ip": peer, "prefix": prefix});
    let reply = client.say("tun.configure", args);
    let text = |key: &str| reply["error"][key].as_str().unwrap_or("ok").to_string();
    (text("code"), text("message"))
}

fn resolv(m: &Machine) {
    std::fs::write("/run/scratch/resolv", "search x\nnameserver 10.10.53.53\n").unwrap();
    m.run("mount", &["--bind", "/run/scratch/resolv", "/etc/resolv.conf"]);
    std::fs::create_dir_all("/run/systemd/resolve").unwrap();
    let asked = "/run/systemd/resolve/resolv.conf";
    std::fs::write(asked, "nameserver ::ffff:10.10.54.54\n").unwrap();
}

#[test]
fn a_lan_wider_than_the_pool_keeps_its_hosts() {
    in_namespace("policy::a_lan_wider_than_the_pool_keeps_its_hosts", |m| {
        for width in ["10.10.0.9/16", "10.0.0.9/8"] {
            m.run("sh", &["-c", LAN, width]);
            resolv(m);
            m.run("ping", &["-q", "-c", "1", "-W", "5", "10.10.60.2"]);
            let there = "10.10.61.2 lladdr 02:00:00:00:00:01 dev lan0 nud";
            for (ip, state) in [(61, "permanent"), (63, "stale"), (64, "noarp")] {
                let add =
                    format!("ip neigh replace {there} {state}").replace(".61.", &format!(".{ip}."));
                m.run("sh", &["-c", &add]);
            }
            m.run(
                "sh",
                &[
                    "-c",
                    "ip route add 10.10.66.0/24 nexthop via 10.10.65.1 dev lan0 \
                nexthop via 10.10.65.2 dev lan0",
                ],
            );
            // Somebody has looked for these, and nobody was there.
            m.run("sh", &["-c", "ping -q -c 1 -W 1 10.10.62.2; ! ping -q -c 1 -W 1 10.10.62.1"]);
            m.start();
            let mut sam = member(m, UID);
            let own = lease(&mut sam);
            for (why, ends) in [
                ("name server", ("10.10.53.1", "10.10.53.53", 32)),
                ("name server", ("10.10.53.53", "10.10.53.2", 32)),
                ("name server", ("10.10.54.1", "10.10.54.54", 32)),
                ("single addresses", ("10.10.53.1", "10.10.53.2", 24)),
                ("single addresses", ("10.10.70.1", "10.10.70.2", 24)),
                ("single addresses", ("10.10.70.1", "10.10.70.2", 31)),
                ("somebody else", ("10.10.60.1", "10.10.60.2", 32)),
                ("somebody else", ("10.10.60.2", "10.10.60.1", 32)),
                ("somebody else", ("10.10.61.1", "10.10.61.2", 32)),
                ("somebody else", ("10.10.63.1", "10.10.63.2", 32)),
                ("somebody else", ("10.10.64.1", "10.10.64.2", 32)),
                ("lan0 already uses", ("10.10.254.2", "10.10.254.1", 32)),
                ("already uses", ("10.10.65.7", "10.10.65.2", 32)),
            ] {
                let (code, said) = take(&mut sam, &own, ends);
                assert_eq!(code, "state_conflict", "{width}, {ends:?}");
                assert!(said.contains(why), "{said}");
            }
            for free in [("10.10.53.1", "10.10.53.2", 32), ("10.10.62.1", "10.10.62.2", 32)] {
                assert_eq!(take(&mut sam, &own, free).0, "ok");
            }
            // The rest of the LAN is reached as before.
            m.run("ping", &["-q", "-c", "1", "-W", "5", "10.10.60.3"]);
            m.stop();
            m.run("sh", &["-c", "ip link del lan0; ip netns del far; umount /etc/resolv.conf"]);
        }
    });
}

/// A program that asks again and again for a tunnel that is down keeps nobody from it.
#[test]
fn an_address_that_only_was_asked_for_is_free() {
    in_namespace("policy::an_address_that_only_was_asked_for_is_free", |m| {
        m.run("sh", &["-c", LAN, "10.0.0.9/8"]);
        m.run(
            "sh",
            &[
                "-c",
                "ip neigh replace 10.10.7.2 dev lan0 nud incomplete; \
            ip neigh replace 10.10.7.1 dev lan0 nud failed",
            ],
        );
        m.start();
        let mut sam = member(m, UID);
        let own = lease(&mut sam);
        assert_eq!(take(&mut sam, &own, ("10.10.7.1", "10.10.7.2", 32)).0, "ok");
        m.stop();
    });
}

/// The sandbox knows files, not names: a new one in the place of resolv.conf takes a new start.
#[test]
fn a_new_resolv_conf_is_heeded() {
    in_namespace("policy::a_new_resolv_conf_is_heeded", |m| {
        m.run("sh", &["-c", LAN, "10.0.0.9/8"]);
        m.run(
            "sh",
            &[
                "-c",
                "mkdir /run/e && cp /etc/passwd /etc/group /etc/hosts /run/e && \
            mount --bind /run/e /etc",
            ],
        );
        for (before, again) in [("nameserver 192.0.2.1", true), ("", false)] {
            let _ = std::fs::remove_file("/etc/resolv.conf");
            if !before.is_empty() {
                std::fs::write("/etc/resolv.conf", before).unwrap();
            }
            m.start();
            let mut sam = member(m, UID);
            let own = lease(&mut sam);
            std::fs::write("/etc/new", "nameserver 10.10.53.53\n").unwrap();
            std::fs::rename("/etc/new", "/etc/resolv.conf").unwrap();
            let ends = ("10.10.53.1", "10.10.53.53", 32);
            let (code, said) = take(&mut sam, &own, ends);
            if code == "state_conflict" {
                // No Landlock here: nothing keeps the helper from it.
                m.stop();
                continue;
            }
            assert_eq!(code, "kernel_error", "{said} {again}");
            assert_eq!(m.ended(), Some(75), "for the service manager to start it again");
            m.start();
            sam.reconnect();
            assert_eq!(sam.say("tun.attach", json!({"lease_id": own}))["ok"], true);
            let (code, said) = take(&mut sam, &own, ends);
            assert!(code == "state_conflict" && said.contains("name server"), "{said}");
            m.stop();
        }
    });
}

#[test]
fn what_root_keeps_for_a_user_no_other_gets() {
    in_namespace("policy::what_root_keeps_for_a_user_no_other_gets", |m| {
        let kept = json!({"reserve": {
            UID.to_string(): ["10.10.4.0/24", "10.10.53.0/24", "box.hop", "wg0"],
            STRANGER.to_string(): ["10.10.5.0/24"],
        }});
        m.write_config(&kept);
        m.run("sh", &["-c", LAN, "10.0.0.9/8"]);
        resolv(m);
        m.start();
        let (mut sam, mut eve) = (member(m, UID), member(m, OTHER_UID));
        let own = lease(&mut eve);
        let refused = |reply: &Value| {
            let error = &reply["error"];
            assert!(!error["message"].as_str().unwrap().contains(&UID.to_string()), "{error}");
            (error["code"].as_str().unwrap().to_string(), error["of_another"] == true)
        };
        let another = ("state_conflict".to_string(), true);
        for (local, peer) in [
            ("10.10.4.1", "10.10.4.2"),
            ("10.10.9.1", "10.10.4.2"),
            ("10.10.4.9", "10.10.9.2"),
            ("10.10.5.1", "10.10.5.2"),
        ] {
            let args = json!({"lease_id": own, "local_ip": local, "peer_ip": peer});
            assert_eq!(refused(&eve.say("tun.configure", args)), another, "{local} {peer}");
        }
        for (name, ip) in [("box.hop", "10.10.9.2"), ("eve.hop", "10.10.4.7")] {
            let reply = eve.say("hosts.add", json!({"name": name, "ip": ip}));
            assert_eq!(refused(&reply), another, "{name} {ip}");
        }
        assert_eq!(refused(&eve.say("tun.create", json!({"name": "wg0"}))), another);
        assert_eq!(take(&mut eve, &own, ("10.10.3.1", "10.10.3.2", 32)).0, "ok");
        // Its user has it, and what a wider route and the resolver would refuse as well.
        let made = sam.say("tun.create", json!({"name": "wg0"}));
        let own = made["result"]["lease_id"].as_str().unwrap().to_string();
        let wide = ("10.10.53.1", "10.10.53.2", 24);
        assert_eq!(take(&mut sam, &own, wide).0, "ok");
        assert_eq!(take(&mut sam, &own, ("10.10.4.1", "10.10.4.2", 24)).0, "ok");
        let name = json!({"name": "box.hop", "ip": "10.10.4.2", "lease_id": own});
        assert_eq!(sam.say("hosts.add", name)["ok"], true);
        // What root takes away goes at once; the device that stands is not renamed.
        m.write_config(&json!({"reserve": {OTHER_UID.to_string(): ["10.10.4.0/24", "box.hop"]}}));
        m.hang_up();
        until("the lease has ended", || !m.device_exists("wg0") && !m.hosts().contains("box.hop"));
        m.stop();
    });
}

#[test]
fn members_get_devices_of_ours_only() {
    in_namespace("policy::members_get_devices_of_ours_only", |m| {
        m.start();
        let mut sam = member(m, UID);
        for name in ["wg0", "wg7", "wg999"] {
            let reply = sam.say("tun.create", json!({"name": name}));
            assert_eq!(reply["error"]["code"], "permission_denied", "{reply}");
            assert!(reply["error"]["message"].as_str().unwrap().contains("reserve"), "{reply}");
            assert!(!m.device_exists(name));
        }
        for name in
            ["eth0", "lo", "hopbox00", "hopbox1000", "hopbox%d", "-a", "hopbox0\n", "HOPBOX0"]
        {
            let reply = sam.say("tun.create", json!({"name": name}));
            assert_eq!(reply["error"]["code"], "validation_failed", "{name}");
        }
        assert_eq!(sam.say("tun.create", json!({"name": "hopbox7"}))["ok"], true);
        let mut root = Client::ready(m);
        assert_eq!(root.ok("tun.create", json!({"name": "wg0"}))["name"], "wg0");
        m.stop();
    });
}

/// The network of a lease is its user's, not only its two ends.
#[test]
fn another_users_network_is_whole() {
    in_namespace("policy::another_users_network_is_whole", |m| {
        m.start();
        let (mut sam, mut eve) = (member(m, UID), member(m, OTHER_UID));
        let (his, hers) = (lease(&mut sam), lease(&mut eve));
        assert_eq!(take(&mut sam, &his, ("10.10.4.1", "10.10.4.2", 24)).0, "ok");
        for ends in [
            ("10.10.4.7", "10.10.4.8", 32),
            ("10.10.9.1", "10.10.4.8", 32),
            ("10.10.4.8", "10.10.9.1", 32),
            ("10.10.5.1", "10.10.4.1", 32),
        ] {
            let (code, said) = take(&mut eve, &hers, ends);
            assert!(code == "state_conflict" && said.contains("another user's"), "{ends:?} {said}");
            assert!(!said.contains(&UID.to_string()), "{said}");
        }
        for ip in ["10.10.4.1", "10.10.4.2", "10.10.4.77"] {
            let reply = eve.say("hosts.add", json!({"name": "eve.hop", "ip": ip}));
            assert_eq!(reply["error"]["of_another"], true, "{ip}: {reply}");
        }
        assert_eq!(sam.say("hosts.add", json!({"name": "a.hop", "ip": "10.10.4.2"}))["ok"], true);
        let reply = eve.say("hosts.add", json!({"name": "a.hop", "ip": "10.10.9.2"}));
        assert_eq!(reply["error"]["of_another"], true, "{reply}");
        // Root is told whose it is.
        let mut root = Client::ready(m);
        let made = root.ok("tun.create", json!({}));
        let args =
            json!({"lease_id": made["lease_id"], "local_ip": "10.10.4.7", "peer_ip": "10.10.4.8"});
        let said = root.call("tun.configure", args).0["error"]["message"].to_string();
        assert!(said.contains(&format!("user {UID}")), "{said}");
        m.stop();
    });
}

/// Somebody who may read the file, and does nothing else.
#[test]
fn a_reader_does_not_make_hosts_grow() {
    in_namespace("policy::a_reader_does_not_make_hosts_grow", |m| {
        let before = m.hosts();
        let reader = std::fs::File::open("/etc/hosts").unwrap();
        m.start();
        let mut client = Client::ready(m);
        let mut longest = 0;
        for n in 0..300 {
            for name in [format!("a{}.hop", n % 7), "the-longest-of-all-names.hop".into()] {
                client.ok("hosts.add", json!({"name": name, "ip": "10.10.0.2"}));
                longest = longest.max(m.hosts().len());
                client.ok("hosts.remove", json!({"name": name}));
            }
        }
        assert!(longest < before.len() + 200, "{longest} bytes");
        assert!(m.hosts().starts_with(&before) && m.hosts().trim_end() == before.trim_end());
        // A restart remembers which blank lines are ours.
        client.ok("hosts.add", json!({"name": "b.hop", "ip": "10.10.0.2"}));
        m.kill();
        m.start();
        let mut client = Client::ready(m);
        client.ok("hosts.add", json!({"name": "c.hop", "ip": "10.10.0.2"}));
        assert!(m.hosts().len() < before.len() + 200, "{}", m.hosts());
        drop(reader);
        client.ok("hosts.remove", json!({"name": "c.hop"}));
        assert_eq!(m.hosts(), before);
        m.stop();
    });
}

/// Who has the user's number and less than the helper's rights sees nothing of it.
#[test]
fn nobody_looks_inside() {
    in_namespace("policy::nobody_looks_inside", |m| {
        m.start_bounded("+net_admin,+chown");
        let look = |file: &str| {
            let path = format!("/proc/{}/{file}", m.pid());
            let mut command = std::process::Command::new("setpriv");
            command.args([
                "--bounding-set",
                "-all,+net_admin,+chown",
                "--inh-caps",
                "-all",
                "cat",
                &path,
            ]);
            command.output().unwrap().status.success()
        };
        assert!(look("stat"), "the process is there");
        for file in ["maps", "environ", "auxv"] {
            assert!(!look(file), "{file} can be read");
        }
        m.stop();
    });
}
