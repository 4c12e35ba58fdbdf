use super::*;

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

pub fn sample() -> HostConfig {
    HostConfig {
        name: "mybox".to_owned(),
        endpoint: Endpoint::parse("[2001:db8::7]:51820").unwrap(),
        public_key: *key::decode(KEY).unwrap(),
        preshared_key: Some(Zeroizing::new([9; 32])),
        key_file: first_key_file("mybox"),
        local_ip: Ipv4Addr::new(10, 10, 0, 1),
        peer_ip: Ipv4Addr::new(10, 10, 0, 2),
        number: 0,
        mtu: 1400,
        keepalive_s: 0,
        api_port: 4200,
        token: Zeroizing::new("t".repeat(64)),
        user: Some("dev".to_owned()),
        identity: None,
        ssh: Some(Ssh {
            address: "my-alias".to_owned(),
            port: Some(2222),
            listens: 22,
            home: Some("/home/dev".to_owned()),
            hostname: Some("203.0.113.7".to_owned()),
        }),
        provider: Some(Provider {
            backend: Backend::HetznerCloud,
            firewall: 4711,
            token_file: "/home/dev/token".to_owned(),
            endpoint: Some("https://localhost:4443/v1".to_owned()),
            ca_file: Some("/home/dev/ca.pem".to_owned()),
        }),
        transport: Transport::Auto,
        second_port: None,
    }
}

/// The sample as JSON with one key set to something else (`null` takes it away).
pub fn with(key: &str, value: Value) -> String {
    let mut json = to_json(&sample());
    let fields = json.as_object_mut().unwrap();
    fields.remove(key);
    if !value.is_null() {
        fields.insert(key.to_owned(), value);
    }
    json.to_string()
}

#[test]
fn a_pair_is_of_the_hosts_number_whoever_wrote_it() {
    for (key, bad) in [
        ("peer_ip", "10.10.0.3"),
        ("peer_ip", "10.10.1.2"),
        ("peer_ip", "192.168.1.1"),
        ("local_ip", "10.10.0.2"),
        ("local_ip", "10.10.0.0"),
        ("local_ip", "10.10.0.255"),
        ("local_ip", "10.10.3.1"),
        ("number", "1"),
    ] {
        let bad = if key == "number" { json!(1) } else { json!(bad) };
        let error = parse(&with(key, bad.clone())).err().unwrap();
        assert!(["peer_ip", "local_ip"].contains(&error.key.as_str()), "{key} {bad}: {error}");
    }
}

#[test]
fn what_ssh_would_take_for_an_option_is_no_address() {
    for (ssh, key) in [
        (json!({"address": "-oProxyCommand=x"}), "ssh.address"),
        (json!({"address": "a", "port": 0}), "ssh.port"),
        (json!({"address": "a", "home": "~"}), "ssh.home"),
    ] {
        assert_eq!(parse(&with("ssh", ssh)).err().unwrap().key, key);
    }
}

#[test]
fn every_fault_names_its_key() {
    let table = [
        ("version", json!(6), "from 1 to 5, not 6"),
        ("second_port", json!(0), "from 1 to 65535"),
        ("key_file", json!("other.key"), "must be mybox.key or"),
        ("key_file", json!("mybox./../x.key"), "must be mybox.key or"),
        ("key_file", json!("mybox.0123456789abcde.key"), "must be mybox.key or"),
        ("version", Value::Null, "is missing"),
        ("name", json!("My Box"), "may only hold"),
        ("endpoint", json!("203.0.113.7"), "must be host:port"),
        ("endpoint", json!("2001:db8::7:51820"), "must be host:port"),
        ("endpoint", json!("203.0.113.7:0"), "must be host:port"),
        ("endpoint", json!("1.2.3:51820"), "must be host:port"),
        ("endpoint", json!("a b:51820"), "must be host:port"),
        ("public_key", json!("AAAA"), "44 base64 characters"),
        ("preshared_key", json!(5), "must be a string"),
        ("local_ip", json!("10.10.0.01"), "must be an IPv4 address"),
        ("local_ip", json!("127.0.0.1"), "cannot be an address"),
        ("peer_ip", json!("10.10.0.1"), "must be 10.10.0.2"),
        ("number", json!(256), "from 0 to 255"),
        ("mtu", json!(100), "from 576 to 9200"),
        ("api_port", json!(0), "from 1 to 65535"),
        ("token", json!("short"), "43 to 128 characters"),
        ("token", json!("x\r\nEvil: yes".repeat(6)), "43 to 128 characters"),
        ("user", json!("-oProxyCommand=x"), "must not begin with -"),
        ("identity", json!("id"), "must be an absolute path"),
        ("colour", json!("red"), "is not a known key"),
    ];
    for (field, value, expected) in table {
        let error = parse(&with(field, value)).err().unwrap_or_else(|| panic!("{field} accepted"));
        assert!(error.key == field && error.why.contains(expected), "{field}: {error}");
    }
}

