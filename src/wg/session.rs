//! One transport session: two keys, a counter, a replay window, an age (R04, R52–R56), and the
//! message that it sends and receives. What to do with its key may be done elsewhere, by what is
//! handed out for one message: [`Sealing`], [`Opening`].

use super::consts::*;
use super::crypto::{Aead, Packet, nonce};
use super::drop::Drop;
use super::noise::SessionKeys;
use super::replay::Window;
use super::time::Time;
use std::sync::Arc;

/// Why a session cannot seal any more; the caller stages the packet and starts a handshake (R52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// The first word of a data message (R01, R03).
const DATA: [u8; 4] = [4, 0, 0, 0];

/// Header of a data message; the sealed packet and its tag follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    pub receiver: u32,
    pub counter: u64,
}

impl DataHeader {
    /// `None` for everything that is not a data message (R01, R02).
    pub fn read(datagram: &[u8]) -> Option<DataHeader> {
        let (first, rest) = datagram.split_first_chunk()?;
        let (receiver, rest) = rest.split_first_chunk()?;
        (*first == DATA && datagram.len() >= DATA_MIN_LEN).then_some(DataHeader {
            receiver: u32::from_le_bytes(*receiver),
            counter: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    pub fn write(&self) -> [u8; DATA_HEADER_LEN] {
        let mut out = [0; DATA_HEADER_LEN];
        out[..4].copy_from_slice(&DATA);
        out[4..8].copy_from_slice(&self.receiver.to_le_bytes());
        out[8..].copy_from_slice(&self.counter.to_le_bytes());
        out
    }
}

/// What it takes to seal the datagram that was given its counter: once, by whoever has the time. It
/// keeps the key alive, so it must not outlive the turn.
#[must_use]
pub struct Sealing {
    key: Arc<Aead>,
    counter: u64,
}

impl Sealing {
    /// Seals a datagram of the length that was announced, in place.
    pub fn seal(self, datagram: &mut [u8]) {
        let Some(sealed) = datagram.get_mut(DATA_HEADER_LEN..) else { return };
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAG_LEN>() else { return };
        *tag = self.key.seal(self.counter, &[], text);
    }
}

/// Seals each of these as [`Sealing::seal`] does. Those of one session that stand together are
/// sealed together, which is quicker.
pub fn seal_all<'a>(all: impl Iterator<Item = (Sealing, &'a mut [u8])>) {
    let (mut burst, mut of) = (Vec::new(), None::<Arc<Aead>>);
    for (Sealing { key, counter }, datagram) in all {
        let Some(packet) = packet(counter, datagram) else { continue };
        if let Some(before) = of.filter(|before| !Arc::ptr_eq(before, &key)) {
            before.seal_all(&mut burst);
            burst.clear();
        }
        of = Some(key);
        burst.push(packet);
    }
    if let Some(key) = of {
        key.seal_all(&mut burst);
    }
}

/// What of a datagram is sealed, and by which nonce.
fn packet(counter: u64, datagram: &mut [u8]) -> Option<Packet<'_>> {
    let sealed = datagram.get_mut(DATA_HEADER_LEN..)?;
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
    Some(Packet::new(nonce(counter), text, tag))
}

/// What it takes to open a data message that names a session of ours, by whoever has the time.
#[must_use]
pub struct Opening {
    key: Arc<Aead>,
    counter: u64,
}

/// Opens whole data messages in place; what became of them, in their order. Those of one session
/// that stand together are opened together, which is quicker.
pub fn open_all<'a>(all: impl Iterator<Item = (Opening, &'a mut [u8])>) -> Vec<Opened> {
    let (mut opened, mut places, mut burst) = (Vec::<Opened>::new(), Vec::new(), Vec::new());
    let open = |opened: &mut [Opened], places: &mut Vec<usize>, burst: &mut Vec<Packet<'a>>| {
        if let Some(key) = opened.last().map(|last| last.key.clone()) {
            key.open_all(burst);
        }
        for (place, packet) in places.drain(..).zip(burst.drain(..)) {
            opened[place].authentic = packet.is_authentic();
        }
    };
    for (Opening { key, counter }, datagram) in all {
        if opened.last().is_some_and(|before| !Arc::ptr_eq(&before.key, &key)) {
            open(&mut opened, &mut places, &mut burst);
        }
        if let Some(packet) = packet(counter, datagram) {
            places.push(opened.len());
            burst.push(packet);
        }
        opened.push(Opened { key, authentic: false });
    }
    open(&mut opened, &mut places, &mut burst);
    opened
}

