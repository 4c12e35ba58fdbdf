//! Numbers of address pairs (10.10.N.1 and 10.10.N.2) that this machine cannot use for a new host:
//! those of its other hosts, and those that a route of its own covers.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

use super::HostError;
use super::config;
use super::paths::Paths;

/// The kernel's table of IPv4 routes, on Linux.
const ROUTES: &str = "/proc/net/route";

/// The taken numbers, but for what belongs to the host `except`.
pub fn taken(paths: &Paths, except: &str) -> Result<BTreeSet<u8>, HostError> {
    let mut taken = BTreeSet::new();
    let mut own = None;
    for name in config::names(paths)? {
        let number = config::load(paths, &name)?.number;
        if name == except {
            own = Some(number);
        } else {
            taken.insert(number);
        }
    }
    let routes = fs::read_to_string(ROUTES).unwrap_or_default();
    // A host that is set up again may be up: its own route is no obstacle.
    taken.extend(covered(&routes).into_iter().filter(|number| Some(*number) != own));
    Ok(taken)
}

/// The numbers N with an address 10.10.N.x that some route but the default one leads to.
fn covered(routes: &str) -> BTreeSet<u8> {
    let mut covered = BTreeSet::new();
    for line in routes.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| {
            let hex = words.get(at).copied().unwrap_or_default();
            u32::from_str_radix(hex, 16).ok().map(|word| u32::from_be_bytes(word.to_ne_bytes()))
        };
        let (Some(to), Some(mask)) = (word(1), word(7)) else { continue };
        if mask == 0 {
            continue;
        }
        let leads = |ip: Ipv4Addr| u32::from(ip) & mask == to & mask;
        // A route to one address elsewhere in the /24 takes nothing from the pair.
        let pair = |number: u8| [1, 2].map(|last| Ipv4Addr::new(10, 10, number, last));
        covered.extend((0..=255).filter(|number| pair(*number).into_iter().any(leads)));
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_take_the_numbers_they_cover() {
        let line = |to: [u8; 4], mask: [u8; 4]| {
            let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
            format!("eth0\t{}\t00000000\t0003\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex(mask))
        };
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";
        let of = |lines: &[String]| covered(&format!("{head}{}", lines.concat()));
        assert!(of(&[line([0, 0, 0, 0], [0, 0, 0, 0])]).is_empty());
        let lan = line([10, 10, 0, 0], [255, 255, 255, 0]);
        let peer = line([10, 10, 3, 2], [255; 4]);
        let elsewhere = line([10, 10, 4, 77], [255; 4]);
        assert_eq!(of(&[lan, peer, elsewhere]), BTreeSet::from([0, 3]));
        assert_eq!(of(&[line([10, 10, 16, 0], [255, 255, 240, 0])]), (16..32).collect());
        assert_eq!(of(&[line([10, 0, 0, 0], [255, 0, 0, 0])]).len(), 256);
        assert!(covered("nonsense\nmore of it\n").is_empty());
    }
}
