//! The first machine on the way to an address: here the system's table is not read, and every
//! network is a new one.

use std::net::IpAddr;

pub fn first_hop(_: IpAddr) -> Option<Vec<u8>> {
    None
}
