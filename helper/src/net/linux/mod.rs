//! Devices on Linux: `links` makes and configures them, `guard` keeps their packets in their place.
//! The rest are bytes: `netlink` carries messages, of links, addresses and routes (`rtnetlink`), of
//! filters (`traffic`, with the program of `ingress`) and of nf_tables (`nft`).

mod guard;
mod ingress;
mod links;
mod netlink;
mod nft;
mod rtnetlink;
mod traffic;

pub use guard::forget_server_table;
pub use links::{IOCTLS, IPV6_SETTINGS, Links, paths};
