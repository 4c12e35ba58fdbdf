//! The handshakes of one peer, in both roles: when one begins, and what each message changes.
//!
//! What a message says is `noise`'s; when one may go is `timers`'.

use zeroize::Zeroizing;

use super::super::consts::*;
use super::super::drop::Drop;
use super::super::index::Owner;
use super::super::msg::{CookieReply, Initiation, Response};
use super::super::noise::{self, Consumed, Ephemeral, Remote};
use super::super::session::Session;
use super::super::time::Time;
use super::super::{Arrival, Endpoint};
use super::{Env, Peer, Shared};
use std::net::SocketAddr;
use std::time::Duration;

impl Shared {
    /// 0 to 333 ms, evenly (R64).
    pub(super) fn jitter(&mut self) -> Duration {
        let mut b = [0; 8];
        self.entropy.fill(&mut b);
        Duration::from_millis(u64::from_le_bytes(b) % (REKEY_JITTER_MS + 1))
    }
}

impl Peer {
    /// A handshake if there is no session.
    pub fn handshake(&mut self, env: &mut Env) {
        if self.keys.current_ref().is_none() {
            self.want_handshake(env);
        }
    }

    /// A handshake for a new reason: retries start over (R66), but not sooner than 5 s after the
    /// last (R62).
    pub fn want_handshake(&mut self, env: &mut Env) {
        self.timers.new_cause();
        self.initiate(env);
    }

    /// Message 1, if it may go now (R16, R62).
    pub(super) fn initiate(&mut self, env: &mut Env) {
        if self.reachable().is_err() {
            return;
        }
        // Initiations that crossed leave both peers waiting for the same moment. Unless they wait
        // longer than the path's delay apart, they cross again, for ever (R24).
        let Env { now, shared, .. } = env;
        if !self.timers.may_initiate(now.boot, || shared.jitter() * CROSSING_SPREAD) {
            return;
        }
        let Some(datagram) = self.first_message(env) else { return };
        let jitter = env.shared.jitter();
        self.timers.initiation_sent(env.now.boot, jitter);
        self.emit(env, HANDSHAKE_TOS, &datagram);
        let candidates = std::mem::take(&mut self.candidates);
        self.initiate_at(env, &datagram, &candidates);
        self.candidates = candidates;
    }

    /// Message 1 to `remotes` alone: whether the peer is heard there, too. No timer hears of it, so
    /// that what is due over the way in use stays due; whoever asks asks again (R102).
    pub fn try_at(&mut self, env: &mut Env, remotes: &[SocketAddr]) {
        let now = env.now.boot;
        if self.last_try.is_some_and(|last| now.since(last) < REBIND_INTERVAL) {
            return;
        }
        self.last_try = Some(now);
        let Some(datagram) = self.first_message(env) else { return };
        self.initiate_at(env, &datagram, remotes.get(..CANDIDATES).unwrap_or(remotes));
    }

    fn initiate_at(&mut self, env: &mut Env, datagram: &[u8], remotes: &[SocketAddr]) {
        for remote in remotes {
            self.tx_bytes += datagram.len() as u64;
            let to = Endpoint { remote: *remote, local: None };
            env.sink.to_wire(&to, HANDSHAKE_TOS, datagram);
        }
    }

    /// Message 1, which the one before is forgotten for. `None` without a key for it.
    fn first_message(&mut self, env: &mut Env) -> Option<[u8; INITIATION_LEN]> {
        self.forget_initiation(env);
        let ephemeral = self.take_ephemeral(env)?;
        let me = self.identity(&env.shared.identities);
        let (Some(me), Some(static_static)) = (me, &self.static_static) else { return None };
        let stamp = env.shared.issuer.issue(env.now);
        let owner = Owner::Handshake(self.id);
        let index = env.shared.indices.allot(owner, &mut *env.shared.entropy);
        let remote = Remote { public: &self.public, static_static, preshared: &self.preshared };
        let (initiated, message) = noise::initiate(me, &remote, index, ephemeral, stamp);
        self.initiated = Some((initiated, env.now.boot));
        let mut datagram = message.write();
        self.jar.stamp(env.now.boot, &mut datagram);
        Some(datagram)
    }

    /// The one that was made ahead, or a new one; never the same again (R16).
    fn take_ephemeral(&mut self, env: &mut Env) -> Option<Ephemeral> {
        env.shared.unprepared.insert(self.id);
        self.ephemeral.take().or_else(|| self.new_ephemeral(env.shared))
    }

