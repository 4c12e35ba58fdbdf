//! mac1, mac2 and cookies (paper §5.4.4, §5.4.7; R29–R41).
//!
//! [`Checker`] is ours: it judges what comes in and makes cookies for others. [`Jar`] is a peer's:
//! it stamps what goes out and keeps the cookie that peer gave us. Whether we are under load is
//! the device's to say.

use std::net::{IpAddr, SocketAddr};

use super::Entropy;
use super::consts::*;
use super::crypto::{self, Secret};
use super::msg::{CookieReply, MAC_LEN, Macs};
use super::time::Time;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// Judges the MACs of messages to us.
pub struct Checker {
    mac1_key: [u8; 32],
    cookie_key: Secret,
    /// The secret behind the cookies we hand out, and since when it is in use.
    secret: Option<(Secret, Time)>,
}

impl Checker {
    /// For messages to `public`, our own static key (R30, R33).
    pub fn new(public: &[u8; 32]) -> Checker {
        Checker {
            mac1_key: crypto::hash(&[LABEL_MAC1, public]),
            cookie_key: Secret::new(crypto::hash(&[LABEL_COOKIE, public])),
            secret: None,
        }
    }

    /// Checked before any public-key work (R29).
    pub fn mac1_is_right(&self, macs: &Macs) -> bool {
        crypto::equal(&macs.mac1, &crypto::mac(&self.mac1_key, &[macs.body]))
    }

    /// Did the sender get our cookie at this very address and port?
    pub fn mac2_is_right(
        &mut self,
        now: Time,
        macs: &Macs,
        from: SocketAddr,
        entropy: &mut dyn Entropy,
    ) -> bool {
        let cookie = self.cookie(now, from, entropy);
        crypto::equal(&macs.mac2, &crypto::mac(&cookie, &[macs.with_mac1]))
    }

    /// The reply to a message with right mac1 whose sender named itself `sender` (R33, R34).
    pub fn reply(
        &mut self,
        now: Time,
        macs: &Macs,
        sender: u32,
        from: SocketAddr,
        entropy: &mut dyn Entropy,
    ) -> CookieReply {
        let mut text = self.cookie(now, from, entropy);
        let mut nonce = [0; 24];
        entropy.fill(&mut nonce);
        let tag = crypto::xseal(&self.cookie_key, &nonce, &macs.mac1, &mut text);
        let mut cookie = [0; MAC_LEN + TAG_LEN];
        cookie[..MAC_LEN].copy_from_slice(&text);
        cookie[MAC_LEN..].copy_from_slice(&tag);
        CookieReply { receiver: sender, nonce, cookie }
    }

    /// MAC over address and port under a secret that is replaced every two minutes (R32).
    fn cookie(&mut self, now: Time, from: SocketAddr, entropy: &mut dyn Entropy) -> [u8; MAC_LEN] {
        let fresh = |since: &Time| now.since(*since) < COOKIE_SECRET_MAX_AGE;
        if !self.secret.as_ref().is_some_and(|(_, since)| fresh(since)) {
            let mut bytes = [0; 32];
            entropy.fill(&mut bytes);
            self.secret = Some((Secret::new(bytes), now));
        }
        let Some((secret, _)) = &self.secret else { unreachable!("set just above") };
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(a) => crypto::mac(secret.bytes(), &[&a.octets(), &port]),
            IpAddr::V6(a) => crypto::mac(secret.bytes(), &[&a.octets(), &port]),
        }
    }
}

/// MACs for messages to one peer, and the cookie it gave us.
pub struct Jar {
    mac1_key: [u8; 32],
    cookie_key: Secret,
    cookie: Option<([u8; MAC_LEN], Time)>,
    /// The mac1 we sent last, until a cookie reply has used it up (R35).
    last_mac1: Option<[u8; MAC_LEN]>,
}

impl Jar {
    /// For messages to the peer with this static key.
    pub fn new(public: &[u8; 32]) -> Jar {
        Jar {
            mac1_key: crypto::hash(&[LABEL_MAC1, public]),
            cookie_key: Secret::new(crypto::hash(&[LABEL_COOKIE, public])),
            cookie: None,
            last_mac1: None,
        }
    }

    /// Fills in both MACs of a message whose MAC fields are zero; mac2 stays zero unless we hold a
    /// fresh cookie (R31).
    pub fn stamp(&mut self, now: Time, message: &mut [u8]) {
        let Some(at) = message.len().checked_sub(2 * MAC_LEN) else { return };
        let (body, macs) = message.split_at_mut(at);
        let mac1 = crypto::mac(&self.mac1_key, &[body]);
        macs[..MAC_LEN].copy_from_slice(&mac1);
        self.last_mac1 = Some(mac1);
        if let Some((cookie, since)) = &self.cookie {
            if now.since(*since) < COOKIE_USE_FOR {
                let mac2 = crypto::mac(cookie, &[body, &mac1]);
                macs[MAC_LEN..].copy_from_slice(&mac2);
            } else {
                self.cookie = None;
            }
        }
    }

    /// Takes a cookie reply if it answers our last message. Nothing else happens: the next retry
    /// carries the cookie (R35–R37).
    #[must_use]
    pub fn accept(&mut self, now: Time, reply: &CookieReply) -> bool {
        let Some(mac1) = &self.last_mac1 else { return false };
        let mut cookie = [0; MAC_LEN];
        cookie.copy_from_slice(&reply.cookie[..MAC_LEN]);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&reply.cookie[MAC_LEN..]);
        if crypto::xopen(&self.cookie_key, &reply.nonce, mac1, &mut cookie, &tag).is_err() {
            return false;
        }
        self.cookie = Some((cookie, now));
        self.last_mac1 = None;
        true
    }
}
