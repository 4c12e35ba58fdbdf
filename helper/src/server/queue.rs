//! What users have asked for and waits for its turn: few things of each of them, and of all. Must
//! not know: what they are.

use crate::core::peer_cred::Caller;
use crate::proto::{Code, OpError};
use std::collections::VecDeque;

/// Most that wait, of a user and of all of them.
const PER_UID: usize = 8;
const MAX: usize = 32;

pub struct Queue<T>(VecDeque<(Caller, T)>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue(VecDeque::new())
    }
}

impl<T> Queue<T> {
    /// An error where there is none for this user.
    pub fn room(&self, who: Caller) -> Result<(), OpError> {
        let own = self.0.iter().filter(|(waits, _)| waits.uid == who.uid).count();
        if own >= PER_UID || self.0.len() >= MAX {
            let error = OpError::new(Code::LimitExceeded, "too much waits for its turn already");
            return Err(OpError { retry: true, ..error });
        }
        Ok(())
    }

    pub fn push(&mut self, who: Caller, task: T) -> Result<(), OpError> {
        self.room(who)?;
        self.0.push_back((who, task));
        Ok(())
    }

    pub fn pop(&mut self) -> Option<(Caller, T)> {
        self.0.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_fills_it_for_others() {
        let who = |uid| Caller { uid, ..Caller::default() };
        let mut queue = Queue::default();
        let pushed = |queue: &mut Queue<u32>, uid, count| {
            (0..count).filter(|n| queue.push(who(uid), *n).is_ok()).count()
        };
        assert_eq!(pushed(&mut queue, 1, 100), PER_UID);
        assert_eq!(pushed(&mut queue, 2, 1), 1);
        assert_eq!(queue.pop().map(|(who, n)| (who.uid, n)), Some((1, 0)), "in turn");
        assert_eq!(pushed(&mut queue, 1, 2), 1);
        let all: usize = (3..100).map(|uid| pushed(&mut queue, uid, 1)).sum();
        assert_eq!(all, MAX - PER_UID - 1);
        assert!(queue.push(who(200), 0).is_err_and(|e| e.retry));
    }
}
