//! The request parser: what it takes, what it refuses, and that it survives anything.

use super::*;

const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

fn parse(body: &str) -> Result<Request, i32> {
    super::parse(body, &|name| (name == "eth0").then_some(7))
}

#[test]
fn a_full_request_is_understood() {
    let body = format!(
        "private_key={KEY}\nlisten_port=12912\nfwmark=51820\nreplace_peers=true\npublic_key={KEY}\n\
         update_only=true\npreshared_key={KEY}\nendpoint=[abcd:23::33%2]:51820\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\n\
         allowed_ip=-fd00::/8\nprotocol_version=1\npublic_key={}\nremove=true\n\n",
        KEY.to_uppercase()
    );
    let r = parse(&body).expect("understood");
    assert_eq!(r.private_key.map(|k| k[0]), Some(0xb8));
    assert_eq!((r.listen_port, r.fwmark, r.replace_peers), (Some(12912), Some(51820), true));
    let [first, second] = &r.peers[..] else { panic!("two peers") };
    assert!(first.update_only && first.replace_allowed_ips && !first.remove);
    assert_eq!(first.endpoint.map(|e| e.to_string()).as_deref(), Some("[abcd:23::33%2]:51820"));
    assert_eq!(first.persistent_keepalive, Some(25));
    let want = [("192.168.4.4", 32, true), ("fd00::", 8, false)];
    assert_eq!(first.allowed_ips, want.map(|(ip, n, add)| (ip.parse().expect("ip"), n, add)));
    assert!(second.remove && second.public_key == first.public_key);
}

#[test]
fn bad_lines_are_refused_and_good_ones_are_not() {
    let good = ["fwmark=", "fwmark=0", "fwmark=4294967295", "listen_port=0", "listen_port=65535"];
    for line in good {
        assert!(parse(&format!("{line}\n\n")).is_ok(), "{line}");
    }
    let bad = [
        "private_key=",
        "private_key=00",
        "private_key=zz",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=+1",
        "listen_port=",
        "listen_port= 1",
        "fwmark=4294967296",
        "fwmark=0x10",
        "replace_peers=false",
        "replace_peers=",
        "remove=true",
        "unknown=1",
        "errno=0",
        "get=1",
        "allowed_ip=10.0.0.0/8",
        "endpoint=1.2.3.4:5",
    ];
    for line in bad {
        assert_eq!(parse(&format!("{line}\n\n")).err(), Some(EINVAL), "{line}");
    }
    assert_eq!(parse("no equals sign\n\n").err(), Some(EPROTO));
    assert_eq!(parse(&format!("fwmark={}\n\n", "1".repeat(LINE_MAX))).err(), Some(EPROTO));
    assert!(parse("").is_ok() && parse("\nrubbish after the end").is_ok());
}

#[test]
fn bad_peer_lines_are_refused_and_good_ones_are_not() {
    let good = [
        "endpoint=192.0.2.1:1",
        "endpoint=[::1]:51820",
        "endpoint=[fe80::1%eth0]:5",
        "endpoint=[fe80::1%12]:5",
        "allowed_ip=0.0.0.0/0",
        "allowed_ip=::/0",
        "allowed_ip=10.1.2.3",
        "allowed_ip=-10.1.2.3/32",
        "persistent_keepalive_interval=0",
        "protocol_version=1",
    ];
    for line in good {
        assert!(parse(&format!("public_key={KEY}\n{line}\n\n")).is_ok(), "{line}");
    }
    let bad = [
        "endpoint=192.0.2.1",
        "endpoint=192.0.2.1:65536",
        "endpoint=::1:5",
        "endpoint=[::1]",
        "endpoint=[fe80::1%nope]:5",
        "endpoint=[fe80::1%]:5",
        "endpoint=host.example:5",
        "endpoint=[192.0.2.1]:5",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=::/129",
        "allowed_ip=--::/0",
        "allowed_ip=10.0.0/8",
        "allowed_ip=10.0.0.0/",
        "allowed_ip=10.0.0.0/+8",
        "allowed_ip=",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "protocol_version=2",
        "update_only=1",
        "listen_port=1",
        "replace_peers=true",
        "private_key=00",
        "preshared_key=0g",
    ];
    for line in bad {
        assert_eq!(parse(&format!("public_key={KEY}\n{line}\n\n")).err(), Some(EINVAL), "{line}");
    }
}

#[test]
fn an_ipv4_endpoint_in_ipv6_clothes_is_ipv4_and_scopes_resolve() {
    let endpoint = |text| endpoint_from(text, &|n| (n == "eth0").then_some(7)).expect(text);
    assert_eq!(endpoint("[::ffff:192.0.2.1]:5").to_string(), "192.0.2.1:5");
    assert_eq!(endpoint("[fe80::1%eth0]:5").to_string(), "[fe80::1%7]:5");
}

#[test]
fn replacing_allowed_ips_forgets_those_named_before() {
    let body = "allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=::/0\n\n";
    let r = parse(&format!("public_key={KEY}\n{body}")).expect("understood");
    assert_eq!(r.peers[0].allowed_ips.len(), 1);
}

#[test]
fn the_largest_ordinary_request_fits() {
    let mut body = format!("public_key={KEY}\n");
    for a in 0..255 {
        for b in 0..256 {
            body.push_str(&format!(
                "allowed_ip=10.{a}.{b}.0/24\nallowed_ip=fd00:{a:x}:{b:x}::/48\n"
            ));
        }
    }
    assert!(body.len() < REQUEST_MAX);
    assert_eq!(parse(&body).ok().map(|r| r.peers[0].allowed_ips.len()), Some(255 * 256 * 2));
    assert_eq!(parse(&"x".repeat(REQUEST_MAX + 1)).err(), Some(ENOBUFS));
}

/// Seeded: `SEED` reproduces a failure.
#[test]
fn random_lines_never_panic() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_240_607u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let pieces = [
        "private_key",
        "public_key",
        "=",
        "\n",
        "true",
        KEY,
        "endpoint",
        "[",
        "]:",
        "::1",
        "%",
        "5",
        "allowed_ip",
        "/",
        "-",
        "10.0.0.0",
        "remove",
        "\u{e4}",
        "\0",
        "fwmark",
        "99999999999",
        " ",
        "persistent_keepalive_interval",
        "replace_allowed_ips",
        "\r",
        "update_only",
    ];
    let mut understood = 0;
    for _ in 0..100_000 {
        let body: String = (0..next(12)).map(|_| pieces[next(pieces.len())]).collect();
        understood += usize::from(parse(&body).is_ok());
    }
    println!("{understood} of 100000 understood");
}
