//! Seal and open of packets under one key, one behind the other: the lanes of a pass of ChaCha20
//! are those of whichever packets come next, so that small ones share it, and Poly1305 absorbs
//! earlier packets while it runs, so that neither waits for the other at a packet's ends.
//!
//! The plain way (`aead`) is for one alone, and for what is longer than 2 KiB.
//!
//! Bounds: 64 blocks of key stream are kept to open with, and the keys of 32 packets.

use std::hint::black_box;

use super::aead::{self, Cpu, equal, xor};
use super::chacha20::{BLOCK_LEN, Beside, ChaCha20, Lanes, MOST_LANES, Places, WORK};
use super::packet::Packet;
use super::poly1305::{Mac, Poly1305};
use super::stream::{Room, Stream};

/// Blocks of a packet, the one for the key of Poly1305 included.
#[inline(always)]
fn blocks_of(packet: &Packet<'_>) -> usize {
    1 + packet.text.len().div_ceil(BLOCK_LEN)
}

/// Packets whose keys of Poly1305 are known and which it has not absorbed, at most.
const KEYS: usize = 32;
/// Blocks of key stream that are kept until a tag is known.
const KEPT: usize = 64;
/// Longer ones are opened alone.
const LONGEST: usize = 32 * BLOCK_LEN;

/// How far a burst is: packets whose blocks are all made, and blocks made of the next one.
#[derive(Clone, Copy)]
struct Made {
    packets: usize,
    blocks: usize,
}

/// Poly1305 on its way through a burst.
struct Absorbing<C: Cpu> {
    cpu: C,
    /// Those of packet `n` at `n % KEYS`, as are the tags.
    keys: [[u8; 32]; KEYS],
    tags: [[u8; 16]; KEYS],
    /// Packets absorbed, and bytes of the next one's text.
    packets: usize,
    bytes: usize,
    /// Of that one, if it has been begun.
    mac: C::Mac,
    has_begun: bool,
}

impl<C: Cpu> Absorbing<C> {
    #[inline(always)]
    fn new(cpu: C) -> Absorbing<C> {
        let (keys, tags) = ([[0; 32]; KEYS], [[0; 16]; KEYS]);
        let mac = C::Mac::new(cpu, &[0; 32], &[]);
        Absorbing { cpu, keys, tags, packets: 0, bytes: 0, mac, has_begun: false }
    }

    #[inline(always)]
    fn begin(&mut self) {
        if !self.has_begun {
            self.mac = C::Mac::new(self.cpu, &self.keys[self.packets % KEYS], &[]);
            self.has_begun = true;
        }
    }

    /// Keys are no secret of ours any more when nobody can read them.
    #[inline(always)]
    fn wipe(&mut self) {
        self.keys = [[0; 32]; KEYS];
        self.mac = C::Mac::new(self.cpu, &[0; 32], &[]);
        // Nothing reads these zeros; without this they would not be written.
        black_box(&mut self.keys);
    }

    /// Absorbs what is left of this text, which is the next packet's.
    #[inline(always)]
    fn finish(&mut self, text: &[u8]) {
        self.begin();
        let rest = text.get(self.bytes..).unwrap_or_default();
        self.tags[self.packets % KEYS] = self.mac.clone().finish(rest, [0, text.len()]);
        (self.packets, self.bytes, self.has_begun) = (self.packets + 1, 0, false);
    }
}

/// It at work while ChaCha20 makes key stream.
struct Work<'w, 'a, C: Cpu, const OPENS: bool> {
    absorbing: &'w mut Absorbing<C>,
    packets: &'w [Packet<'a>],
    made: Made,
}

impl<'w, C: Cpu, const OPENS: bool> Work<'w, '_, C, OPENS> {
    /// As much of the next packet's text as may be absorbed: what is sealed already, or all.
    #[inline(always)]
    fn ready(&self, text: &'w [u8]) -> &'w [u8] {
        let Made { packets, blocks } = self.made;
        let is_key_known = self.absorbing.packets < packets || blocks > 0;
        if self.absorbing.packets < packets || OPENS && is_key_known {
            return text;
        }
        text.get(..blocks.saturating_sub(1) * BLOCK_LEN).unwrap_or(text)
    }
}

impl<C: Cpu, const OPENS: bool> Beside for Work<'_, '_, C, OPENS> {
    #[inline(always)]
    fn text(&mut self) -> Option<(&mut Poly1305, &[[u8; WORK]])> {
        if !C::Mac::BESIDE {
            return None;
        }
        loop {
            let text = &*self.packets.get(self.absorbing.packets)?.text;
            let ready = self.ready(text).get(self.absorbing.bytes..).unwrap_or_default();
            if ready.len() >= WORK {
                self.absorbing.begin();
                return Some((self.absorbing.mac.plain(), aead::pieces(ready)));
            }
            if self.absorbing.packets >= self.made.packets {
                return None;
            }
            self.absorbing.finish(text);
        }
    }

    #[inline(always)]
    fn absorbed(&mut self, count: usize) {
        self.absorbing.bytes += count * WORK;
    }
}

/// A burst while it is sealed or opened.
struct Burst<'b, 'a, C: Cpu> {
    packets: &'b mut [Packet<'a>],
    made: Made,
    absorbing: Absorbing<C>,
    /// Packets that are done with.
    done: usize,
    /// Blocks at the beginning of the stream that are theirs, when opening.
    used: usize,
}

