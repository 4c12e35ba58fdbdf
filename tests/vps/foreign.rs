//! Another WireGuard on the server, which is in use: wg-quick(8) with the name, the port and the
//! addresses that hop would take. It loses no packet, whatever hop does beside it.

use super::lab;
use super::machine::Machine;
use super::site::Site;

const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
/// wg-quick@wg0 as its owner knows it, without what every packet changes.
const FACTS: &str = "for what in private-key public-key listen-port fwmark peers preshared-keys \
     allowed-ips endpoints persistent-keepalive; do wg show wg0 $what; done
     find /etc/wireguard -printf '%p %m %u %g %s %T@\\n' | sort; cat /etc/wireguard/*
     systemctl show wg-quick@wg0 -p ActiveState,NRestarts,ActiveEnterTimestampMonotonic
     systemctl is-enabled wg-quick@wg0; pgrep -x wireguard-go
     ip address show dev wg0; ip route show dev wg0; ls /run/wireguard/wg0.sock";

/// A key pair; the private half stays in a file of the machine.
fn key(machine: &Machine) -> (String, String) {
    let private = machine.ok("wg genkey");
    let public = machine.ok(&format!("echo {} | wg pubkey", private.trim()));
    (private.trim().to_owned(), public.trim().to_owned())
}

/// wg-quick@wg0 on both, with this tunnel between them. The kernel may know no WireGuard.
fn wg_quick(laptop: &Machine, vps: &Machine) {
    let ((ours, our_public), (theirs, their_public)) = (key(laptop), key(vps));
    let psk = vps.ok("wg genpsk");
    let ours = format!(
        "Address = 10.10.0.7/32\nPrivateKey = {ours}\n[Peer]\nPublicKey = {their_public}\n\
         Endpoint = 198.51.100.2:51820\nAllowedIPs = 10.10.0.1/32\n"
    );
    let theirs = format!(
        "Address = 10.10.0.1/24\nListenPort = 51820\nPrivateKey = {theirs}\n[Peer]\n\
         PublicKey = {our_public}\nAllowedIPs = 10.10.0.7/32\n"
    );
    for (machine, text) in [(vps, theirs), (laptop, ours)] {
        machine.ok("mkdir -p -m 700 /etc/wireguard");
        let file = machine.path("/etc/wireguard/wg0.conf");
        std::fs::write(file, format!("[Interface]\n{text}PresharedKey = {psk}")).unwrap();
        machine.ok("chmod 600 /etc/wireguard/wg0.conf && systemctl enable --now wg-quick@wg0");
    }
}

#[test]
fn another_wireguard_in_use_loses_nothing() {
    lab::inside("foreign::another_wireguard_in_use_loses_nothing", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        wg_quick(laptop, vps);
        laptop.ok("ping -q -c 1 -w 10 10.10.0.1");
        let before = (vps.ok(FACTS), laptop.ok(FACTS));
        assert!(before.0.contains("51820") && before.0.contains("10.10.0.1/24"), "{}", before.0);
        laptop.ok("ping -i 0.02 10.10.0.1 >/root/pings 2>&1 & echo $! >/root/ping");
        let undisturbed = |when: &str| {
            assert_eq!(vps.ok(FACTS), before.0, "on the server after {when}");
            assert_eq!(laptop.ok(FACTS), before.1, "on the laptop after {when}");
        };

        let plan = site.hop_ok("setup mybox -a 198.51.100.2 --dry-run");
        let take = "UDP 51821, the addresses 10.10.1.1 and 10.10.1.2, and the interface hopbox0";
        assert!(plan.contains(take), "{plan}");
        site.hop_ok("setup mybox -a 198.51.100.2");
        let host = laptop.ok("cat /home/dev/.config/hopbox/hosts/mybox.json");
        assert!(host.contains("198.51.100.2:51821") && host.contains("\"number\": 1"), "{host}");
        assert!(vps.ok("ip -br address show dev hopbox0").contains("10.10.1.2/24"));
        undisturbed("setup");
        site.hop_ok("rotate");
        site.hop_ok("up");
        laptop.ok("curl -s http://mybox.hop:4200/health | grep -q ok");
        site.hop_ok("rotate");
        undisturbed("rotate");
        vps.ok(&format!("cp {AGENT} /root/other && echo >>/root/other && /root/other install"));
        let upgraded = site.hop_ok("--json upgrade");
        assert!(upgraded.contains("\"changed\":true"), "{upgraded}");
        vps.ok("systemctl restart hop-helper hop-agent");
        undisturbed("upgrade");
        site.hop_ok("down");
        site.hop_ok("-y uninstall --remote --purge -H mybox");
        assert_eq!(vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
        undisturbed("uninstall");

        // The last may still be under way: no number before the last that came is missing.
        laptop.ok("kill -INT $(cat /root/ping)");
        let pings = laptop.ok("cat /root/pings");
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
        let came: Vec<usize> = pings.lines().filter_map(number).collect();
        assert!(came.len() > 100, "{pings}");
        let missing = (1..=came.len()).find(|n| came[n - 1] != *n);
        assert_eq!(missing, None, "a packet of the other tunnel was lost: {pings}");
        eprintln!("NOTE {} packets of another WireGuard, none lost", came.len());
    });
}
