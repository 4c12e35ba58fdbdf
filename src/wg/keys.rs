//! The three key slots of a peer and the only ways between them (R46–R50, R57, R58).

use super::session::Session;

/// previous: still opens late packets. current: seals and opens. next: opens; nothing is ever
/// sealed with it (R50).
#[derive(Default)]
pub struct Keys {
    previous: Option<Session>,
    current: Option<Session>,
    next: Option<Session>,
}

/// Sessions that were displaced; their indices are to be freed (R44).
#[must_use]
pub struct Displaced(pub [Option<Session>; 2]);

impl Displaced {
    pub fn indices(self) -> impl Iterator<Item = u32> {
        self.0.into_iter().flatten().map(|s| s.local)
    }
}

impl Keys {
    /// The session to send with, whatever its state.
    pub fn current(&mut self) -> Option<&mut Session> {
        self.current.as_mut()
    }

    pub fn current_ref(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// The session that the peer addresses as `local`.
    pub fn find(&mut self, local: u32) -> Option<&mut Session> {
        [&mut self.current, &mut self.next, &mut self.previous]
            .into_iter()
            .flatten()
            .find(|s| s.local == local)
    }

    /// We initiated: the new session is confirmed and becomes current. A waiting next, else the
    /// old current, becomes previous (R47).
    pub fn add_initiated(&mut self, new: Session) -> Displaced {
        assert!(new.initiator, "role and slot belong together");
        let old_current = self.current.replace(new);
        let (keep, lose) = match self.next.take() {
            Some(next) => (Some(next), old_current),
            None => (old_current, None),
        };
        let old_previous = std::mem::replace(&mut self.previous, keep);
        Displaced([old_previous, lose])
    }

    /// We responded: the new session waits as next for its first packet; an older next and
    /// previous go (R48).
    pub fn add_responded(&mut self, new: Session) -> Displaced {
        assert!(!new.initiator, "role and slot belong together");
        Displaced([self.next.replace(new), self.previous.take()])
    }

    /// The first authenticated packet on next promotes it (R49). `None` if `local` is not next.
    pub fn promote(&mut self, local: u32) -> Option<Displaced> {
        if self.next.as_ref()?.local != local {
            return None;
        }
        let old_current = std::mem::replace(&mut self.current, self.next.take());
        let old_previous = std::mem::replace(&mut self.previous, old_current);
        Some(Displaced([old_previous, None]))
    }

    /// Our private key changed: nothing held may seal any more (R23).
    pub fn forbid_sending(&mut self) {
        for s in [&mut self.current, &mut self.next].into_iter().flatten() {
            s.forbid_sending();
        }
    }

    /// Wipes all three (R57) and returns their indices.
    pub fn clear(&mut self) -> impl Iterator<Item = u32> + use<> {
        let all = [self.previous.take(), self.current.take(), self.next.take()];
        all.into_iter().flatten().map(|s| s.local)
    }

    /// Sessions held, for invariants in tests.
    #[cfg(test)]
    pub fn slots(&self) -> [Option<u32>; 3] {
        [&self.previous, &self.current, &self.next].map(|s| s.as_ref().map(|s| s.local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::noise::SessionKeys;
    use crate::time::Time;

    fn session(local: u32, initiator: bool) -> Session {
        let keys = SessionKeys { send: Secret::new([1; 32]), receive: Secret::new([2; 32]) };
        Session::new(&keys, initiator, local, 0, Time::ZERO)
    }

    fn lost(d: Displaced) -> Vec<u32> {
        d.indices().collect()
    }

    #[test]
    fn initiator_sessions_are_current_at_once_and_push_current_to_previous() {
        // R47
        let mut k = Keys::default();
        assert!(lost(k.add_initiated(session(1, true))).is_empty());
        assert!(lost(k.add_initiated(session(2, true))).is_empty());
        assert_eq!(k.slots(), [Some(1), Some(2), None]);
        assert_eq!(lost(k.add_initiated(session(3, true))), [1]);
        assert_eq!(k.slots(), [Some(2), Some(3), None]);
    }

    #[test]
    fn a_waiting_next_becomes_previous_when_we_initiate() {
        // R47
        let mut k = Keys::default();
        let _ = k.add_initiated(session(1, true));
        let _ = k.add_initiated(session(2, true));
        assert_eq!(lost(k.add_responded(session(3, false))), [1]);
        assert_eq!(lost(k.add_initiated(session(4, true))), [2]);
        assert_eq!(k.slots(), [Some(3), Some(4), None]);
    }

    #[test]
    fn responder_sessions_wait_as_next_and_displace_next_and_previous() {
        // R48 R50
        let mut k = Keys::default();
        let _ = k.add_initiated(session(1, true));
        let _ = k.add_initiated(session(2, true));
        assert_eq!(lost(k.add_responded(session(3, false))), [1]);
        assert_eq!(lost(k.add_responded(session(4, false))), [3]);
        assert_eq!(k.slots(), [None, Some(2), Some(4)]);
        assert_eq!(k.current().unwrap().local, 2);
    }

    #[test]
    fn the_first_packet_on_next_promotes_it_once() {
        // R49 R58
        let mut k = Keys::default();
        let _ = k.add_initiated(session(1, true));
        let _ = k.add_responded(session(2, false));
        assert!(k.promote(1).is_none());
        assert!(lost(k.promote(2).unwrap()).is_empty());
        assert_eq!(k.slots(), [Some(1), Some(2), None]);
        assert!(k.promote(2).is_none());
        assert!(k.find(1).is_some(), "previous still opens");
    }

    #[test]
    fn clear_returns_every_index() {
        // R57
        let mut k = Keys::default();
        let _ = k.add_initiated(session(1, true));
        let _ = k.add_initiated(session(2, true));
        let _ = k.add_responded(session(3, false));
        let mut gone: Vec<_> = k.clear().collect();
        gone.sort();
        assert_eq!(gone, [2, 3]);
        assert_eq!(k.slots(), [None; 3]);
    }
}
