//! Where a host of an address is, by how it is spelled: out in the world, on this machine, or near
//! it, where other people's servers have no business. Pure: a name is not looked up here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Public,
    Loopback,
    /// In this laptop's own networks, or nobody can say; the text says which.
    Near(&'static str),
}

const ODD: &str = "its host is an address that is spelled strangely";
const OWN: &str = "it is in your own network";
const UNCLEAR: &str = "it can lead to your own network";
const LETTERS: &str = "its host has letters beyond ASCII";

/// Names that no public server has.
const LOCAL: [&str; 12] = [
    "local",
    "lan",
    "internal",
    "intranet",
    "corp",
    "home",
    "localdomain",
    "private",
    "arpa",
    "hop",
    "test",
    "box",
];

/// Where `host`, in lower case, is; or why nothing there is opened.
pub fn of(host: &str) -> Result<Place, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Ipv6Addr = inner.parse().map_err(|_| "its host is no address")?;
        return if ip.to_string() == inner { spelled(ip.into()) } else { Err(ODD) };
    }
    if host.contains('%') {
        return Err("its host is written with %");
    }
    if !host.is_ascii() {
        return Ok(Place::Near(LETTERS));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().all(plain) || name.split('.').any(str::is_empty) {
        return Err("its host is no name");
    }
    match ipv4(name) {
        Some(Some(ip)) if ip.to_string() == host => spelled(ip.into()),
        Some(Some(_)) => Err(ODD),
        Some(None) => Err("its host is no address"),
        None => Ok(of_name(name)),
    }
}

fn of_name(name: &str) -> Place {
    let last = name.rsplit('.').next().unwrap_or_default();
    match last {
        "localhost" => Place::Loopback,
        _ if last == name || LOCAL.contains(&last) => Place::Near(OWN),
        _ => Place::Public,
    }
}

/// Of an address in its usual spelling.
fn spelled(ip: IpAddr) -> Result<Place, &'static str> {
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if usual.contains(&ip) {
        return Ok(Place::Loopback);
    }
    // 127.0.0.2, 0.0.0.0, ::, and IPv4 within IPv6.
    if is_this_machine(ip) || inner(ip).is_some() { Err(ODD) } else { Ok(of_ip(ip)) }
}

/// Where an address is that a name was looked up to, or that is spelled as usual.
pub fn of_ip(ip: IpAddr) -> Place {
    if is_this_machine(ip) {
        return Place::Loopback;
    }
    match (ip, inner(ip)) {
        (_, Some(inner)) => of_ip(inner.into()),
        (IpAddr::V4(ip), _) => of_ipv4(ip),
        (IpAddr::V6(ip), _) => of_ipv6(ip),
    }
}

fn of_ipv4(ip: Ipv4Addr) -> Place {
    let [a, b, c, _] = ip.octets();
    let own = ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b));
    let special = a == 0 || a >= 224 || (a == 198 && b & 0xfe == 18) || (a, b, c) == (192, 0, 0);
    if own || special || ip.is_documentation() { Place::Near(OWN) } else { Place::Public }
}

fn of_ipv6(ip: Ipv6Addr) -> Place {
    match ip.segments() {
        // Through a translator or a relay to any address of IPv4.
        [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => Place::Near(UNCLEAR),
        [0x2001, 0xdb8, ..] => Place::Near(OWN),
        // What the world has is below 2000::/3.
        [first, ..] if first & 0xe000 == 0x2000 => Place::Public,
        _ => Place::Near(OWN),
    }
}

fn is_this_machine(ip: IpAddr) -> bool {
    match (ip, inner(ip)) {
        (_, Some(inner)) => is_this_machine(inner.into()),
        (IpAddr::V4(ip), _) => ip.is_loopback() || ip.is_unspecified(),
        (IpAddr::V6(ip), _) => ip.is_loopback() || ip.is_unspecified(),
    }
}

/// The address of IPv4 that one of IPv6 is.
fn inner(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        _ => ip.to_ipv4(),
    }
}

/// Whether it is this machine in any spelling.
pub fn is_loopback_somehow(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|ip| is_this_machine(ip.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    match ipv4(name) {
        Some(ip) => ip.is_some_and(|ip| is_this_machine(ip.into())),
        None => of_name(name) == Place::Loopback,
    }
}

/// As browsers read it: a name that ends in a number is an address of one to four numbers, decimal,
/// octal or hexadecimal, or none at all.
fn ipv4(name: &str) -> Option<Option<Ipv4Addr>> {
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let hex = last
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (digits || hex).then(|| address(name))
}

fn address(name: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = name.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let free = 4_u32.checked_sub(u32::try_from(first.len()).ok()?).filter(|free| *free > 0)?;
    if first.iter().any(|part| *part > 255) || *last >= 256_u64.pow(free) {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift).sum::<u64>();
    u32::try_from(high + last).ok().map(Ipv4Addr::from)
}

fn number(part: &str) -> Option<u64> {
    match part.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_was_looked_up_to_is_judged_likewise() {
        let table = [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("100.127.0.1", false),
            ("100.128.0.1", true),
            ("192.0.2.1", false),
            ("ff02::1", false),
            ("172.32.0.1", true),
            ("198.19.0.1", false),
            ("::ffff:8.8.8.8", true),
        ];
        for (ip, public) in table {
            assert_eq!(of_ip(ip.parse().unwrap()) == Place::Public, public, "{ip}");
        }
    }

    #[test]
    fn every_spelling_of_this_machine_is_known() {
        let here = [
            "localhost",
            "localhost.",
            "a.b.localhost",
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "017700000001",
            "2130706433",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::7f00:1]",
            "127.0.0.1.",
        ];
        assert_eq!(here.iter().find(|host| !is_loopback_somehow(host)), None);
        let elsewhere =
            ["localhost.example.org", "128.0.0.1", "[::2]", "1.2.3.4.5", "notlocalhost", ""];
        assert_eq!(elsewhere.iter().find(|host| is_loopback_somehow(host)), None);
    }
}
