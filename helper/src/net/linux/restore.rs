//! What others have changed of a configured device, and its way back. Must not know: how often.

use super::links::Links;
use super::netlink::Record;
use super::rtnetlink::{self, CREATE, REPLACE};
use crate::net::link::failed;
use crate::net::pool::Endpoints;
use crate::proto::OpError;

impl Links {
    /// What is not as it was configured.
    pub fn lost(
        &mut self,
        name: &str,
        ifindex: u32,
        mtu: u16,
        ends: Endpoints,
    ) -> Vec<&'static str> {
        let mut lost = Vec::new();
        // What cannot be looked at is not lost.
        let Ok(Some(link)) = self.link(name) else {
            return lost;
        };
        if link.mtu != u32::from(mtu) {
            lost.push("MTU");
        }
        if !link.up {
            lost.push("up");
        }
        let addresses = self.netlink.dump(libc::RTM_GETADDR, rtnetlink::all_addresses());
        let own = Some((ends.local, ifindex));
        if addresses.is_ok_and(|all| all.iter().all(|one| rtnetlink::read_address(one) != own)) {
            lost.push("address");
        }
        // The one route that the peer's packets take; only where it is not ours, all routes.
        let taken = self.netlink.request(libc::RTM_GETROUTE, 0, rtnetlink::route_taken(ends.peer));
        let ours = (ends.route(), ifindex);
        let is_ours = |all: &[Record]| all.iter().any(|r| rtnetlink::read_route(r) == Some(ours));
        if !taken.is_ok_and(|taken| is_ours(&taken))
            && self.routes().is_ok_and(|all| !is_ours(&all))
        {
            lost.push("route");
        }
        lost
    }

    /// Also in place of a route that another program has put in the place of ours.
    pub fn restore(
        &mut self,
        name: &str,
        ifindex: u32,
        mtu: u16,
        ends: Endpoints,
    ) -> Result<(), OpError> {
        self.netlink
            .request(libc::RTM_SETLINK, 0, rtnetlink::mtu(ifindex, mtu))
            .map_err(failed("set the MTU"))?;
        self.apply(name, ifindex, ends)?;
        if self.lost(name, ifindex, mtu, ends) == ["route"] {
            let route = rtnetlink::route_to_peer(ifindex, ends);
            self.netlink
                .request(libc::RTM_NEWROUTE, CREATE | REPLACE, route)
                .map_err(failed("put the route back"))?;
        }
        match self.lost(name, ifindex, mtu, ends).as_slice() {
            [] => Ok(()),
            rest => Err(OpError::kernel(format!("{} not taken", rest.join(", ")))),
        }
    }
}
