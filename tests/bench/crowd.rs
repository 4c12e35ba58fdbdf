//! A thousand peers of one hub, in one process, for crowd.py:
//!
//! ```text
//! crowd config PEERS PREFIXES                       what wg(8) tells the hub of them
//! crowd run HUB:PORT KEY PEERS PREFIXES SECONDS     {"first_us":…,"all_s":…}
//! ```
//! `run` shakes hands with the hub of this public key as each of them: [`ALONE`] of them one after
//! the other (the median of which is `first_us`), the rest [`AT_ONCE`] at a time (`all_s`). Both
//! ends' work is in these times. When it is given a line, each in its turn sends 64 bytes, for so
//! many seconds.
#![allow(dead_code)]

mod devices;

use devices::Noise;
use hopbox::base::base64;
use hopbox::wg::{
    Arrival, Device, Endpoint, Inbound, Now, Outbound, PeerUpdate, Sink, Time, Wall, public_key,
};
use std::collections::HashMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, UNIX_EPOCH};

const ALONE: usize = 50;
/// Fewer than what a hub takes for a flood.
const AT_ONCE: usize = 16;
const HUB: [u8; 4] = [203, 0, 113, 1];
const LEN: usize = 64;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of a private key the lowest bits mean nothing.
fn key(n: usize) -> [u8; 32] {
    let mut key = [7; 32];
    key[8..16].copy_from_slice(&(n as u64).to_le_bytes());
    key
}

/// Those of peer `n` are `first..first + each`.
fn address(n: usize, each: usize, i: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + (n * each + i) as u32)
}

fn config(peers: usize, each: usize) {
    for n in 0..peers {
        let all: Vec<_> = (0..each).map(|i| format!("{}/32", address(n, each, i))).collect();
        println!("[Peer]\nPublicKey = {}", base64::encode(&public_key(&key(n))));
        // A line of wg(8) may be long, and more than one may say which addresses a peer has.
        for some in all.chunks(64) {
            println!("AllowedIPs = {}", some.join(", "));
        }
    }
}

/// What a device sends goes to the hub.
struct Way<'a>(&'a UdpSocket);

impl Sink for Way<'_> {
    fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
        // Lost is lost, as on any way.
        let _ = self.0.send(datagram);
    }

    fn to_tun(&mut self, _: &[u8]) {}
}

struct Crowd {
    devices: Vec<Device>,
    socket: UdpSocket,
    hub: SocketAddr,
    began: Instant,
    each: usize,
    /// Whose initiation an index stands for.
    asked: HashMap<u32, usize>,
}

impl Crowd {
    fn now(&self) -> Now {
        let boot = Time::from_nanos(self.began.elapsed().as_nanos() as u64);
        // The hub takes no initiation that is older than another of the same peer.
        let wall = UNIX_EPOCH.elapsed().unwrap_or_default();
        Now { boot, wall: Wall { secs: wall.as_secs(), nanos: wall.subsec_nanos() } }
    }

