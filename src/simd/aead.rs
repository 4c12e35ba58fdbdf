//! Seal and open of one packet, written once for all backends.
//!
//! The first pass of ChaCha20 makes the key of Poly1305 (block 0) and the first blocks of the key
//! stream; while the later passes run, Poly1305 hashes what is there already. It knows no vectors.

use subtle::ConstantTimeEq;

use super::chacha20::{BLOCK_LEN, Beside, ChaCha20, Lanes, Nothing, WORK};
use super::forged::Forged;
use super::poly1305::{Mac, Poly1305};
use super::stream::{Room, Stream};

/// Blocks of key stream that are kept: the key of Poly1305 and as many as a packet of 1472 bytes
/// needs. Two passes of eight and sixteen fill it, or three of eight.
const BLOCKS: usize = 24;

/// What a backend is made of. A value of `Self` is the proof that this processor can run it.
pub trait Cpu: Copy {
    type Wide: Lanes<Cpu = Self>;
    type Middle: Lanes<Cpu = Self>;
    type Narrow: Lanes<Cpu = Self>;
    type Mac: Mac<Self>;
}

/// Poly1305 at work on `text` while ChaCha20 makes key stream.
struct Hashing<'a, C: Cpu> {
    mac: C::Mac,
    text: &'a [u8],
}

impl<C: Cpu> Beside for Hashing<'_, C> {
    #[inline(always)]
    fn text(&mut self) -> Option<(&mut Poly1305, &[[u8; WORK]])> {
        let text = pieces(self.text);
        (C::Mac::BESIDE && !text.is_empty()).then(|| (self.mac.plain(), text))
    }

    #[inline(always)]
    fn absorbed(&mut self, count: usize) {
        self.text = &self.text[count * WORK..];
    }
}

/// As many as are whole.
#[inline(always)]
pub(super) fn pieces(text: &[u8]) -> &[[u8; WORK]] {
    let count = text.len() / WORK;
    // SAFETY: so many pieces lie within the text, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(text.as_ptr().cast(), count) }
}

/// The passes over one packet.
struct Passes<C> {
    cpu: C,
    cipher: ChaCha20,
    /// Blocks made, and blocks that the packet needs, the first for the key of Poly1305.
    made: usize,
    needed: usize,
}

impl<C: Cpu> Passes<C> {
    #[inline(always)]
    fn new(cpu: C, key: &[u8; 32], nonce: &[u8; 12], text_len: usize) -> Passes<C> {
        let needed = 1 + text_len.div_ceil(BLOCK_LEN);
        Passes { cpu, cipher: ChaCha20::new(key, nonce), made: 0, needed }
    }

    fn are_done(&self) -> bool {
        self.made >= self.needed
    }

    /// One pass into `stream`: the narrowest that does, of those that it has room for.
    #[inline(always)]
    fn next(&mut self, stream: &mut Stream<'_>, beside: &mut impl Beside) {
        let (wide, middle) = (C::Wide::BLOCKS, C::Middle::BLOCKS);
        let (missing, room) = (self.needed - self.made, stream.room());
        if wide > middle && missing > middle && room >= wide {
            stream.push::<C::Wide>(self.cipher.blocks::<C::Wide>(self.cpu, self.made, beside));
            self.made += wide;
        } else if middle > C::Narrow::BLOCKS && missing > C::Narrow::BLOCKS && room >= middle {
            stream.push::<C::Middle>(self.cipher.blocks::<C::Middle>(self.cpu, self.made, beside));
            self.made += middle;
        } else {
            stream.push::<C::Narrow>(self.cipher.blocks::<C::Narrow>(self.cpu, self.made, beside));
            self.made += C::Narrow::BLOCKS;
        }
    }
}

/// XORs as much of `text` as `stream` reaches; returns how much that is.
#[inline(always)]
pub(super) fn xor(text: &mut [u8], stream: &[u8]) -> usize {
    let n = text.len().min(stream.len());
    let (mut text, mut stream) = (&mut text[..n], &stream[..n]);
    // Fixed lengths become vectors.
    (text, stream) = xor_chunks::<64>(text, stream);
    (text, stream) = xor_chunks::<16>(text, stream);
    for (t, s) in text.iter_mut().zip(stream) {
        *t ^= s;
    }
    n
}

/// XORs chunks of `N` bytes as long as there are any; returns what is left, of equal lengths.
#[inline(always)]
fn xor_chunks<'t, 's, const N: usize>(
    text: &'t mut [u8],
    stream: &'s [u8],
) -> (&'t mut [u8], &'s [u8]) {
    let whole = text.len() - text.len() % N;
    let (text, text_rest) = text.split_at_mut(whole);
    let (stream, stream_rest) = stream.split_at(whole);
    for (text, stream) in text.chunks_exact_mut(N).zip(stream.chunks_exact(N)) {
        if let (Some(t), Some(s)) = (text.first_chunk_mut::<N>(), stream.first_chunk::<N>()) {
            let mut i = 0;
            while i < N {
                t[i] ^= s[i];
                i += 1;
            }
        }
    }
    (text_rest, stream_rest)
}

/// Constant-time equality; nothing shows but the answer.
#[inline(always)]
pub(super) fn equal(a: &[u8; 16], b: &[u8; 16]) -> bool {
    let difference = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
    (difference as u64 | (difference >> 64) as u64).ct_eq(&0).into()
}

/// The key of Poly1305: the beginning of block 0.
#[inline(always)]
fn mac_key<'a>(stream: &'a Stream<'_>) -> &'a [u8; 32] {
    match stream.bytes().first_chunk() {
        Some(key) => key,
        None => unreachable!("the first pass has been made"),
    }
}

#[inline(always)]
pub fn seal<C: Cpu>(
    cpu: C,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    let mut passes = Passes::new(cpu, key, nonce, text.len());
    let mut room = Room::<BLOCKS>::new();
    let mut stream = Stream::new(&mut room);
    passes.next(&mut stream, &mut Nothing);
    let mut mac = C::Mac::new(cpu, mac_key(&stream), aad);
    let mut sealed = xor(text, &stream.bytes()[BLOCK_LEN..]);
    let mut hashed = 0;
    while !passes.are_done() {
        let mut work = Hashing::<C> { mac, text: &text[hashed..sealed] };
        stream.rewind();
        passes.next(&mut stream, &mut work);
        hashed = sealed - work.text.len();
        mac = work.mac;
        sealed += xor(&mut text[sealed..], stream.bytes());
    }
    mac.finish(&text[hashed..], [aad.len(), text.len()])
}

#[inline(always)]
pub fn open<C: Cpu>(
    cpu: C,
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Forged> {
    let mut passes = Passes::new(cpu, key, nonce, text.len());
    let mut room = Room::<BLOCKS>::new();
    let mut stream = Stream::new(&mut room);
    passes.next(&mut stream, &mut Nothing);
    let mac = C::Mac::new(cpu, mac_key(&stream), aad);
    let mut work = Hashing::<C> { mac, text };
    // What the stream holds is made while Poly1305 works; what does not fit, when the tag is known.
    while !passes.are_done() && passes.made < BLOCKS {
        passes.next(&mut stream, &mut work);
    }
    let ours = work.mac.finish(work.text, [aad.len(), text.len()]);
    if !equal(&ours, tag) {
        return Err(Forged);
    }
    let mut opened = xor(text, &stream.bytes()[BLOCK_LEN..]);
    while !passes.are_done() {
        stream.rewind();
        passes.next(&mut stream, &mut Nothing);
        opened += xor(&mut text[opened..], stream.bytes());
    }
    Ok(())
}
