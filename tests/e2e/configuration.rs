//! wg(8) against our configuration socket: everything set, cleared, moved and listed in bulk.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::capture::Capture;
use crate::need_root;
use crate::netns::{Host, Running};
use crate::tunnel::{Engine, file, keys, start};

fn lone() -> (Host, Running) {
    let host = Host::new("a");
    let engine = start(&host, Engine::Hop);
    (host, engine)
}

/// A file for `wg setconf`.
fn setconf(host: &Host, conf: String) {
    let path = "/run/bulk.conf";
    host.run(move || std::fs::write(path, conf)).unwrap();
    host.sh(&format!("wg setconf wg0 {path}"));
}

#[test]
fn a_quarter_of_all_networks_at_one_peer_are_listed_whole() {
    // R80; netns 29: 255 × 256 × 2 prefixes, and setconf of what showconf says.
    need_root!("a_quarter_of_all_networks_at_one_peer_are_listed_whole");
    let (host, _engine) = lone();
    let ((private, _), (_, peer)) = (keys(&host), keys(&host));
    let mut conf = format!("[Interface]\nPrivateKey={private}\n[Peer]\nPublicKey={peer}\n");
    let mut expected = BTreeSet::new();
    for a in 1..=255u8 {
        for b in 0..=255u8 {
            // As the script writes them: the IPv6 words are those same digits, read as hex.
            writeln!(conf, "AllowedIPs={a}.{b}.0.0/16,{a}::{b}/128").unwrap();
            expected.insert(format!("{a}.{b}.0.0/16"));
            expected.insert(format!("{a}::{b}/128").replace("::0/", "::/"));
        }
    }
    setconf(&host, conf);
    let listed = host.sh("wg show wg0 allowed-ips");
    let mut words = listed.split_whitespace();
    assert_eq!(words.next(), Some(peer.as_str()));
    let listed: Vec<String> = words.map(str::to_string).collect();
    assert_eq!(listed.len(), 255 * 256 * 2);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
    host.sh("wg showconf wg0 >/run/shown && wg syncconf wg0 /run/shown");
    host.sh("wg setconf wg0 /run/shown && wg showconf wg0 | cmp - /run/shown");
    host.sh(&format!("wg set wg0 peer {peer} allowed-ips ''"));
    assert_eq!(host.sh("wg show wg0 allowed-ips"), format!("{peer}\t(none)\n"));
}

#[test]
fn many_peers_with_many_prefixes_are_listed_whole() {
    // R80; netns 30: 40 peers with 52 prefixes each. 31: 30 peers of which one has any.
    need_root!("many_peers_with_many_prefixes_are_listed_whole");
    let (host, _engine) = lone();
    let mut conf = String::from("[Interface]\n");
    let peers: Vec<String> = (0..40).map(|_| keys(&host).1).collect();
    for (peer, a) in peers.iter().zip(1..) {
        write!(conf, "[Peer]\nPublicKey={peer}\nAllowedIPs=").unwrap();
        let list: Vec<String> = (1..=52).map(|b| format!("{a}.{b}.0.0/16")).collect();
        writeln!(conf, "{}", list.join(",")).unwrap();
    }
    setconf(&host, conf);
    let listed = host.sh("wg show wg0 allowed-ips");
    assert_eq!(listed.lines().count(), 40);
    for (line, (peer, a)) in listed.lines().zip(peers.iter().zip(1..)) {
        assert!(line.starts_with(peer.as_str()), "in the order they came");
        let prefixes: BTreeSet<&str> = line.split_whitespace().skip(1).collect();
        let expected: Vec<String> = (1..=52).map(|b| format!("{a}.{b}.0.0/16")).collect();
        assert_eq!(prefixes, expected.iter().map(String::as_str).collect());
    }

    let mut conf = String::new();
    for peer in &peers[..30] {
        writeln!(conf, "[Peer]\nPublicKey={peer}").unwrap();
    }
    conf.push_str("AllowedIPs=255.2.3.4/32,abcd::255/128\n");
    setconf(&host, conf);
    let listed = host.sh("wg showconf wg0");
    assert_eq!(listed.matches("[Peer]").count(), 30);
    assert_eq!(listed.matches("AllowedIPs").count(), 1);
    assert!(listed.contains(&peers[29]) && listed.contains("255.2.3.4/32"));
}

