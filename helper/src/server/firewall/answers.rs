//! What the worker answers, and what follows: a change is made, undone, or told; the table is as it
//! should be, or made anew. Must not know: who waits for which turn.

use crate::core::peer_cred::Caller;
use crate::proto::OpError;
use crate::server::firewall::change::{self, Begun};
use crate::server::firewall::effective::{self, Effective};
use crate::server::firewall::grants::{AGAIN, Firewall, Now};
use crate::server::firewall::store::{Row, Status};
use crate::server::firewall::table;
use crate::server::nft::Seen;
use crate::server::rows::fitting;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

impl Firewall {
    pub(super) fn answered(&mut self, now: Now, answer: Result<Seen, String>) {
        let handles = |seen: &Seen| table::handles(&change::rules(&self.state), seen.own.as_ref());
        let answer = answer.map(|seen| (handles(&seen), seen));
        let outcome = match (now, answer) {
            (Now::Making(who, begun), answer) => return self.made(who, begun, answer),
            (Now::Undoing(who, error), answer) => {
                self.settled(&answer);
                (who, Err(error))
            }
            (Now::Listing(who, app), Ok((handles, seen))) => {
                (who, Ok(self.list(who, app.as_deref(), handles, &seen).into()))
            }
            (Now::Listing(who, _), Err(why)) => (who, Err(OpError::kernel(why))),
            (Now::Looking, Ok((Some(_), _))) => return self.trouble = None,
            (Now::Looking, _) => return self.ask(Now::Mending),
            (Now::Mending, answer) => {
                self.settled(&answer);
                self.changes
                    .extend(self.trouble.is_none().then(|| format!("{} made anew", table::FULL)));
                return;
            }
        };
        self.done.push_back((outcome.0.conn, outcome.1));
    }

    /// Whether the kernel has what the disk says.
    fn settled(&mut self, answer: &Result<(Option<Vec<u64>>, Seen), String>) {
        self.trouble = match answer {
            Ok((Some(_), _)) => None,
            Ok((None, _)) => Some(format!("{} is not as it was made", table::FULL)),
            Err(why) => Some(why.clone()),
        };
        // Nobody may be able to ask for it: it may be what has cut everybody off.
        if self.trouble.is_some() {
            self.look_at.get_or_insert(Instant::now() + AGAIN);
        }
    }

    fn made(
        &mut self,
        who: Caller,
        begun: Begun,
        answer: Result<(Option<Vec<u64>>, Seen), String>,
    ) {
        let (handles, seen) = match answer {
            Ok((Some(handles), seen)) => (handles, seen),
            Ok(_) => return self.undo(who, begun, OpError::kernel("nft made something else")),
            Err(why) => return self.undo(who, begun, OpError::kernel(why)),
        };
        let before = self.state.clone();
        begun.succeed(&mut self.state, seconds());
        if let Err(e) = self.save() {
            // The disk still says "pending", and would forget it. Where it says "removing" it will
            // complete that.
            if begun.adds || begun.trial.is_some() {
                self.state = before;
                return self.undo(who, begun, e);
            }
        }
        self.trouble = None;
        self.trials.begin(who, &begun);
        let mut rows = change::made(&self.state).zip(handles);
        let mut result = match rows.find(|(row, _)| row.id == begun.id) {
            Some((row, handle)) => self.described(row, Some(handle), &seen),
            None => json!({"removed": true, "rule_id": begun.id}),
        };
        let trial = begun.trial.as_ref().map(|(id, _)| json!(id));
        result.as_object_mut().into_iter().for_each(|result| {
            result.extend(trial.clone().map(|id| ("confirm_id".to_owned(), id)));
        });
        let trial = if trial.is_some() { ", until confirmed" } else { "" };
        self.changes.push(format!("{}{trial}", begun.text(&before)));
        self.done.push_back((who.conn, Ok(result.into())));
    }

    /// Somebody has confirmed a change.
    pub fn confirm(&mut self, who: Caller, id: &str) -> Result<Value, OpError> {
        let begun = self.trials.find(who, id)?;
        let before = self.state.clone();
        begun.keep(&mut self.state);
        if let Err(e) = self.save() {
            self.state = before;
            return Err(e);
        }
        self.trials.end(id);
        self.changes.push(format!("{}, confirmed", begun.text(&before)));
        Ok(json!({"confirmed": true, "rule_id": begun.id}))
    }

    /// Nobody has.
    pub(super) fn take_back(&mut self, begun: &Begun) {
        self.changes.push(format!("{}, undone: not confirmed", begun.text(&self.state)));
        begun.fail(&mut self.state);
        self.state.generation += 1;
        // Where that cannot be written, a start does the same.
        let _ = self.save();
        self.ask(Now::Mending);
    }

    fn undo(&mut self, who: Caller, begun: Begun, error: OpError) {
        begun.fail(&mut self.state);
        // Where that cannot be written, a start ends the change all the same.
        let _ = self.save();
        self.ask(Now::Undoing(who, error));
    }

    /// The caller's rules, all of them for root, as far as they fit into a reply.
    fn list(
        &self,
        who: Caller,
        app: Option<&str>,
        handles: Option<Vec<u64>>,
        seen: &Seen,
    ) -> Value {
        let handles = handles.unwrap_or_default();
        let handles = handles.into_iter().map(Some).chain(std::iter::repeat(None));
        let rows = change::made(&self.state).zip(handles);
        let own = rows.filter(|(row, _)| {
            who.owns(row.uid)
                && app.is_none_or(|app| app == row.spec.app)
                && (row.status == Status::Applied || self.trials.left(&row.id).is_some())
        });
        let (rules, more) = fitting(own.map(|(row, handle)| self.described(row, handle, seen)));
        json!({"rules": rules, "more": more, "generation": self.state.generation})
    }

    /// A rule, and what the machine makes of it.
    fn described(&self, row: &Row, handle: Option<u64>, seen: &Seen) -> Value {
        let effective = match handle {
            Some(_) => effective::of(&row.spec, seen),
            None => Effective::Unknown(table::FULL.to_owned()),
        };
        json!({
            "rule_id": row.id, "spec": row.spec.to_json(), "uid": row.uid,
            "applied_at": row.applied_at, "nft_handle": handle, "table": table::FULL,
            "effective": effective.name(), "chain": effective.chain(),
            "confirm_within_s": self.trials.left(&row.id).map(|left| left.as_secs()),
        })
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
