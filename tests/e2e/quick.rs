//! wg-quick(8) with our program in place of wireguard-go.

use crate::need_root;
use crate::netns::Host;
use crate::tunnel::{Engine, file, keys, start};

/// The program that wg-quick starts goes into the background; it ends with its interface.
struct Quick<'a>(&'a Host);

impl Drop for Quick<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_sh("ip link del tun0");
    }
}

fn quick(host: &Host, verb: &str) -> String {
    let hop = env!("CARGO_BIN_EXE_hop");
    host.sh(&format!(
        "mkdir -p /run/bin && ln -sf {hop} /run/bin/hop-wg && PATH=/run/bin:$PATH \
         WG_QUICK_USERSPACE_IMPLEMENTATION=hop-wg wg-quick {verb} /run/tun0.conf 2>&1"
    ))
}

#[test]
fn wg_quick_sets_up_and_takes_down() {
    // netns 19, with the real script: default route, both families, hooks, MTU, save.
    need_root!("wg_quick_sets_up_and_takes_down");
    let (a, b) = (Host::new("a"), Host::new("b"));
    a.join(&b);
    a.sh("ip addr add 198.51.100.1/24 dev wan");
    b.sh("ip addr add 198.51.100.2/24 dev wan; ip addr add 203.0.113.7/32 dev lo");
    let (mine, theirs) = (keys(&a), keys(&b));
    let psk = b.sh("wg genpsk");
    let _engine = start(&b, Engine::WireguardGo);
    b.sh(&format!(
        "wg set wg0 listen-port 51820 private-key {} peer {} preshared-key {} \
         allowed-ips 10.10.0.1/32,fd10::1/128 && ip addr add 10.10.0.2/24 dev wg0 && \
         ip addr add fd10::2/64 dev wg0 nodad && ip link set wg0 up",
        file(&b, &theirs.0),
        mine.1,
        file(&b, &psk)
    ));
    let conf = file(
        &a,
        &format!(
            "[Interface]\nAddress = 10.10.0.1/24, fd10::1/64\nPrivateKey = {}\nMTU = 1400\n\
             PostUp = echo %i >/run/hook\nPreDown = rm /run/hook\n\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0\n\
             Endpoint = 198.51.100.2:51820\nPersistentKeepalive = 25\n",
            mine.0,
            theirs.1,
            psk.trim()
        ),
    );
    a.sh(&format!("mv {conf} /run/tun0.conf && chmod 600 /run/tun0.conf"));
    let state = "ip -4 rule; ip -6 rule; ip -4 route; nft list ruleset; ls /var/run/wireguard";
    let before = a.sh(&format!("mkdir -p /var/run/wireguard; {state}"));
    let _quick = Quick(&a);
    for _ in 0..2 {
        let said = quick(&a, "up");
        assert!(said.contains("hop-wg tun0"), "the userspace way was taken:\n{said}");
        assert_eq!(a.sh("cat /run/hook /sys/class/net/tun0/mtu"), "tun0\n1400\n");
        a.ping(2, "10.10.0.2");
        a.ping(2, "fd10::2");
        b.ping(2, "10.10.0.1");
        // An address that only the default route knows.
        a.ping(2, "203.0.113.7");
        assert_eq!(a.sh("wg show tun0 fwmark").trim(), "0xca6c");
        quick(&a, "down");
        a.until("! ip link show tun0 && ! test -e /var/run/wireguard/tun0.sock");
        assert!(a.try_sh("test -e /run/hook").is_err());
        assert_eq!(a.sh(state), before);
    }
}

#[test]
fn wg_quick_saves_what_was_changed() {
    need_root!("wg_quick_saves_what_was_changed");
    let a = Host::new("a");
    let ((private, _), (_, peer)) = (keys(&a), keys(&a));
    let conf = file(
        &a,
        &format!(
            "[Interface]\nAddress = 10.10.0.1/24\nPrivateKey = {private}\nTable = off\n\
             SaveConfig = true\n"
        ),
    );
    a.sh(&format!("mv {conf} /run/tun0.conf && chmod 600 /run/tun0.conf"));
    let _quick = Quick(&a);
    quick(&a, "up");
    a.sh("wg-quick strip /run/tun0.conf >/run/strip && wg syncconf tun0 /run/strip");
    assert_eq!(a.sh("wg show tun0 private-key").trim(), private);
    a.sh(&format!("wg set tun0 peer {peer} allowed-ips 10.10.0.2/32"));
    quick(&a, "down");
    let saved = a.sh("cat /run/tun0.conf");
    for line in [format!("PublicKey = {peer}"), format!("PrivateKey = {private}")] {
        assert!(saved.contains(&line), "{line} is not in:\n{saved}");
    }
    assert!(saved.contains("AllowedIPs = 10.10.0.2/32") && saved.contains("ListenPort = "));
}
