//! A server that was taken over and sends large segments inside the tunnel, whole or in hundreds of
//! pieces, of connections that nobody has and of one that is open: the laptop's own flows go on
//! meanwhile, and afterwards as if nothing had been.

use std::time::{Duration, Instant};

use super::flooded::{Asks, ROOM_KIB, cost, flood};
use super::intruder::*;
use super::shielded::{SSH, Services, ask, asker, connection};
use super::world::*;
use super::{alone, full};

/// What the intruder's tunnel cuts large segments into.
const PIECE: u16 = 100;
/// Segments before the storm lets an answer through.
const BURST: usize = 8;
/// Nearly the longest that an IP packet carries.
const LARGE: usize = 60_000;
/// An answer after the storm is there by then: one packet may be lost.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Sixty-four in a row of one connection, as the sender's own segments go.
fn row(of: &TestPacket, len: usize) -> Vec<Vec<u8>> {
    let one = |n| TestPacket { seq: of.seq.wrapping_add(n * len as u32), ..of.clone() };
    (0..64).map(|n| TestPacket { payload: vec![7; len], ..one(n) }.packet()).collect()
}

/// Of connections that nobody has, and of the one to this port of the laptop, in and far beyond its
/// window. Options keep the intruder's tunnel from cutting.
fn storms(open: u16) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let whole = TestPacket { ports: [50_000, 22], flags: ACK, ..any(false) };
    let cut = TestPacket { options: Vec::new(), ..whole.clone() };
    let within = TestPacket { ports: [SSH, open], seq: 1008, ..cut.clone() };
    let beyond = TestPacket { seq: 2_000_000_000, ..within.clone() };
    vec![
        ("strange and whole", row(&whole, LARGE)),
        ("strange, of one packet each", row(&whole, 1300)),
        ("strange and cut", row(&cut, LARGE)),
        ("of an open connection", row(&within, LARGE)),
        ("of an open connection, out of its window", row(&beyond, LARGE)),
    ]
}

#[test]
fn a_storm_of_large_segments_is_no_end_of_own_flows() {
    let _machine = alone();
    let name = "a_storm_of_large_segments_is_no_end_of_own_flows";
    let Some(mut world) = World::start(name) else { return };
    world.up();
    let services = Services::start(&world);
    let mut intruder = Intruder::with_mtu(&mut world, PIECE);
    let own = asker(&world);
    ask(&mut intruder, &own, &[]);
    let open = connection(&world, &mut intruder);
    let session = world.session().unwrap();
    let before = cost(session).0;
    let long = Duration::from_secs(if full() { 5 } else { 1 });
    for (kind, packets) in storms(open.local_addr().unwrap().port()) {
        let asks = Asks::start(asker(&world));
        let (sent, took) = flood(&mut intruder, packets.chunks(BURST), &asks, long);
        asks.end();
        let began = Instant::now();
        ask(&mut intruder, &own, &[]);
        println!(
            "{kind}: {:.0} a second, {} answers in {took:.1?}; another {:.1?} afterwards",
            sent as f64 / took.as_secs_f64(),
            asks.answers(),
            began.elapsed()
        );
        assert!(began.elapsed() < AFTERWARDS, "{kind}: an answer took {:?}", began.elapsed());
    }
    assert!(cost(session).0 < before + ROOM_KIB, "{before} KiB, then {}", cost(session).0);
    services.assert_silent();
    let status = world.hop(&["status"]);
    assert!(said(&status).contains("agent"), "{}", said(&status));
}
