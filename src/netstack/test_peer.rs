//! A laptop's stack, a wire that may lose packets, and a clock of its own, for tests of ours. What
//! is behind our ports are pairs of streams, of which a test has the far ends.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, Ipv4Packet, Ipv6Packet, TcpPacket};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::SERVED_BYTES;
use super::connector::Wish;
use super::device::Device;
use super::drop::{Counters, Drop};
use super::packet::Own;
use super::relay::Relay;
use super::stack::{Settings, Stack};

pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Nobody is behind it.
pub const CLOSED: u16 = 9;
const STEP: Duration = Duration::from_millis(1);

pub struct World {
    pub stack: Stack,
    pub relays: Vec<Relay>,
    /// The far ends of what is behind our ports, in the order of the connections.
    pub far: Vec<TcpStream>,
    pub drops: Arc<Counters>,
    pub now: Duration,
    /// Of a hundred packets so many are lost.
    pub lost: u64,
    /// A narrow way to the laptop: a packet a millisecond, and so many may wait in front of it.
    pub narrow: Option<usize>,
    queue: VecDeque<Vec<u8>>,
    /// How many bytes we sent to the laptop.
    pub sent: usize,
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    dice: u64,
    next_port: u16,
    /// Whether the laptop connects by it, and is connected to.
    pub v6: bool,
}

impl World {
    pub fn new(mtu: u16) -> World {
        let drops = Arc::new(Counters::default());
        let mut device = Device::new(mtu);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(PEER.into(), 24)).unwrap();
            all.push(IpCidr::new(PEER_V6.into(), 64)).unwrap();
        });
        let own = Own { v4: Some(OWN), v6: Some(OWN_V6) };
        let settings = Settings { own, mtu, seed: 11, buffer_bytes: SERVED_BYTES };
        World {
            stack: Stack::new(&settings, drops.clone()),
            relays: Vec::new(),
            far: Vec::new(),
            drops,
            now: Duration::ZERO,
            lost: 0,
            narrow: None,
            queue: VecDeque::new(),
            sent: 0,
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            dice: 0x9e37_79b9_7f4a_7c15,
            next_port: 40_000,
            v6: false,
        }
    }

    fn ends(&self) -> (IpAddr, IpAddr) {
        if self.v6 { (PEER_V6.into(), OWN_V6.into()) } else { (PEER.into(), OWN.into()) }
    }

    pub fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below.max(1)
    }

    /// The laptop begins a connection.
    pub fn connect(&mut self, port: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 256 * 1024]);
        let mut socket = Socket::new(buffer(), buffer());
        self.next_port += 1;
        let to = IpEndpoint::new(self.ends().1.into(), port);
        socket.connect(self.interface.context(), to, self.next_port).unwrap();
        self.sockets.add(socket)
    }

    /// The laptop listens for one connection.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 256 * 1024]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    /// We begin one to it.
    pub fn dial(&mut self, port: u16, limit: Duration) -> Receiver<io::Result<TcpStream>> {
        let (wish, answer) = Wish::new(SocketAddr::new(self.ends().0, port), limit);
        let (flow, socket) = self.stack.connect(self.now, wish.to).unwrap();
        self.relays.push(Relay::begun(flow, socket, wish, self.now));
        answer
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn count(&self, name: &str) -> u64 {
        self.drops.all().find(|(n, _)| *n == name).unwrap().1
    }

    /// A packet for our stack, whoever made it.
    pub fn feed(&mut self, packet: &[u8]) {
        let Some(knock) = self.stack.arrive(self.now, packet) else { return };
        if knock.flow.port == CLOSED {
            return self.stack.refuse(self.now, knock, Drop::Refused);
        }
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let flow = knock.flow;
        if let Some(socket) = self.stack.admit(self.now, knock) {
            let near = TcpStream::from(OwnedFd::from(near));
            self.relays.push(Relay::new(flow, socket, near, self.now));
            self.far.push(TcpStream::from(OwnedFd::from(far)));
        }
    }

    /// What the thread does in a turn; what leaves.
    pub fn turn(&mut self) -> Vec<Vec<u8>> {
        let World { stack, relays, now, .. } = self;
        relays.iter_mut().for_each(|relay| relay.turn(stack, *now));
        let mut left = Vec::new();
        loop {
            left.extend(std::iter::from_fn(|| stack.next()));
            stack.leave(*now);
            if stack.waiting() == 0 {
                break;
            }
        }
        relays.retain_mut(|relay| !relay.is_over(stack, *now));
        stack.deadline(*now);
        left
    }

    /// A millisecond of both, and of the wire between them.
    pub fn step(&mut self) {
        self.now += STEP;
        let at = Instant::from_micros(self.now.as_micros() as i64);
        self.interface.poll_egress(at, &mut self.device, &mut self.sockets);
        while let Some(packet) = self.device.leaving.pop_front() {
            if self.roll(100) >= self.lost {
                self.feed(&packet);
            }
        }
        let (left, mtu) = (self.turn(), self.device.mtu);
        for packet in left.into_iter().flat_map(|packet| cut(packet, mtu)) {
            self.sent += packet.len();
            let is_lost = self.narrow.is_some_and(|most| self.queue.len() >= most);
            if !is_lost && self.roll(100) >= self.lost {
                self.queue.push_back(packet);
            }
        }
        let through = if self.narrow.is_some() { 1 } else { self.queue.len() };
        for packet in self.queue.drain(..through.min(self.queue.len())) {
            self.device.arrived = Some(packet);
            self.interface.poll_ingress_single(at, &mut self.device, &mut self.sockets);
        }
    }

    /// Steps until it is so.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut World) -> bool) {
        let end = self.now + Duration::from_secs(600);
        while !so(self) {
            assert!(self.now < end, "never {what}");
            self.step();
        }
    }

    pub fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }
}

/// What the tunnel makes of a packet that is longer than it takes.
fn cut(packet: Vec<u8>, mtu: u16) -> Vec<Vec<u8>> {
    let mtu = usize::from(mtu);
    if packet.len() <= mtu {
        return vec![packet];
    }
    let v6 = packet[0] >> 4 == 6;
    let start = if v6 { 40 } else { 20 };
    let (head, bytes) = packet.split_at(start + 20);
    let most = mtu - head.len();
    let last = bytes.len().div_ceil(most) - 1;
    let piece = |(n, bytes): (usize, &[u8])| {
        let mut one = [head, bytes].concat();
        let ends: (IpAddr, IpAddr) = if v6 {
            let mut ip = Ipv6Packet::new_unchecked(&mut one[..]);
            ip.set_payload_len((20 + bytes.len()) as u16);
            (ip.src_addr().into(), ip.dst_addr().into())
        } else {
            let mut ip = Ipv4Packet::new_unchecked(&mut one[..]);
            ip.set_total_len((40 + bytes.len()) as u16);
            ip.fill_checksum();
            (ip.src_addr().into(), ip.dst_addr().into())
        };
        let mut tcp = TcpPacket::new_unchecked(&mut one[start..]);
        tcp.set_seq_number(tcp.seq_number() + n * most);
        tcp.set_fin(tcp.fin() && n == last);
        tcp.fill_checksum(&ends.0.into(), &ends.1.into());
        one
    };
    bytes.chunks(most).enumerate().map(piece).collect()
}