    fn new_ephemeral(&self, shared: &mut Shared) -> Option<Ephemeral> {
        let mut private = Zeroizing::new([0; 32]);
        shared.entropy.fill(&mut private[..]);
        Ephemeral::new(*private, &self.public)
    }

    /// Makes the next handshake's ephemeral key ahead of it.
    pub fn prepare(&mut self, shared: &mut Shared) {
        if self.ephemeral.is_none() && self.static_static.is_some() {
            self.ephemeral = self.new_ephemeral(shared);
        }
    }

    /// An initiation that this peer's static key was claimed in: proves it, then answers (R17,
    /// R25–R27). Nothing of the peer changes before all checks have passed.
    pub fn receive_initiation(
        &mut self,
        env: &mut Env,
        claimed: noise::Claimed,
        m: &Initiation,
        from: &Arrival,
    ) -> Result<(), Drop> {
        let static_static = self.static_static.as_ref().ok_or(Drop::LowOrder)?;
        let consumed = claimed.authenticate(static_static, m)?;
        if self.last_stamp.is_some_and(|last| consumed.timestamp <= last) {
            return Err(Drop::OldTimestamp);
        }
        let now = env.now.boot;
        if self.last_initiation.is_some_and(|last| now.since(last) < INITIATION_INTERVAL) {
            return Err(Drop::InitiationFlood);
        }
        self.last_stamp = Some(consumed.timestamp);
        self.last_initiation = Some(now);
        self.learn_endpoint(from);
        self.rx_bytes += INITIATION_LEN as u64;
        self.forget_initiation(env);
        self.timers.authenticated_received(now);
        self.respond(env, consumed)
    }

    /// Message 2, and a session that waits as next (R48, R92).
    fn respond(&mut self, env: &mut Env, consumed: Consumed) -> Result<(), Drop> {
        let sender = consumed.sender;
        let ephemeral = self.take_ephemeral(env).ok_or(Drop::LowOrder)?;
        let index = env.shared.indices.allot(Owner::Session(self.id), &mut *env.shared.entropy);
        let Some(static_static) = &self.static_static else { return Err(Drop::LowOrder) };
        let remote = Remote { public: &self.public, static_static, preshared: &self.preshared };
        let Some((message, keys)) = noise::respond(consumed, &remote, index, ephemeral) else {
            env.shared.indices.free(index);
            return Err(Drop::LowOrder);
        };
        let session = Session::new(&keys, false, index, sender, env.now.boot);
        let displaced = self.keys.add_responded(session);
        env.free(displaced);
        let mut datagram = message.write();
        self.jar.stamp(env.now.boot, &mut datagram);
        let jitter = env.shared.jitter();
        self.timers.response_sent(env.now.boot, jitter);
        self.emit(env, HANDSHAKE_TOS, &datagram);
        Ok(())
    }

    /// A response to the initiation under way (R18, R51).
    pub fn receive_response(
        &mut self,
        env: &mut Env,
        m: &Response,
        from: &Arrival,
    ) -> Result<(), Drop> {
        let (initiated, sent) = self.initiated.as_ref().ok_or(Drop::UnknownIndex)?;
        if initiated.index != m.receiver {
            return Err(Drop::UnknownIndex);
        }
        let me = self.identity(&env.shared.identities).ok_or(Drop::NoPrivateKey)?;
        let keys = initiated.finish(me, &self.preshared, m)?;
        self.handshake_rtt = Some(env.now.boot.since(*sent));
        self.initiated = None;
        env.shared.indices.become_session(m.receiver);
        let session = Session::new(&keys, true, m.receiver, m.sender, env.now.boot);
        let displaced = self.keys.add_initiated(session);
        env.free(displaced);
        self.learn_endpoint(from);
        self.rx_bytes += RESPONSE_LEN as u64;
        let jitter = env.shared.jitter();
        self.timers.session_derived(env.now.boot, jitter);
        self.complete(env);
        if self.staged.is_empty() {
            self.send_keepalive(env);
        } else {
            self.flush(env);
        }
        self.timers.authenticated_received(env.now.boot);
        Ok(())
    }

    /// A cookie reply: kept for the next retry, and nothing else moves (R36, R37).
    pub fn receive_cookie(&mut self, now: Time, m: &CookieReply) -> Result<(), Drop> {
        if self.jar.accept(now, m) { Ok(()) } else { Err(Drop::BadCookie) }
    }

    pub(super) fn forget_initiation(&mut self, env: &mut Env) {
        if let Some((old, _)) = self.initiated.take() {
            env.shared.indices.free(old.index);
        }
    }
}
