//! Handshake messages from the wire: whether they may cost anything, and whose they are.

use super::super::consts::HANDSHAKE_TOS;
use super::super::drop::Drop;
use super::super::index::Owner;
use super::super::msg::{Macs, Message};
use super::super::noise;
use super::super::time::Now;
use super::super::{Arrival, Endpoint, Sink};
use super::Device;

impl Device {
    /// A message that is no data (R17–R19).
    pub(super) fn handshake(
        &mut self,
        now: Now,
        buf: &[u8],
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<(), Drop> {
        if !self.running {
            return Err(Drop::NotRunning);
        }
        let message = Message::parse(buf).ok_or(Drop::Malformed)?;
        if self.shared.identities.main().is_none() {
            return Err(Drop::NoPrivateKey);
        }
        match &message {
            Message::Initiation(m) => {
                let ours = self.check_macs(now, buf, m.sender, from, sink)?;
                let identities = &self.shared.identities;
                let me = identities.of(Some(&ours)).ok_or(Drop::NoPrivateKey)?;
                let claimed = noise::open_static(me, m)?;
                let id = *self.by_key.get(&claimed.public).ok_or(Drop::UnknownPeer)?;
                let peer = self.peers.get(&id).ok_or(Drop::UnknownPeer)?;
                if peer.identity(identities).is_none_or(|bound| bound.public != ours) {
                    return Err(Drop::UnknownPeer);
                }
                self.with_peer(now, id, sink, |p, env| p.receive_initiation(env, claimed, m, from))
            }
            Message::Response(m) => {
                self.check_macs(now, buf, m.sender, from, sink)?;
                let Some(Owner::Handshake(id)) = self.shared.indices.get(m.receiver) else {
                    return Err(Drop::UnknownIndex);
                };
                self.with_peer(now, id, sink, |p, env| p.receive_response(env, m, from))?;
                self.successors.heard(id, &mut self.router);
                Ok(())
            }
            Message::Cookie(m) => {
                let owner = self.shared.indices.get(m.receiver).ok_or(Drop::UnknownIndex)?;
                let peer = self.peers.get_mut(&owner.peer()).ok_or(Drop::UnknownIndex)?;
                peer.receive_cookie(now.boot, m)
            }
        }
    }

    /// mac1 always; mac2 and the limiter under load, or else a cookie (R29, R38–R40). Comes before
    /// any public-key work (R94). Which of our public keys the message is for.
    fn check_macs(
        &mut self,
        now: Now,
        datagram: &[u8],
        sender: u32,
        from: &Arrival,
        sink: &mut dyn Sink,
    ) -> Result<[u8; 32], Drop> {
        let macs = Macs::of(datagram).ok_or(Drop::Malformed)?;
        let own = self.shared.identities.addressed(&macs).ok_or(Drop::BadMac1)?;
        let (public, checker) = (own.identity.public, &mut own.checker);
        if !self.load.is_high(now.boot) {
            return Ok(public);
        }
        let entropy = &mut *self.shared.entropy;
        if !checker.mac2_is_right(now.boot, &macs, from.remote, entropy) {
            let reply = checker.reply(now.boot, &macs, sender, from.remote, entropy);
            let to = Endpoint { remote: from.remote, local: from.local };
            sink.to_wire(&to, HANDSHAKE_TOS, &reply.write());
            return Err(Drop::CookieSent);
        }
        match self.load.allow(now.boot, from.remote.ip()) {
            true => Ok(public),
            false => Err(Drop::RateLimited),
        }
    }

    /// How many handshake datagrams wait in the shell's queue (R38). Call before each of them.
    pub fn set_queued(&mut self, now: Now, queued: usize) {
        self.load.note_queued(now.boot, queued);
    }
}
