//! The only way out of the browser for the server: a proxy on loopback, for CONNECT and for plain
//! http. `localhost` in it is the server: its ports are reached through the tunnel, and nothing of
//! this machine is.
//!
//! Bounds: 128 connections; a head of 16 KiB within 30 s; 10 s to connect.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::session::bridge::address::Address;

const MOST: usize = 128;
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Where the browser may go, and who brings it there.
pub trait Exits: Send + Sync {
    fn host(&self) -> &str;

    /// Whether there may be a browser at all.
    fn is_allowed(&self) -> bool;

    /// A connection, and what came on it already.
    fn reach(&self, address: &Address) -> Result<(TcpStream, Vec<u8>), Denied>;

    fn refused(&self, at: &str);

    /// Carries both ways; `kept` goes when both have ended.
    fn carry(&self, near: TcpStream, far: TcpStream, first: Vec<u8>, kept: Box<dyn Send>);
}

pub enum Denied {
    Policy,
    Lost(String),
}

/// Where it listens; it does as long as this process lives, for whoever finds it.
pub fn start(exits: &Arc<dyn Exits>) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let (exits, open) = (exits.clone(), Arc::new(AtomicUsize::new(0)));
    thread::Builder::new().name("proxy".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::SeqCst) >= MOST {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (exits, count) = (exits.clone(), open.clone());
            let counted = Counted(count);
            let serve = move || drop(serve(&*exits, stream, counted));
            let _ = thread::Builder::new().name("proxied".to_owned()).spawn(serve);
        }
    })?;
    Ok(port)
}

/// One of those that are open, until it goes.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(exits: &dyn Exits, mut stream: TcpStream, counted: Counted) -> io::Result<()> {
    let (head, rest) = read_head(&stream)?;
    let Some(asked) = asked(&head) else { return refuse(&mut stream, "400 Bad Request", "") };
    let Asked { address, forward } = asked;
    match exits.reach(&address) {
        Ok((mut far, first)) => {
            match forward {
                Some(head) => far.write_all(head.as_bytes())?,
                None => stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?,
            }
            stream.write_all(&first)?;
            exits.carry(stream, far, rest, Box::new(counted));
            Ok(())
        }
        Err(Denied::Policy) => {
            let at = format!("{}:{}", address.host, address.port());
            exits.refused(&at);
            let host = exits.host();
            let why = format!(
                "This browser reaches ports of {host}, as http://localhost:PORT, and hosts that \
                 are named on the laptop: hop bridge allow cdp HOST:PORT\n"
            );
            refuse(&mut stream, "403 Forbidden", &why)
        }
        Err(Denied::Lost(why)) => refuse(&mut stream, "502 Bad Gateway", &format!("{why}\n")),
    }
}

fn read_head(mut stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let end = Instant::now() + HEAD_WITHIN;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            let head = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            return Ok((head, rest));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes.len() > HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
}

fn refuse(stream: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let length = why.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{why}").as_bytes())
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    address: Address,
    /// What is said to the server of plain http; `None` of a tunnel.
    forward: Option<String>,
}

fn asked(head: &str) -> Option<Asked> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    if method == "CONNECT" {
        let address = Address::read(&format!("https://{target}")).ok()?;
        return (address.text() == address.origin()).then_some(Asked { address, forward: None });
    }
    let address = Address::read(target).ok().filter(|_| target.starts_with("http://"))?;
    let tail = address.text().get(address.origin().len()..)?.to_owned();
    let slash = if tail.starts_with('/') { "" } else { "/" };
    let mut forward = format!("{method} {slash}{tail} HTTP/1.1\r\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !matches!(name.as_str(), "connection" | "proxy-connection" | "keep-alive") {
            forward += line;
            forward += "\r\n";
        }
    }
    // The next request may be for another server.
    Some(Asked { address, forward: Some(forward + "Connection: close\r\n\r\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_where_it_goes_or_goes_nowhere() {
        let of = |line: &str| asked(&format!("{line}\r\nHost: x\r\nConnection: y\r\nA: b\r\n\r\n"));
        let tunnel = of("CONNECT localhost:5173 HTTP/1.1").unwrap();
        assert_eq!((tunnel.address.port(), tunnel.forward), (5173, None));
        let plain = of("GET http://localhost:5173/a?b#c HTTP/1.1").unwrap();
        let expected = "GET /a?b#c HTTP/1.1\r\nHost: x\r\nA: b\r\nConnection: close\r\n\r\n";
        assert_eq!(plain.forward.as_deref(), Some(expected));
        let root = of("POST http://localhost:80 HTTP/1.0").unwrap();
        assert!(root.forward.unwrap().starts_with("POST / HTTP/1.1\r\n"));
        for bad in [
            "GET / HTTP/1.1",
            "GET https://a.example/ HTTP/1.1",
            "CONNECT a.example:443/x HTTP/1.1",
            "CONNECT u@a.example:443 HTTP/1.1",
            "GET http://127.1:80/ HTTP/1.1",
            "CONNECT  HTTP/1.1",
            "GET http://a.example/ HTTP/2",
            "GET http://a.example/ b HTTP/1.1",
            "",
            "GET",
            "CONNECT [::ffff:127.0.0.1]:80 HTTP/1.1",
            "CONNECT 0.0.0.0:22 HTTP/1.1",
        ] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }
}
