//! E21: a stranger with all the bandwidth there is. What he gets for it is counted at the network,
//! what the tunnel loses by it is compared with the same flood aimed at a socket nobody reads, so
//! that the flood's own cost for the machine is in both figures.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::capture::Capture;
use crate::flooder::{Flood, Random, sockets, strangers};
use crate::need_machine;
use crate::netns::Host;
use crate::traffic::connect;
use crate::tunnel::{Pair, transfer};

const AT_MOST: u64 = u64::MAX;
/// Targets of the design, §11.
const INITIATIONS_PER_SECOND: u64 = 100_000;
const KEEPS_PERCENT: u64 = 50;
/// A replay must be opened before it is known as one (R55): each costs as much as a data packet.
const KEEPS_PERCENT_OF_REPLAYS: u64 = 20;
const GROWS_KIB: u64 = 1024;
/// How long data is counted at a time.
const WINDOW: Duration = Duration::from_millis(400);

/// A pair with data, and c, who can reach b and has 65,536 addresses.
struct Siege {
    p: Pair,
    c: Host,
    // Held so that the port is open and swallows everything.
    _sink: Vec<std::net::UdpSocket>,
}

const ENGINE: &str = "203.0.113.1:51820";
const SINK: &str = "203.0.113.1:9";

impl Siege {
    fn new() -> Siege {
        let p = Pair::of_hop();
        let c = Host::new("c");
        c.join_as("wan", &p.b, "net");
        c.sh("ip addr add 203.0.113.2/24 dev wan; ip route add local 10.77.0.0/16 dev lo");
        p.b.sh("ip addr add 203.0.113.1/24 dev net; ip route add 10.77.0.0/16 via 203.0.113.2");
        p.b.nft(
            "table inet t { counter came {}; counter answers {}; counter cookies {}
             chain in { type filter hook input priority 0;
               iif net udp dport 51820 counter name came; }
             chain out { type filter hook output priority 0;
               oif net meta l4proto { udp, icmp } counter name answers;
               oif net udp sport 51820 @th,64,32 0x03000000 counter name cookies; } }",
        );
        let sink = sockets(&p.b, vec![SINK.to_string()]);
        p.a.ping(3, "10.10.0.2");
        Siege { p, c, _sink: sink }
    }

    /// One source address and port, or 256 of them.
    fn sources(&self, many: bool) -> Vec<std::net::UdpSocket> {
        let addresses = match many {
            false => vec!["203.0.113.2:0".to_string()],
            true => (0..=255).map(|i| format!("10.77.{i}.{}:0", 255 - i)).collect(),
        };
        sockets(&self.c, addresses)
    }

    /// TCP through the tunnel, with the flood at the sink and at the engine in turns. Judged by the
    /// median of what is kept from one turn to the next, as soon as that is clear, or after eight.
    fn under<M: FnMut(&mut [u8; 2048]) -> usize + Send + 'static>(
        &self,
        what: &str,
        many: bool,
        keeps_percent: u64,
        per_second: u64,
        make: impl Fn() -> M,
    ) {
        let stream = Stream::start(&self.p);
        let alone = stream.window();
        let rss = self.p.engine_b.rss_kib();
        let (mut kept, mut under, mut sent) = (Vec::new(), Vec::new(), 0);
        while kept.len() < 4 || kept.len() < 8 && median(&mut kept) < keeps_percent {
            let [aside, besieged] = [SINK, ENGINE].map(|target| {
                let sources = self.sources(many);
                let flood = Flood::start(sources, target.parse().unwrap(), per_second, make());
                std::thread::sleep(Duration::from_millis(100));
                let bytes = stream.window();
                sent += if target == ENGINE { flood.sent() } else { 0 };
                bytes
            });
            kept.push(besieged * 100 / aside.max(1));
            under.push(besieged);
        }
        let grown = self.p.engine_b.rss_kib().saturating_sub(rss);
        let mbit = |bytes: u64| bytes * 8 * 1000 / WINDOW.as_millis() as u64 / 1_000_000;
        let (rounds, keeps, under) = (kept.len(), median(&mut kept), median(&mut under));
        // Its answers are under way for a moment yet.
        self.p.b.sh("sleep 0.1");
        println!(
            "{what}: {} Mbit/s alone, {} under it, {keeps} % of what the same flood elsewhere \
             leaves ({rounds} rounds); {sent} sent, {} came, {} answers, {} cookies; {grown} KiB",
            mbit(alone),
            mbit(under),
            self.p.b.counted("came"),
            self.p.b.counted("answers"),
            self.p.b.counted("cookies"),
        );
        assert!(sent > 10_000, "{what}: {sent} is no flood");
        assert!(keeps >= keeps_percent, "{what}: the data suffers");
        assert!(grown <= GROWS_KIB, "{what}: {grown} KiB");
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// TCP from a to b for as long as it lives.
struct Stream {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    ends: Vec<JoinHandle<()>>,
}

impl Stream {
    fn start(p: &Pair) -> Stream {
        let (mut near, mut far) = connect(&p.a, &p.b, "10.10.0.2:0".parse().unwrap());
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), received.clone());
        let writer = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && near.write_all(&[7; 65_536]).is_ok() {}
        });
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 65_536];
            while let Ok(n @ 1..) = far.read(&mut chunk) {
                count.fetch_add(n as u64, Ordering::Relaxed);
            }
        });
        Stream { stop, received, ends: vec![writer, reader] }
    }

    fn window(&self) -> u64 {
        let before = self.received.load(Ordering::Relaxed);
        std::thread::sleep(WINDOW);
        self.received.load(Ordering::Relaxed) - before
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for end in self.ends.drain(..) {
            let _ = end.join();
        }
    }
}

