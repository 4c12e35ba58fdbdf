//! Who has a UDP port of this machine, for a refusal that names it. Root sees everybody's.
//!
//! Bounds: the kernel's tables up to a size, so many processes and descriptors of each; beyond them
//! nobody is found, and the refusal names nobody.

use std::fs;
use std::path::Path;

use crate::sys::bounded;

const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];
const TABLE_BYTES: u64 = 4 << 20;
const PROCESSES: usize = 32 * 1024;
const FILES: usize = 4096;

/// Its name and process id, such as `nginx (123)`.
pub fn of_udp(port: u16) -> Option<String> {
    let tables = TABLES.into_iter().filter_map(|table| bounded::read(table, TABLE_BYTES).ok());
    let tables: Vec<String> =
        tables.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    let inodes = tables.iter().flat_map(|text| text.lines()).filter_map(|line| inode(line, port));
    let links: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().take(PROCESSES);
    processes.map(|entry| entry.path()).find_map(|process| named(&process, &links))
}

fn named(process: &Path, links: &[String]) -> Option<String> {
    let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
    let mut files = fs::read_dir(process.join("fd")).ok()?.flatten().take(FILES);
    let has = |link: &Path| link.to_str().is_some_and(|link| links.iter().any(|it| it == link));
    files.find(|file| fs::read_link(file.path()).is_ok_and(|link| has(&link)))?;
    let name = bounded::text(process.join("comm")).ok()?;
    Some(format!("{} ({pid})", name.trim()))
}

/// Of a line of the kernel's table (proc_net_udp(5)) that is of that local port.
fn inode(line: &str, port: u16) -> Option<u64> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = words.get(1)?.rsplit_once(':')?;
    (u16::from_str_radix(local, 16).ok()? == port).then(|| words.get(9)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn who_has_a_port_is_named() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            let found = of_udp(port).unwrap();
            assert!(found.ends_with(&format!("({})", std::process::id())), "{found}");
            drop(socket);
            assert_eq!(of_udp(port), None);
        }
    }

    #[test]
    fn a_line_that_is_none_is_no_ones() {
        let line = "  1: 00000000:01BB 00000000:0000 07 00000000:00000000 00:00000000 00000000 \
                    33 0 98765 2 0 0";
        assert_eq!((inode(line, 443), inode(line, 53)), (Some(98765), None));
        for line in ["", "sl local_address", "1: :01BB", "1: x:01BB a b c d e f g x"] {
            assert_eq!(inode(line, 443), None, "{line}");
        }
    }
}
