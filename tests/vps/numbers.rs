//! Address pairs where much of 10.0.0.0/8 is in use already, on the laptop and on servers.

use hopbox::base::key;
use hopbox::tunnel;
use serde_json::json;

use super::lab;
use super::machine::Machine;
use super::site::{Site, admit, equip, install_helper};

/// An agent that another laptop has made ready, with this number.
fn somebody_elses(vps: &Machine, number: u8) {
    let agent = std::path::Path::new(env!("CARGO_BIN_EXE_hop-agent"));
    vps.install(agent, "/root/hop-agent");
    install_helper(vps, "/root");
    vps.ok("/root/hop-helper --install && /root/hop-agent install");
    let key = key::encode(&tunnel::public_key(&[7; 32])).to_string();
    let request = json!({
        "version": 1, "public_key": key, "name": "theirs", "user": "dev", "number": number,
    });
    let agent = "/usr/libexec/hopbox/hop-agent";
    vps.ok(&format!("echo '{request}' | {agent} setup >/root/answer && {agent} start"));
}

#[test]
fn wide_routes_give_way_and_a_number_is_never_shared() {
    lab::inside("numbers::wide_routes_give_way_and_a_number_is_never_shared", || {
        let [laptop, vps, other] = Machine::boot(["laptop", "vps", "other"]);
        laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        laptop.cable("203.0.113.1/24", &other, "203.0.113.2/24");
        equip(&laptop);
        admit(&laptop);
        let site = Site { laptop, vps };
        let (laptop, vps) = (&site.laptop, &site.vps);
        // A VPN that takes everything, a company's network, and a provider's on the server.
        laptop.ok("for to in 0.0.0.0/1 128.0.0.0/1 10.0.0.0/8 10.10.0.0/16; do \
             ip route add $to via 198.51.100.2; done");
        vps.ok("ip address add 10.10.0.9/16 dev to-laptop");
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        laptop.ok("curl -s http://10.10.1.2:4200/health | grep -q ok");
        for (ip, device) in [("10.10.1.2", "hopbox0"), ("10.10.1.7", "to-vps")] {
            let route = laptop.ok(&format!("ip route get {ip}"));
            assert!(route.contains(&format!("dev {device}")), "{route}");
        }
        assert!(vps.ok("ip route get 10.10.0.7").contains("dev to-laptop"));

        // A name that is another server's: another one is free.
        let taken = site.hop("--no-input setup mybox -a 203.0.113.2");
        let words = "another server here, 198.51.100.2";
        assert!(taken.code == 8 && taken.err.contains(words), "{taken}");
        let fix = taken.fix().strip_prefix("hop ").unwrap();
        assert!(fix.starts_with("setup mybox-2 -a 203.0.113.2"), "{taken}");
        site.hop_ok(fix);
        site.hop_ok("-y uninstall --remote --purge -H mybox-2");

        // A server that another laptop uses has the same number: one of the two must make way.
        somebody_elses(&other, 1);
        let clash = site.hop("--no-input setup theirs -a 203.0.113.2");
        assert_eq!(clash.code, 8, "{clash}");
        assert!(clash.err.contains("10.10.1.0/24") && clash.err.contains("host mybox"), "{clash}");
        let fix = clash.fix();
        assert!(fix.starts_with("hop uninstall --remote -H mybox && hop setup theirs"), "{clash}");
        laptop.ok_as("dev", &fix.replace("hop ", "hop -y --no-input "));
        site.hop_ok("up mybox theirs");
        laptop.ok("curl -s http://theirs.hop:4200/health | grep -q 10.10.1.2");
        laptop.ok("curl -s http://mybox.hop:4200/health | grep -q 10.10.2.2");
        let peers = site.hop_ok("host peers theirs");
        assert!(peers.contains("10.10.1.1") && peers.contains("10.10.1.3"), "{peers}");
        // Both are reached before the one question, and each is cleaned by its own connection.
        let gone = site.hop("--json -y uninstall --remote --purge");
        assert_eq!(gone.code, 0, "{gone}");
        let gone: serde_json::Value = serde_json::from_str(&gone.out).unwrap();
        let done = |name: &str, done: &str| json!({"host": name, "done": done});
        let servers = json!([
            done("mybox", "agent and helper are gone"),
            done("theirs", "other laptops use it: only this one's entry was removed"),
        ]);
        assert_eq!(gone["data"]["servers"], servers, "{gone}");
        assert_eq!(vps.ok("ls /usr/libexec /var/lib | grep hopbox; true"), "");
        let left = other.ok("grep public_key /var/lib/hopbox-agent/agent.json");
        let key = key::encode(&tunnel::public_key(&[7; 32])).to_string();
        assert!(left.contains(&key) && left.lines().count() == 1, "{left}");
    });
}
