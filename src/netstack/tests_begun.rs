//! Connections that begin here: what they are worth, and what no answer to them can do.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpAddress, TcpControl, TcpPacket};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::test_peer::{OWN, PEER, World};
use super::tests::{MTU, bytes, crosses, drain, get, put, segment};

/// What was begun here, and the laptop's socket.
fn dialled(world: &mut World, port: u16) -> SocketHandle {
    let handle = world.listen(port);
    let answer = world.dial(port, Duration::from_secs(10));
    let mut made = None;
    world.until("made", |_| {
        made = answer.try_recv().ok();
        made.is_some()
    });
    let stream = made.unwrap().unwrap();
    stream.set_nonblocking(true).unwrap();
    world.far.push(stream);
    world.until("there", |world| world.socket(handle).state() == State::Established);
    handle
}

#[test]
fn a_connection_may_begin_here_and_each_side_ends_by_itself() {
    for (lost, v6) in [(0, false), (0, true), (10, false), (10, true)] {
        for we_end_first in [true, false] {
            let mut world = World::new(MTU);
            (world.v6, world.lost) = (v6, lost);
            let handle = dialled(&mut world, 80);
            crosses(&mut world, handle, 0, &bytes(if lost == 0 { 3_000_000 } else { 100_000 }));
            let (mut there, mut back) = (Vec::new(), Vec::new());
            if we_end_first {
                world.far[0].shutdown(Shutdown::Write).unwrap();
                let ended = |world: &mut World| world.socket(handle).state() == State::CloseWait;
                world.until("our end", ended);
                put(&mut world, handle, b"last");
                world.socket(handle).close();
                world.until("its end", |world| drain(world, 0, &mut there));
                assert_eq!(there, b"last");
            } else {
                world.socket(handle).close();
                world.until("its end", |world| drain(world, 0, &mut there));
                world.far[0].write_all(b"last").unwrap();
                world.far[0].shutdown(Shutdown::Write).unwrap();
                world.until("all of it", |world| {
                    get(world, handle, &mut back);
                    back == b"last"
                });
            }
            world.until("over", |world| world.relays.is_empty());
            assert_eq!(world.stack.flows().count(), 0);
        }
    }
}

#[test]
fn a_connection_that_is_not_made_says_why() {
    let mut world = World::new(MTU);
    let limit = Duration::from_secs(10);
    let why = |answer: std::io::Result<std::net::TcpStream>| answer.unwrap_err().kind();
    let answer = world.dial(81, limit);
    world.until("over", |world| world.relays.is_empty());
    assert_eq!(why(answer.recv().unwrap()), ErrorKind::ConnectionRefused);
    assert!(world.now < Duration::from_secs(1), "{:?}", world.now);
    world.lost = 100;
    let (answer, before) = (world.dial(80, limit), world.now);
    world.until("over", |world| world.relays.is_empty());
    assert_eq!(why(answer.recv().unwrap()), ErrorKind::TimedOut);
    let took = world.now - before;
    assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
    // Whoever waited has gone: it is ended, and the other side hears of it.
    world.lost = 0;
    let handle = world.listen(80);
    drop(world.dial(80, limit));
    world.until("over", |world| world.relays.is_empty());
    world.steps(5);
    assert!(!world.socket(handle).is_active(), "{}", world.socket(handle).state());
    let nowhere = world.stack.connect(world.now, (OWN, 80).into()).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::AddrNotAvailable, "ourselves");
}

/// Its thread would sleep until then.
#[test]
fn what_is_still_is_not_looked_at() {
    let mut world = World::new(MTU);
    let handle = dialled(&mut world, 80);
    crosses(&mut world, handle, 0, &bytes(1000));
    world.steps(50);
    let World { relays, stack, now, .. } = &mut world;
    assert_eq!(stack.deadline(*now), None);
    let due = relays[0].due(stack, *now);
    assert!(due > *now + Duration::from_secs(7000), "{due:?}");
    // What waits for an acknowledgement is.
    world.lost = 100;
    world.far[0].write_all(b"more").unwrap();
    world.steps(2);
    let World { relays, stack, now, .. } = &mut world;
    assert!(stack.deadline(*now).is_some_and(|at| at < *now + Duration::from_secs(2)));
    assert!(relays[0].due(stack, *now) <= *now + Duration::from_secs(1));
}

/// Whatever is answered to a connection that begins here, nothing panics, and whoever waits for it
/// hears of its end.
#[test]
fn no_answer_does_more_than_it_may() {
    for seed in 1..=60 {
        let mut world = World::new(if seed % 2 == 0 { 576 } else { MTU });
        (0..seed).for_each(|_| _ = world.roll(2));
        // The laptop's own stack does not hear of it.
        world.lost = 100;
        let answer = world.dial(5000, Duration::from_secs(5));
        let syn = world.turn().pop().unwrap();
        let port = u16::from_be_bytes([syn[20], syn[21]]);
        let ours = u32::from_be_bytes(syn[24..28].try_into().unwrap()).wrapping_add(1);
        for _ in 0..200 {
            let far = |roll: u64| [0, 0, 0, 1, 1380, 65_535, 1 << 20, 1 << 30][roll as usize];
            let (a, b) = (far(world.roll(8)) as u32, far(world.roll(8)) as u32);
            let control = match world.roll(6) {
                0 => TcpControl::Fin,
                1 => TcpControl::Rst,
                2 => TcpControl::Psh,
                _ => TcpControl::Syn,
            };
            let ack = (world.roll(5) > 0).then_some(ours.wrapping_add(a));
            let bytes = bytes([0, 0, 1, 500][world.roll(4) as usize]);
            let mut packet = segment(5000, port, control, b, ack, &bytes);
            if packet.len() > 40 && world.roll(4) == 0 {
                // Options are at the end of the header; the sum is made right again.
                let at = 40 + world.roll(packet.len() as u64 - 40) as usize;
                packet[at] = world.roll(256) as u8;
                let ends = (IpAddress::Ipv4(PEER), IpAddress::Ipv4(OWN));
                TcpPacket::new_unchecked(&mut packet[20..]).fill_checksum(&ends.0, &ends.1);
            }
            world.feed(&packet);
            if world.roll(3) == 0 {
                let pause = world.roll(1000);
                world.now += Duration::from_millis(pause);
            }
            world.turn();
            if let Some(stream) = world.far.first() {
                stream.set_nonblocking(true).unwrap();
                let _ = (&mut &*stream).write(&bytes);
            } else if let Ok(Ok(stream)) = answer.try_recv() {
                world.far.push(stream);
            }
        }
        world.far.clear();
        world.until("over", |world| world.relays.is_empty());
    }
}