impl<C: Cpu> Burst<'_, '_, C> {
    /// Who has which lane of the next pass, and how far that comes.
    #[inline(always)]
    fn places(&self, places: &mut Places) -> Made {
        let (mut next, mut lane) = (self.made, 0);
        while lane < C::Wide::BLOCKS {
            let Some(packet) = self.packets.get(next.packets) else { break };
            let all = blocks_of(packet);
            let count = (all - next.blocks).min(C::Wide::BLOCKS - lane);
            places.set(lane, count, next.blocks, &packet.nonce);
            (lane, next.blocks) = (lane + count, next.blocks + count);
            if next.blocks == all {
                next = Made { packets: next.packets + 1, blocks: 0 };
            }
        }
        next
    }

    /// Takes the keys of Poly1305 from a pass up to `next`, and seals with the rest of it.
    #[inline(always)]
    fn take<const OPENS: bool>(&mut self, mut pass: &[u8], next: Made) {
        while self.made.packets < next.packets || self.made.blocks < next.blocks {
            let Made { packets, blocks } = self.made;
            let Some(packet) = self.packets.get_mut(packets) else { return };
            let is_whole = packets < next.packets;
            let end = if is_whole { blocks_of(packet) } else { next.blocks };
            let (its, rest) = pass.split_at((end - blocks) * BLOCK_LEN);
            pass = rest;
            let mut stream = its;
            if blocks == 0 {
                if let Some(key) = its.first_chunk() {
                    self.absorbing.keys[packets % KEYS] = *key;
                }
                stream = &its[BLOCK_LEN..];
            }
            if !OPENS {
                xor(&mut packet.text[blocks.saturating_sub(1) * BLOCK_LEN..], stream);
            }
            self.made = match is_whole {
                true => Made { packets: packets + 1, blocks: 0 },
                false => next,
            };
        }
    }

    /// Gives packets their tags, and opens those that are authentic.
    #[inline(always)]
    fn give<const OPENS: bool>(&mut self, stream: &[u8]) {
        while self.done < self.absorbing.packets {
            let Some(packet) = self.packets.get_mut(self.done) else { return };
            let tag = self.absorbing.tags[self.done % KEYS];
            if OPENS {
                packet.is_authentic = equal(&tag, packet.tag);
                if packet.is_authentic {
                    xor(packet.text, &stream[(self.used + 1) * BLOCK_LEN..]);
                }
                self.used += blocks_of(packet);
            } else {
                *packet.tag = tag;
            }
            self.done += 1;
        }
    }

    /// Absorbs all packets whose blocks are all made.
    #[inline(always)]
    fn absorb(&mut self) {
        for packet in &self.packets[self.absorbing.packets..self.made.packets] {
            self.absorbing.finish(packet.text);
        }
    }
}

#[inline(always)]
fn run<C: Cpu, const OPENS: bool>(
    cpu: C,
    key: &[u8; 32],
    packets: &mut [Packet<'_>],
    stream: &mut Stream<'_>,
) {
    let cipher = ChaCha20::new(key, &[0; 12]);
    let (made, absorbing) = (Made { packets: 0, blocks: 0 }, Absorbing::new(cpu));
    let mut burst = Burst { packets, made, absorbing, done: 0, used: 0 };
    let mut places = Places::new();
    while burst.made.packets < burst.packets.len() {
        let next = burst.places(&mut places);
        if next.packets - burst.absorbing.packets >= KEYS {
            burst.absorb();
        }
        if OPENS && stream.room() < C::Wide::BLOCKS {
            burst.absorb();
            burst.give::<OPENS>(stream.bytes());
            stream.discard(std::mem::take(&mut burst.used));
        }
        let mut work: Work<'_, '_, C, OPENS> =
            Work { absorbing: &mut burst.absorbing, packets: burst.packets, made: burst.made };
        let pass = cipher.blocks_at::<C::Wide>(cpu, &places, &mut work);
        if !OPENS {
            stream.rewind();
        }
        burst.give::<OPENS>(stream.bytes());
        let before = stream.bytes().len();
        stream.push::<C::Wide>(pass);
        burst.take::<OPENS>(&stream.bytes()[before..], next);
    }
    burst.absorb();
    burst.give::<OPENS>(stream.bytes());
    burst.absorbing.wipe();
}

#[inline(always)]
pub fn seal<C: Cpu>(cpu: C, key: &[u8; 32], packets: &mut [Packet<'_>]) {
    if let [alone] = packets {
        return alone.seal(|nonce, text| aead::seal(cpu, key, nonce, &[], text));
    }
    let mut room = Room::<MOST_LANES>::new();
    run::<C, false>(cpu, key, packets, &mut Stream::new(&mut room));
}

#[inline(always)]
pub fn open<C: Cpu>(cpu: C, key: &[u8; 32], packets: &mut [Packet<'_>]) {
    let mut room = Room::<KEPT>::new();
    let mut stream = Stream::new(&mut room);
    for burst in packets.chunk_by_mut(|a, b| a.text.len().max(b.text.len()) <= LONGEST) {
        match burst {
            [alone] => {
                alone.open(|nonce, text, tag| aead::open(cpu, key, nonce, &[], text, tag));
            }
            _ => {
                stream.rewind();
                run::<C, true>(cpu, key, burst, &mut stream);
            }
        }
    }
}