#[test]
fn one_hundred_and_ninety_seven_addresses_fit_on_a_command_line() {
    // R80; netns 32
    need_root!("one_hundred_and_ninety_seven_addresses_fit_on_a_command_line");
    let (host, _engine) = lone();
    let ((_, one), (_, two)) = (keys(&host), keys(&host));
    let list: Vec<String> = (1..=197).map(|i| format!("abcd::{i}")).collect();
    host.sh(&format!("wg set wg0 peer {one}"));
    host.sh(&format!("wg set wg0 peer {two} allowed-ips {}", list.join(",")));
    let listed = host.sh("wg show wg0 allowed-ips");
    let mut lines = listed.lines();
    assert_eq!(lines.next(), Some(format!("{one}\t(none)").as_str()));
    let last = lines.next().expect("two peers");
    assert!(last.starts_with(&two) && last.split_whitespace().count() == 198, "{last}");
}

#[test]
fn questions_about_nothing_fail_cleanly() {
    // netns 33, and requests that must change nothing
    need_root!("questions_about_nothing_fail_cleanly");
    let (host, mut engine) = lone();
    let (_, peer) = keys(&host);
    let before = host.sh("wg showconf wg0");
    for bad in [
        "wg show doesnotexist".to_string(),
        "wg showconf doesnotexist".into(),
        format!("wg set doesnotexist peer {peer}"),
        "wg set wg0 peer notakey".into(),
        format!("wg set wg0 peer {peer} allowed-ips 10.0.0.0/33"),
        format!("wg set wg0 peer {peer} endpoint nowhere"),
        format!("wg set wg0 peer {peer} persistent-keepalive 65536"),
    ] {
        assert!(host.try_sh(&bad).is_err(), "{bad}");
    }
    // A peer that is not there is removed without complaint, as in the kernel.
    host.sh(&format!("wg set wg0 peer {peer} remove"));
    assert_eq!(host.sh("wg showconf wg0"), before);
    assert!(engine.is_running());
}

#[test]
fn every_setting_reads_back_and_clears() {
    // R13 R15 R20; netns 34–35
    need_root!("every_setting_reads_back_and_clears");
    let (host, _engine) = lone();
    let ((one, public_one), (two, public_two)) = (keys(&host), keys(&host));
    let psk = host.sh("wg genpsk").trim().to_string();
    let shows = |what: &str, expected: String| {
        assert_eq!(host.sh(&format!("wg show wg0 {what}")).trim_end(), expected, "{what}");
    };
    let set = |what: String| host.sh(&format!("wg set wg0 {what}"));
    set(format!("private-key {}", file(&host, &one)));
    set(format!(
        "peer {public_two} preshared-key {} persistent-keepalive 7 endpoint [fe80::1%lo]:9",
        file(&host, &psk)
    ));
    shows("private-key", one.clone());
    shows("preshared-keys", format!("{public_two}\t{psk}"));
    shows("persistent-keepalive", format!("{public_two}\t7"));
    shows("endpoints", format!("{public_two}\t[fe80::1%lo]:9"));
    for (value, shown) in [("65535", "65535"), ("off", "off"), ("1", "1"), ("0", "off")] {
        set(format!("peer {public_two} persistent-keepalive {value}"));
        shows("persistent-keepalive", format!("{public_two}\t{shown}"));
    }
    for port in ["1", "65535", "51820"] {
        set(format!("listen-port {port}"));
        shows("listen-port", port.into());
    }
    set("fwmark 0x1234".into());
    shows("fwmark", "0x1234".into());
    set("fwmark off".into());
    shows("fwmark", "off".into());
    set(format!("private-key /dev/null peer {public_two} preshared-key /dev/null"));
    shows("private-key", "(none)".into());
    shows("public-key", "(none)".into());
    shows("preshared-keys", format!("{public_two}\t(none)"));

    // Our own public key is no peer, whichever came first.
    set(format!("private-key {}", file(&host, &two)));
    shows("public-key", public_two.clone());
    shows("peers", String::new());
    set(format!("peer {public_two}"));
    shows("peers", String::new());
    set(format!("private-key {}", file(&host, &one)));
    set(format!("peer {public_two}"));
    shows("peers", public_two.clone());

    // Keys are clamped: the lowest three bits of the first byte are not kept. '/' is 63, '+' 62.
    set(format!("private-key {}", file(&host, &format!("/{}", &one[1..]))));
    let read = host.sh("wg show wg0 private-key");
    assert_eq!(read.trim()[..1], one[..0].to_string() + "+");
    assert_eq!(&read.trim()[2..], &one[2..]);
    let _ = public_one;
}

