//! The head of an HTTP request: what is taken can be read in one way only, and only who shows the
//! token under one of our names is let in.

use super::agent::request::{Head, Refusal};
use super::agent::{LAPTOP, OneLaptop, TOKEN, auth};
use std::net::{Ipv4Addr, SocketAddrV4};

const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const STATUS: [u16; 8] = [400, 401, 403, 411, 413, 431, 501, 505];

pub fn agent_http(data: &[u8]) {
    let head = match Head::parse(data) {
        Ok(head) => head,
        Err(no) => return check(&no),
    };
    let text = std::str::from_utf8(data).expect("a head is text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(lines.len() <= 65 && !lines.iter().any(|l| l.contains(['\r', '\n', '\0'])));
    assert!(lines[0].starts_with(&head.method) && lines[0].contains(&head.path));
    assert!(head.path.starts_with('/') && !head.path.contains(['?', ' ']));
    // Read once more, in the plainest way.
    let fields: Vec<_> = lines[1..].iter().map(|l| l.split_once(':').expect("a colon")).collect();
    let named = |name: &str| -> Vec<&str> {
        let same = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, v)| v.trim_matches([' ', '\t'])).collect()
    };
    for (name, _) in &fields {
        let all = named(name);
        let lower = name.to_ascii_lowercase();
        assert!(head.has(&lower));
        assert_eq!(head.only(&lower).ok(), (all.len() == 1).then_some(all.first().copied()));
    }
    match head.body_length() {
        Ok(None) => assert!(named("content-length").is_empty()),
        Ok(Some(n)) => assert_eq!(named("content-length")[0].parse(), Ok(n)),
        Err(no) => check(&no),
    }
    assert!(named("transfer-encoding").is_empty() || head.body_length().is_err());
    match auth::not_a_page(&head, SocketAddrV4::new(LOCAL, 4200), &OneLaptop) {
        Ok(()) => {
            let host = named("host")[0].to_ascii_lowercase();
            let ours = ["10.10.0.2", "10.10.0.2:4200", "a.hop", "a.hop:4200"];
            assert!(ours.contains(&&*host) && named("origin").is_empty(), "{host}");
        }
        Err(no) => check(&no),
    }
    match auth::caller(&head, &OneLaptop, LOCAL) {
        Ok(who) => assert!(who == LAPTOP && named("authorization")[0].ends_with(TOKEN)),
        Err(no) => check(&no),
    }
}

fn check(no: &Refusal) {
    assert!(STATUS.contains(&no.status) && !no.why.is_empty() && !no.code.is_empty());
}
