//! An ICMP echo socket, for `hop ping` and the layered health verdict.

use super::poll::{self, Interest};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const HEADER_LEN: usize = 8;
/// Bytes of an ordinary request, and of the largest.
const REQUEST_LEN: usize = 16;
const MAX_LEN: usize = 9200;

/// One socket to one address. Opening fails with `PermissionDenied` where neither an unprivileged
/// ping socket nor a raw one is allowed.
pub struct Echo {
    socket: File,
    raw: bool,
    v6: bool,
    ident: u16,
}

impl Echo {
    pub fn open(to: IpAddr) -> io::Result<Echo> {
        Echo::through(to, None)
    }

    /// The same through one interface, by its index, and nothing else.
    pub fn through(to: IpAddr, ifindex: Option<u32>) -> io::Result<Echo> {
        use nix::sys::socket::{SockaddrStorage, connect};
        use std::os::fd::AsRawFd;
        let (fd, raw) = super::sock::icmp(to.is_ipv6())?;
        if let Some(ifindex) = ifindex {
            super::through::bind_to(fd.as_fd(), ifindex)?;
        }
        connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0)))?;
        let ident = std::process::id() as u16;
        Ok(Echo { socket: File::from(fd), raw, v6: to.is_ipv6(), ident })
    }

    /// From now on packets are never cut in pieces on the way, whatever the kernel remembers of
    /// the path: they pass whole or are lost. IPv4.
    pub fn forbid_fragments(&self) -> io::Result<()> {
        super::sock::probe_path_mtu(self.socket.as_fd())
    }

    /// Send one request and wait for its reply: the round trip, or None when `timeout` passed.
    pub fn ping(&mut self, seq: u16, timeout: Duration) -> io::Result<Option<Duration>> {
        self.ping_sized(seq, REQUEST_LEN, timeout)
    }

    /// The same with a request of `len` bytes, the ICMP header included and the IP header not.
    pub fn ping_sized(
        &mut self,
        seq: u16,
        len: usize,
        timeout: Duration,
    ) -> io::Result<Option<Duration>> {
        use std::io::Write;
        let start = Instant::now();
        let mut request = self.request(seq).to_vec();
        // Zeros: the checksum stays as it is.
        request.resize(len.clamp(REQUEST_LEN, MAX_LEN), 0);
        self.socket.write_all(&request)?;
        let mut buf = [0u8; MAX_LEN + 64];
        loop {
            let Some(left) = timeout.checked_sub(start.elapsed()) else { return Ok(None) };
            if !poll::wait_one(self.socket.as_fd(), Interest::READ, Some(left))? {
                continue;
            }
            let n = self.socket.read(&mut buf)?;
            if self.answers(buf.get(..n).unwrap_or_default(), seq) {
                return Ok(Some(start.elapsed()));
            }
        }
    }

    /// A request of `len` bytes for each of `seqs`, one after each `pace`: how many of them were
    /// answered until `wait` after the last one. What the system does not take is lost.
    pub fn train(
        &mut self,
        seqs: Range<u16>,
        len: usize,
        pace: Duration,
        wait: Duration,
    ) -> io::Result<usize> {
        use std::io::Write;
        let mut answered = BTreeSet::new();
        let mut buf = [0u8; MAX_LEN + 64];
        for seq in seqs.clone() {
            let mut request = self.request(seq).to_vec();
            request.resize(len.clamp(REQUEST_LEN, MAX_LEN), 0);
            let _ = self.socket.write_all(&request);
            let end = Instant::now() + if seq + 1 == seqs.end { wait } else { pace };
            while answered.len() < seqs.len() {
                let Some(left) = end.checked_duration_since(Instant::now()) else { break };
                if poll::wait_one(self.socket.as_fd(), Interest::READ, Some(left))? {
                    let n = self.socket.read(&mut buf)?;
                    let seq = self.reply(buf.get(..n).unwrap_or_default());
                    answered.extend(seq.filter(|seq| seqs.contains(seq)));
                }
            }
        }
        Ok(answered.len())
    }

    fn request(&self, seq: u16) -> [u8; REQUEST_LEN] {
        let mut p = [0u8; REQUEST_LEN];
        p[0] = if self.v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST_V4 };
        p[4..6].copy_from_slice(&self.ident.to_be_bytes());
        p[6..8].copy_from_slice(&seq.to_be_bytes());
        if !self.v6 {
            // ICMPv6 checksums are the kernel's business: they cover the address it picks.
            let sum = p
                .chunks_exact(2)
                .fold(0u32, |s, w| s + u32::from(u16::from_be_bytes([w[0], w[1]])));
            let folded = (sum & 0xffff) + (sum >> 16);
            p[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
        }
        p
    }

    fn answers(&self, packet: &[u8], seq: u16) -> bool {
        self.reply(packet) == Some(seq)
    }

    /// The number of the request that a packet answers, if it is one of ours.
    fn reply(&self, packet: &[u8]) -> Option<u16> {
        // A raw IPv4 socket hands out the IP header too.
        let skip = match (self.raw && !self.v6, packet.first()) {
            (true, Some(b)) => usize::from(b & 0x0f) * 4,
            _ => 0,
        };
        let h = packet.get(skip..)?.first_chunk::<HEADER_LEN>()?;
        let kind = if self.v6 { ECHO_REPLY_V6 } else { ECHO_REPLY_V4 };
        // A ping socket's identifier is the kernel's choice, and it filters by it.
        let ours = !self.raw || h[4..6] == self.ident.to_be_bytes();
        (h[0] == kind && ours).then(|| u16::from_be_bytes([h[6], h[7]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_answers_or_permission_is_refused() {
        match Echo::open(Ipv4Addr::LOCALHOST.into()) {
            Ok(mut e) => {
                let second = Duration::from_secs(2);
                assert!(e.ping(1, second).expect("ping").is_some());
                let pace = Duration::from_millis(1);
                assert_eq!(e.train(2..12, 1200, pace, second).expect("train"), 10);
            }
            Err(e) => println!("SKIP: no ICMP socket for this user: {e}"),
        }
    }
}