/// What became of an [`Opening`]: nothing is accepted yet.
pub struct Opened {
    key: Arc<Aead>,
    authentic: bool,
}

/// Checks the tag and decrypts a whole data message; the length of the plaintext.
fn open(key: &Aead, counter: u64, datagram: &mut [u8]) -> Result<usize, Drop> {
    let sealed = datagram.get_mut(DATA_HEADER_LEN..).ok_or(Drop::Malformed)?;
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(Drop::Malformed)?;
    key.open(counter, &[], text, tag).map_err(|_| Drop::Forged)?;
    Ok(text.len())
}

pub struct Session {
    send: Arc<Aead>,
    receive: Arc<Aead>,
    /// Cleared when our private key changes: what we hold may not be used to send (R23).
    may_send: bool,
    counter: u64,
    window: Window,
    pub born: Time,
    /// Did we send the initiation? A role of the session, not of the peer (R74).
    pub initiator: bool,
    /// The index the peer puts into its data messages.
    pub local: u32,
    /// The index we put into ours.
    remote: u32,
}

impl Session {
    pub fn new(keys: &SessionKeys, initiator: bool, local: u32, remote: u32, now: Time) -> Session {
        Session {
            send: Arc::new(Aead::new(&keys.send)),
            receive: Arc::new(Aead::new(&keys.receive)),
            may_send: true,
            counter: 0,
            window: Window::default(),
            born: now,
            initiator,
            local,
            remote,
        }
    }

    /// Can this session seal a packet now (R52)?
    pub fn can_send(&self, now: Time) -> bool {
        self.may_send
            && now.since(self.born) < REJECT_AFTER_TIME
            && self.counter < REJECT_AFTER_MESSAGES
    }

    pub fn forbid_sending(&mut self) {
        self.may_send = false;
    }

    /// Writes the header of the next message to the front of `buf`; what seals the rest. Each
    /// counter is used once, whatever becomes of the datagram (R54).
    ///
    /// `buf` must hold a header.
    pub fn next(&mut self, now: Time, buf: &mut [u8]) -> Result<Sealing, Exhausted> {
        if !self.can_send(now) {
            return Err(Exhausted);
        }
        let counter = self.counter;
        self.counter += 1;
        let header = DataHeader { receiver: self.remote, counter }.write();
        buf[..DATA_HEADER_LEN].copy_from_slice(&header);
        Ok(Sealing { key: self.send.clone(), counter })
    }

    /// Is this a datagram of ours?
    pub fn sealed(&self, datagram: &[u8]) -> bool {
        let header = DataHeader { receiver: self.remote, counter: 0 }.write();
        datagram.len() >= DATA_MIN_LEN && datagram[..8] == header[..8]
    }