#[test]
fn endpoints_are_names_or_addresses() {
    for good in ["vps.example.net:51820", "203.0.113.7:1", "[::1]:65535", "box:51820", "a.b.:1"] {
        assert!(Endpoint::parse(good).is_ok(), "{good}");
    }
}

#[test]
fn logins_of_directory_services_are_logins() {
    let long = "a".repeat(256);
    for good in [
        "root",
        "a",
        "alice@corp.example.com",
        r"CORP\bob",
        "svc$",
        "müller",
        "alice smith",
        "1000",
        "a.b+c=d~e#f!g*h?i[j]k/l:m,n^o",
        &"a".repeat(40),
        &long,
    ] {
        assert_eq!(login(good).as_deref(), Ok(good));
    }
    for bad in [
        "",
        "-l",
        "-oProxyCommand=x",
        "a -b",
        " a",
        "a ",
        "a\\",
        "a'b",
        "a\"b",
        "a`b",
        "a;b",
        "a&b",
        "a|b",
        "a<b",
        "a>b",
        "a(b",
        "a)b",
        "a{b",
        "${HOME}",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\0b",
        "a\u{7f}",
        "a\u{9b}b",
        "%r",
        &format!("{long}a"),
    ] {
        assert!(login(bad).is_err(), "{bad:?}");
    }
}

/// An older hop reads the file of a host that has no provider.
#[test]
fn a_provider_is_read_as_it_was_written_and_makes_the_file_a_newer_one() {
    let provider = |key: &str, value: Value| {
        let mut json = to_json(&sample());
        json["provider"][key] = value;
        parse(&json.to_string()).err().map(|error| error.key)
    };
    let read = parse(&to_json(&sample()).to_string()).ok().unwrap();
    assert_eq!(read.provider, sample().provider);
    for (key, bad) in [
        ("backend", json!("other")),
        ("firewall", json!(0)),
        ("firewall", json!("7")),
        ("token_file", json!("token")),
        ("token_file", Value::Null),
        ("endpoint", json!("http://localhost/v1")),
        ("endpoint", json!("https://")),
        ("endpoint", json!("https://user@localhost")),
        ("endpoint", json!("https://localhost/\"\nurl = x")),
        ("ca_file", json!("ca.pem")),
        ("more", json!(1)),
    ] {
        assert_eq!(provider(key, bad.clone()), Some(format!("provider.{key}")), "{bad}");
    }
    assert_eq!(https("https://localhost:4443/v1/"), Ok("https://localhost:4443/v1".to_owned()));
    let version = |host: HostConfig| to_json(&host)["version"].clone();
    assert_eq!(version(sample()), 3);
    assert_eq!(version(HostConfig { provider: None, ..sample() }), 2);
}

/// The same of one that is told how to travel.
#[test]
fn a_transport_is_read_as_it_was_written_and_makes_the_file_a_newer_one() {
    for transport in Transport::ALL {
        let host = HostConfig { provider: None, transport, ..sample() };
        let json = to_json(&host);
        let is_auto = transport == Transport::Auto;
        assert_eq!(json["version"], if is_auto { 2 } else { 4 });
        assert_eq!(json.get("transport").is_none(), is_auto);
        assert_eq!(parse(&json.to_string()).ok().unwrap().transport, transport);
    }
    for bad in [json!("UDP"), json!(""), json!(1), json!(["ssh"])] {
        let failed = parse(&with("transport", bad.clone())).err().map(|error| error.key);
        assert_eq!(failed.as_deref(), Some("transport"), "{bad}");
    }
}
