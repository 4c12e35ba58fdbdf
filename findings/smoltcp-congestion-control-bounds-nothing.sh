#!/bin/sh
# Expected: a TCP of smoltcp that is built with Reno or Cubic sends about its initial window (RFC 6928:
#           10 segments) before the first acknowledgement, and without them at most what the other
#           side offers.
# Seen: it sends the whole of the other side's window at once, whichever is built in and chosen: the
#       congestion window is computed and never held against what is in flight. Through a narrow way
#       most of it is lost and sent again. Who relays through smoltcp has to bound what it hands over.
# Versions: smoltcp 0.12.0; rustc 1.85 or newer
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v cargo >/dev/null || skip "needs cargo"
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'END'
[package]
name = "window"
version = "0.0.0"
edition = "2021"
[dependencies]
smoltcp = { version = "=0.12.0", default-features = false, features = ["std", "medium-ip", "proto-ipv4", "socket-tcp", "socket-tcp-reno", "socket-tcp-cubic"] }
END
cat >"$work/src/main.rs" <<'END'
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

const WINDOW: usize = 64 * 1024 - 1;
const MTU: usize = 1500;

/// What arrives and what leaves.
#[derive(Default)]
struct Wire(VecDeque<Vec<u8>>, VecDeque<Vec<u8>>);
struct In(Vec<u8>);
struct Out<'a>(&'a mut VecDeque<Vec<u8>>);
impl RxToken for In {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}
impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let done = f(&mut packet);
        self.0.push_back(packet);
        done
    }
}
impl Device for Wire {
    type RxToken<'a> = In;
    type TxToken<'a> = Out<'a>;
    fn receive(&mut self, _: Instant) -> Option<(In, Out<'_>)> {
        Some((In(self.0.pop_front()?), Out(&mut self.1)))
    }
    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        Some(Out(&mut self.1))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        (all.medium, all.max_transmission_unit) = (Medium::Ip, MTU);
        all
    }
}

struct Side {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

fn side(last: u8) -> Side {
    let mut wire = Wire::default();
    let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
    interface.update_ip_addrs(|all| {
        all.push(IpCidr::new(IpAddress::v4(192, 0, 2, last), 24)).unwrap();
    });
    let mut sockets = SocketSet::new(Vec::new());
    let room = || SocketBuffer::new(vec![0; WINDOW]);
    let handle = sockets.add(Socket::new(room(), room()));
    Side { wire, interface, sockets, handle }
}

impl Side {
    fn poll(&mut self, ms: i64) {
        self.interface.poll(Instant::from_millis(ms), &mut self.wire, &mut self.sockets);
    }
    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// Bytes that leave before one acknowledgement of them has come.
fn burst(control: CongestionControl) -> usize {
    let (mut one, mut two) = (side(1), side(2));
    two.socket().listen(80).unwrap();
    one.socket().set_congestion_control(control);
    let context = one.interface.context();
    let socket = one.sockets.get_mut::<Socket>(one.handle);
    socket.connect(context, (IpAddress::v4(192, 0, 2, 2), 80), 50_000).unwrap();
    for ms in 0..20 {
        one.poll(ms);
        two.wire.0.append(&mut one.wire.1);
        two.poll(ms);
        one.wire.0.append(&mut two.wire.1);
    }
    assert!(one.socket().may_send() && two.socket().may_recv());
    one.socket().send_slice(&vec![7; WINDOW]).unwrap();
    // A packet each; no timer comes due.
    (0..200).for_each(|_| one.poll(20));
    one.wire.1.iter().map(|packet| packet.len() - 40).sum()
}

fn main() {
    for (name, control) in [
        ("none", CongestionControl::None),
        ("reno", CongestionControl::Reno),
        ("cubic", CongestionControl::Cubic),
    ] {
        println!("{name}: {} of {WINDOW} bytes unasked", burst(control));
    }
}
END
(cd "$work" && cargo build -q --release) 2>"$work/said" || skip "$(tail -n 3 "$work/said")"
seen=$("$work/target/release/window" 2>"$work/said" | paste -s -d ';') || skip "$(cat "$work/said")"
echo "$seen"
want='none: 64240 of 65535 bytes unasked;reno: 64240 of 65535 bytes unasked;cubic: 64240 of 65535 bytes unasked'
[ "$seen" = "$want" ] || changed "$seen"
