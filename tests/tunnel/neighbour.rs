//! A neighbour made by hand, of the protocol's own device and a plain socket, which does what `hop`
//! does not.

use crate::lab::{alone, ip};
use crate::offload::segment;
use hopbox::sys::ioctl;
use hopbox::tunnel::{self, Config, PeerConfig, TunDevice};
use hopbox::wg::{
    Arrival, Device, Endpoint, Entropy, HEADROOM, Now, Outbound, PeerUpdate, Sink, TAILROOM, Time,
    Wall,
};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const US: [u8; 4] = [10, 78, 1, 1];
const NEIGHBOUR: [u8; 4] = [10, 78, 1, 2];
const NOW: Now = Now { boot: Time::from_nanos(1), wall: Wall { secs: 1_700_000_000, nanos: 0 } };
/// Of a packet, with the headers.
const LEN: usize = 60;

struct Noise(u8);

impl Entropy for Noise {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(113);
            *byte = self.0;
        }
    }
}

struct Wire(UdpSocket);

impl Sink for Wire {
    fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
        self.0.send(datagram).expect("sent");
    }

    fn to_tun(&mut self, _: &[u8]) {}
}

/// UDP to `port`, with this number in each of its bytes, and room around it.
fn packet(port: u16, number: u8) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut ip = [0x45, 0, 0, LEN as u8, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[12..16].copy_from_slice(&NEIGHBOUR);
    ip[16..].copy_from_slice(&US);
    let words = ip.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [high, low, high, low, 0, (LEN - ip.len()) as u8, 0, 0];
    let payload = [number; LEN - 28];
    [&[0; HEADROOM][..], &ip, &udp, &payload, &[0; TAILROOM]].concat()
}

/// A tunnel that knows the neighbour, and the neighbour with a session; where packets come out.
fn meet() -> (tunnel::Tunnel, Device, Wire, UdpSocket) {
    let keys = [(); 2].map(|()| tunnel::generate_key().expect("key"));
    let tun = ioctl::open_tun("toA").expect("TUN");
    let device = TunDevice { fd: tun.fd, name: tun.name, mtu: 1420, vnet_hdr: tun.vnet_hdr };
    let peer = PeerConfig {
        public_key: tunnel::public_key(&keys[1]),
        allowed_ips: vec![(NEIGHBOUR.into(), 32)],
        ..PeerConfig::default()
    };
    let mut config = Config::default();
    (config.private_key, config.peers) = (*keys[0], vec![peer]);
    let tunnel = tunnel::start(device, &config).expect("start");
    ip("addr add 10.78.1.1/24 dev toA");
    ip("link set toA mtu 1420 up");
    let comes_out = UdpSocket::bind(SocketAddr::from((US, 0))).expect("bind");
    comes_out.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");

    let remote = SocketAddr::from(([127, 0, 0, 1], tunnel.listen_port()));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    socket.connect(remote).expect("connect");
    let mut wire = Wire(socket);
    let mut neighbour = Device::new(Box::new(Noise(1)));
    neighbour.set_private_key(NOW, Some(*keys[1]), &mut wire);
    let update = PeerUpdate {
        public_key: tunnel::public_key(&keys[0]),
        endpoint: Some(remote),
        allowed_ips: vec![(US.into(), 32, true)],
        ..PeerUpdate::default()
    };
    neighbour.update_peer(NOW, &update, &mut wire).expect("a peer");
    neighbour.start(NOW, &mut wire);
    let port = comes_out.local_addr().expect("address").port();
    neighbour.from_tun(NOW, &mut packet(port, 255), LEN, &mut wire);
    let mut response = [0; 200];
    let len = wire.0.recv(&mut response).expect("a response");
    let from = Arrival { remote, local: None, ecn: 0 };
    neighbour.from_wire(NOW, &mut response[..len], &from, &mut wire);
    assert_eq!(comes_out.recv(&mut [0; 200]).expect("the packet that waited"), LEN - 28);
    (tunnel, neighbour, wire, comes_out)
}

/// Linux takes so many at once since 6.9, and gives as many to whoever receives; `hop` sends 64.
#[test]
fn of_128_datagrams_that_come_at_once_none_is_lost() {
    alone(|| {
        let (_tunnel, mut neighbour, mut wire, comes_out) = meet();
        let port = comes_out.local_addr().expect("address").port();
        let sealed: Vec<Vec<u8>> = (0..128)
            .map(|number| {
                let mut packet = packet(port, number);
                let got = neighbour.from_tun(NOW, &mut packet, LEN, &mut wire);
                let Outbound::Send { len, .. } = got else { panic!("{got:?}") };
                packet.truncate(len);
                packet
            })
            .collect();
        assert!(segment(&wire.0, sealed[0].len()), "UDP_SEGMENT");
        if let Err(why) = wire.0.send(&sealed.concat()) {
            assert_eq!(why.raw_os_error(), Some(libc::EINVAL), "{why}");
            println!("SKIP: this kernel takes no 128 datagrams at once");
            return;
        }
        for number in 0..128 {
            let mut came = [0; 200];
            let len = comes_out.recv(&mut came).unwrap_or_else(|e| panic!("{number}: {e}"));
            assert_eq!(came[..len], [number; LEN - 28]);
        }
    });
}
