//! The name servers of this machine, as its resolver is told of them: whoever takes their addresses
//! answers for every name. Must not know: tunnels, who asks.

use crate::proto::{Code, OpError};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;

/// What the resolver reads, and what systemd-resolved asks behind its stub.
pub const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Where nothing is secret, and the second is replaced whenever the machine changes networks.
pub const DIR: &str = "/run/systemd/resolve";
/// Longest file that is read, in bytes.
const SIZE_MAX: u64 = 65_536;

/// Of each file: it could be read, or was not there, once.
#[derive(Debug, Default)]
pub struct Resolvers {
    worked: [bool; 2],
    /// The sandbox keeps us from a file that was put in the place of the one we knew.
    pub detached: bool,
    /// Why one of them is not heeded.
    pub trouble: Option<String>,
}

impl Resolvers {
    /// To be called before the sandbox as well: what can be read then must stay readable.
    pub fn read(&mut self) -> Result<Vec<Ipv4Addr>, OpError> {
        let mut found = Vec::new();
        self.trouble = None;
        for (path, worked) in FILES.iter().zip(&mut self.worked) {
            match text(path) {
                Ok(text) => {
                    *worked = true;
                    found.extend(text.lines().filter_map(name_server));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => *worked = true,
                Err(e) if *worked && e.kind() == io::ErrorKind::PermissionDenied => {
                    self.detached = true;
                    let error = OpError::new(Code::KernelError, format!("read {path}: {e}"));
                    return Err(OpError { retry: true, ..error });
                }
                Err(e) => self.trouble = Some(format!("name servers: {path}: {e}")),
            }
        }
        Ok(found)
    }
}

/// A link is followed: most of these are links, and only root makes them.
fn text(path: &str) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn name_server(line: &str) -> Option<Ipv4Addr> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != "nameserver" {
        return None;
    }
    match words.next()?.parse().ok()? {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found_in_every_spelling() {
        let text = "# nameserver 10.10.0.1\nnameserver 10.10.0.2\n\tnameserver\t10.10.0.3 # x\r\n\
                    nameserver ::ffff:10.10.0.4\nnameserver fe80::1%eth0\nnameservers 10.10.0.5\n\
                    search corp.example\nnameserver\nnameserver x\n;nameserver 10.10.0.6";
        let found: Vec<u8> =
            text.lines().filter_map(name_server).map(|ip| ip.octets()[3]).collect();
        assert_eq!(found, [2, 3, 4]);
    }
}
