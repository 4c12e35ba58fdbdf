//! What became of the last snapshot of a workspace, and when the next one is due.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::journal;
use crate::agent::work::services::Unable;
use crate::base::file;
use crate::base::json::Fields;
use crate::rpc::types::snap::Created;
use crate::sys::{bounded, clock};
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Schedule;

const FILE: &str = "last.json";
const BYTES: u64 = 64 * 1024;
const HOUR_MS: u64 = 3_600_000;
/// Of a period, before what has failed is tried again; and at least so long.
const AGAIN: u64 = 8;
const AGAIN_LEAST_MS: u64 = 600_000;
/// Of a period, by which workspaces and servers are apart.
const JITTER: u64 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// When it was tried, and when it last was one.
    pub tried_ms: u64,
    pub made_ms: Option<u64>,
    /// Why it is none.
    pub why: Option<String>,
    /// Why what `keep` does not keep is still there.
    pub not_forgotten: Option<String>,
}

pub fn period_ms(schedule: Schedule) -> u64 {
    match schedule {
        Schedule::Hourly => HOUR_MS,
        Schedule::Daily => 24 * HOUR_MS,
        Schedule::Weekly => 7 * 24 * HOUR_MS,
    }
}

impl Last {
    pub fn load(workspace: &str) -> Option<Last> {
        let room = journal::room(workspace).ok()?;
        let text = String::from_utf8(bounded::read(room.join(FILE), BYTES).ok()?).ok()?;
        let mut fields = Fields::parse(&text).ok()?;
        let mut reason =
            |name| Some(fields.opt_string(name).ok()?.filter(|why: &String| !why.is_empty()));
        let (why, not_forgotten) = (reason("why")?, reason("not_forgotten")?);
        Some(Last {
            tried_ms: fields.int("tried_ms", 0..=u64::MAX).ok()?,
            made_ms: fields.take("made_ms").as_ref().and_then(Value::as_u64),
            why,
            not_forgotten,
        })
    }

    fn put(&self, workspace: &str) -> io::Result<()> {
        let room = journal::room(workspace)?;
        let Last { tried_ms, made_ms, why, not_forgotten } = self;
        let [why, not_forgotten] = [why, not_forgotten].map(|why| why.as_deref().unwrap_or(""));
        let text = json!({
            "tried_ms": tried_ms, "made_ms": made_ms, "why": why, "not_forgotten": not_forgotten,
        });
        file::replace(&room.join(FILE), text.to_string().as_bytes())
    }

    /// What has just become of one.
    pub fn note(workspace: &str, done: &Result<Created, Unable>) -> io::Result<()> {
        let now = clock::wall_ms();
        let before = Last::load(workspace).unwrap_or_default();
        let last = match done {
            Ok(_) => Last { tried_ms: now, made_ms: Some(now), why: None, ..before },
            Err(unable) => Last { tried_ms: now, why: Some(unable.why.clone()), ..before },
        };
        last.put(workspace)
    }

    /// What has just become of what is not kept.
    pub fn note_forgotten<T>(workspace: &str, done: &Result<T, Unable>) -> io::Result<()> {
        let not_forgotten = done.as_ref().err().map(|unable| unable.why.clone());
        Last { not_forgotten, ..Last::load(workspace).unwrap_or_default() }.put(workspace)
    }

    /// How long until the next one. A clock that has gone back more than an hour makes it due.
    pub fn wait(&self, schedule: Schedule, jitter_ms: u64, now_ms: u64) -> Duration {
        let period = period_ms(schedule);
        let apart = match self.why.is_some() {
            true => (period / AGAIN).max(AGAIN_LEAST_MS).min(period),
            false => period - period / JITTER / 2 + jitter_ms,
        };
        if self.tried_ms > now_ms.saturating_add(HOUR_MS) {
            return Duration::ZERO;
        }
        let since = now_ms.saturating_sub(self.tried_ms);
        Duration::from_millis(apart.saturating_sub(since))
    }

    /// None has been made for two periods. A time that is still to come tells of none.
    pub fn is_late(&self, schedule: Schedule, now_ms: u64) -> bool {
        let since = |made: u64| now_ms.saturating_sub(made) > 2 * period_ms(schedule);
        match self.made_ms.filter(|made| *made <= now_ms.saturating_add(HOUR_MS)) {
            Some(made) => since(made),
            // Of the first one it is known since when it is tried in vain.
            None => self.why.is_some(),
        }
    }
}

/// The sentence for it, where `keep` is not kept to.
pub fn not_forgotten(workspace: &str) -> Option<String> {
    let why = Last::load(workspace)?.not_forgotten?;
    Some(format!("what backup.keep of {workspace} does not keep is still there: {why}"))
}

/// Of one workspace on one server, always the same: up to a tenth of the period.
pub fn jitter_ms(schedule: Schedule, host: &str, workspace: &str) -> u64 {
    let digest = Digest::of("hopbox.snap.jitter/1", &format!("{host} {workspace}")).to_string();
    let number = digest.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.unwrap_or(0) % (period_ms(schedule) / JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_due_a_period_later_apart_from_others() {
        let (day, now) = (24 * HOUR_MS, 1_000 * 24 * HOUR_MS);
        let made = Last { tried_ms: now, made_ms: Some(now), ..Last::default() };
        let wait =
            |last: &Last, jitter, at| last.wait(Schedule::Daily, jitter, at).as_millis() as u64;
        assert_eq!(wait(&made, 0, now), day - day / 20);
        assert_eq!(wait(&made, 7, now + day / 2), day / 2 - day / 20 + 7);
        assert_eq!(wait(&made, 0, now + 30 * day), 0, "what was missed is made once");
        assert!(wait(&made, 0, now - HOUR_MS / 2) > 0);
        assert_eq!(wait(&made, 0, now - 2 * HOUR_MS), 0, "its time is none");
        let failed = Last { why: Some("so".to_owned()), ..made.clone() };
        assert_eq!(wait(&failed, 0, now), day / 8);
        assert_eq!(failed.wait(Schedule::Hourly, 0, now).as_millis() as u64, AGAIN_LEAST_MS);
        assert_eq!(wait(&Last::default(), 0, now), 0);
        let is_late = |last: &Last, at| last.is_late(Schedule::Daily, at);
        assert!(!is_late(&failed, now + 2 * day) && is_late(&failed, now + 2 * day + 1));
        assert!(is_late(&Last { made_ms: None, ..failed.clone() }, now));
        let ahead = Last { made_ms: Some(now + 300 * day), ..failed };
        assert!(is_late(&ahead, now), "a clock that was ahead hides nothing");
        assert!(!is_late(&Last::default(), now));
        let jitter = |host: &str| jitter_ms(Schedule::Daily, host, "app");
        assert_eq!(jitter("a"), jitter("a"));
        assert!(jitter("a") != jitter("b") && jitter("a") < day / 10);
    }
}