#[test]
fn overlapping_prefixes_move_and_stay() {
    // R80; netns 36: within one peer all stay, at another they move.
    need_root!("overlapping_prefixes_move_and_stay");
    let (host, _engine) = lone();
    let ((_, one), (_, two)) = (keys(&host), keys(&host));
    let of = |peer: &str| -> BTreeSet<String> {
        let line = host.sh(&format!("wg show wg0 allowed-ips | grep -F '{peer}'"));
        let words = line.split_whitespace().skip(1).filter(|w| *w != "(none)");
        words.map(str::to_string).collect()
    };
    let set =
        |peer: &str, list: &str| host.sh(&format!("wg set wg0 peer {peer} allowed-ips {list}"));
    let same = |got: BTreeSet<String>, list: &str| {
        let list: BTreeSet<String> =
            list.split(',').filter(|w| !w.is_empty()).map(str::to_string).collect();
        assert_eq!(got, list);
    };
    let v4 = "0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16";
    let v6 = "::/0,1700::/111,5000::/4,e000::/37,9000::/75";
    for (many, all) in [(v4, "0.0.0.0/0"), (v6, "::/0")] {
        set(&one, many);
        same(of(&one), many);
        set(&two, many);
        same(of(&one), "");
        same(of(&two), many);
        set(&two, all);
        same(of(&two), all);
        set(&one, all);
        same(of(&one), all);
        same(of(&two), "");
    }
    // Bits past the length are cleared.
    set(&two, "10.1.2.3/8,5fff::1/4");
    same(of(&two), "10.0.0.0/8,5000::/4");
    host.sh(&format!("wg set wg0 peer {two} remove"));
    set(&one, "10.0.0.0/8");
    same(of(&one), "10.0.0.0/8");
}

/// Points of small order, and the other ways to write them (RFC 7748 §7, R14): 0, 1, two of order
/// eight, p - 1, p, p + 1; each also with the highest bit set, which X25519 ignores.
fn small_points() -> Vec<String> {
    let eight = |hex: &str| -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    };
    let near_p = |low: u8| -> [u8; 32] {
        std::array::from_fn(|i| [0xff, low, 0x7f][usize::from(i == 0) + 2 * usize::from(i == 31)])
    };
    let small = |low: u8| -> [u8; 32] { std::array::from_fn(|i| if i == 0 { low } else { 0 }) };
    let mut points = vec![
        small(0),
        small(1),
        eight("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        eight("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        near_p(0xec),
        near_p(0xed),
        near_p(0xee),
    ];
    for mut p in points.clone() {
        p[31] |= 0x80;
        points.push(p);
    }
    points.iter().map(base64).collect()
}

fn base64(key: &[u8; 32]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in key.chunks(3) {
        let word =
            three.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..=three.len() {
            out.push(char::from(alphabet[(word >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out + "="
}

#[test]
fn nothing_is_ever_sent_to_a_key_of_small_order() {
    // R14; netns 37
    need_root!("nothing_is_ever_sent_to_a_key_of_small_order");
    let (host, _engine) = lone();
    let other = Host::new("b");
    host.join(&other);
    host.sh("ip addr add 198.51.100.1/24 dev wan");
    other.sh("ip addr add 198.51.100.2/24 dev wan");
    host.sh(&format!("wg set wg0 private-key {}", file(&host, &keys(&host).0)));
    let points = small_points();
    assert_eq!(points[2], "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=", "the script's own");
    for (i, point) in points.iter().enumerate() {
        host.sh(&format!(
            "wg set wg0 peer {point} persistent-keepalive 1 endpoint 198.51.100.2:1111 \
             allowed-ips 10.9.0.{i}/32"
        ));
    }
    assert_eq!(host.sh("wg show wg0 peers").lines().count(), 14);
    let mut seen = Capture::start(&other);
    host.sh("ip addr add 10.9.0.100/24 dev wg0; ip link set wg0 up");
    for i in 0..points.len() {
        let _ = host.try_sh(&format!("ping -n -c 1 -W 0.1 10.9.0.{i}"));
    }
    host.sh("sleep 1");
    let ours = |seen: &mut Capture| seen.take().iter().filter(|d| d.dst_port == 1111).count();
    assert_eq!(ours(&mut seen), 0);
    // The check would have seen one: a key like any other.
    let (_, good) = keys(&host);
    host.sh(&format!("wg set wg0 peer {good} persistent-keepalive 1 endpoint 198.51.100.2:1111"));
    host.sh("sleep 0.2");
    assert_eq!(ours(&mut seen), 1);
}
