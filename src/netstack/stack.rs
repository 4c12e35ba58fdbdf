//! The protocol, without I/O: packets in, packets and bytes of connections out. Time and the seed
//! of sequence numbers are passed in.
//!
//! With delayed acknowledgements smoltcp 0.12 can panic in its arithmetic of sequence numbers. So
//! none is put off (`set_ack_delay(None)`), the device always takes a packet, and
//! [`Stack::deadline`] may be asked only after [`Stack::leave`] was called since the last
//! [`Stack::arrive`].

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{
    HardwareAddress, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpCidr, IpListenEndpoint,
    IpProtocol, Ipv4Cidr, Ipv4Packet, Ipv4Repr,
};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::device::Device;
use super::drop::{Counters, Drop};
use super::flows::Flows;
use super::large;
use super::packet::{self, Flow, Seen};

/// Of one connection each way; a window is no larger.
pub const BUFFER_BYTES: usize = 256 * 1024;
/// How much of a refused datagram is sent back (RFC 792: 64 bits beyond the header).
const SENT_BACK: usize = 8;
/// While something waits to be sent and the other side has no room, it is asked whether it has
/// now: the word that it has may have been lost, and smoltcp does not ask by itself.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

pub struct Stack {
    own: Ipv4Addr,
    interface: Interface,
    sockets: SocketSet<'static>,
    device: Device,
    flows: HashMap<Flow, Known>,
    /// The same, and those that are being made, for others.
    told: Flows,
    drops: Arc<Counters>,
}

struct Known {
    socket: SocketHandle,
    heard: Duration,
    /// The end of what was sent, and whether some of it was sent again since somebody asked.
    sent: Option<u32>,
    again: bool,
}

/// Somebody wants a connection. It is answered with [`Stack::admit`] or [`Stack::refuse`].
pub struct Knock {
    pub flow: Flow,
    packet: Vec<u8>,
}

impl Stack {
    pub fn new(own: Ipv4Addr, mtu: u16, seed: u64, drops: Arc<Counters>) -> Stack {
        let mut device = Device::new(mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|all| {
            // There is room for one.
            let _ = all.push(IpCidr::Ipv4(Ipv4Cidr::new(own, 32)));
        });
        let sockets = SocketSet::new(Vec::new());
        let (flows, told) = (HashMap::new(), Flows::default());
        Stack { own, interface, sockets, device, flows, told, drops }
    }

    pub fn flows(&self) -> Flows {
        self.told.clone()
    }

    /// Whoever knocked will be admitted or refused later.
    pub fn expect(&self, knock: &Knock) {
        self.told.add(knock.flow);
    }

    /// A packet came from the tunnel.
    pub fn arrive(&mut self, now: Duration, bytes: &[u8]) -> Option<Knock> {
        match packet::look(bytes, self.own) {
            Err(why) => self.drops.count(why),
            Ok(Seen::Udp) => self.refuse_datagram(bytes),
            Ok(Seen::Echo) => self.take(now, bytes.to_vec()),
            Ok(Seen::Begins(flow)) => {
                if !self.flows.contains_key(&flow) {
                    return Some(Knock { flow, packet: bytes.to_vec() });
                }
                self.take(now, bytes.to_vec());
            }
            Ok(Seen::Tcp(flow)) => {
                // What belongs to no connection is answered with a reset.
                self.take(now, bytes.to_vec());
                self.note(now, flow);
            }
        }
        None
    }

    fn take(&mut self, now: Duration, packet: Vec<u8>) {
        self.device.arrived = Some(packet);
        let Stack { interface, device, sockets, .. } = self;
        let _ = interface.poll_ingress_single(instant(now), device, sockets);
    }

    /// A connection was heard. One that was reset before it was whole would listen again, for
    /// whoever comes first.
    fn note(&mut self, now: Duration, flow: Flow) {
        let Some(known) = self.flows.get_mut(&flow) else { return };
        known.heard = now;
        let socket = self.sockets.get_mut::<Socket>(known.socket);
        if socket.state() == State::Listen {
            socket.close();
        }
    }

    /// The other end of the connection is there.
    pub fn admit(&mut self, now: Duration, knock: Knock) -> Option<SocketHandle> {
        let buffer = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let Knock { flow, mut packet } = knock;
        large::raise(&mut packet, self.device.mtu);
        let own = IpListenEndpoint { addr: Some(self.own.into()), port: flow.port };
        self.told.remove(&flow);
        socket.listen(own).ok()?;
        let handle = self.sockets.add(socket);
        self.take(now, packet);
        // It must not stay and listen: the next one would not have been asked about.
        if self.sockets.get::<Socket>(handle).state() != State::SynReceived {
            self.drops.count(Drop::Malformed);
            self.sockets.remove(handle);
            return None;
        }
        self.told.add(flow);
        self.flows.insert(flow, Known { socket: handle, heard: now, sent: None, again: false });
        Some(handle)
    }

