//! WireGuard's cross-platform configuration text: key=value lines, `get=1` and `set=1`, as
//! <https://www.wireguard.com/xplatform/> describes them and wg(8) speaks them.
//!
//! Pure: text in, values out, and the reverse. A request is understood as a whole or refused as a
//! whole; applying it is the loop's business, the socket is the `listener`'s. What of a
//! configuration is ours alone has no text.

use crate::sys::code::{EINVAL, ENOBUFS, EPROTO};
use crate::tunnel::request::Request;
use crate::wg::{self, Device, PeerStatus, PeerUpdate};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::str::FromStr;
use zeroize::Zeroizing;

/// Longest request. The fullest device has 2^20 prefixes of at most 55 bytes a line (57.7 MB) and
/// 4,096 peers of at most 350 bytes.
pub const REQUEST_MAX: usize = 60 << 20;
/// Longest line: a key of 32 bytes in hex with its name needs 78, an endpoint with scope 75.
pub const LINE_MAX: usize = 256;

/// Read the lines of a request after `set=1`; stops at the empty line or the end of `body`.
/// `index_of` finds an interface by name, for scoped IPv6 endpoints. Errors are error numbers.
pub fn parse(body: &str, index_of: &dyn Fn(&str) -> Option<u32>) -> Result<Request, i32> {
    if body.len() > REQUEST_MAX {
        return Err(ENOBUFS);
    }
    let mut request = Request::default();
    for line in body.split('\n').take_while(|l| !l.is_empty()) {
        if line.len() > LINE_MAX {
            return Err(EPROTO);
        }
        let (key, value) = line.split_once('=').ok_or(EPROTO)?;
        take(&mut request, key, value, index_of).ok_or(EINVAL)?;
    }
    Ok(request)
}

/// One line; None if it is not understood.
fn take(
    request: &mut Request,
    key: &str,
    value: &str,
    index_of: &dyn Fn(&str) -> Option<u32>,
) -> Option<()> {
    if key == "public_key" {
        let mut peer = PeerUpdate::default();
        peer.public_key = key_from(value)?;
        request.peers.push(peer);
        return Some(());
    }
    match request.peers.last_mut() {
        None => take_device(request, key, value),
        Some(peer) => take_peer(peer, key, value, index_of),
    }
}

fn take_device(request: &mut Request, key: &str, value: &str) -> Option<()> {
    match key {
        "private_key" => request.private_key = Some(key_from(value)?),
        "listen_port" => request.listen_port = Some(number(value)?),
        // The empty value is the older way of saying none.
        "fwmark" => request.fwmark = Some(if value.is_empty() { 0 } else { number(value)? }),
        "replace_peers" => request.replace_peers = yes(value)?,
        _ => return None,
    }
    Some(())
}

fn take_peer(
    peer: &mut PeerUpdate,
    key: &str,
    value: &str,
    index_of: &dyn Fn(&str) -> Option<u32>,
) -> Option<()> {
    match key {
        "remove" => peer.remove = yes(value)?,
        "update_only" => peer.update_only = yes(value)?,
        "preshared_key" => peer.preshared_key = Some(key_from(value)?),
        "endpoint" => peer.endpoint = Some(endpoint_from(value, index_of)?),
        "persistent_keepalive_interval" => peer.persistent_keepalive = Some(number(value)?),
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = yes(value)?;
            // It replaces what was named before it, too.
            peer.allowed_ips.clear();
        }
        "allowed_ip" => peer.allowed_ips.push(prefix_from(value)?),
        "protocol_version" if value == "1" => {}
        _ => return None,
    }
    Some(())
}

/// Error number for a request that was understood and yet could not be carried out.
pub fn refused(e: &wg::ConfigError) -> i32 {
    match e {
        wg::ConfigError::BadPrefix => EINVAL,
        wg::ConfigError::TooManyPeers | wg::ConfigError::TooManyPrefixes => ENOBUFS,
    }
}

