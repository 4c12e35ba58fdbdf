//! The protocol, without I/O: packets in, packets and bytes of connections out. Time and the seed
//! of sequence numbers are passed in.
//!
//! With delayed acknowledgements smoltcp 0.12 can panic in its arithmetic of sequence numbers. So
//! none is put off (`set_ack_delay(None)`), the device always takes a packet, and
//! [`Stack::deadline`] may be asked only after [`Stack::leave`] was called since the last
//! [`Stack::arrive`].

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, IpListenEndpoint};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::device::Device;
use super::drop::{Counters, Drop};
use super::flows::Flows;
use super::large;
use super::packet::{self, Flow, Own, Seen};
use super::unreachable;

/// Ports of connections that begin here (RFC 6335, 6).
const OWN_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// While something waits to be sent and the other side has no room, it is asked whether it has
/// now: the word that it has may have been lost, and smoltcp does not ask by itself.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// What a stack is.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The tunnel's addresses.
    pub own: Own,
    pub mtu: u16,
    /// Of sequence numbers and ports: for one stack alone, and known to nobody.
    pub seed: u64,
    /// Of one connection each way: what it sends in a round trip, and what it costs in memory.
    pub buffer_bytes: usize,
}

pub struct Stack {
    own: Own,
    /// Of one connection each way; a window is no larger.
    buffer_bytes: usize,
    next_port: u16,
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
    pub fn new(settings: &Settings, drops: Arc<Counters>) -> Stack {
        let Settings { own, mtu, seed, buffer_bytes } = *settings;
        let mut device = Device::new(mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|all| {
            // There is room for two.
            for one in own.v4.map(IpAddr::V4).into_iter().chain(own.v6.map(IpAddr::V6)) {
                let _ = all.push(IpCidr::new(one.into(), if one.is_ipv4() { 32 } else { 128 }));
            }
        });
        let sockets = SocketSet::new(Vec::new());
        let (flows, told) = (HashMap::new(), Flows::default());
        // Who connects again soon after an end is no continuation of it.
        let span = OWN_PORTS.end() - OWN_PORTS.start();
        let next_port = OWN_PORTS.start() + (seed >> 32) as u16 % span;
        Stack { own, buffer_bytes, next_port, interface, sockets, device, flows, told, drops }
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
        match packet::look(bytes, &self.own) {
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
                let mut packet = bytes.to_vec();
                large::raise(&mut packet, self.device.mtu);
                self.take(now, packet);
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

    fn new_socket(&self) -> Socket<'static> {
        let buffer = || SocketBuffer::new(vec![0; self.buffer_bytes]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket
    }

    /// The other end of the connection is there.
    pub fn admit(&mut self, now: Duration, knock: Knock) -> Option<SocketHandle> {
        let mut socket = self.new_socket();
        let Knock { flow, mut packet } = knock;
        large::raise(&mut packet, self.device.mtu);
        self.told.remove(&flow);
        let addr = self.own.towards(flow.from).map(Into::into);
        socket.listen(IpListenEndpoint { addr, port: flow.port }).ok()?;
        let handle = self.sockets.add(socket);
        self.take(now, packet);
        // It must not stay and listen: the next one would not have been asked about.
        if self.sockets.get::<Socket>(handle).state() != State::SynReceived {
            self.drops.count(Drop::Malformed);
            self.sockets.remove(handle);
            return None;
        }
        self.know(now, flow, handle);
        Some(handle)
    }

    fn know(&mut self, now: Duration, flow: Flow, socket: SocketHandle) {
        self.told.add(flow);
        self.flows.insert(flow, Known { socket, heard: now, sent: None, again: false });
    }

    /// Begins a connection. Errors: there is no address of that family here, or no port; there can
    /// be nobody at the other one.
    pub fn connect(&mut self, now: Duration, to: SocketAddr) -> io::Result<(Flow, SocketHandle)> {
        let from = to.ip();
        let own = self.own.towards(from).filter(|own| *own != from);
        let own = own.ok_or(ErrorKind::AddrNotAvailable)?;
        let port = self.free_port(to).ok_or(ErrorKind::AddrInUse)?;
        let mut socket = self.new_socket();
        let local = IpListenEndpoint { addr: Some(own.into()), port };
        socket
            .connect(self.interface.context(), IpEndpoint::from(to), local)
            .map_err(|_| ErrorKind::AddrNotAvailable)?;
        let handle = self.sockets.add(socket);
        let flow = Flow { from, from_port: to.port(), port };
        self.know(now, flow, handle);
        Ok((flow, handle))
    }

    /// The next one that is not in use towards there.
    fn free_port(&mut self, to: SocketAddr) -> Option<u16> {
        (0..OWN_PORTS.len()).find_map(|_| {
            let port = self.next_port;
            self.next_port = if port < *OWN_PORTS.end() { port + 1 } else { *OWN_PORTS.start() };
            let flow = Flow { from: to.ip(), from_port: to.port(), port };
            (!self.flows.contains_key(&flow)).then_some(port)
        })
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
        if let Some(packet) = unreachable::port(bytes) {
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

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
