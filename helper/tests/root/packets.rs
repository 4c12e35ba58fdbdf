//! What a tunnel's holder writes into its device, and what the LAN says to a tunnel's address:
//! nothing of it may change the machine or reach a program but what is routed to the tunnel.

use super::ends;
use super::machine::{Client, Machine, in_namespace, ip_json, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::RawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const LOCAL: &str = "10.10.0.1";
const PEER: &str = "10.10.0.2";
const PORT: u16 = 4444;
/// struct virtio_net_hdr, without any wish.
const PLAIN: [u8; 10] = [0; 10];

fn ip(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn sum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// `fragment` is the word of flags and offset; `options` come in whole words.
fn ipv4(from: &str, to: &str, protocol: u8, fragment: u16, options: &[u8], body: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 + (header / 4) as u8, 0, 0, 0, 0, 7, 0, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&((header + body.len()) as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet.extend(ip(from));
    packet.extend(ip(to));
    packet.extend(options);
    let check = sum(&packet);
    packet[10..12].copy_from_slice(&check);
    packet.extend(body);
    packet
}

/// Without a checksum, which UDP allows.
fn datagram(text: &str) -> Vec<u8> {
    let mut body = [PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
    body.extend(((8 + text.len()) as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(text.as_bytes());
    body
}

fn udp(from: &str, to: &str, text: &str) -> Vec<u8> {
    ipv4(from, to, 17, 0, &[], &datagram(text))
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest);
    body.extend(quoted);
    let check = sum(&body);
    body[2..4].copy_from_slice(&check);
    body
}

fn from_peer(protocol: u8, body: &[u8]) -> Vec<u8> {
    ipv4(PEER, LOCAL, protocol, 0, &[], body)
}

const ALL_NODES: &str = "ff02::1";

/// Also with a router alert before it, as MLD has it.
fn icmpv6(from: &str, to: &str, alert: bool, mut body: Vec<u8>) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut pseudo = [octets(from), octets(to)].concat();
    pseudo.extend((body.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 58]);
    let check = sum(&[&pseudo[..], &body[..]].concat());
    body[2..4].copy_from_slice(&check);
    if alert {
        body = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &body[..]].concat();
    }
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, if alert { 0 } else { 58 }, 255];
    packet[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(body);
    packet
}

/// A default route, a prefix to take an address from, and a route to one host of the LAN.
fn router_advertisement() -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut body = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    body.extend(octets("2001:db8:bad::"));
    body.extend([24, 3, 128, 0x08, 0, 0, 14, 16]);
    body.extend(octets("2001:db8:1::53"));
    icmpv6("fe80::bad", ALL_NODES, false, body)
}

/// A program that writes into the device of a descriptor that it inherits.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn of(fd: RawFd) -> Holder {
        let script = format!(
            "$| = 1; open(F, '+<&={fd}') or die; while (<STDIN>) {{ chomp; \
             print defined(syswrite(F, pack('H*', $_))) ? \"1\\n\" : \"0\\n\" }}"
        );
        let mut child = Command::new("perl")
            .args(["-e", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Holder { child, input, output: BufReader::new(output) }
    }

    /// Whether the device took it.
    fn write(&mut self, header: &[u8], packet: &[u8]) -> bool {
        let hex: String = [header, packet].concat().iter().map(|b| format!("{b:02x}")).collect();
        writeln!(self.input, "{hex}").unwrap();
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        said == "1\n"
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine on a LAN with a router, and a tunnel on it.
struct Scene {
    client: Client,
    lease: String,
    holder: Holder,
    heard: UdpSocket,
}

/// A LAN with a router at the other end, which is a machine of its own, `far`.
fn lan(m: &Machine) {
    // Everything that comes out of a tunnel and is looked at as a packet is counted.
    let script = "set -e; ip link set lo up; ip netns add far; \
        echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; \
        ip link add lan0 type veth peer name far0 netns far; \
        ip addr add 10.99.0.2/24 dev lan0; ip -6 addr add fd00:99::2/64 dev lan0 nodad; \
        ip link set lan0 up; ip -n far link set lo up; ip -n far link set far0 up; \
        ip -n far addr add 10.99.0.1/24 dev far0; ip route add default via 10.99.0.1; \
        nft add table inet seen; \
        nft 'add chain inet seen any { type filter hook prerouting priority -400; }'; \
        nft 'add rule inet seen any iifname \"hopbox*\" counter'";
    m.run("sh", &["-c", script]);
}

/// A web server in a container of its own, `box`, its port published at all addresses; as
/// `tests/agent/containers.rs` has it.
fn publish(m: &Machine, engine: &str, port: u16) {
    let script = format!(
        "set -e; ip link set lo up; mkdir -p /var/lib/containers /var/lib/docker; \
         for dir in /var/lib/containers /var/lib/docker; do mountpoint -q $dir || \
         mount -t tmpfs -o mode=0755 tmpfs $dir; done; \
         ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; \
         [ {engine} != docker ] || {{ dockerd --storage-driver vfs >/run/dockerd.log 2>&1 & \
         for i in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done; }}; \
         cd /run/scratch; rm -rf root; mkdir -p root/bin root/tmp root/etc; \
         for file in /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*'); do \
         install -D $file root$file; done; \
         for name in sh httpd; do ln -s busybox root/bin/$name; done; \
         tar -C root -cf root.tar .; {engine} import root.tar docker.io/library/box:1 >/dev/null; \
         {engine} run -d --name box -p {port}:80 docker.io/library/box:1 httpd -f -p 80 >/dev/null"
    );
    m.run("sh", &["-c", &script]);
}

impl Scene {
    fn new(m: &mut Machine) -> Scene {
        lan(m);
        Scene::on_lan(m)
    }

    fn on_lan(m: &mut Machine) -> Scene {
        m.start();
        let mut client = Client::ready(m);
        let lease = client.ok("tun.create", json!({}))["lease_id"].as_str().unwrap().to_string();
        client.ok("tun.configure", ends(&lease, 0));
        let heard = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        heard.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let holder = Holder::of(client.fds[0]);
        let mut scene = Scene { client, lease, holder, heard };
        scene.is_heard("the tunnel works");
        scene
    }

    /// Packets of the tunnel that the machine has looked at.
    fn seen(&self) -> u64 {
        let rules = nft(&["-j", "list", "chain", "inet", "seen", "any"]);
        let rules: Value = serde_json::from_str(&rules).unwrap();
        let rules = rules["nftables"].as_array().unwrap();
        rules.iter().find_map(|r| r["rule"]["expr"][1]["counter"]["packets"].as_u64()).unwrap()
    }

    /// A datagram of the peer reaches a program, and nothing else has before it.
    fn is_heard(&mut self, what: &str) {
        assert!(self.holder.write(&PLAIN, &udp(PEER, LOCAL, "from the peer")), "{what}");
        assert_eq!(self.next(), "from the peer", "{what}");
    }

    fn next(&self) -> String {
        let mut buf = [0; 4096];
        let len = self.heard.recv(&mut buf).unwrap();
        String::from_utf8_lossy(&buf[..len]).into_owned()
    }

    /// What is written may not be looked at, nor reach anybody.
    fn is_stopped(&mut self, what: &str, header: &[u8], packet: &[u8]) {
        let before = self.seen();
        self.holder.write(header, packet);
        self.is_heard(what);
        assert_eq!(self.seen(), before + 1, "{what} came in");
    }
}

fn nft(args: &[&str]) -> String {
    let out = Command::new("nft").args(args).output().unwrap();
    assert!(out.status.success(), "nft {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Every message by which a link configures a host, and what is not the tunnel's.
fn attacks() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, packet: Vec<u8>| all.push((what.to_string(), packet));
    let ours = ipv4(LOCAL, PEER, 17, 0x4000, &[], &datagram("quoted"));
    for source in ["10.10.0.3", "10.99.0.1", "10.99.0.2", "127.0.0.1", "0.0.0.0", "8.8.8.8", LOCAL]
    {
        add(&format!("from {source}"), udp(source, LOCAL, "forged"));
    }
    for to in [
        "10.99.0.2",
        "10.99.0.1",
        "10.10.0.3",
        "127.0.0.1",
        "224.0.0.1",
        "224.0.0.251",
        "239.255.255.250",
        "255.255.255.255",
        "10.99.0.255",
        "10.10.0.255",
        "8.8.8.8",
    ] {
        add(&format!("to {to}"), udp(PEER, to, "strayed"));
    }
    for (what, options) in [
        ("record route", [7, 7, 4, 0, 0, 0, 0, 0]),
        ("strict source route", [137, 7, 4, 10, 99, 0, 1, 0]),
        ("router alert", [148, 4, 0, 0, 0, 0, 0, 0]),
        ("timestamp", [68, 8, 5, 0, 0, 0, 0, 0]),
    ] {
        add(what, ipv4(PEER, LOCAL, 17, 0, &options, &datagram("options")));
    }
    for code in 0..4 {
        add("redirect", from_peer(1, &icmp(5, code, ip("10.99.0.1"), &ours)));
    }
    add(
        "router advertisement",
        from_peer(1, &icmp(9, 0, [1, 2, 7, 8], &[10, 10, 0, 2, 0, 0, 0, 0])),
    );
    add("router solicitation", from_peer(1, &icmp(10, 0, [0; 4], &[])));
    add(
        "IRDP",
        ipv4(PEER, "224.0.0.1", 1, 0, &[], &icmp(9, 0, [1, 2, 7, 8], &[10, 10, 0, 2, 0, 0, 0, 0])),
    );
    for (kind, body) in [(4, &ours[..]), (13, &[0; 12][..]), (17, &[0; 4][..]), (15, &[][..])] {
        add("an ICMP kind of old", from_peer(1, &icmp(kind, 0, [0; 4], body)));
    }
    for (what, quoted) in [
        ("the LAN's flow", ipv4("10.99.0.2", "10.99.0.1", 6, 0, &[], &[0; 20])),
        ("ours to the LAN", ipv4(LOCAL, "10.99.0.1", 6, 0, &[], &[0; 20])),
        ("the LAN's to the peer", ipv4("10.99.0.2", PEER, 6, 0, &[], &[0; 20])),
        ("a flow with options", ipv4(LOCAL, PEER, 6, 0, &[1; 4], &[0; 20])),
    ] {
        for (kind, code) in [(3, 4), (3, 1), (3, 3), (11, 0), (12, 0)] {
            let error = icmp(kind, code, [0, 0, 2, 64], &quoted);
            add(&format!("{kind}/{code} about {what}"), from_peer(1, &error));
        }
    }
    let error = icmp(3, 4, [0, 0, 2, 64], &ours);
    add("the first part of an error", ipv4(PEER, LOCAL, 1, 0x2000, &[], &error[..24]));
    for kind in [0x11, 0x16, 0x22] {
        let body = icmp(kind, 0, [0; 4], &[0; 4]);
        add("IGMP", from_peer(2, &body));
        add("IGMP", ipv4(PEER, "224.0.0.1", 2, 0, &[148, 4, 0, 0], &body));
    }
    for protocol in [89, 103, 112] {
        add("of routers", from_peer(protocol, &[0x21; 32]));
    }
    let link = "fe80::bad";
    add("RA", router_advertisement());
    for (kind, len) in [(133, 8), (135, 24), (136, 24), (137, 40), (128, 8), (141, 8), (3, 48)] {
        let body = [&[kind][..], &vec![0; len - 1]].concat();
        add(&format!("ICMPv6 {kind}"), icmpv6(link, ALL_NODES, false, body.clone()));
        add(&format!("ICMPv6 {kind}"), icmpv6(link, "fd00:99::2", false, body));
    }
    for kind in [130, 131, 132, 143] {
        add(
            &format!("MLD {kind}"),
            icmpv6(link, ALL_NODES, true, [&[kind][..], &[0; 27]].concat()),
        );
    }
    // An ARP answer, a bare header, one byte, and an IPv4 packet that ends in its header.
    add("ARP", [&[0, 1, 8, 0, 6, 4, 0, 2][..], &[2; 6], &ip(PEER), &[2; 6], &ip(LOCAL)].concat());
    add("0806", [&[8, 6][..], &[0; 28]].concat());
    add("a byte", vec![0x45]);
    add("cut", udp(PEER, LOCAL, "x")[..19].to_vec());
    all
}

#[test]
fn what_a_holder_writes_changes_nothing() {
    in_namespace("packets::what_a_holder_writes_changes_nothing", |m| {
        let mut scene = Scene::new(m);
        let state = || {
            let ask = |args: &[&str]| ip_json(args).to_string();
            [
                ask(&["-6", "route"]),
                ask(&["-6", "addr"]),
                ask(&["route"]),
                ask(&["neigh"]),
                ask(&["route", "get", PEER]),
                ask(&["route", "get", "10.99.0.1"]),
                ask(&["maddr"]),
            ]
        };
        let before = state();
        // As it is; with a checksum that is to be finished; as a segment of many.
        let unfinished = [1, 0, 0, 0, 0, 0, 20, 0, 6, 0];
        let many = [1, 4, 40, 0, 8, 0, 20, 0, 16, 0];
        for (what, packet) in attacks() {
            for header in [PLAIN, unfinished] {
                scene.is_stopped(&what, &header, &packet);
            }
        }
        for (from, to) in [("10.99.0.1", LOCAL), (PEER, "10.99.0.1"), (PEER, "224.0.0.1")] {
            let mut tcp = vec![0; 20];
            tcp[12] = 0x50;
            tcp.extend([b'x'; 400]);
            scene.is_stopped("a large one", &many, &ipv4(from, to, 6, 0, &[], &tcp));
        }
        assert_eq!(state(), before);
        m.stop();
    });
}

/// One packet each of what a tunnel is for.
#[test]
fn what_is_routed_to_a_tunnel_comes_in() {
    in_namespace("packets::what_is_routed_to_a_tunnel_comes_in", |m| {
        let mut scene = Scene::new(m);
        let whole = datagram(&"long ".repeat(80));
        for (fragment, part) in [(0x2000, &whole[..200]), (25, &whole[200..])] {
            assert!(scene.holder.write(&PLAIN, &ipv4(PEER, LOCAL, 17, fragment, &[], part)));
        }
        assert_eq!(scene.next(), "long ".repeat(80));
        let before = scene.seen();
        let echo = icmp(8, 0, [0; 4], &[7; 32]);
        let mut tcp = vec![0; 20];
        tcp[12] = 0x50;
        tcp.extend([b'x'; 4000]);
        let many = [1, 1, 40, 0, 0xe8, 3, 20, 0, 16, 0];
        assert!(scene.holder.write(&PLAIN, &from_peer(1, &echo)));
        assert!(scene.holder.write(&many, &from_peer(6, &tcp)));
        for protocol in [4, 47, 50, 132] {
            assert!(scene.holder.write(&PLAIN, &from_peer(protocol, &[0; 24])));
        }
        assert_eq!(scene.seen(), before + 6);
        // The peer says that something behind it takes no more than 1000 bytes.
        scene.heard.send_to(b"large", (PEER, PORT)).unwrap();
        let ours = ipv4(LOCAL, PEER, 17, 0x4000, &[], &datagram("quoted"));
        scene.holder.write(&PLAIN, &from_peer(1, &icmp(3, 4, [0, 0, 3, 232], &ours)));
        let route = ip_json(&["route", "get", PEER]);
        assert_eq!(route[0]["metrics"][0]["mtu"], 1000, "{route}");
        m.stop();
    });
}

fn set(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}

fn get(path: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_string()
}

/// As it was made: filter, reverse paths, no redirects, no IPv6.
fn is_confined(name: &str) -> bool {
    let filters = Command::new("tc").args(["filter", "show", "dev", name, "ingress"]).output();
    String::from_utf8_lossy(&filters.unwrap().stdout).contains("direct-action")
        && get(&format!("ipv4/conf/{name}/rp_filter")) == "1"
        && get(&format!("ipv4/conf/{name}/accept_redirects")) == "0"
        && get(&format!("ipv6/conf/{name}/disable_ipv6")) == "1"
}

fn audit_has(text: &str) -> bool {
    std::fs::read_to_string("/run/hopbox-helper/audit.log").unwrap().contains(text)
}

/// As systemd ships it, and with more of the kind; udev applies it to every new interface.
const SYSCTL: &str = "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n\
    -net.ipv4.conf.all.rp_filter\nnet.ipv4.conf.*.accept_redirects = 1\n\
    net.ipv6.conf.*.disable_ipv6 = 0\nnet.ipv6.conf.*.accept_ra = 2\n";

#[test]
fn what_others_set_is_put_back_and_lets_nothing_in() {
    in_namespace("packets::what_others_set_is_put_back_and_lets_nothing_in", |m| {
        let mut scene = Scene::new(m);
        let forged = |what: &str, scene: &mut Scene| {
            for from in ["10.99.0.1", "10.10.0.3", "8.8.8.8"] {
                scene.is_stopped(what, &PLAIN, &udp(from, LOCAL, "forged"));
            }
            scene.is_stopped(what, &PLAIN, &router_advertisement());
        };
        for (all, redirects) in [("0", "1"), ("1", "0"), ("2", "1")] {
            set("ipv4/conf/all/rp_filter", all);
            set("ipv4/conf/all/accept_redirects", redirects);
            forged(&format!("rp_filter {all}"), &mut scene);
        }
        std::fs::create_dir("/run/sysctl.d").unwrap();
        std::fs::write("/run/sysctl.d/50-default.conf", SYSCTL).unwrap();
        let sysctl = "/lib/systemd/systemd-sysctl";
        if std::path::Path::new(sysctl).exists() {
            let prefixes = ["ipv4", "ipv6"].map(|v| format!("--prefix=/net/{v}/conf/hopbox0"));
            m.run(sysctl, &[&prefixes[0], &prefixes[1]]);
            forged("udev's rule", &mut scene);
            until("udev's rule is undone", || is_confined("hopbox0"));
        }
        for (key, value) in [
            ("ipv4/conf/hopbox0/rp_filter", "0"),
            ("ipv6/conf/hopbox0/disable_ipv6", "0"),
            ("ipv4/conf/hopbox0/accept_redirects", "1"),
            ("ipv6/conf/all/disable_ipv6", "0"),
            ("ipv4/conf/all/rp_filter", "2"),
        ] {
            set(key, value);
            forged(key, &mut scene);
            until(key, || is_confined("hopbox0"));
        }
        for words in [
            ["filter", "del", "dev", "hopbox0", "ingress"].as_slice(),
            &["qdisc", "del", "dev", "hopbox0", "clsact"],
            &[
                "filter",
                "replace",
                "dev",
                "hopbox0",
                "ingress",
                "pref",
                "1",
                "handle",
                "1",
                "bpf",
                "da",
                "bytecode",
                "1,6 0 0 0,",
            ],
        ] {
            m.run("tc", words);
            until("the filter is back", || is_confined("hopbox0") && !tc_lets_all_in());
            forged(&words.join(" "), &mut scene);
        }
        assert!(audit_has("ingress filter put back") && audit_has("reverse path filter put back"));
        // So it is while no helper runs, and with the next one.
        m.kill();
        forged("no helper", &mut scene);
        m.run("tc", &["qdisc", "del", "dev", "hopbox0", "clsact"]);
        set("ipv6/conf/hopbox0/disable_ipv6", "0");
        m.start();
        assert!(is_confined("hopbox0"));
        forged("the next helper", &mut scene);
        m.stop();
    });
}

fn tc_lets_all_in() -> bool {
    let filters = Command::new("tc").args(["filter", "show", "dev", "hopbox0", "ingress"]).output();
    String::from_utf8_lossy(&filters.unwrap().stdout).contains("bytecode '1,6 0 0 0'")
}

/// Before the first address nothing comes in, and a device of another type is not configured.
#[test]
fn a_holder_cannot_prepare_its_device() {
    in_namespace("packets::a_holder_cannot_prepare_its_device", |m| {
        let mut scene = Scene::new(m);
        let made = scene.client.ok("tun.create", json!({}));
        assert_eq!(made["name"], "hopbox1");
        assert!(is_confined("hopbox1"));
        let second = scene.client.fds[1];
        // Root brings it up; no write has come in since.
        m.run("ip", &["link", "set", "hopbox1", "up"]);
        let mut early = Holder::of(second);
        let before = scene.seen();
        early.write(&PLAIN, &udp("10.10.1.2", "10.10.1.1", "early"));
        early.write(&PLAIN, &router_advertisement());
        assert_eq!(scene.seen(), before);
        m.run("ip", &["link", "set", "hopbox1", "down"]);
        // TUNSETLINK to Ethernet.
        let script = format!("open(F, '+<&={second}') && ioctl(F, 0x400454cd, 1) or exit 1");
        m.run("perl", &["-e", &script]);
        let lease = made["lease_id"].as_str().unwrap();
        assert_eq!(scene.client.code("tun.configure", ends(lease, 1)), "state_conflict");
        let addresses = ip_json(&["addr", "show", "hopbox0"]).to_string();
        assert!(addresses.contains(LOCAL), "the other tunnel is there: {addresses}");
        m.stop();
    });
}

/// Two tunnels: neither brings in what is the other's, and both go on.
#[test]
fn a_tunnel_does_not_speak_for_another() {
    in_namespace("packets::a_tunnel_does_not_speak_for_another", |m| {
        let mut scene = Scene::new(m);
        let lease = scene.client.ok("tun.create", json!({}))["lease_id"].clone();
        let lease = lease.as_str().unwrap().to_string();
        scene.client.ok("tun.configure", ends(&lease, 1));
        let mut second = Holder::of(scene.client.fds[1]);
        for (from, to) in [(PEER, LOCAL), ("10.10.1.2", LOCAL), (PEER, "10.10.1.1")] {
            let before = scene.seen();
            second.write(&PLAIN, &udp(from, to, "of the other"));
            assert_eq!(scene.seen(), before, "{from} {to}");
        }
        second.write(&PLAIN, &udp("10.10.1.2", "10.10.1.1", "second"));
        assert_eq!(scene.next(), "second");
        scene.is_heard("the first one goes on");
        // It moves to other ends: what was right is wrong now.
        scene.client.ok("tun.configure", ends(&lease, 2));
        let before = scene.seen();
        second.write(&PLAIN, &udp("10.10.1.2", "10.10.1.1", "late"));
        assert_eq!(scene.seen(), before);
        second.write(&PLAIN, &udp("10.10.2.2", "10.10.2.1", "moved"));
        assert_eq!(scene.next(), "moved");
        m.stop();
    });
}

fn far(command: &str) -> String {
    let out = Command::new("ip").args(["netns", "exec", "far", "sh", "-c", command]).output();
    String::from_utf8_lossy(&out.unwrap().stdout).into_owned()
}

/// Somebody on the LAN asks for the tunnel's address, sends to it, and sees it nowhere.
#[test]
fn the_lan_does_not_meet_a_tunnels_address() {
    in_namespace("packets::the_lan_does_not_meet_a_tunnels_address", |m| {
        let mut scene = Scene::new(m);
        far("ip route add 10.10.0.1/32 dev far0");
        let asked = |address: &str| {
            far(&format!("ping -c 1 -W 1 {address}; ip neigh flush all"));
            far(&format!("ping -c 1 -W 1 {address} >/dev/null; ip neigh show {address}"))
        };
        let never = |when: &str, scene: &mut Scene| {
            assert!(asked("10.99.0.2").contains("lladdr"), "{when}: the LAN's own address");
            let neighbour = asked(LOCAL);
            assert!(!neighbour.contains("lladdr"), "{when}: {neighbour}");
            far("ip route replace 10.10.0.1/32 via 10.99.0.2");
            far(&format!(
                "perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, q(inject), 0, \
                 sockaddr_in({PORT}, inet_aton(q({LOCAL}))))'"
            ));
            scene.is_heard(when);
            far("ip route replace 10.10.0.1/32 dev far0");
        };
        never("at first", &mut scene);
        // Nor is anybody asked in its name.
        m.run("ip", &["neigh", "flush", "all"]);
        let _ =
            Command::new("ping").args(["-c", "1", "-W", "1", "-I", LOCAL, "10.99.0.1"]).output();
        let neighbour = far(&format!("ip neigh show {LOCAL}"));
        assert!(!neighbour.contains("lladdr"), "{neighbour}");
        // From this machine itself it is reached, and its own names for it are.
        m.run("ping", &["-c", "1", "-W", "1", LOCAL]);
        for command in ["flush ruleset", "delete table ip hopbox", "flush chain arp hopbox in"] {
            let tables = || nft(&["list", "ruleset"]).matches(LOCAL).count();
            assert!(tables() >= 3, "{}", nft(&["list", "ruleset"]));
            nft(&command.split(' ').collect::<Vec<&str>>());
            until("the guard is back", || tables() >= 3);
        }
        assert!(audit_has("guard of addresses put back"));
        let counter = "add table inet seen; add chain inet seen any { type filter hook prerouting \
            priority -400; }; add rule inet seen any iifname \"hopbox*\" counter";
        nft(&[counter]);
        never("after a flush", &mut scene);
        let lease = json!({"lease_id": scene.lease});
        scene.client.ok("tun.cleanup", lease);
        let rules = nft(&["list", "ruleset"]);
        assert!(!rules.contains("hopbox {"), "{rules}");
        m.stop();
    });
}

/// A port that a container engine has published, docker's way: translated before any filter for
/// incoming packets looks, on the tunnel's address, too. The tunnel meets it there, the LAN not.
#[test]
fn a_published_port_is_met_through_the_tunnel_alone() {
    in_namespace("packets::a_published_port_is_met_through_the_tunnel_alone", |m| {
        let mut scene = Scene::new(m);
        let engine = format!(
            "set -e; ip netns add box; ip link add box0 type veth peer name in0 netns box; \
             ip addr add 172.17.0.1/16 dev box0; ip link set box0 up; \
             ip -n box addr add 172.17.0.2/16 dev in0; ip -n box link set in0 up; \
             ip -n box route add default via 172.17.0.1; echo 1 >/proc/sys/net/ipv4/ip_forward; \
             nft add table ip engine; \
             nft 'add chain ip engine pre {{ type nat hook prerouting priority -100; }}'; \
             nft 'add chain ip engine through {{ type filter hook forward priority 0; }}'; \
             nft 'add rule ip engine pre fib daddr type local udp dport {PORT} \
                  dnat to 172.17.0.2'; \
             nft 'add rule ip engine through ip daddr 172.17.0.2 udp dport {PORT} counter'"
        );
        m.run("sh", &["-c", &engine]);
        let met = || {
            let rules = nft(&["list", "chain", "ip", "engine", "through"]);
            let count = rules.split_once("packets ").and_then(|(_, rest)| rest.split_once(' '));
            count.unwrap().0.parse::<u64>().unwrap()
        };
        let send = |address: &str| {
            far(&format!(
                "perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, q(x), 0, \
                 sockaddr_in({PORT}, inet_aton(q({address}))))'"
            ));
        };
        far("ip route add 10.10.0.1/32 via 10.99.0.2");
        send(LOCAL);
        assert_eq!(met(), 0, "by the tunnel's address");
        // It is published, and to the LAN by the LAN's address.
        send("10.99.0.2");
        until("the LAN meets it", || met() == 1);
        send(LOCAL);
        assert!(scene.holder.write(&PLAIN, &udp(PEER, LOCAL, "from the peer")));
        until("the tunnel meets it", || met() == 2);
        m.stop();
    });
}

/// The same with what real engines publish by TCP, and without a container; from the LAN, from a
/// container, from the machine itself, and through the tunnel.
#[test]
fn what_engines_publish_is_met_through_the_tunnel_alone() {
    if std::path::Path::new("/run/systemd/system").exists() {
        return eprintln!("SKIP what_engines_publish: this machine's systemd has its groups");
    }
    in_namespace("packets::what_engines_publish_is_met_through_the_tunnel_alone", |m| {
        let there = |tool: &str| Command::new(tool).arg("--help").output().is_ok();
        let engines = [("podman", 8081), ("docker", 8080)].into_iter().filter(|(engine, _)| {
            let all = [engine, "iptables", "busybox"].iter().all(|tool| there(tool));
            all && (*engine != "docker" || there("dockerd"))
        });
        let engines: Vec<(&str, u16)> = engines.collect();
        engines.iter().for_each(|(engine, port)| publish(m, engine, *port));
        let _plain = std::net::TcpListener::bind("0.0.0.0:8079").unwrap();
        let ports: Vec<u16> = engines.iter().map(|one| one.1).chain([8079]).collect();
        let tried = |address: &str, port: u16, by: &str, for_s: u8| {
            let script = format!(
                "{by} perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); alarm {for_s}; \
                 connect(S, sockaddr_in({port}, inet_aton(q({address})))) or exit 1'"
            );
            Command::new("sh").args(["-c", &script]).status().unwrap().success()
        };
        let met = |address: &str, port: u16, by: &str| tried(address, port, by, 30);
        let missed = |port: u16, by: &str| !tried(LOCAL, port, by, 2);
        let far = "ip netns exec far";
        let boxes: Vec<String> = engines
            .iter()
            .map(|(engine, _)| {
                let of = ["inspect", "-f", "{{.State.Pid}}", "box"];
                let out = Command::new(engine).args(of).output().unwrap().stdout;
                format!("nsenter -n -t {}", String::from_utf8(out).unwrap().trim())
            })
            .collect();
        // What it would be without a guard.
        lan(m);
        m.run("ip", &["addr", "add", "10.10.0.1/32", "dev", "lo"]);
        m.run("ip", &["-n", "far", "route", "add", "10.10.0.1/32", "via", "10.99.0.2"]);
        for port in &ports {
            assert!(met(LOCAL, *port, far) && met("10.99.0.2", *port, far), "{port}");
            assert!(met(LOCAL, *port, ""), "{port}, from here");
        }
        assert!(boxes.iter().all(|boxed| met(LOCAL, 8079, boxed)));
        eprintln!("NOTE published by {engines:?}");
        m.run("ip", &["addr", "del", "10.10.0.1/32", "dev", "lo"]);
        let scene = Scene::on_lan(m);
        for port in &ports {
            assert!(missed(*port, far), "{port}: the LAN meets it");
            assert!(met("10.99.0.2", *port, far), "{port}, by the LAN's own address");
            assert!(met("10.99.0.2", *port, ""), "{port}, from here");
        }
        // What was translated on its way out is answered by another interface than the loopback's,
        // so that this is the plain one's alone.
        assert!(met(LOCAL, 8079, ""), "from here, by the tunnel's address");
        // There is no other address of the tunnel's to be met at.
        assert_eq!(ip_json(&["-6", "addr", "show", "dev", "hopbox0"]), json!([]));
        for boxed in &boxes {
            assert!(missed(8079, boxed), "a container meets it");
        }
        drop(scene);
        m.stop();
    });
}

/// A helper that is older than the guard knows nothing of it: what is made anew under
/// the name of a device that is gone is no interface of a stranger.
#[test]
fn a_guard_that_is_left_lets_a_device_of_the_same_name_in() {
    in_namespace("packets::a_guard_that_is_left_lets_a_device_of_the_same_name_in", |m| {
        let scene = Scene::new(m);
        m.kill();
        drop(scene);
        until("the device is gone", || !m.device_exists("hopbox0"));
        assert!(nft(&["list", "ruleset"]).contains(LOCAL));
        let script = format!(
            "set -e; ip link add hopbox0 type veth peer name other0 netns far; \
             ip addr add {LOCAL}/24 dev hopbox0; ip link set hopbox0 up; \
             ip -n far addr add {PEER}/24 dev other0; ip -n far link set other0 up"
        );
        m.run("sh", &["-c", &script]);
        far(&format!("ping -c 1 -W 2 {LOCAL} >/dev/null && echo answered"));
        assert!(far(&format!("ping -c 1 -W 2 {LOCAL}")).contains(" 0% packet loss"));
    });
}

const LACKING: &str = include_str!("lacking.c");

/// A kernel without a layer: what is missing is named, and without any there is no device.
#[test]
fn without_a_layer_it_is_said_or_refused() {
    in_namespace("packets::without_a_layer_it_is_said_or_refused", |m| {
        let (source, shim) = ("/run/scratch/lacking.c", "/run/scratch/lacking.so");
        std::fs::write(source, LACKING).unwrap();
        m.run("cc", &["-shared", "-fPIC", "-o", shim, source]);
        let missing = |reason: &str| json!({"state": "missing", "reason": reason});
        for (kind, layer, reason) in [
            ("clsact", "ingress_filter", "sch_ingress"),
            ("bpf", "ingress_filter", "cls_bpf"),
            ("nf_tables", "lan_guard", "nf_tables"),
            ("none", "", ""),
        ] {
            m.start_with(&[("LD_PRELOAD", shim), ("HOPBOX_TEST_LACKS", kind)]);
            let mut client = Client::ready(m);
            let idle = client.ok("daemon.health", json!({}))["layers"].clone();
            assert_eq!(idle["ingress_filter"], json!({"state": "idle"}));
            let made = client.ok("tun.create", json!({}));
            client.ok("tun.configure", ends(made["lease_id"].as_str().unwrap(), 0));
            let layers = client.ok("daemon.health", json!({}))["layers"].clone();
            for name in ["ingress_filter", "ipv6_off", "rp_filter", "lan_guard"] {
                let expected = if name == layer { missing(reason) } else { json!({"state": "on"}) };
                assert_eq!(layers[name], expected, "{kind}: {layers}");
            }
            m.stop();
        }
        // IPv6 cannot be turned off either.
        let conf = "/proc/sys/net/ipv6/conf";
        m.run("mount", &["--bind", conf, conf]);
        m.run("mount", &["-o", "remount,bind,ro", conf]);
        m.start_with(&[("LD_PRELOAD", shim), ("HOPBOX_TEST_LACKS", "clsact")]);
        let (reply, fds) = Client::ready(m).call("tun.create", json!({}));
        assert_eq!((&reply["error"]["code"], fds), (&json!("kernel_error"), 0));
        let why = reply["error"]["message"].as_str().unwrap();
        assert!(why.contains("sch_ingress is missing") && why.contains("modprobe"), "{why}");
        assert!(!m.device_exists("hopbox0"));
        m.stop();
        // The filter alone holds, and that is said.
        m.run("umount", &[conf]);
        let mut scene = Scene::new(m);
        m.run("mount", &["--bind", conf, conf]);
        m.run("mount", &["-o", "remount,bind,ro", conf]);
        let made = scene.client.ok("tun.create", json!({}));
        scene.client.ok("tun.configure", ends(made["lease_id"].as_str().unwrap(), 1));
        assert_eq!(get("ipv6/conf/hopbox1/disable_ipv6"), "0");
        let layers = scene.client.ok("daemon.health", json!({}))["layers"].clone();
        assert_eq!(layers["ipv6_off"], missing("proc_sys"), "{layers}");
        let before = scene.seen();
        Holder::of(scene.client.fds[1]).write(&PLAIN, &router_advertisement());
        assert_eq!(scene.seen(), before);
        m.stop();
    });
}