/// The answer to `get=1`, without its errno line. Contains every key.
pub fn describe(device: &Device, listen_port: u16, fwmark: u32) -> Zeroizing<String> {
    let peers = device.peers();
    let prefixes: usize = peers.iter().map(|p| p.allowed_ips.len()).sum();
    // Enough that the text never moves and leaves keys behind.
    let mut text = Zeroizing::new(String::with_capacity(256 + 600 * peers.len() + 64 * prefixes));
    if let Some(key) = device.private_key().map(Zeroizing::new) {
        put_key(&mut text, "private_key", &key);
    }
    if listen_port != 0 {
        put(&mut text, "listen_port", listen_port);
    }
    if fwmark != 0 {
        put(&mut text, "fwmark", fwmark);
    }
    for peer in &peers {
        describe_peer(&mut text, peer);
    }
    text
}

fn describe_peer(text: &mut String, peer: &PeerStatus) {
    put_key(text, "public_key", &peer.public_key);
    put_key(text, "preshared_key", &peer.preshared_key);
    put(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        put(text, "endpoint", endpoint);
    }
    let at = peer.last_handshake.unwrap_or_default();
    put(text, "last_handshake_time_sec", at.secs);
    put(text, "last_handshake_time_nsec", at.nanos);
    put(text, "tx_bytes", peer.tx_bytes);
    put(text, "rx_bytes", peer.rx_bytes);
    put(text, "persistent_keepalive_interval", peer.persistent_keepalive);
    for (ip, len) in &peer.allowed_ips {
        put(text, "allowed_ip", format_args!("{ip}/{len}"));
    }
}

pub fn put(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{key}={value}");
}

pub fn put_key(text: &mut String, name: &str, key: &[u8; 32]) {
    let _ = write!(text, "{name}=");
    for byte in key {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
}

fn yes(value: &str) -> Option<bool> {
    (value == "true").then_some(true)
}

/// Decimal digits and nothing else; `from_str` alone would take a plus sign.
fn number<T: FromStr>(value: &str) -> Option<T> {
    value.bytes().all(|b| b.is_ascii_digit()).then(|| value.parse().ok())?
}

fn key_from(value: &str) -> Option<[u8; 32]> {
    if value.len() != 64 {
        return None;
    }
    let mut key = [0u8; 32];
    let mut digits = value.chars().map(|c| c.to_digit(16));
    for out in &mut key {
        let (high, low) = (digits.next()??, digits.next()??);
        *out = u8::try_from(high << 4 | low).ok()?;
    }
    Some(key)
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820` or with the scope as a number
/// (R91). An IPv4 address dressed as IPv6 is taken for what it is: it has no IPv6 path.
fn endpoint_from(value: &str, index_of: &dyn Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some(rest) = value.strip_prefix('[') else {
        return SocketAddr::from_str(value).ok();
    };
    let (host, port) = rest.split_once("]:")?;
    let port = number(port)?;
    let (host, scope) = match host.split_once('%') {
        None => (host, 0),
        Some((host, scope)) => (host, number(scope).or_else(|| index_of(scope))?),
    };
    let ip = std::net::Ipv6Addr::from_str(host).ok()?;
    Some(match ip.to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, port)),
        None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
    })
}

/// `10.0.0.0/8`, `2001:db8::1/128`, or with `-` in front to take it away. Without a length it is
/// one address.
fn prefix_from(value: &str) -> Option<(IpAddr, u8, bool)> {
    let (add, value) = match value.strip_prefix('-') {
        Some(rest) => (false, rest),
        None => (true, value),
    };
    let (ip, len) = match value.split_once('/') {
        Some((ip, len)) => (IpAddr::from_str(ip).ok()?, Some(number::<u8>(len)?)),
        None => (IpAddr::from_str(value).ok()?, None),
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let len = len.unwrap_or(bits);
    (len <= bits).then_some((ip, len, add))
}

#[cfg(test)]
mod tests;
