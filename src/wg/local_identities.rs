//! Our own static keys: the one of the interface and, while keys are being rotated, a few others.
//!
//! WireGuard gives an interface one private key, and with it one moment at which every peer must
//! know the new one. Here a peer may be bound to an identity of its own, so that a peer that has
//! been told the new key and one that has not are both served. To each peer it is an ordinary
//! WireGuard interface with one key. Without others everything is as the protocol has it.
//!
//! The other half of a rotation is here as well: a peer that changes its key is two peers for a
//! while, and the next takes over from the last with its first word ([`Successors::heard`], which
//! the device calls for whatever has authenticated; nothing else of it knows).

use std::collections::BTreeMap;

use super::consts::MAX_OTHER_IDENTITIES;
use super::cookie::Checker;
use super::index::PeerId;
use super::msg::Macs;
use super::noise::Identity;
use super::router::Router;

/// One identity and the judge of messages to it.
pub struct Own {
    pub identity: Identity,
    pub checker: Checker,
}

impl Own {
    fn new(private: [u8; 32]) -> Own {
        let identity = Identity::new(private);
        let checker = Checker::new(&identity.public);
        Own { identity, checker }
    }
}

#[derive(Default)]
pub struct LocalIdentities {
    main: Option<Own>,
    others: Vec<Own>,
}

impl LocalIdentities {
    /// The main identity, which peers have that are not bound to another.
    pub fn main(&self) -> Option<&Identity> {
        self.main.as_ref().map(|own| &own.identity)
    }

    /// What a peer that is bound to `public` (`None`: to the main identity) shows of us.
    pub fn of(&self, public: Option<&[u8; 32]>) -> Option<&Identity> {
        let Some(public) = public else { return self.main() };
        self.all().map(|own| &own.identity).find(|identity| identity.public == *public)
    }

    pub fn is_ours(&self, public: &[u8; 32]) -> bool {
        self.all().any(|own| own.identity.public == *public)
    }

    /// Whose mac1 is right: at most four hashes, before any public-key work (R29, R94).
    pub fn addressed(&mut self, macs: &Macs) -> Option<&mut Own> {
        self.main.iter_mut().chain(&mut self.others).find(|own| own.checker.mac1_is_right(macs))
    }

    pub fn set_main(&mut self, private: Option<[u8; 32]>) {
        self.main = private.filter(|key| *key != [0; 32]).map(Own::new);
    }

    /// Replaces the others; more than there may be are not taken.
    pub fn set_others(&mut self, privates: &[[u8; 32]]) {
        let set = privates.iter().filter(|key| **key != [0; 32]).take(MAX_OTHER_IDENTITIES);
        self.others = set.map(|key| Own::new(*key)).collect();
    }

    fn all(&self) -> impl Iterator<Item = &Own> {
        self.main.iter().chain(&self.others)
    }
}

/// Peers that have not been heard yet, and whose allowed IPs they get.
#[derive(Default)]
pub struct Successors(BTreeMap<PeerId, PeerId>);

impl Successors {
    /// `next` is to take over from `last`, or from nobody.
    pub fn set(&mut self, next: PeerId, last: Option<PeerId>) {
        self.0.remove(&next);
        self.0.extend(last.filter(|last| *last != next).map(|last| (next, last)));
    }

    /// A peer has proven that it has its key: what it was to take over is its own now, so that no
    /// packet is lost between its handshake and a change of the configuration.
    pub fn heard(&mut self, peer: PeerId, router: &mut Router) {
        let Some(last) = self.0.remove(&peer) else { return };
        for (ip, len) in router.prefixes(last) {
            router.insert(ip, len, peer);
        }
    }

    pub fn forget(&mut self, peer: PeerId) {
        self.0.retain(|next, last| *next != peer && *last != peer);
    }
}
