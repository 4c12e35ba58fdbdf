//! What a peer is told to be: which key of ours it knows, its preshared key, where it is.

use std::net::SocketAddr;

use super::super::consts::CANDIDATES;
use super::super::crypto::Secret;
use super::super::endpoint::Endpoint;
use super::super::local_identities::LocalIdentities;
use super::super::noise::Identity;
use super::{Env, Peer};

impl Peer {
    /// Which of our identities this peer knows.
    pub fn identity<'a>(&self, all: &'a LocalIdentities) -> Option<&'a Identity> {
        all.of(self.local_key.as_ref())
    }

    /// From now on this peer knows us by another of our public keys.
    pub fn bind(&mut self, env: &mut Env, public: Option<[u8; 32]>) {
        self.local_key = public;
        self.identities_changed(env);
    }

    /// Our identities are others now; the one that this peer knows may be what it was.
    pub fn identities_changed(&mut self, env: &mut Env) {
        let identity = self.identity(&env.shared.identities);
        if identity.map(|i| i.public) != self.dh_identity {
            self.identity_changed(env);
        }
    }

    /// Our own key pair changed (R23). A peer that is bound to another pair is not concerned.
    pub fn identity_changed(&mut self, env: &mut Env) {
        let identity = self.identity(&env.shared.identities);
        let dh_identity = identity.map(|i| i.public);
        if self.local_key.is_some() && dh_identity.is_some() && dh_identity == self.dh_identity {
            return;
        }
        self.static_static = identity.and_then(|i| i.static_static(&self.public));
        self.dh_identity = dh_identity;
        self.forget_initiation(env);
        self.keys.forbid_sending();
        self.timers.permit_initiation();
    }

    /// For later handshakes only (R13).
    pub fn set_preshared(&mut self, key: [u8; 32]) {
        self.preshared = Secret::new(key);
    }

    pub fn preshared(&self) -> &[u8; 32] {
        self.preshared.bytes()
    }

    pub fn set_endpoint(&mut self, remote: SocketAddr) {
        self.endpoint = Some(Endpoint { remote, local: None });
        self.candidates.clear();
    }

    /// The peer is at one of these addresses, and the endpoint is a guess. Each initiation goes to
    /// all of them; what answers first is the endpoint (R88).
    pub fn set_candidates(&mut self, remotes: &[SocketAddr]) {
        let known = self.endpoint.map(|e| e.remote).filter(|r| remotes.contains(r));
        let Some(guess) = known.or(remotes.first().copied()) else { return };
        if known.is_none() {
            self.set_endpoint(guess);
        }
        let others = remotes.iter().filter(|r| **r != guess).take(CANDIDATES);
        self.candidates = others.copied().collect();
    }
}
