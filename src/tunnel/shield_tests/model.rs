//! The shield against a slow and simple one, over random sequences: nothing enters that the simple
//! one refuses, and while the table is nearly empty everything that it lets in.

use super::super::test_packets::TestPacket;
use super::Lab;
use std::collections::HashMap;
use std::time::Duration;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Every packet of a flow since it was begun, as its sender, second and flags.
type History = Vec<(bool, u64, u8)>;

#[derive(Default)]
struct Model(HashMap<(bool, u8, [u16; 2]), History>);

impl Model {
    fn has_ended(history: &[(bool, u64, u8)]) -> bool {
        let has = |ours, bit| history.iter().any(|h| h.0 == ours && h.2 & bit != 0);
        // Cut off unless this side said something else afterwards.
        let last_reset = history.iter().rposition(|h| h.2 & 4 != 0);
        let last_said = history.iter().rposition(|h| h.0 && h.2 & 4 == 0);
        has(true, 1) && has(false, 1) || last_reset.is_some() && last_reset > last_said
    }

    fn is_open(history: &History, udp: bool, now: u64) -> bool {
        let Some((_, sent, _)) = history.iter().rfind(|(ours, ..)| *ours) else { return false };
        let ended = |n: &usize| Model::has_ended(&history[..*n]);
        let end = (1..=history.len()).rev().take_while(ended).last();
        let end = end.map(|n| history[n - 1].1);
        let begun_within = history.first().is_some_and(|h| h.2 & 0x12 != 2);
        let answered = history.iter().any(|h| !h.0 && h.2 & 4 == 0);
        let limit = match () {
            () if udp => 300,
            () if end.is_some() => 120,
            () if answered || begun_within => u64::MAX,
            () => 130,
        };
        now - sent.max(&end.unwrap_or(0)) <= limit
    }

    fn sent(&mut self, packet: &TestPacket, now: u64) {
        let [here, there] = packet.ports;
        let history = self.0.entry((packet.udp, packet.hosts[1], [here, there])).or_default();
        let flags = if packet.udp { 0x10 } else { packet.flags };
        let open = Model::is_open(history, packet.udp, now);
        if flags & 0x12 == 2 || !open {
            if flags & 4 != 0 || flags & 0x12 == 0x12 {
                // An end, or an answer, begins nothing.
                return;
            }
            history.clear();
        }
        history.push((true, now, flags));
    }

    fn admits(&mut self, packet: &TestPacket, now: u64) -> bool {
        let [there, here] = packet.ports;
        let Some(history) = self.0.get_mut(&(packet.udp, packet.hosts[0], [here, there])) else {
            return false;
        };
        let flags = if packet.udp { 0x10 } else { packet.flags };
        let may = packet.hosts[1] == 1 && flags & 0x12 != 2;
        if may && Model::is_open(history, packet.udp, now) {
            history.push((false, now, flags));
            return true;
        }
        false
    }
}

/// A packet of one of `flows` flows, from here or from there.
fn packet(dice: &mut Dice, flows: u64, ours: bool) -> TestPacket {
    let flags =
        [2, 2, 0x12, 0x10, 0x10, 0x18, 0x11, 0x14, 4, 0, 1, 3, 6, 0x29][dice.roll(14) as usize];
    let udp = dice.roll(3) == 0;
    let ports = [30_000 + dice.roll(flows) as u16, 20 + dice.roll(3) as u16];
    let remote = 2 + dice.roll(2) as u8;
    let own = if dice.roll(20) == 0 { 9 } else { 1 };
    let base = if udp { TestPacket::udp(false, 30) } else { TestPacket::tcp(false, 1, 30) };
    let sent = TestPacket { flags, ports, hosts: [own, remote], ..base };
    match ours {
        true => sent,
        false => TestPacket { ports: [ports[1], ports[0]], hosts: [remote, own], ..sent },
    }
}

fn script(seed: u64, flows: u64, steps: usize) {
    let (mut dice, mut lab, mut model) = (Dice(seed), Lab::new(), Model::default());
    let mut entered = 0;
    for step in 0..steps {
        let now = lab.now.as_nanos() / 1_000_000_000;
        let ours = dice.roll(2) == 0;
        let packet = packet(&mut dice, flows, ours);
        if ours {
            lab.shield.sent(lab.now, &packet.packet());
            if packet.hosts[0] == 1 {
                model.sent(&packet, now);
            }
        } else {
            let got = lab.shield.admit(lab.now, &packet.packet()).is_ok();
            let may = model.admits(&packet, now);
            assert!(may || !got, "seed {seed}, step {step}: {packet:?}");
            assert!(got || !may || flows > 1000, "seed {seed}, step {step}: {packet:?}");
            entered += usize::from(got);
        }
        let pause = match dice.roll(200) {
            0 => dice.roll(400),
            1 => dice.roll(10_000),
            n => u64::from(n < 20),
        };
        lab.now = lab.now.after(Duration::from_secs(pause));
    }
    assert!(entered > 0 || flows > 1000, "seed {seed}: something enters");
}

#[test]
fn random_traffic_enters_as_a_simple_shield_would_let_it() {
    let seed = std::env::var("HOP_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(0..60, |seed| seed..seed + 1) {
        script(seed, 1 + seed % 12, 4000);
    }
}

#[test]
fn with_a_table_that_overflows_nothing_enters_that_should_not() {
    script(1, 30_000, 120_000);
}

#[test]
fn arbitrary_bytes_are_read_without_a_panic() {
    let (mut dice, mut lab) = (Dice(7), Lab::new());
    for _ in 0..200_000 {
        let len = dice.roll(90) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.roll(256) as u8).collect();
        for (at, byte) in [(0, 0x45), (9, [1, 6, 17][dice.roll(3) as usize]), (16, 10), (17, 10)] {
            if let Some(place) = bytes.get_mut(at).filter(|_| dice.roll(8) > 0) {
                *place = byte;
            }
        }
        if let Some(rest) = bytes.get_mut(18..20).filter(|_| dice.roll(8) > 0) {
            rest.copy_from_slice(&[0, 1]);
        }
        lab.shield.sent(lab.now, &bytes);
        let _ = lab.shield.admit(lab.now, &bytes);
    }
}
