//! Seal and open of packets under one key, one behind the other: the lanes of a pass of ChaCha20
//! are those of whichever packets come next, so that small ones share it, and Poly1305 absorbs
//! earlier packets while it runs, so that neither waits for the other at a packet's ends.
//!
//! The plain way (`aead`) is for one alone, and for what is longer than 2 KiB.
//!
//! Bounds: 96 blocks of key stream are kept to open with, and the keys of 32 packets.

use std::hint::black_box;

use super::aead::{self, Cpu, equal, pieces, xor};
use super::chacha20::{
    BLOCK_LEN, Beside, ChaCha20, Lanes, MOST_LANES, PAIR, Places, WORK, Work,
};
use super::packet::Packet;
use super::poly1305::Poly1305;
use super::stream::{Room, Stream};

/// Blocks of a packet, the one for the key of Poly1305 included.
#[inline(always)]
fn blocks_of(packet: &Packet<'_>) -> usize {
    1 + packet.text.len().div_ceil(BLOCK_LEN)
}

/// Packets whose keys of Poly1305 are known and which it has not absorbed, at most.
const KEYS: usize = 32;
/// Blocks of key stream that are kept until a tag is known.
const KEPT: usize = 96;
/// Longer ones are opened alone.
const LONGEST: usize = 32 * BLOCK_LEN;

/// How far a burst is: packets whose blocks are all made, and blocks made of the next one.
#[derive(Clone, Copy)]
struct Made {
    packets: usize,
    blocks: usize,
}

/// Poly1305 on its way through a burst: at a packet, or at two that are both whole, in turns.
struct Absorbing {
    /// Those of packet `n` at `n % KEYS`, as are the tags.
    keys: [[u8; 32]; KEYS],
    tags: [[u8; 16]; KEYS],
    /// Packets absorbed, and bytes of the text of the next one, or two.
    packets: usize,
    bytes: usize,
    macs: [Poly1305; 2],
    /// How many of them have been begun.
    begun: usize,
}

impl Absorbing {
    #[inline(always)]
    fn new() -> Absorbing {
        let (keys, tags) = ([[0; 32]; KEYS], [[0; 16]; KEYS]);
        let macs = [const { Poly1305::none() }; 2];
        Absorbing { keys, tags, packets: 0, bytes: 0, macs, begun: 0 }
    }

    /// Has so many begun, unless one has.
    #[inline(always)]
    fn begin(&mut self, count: usize) {
        if self.begun > 0 {
            return;
        }
        self.begun = count;
        for (n, mac) in self.macs[..count].iter_mut().enumerate() {
            *mac = Poly1305::new(&self.keys[(self.packets + n) % KEYS]);
        }
    }

    /// Keys are no secret of ours any more when nobody can read them.
    #[inline(always)]
    fn wipe(&mut self) {
        self.keys = [[0; 32]; KEYS];
        self.macs = [const { Poly1305::none() }; 2];
        // Nothing reads these zeros; without this they would not be written.
        black_box(self);
    }

    /// Absorbs what is left of the packets that have been begun, or else of the next one.
    #[inline(always)]
    fn finish(&mut self, packets: &[Packet<'_>]) {
        self.begin(1);
        for (n, mac) in self.macs[..self.begun].iter_mut().enumerate() {
            let Some(Packet { text, .. }) = packets.get(self.packets + n) else { break };
            mac.padded(text, self.bytes);
            self.tags[(self.packets + n) % KEYS] = mac.clone().tag([0, text.len()]);
        }
        (self.packets, self.bytes, self.begun) = (self.packets + self.begun, 0, 0);
    }
}

/// It at work while ChaCha20 makes key stream.
struct Beneath<'w, 'a, const OPENS: bool> {
    absorbing: &'w mut Absorbing,
    packets: &'w [Packet<'a>],
    made: Made,
}

