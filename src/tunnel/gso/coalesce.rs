//! Inner packets on their way to the TUN, neighbours of a flow put together again.
//!
//! The inverse of `segment`: what is merged here, cut up by those rules, gives the same packets. A
//! packet with a wrong checksum is never merged, for the kernel would take the whole for sound and
//! send it on with a right one. Packets of a flow keep their order (R86): whatever does not
//! continue the last packet of its flow stands behind it, and so does all that comes after.

use super::flow::{self, Ids, Shape};
use super::rewrite::Headers;
use super::virtio_header::{HEADER_LEN, Header, Kind, PLAIN};
use crate::sys::ioctl::Offload;
use std::io::IoSlice;

/// Packets, merged or not, that are held back at most; then they must be written.
pub const ENTRIES: usize = 64;
/// How far back a packet looks for the one that it continues: about as many flows side by side.
const LOOK_BACK: usize = 16;
/// Packets in one, as the kernel has it, and bytes, as the length field has it.
const PIECES: usize = 64;
const BYTES: usize = 65_535;

/// Bytes `start..start + len` of the receive buffer.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: u32,
    len: u16,
}

impl Piece {
    fn new(start: usize, len: usize) -> Option<Piece> {
        Some(Piece { start: u32::try_from(start).ok()?, len: u16::try_from(len).ok()? })
    }

    fn of<'a>(&self, space: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        space.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

struct Entry {
    /// None for what merging does not understand: nothing is moved past it.
    shape: Option<Shape>,
    /// The first packet whole, of the others their payload.
    pieces: [Piece; PIECES],
    count: usize,
    /// All bytes, with the headers of the first.
    len: usize,
    /// Payload of each packet but the last.
    segment: usize,
    ids: Option<Ids>,
    /// The first packet's checksums are known to be right.
    sound: bool,
    open: bool,
}

impl Entry {
    const EMPTY: Entry = Entry {
        shape: None,
        pieces: [Piece { start: 0, len: 0 }; PIECES],
        count: 0,
        len: 0,
        segment: 0,
        ids: None,
        sound: false,
        open: false,
    };

    fn begin(&mut self, shape: Option<Shape>, piece: Piece, open: bool) {
        self.shape = shape;
        self.count = 1;
        self.len = usize::from(piece.len);
        self.segment = self.len.saturating_sub(shape.map_or(0, |s| s.head));
        self.ids = None;
        self.sound = false;
        self.open = open;
        if let Some(first) = self.pieces.first_mut() {
            *first = piece;
        }
    }

    fn first<'a>(&self, space: &'a [u8]) -> &'a [u8] {
        self.pieces.first().map_or(&[], |p| p.of(space))
    }

    /// Take `packet`, which has the shape `s` and lies at `start`, if it continues this one.
    fn extend(&mut self, s: &Shape, space: &[u8], start: usize, packet: &[u8]) -> Option<()> {
        let first = self.first(space);
        let payload = packet.len().checked_sub(s.head)?;
        let mine = self.shape.as_ref()?;
        let alike = mine.kind == s.kind && mine.transport == s.transport && mine.head == s.head;
        let fits = self.open
            && alike
            && s.ordinary
            && payload <= self.segment
            && self.len + payload <= BYTES
            && s.agrees(first, packet);
        if !fits {
            return None;
        }
        if s.kind != Kind::Udp {
            let before = u32::try_from(self.len - s.head).ok()?;
            let expected = s.sequence(first)?.wrapping_add(before);
            (s.sequence(packet)? == expected).then_some(())?;
        }
        let mut ids = None;
        if s.is_v4() {
            ids = Some(flow::ids(first, packet, u16::try_from(self.count).ok()?, self.ids)?);
        }
        // Last, because it looks at every byte.
        if !self.sound && !s.is_sound(first) {
            self.open = false;
            return None;
        }
        self.sound = true;
        s.is_sound(packet).then_some(())?;
        *self.pieces.get_mut(self.count)? = Piece::new(start + s.head, payload)?;
        self.ids = ids;
        self.count += 1;
        self.len += payload;
        self.open = payload == self.segment && !s.push && self.count < PIECES;
        if s.push {
            // Marks the whole; the last packet cut from it will carry it alone.
            self.shape = Some(Shape { push: true, ..*s });
        }
        Some(())
    }

    /// Make the first packet's headers those of the whole, with the virtio-net header in front.
    fn finish(&self, space: &mut [u8]) -> Option<()> {
        let start = self.pieces.first()?.start as usize;
        let front = start.checked_sub(HEADER_LEN)?;
        let head = space.get_mut(front..)?;
        let (vnet, packet) = head.split_first_chunk_mut()?;
        *vnet = PLAIN;
        let Some(s) = self.shape.filter(|_| self.count > 1) else { return Some(()) };
        let packet = packet.get_mut(..s.head)?;
        let pseudo = s.pseudo(packet, u16::try_from(self.len - s.transport).ok()?);
        let headers = Headers { kind: s.kind, network: 0, transport: s.transport };
        headers.whole(packet, u16::try_from(self.len).ok()?, s.push, pseudo)?;
        let header = Header {
            kind: s.kind,
            segment: u16::try_from(self.segment).ok()?,
            head: u16::try_from(s.head).ok()?,
            checksum: Some((
                u16::try_from(s.transport).ok()?,
                u16::try_from(s.kind.checksum_offset()).ok()?,
            )),
            tunnel: None,
        };
        *vnet = header.write();
        Some(())
    }
}

