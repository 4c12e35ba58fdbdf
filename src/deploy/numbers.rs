//! Which numbers this laptop can use for a host: what its own tables say, less what other users
//! have up and what root keeps from this one. The helper has the last word when a tunnel comes up.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::base::address_plan::{self, Numbers, Uses};
use crate::base::failure::Failure;
use crate::helper::{Helper, socket_path};
use crate::host::paths::Paths;
use crate::host::store;
use crate::sys::{bounded, process};

/// What root allows, for all to read; see hop-helper(8).
const CONFIG: &str = "/etc/hopbox/helper.json";
const CONFIG_BYTES: u64 = 65_536;

pub fn of(paths: &Paths, host: &str) -> Result<Numbers, Failure> {
    let (taken, own) = store::numbers(paths, host)?;
    let uses = Uses::here();
    let mut numbers = address_plan::choose(taken, own, &uses);
    // The host's own number is no obstacle to it, unless another user's tunnel has it.
    if let Some(own) = own.filter(|own| uses.has_one_of_pair(*own)) {
        if own_tunnels().is_some_and(|tunnels| !tunnels.contains(&own)) {
            numbers.leave_out(|number| number == own);
        }
    }
    let config = bounded::read(CONFIG, CONFIG_BYTES).unwrap_or_default();
    // Where there is none everything is allowed, and a wrong one is the helper's to complain of.
    if let Ok(config) = serde_json::from_slice(&config) {
        numbers.leave_out(|number| !allows(&config, process::uid(), number));
    }
    Ok(numbers)
}

/// The numbers that this user has up. `None` where no helper tells.
fn own_tunnels() -> Option<BTreeSet<u8>> {
    let mut helper = Helper::connect(&socket_path()).ok()?;
    let own = helper.tunnels().ok()?;
    Some(own.into_iter().filter_map(|device| device.peer).filter_map(number_of).collect())
}

fn number_of(peer: Ipv4Addr) -> Option<u8> {
    match peer.octets() {
        [10, 10, number, 2] => Some(number),
        _ => None,
    }
}

/// Whether root lets a user have both addresses of a number.
fn allows(config: &Value, uid: u32, number: u8) -> bool {
    let pair = [1, 2].map(|last| Ipv4Addr::new(10, 10, number, last));
    let pools = config["pools"].as_array();
    let within = |pools: &Vec<Value>| pair.iter().all(|ip| pools.iter().any(|net| has(net, *ip)));
    let reserve = config["reserve"].as_object().into_iter().flatten();
    let foreign = reserve.filter(|(user, _)| **user != uid.to_string());
    let mut kept = foreign.filter_map(|(_, list)| list.as_array()).flatten();
    let is_kept = kept.any(|net| pair.iter().any(|ip| has(net, *ip)));
    pools.is_none_or(within) && (uid == 0 || !is_kept)
}

/// Whether a network, as root writes it, has an address. A name or a device has none.
fn has(net: &Value, ip: Ipv4Addr) -> bool {
    let net = net.as_str().and_then(|text| text.split_once('/'));
    let net = net.and_then(|(base, bits)| Some((base.parse().ok()?, bits.parse().ok()?)));
    net.is_some_and(|(base, bits)| address_plan::is_within(ip, base, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn allowed(config: &Value, uid: u32) -> Vec<u8> {
        (0..=255).filter(|number| allows(config, uid, *number)).collect()
    }

    #[test]
    fn what_root_keeps_for_others_is_left_out() {
        let config = json!({"reserve": {
            "1000": ["10.10.4.0/23", "box.hop", "wg0", "10.10.9.2/32", "10.10.8.77/32"],
            "1001": ["10.10.7.0/24"],
        }});
        let less = |out: &[u8]| (0..=255).filter(|n| !out.contains(n)).collect::<Vec<u8>>();
        assert_eq!(allowed(&config, 1002), less(&[4, 5, 7, 9]));
        assert_eq!(allowed(&config, 1000), less(&[7]));
        assert_eq!(allowed(&config, 0), less(&[]), "root takes everything");
        assert_eq!(
            allowed(&json!({"pools": ["10.10.16.0/22", "10.20.0.0/16"]}), 1),
            [16, 17, 18, 19]
        );
        for odd in [json!({}), json!([]), json!({"reserve": 7}), json!({"pools": "10.10.0.0/16"})] {
            assert_eq!(allowed(&odd, 1000), less(&[]), "{odd}");
        }
        let wrong = json!({"reserve": {"1": [7, "x", "/", "10.10.0.0/99", "10.10.0.0/-1"]}});
        assert_eq!(allowed(&wrong, 1000), less(&[]));
    }
}
