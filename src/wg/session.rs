//! One transport session: two keys, a counter, a replay window, an age (R04, R52–R56).

use super::consts::*;
use super::crypto::Aead;
use super::drop::Drop;
use super::msg::DataHeader;
use super::noise::SessionKeys;
use super::replay::Window;
use super::time::Time;

/// Why a session cannot seal any more; the caller stages the packet and starts a handshake (R52).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

pub struct Session {
    send: Aead,
    receive: Aead,
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
            send: Aead::new(&keys.send),
            receive: Aead::new(&keys.receive),
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
        if !self.can_send(now) {
            return Err(Exhausted);
        }
        let counter = self.counter;
        self.counter += 1;
        let (header, rest) = buf.split_at_mut(DATA_HEADER_LEN);
        header.copy_from_slice(&DataHeader { receiver: self.remote, counter }.write());
        let (text, tail) = rest.split_at_mut(len);
        let tag = self.send.seal(counter, &[], text);
        tail[..TAG_LEN].copy_from_slice(&tag);
        Ok(DATA_HEADER_LEN + len + TAG_LEN)
    }

    /// Is this a datagram of ours?
    pub fn sealed(&self, datagram: &[u8]) -> bool {
        let header = DataHeader { receiver: self.remote, counter: 0 }.write();
        datagram.len() >= DATA_MIN_LEN && datagram[..8] == header[..8]
    }

    /// Opens a whole data message of any length in place (R06): on success the plaintext is
    /// `buf[16..16 + n]`. The window moves only after the tag verified (R55).
    pub fn open(&mut self, now: Time, counter: u64, buf: &mut [u8]) -> Result<usize, Drop> {
        if now.since(self.born) >= REJECT_AFTER_TIME {
            return Err(Drop::Expired);
        }
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(Drop::CounterLimit);
        }
        let sealed = buf.get_mut(DATA_HEADER_LEN..).ok_or(Drop::Malformed)?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(Drop::Malformed)?;
        self.receive.open(counter, &[], text, tag).map_err(|_| Drop::Forged)?;
        if !self.window.accept(counter) {
            return Err(Drop::Replayed);
        }
        Ok(text.len())
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
