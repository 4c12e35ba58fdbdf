//! Which numbers this laptop can use for a host. Its own tables say what it routes; its helper
//! knows more: tunnels of other users and what root keeps for them, who is in the networks here.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::base::address_plan::Numbers;
use crate::base::failure::Failure;
use crate::helper::{Helper, socket_path};
use crate::host::paths::Paths;
use crate::host::store;

/// As many as there are numbers.
const ALL: u16 = 256;

pub fn of(paths: &Paths, host: &str) -> Result<Numbers, Failure> {
    let mut numbers = store::numbers(paths, host)?;
    if let Some(usable) = usable() {
        numbers.narrow(&usable);
    }
    Ok(numbers)
}

/// `None` where no helper tells: an older one, or one that does not admit this user yet.
fn usable() -> Option<BTreeSet<u8>> {
    let mut helper = Helper::connect(&socket_path()).ok()?;
    let pairs = helper.suggest(ALL).ok()?;
    // What this user has up is no obstacle, and `address_plan::of` knows whose host it is.
    let own = helper.tunnels().ok()?;
    let ip = |value: &Value| value.as_str()?.parse().ok();
    let own = own.as_array()?.iter().filter_map(|lease| ip(&lease["peer"]));
    Some(pairs.into_iter().map(|(_, peer)| peer).chain(own).filter_map(number_of).collect())
}

fn number_of(peer: Ipv4Addr) -> Option<u8> {
    match peer.octets() {
        [10, 10, number, 2] => Some(number),
        _ => None,
    }
}
