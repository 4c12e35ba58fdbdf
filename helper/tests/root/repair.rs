//! What other programs take away of a tunnel comes back by itself, is audited, and is no endless
//! fight.

use super::ends;
use super::machine::{Client, Machine, in_namespace, ip_json, pause, until};
use serde_json::json;
use std::time::{Duration, Instant};

fn tunnel(m: &mut Machine) -> (Client, String) {
    m.run("ip", &["link", "set", "lo", "up"]);
    m.run("ip", &["link", "add", "lan0", "type", "veth", "peer", "name", "far0"]);
    m.run("ip", &["link", "set", "far0", "up"]);
    m.run("ip", &["addr", "add", "10.99.0.2/24", "dev", "lan0"]);
    m.run("ip", &["link", "set", "lan0", "up"]);
    m.start();
    let mut client = Client::ready(m);
    let lease = client.ok("tun.create", json!({"mtu": 1380}))["lease_id"].clone();
    let lease = lease.as_str().unwrap().to_string();
    client.ok("tun.configure", ends(&lease, 0));
    client.ok("hosts.add", json!({"name": "box.hop", "ip": "10.10.0.2", "lease_id": lease}));
    (client, lease)
}

fn is_whole(m: &Machine) -> bool {
    let link = &ip_json(&["addr", "show", "hopbox0"])[0];
    let routes = ip_json(&["route", "show"]);
    let mut routes = routes.as_array().unwrap().iter().filter(|one| one["dst"] == "10.10.0.2");
    let route = routes.next().cloned().unwrap_or_default();
    link["mtu"] == 1380
        && link["flags"].to_string().contains("\"UP\"")
        && link["addr_info"].to_string().contains("10.10.0.1")
        && (&route["dev"], &route["prefsrc"]) == (&json!("hopbox0"), &json!("10.10.0.1"))
        && m.hosts().contains("10.10.0.2\tbox.hop\n")
}

fn log() -> String {
    std::fs::read_to_string("/run/hopbox-helper/audit.log").unwrap()
}

#[test]
fn what_others_take_away_comes_back() {
    in_namespace("repair::what_others_take_away_comes_back", |m| {
        let (mut client, _lease) = tunnel(m);
        assert!(is_whole(m));
        let admin = "127.0.0.1 localhost\n192.0.2.7 by-the-admin\n";
        let mut took = Vec::new();
        for (words, told) in [
            ("ip addr flush dev hopbox0", "address"),
            ("ip route del 10.10.0.2", "route"),
            ("ip route replace 10.10.0.2 via 10.99.0.1 dev lan0", "route"),
            ("ip link set hopbox0 mtu 1300", "MTU"),
            ("ip link set hopbox0 down", "up"),
            ("sed /box.hop/d /etc/hosts >/run/h; cat /run/h >/etc/hosts", "names"),
            ("printf '127.0.0.1 localhost\n192.0.2.7 by-the-admin\n' >/etc/hosts", "names"),
        ] {
            m.run("sh", &["-c", words]);
            let begun = Instant::now();
            until(words, || is_whole(m));
            took.push(begun.elapsed());
            until("it is in the log", || {
                log().lines().any(|l| l.contains(told) && l.contains("put back"))
            });
        }
        took.sort();
        eprintln!("NOTE repairs took {took:?}");
        // A busy machine may delay one or two.
        assert!(took[took.len() / 2] <= Duration::from_secs(1), "{took:?}");
        assert!(m.hosts().starts_with(admin), "{}", m.hosts());
        assert_eq!(client.ok("daemon.health", json!({}))["status"], "ok");
        m.stop();
        assert_eq!(m.hosts(), admin);
    });
}

/// As an editor, a package or a hosts manager puts a whole new file in place, unasked by us.
#[test]
fn a_hosts_file_that_is_replaced_has_the_names_again() {
    in_namespace("repair::a_hosts_file_that_is_replaced_has_the_names_again", |m| {
        // A single file that is a mount cannot be renamed over.
        let bound = "mkdir /run/e && cp /etc/passwd /etc/group /etc/hosts /run/e && \
                     mount --bind /run/e /etc";
        m.run("sh", &["-c", bound]);
        let (_client, _lease) = tunnel(m);
        // A helper that has just begun does not have itself started again at once.
        pause(5_500);
        let admin = "127.0.0.1 localhost\n192.0.2.7 by-the-admin\n";
        std::fs::write("/etc/hosts.new", admin).unwrap();
        std::fs::rename("/etc/hosts.new", "/etc/hosts").unwrap();
        let begun = Instant::now();
        // Where Landlock keeps it from what stands at that name now, it ends to be started again.
        let back = |m: &Machine| m.hosts().contains("10.10.0.2\tbox.hop\n");
        until("it is noticed", || m.has_ended() || back(m));
        let noticed = begun.elapsed();
        if m.has_ended() {
            assert_eq!(m.ended(), Some(75), "for the service manager to start it again");
            m.start();
        }
        until("the name is back", || back(m));
        assert!(m.hosts().starts_with(admin), "{}", m.hosts());
        assert!(noticed <= Duration::from_secs(2), "looked at twice a second: {noticed:?}");
    });
}

#[test]
fn a_fight_is_given_up_and_said() {
    in_namespace("repair::a_fight_is_given_up_and_said", |m| {
        let (mut client, _lease) = tunnel(m);
        let degraded =
            |client: &mut Client| client.ok("daemon.health", json!({}))["degraded"].to_string();
        let (mut rounds, begun) = (0, Instant::now());
        while !degraded(&mut client).contains("hopbox0: another program keeps changing it") {
            m.run("ip", &["addr", "flush", "dev", "hopbox0"]);
            rounds += 1;
            assert!(begun.elapsed() < Duration::from_secs(60), "{rounds} rounds and no end");
            until("repaired or given up", || {
                is_whole(m) || degraded(&mut client).contains("hopbox0")
            });
        }
        assert!((10..=12).contains(&rounds), "{rounds}");
        m.run("ip", &["addr", "flush", "dev", "hopbox0"]);
        pause(1200);
        assert!(!is_whole(m), "left alone");
        // Names are a matter of their own; root may have everything looked at again.
        m.set_hosts("127.0.0.1 localhost\n");
        until("the name is back", || m.hosts().contains("box.hop"));
        m.hang_up();
        until("whole", || is_whole(m));
        assert_eq!(degraded(&mut client), "[]");
        let told =
            log().matches("address put back").count() + log().matches("route put back").count();
        assert!(told <= 24, "{told} lines");
        m.stop();
    });
}