    /// It is told that there is nobody.
    pub fn refuse(&mut self, now: Duration, knock: Knock, why: Drop) {
        self.drops.count(why);
        self.told.remove(&knock.flow);
        self.take(now, knock.packet);
    }

    pub fn count(&self, why: Drop) {
        self.drops.count(why);
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// When the other side of a connection was heard last.
    pub fn heard(&self, flow: Flow) -> Option<Duration> {
        self.flows.get(&flow).map(|known| known.heard)
    }

    pub fn remove(&mut self, flow: Flow, handle: SocketHandle) {
        if self.flows.get(&flow).is_some_and(|known| known.socket == handle) {
            self.flows.remove(&flow);
            self.told.remove(&flow);
        }
        self.sockets.remove(handle);
    }

    /// At most one packet of each connection, for [`Stack::next`].
    pub fn leave(&mut self, now: Duration) {
        let Stack { interface, device, sockets, .. } = self;
        let _ = interface.poll_egress(instant(now), device, sockets);
    }

    /// How many packets wait to be taken with [`Stack::next`].
    pub fn waiting(&self) -> usize {
        self.device.leaving.len()
    }

    pub fn next(&mut self) -> Option<Vec<u8>> {
        let packet = self.device.leaving.pop_front()?;
        if let Some((flow, first, count)) = packet::bytes_in(&packet) {
            self.note_sent(flow, first, count);
        }
        Some(packet)
    }

    fn note_sent(&mut self, flow: Flow, first: u32, count: u32) {
        let Some(known) = self.flows.get_mut(&flow) else { return };
        let end = first.wrapping_add(count);
        // In the order of sequence numbers (RFC 9293, 3.4).
        let is_after = |at: u32, sent: u32| at.wrapping_sub(sent) as i32 > 0;
        // A byte alone asks for room.
        known.again |= count > 1 && known.sent.is_some_and(|sent| is_after(sent, first));
        if known.sent.is_none_or(|sent| is_after(end, sent)) {
            known.sent = Some(end);
        }
    }

    /// Whether something was sent again since this was asked last.
    pub fn sent_again(&mut self, flow: Flow) -> bool {
        self.flows.get_mut(&flow).is_some_and(|known| std::mem::take(&mut known.again))
    }

    /// That one could not be sent now.
    pub fn put_back(&mut self, packet: Vec<u8>) {
        self.device.leaving.push_front(packet);
    }

    /// When there is something to do although nothing comes.
    pub fn deadline(&mut self, now: Duration) -> Option<Duration> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)))
    }

    fn refuse_datagram(&mut self, bytes: &[u8]) {
        self.drops.count(Drop::Protocol);
        if let Some(packet) = unreachable_port(bytes) {
            self.device.leaving.push_back(packet);
        }
    }
}

/// What waits has not moved for `still`: the other side may have to be asked for room.
pub fn ask_for_room(socket: &mut Socket<'_>, still: Duration) {
    let waits = socket.send_queue() > 0 && still >= ASK_EVERY;
    if waits != socket.keep_alive().is_some() {
        socket.set_keep_alive(waits.then(|| ASK_EVERY.into()));
    }
}

/// The answer to a datagram for a port that nobody has.
fn unreachable_port(bytes: &[u8]) -> Option<Vec<u8>> {
    let none = ChecksumCapabilities::ignored();
    let asked = Ipv4Packet::new_checked(bytes).ok()?;
    let header = Ipv4Repr::parse(&asked, &none).ok()?;
    let data = asked.payload();
    let data = data.get(..SENT_BACK.min(data.len()))?;
    let reason = Icmpv4DstUnreachable::PortUnreachable;
    let answer = Icmpv4Repr::DstUnreachable { reason, header, data };
    let own = Ipv4Repr {
        src_addr: header.dst_addr,
        dst_addr: header.src_addr,
        next_header: IpProtocol::Icmp,
        payload_len: answer.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; own.buffer_len() + answer.buffer_len()];
    let sums = ChecksumCapabilities::default();
    own.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &sums);
    let rest = packet.get_mut(own.buffer_len()..)?;
    answer.emit(&mut Icmpv4Packet::new_unchecked(rest), &sums);
    Some(packet)
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
