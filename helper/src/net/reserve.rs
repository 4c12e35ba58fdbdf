//! What root keeps for one user: addresses, names and device names, by `reserve` of the
//! configuration.
//!
//! Root writes it, so it is also root's leave for what members do not get by themselves: a device
//! named wgN, and addresses in the middle of somebody's network. Pure. Must not know: leases.

use crate::core::peer_cred::is_nobody;
use crate::net::pool::{self, Endpoints, Net, Pools};
use crate::proto::valid_device;
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Net(Net),
    Name(String),
    Device(String),
}

/// Each with the user whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserve(Vec<(Kept, u32)>);

impl Reserve {
    /// Reads `{"1000": ["10.10.4.0/24", "box.hop", "wg0"]}`. Nothing may be kept for two.
    pub fn parse(users: &Map<String, Value>, pools: &Pools) -> Result<Reserve, String> {
        let mut reserve = Reserve::default();
        for (user, list) in users {
            // One spelling for one user, or two rows could speak of the same.
            let uid = user.parse().ok().filter(|uid: &u32| uid.to_string() == *user);
            let uid = uid.filter(|uid| !is_nobody(*uid));
            let uid = uid.ok_or_else(|| format!("{user:?} in reserve is no user number"))?;
            let list = list.as_array().ok_or_else(|| format!("reserve of {uid} is no list"))?;
            for item in list {
                let kept = item.as_str().and_then(|text| Kept::parse(text, pools));
                let kept = kept.ok_or_else(|| {
                    let pools = pools.text();
                    format!("{item} in reserve is no prefix in {pools}, no .hop name, no wgN")
                })?;
                if reserve.0.iter().any(|(other, of)| other.meets(&kept) && *of != uid) {
                    return Err(format!("{item} in reserve is kept for two users"));
                }
                reserve.0.push((kept, uid));
            }
        }
        Ok(reserve)
    }

    /// Whether another user has these ends, or a part of their route. Root takes everything.
    pub fn keeps_ends(&self, uid: u32, ends: Endpoints) -> bool {
        self.keeps(uid, &Kept::Net(ends.route())) || self.keeps_ip(uid, ends.local)
    }

    pub fn keeps_ip(&self, uid: u32, ip: Ipv4Addr) -> bool {
        self.keeps(uid, &Kept::Net(Net::new(ip, 32)))
    }

    pub fn keeps_name(&self, uid: u32, name: &str) -> bool {
        self.keeps(uid, &Kept::Name(name.to_string()))
    }

    pub fn keeps_device(&self, uid: u32, name: &str) -> bool {
        self.keeps(uid, &Kept::Device(name.to_string()))
    }

    fn keeps(&self, uid: u32, what: &Kept) -> bool {
        uid != 0 && self.0.iter().any(|(kept, of)| kept.meets(what) && *of != uid)
    }

    /// Whether both ends and the whole route are kept for this user.
    pub fn gives_ends(&self, uid: u32, ends: Endpoints) -> bool {
        let own = |net: Net| {
            let covers = |kept: &Kept| matches!(kept, Kept::Net(kept) if kept.covers(net));
            self.0.iter().any(|(kept, of)| *of == uid && covers(kept))
        };
        own(ends.route()) && own(Net::new(ends.local, 32))
    }

    /// A name of ours is everybody's; any other is root's, who may have given it away.
    pub fn gives_device(&self, uid: u32, name: &str) -> bool {
        let given = |(kept, of): &(Kept, u32)| *of == uid && *kept == Kept::Device(name.into());
        uid == 0 || !name.starts_with("wg") || self.0.iter().any(given)
    }
}

impl Kept {
    fn parse(text: &str, pools: &Pools) -> Option<Kept> {
        if let Some(net) = Net::parse(text) {
            return pools.cover(net).then_some(Kept::Net(net));
        }
        if pool::check_name(text).is_ok() {
            return Some(Kept::Name(text.to_string()));
        }
        let device = valid_device(text) && text.starts_with("wg");
        device.then(|| Kept::Device(text.to_string()))
    }

    fn meets(&self, other: &Kept) -> bool {
        match (self, other) {
            (Kept::Net(net), Kept::Net(other)) => net.overlaps(*other),
            (kept, other) => kept == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reserve, String> {
        let map: Map<String, Value> = serde_json::from_str(text).unwrap();
        Reserve::parse(&map, &Pools::default())
    }

    #[test]
    fn what_is_kept_is_for_its_user_and_for_root() {
        let kept = read(r#"{"1000": ["10.10.4.0/24", "box.hop", "wg0"], "0": ["wg1"]}"#).unwrap();
        let ends = |peer: [u8; 4], prefix| Endpoints {
            local: Ipv4Addr::new(10, 10, 4, 1),
            peer: Ipv4Addr::from(peer),
            prefix,
        };
        let within = ends([10, 10, 4, 2], 24);
        assert!(kept.keeps_ends(1001, within) && !kept.keeps_ends(1000, within));
        assert!(!kept.keeps_ends(0, within), "root takes everything");
        assert!(kept.gives_ends(1000, within) && !kept.gives_ends(1001, within));
        // One end of the two is enough to be kept, and not enough to be given.
        let half = ends([10, 10, 5, 2], 32);
        assert!(kept.keeps_ends(1001, half) && !kept.gives_ends(1000, half));
        assert!(kept.keeps_ip(1001, Ipv4Addr::new(10, 10, 4, 77)));
        assert!(kept.keeps_name(1001, "box.hop") && !kept.keeps_name(1000, "box.hop"));
        for (uid, name, given) in [
            (1000, "wg0", true),
            (1000, "wg1", false),
            (1001, "wg0", false),
            (1001, "hopbox7", true),
            (0, "wg9", true),
        ] {
            assert_eq!(kept.gives_device(uid, name), given, "{uid} {name}");
        }
    }

    #[test]
    fn one_thing_is_kept_for_one_user_in_one_spelling() {
        for bad in [
            r#"{"01000": []}"#,
            r#"{"+1000": []}"#,
            r#"{"sam": []}"#,
            r#"{"-1": []}"#,
            r#"{"65534": []}"#,
            r#"{"4294967295": []}"#,
            r#"{"4294967296": []}"#,
            r#"{"1000": "wg0"}"#,
            r#"{"1000": [7]}"#,
            r#"{"1000": ["10.11.0.0/24"]}"#,
            r#"{"1000": ["10.0.0.0/8"]}"#,
            r#"{"1000": ["10.10.4.1/24"]}"#,
            r#"{"1000": ["10.10.4.0/+24"]}"#,
            r#"{"1000": ["10.10.4.0/024"]}"#,
            r#"{"1000": ["Box.hop"]}"#,
            r#"{"1000": ["box.hop."]}"#,
            r#"{"1000": ["hopbox0"]}"#,
            r#"{"1000": ["wg00"]}"#,
            r#"{"1000": ["eth0"]}"#,
            r#"{"1000": ["10.10.4.0/24"], "1001": ["10.10.4.2/32"]}"#,
            r#"{"1000": ["10.10.4.0/25"], "1001": ["10.10.0.0/16"]}"#,
            r#"{"1000": ["a.hop"], "1001": ["a.hop"]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(r#"{"1000": ["10.10.4.0/24", "10.10.4.0/25"], "1001": []}"#).is_ok());
    }
}
