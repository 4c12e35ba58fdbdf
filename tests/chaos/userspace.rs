//! C15: TCP/IP of our own in place of the laptop's TUN, over bad lines: what a kernel's TCP at the
//! server gets and sends is right, whatever was lost, repeated, damaged or came in another order.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hopbox::base::key;
use hopbox::netstack::door::Closed;
use hopbox::netstack::{self, BEGUN_BYTES, Netstack, Own, Settings};
use hopbox::sys::packet_pair;
use hopbox::tunnel::{self, Config, PeerConfig, TunDevice, Tunnel};

use crate::faults::Faults;
use crate::need_root;
use crate::rng::Rng;
use crate::run::{Run, at_once, runs};
use crate::site::Site;

const MTU: u16 = 1420;
const MINUTE: Duration = Duration::from_secs(60);
const BYTES: usize = 256 * 1024;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The laptop's engine is ended, and one without a device takes its place: same key, same peer.
fn in_userspace(site: &mut Site) -> (Netstack, Tunnel) {
    site.laptop.kill();
    let private = key::decode(site.laptop.host.sh("cat /run/key").trim()).expect("a key");
    let theirs = site.laptop.host.sh("sed -n 's/^PublicKey=//p' /run/wg.conf");
    let public_key = *key::decode(theirs.trim()).expect("the server's key");
    let start = move || {
        let mut config = Config::default();
        config.private_key = *private;
        config.peers = vec![PeerConfig {
            public_key,
            endpoint: Some(([192, 0, 2, 1], 51820).into()),
            allowed_ips: vec![([10, 10, 0, 2].into(), 32)],
            ..PeerConfig::default()
        }];
        let (ours, theirs) = packet_pair().expect("a pair");
        let own = Own { v4: Some([10, 10, 0, 1].into()), v6: None };
        let settings = Settings { own, mtu: MTU, seed: 15, buffer_bytes: BEGUN_BYTES };
        let stack = netstack::start(ours, &settings, Box::new(Closed)).expect("a stack");
        let device = TunDevice { fd: theirs, name: "none".into(), mtu: MTU, vnet_hdr: false };
        (stack, tunnel::start(device, &config).expect("a tunnel"))
    };
    site.laptop.host.run(start)
}

/// The kernel's side of every connection: gives back what comes, until its end.
fn echo(site: &Site) -> SocketAddr {
    let serve = || {
        let listener = TcpListener::bind("10.10.0.2:7700").expect("bind");
        let at = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut room = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = stream.read(&mut room) {
                        if stream.write_all(&room[..count]).is_err() {
                            return;
                        }
                    }
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        at
    };
    site.server.host.run(serve)
}

/// Both ways at once, every byte looked at, and the end of each side.
fn there_and_back(site: &Site, mut stream: TcpStream, seed: u64) {
    stream.set_read_timeout(Some(MINUTE)).expect("timeout");
    stream.set_write_timeout(Some(MINUTE)).expect("timeout");
    let mut rng = Rng::new(seed);
    let sent: Vec<u8> = (0..BYTES / 8).flat_map(|_| rng.next().to_ne_bytes()).collect();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        let mut sink = stream.try_clone().expect("another end");
        let sent = &sent;
        scope.spawn(move || {
            sink.write_all(sent).expect("sent");
            sink.shutdown(Shutdown::Write).expect("ended");
        });
        if let Err(error) = stream.read_to_end(&mut back) {
            site.fail(&format!("{error} after {} bytes", back.len()));
        }
    });
    if back != sent {
        site.fail(&format!("{} of {} bytes, or others", back.len(), sent.len()));
    }
}

fn line(run: Run, name: &str, faults: Faults) {
    let mut site = run.site(name, 0);
    let at = echo(&site);
    let (stack, mut tunnel) = in_userspace(&mut site);
    let connect =
        || stack.connector().connect(at, MINUTE).unwrap_or_else(|e| site.fail(&e.to_string()));
    let first = connect();
    site.relay.set_both(faults);
    let began = Instant::now();
    let rounds = if run.full { 6 } else { 1 };
    there_and_back(&site, first, run.seed);
    for n in 0..rounds {
        there_and_back(&site, connect(), run.seed ^ n);
    }
    println!("{name}: {} rounds of {BYTES} bytes both ways in {:?}", rounds + 1, began.elapsed());
    site.heal();
    there_and_back(&site, connect(), !run.seed);
    drop(stack);
    tunnel.stop();
    site.server.check_alive();
}

#[test]
fn c15_a_stack_of_our_own_over_bad_lines() {
    need_root!("c15_a_stack_of_our_own_over_bad_lines");
    runs("C15", 0xc15, |run| {
        let (hold, good) = (ms(50), Faults::default());
        let lines = vec![
            ("loss", Faults { loss_permille: 30, ..good.clone() }),
            ("another order", Faults { window: 32, hold, ..good.clone() }),
            ("slow", Faults { delay: ms(40), jitter: ms(20), loss_permille: 5, ..good.clone() }),
            ("damage", Faults { flip_permille: 20, duplicate_permille: 50, ..good }),
        ];
        at_once(lines, |(name, faults)| line(run, name, faults));
    });
}
