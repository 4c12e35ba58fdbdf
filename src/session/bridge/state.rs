//! How the bridges of a host are: told by their process, read by whoever asks it.

use serde_json::{Value, json};

use super::journal::{ENDS, End};
use super::policy::{ALL, BRIDGES, Bridge};
use super::questions::Question;
use crate::base::json::{Fields, ReadError};

const QUESTIONS: usize = 64;

/// Of one bridge since its process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    ends: [u64; ENDS],
    pub bytes: u64,
    pub last_unix_s: Option<u64>,
}

impl Count {
    pub fn add(&mut self, end: End, bytes: u64, unix_s: u64) {
        if let Some(count) = self.ends.get_mut(end as usize) {
            *count = count.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.last_unix_s = Some(unix_s);
    }

    pub fn of(&self, end: End) -> u64 {
        self.ends.get(end as usize).copied().unwrap_or(0)
    }

    fn to_json(self) -> Value {
        json!({
            "done": self.of(End::Done), "denied": self.of(End::Denied),
            "failed": self.of(End::Failed), "limited": self.of(End::Limited),
            "taken_back": self.of(End::TakenBack), "bytes": self.bytes,
            "last_unix": self.last_unix_s,
        })
    }

    fn read(mut fields: Fields) -> Result<Count, ReadError> {
        let mut number = |key: &str| fields.int(key, 0..=u64::MAX);
        let ends = ["done", "denied", "failed", "limited", "taken_back"].map(&mut number);
        let bytes = number("bytes")?;
        let mut count = Count { bytes, ..Count::default() };
        for (kept, read) in count.ends.iter_mut().zip(ends) {
            *kept = read?;
        }
        count.last_unix_s = fields.take("last_unix").and_then(|last| last.as_u64());
        Ok(count)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The server tells what it wants.
    pub is_connected: bool,
    /// Why not.
    pub why: String,
    pub since_unix_s: u64,
    /// That of Wayland or X11; empty if none is known.
    pub desktop: String,
    pub counts: [Count; BRIDGES],
    pub questions: Vec<Question>,
}

impl State {
    pub fn count(&self, bridge: Bridge) -> Count {
        self.counts.get(bridge.place()).copied().unwrap_or_default()
    }

    pub fn to_json(&self) -> Value {
        let counts = ALL.map(|(bridge, word, _)| (word.to_owned(), self.count(bridge).to_json()));
        json!({
            "connected": self.is_connected, "why": self.why, "since_unix": self.since_unix_s,
            "desktop": self.desktop, "counts": counts.into_iter().collect::<serde_json::Map<_, _>>(),
            "questions": self.questions.iter().map(Question::to_json).collect::<Vec<_>>(),
        })
    }

    pub fn read(fields: &mut Fields) -> Result<State, ReadError> {
        let mut state = State {
            is_connected: fields.bool("connected")?,
            why: fields.string("why")?,
            since_unix_s: fields.int("since_unix", 0..=u64::MAX)?,
            desktop: fields.string("desktop")?,
            ..State::default()
        };
        let mut counts = match fields.opt_object("counts")? {
            Some(counts) => counts,
            None => return Err(fields.error("counts", "is missing")),
        };
        for (bridge, word, _) in ALL {
            let read = counts.opt_object(word)?.map(Count::read).transpose()?;
            if let (Some(count), Some(read)) = (state.counts.get_mut(bridge.place()), read) {
                *count = read;
            }
        }
        for mut question in fields.objects("questions", QUESTIONS)? {
            state.questions.push(Question::read(&mut question)?);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_is_told() {
        let mut state = State { is_connected: true, since_unix_s: 7, ..State::default() };
        for (place, (bridge, ..)) in ALL.into_iter().enumerate() {
            let count = state.counts.get_mut(bridge.place()).unwrap();
            for end in [End::Done, End::Denied, End::Failed, End::Limited, End::TakenBack] {
                (0..=place).for_each(|_| count.add(end, 5, 9));
            }
        }
        let mut fields = Fields::of(state.to_json(), "").unwrap();
        assert_eq!(State::read(&mut fields).unwrap(), state);
        assert_eq!(state.count(Bridge::Browser).of(End::TakenBack), 6);
    }
}
