//! The request table of the protocol: what is refused, with which code, and what gets through.

use super::*;
use crate::net::read_request as parse_request;
use crate::proto::{Code, request_line};

fn code_of(line: &str) -> (&'static str, String, Option<String>, bool) {
    match parse_request(line.as_bytes()) {
        Ok(_) => ("ok", String::new(), None, false),
        Err(r) => (r.error.code.as_str(), r.id, r.error.field, r.close),
    }
}

fn create(args: &str) -> String {
    format!(r#"{{"v":1,"id":"a","op":"tun.create","args":{args}}}"#)
}

#[test]
fn every_duplicate_key_is_malformed() {
    for line in [
        r#"{"v":1,"id":"a","op":"daemon.version","op":"daemon.version"}"#,
        r#"{"v":1,"id":"a","op":"daemon.version","o\u0070":"tun.list"}"#,
        r#"{"v":1,"id":"a","op":"tun.create","args":{"mtu":1420,"mtu":1500}}"#,
        r#"{"v":1,"id":"a","op":"tun.create","args":{"mtu" :1420,"m\u0074u"	:1500}}"#,
        r#"{"v":1,"id":"a","op":"tun.create","args":{"x":[{"a":1,"a":2}]}}"#,
    ] {
        assert_eq!(code_of(line).0, "malformed_request", "{line}");
    }
    // The same key in two different objects is no twin, nor is a value that equals a key.
    assert_eq!(code_of(r#"{"v":1,"id":"id","op":"tun.create","args":{"label":"id"}}"#).0, "ok");
}

#[test]
fn the_version_must_be_the_integer_one() {
    for v in ["true", "\"1\"", "1.0", "1e0", "-0", "18446744073709551616", "null", "-1", "[1]"] {
        let line = format!(r#"{{"v":{v},"id":"a","op":"daemon.version"}}"#);
        assert_eq!(code_of(&line), ("malformed_request", "a".into(), None, false), "{v}");
    }
    assert_eq!(code_of(r#"{"id":"a","op":"daemon.version"}"#).0, "malformed_request");
    for v in ["0", "2", "9223372036854775808"] {
        let line = format!(r#"{{"v":{v},"id":"a","op":"daemon.version"}}"#);
        assert_eq!(code_of(&line), ("protocol_version_mismatch", "a".into(), None, true), "{v}");
    }
}

#[test]
fn an_unusable_id_is_answered_with_an_empty_one() {
    let long = format!("\"{}\"", "x".repeat(65));
    for id in ["\"\"", long.as_str(), r#""a\n""#, "\"\u{1F600}\"", "7", "null", r#""a b""#] {
        let line = format!(r#"{{"v":1,"id":{id},"op":"daemon.version"}}"#);
        assert_eq!(code_of(&line), ("malformed_request", String::new(), None, false), "{id}");
    }
    let longest = format!(r#"{{"v":1,"id":"{}","op":"daemon.version"}}"#, "x".repeat(64));
    assert_eq!(code_of(&longest).0, "ok");
}

#[test]
fn args_are_an_object_or_absent() {
    for args in ["null", "[]", "\"x\"", "1"] {
        assert_eq!(code_of(&create(args)).0, "malformed_request", "{args}");
    }
    assert_eq!(code_of(r#"{"v":1,"id":"a","op":"tun.create"}"#).0, "ok");
}

#[test]
fn nesting_is_bounded_before_it_is_parsed() {
    let nested = |n: usize| create(&format!("{{\"x\":{}1{}}}", "[".repeat(n), "]".repeat(n)));
    // The envelope and args are two levels; two more are within the bound, and then unknown.
    assert_eq!(code_of(&nested(2)).0, "validation_failed");
    assert_eq!(code_of(&nested(3)).0, "malformed_request");
    for n in [128, 2000, 100_000] {
        assert_eq!(code_of(&"[".repeat(n)).0, "malformed_request");
        assert_eq!(code_of(&nested(n)).0, "malformed_request");
    }
    // Closing first must not buy depth.
    assert_eq!(code_of(&format!("{}{}", "]".repeat(50), "[".repeat(6))).0, "malformed_request");
}

#[test]
fn what_is_not_one_json_object_is_malformed() {
    for line in ["", " ", "{", "POST / HTTP/1.1\r", "[]", "1", "null", "{}{}", "\u{feff}{}", "\""] {
        assert_eq!(code_of(line).0, "malformed_request", "{line:?}");
    }
    assert_eq!(parse_request(b"{\"v\":1,\xff}").unwrap_err().error.code, Code::MalformedRequest);
    let unknown = r#"{"v":1,"id":"a","op":"daemon.version","x":1}"#;
    assert_eq!(code_of(unknown), ("malformed_request", "a".into(), None, false));
}

#[test]
fn an_operation_is_known_reserved_or_unknown() {
    let op = |op: &str| code_of(&format!(r#"{{"v":1,"id":"a","op":"{op}","args":{{}}}}"#)).0;
    for name in ["", "tun", "tun.", "TUN.create", r"tun.create\u0000", &"x".repeat(300)] {
        assert_eq!(op(name), "unknown_op", "{name}");
    }
    for name in ["firewall.add_rule", "nginx.reload", "cgroup.read", "mount.bind"] {
        assert_eq!(op(name), "not_supported", "{name}");
    }
    for Operation { name, .. } in &OPERATIONS {
        assert!(!matches!(op(name), "unknown_op" | "not_supported"), "{name}");
    }
    let refusal = parse_request("{\"v\":1,\"id\":\"a\",\"op\":\"\u{1b}[31m\u{202e}\"}".as_bytes());
    assert!(refusal.is_err());
    let refusal = parse_request(r#"{"v":1,"id":"a","op":"\u001b[31m\u202e"}"#.as_bytes());
    assert!(refusal.unwrap_err().error.message.bytes().all(|b| (0x20..0x7f).contains(&b)));
}

#[test]
fn a_wrong_argument_is_named() {
    let field = |line: &str| {
        let (code, _, field, _) = code_of(line);
        assert_eq!(code, "validation_failed", "{line}");
        field.unwrap_or_default()
    };
    for mtu in ["575", "9201", "1420.0", "true", "\"1420\"", "-1", "null"] {
        assert_eq!(field(&create(&format!(r#"{{"mtu":{mtu}}}"#))), "mtu");
    }
    for name in ["eth0", "hopbox", "hopbox00", "hopbox01", "hopbox1000", "wg%d", "hopbox%d", ""] {
        assert_eq!(field(&create(&format!(r#"{{"name":"{name}"}}"#))), "name");
    }
    for label in [r"a\u0000", r"a\n", r"\u2028", "", &"x".repeat(65)] {
        assert_eq!(field(&create(&format!(r#"{{"label":"{label}"}}"#))), "label");
    }
    assert_eq!(field(&create(r#"{"persist":true}"#)), "persist");
    assert_eq!(field(&create(r#"{"\u001b":true}"#)), "args");
}

#[test]
fn configure_checks_target_addresses_and_prefix() {
    let line = |args: &str| format!(r#"{{"v":1,"id":"a","op":"tun.configure","args":{{{args}}}}}"#);
    let ends = r#""local_ip":"10.10.0.1","peer_ip":"10.10.0.2""#;
    let lease = r#""lease_id":"L-0123456789abcdef""#;
    assert_eq!(code_of(&line(&format!("{lease},{ends}"))).0, "ok");
    for (args, field) in [
        (ends.to_string(), "lease_id"),
        // A name may be another's by now.
        (format!(r#""name":"hopbox0",{ends}"#), "name"),
        (format!(r#"{lease},"name":"hopbox0",{ends}"#), "name"),
        (format!(r#""lease_id":"L-0123456789ABCDEF",{ends}"#), "lease_id"),
        (format!(r#"{lease},"local_ip":"10.10.0.1""#), "peer_ip"),
        (format!(r#"{lease},"local_ip":"10.10.0.01","peer_ip":"10.10.0.2""#), "local_ip"),
        (format!(r#"{lease},"local_ip":"10.10.0.1\n","peer_ip":"10.10.0.2""#), "local_ip"),
        (format!(r#"{lease},"local_ip":168427521,"peer_ip":"10.10.0.2""#), "local_ip"),
    ] {
        assert_eq!(code_of(&line(&args)).2.as_deref(), Some(field), "{args}");
    }
    for prefix in ["0", "8", "23", "33", "\"32\"", "24.0"] {
        let args = format!(r#"{lease},{ends},"prefix":{prefix}"#);
        assert_eq!(code_of(&line(&args)).2.as_deref(), Some("prefix"), "{prefix}");
    }
}

#[test]
fn a_request_line_is_read_back_as_it_was_meant() {
    let args = json!({"name": "hopbox7", "mtu": 1380, "label": "my box"});
    let line = request_line("7", "tun.create", args);
    let request = parse_request(line.trim_end().as_bytes());
    let request = request.unwrap();
    assert_eq!((request.id.as_str(), request.op.as_str()), ("7", "tun.create"));
    let args = Args(&request.args);
    assert_eq!(args.device("name"), Ok(Some("hopbox7".into())));
    assert_eq!(args.int("mtu", 576, 9200), Ok(Some(1380)));
    assert_eq!(args.text("label"), Ok(Some("my box".into())));
}

#[test]
fn mutated_lines_never_panic() {
    let seed = create(r#"{"name":"hopbox1","mtu":1420,"label":"a\u0062\"{[:"}"#).into_bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200_000 {
        let mut line = seed.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % line.len();
            match (state >> 20) % 3 {
                0 => line[at] = (state >> 12) as u8,
                1 => drop(line.remove(at)),
                _ => line.insert(at, br#""\{}[]:,"#[(state >> 12) as usize % 8]),
            }
        }
        let _ = parse_request(&line);
    }
}

/// No secret passes through the helper, so that none can get into its logs.
#[test]
fn no_argument_holds_a_secret() {
    let names: Vec<&str> = OPERATIONS.iter().flat_map(|row| row.arguments).copied().collect();
    assert!(names.contains(&"lease_id") && names.contains(&"peer_ip"));
    for word in ["key", "secret", "token", "password"] {
        assert!(names.iter().all(|name| !name.contains(word)), "{word}");
    }
}
