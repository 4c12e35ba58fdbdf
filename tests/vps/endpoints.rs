//! Where UDP reaches a server, if not where ssh does.

use super::lab;
use super::machine::Machine;
use super::site::Site;

/// The line of the host file.
fn endpoint(laptop: &Machine) -> String {
    let line = laptop.ok("grep '\"endpoint\"' /home/dev/.config/hopbox/hosts/mybox.json");
    line.trim().trim_end_matches(',').to_owned()
}

fn answers(laptop: &Machine) {
    laptop.ok("curl -s http://mybox.hop:4200/health | grep -q ok");
}

#[test]
fn udp_that_goes_another_way_than_ssh_is_stated_once() {
    lab::inside("endpoints::udp_that_goes_another_way_than_ssh_is_stated_once", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        vps.ok("for n in 3 4; do ip address add 198.51.100.$n/24 dev to-laptop; done");
        // As a router does: the agent's port is closed, another address and port lead to it.
        vps.ok("nft add table ip f && \
             nft add chain ip f c '{ type filter hook prerouting priority -300; }' && \
             nft add rule ip f c ip daddr 198.51.100.2 udp dport 51820 drop && \
             nft add chain ip f n '{ type nat hook prerouting priority -100; }' && \
             nft add rule ip f n ip daddr 198.51.100.3 udp dport 4000 dnat to 198.51.100.2:51820");
        let plain = "--no-input setup mybox -a 198.51.100.2";
        site.fails(plain, 6, &["not one UDP packet reached 198.51.100.2", "--endpoint"]);
        site.fails("--no-input setup mybox --endpoint :1", 2, &["--endpoint is not valid"]);
        site.hop_ok(&format!("{plain} --endpoint 198.51.100.3:4000"));
        site.hop_ok(plain);
        assert_eq!(endpoint(laptop), "\"endpoint\": \"198.51.100.3:4000\"");
        site.hop_ok("up");
        answers(laptop);
        // A host file that was edited by hand, to a name.
        laptop.ok("echo '198.51.100.3 gate.example' >>/etc/hosts");
        let edit = "sed -i s/198.51.100.3:4000/gate.example:4000/ .config/hopbox/hosts/mybox.json";
        laptop.ok_as("dev", edit);
        site.hop_ok("setup mybox");
        assert_eq!(endpoint(laptop), "\"endpoint\": \"gate.example:4000\"");
        answers(laptop);
        // Another address of the server is a new start.
        site.hop_ok("setup mybox -a 198.51.100.4");
        assert_eq!(endpoint(laptop), "\"endpoint\": \"198.51.100.4:51820\"");
        site.hop_ok("down");
    });
}
