//! The agent of a host that is up, asked through the tunnel that a live session of this user holds.
//!
//! 10.10.N.2 is the agent's while a session is up and a stranger's otherwise. So what is secret,
//! and what is to be believed, goes through the interface of that session, which has said at its
//! own socket that it is up; should it end meanwhile, its interface's index leads nowhere. Where no
//! session says so there is no client: ask over SSH.

use super::control;
use super::report::Facts;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::sys::through::Link;

/// For questions with this laptop's token. `None` when the host is not up.
pub fn with_token(paths: &Paths, host: &HostConfig) -> Option<Client> {
    let link = link(paths, host)?;
    Some(Client::with_token(link, host.peer_ip, host.api_port, &host.token))
}

/// For what may be asked without one.
pub fn without_token(paths: &Paths, host: &HostConfig) -> Option<Client> {
    Some(Client::through(link(paths, host)?, host.peer_ip, host.api_port))
}

/// The interface of the host's live session.
pub fn link(paths: &Paths, host: &HostConfig) -> Option<Link> {
    let Facts { ifindex, local_ip, peer_ip, .. } = control::facts(paths, &host.name)?;
    // A session that began with another host file goes elsewhere.
    let same = local_ip == host.local_ip && peer_ip == host.peer_ip;
    ifindex.filter(|_| same).map(|ifindex| Link { ifindex, local: local_ip })
}
