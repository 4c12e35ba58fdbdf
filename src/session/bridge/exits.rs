//! Where the browser for the server may go: ports of the server, through the tunnel, and hosts that
//! the user named. `localhost` is the server there, so that nothing of this machine is reached.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::address::Address;
use super::browser::{Denied, Exits};
use super::journal::End;
use super::place::{self, Place};
use super::policy::{Bridge, Policy, Rule};
use super::room::Room;
use crate::rpc::method::PORTS_CONNECT;
use crate::rpc::types::ports::PortNumber;

const CONNECT: Duration = Duration::from_secs(10);

impl Exits for Room {
    fn host(&self) -> &str {
        &self.host.name
    }

    fn is_allowed(&self) -> bool {
        self.policy().rule(Bridge::Browser) != Rule::Deny
    }

    fn reach(&self, address: &Address) -> Result<(TcpStream, Vec<u8>), Denied> {
        reach(self, address)
    }

    fn refused(&self, at: &str) {
        self.note(Bridge::Browser, End::Denied, at, None, "the browser may not go there");
    }

    fn carry(&self, near: TcpStream, far: TcpStream, first: Vec<u8>, kept: Box<dyn Send>) {
        Room::carry(self, near, far, first, kept);
    }
}

/// A connection to where the browser may go.
fn reach(room: &Room, address: &Address) -> Result<(TcpStream, Vec<u8>), Denied> {
    let lost = |why: &dyn ToString| Denied::Lost(why.to_string());
    let own = address.host == room.host.hop_name();
    if own || address.place == Place::Loopback {
        let client = room.client().ok_or_else(|| lost(&"the tunnel is not up"))?;
        let port = PortNumber { port: address.port(), is_accepted: false };
        return client.bytes(PORTS_CONNECT, &port, CONNECT).map_err(|error| lost(&error));
    }
    if !is_named(&room.policy(), address) {
        return Err(Denied::Policy);
    }
    let host = address.host.trim_matches(['[', ']']);
    let all = (host, address.port()).to_socket_addrs().map_err(|error| lost(&error))?;
    // A public name is no way into the own network.
    let may = |ip| match place::of_ip(ip) {
        Place::Public => true,
        Place::Near(_) => address.place != Place::Public,
        Place::Loopback => false,
    };
    let at = all.into_iter().find(|at| may(at.ip())).ok_or(Denied::Policy)?;
    let stream = TcpStream::connect_timeout(&at, CONNECT).map_err(|error| lost(&error))?;
    Ok((stream, Vec::new()))
}

fn is_named(policy: &Policy, address: &Address) -> bool {
    policy.browser_hosts.contains(&format!("{}:{}", address.host, address.port()))
}