pub struct Coalescer {
    entries: Box<[Entry; ENTRIES]>,
    used: usize,
    offload: Offload,
}

impl Coalescer {
    /// `offload` is what the TUN takes.
    pub fn new(offload: Offload) -> Coalescer {
        Coalescer { entries: Box::new([Entry::EMPTY; ENTRIES]), used: 0, offload }
    }

    pub fn is_full(&self) -> bool {
        self.used >= ENTRIES
    }

    /// Take the packet `space[start..start + len]`. There must be room for one more, and
    /// [`HEADER_LEN`] bytes in front of the packet that nobody needs.
    pub fn push(&mut self, space: &[u8], start: usize, len: usize) {
        let Some(piece) = Piece::new(start, len) else { return };
        let packet = piece.of(space);
        let merges = self.offload >= Offload::Tcp;
        let shape = if merges { Shape::of(packet) } else { None };
        if let Some(s) = shape {
            let last = self.entries.iter_mut().take(self.used).rev().take(LOOK_BACK);
            // Stops at what is not understood, and at the latest of the same flow.
            let found = last
                .map_while(|e| e.shape.map(|of| (of.flow, e)))
                .find(|(flow, _)| *flow == s.flow);
            if let Some((_, entry)) = found {
                if entry.extend(&s, space, start, packet).is_some() {
                    return;
                }
            }
        }
        let mergeable = |s: Shape| s.kind != Kind::Udp || self.offload >= Offload::Udp;
        let open = shape.is_some_and(|s| s.ordinary && !s.push && mergeable(s));
        if let Some(entry) = self.entries.get_mut(self.used) {
            entry.begin(shape, piece, open);
            self.used += 1;
        }
    }

    /// Hand everything to `write` in order, each as its parts with the virtio-net header in front,
    /// and be empty.
    pub fn drain(&mut self, space: &mut [u8], mut write: impl FnMut(&[IoSlice<'_>])) {
        for entry in self.entries.iter().take(self.used) {
            // Every entry was made from a packet that lies in `space` behind a data header.
            if entry.finish(space).is_none() {
                continue;
            }
            let mut parts = [IoSlice::new(&[]); PIECES];
            let pieces = entry.pieces.iter().take(entry.count);
            for (part, piece) in parts.iter_mut().zip(pieces) {
                *part = IoSlice::new(piece.of(space));
            }
            if let (Some(part), Some(first)) = (parts.first_mut(), entry.pieces.first()) {
                let (start, len) = (first.start as usize, usize::from(first.len));
                let front = start.saturating_sub(HEADER_LEN);
                *part = IoSlice::new(space.get(front..start + len).unwrap_or_default());
            }
            write(parts.get(..entry.count).unwrap_or_default());
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tunnel_tests;