/// Random bytes; half of them dressed as one of the four messages, with the right length.
fn garbage() -> impl FnMut(&mut [u8; 2048]) -> usize + Send + 'static {
    let mut random = Random::new(0x6172_6261_6765);
    let mut noise = vec![0u8; 65_536];
    hopbox::wg::Entropy::fill(&mut random, &mut noise);
    move |buf| {
        let r = random.next();
        let len = match r >> 3 & 7 {
            0 => 148,
            1 => 92,
            2 => 64,
            _ => (r >> 8 & 1023) as usize,
        };
        let at = (r >> 20) as usize % (noise.len() - len);
        buf[..len].copy_from_slice(&noise[at..at + len]);
        if r & 1 == 0 && len >= 8 {
            let kind = [1, 2, 3].get((r >> 3 & 7) as usize).copied().unwrap_or(4);
            buf[..4].copy_from_slice(&[kind, 0, 0, 0]);
            buf[4..8].copy_from_slice(&(r as u32).to_le_bytes());
        }
        len
    }
}

/// These datagrams, again and again.
fn repeat(all: &[Vec<u8>]) -> impl FnMut(&mut [u8; 2048]) -> usize + Send + 'static {
    let all = all.to_vec();
    let mut next = 0;
    move |buf| {
        let one = &all[next % all.len()];
        next += 1;
        buf[..one.len()].copy_from_slice(one);
        one.len()
    }
}

#[test]
fn garbage_is_never_answered_and_data_goes_on() {
    // R08 R29 R94, E21
    need_machine!("garbage_is_never_answered_and_data_goes_on");
    let siege = Siege::new();
    siege.under("garbage", true, KEEPS_PERCENT, AT_MOST, garbage);
    assert_eq!(siege.p.b.counted("answers"), 0);
    assert_eq!(siege.p.a_seen(), "198.51.100.1:51821");
}