impl<'w, const OPENS: bool> Beneath<'w, '_, OPENS> {
    /// As much of a packet's text as may be absorbed, of which this has not been: what is sealed
    /// already, or all.
    #[inline(always)]
    fn ready(&self, n: usize) -> &'w [u8] {
        let Made { packets, blocks } = self.made;
        let Some(Packet { text, .. }) = self.packets.get(n) else { return &[] };
        let is_ready = n < packets || OPENS && n == packets && blocks > 0;
        let end = if is_ready { text.len() } else { blocks.saturating_sub(1) * BLOCK_LEN };
        text.get(self.absorbing.bytes..end).unwrap_or_default()
    }
}

impl<const OPENS: bool> Beside for Beneath<'_, '_, OPENS> {
    #[inline(always)]
    fn next(&mut self, most: usize) -> Work<'_> {
        loop {
            let Absorbing { packets, bytes, begun, .. } = *self.absorbing;
            let first = self.ready(packets);
            let are_two = begun == 2 || begun == 0 && packets + 1 < self.made.packets;
            if are_two {
                let second = self.ready(packets + 1);
                let count = (first.len().min(second.len()) / PAIR).min(most);
                if count > 0 {
                    self.absorbing.begin(2);
                    self.absorbing.bytes = bytes + count * PAIR;
                    let texts = [first, second].map(
                        #[inline(always)]
                        |text| pieces(&text[..count * PAIR]),
                    );
                    return Work::Two(self.absorbing.macs.each_mut(), texts);
                }
                self.absorbing.begin(2);
            } else {
                let count = (first.len() / WORK).min(most);
                if count > 0 {
                    self.absorbing.begin(1);
                    self.absorbing.bytes = bytes + count * WORK;
                    return Work::One(&mut self.absorbing.macs[0], pieces(&first[..count * WORK]));
                }
                if packets >= self.made.packets {
                    return Work::Nothing;
                }
            }
            self.absorbing.finish(self.packets);
        }
    }
}

/// A burst while it is sealed or opened.
struct Burst<'b, 'a> {
    packets: &'b mut [Packet<'a>],
    made: Made,
    absorbing: Absorbing,
    /// Packets that are done with.
    done: usize,
    /// Blocks at the beginning of the stream that are theirs, when opening.
    used: usize,
}

impl Burst<'_, '_> {
    /// Who has which lane of the pass that starts at `from`, and how far that comes.
    #[inline(always)]
    fn places<L: Lanes>(&self, from: Made, places: &mut Places) -> Made {
        let (mut next, mut lane) = (from, 0);
        while lane < L::BLOCKS {
            let Some(packet) = self.packets.get(next.packets) else { break };
            let all = blocks_of(packet);
            let count = (all - next.blocks).min(L::BLOCKS - lane);
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
        while self.absorbing.packets < self.made.packets {
            self.absorbing.finish(self.packets);
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
    let (made, absorbing) = (Made { packets: 0, blocks: 0 }, Absorbing::new());
    let mut burst = Burst { packets, made, absorbing, done: 0, used: 0 };
    // Places are written a pass ahead: whole vectors of what has just been written in smaller parts
    // would have to wait for it.
    let mut places = [const { Places::new() }; 2];
    let (mut next, mut turn) = (burst.places::<C::Wide>(burst.made, &mut places[0]), 0);
    while burst.made.packets < burst.packets.len() {
        let after = burst.places::<C::Wide>(next, &mut places[1 - turn]);
        if next.packets - burst.absorbing.packets >= KEYS {
            burst.absorb();
        }
        if OPENS && stream.room() < C::Wide::BLOCKS {
            stream.discard(std::mem::take(&mut burst.used));
            if stream.room() < C::Wide::BLOCKS {
                burst.absorb();
                burst.give::<OPENS>(stream.bytes());
                stream.discard(std::mem::take(&mut burst.used));
            }
        }
        let mut work: Beneath<'_, '_, OPENS> =
            Beneath { absorbing: &mut burst.absorbing, packets: burst.packets, made: burst.made };
        let pass = cipher.blocks_at::<C::Wide>(cpu, &places[turn], &mut work);
        if !OPENS {
            stream.rewind();
        }
        burst.give::<OPENS>(stream.bytes());
        let before = stream.bytes().len();
        stream.push::<C::Wide>(pass);
        burst.take::<OPENS>(&stream.bytes()[before..], next);
        (next, turn) = (after, 1 - turn);
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
