//! Somebody who sends as much as the machine lets him, or as he is told to.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hopbox::wg::{Device, Endpoint, Entropy, Now, PeerUpdate, Sink, Time, Wall};

use crate::netns::Host;

/// Xorshift: fast, and the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A running flood; ends when dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends what `make` puts into the buffer, from the sockets in turn, to `to`; at most
    /// `per_second` datagrams in a second.
    pub fn start(
        sockets: Vec<UdpSocket>,
        to: SocketAddr,
        per_second: u64,
        mut make: impl FnMut(&mut [u8; 2048]) -> usize + Send + 'static,
    ) -> Flood {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let (start, mut n, mut buf) = (Instant::now(), 0u64, [0; 2048]);
            for socket in sockets.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                while n
                    >= (start.elapsed().as_micros() as u64).saturating_mul(per_second) / 1_000_000
                {
                    std::thread::sleep(Duration::from_micros(500));
                }
                let len = make(&mut buf);
                // A full queue of the sender's own is part of the maximum.
                if socket.send_to(&buf[..len], to).is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                n += 1;
            }
        });
        Flood { stop, sent, thread: Some(thread) }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sockets on `host`, one for each address.
pub fn sockets(host: &Host, addresses: Vec<String>) -> Vec<UdpSocket> {
    host.run(move || {
        let bind = |a: &String| UdpSocket::bind(a.as_str()).unwrap_or_else(|e| panic!("{a}: {e}"));
        addresses.iter().map(bind).collect()
    })
}

/// What a device wanted to send.
#[derive(Default)]
struct Collect(Vec<Vec<u8>>);

impl Sink for Collect {
    fn to_wire(&mut self, _: &Endpoint, _: u8, datagram: &[u8]) {
        self.0.push(datagram.to_vec());
    }

    fn to_tun(&mut self, _: &[u8]) {}
}

/// Initiations to the holder of `responder`, right in everything but that he does not know who
/// sends them; each by another stranger.
pub fn strangers(responder: [u8; 32], count: u64) -> Vec<Vec<u8>> {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Now {
        boot: Time::from_nanos(1_000_000_000),
        wall: Wall { secs: wall.as_secs(), nanos: 0 },
    };
    let mut out = Collect::default();
    for i in 1..=count {
        let mut random = Random::new(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut private = [0; 32];
        random.fill(&mut private);
        let mut device = Device::new(Box::new(random));
        device.set_private_key(now, Some(private), &mut out);
        device.start(now, &mut out);
        let mut peer = PeerUpdate::default();
        peer.public_key = responder;
        peer.endpoint = Some(([192, 0, 2, 1], 1).into());
        peer.persistent_keepalive = Some(1);
        device.update_peer(now, &peer, &mut out).expect("a peer");
    }
    assert!(out.0.len() as u64 == count && out.0.iter().all(|d| d.len() == 148 && d[0] == 1));
    out.0
}
