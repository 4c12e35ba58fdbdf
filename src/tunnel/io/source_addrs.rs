//! From which of our addresses a datagram is sent (R90).

use crate::wg::Endpoint;
use std::net::IpAddr;

/// Local addresses remembered as good to answer from.
const MOST: usize = 64;

/// Local addresses that datagrams came to since the network last changed. A source address that a
/// peer is remembered with is used only while it is among them; the protocol core need not know.
#[derive(Default)]
pub struct SourceAddrs {
    good: Vec<IpAddr>,
    /// Where the last one was found, which is where the next one will be.
    last: usize,
}

impl SourceAddrs {
    pub fn note(&mut self, ip: IpAddr) {
        if self.good.get(self.last) == Some(&ip) {
            return;
        }
        match self.good.iter().position(|g| *g == ip) {
            Some(i) => self.last = i,
            None if self.good.len() < MOST => {
                self.last = self.good.len();
                self.good.push(ip);
            }
            None => {
                self.last = (self.last + 1) % MOST;
                if let Some(old) = self.good.get_mut(self.last) {
                    *old = ip;
                }
            }
        }
    }

    /// The address to send from, and the interface to force. Only a link-local address needs its
    /// interface; for others the kernel's routing stays in charge, as in the kernel's WireGuard: a
    /// forced interface without a route would make it look for the peer on that very link.
    pub fn of(&self, to: &Endpoint) -> Option<(IpAddr, u32)> {
        let local = to.local?;
        if local.ip.is_ipv4() != to.remote.is_ipv4() || !self.good.contains(&local.ip) {
            return None;
        }
        let link_local = matches!(local.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        Some((local.ip, if link_local { local.ifindex } else { 0 }))
    }

    pub fn forget(&mut self, to: &Endpoint) {
        self.good.retain(|g| to.local.is_none_or(|l| l.ip != *g));
        self.last = 0;
    }

    pub fn clear(&mut self) {
        self.good.clear();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded() {
        let mut sources = SourceAddrs::default();
        for i in 0..1000u32 {
            sources.note(std::net::Ipv4Addr::from(i).into());
        }
        assert_eq!(sources.good.len(), MOST);
    }
}
