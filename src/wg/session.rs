//! One transport session: two keys, a counter, a replay window, an age (R04, R52–R56).

use super::consts::*;
use super::crypto::Aead;
use super::drop::Drop;
use super::msg::DataHeader;
use super::noise::SessionKeys;
use super::replay::Window;
use super::time::Time;
use std::sync::Arc;

/// Why a session cannot seal any more; the caller stages the packet and starts a handshake (R52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// A datagram that has its counter already and is still to be sealed, by whoever has the time. It
/// keeps the key alive, so it must not outlive the turn.
pub struct Sealing {
    key: Arc<Aead>,
    counter: u64,
}

impl Sealing {
    /// Seals a datagram of the length that was announced, in place.
    pub fn seal(&self, datagram: &mut [u8]) {
        let Some(sealed) = datagram.get_mut(DATA_HEADER_LEN..) else { return };
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAG_LEN>() else { return };
        *tag = self.key.seal(self.counter, &[], text);
    }
}

/// A data message that names a session of ours, and is still to be opened by whoever has the time.
pub struct Opening {
    key: Arc<Aead>,
    counter: u64,
}

impl Opening {
    /// Opens a whole data message in place.
    pub fn open(self, datagram: &mut [u8]) -> Opened {
        Opened { authentic: open(&self.key, self.counter, datagram).is_ok(), key: self.key }
    }
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

    /// Seals `buf[16..16 + len]`, which is padded already, into a whole datagram in place and
    /// returns its length. Each counter is used once, whatever becomes of the datagram (R54).
    ///
    /// `buf` must hold `len` + 32 bytes.
    pub fn seal(&mut self, now: Time, buf: &mut [u8], len: usize) -> Result<usize, Exhausted> {
        let counter = self.take_counter(now, buf)?;
        let (text, tail) = buf[DATA_HEADER_LEN..].split_at_mut(len);
        let tag = self.send.seal(counter, &[], text);
        tail[..TAG_LEN].copy_from_slice(&tag);
        Ok(DATA_HEADER_LEN + len + TAG_LEN)
    }

    /// [`seal`](Self::seal) without the sealing, which is left to the caller.
    pub fn seal_later(
        &mut self,
        now: Time,
        buf: &mut [u8],
        len: usize,
    ) -> Result<(usize, Sealing), Exhausted> {
        let counter = self.take_counter(now, buf)?;
        let sealing = Sealing { key: self.send.clone(), counter };
        Ok((DATA_HEADER_LEN + len + TAG_LEN, sealing))
    }

    /// Writes the header of the next message; its counter.
    fn take_counter(&mut self, now: Time, buf: &mut [u8]) -> Result<u64, Exhausted> {
        if !self.can_send(now) {
            return Err(Exhausted);
        }
        let counter = self.counter;
        self.counter += 1;
        let header = DataHeader { receiver: self.remote, counter }.write();
        buf[..DATA_HEADER_LEN].copy_from_slice(&header);
        Ok(counter)
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

    /// [`open`](Self::open) as far as it needs no right to change anything.
    pub fn open_later(&self, counter: u64) -> Opening {
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