    fn new(hub: SocketAddr, hub_key: [u8; 32], peers: usize, each: usize) -> Result<Crowd> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(hub)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (began, asked) = (Instant::now(), HashMap::new());
        let mut crowd = Crowd { devices: Vec::new(), socket, hub, began, each, asked };
        for n in 0..peers {
            let (now, mut way) = (crowd.now(), Way(&crowd.socket));
            let mut device = Device::new(Box::new(Noise(n as u64)));
            device.set_private_key(now, Some(key(n)), &mut way);
            let update = PeerUpdate {
                public_key: hub_key,
                endpoint: Some(hub),
                allowed_ips: vec![(HUB.into(), 32, true)],
                ..PeerUpdate::default()
            };
            device.update_peer(now, &update, &mut way).map_err(|e| e.to_string())?;
            device.start(now, &mut way);
            crowd.devices.push(device);
        }
        Ok(crowd)
    }

    /// A packet of peer `n`, which has a session, for the hub.
    fn send(&mut self, n: usize) -> Result<()> {
        let from = address(n, self.each, 0).octets();
        let mut packet = devices::packet(from, HUB, LEN);
        let now = self.now();
        let got = self.devices[n].from_tun(now, &mut packet, LEN, &mut Way(&self.socket));
        let Outbound::Send { len, .. } = got else { return Err(format!("{got:?}").into()) };
        self.socket.send(&packet[..len])?;
        Ok(())
    }

    /// Peer `n` asks; whose answer it is, is known by the index in it.
    fn ask(&mut self, n: usize) -> Result<()> {
        struct Kept(Vec<u8>);
        impl Sink for Kept {
            fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
                self.0 = datagram.to_vec();
            }

            fn to_tun(&mut self, _: &[u8]) {}
        }
        let mut packet = devices::packet(address(n, self.each, 0).octets(), HUB, LEN);
        let (now, mut kept) = (self.now(), Kept(Vec::new()));
        self.devices[n].from_tun(now, &mut packet, LEN, &mut kept);
        let index = kept.0.get(4..8).ok_or("no initiation")?.try_into()?;
        self.asked.insert(u32::from_le_bytes(index), n);
        self.socket.send(&kept.0)?;
        Ok(())
    }

    /// The next answer: its peer has a session, and what it had to say is on its way.
    fn hear(&mut self) -> Result<()> {
        let mut room = [0; 256];
        let len = self.socket.recv(&mut room).map_err(|e| format!("no answer: {e}"))?;
        let index = u32::from_le_bytes(room[8..12].try_into()?);
        let n = self.asked.remove(&index).ok_or("an answer to nobody")?;
        let arrival = Arrival { remote: self.hub, local: None, ecn: 0 };
        let (now, mut way) = (self.now(), Way(&self.socket));
        let got = self.devices[n].from_wire(now, &mut room[..len], &arrival, &mut way);
        match got {
            Inbound::Consumed => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// The median of those alone, and seconds for the rest.
    fn shake(&mut self) -> Result<(f64, f64)> {
        let mut alone = Vec::new();
        for n in 0..self.devices.len().min(ALONE) {
            let began = Instant::now();
            self.ask(n)?;
            self.hear()?;
            alone.push(began.elapsed().as_secs_f64() * 1e6);
        }
        alone.sort_by(f64::total_cmp);
        let began = Instant::now();
        for n in ALONE..self.devices.len() {
            self.ask(n)?;
            if self.asked.len() >= AT_ONCE {
                self.hear()?;
            }
        }
        while !self.asked.is_empty() {
            self.hear()?;
        }
        Ok((alone[alone.len() / 2], began.elapsed().as_secs_f64()))
    }
}

fn run(args: &[&str]) -> Result<()> {
    let number = |s: &str| s.parse::<usize>().map(|n| n.max(1));
    match args {
        ["config", peers, each] => config(number(peers)?, number(each)?),
        ["run", hub, hub_key, peers, each, seconds] => {
            let hub_key = base64::decode(hub_key).ok_or("no key")?;
            let hub_key = hub_key.try_into().map_err(|_| "a key has 32 bytes")?;
            let peers = number(peers)?;
            let mut crowd = Crowd::new(hub.parse()?, hub_key, peers, number(each)?)?;
            let (first_us, all_s) = crowd.shake()?;
            println!("{{\"first_us\":{first_us:.0},\"all_s\":{all_s:.3}}}");
            std::io::stdin().read_line(&mut String::new())?;
            let end = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
            for n in (0..peers).cycle().take_while(|_| Instant::now() < end) {
                crowd.send(n)?;
            }
        }
        _ => return Err("the head of tests/bench/crowd.rs tells how to call it".into()),
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Err(why) = run(&args) {
        eprintln!("crowd {}: {why}", args.join(" "));
        std::process::exit(1);
    }
}
