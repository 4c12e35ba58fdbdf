//! What keeps this machine out of a peer's reach: of what a tunnel brings, only answers go on to
//! the TUN.
//!
//! Each packet of TCP, UDP, or an ICMP echo that goes out opens its flow (`flows`); what comes in
//! must be of an open one, and for the one address that is ours. ICMP errors must quote a packet of
//! an open flow. Fragments pass in their order, behind a first one that passed (`trains`). All else
//! ends here and is counted: no peer opens, keeps open or displaces anything. What a peer sends
//! about its own flows is its own affair; TCP here judges that.
//!
//! Nothing is allocated for a packet, and no packet is changed. Knows IPv4, since tunnels that are
//! shielded have no other address; IPv6 ends here as a whole.

mod flows;
mod headers;
mod trains;

use crate::wg::{Drop, Time};
use flows::Flows;
use headers::{ACK, Flow, ICMP, Packet, SYN, TCP, UDP};
use std::net::{Ipv4Addr, SocketAddrV4};
use trains::Trains;

/// ICMP (RFC 792).
const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
const FRAGMENTATION_NEEDED: u8 = 4;
/// Behind ICMP's own header a packet of ours is quoted.
const ICMP_LEN: usize = 8;
/// Every path carries this much (RFC 791); who says less wants packets to be tiny.
const LEAST_MTU: u16 = 576;

/// Whose packets are let in, and as answers to what.
#[derive(Clone, Debug)]
pub struct Shielded {
    /// The one address of this machine in the tunnel.
    pub address: Ipv4Addr,
    /// TCP connections that were made from it, by a port of ours, before the tunnel was started:
    /// they go on, also those where the other side speaks first.
    pub connections: Vec<(u16, SocketAddrV4)>,
}

pub struct Shield {
    address: u32,
    flows: Flows,
    trains: Trains,
}

impl Shield {
    pub fn new(shielded: &Shielded, now: Time) -> Shield {
        let mut flows = Flows::new();
        for (here, there) in &shielded.connections {
            let flow = Flow::new(TCP, u32::from(*there.ip()), *here, there.port());
            flows.sent(seconds(now), flow, ACK);
        }
        Shield { address: u32::from(shielded.address), flows, trains: Trains::default() }
    }

    /// A packet goes out, or many in one that differ in nothing that is looked at here.
    pub fn sent(&mut self, now: Time, packet: &[u8]) {
        let Some(packet) = Packet::read(packet) else { return };
        if packet.src != self.address || packet.offset != 0 {
            return;
        }
        if let Some(flow) = packet.flow_of_sender() {
            self.flows.sent(seconds(now), flow, packet.tcp_flags());
        }
    }

    /// Whether what came in, and is as long as it says, may go on.
    pub fn admit(&mut self, now: Time, packet: &[u8]) -> Result<(), Drop> {
        let ours = Packet::read(packet).filter(|packet| packet.dst == self.address);
        let packet = ours.ok_or(Drop::WrongDestination)?;
        if packet.has_options {
            // A route to take from here, or a record of routes.
            return Err(Drop::IpOptions);
        }
        match (packet.offset, packet.more) {
            (0, false) => self.whole(seconds(now), &packet),
            (0, true) => self.first(seconds(now), &packet),
            _ if self.trains.go_on(seconds(now), &packet) => Ok(()),
            _ => Err(Drop::StrayFragment),
        }
    }

    fn whole(&mut self, now_s: u32, packet: &Packet) -> Result<(), Drop> {
        let least = match packet.protocol {
            TCP => headers::TCP_LEN,
            UDP | ICMP => ICMP_LEN,
            _ => return Err(Drop::Unsolicited),
        };
        if packet.body.len() < least {
            return Err(Drop::InnerMalformed);
        }
        let flags = packet.tcp_flags();
        if flags & (SYN | ACK) == SYN {
            // Whoever asks for a connection here. Two sides that ask at the same moment get theirs
            // all the same: the other one answers our question.
            return Err(Drop::Unsolicited);
        }
        match packet.flow_of_receiver() {
            Some(flow) if self.flows.received(now_s, flow, flags) => Ok(()),
            Some(_) => Err(Drop::Unsolicited),
            None if self.is_error_of_ours(now_s, packet.body) => Ok(()),
            None => Err(Drop::RefusedIcmp),
        }
    }

    /// The first of some fragments. A TCP that knows its path's MTU sends none; errors are short.
    fn first(&mut self, now_s: u32, packet: &Packet) -> Result<(), Drop> {
        if packet.protocol == TCP || packet.flow_of_receiver().is_none() {
            return Err(Drop::StrayFragment);
        }
        self.whole(now_s, packet)?;
        self.trains.begin(now_s, packet).then_some(()).ok_or(Drop::StrayFragment)
    }

    /// Whether this is an ICMP error about a packet that was sent in a flow that is open. Nothing
    /// that changes routes or asks for news is one.
    fn is_error_of_ours(&mut self, now_s: u32, body: &[u8]) -> bool {
        let Some(([kind, code, _, _, _, _, m0, m1], quoted)) = body.split_first_chunk() else {
            return false;
        };
        let is_error = match *kind {
            UNREACHABLE if *code == FRAGMENTATION_NEEDED => {
                u16::from_be_bytes([*m0, *m1]) >= LEAST_MTU
            }
            kind => [UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM].contains(&kind),
        };
        let quoted = Packet::read(quoted).filter(|_| is_error);
        let ours = quoted.filter(|quoted| quoted.src == self.address && quoted.offset == 0);
        let flow = ours.and_then(|quoted| quoted.flow_of_sender());
        flow.is_some_and(|flow| self.flows.is_open(now_s, flow))
    }
}

/// Of the boot clock: 136 years of them.
fn seconds(now: Time) -> u32 {
    (now.as_nanos() / 1_000_000_000) as u32
}