/// R34 R38 R39 R42: strangers who know b's public key get cookies, and nothing but cookies.
fn initiations(what: &str, many: bool) {
    let siege = Siege::new();
    let pool = strangers(decode(&siege.p.public_b), 64);
    siege.under(what, many, KEEPS_PERCENT, INITIATIONS_PER_SECOND, || repeat(&pool));
    let b = &siege.p.b;
    let (came, answers, cookies) = (b.counted("came"), b.counted("answers"), b.counted("cookies"));
    assert!(cookies > 0, "the load was noticed");
    // Datagrams to one address may be one packet here; all of it has the length of the first.
    assert_eq!(answers, cookies, "no other answer");
    assert!(answers < came, "never more than what came");
    assert!(b.counted_bytes("answers") < b.counted_bytes("came"), "nor more bytes");
    // A peer that is known still gets its handshake, after a cookie if need be.
    assert_eq!(siege.p.a_seen(), "198.51.100.1:51821");
    siege.p.a.ping(1, "10.10.0.2");
}

#[test]
fn initiations_from_one_source_get_cookies_and_data_goes_on() {
    // E21
    need_machine!("initiations_from_one_source_get_cookies_and_data_goes_on");
    initiations("initiations, one source", false);
}

#[test]
fn initiations_from_many_sources_get_cookies_and_data_goes_on() {
    // E21
    need_machine!("initiations_from_many_sources_get_cookies_and_data_goes_on");
    initiations("initiations, 256 sources", true);
}

#[test]
fn replays_change_nothing() {
    // R25 R55 R89, E21: everything that a has sent since the beginning, again from elsewhere.
    need_machine!("replays_change_nothing");
    let siege = Siege::new();
    let (p, mut seen) = (&siege.p, Capture::start(&siege.p.b));
    // A new handshake and some data, recorded.
    p.a.sh("ip link set wg0 down; sleep 0.1; ip link set wg0 up");
    p.a.sh("ip addr add fd10::1/64 dev wg0 nodad");
    p.a.ping(50, "10.10.0.2");
    let record: Vec<Vec<u8>> =
        seen.take().into_iter().filter(|d| d.dst_port == 51820).map(|d| d.payload).collect();
    let handshakes = record.iter().filter(|d| d[0] == 1).count();
    assert!(handshakes > 0 && record.len() >= 50 + handshakes, "{} recorded", record.len());

    let state = || {
        let inner = p.b.sh("cat /sys/class/net/wg0/statistics/rx_packets");
        (inner, transfer(&p.b, "wg0"), p.b.sh("wg show wg0 latest-handshakes"), p.a_seen())
    };
    let before = state();
    let rss = p.engine_b.rss_kib();
    let flood =
        Flood::start(siege.sources(false), ENGINE.parse().unwrap(), 20_000, repeat(&record));
    std::thread::sleep(Duration::from_secs(1));
    let sent = flood.sent();
    drop(flood);
    p.b.sh("sleep 0.2");
    assert!(sent > 1000, "{sent} is no flood");
    assert_eq!(state(), before);
    assert_eq!(
        p.b.counted("answers"),
        p.b.counted("cookies"),
        "cookies for the initiations at most"
    );
    assert!(p.engine_b.rss_kib() <= rss + GROWS_KIB);
    p.a.ping(1, "10.10.0.2");
    p.b.ping(1, "10.10.0.1");

    siege.under("replays", false, KEEPS_PERCENT_OF_REPLAYS, INITIATIONS_PER_SECOND, || {
        repeat(&record)
    });
    assert_eq!(p.a_seen(), "198.51.100.1:51821");
}

/// A key as wg(8) prints it.
fn decode(key: &str) -> [u8; 32] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = key.trim_end_matches('=').bytes();
    let mut bits = digits.flat_map(|c| {
        let d = alphabet.iter().position(|a| *a == c).expect("base64");
        (0..6).rev().map(move |i| (d >> i & 1) as u8)
    });
    std::array::from_fn(|_| bits.by_ref().take(8).fold(0, |byte, bit| byte << 1 | bit))
}