    /// Opens a whole data message of any length in place (R06): on success the plaintext is
    /// `buf[16..16 + n]`. The window moves only after the tag verified (R55); `opened` is what
    /// became of it where that was done before.
    pub fn open(
        &mut self,
        now: Time,
        counter: u64,
        buf: &mut [u8],
        opened: Option<Opened>,
    ) -> Result<usize, Drop> {
        if now.since(self.born) >= REJECT_AFTER_TIME {
            return Err(Drop::Expired);
        }
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(Drop::CounterLimit);
        }
        let len = match opened {
            None => open(&self.receive, counter, buf)?,
            // The index may have passed to another session meanwhile.
            Some(o) if !o.authentic || !Arc::ptr_eq(&o.key, &self.receive) => {
                return Err(Drop::Forged);
            }
            Some(_) => buf.len().checked_sub(DATA_MIN_LEN).ok_or(Drop::Malformed)?,
        };
        if !self.window.accept(counter) {
            return Err(Drop::Replayed);
        }
        Ok(len)
    }

    /// What [`open`](Self::open) does as far as it changes nothing here.
    pub fn opening(&self, counter: u64) -> Opening {
        Opening { key: self.receive.clone(), counter }
    }

    /// Is it time for a new session, judged when sending (R59, R60)?
    pub fn wants_rekey_on_send(&self, now: Time) -> bool {
        let old = self.initiator && now.since(self.born) >= REKEY_AFTER_TIME;
        self.may_send && (old || self.counter > REKEY_AFTER_MESSAGES)
    }

    /// Is it time for a new session, judged when receiving (R61)?
    pub fn wants_rekey_on_receive(&self, now: Time) -> bool {
        self.may_send && self.initiator && now.since(self.born) >= REKEY_ON_RECEIVE_AFTER
    }

    /// For tests of the counter limits: as if `n` messages had been sent.
    #[cfg(test)]
    pub fn preset_counter(&mut self, n: u64) {
        self.counter = n;
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypto::Secret;
    use super::*;

    #[test]
    fn a_data_message_is_known_by_its_first_word_and_its_length() {
        // R01 R02 R03
        let header = DataHeader { receiver: 1, counter: 0x0807_0605_0403_0201 };
        let mut d = header.write().to_vec();
        assert_eq!(d, [4, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for len in 0..200 {
            d.resize(len.max(DATA_HEADER_LEN), 0xa5);
            d.truncate(len);
            let want = Some(header).filter(|_| len >= 32);
            assert_eq!(DataHeader::read(&d), want, "length {len}");
            d = [&header.write()[..], &vec![0xa5; len]].concat();
        }
        for word in [0u32, 1, 2, 3, 5, 255, 256 + 4, (1 << 24) + 4, u32::MAX] {
            d.resize(64, 0);
            d[..4].copy_from_slice(&word.to_le_bytes());
            assert_eq!(DataHeader::read(&d), None, "type {word}");
        }
    }

    /// What one side sends with, and what the other has.
    fn pair(index: u32) -> (Session, Session) {
        let (a, b) = (Secret::new([index as u8; 32]), Secret::new([0x80 | index as u8; 32]));
        let keys = |send: &Secret, receive: &Secret| SessionKeys {
            send: send.clone(),
            receive: receive.clone(),
        };
        let session = |keys, initiator| Session::new(&keys, initiator, index, index, Time::ZERO);
        (session(keys(&a, &b), true), session(keys(&b, &a), false))
    }

    #[test]
    fn together_datagrams_are_what_they_are_alone() {
        let (mut one, mut other) = (pair(1), pair(2));
        let now = Time::ZERO;
        let mut alone: Vec<Vec<u8>> = Vec::new();
        let mut together: Vec<Vec<u8>> = Vec::new();
        let mut sealings = Vec::new();
        for (n, len) in [100, 0, 1420, 64, 64, 3000, 7].into_iter().enumerate() {
            let session = if n == 3 { &mut other.0 } else { &mut one.0 };
            let mut datagram = vec![n as u8; DATA_MIN_LEN + len];
            let sealing = session.next(now, &mut datagram).unwrap();
            together.push(datagram.clone());
            Sealing { key: sealing.key.clone(), counter: sealing.counter }.seal(&mut datagram);
            alone.push(datagram);
            sealings.push(sealing);
        }
        seal_all(sealings.into_iter().zip(together.iter_mut().map(Vec::as_mut_slice)));
        assert_eq!(together, alone);
        // One is forged, and one is too short to be anything.
        together[4][20] ^= 1;
        together[6].truncate(DATA_HEADER_LEN + 3);
        let openings: Vec<_> = together
            .iter()
            .enumerate()
            .map(|(n, datagram)| {
                let session = if n == 3 { &other.1 } else { &one.1 };
                let counter = u64::from_le_bytes(*datagram[8..].first_chunk().unwrap());
                session.opening(counter)
            })
            .collect();
        let datagrams = together.iter_mut().map(Vec::as_mut_slice);
        let opened = open_all(openings.into_iter().zip(datagrams));
        let told: Vec<bool> = opened.iter().map(|opened| opened.authentic).collect();
        assert_eq!(told, [true, true, true, true, false, true, false]);
        for (n, datagram) in together.iter().enumerate().filter(|(n, _)| told[*n]) {
            let text = &datagram[DATA_HEADER_LEN..datagram.len() - TAG_LEN];
            assert!(text.iter().all(|byte| *byte == n as u8), "{n}");
        }
        // Taken for another session's it is nobody's.
        for (n, opened) in opened.into_iter().enumerate().filter(|(n, _)| *n == 3) {
            let taken = one.1.open(now, 0, &mut together[n], Some(opened));
            assert_eq!(taken, Err(Drop::Forged));
        }
    }
}
