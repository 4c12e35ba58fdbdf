//! A bad line: a UDP relay with a port mapping per client, as a NAT has, that loses, repeats,
//! reorders, delays and damages datagrams by the draw of a seeded generator.
//!
//! One thread on the router's host, poll(2), no lock held while it waits. Every queue is bounded;
//! what does not fit is dropped and counted. It knows the first byte of a datagram and no more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::faults::{Counts, Faults, Hole};
use crate::netns::Host;
use crate::rng::Rng;

/// Datagrams that wait for their time.
const WAITING: usize = 8192;
/// Mappings; the oldest goes first.
const CLIENTS: usize = 8;
/// Recorded responses and cookie replies.
const OLD: usize = 64;
/// Datagrams read from one socket in one turn.
const TURN: usize = 64;
/// Longest wait: how late a command may be noticed.
const TICK: Duration = Duration::from_millis(10);
const RECEIVE_BUFFER: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the laptop to the server.
    Up,
    Down,
}

/// What the test wants, read by the relay at every datagram.
struct Wish {
    faults: [Faults; 2],
    since: Instant,
    rebind: bool,
    /// Send the last initiation this often.
    flood: usize,
    stop: bool,
}

/// A running relay; it ends when dropped.
pub struct Relay {
    wish: Arc<Mutex<Wish>>,
    counts: Arc<Mutex<[Counts; 2]>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Takes datagrams at `front` of `host` and passes them to `server`.
    pub fn start(host: &Host, front: SocketAddrV4, server: SocketAddrV4, seed: u64) -> Relay {
        let wish = Arc::new(Mutex::new(Wish {
            faults: Default::default(),
            since: Instant::now(),
            rebind: false,
            flood: 0,
            stop: false,
        }));
        let counts = Arc::new(Mutex::new([Counts::default(); 2]));
        let (seen_wish, seen_counts) = (wish.clone(), counts.clone());
        // A thread started there lives in the host's namespaces.
        let thread = host.run(move || {
            let (ready, started) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                let mut line = Line::new(front, server, seed, seen_wish, seen_counts).unwrap();
                ready.send(()).unwrap();
                while line.turn() {}
            });
            started.recv_timeout(Duration::from_secs(5)).expect("relay started");
            thread
        });
        Relay { wish, counts, thread: Some(thread) }
    }

    pub fn set(&self, way: Way, faults: Faults) {
        let mut wish = self.wish.lock().unwrap();
        wish.faults[way as usize] = faults;
        wish.since = Instant::now();
    }

    pub fn set_both(&self, faults: Faults) {
        self.set(Way::Up, faults.clone());
        self.set(Way::Down, faults);
    }

    /// From now on new datagrams pass untouched; what waits already still comes at its time.
    pub fn heal(&self) {
        self.set_both(Faults::default());
    }

    /// Every mapping gets a new port towards the server; the old ones are closed.
    pub fn rebind(&self) {
        self.wish.lock().unwrap().rebind = true;
    }

    /// Repeats the last initiation `n` times.
    pub fn flood(&self, n: usize) {
        self.wish.lock().unwrap().flood = n.min(WAITING);
    }

    pub fn counts(&self, way: Way) -> Counts {
        self.counts.lock().unwrap()[way as usize]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Ok(mut wish) = self.wish.lock() {
            wish.stop = true;
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Client {
    remote: SocketAddr,
    back: UdpSocket,
}

struct Datagram {
    way: Way,
    client: u64,
    bytes: Vec<u8>,
}

/// The relay's own side.
struct Line {
    front: UdpSocket,
    server: SocketAddr,
    /// By order of arrival.
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// One per direction: what happens to one must not depend on the other.
    chance: [Rng; 2],
    /// (due, number): the order in which they leave. The datagrams are in `parked`.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    parked: BTreeMap<u64, Datagram>,
    number: u64,
    windows: [Vec<(Instant, Datagram)>; 2],
    old: [VecDeque<Vec<u8>>; 2],
    initiation: Option<(u64, Vec<u8>)>,
    wish: Arc<Mutex<Wish>>,
    counts: Arc<Mutex<[Counts; 2]>>,
}

impl Line {
    fn new(
        front: SocketAddrV4,
        server: SocketAddrV4,
        seed: u64,
        wish: Arc<Mutex<Wish>>,
        counts: Arc<Mutex<[Counts; 2]>>,
    ) -> io::Result<Line> {
        Ok(Line {
            front: socket(SocketAddr::V4(front))?,
            server: SocketAddr::V4(server),
            clients: BTreeMap::new(),
            next_client: 0,
            chance: [Rng::new(seed), Rng::new(!seed)],
            due: BinaryHeap::new(),
            parked: BTreeMap::new(),
            number: 0,
            windows: Default::default(),
            old: Default::default(),
            initiation: None,
            wish,
            counts,
        })
    }

    /// One turn; false when it shall end.
    fn turn(&mut self) -> bool {
        self.wait();
        let (rebind, flood) = {
            let mut wish = self.wish.lock().unwrap();
            if wish.stop {
                return false;
            }
            (std::mem::take(&mut wish.rebind), std::mem::take(&mut wish.flood))
        };
        if rebind {
            for client in self.clients.values_mut() {
                client.back = socket(any_port()).expect("a port");
            }
        }
        for _ in 0..flood {
            if let Some((client, bytes)) = self.initiation.clone() {
                self.send(Datagram { way: Way::Up, client, bytes });
            }
        }
        self.read_front();
        self.read_back();
        self.release();
        true
    }

    fn wait(&self) {
        let next = [
            self.due.peek().map(|Reverse((at, _))| *at),
            self.windows[0].first().map(|w| w.0),
            self.windows[1].first().map(|w| w.0),
        ];
        let now = Instant::now();
        let until = next.into_iter().flatten().min().map_or(TICK, |at| at - now.min(at));
        // Rounded up: a due time must have come when poll returns, or this would spin.
        let ms = until.min(TICK).as_micros().div_ceil(1000) as u16;
        let mut fds = vec![PollFd::new(self.front.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.clients.values().map(|c| PollFd::new(c.back.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::from(ms));
    }

    fn read_front(&mut self) {
        let mut space = [0u8; 2048];
        for _ in 0..TURN {
            let Ok((n, remote)) = self.front.recv_from(&mut space) else { return };
            let client = self.client(remote);
            if space[0] == 1 {
                self.initiation = Some((client, space[..n].to_vec()));
            }
            self.pass(Datagram { way: Way::Up, client, bytes: space[..n].to_vec() });
        }
    }

    fn read_back(&mut self) {
        let mut space = [0u8; 2048];
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            for _ in 0..TURN {
                let got = self.clients[&id].back.recv_from(&mut space);
                let Ok((n, from)) = got else { break };
                if from == self.server {
                    let bytes = space[..n].to_vec();
                    self.pass(Datagram { way: Way::Down, client: id, bytes });
                }
            }
        }
    }

    fn client(&mut self, remote: SocketAddr) -> u64 {
        if let Some((id, _)) = self.clients.iter().find(|(_, c)| c.remote == remote) {
            return *id;
        }
        if self.clients.len() == CLIENTS {
            self.clients.pop_first();
        }
        self.next_client += 1;
        let back = socket(any_port()).expect("a port");
        self.clients.insert(self.next_client, Client { remote, back });
        self.next_client
    }

    /// What the faults of its direction do to one datagram.
    fn pass(&mut self, datagram: Datagram) {
        let (way, now) = (datagram.way, Instant::now());
        let (faults, since) = {
            let wish = self.wish.lock().unwrap();
            (wish.faults[way as usize].clone(), wish.since)
        };
        self.record(&datagram);
        if self.is_lost(&faults, &datagram, now - since) {
            return self.count(way, |c| c.lost += 1);
        }
        if let Some(after) = faults.replay_after {
            self.count(way, |c| c.replayed += 1);
            self.park(now + after, copy(&datagram));
        }
        let old = match self.chance(way).permille(faults.old_permille) {
            true => self.draw_old(way, datagram.client),
            false => None,
        };
        let twice = self.chance(way).permille(faults.duplicate_permille);
        let second = twice.then(|| copy(&datagram));
        self.count(way, |c| c.duplicated += u64::from(twice));
        for mut datagram in [Some(datagram), second].into_iter().flatten() {
            if self.chance(way).permille(faults.flip_permille) {
                flip(self.chance(way), &mut datagram.bytes);
                self.count(way, |c| c.flipped += 1);
            }
            self.later(&faults, datagram, now);
        }
        if let Some(old) = old {
            self.count(way, |c| c.old += 1);
            self.send(old);
        }
    }

    fn record(&mut self, datagram: &Datagram) {
        let kind = datagram.bytes.first().copied().unwrap_or(0);
        self.count(datagram.way, |c| {
            c.received += 1;
            c.cookies += u64::from(kind == 3);
        });
        if matches!(kind, 2 | 3) {
            let old = &mut self.old[datagram.way as usize];
            if old.len() == OLD {
                old.pop_front();
            }
            old.push_back(datagram.bytes.clone());
        }
    }

    fn is_lost(&mut self, faults: &Faults, datagram: &Datagram, age: Duration) -> bool {
        let is_data = datagram.bytes.first() == Some(&4);
        let in_burst = faults
            .burst
            .is_some_and(|(on, every)| age.as_millis() % every.as_millis().max(1) < on.as_millis());
        let in_hole = match faults.hole {
            Hole::None => false,
            Hole::Everything => true,
            Hole::Handshakes => !is_data,
            Hole::Data => is_data,
        };
        in_hole || in_burst || self.chance(datagram.way).permille(faults.loss_permille)
    }

    /// Sends it at once, or lets it wait in the window or for its time.
    fn later(&mut self, faults: &Faults, datagram: Datagram, now: Instant) {
        let way = datagram.way;
        if faults.window > 0 {
            let window = &mut self.windows[way as usize];
            window.push((now + faults.hold, datagram));
            if window.len() > faults.window.min(WAITING) {
                let n = window.len() as u64;
                let drawn = self.chance[way as usize].below(n) as usize;
                let (_, datagram) = self.windows[way as usize].remove(drawn);
                self.count(way, |c| c.reordered += u64::from(drawn > 0));
                self.send(datagram);
            }
        } else if faults.delay.is_zero() {
            self.send(datagram);
        } else {
            let least = faults.delay.saturating_sub(faults.jitter);
            let extra = self.chance(way).duration(2 * faults.jitter);
            self.count(way, |c| c.delayed += 1);
            self.park(now + least + extra, datagram);
        }
    }

    fn park(&mut self, at: Instant, datagram: Datagram) {
        if self.parked.len() >= WAITING {
            return self.count(datagram.way, |c| c.overflow += 1);
        }
        self.number += 1;
        self.due.push(Reverse((at, self.number)));
        self.parked.insert(self.number, datagram);
    }

    fn release(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, number))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            if let Some(datagram) = self.parked.remove(&number) {
                self.send(datagram);
            }
        }
        for way in [Way::Up, Way::Down] {
            // Oldest first; they were put in by time.
            while self.windows[way as usize].first().is_some_and(|(at, _)| *at <= now) {
                let (_, datagram) = self.windows[way as usize].remove(0);
                self.send(datagram);
            }
        }
    }

    fn draw_old(&mut self, way: Way, client: u64) -> Option<Datagram> {
        let n = self.old[way as usize].len() as u64;
        let drawn = (n > 0).then(|| self.chance(way).below(n) as usize)?;
        Some(Datagram { way, client, bytes: self.old[way as usize][drawn].clone() })
    }

    fn send(&mut self, datagram: Datagram) {
        let sent = match (self.clients.get(&datagram.client), datagram.way) {
            (Some(client), Way::Up) => client.back.send_to(&datagram.bytes, self.server).is_ok(),
            (Some(client), Way::Down) => self.front.send_to(&datagram.bytes, client.remote).is_ok(),
            (None, _) => false,
        };
        self.count(datagram.way, |c| match sent {
            true => c.sent += 1,
            false => c.overflow += 1,
        });
    }

    fn chance(&mut self, way: Way) -> &mut Rng {
        &mut self.chance[way as usize]
    }

    fn count(&self, way: Way, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap()[way as usize]);
    }
}

fn copy(d: &Datagram) -> Datagram {
    Datagram { way: d.way, client: d.client, bytes: d.bytes.clone() }
}

fn flip(chance: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..=chance.below(3) {
        let bit = chance.below(8 * bytes.len().max(1) as u64) as usize;
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

fn socket(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
    Ok(socket)
}
