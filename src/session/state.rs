//! What a session leaves for others to read: `tunnels/<host>.json` with whether the agent was
//! there, when it last was, and what happened. After the session it is the last that is known.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::log::log;
use crate::base::file;
use crate::base::json::Fields;
use crate::base::time_text::utc;
use crate::host::paths::Paths;
use crate::sys::clock;

/// Events kept in the file; the oldest go first.
const EVENTS: usize = 100;
/// Longest text of an event, in characters.
const EVENT_CHARS: usize = 200;
/// While nothing changes the file is written this often and no more: a write wakes the disk.
const REFRESH_S: u64 = 30;

/// Something that happened, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Seconds since 1970.
    pub at_s: u64,
    pub what: String,
}

/// The last that is known of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A session keeps the host up.
    pub up: bool,
    pub connected: bool,
    /// Seconds since 1970; `None` when the agent never answered.
    pub last_healthy_s: Option<u64>,
    /// Why the last session ended, if nobody asked for it.
    pub lost: Option<String>,
    /// Oldest first.
    pub events: Vec<Event>,
}

impl Known {
    pub fn to_json(&self, host: &str, pid: u32) -> Value {
        json!({
            "version": 1,
            "host": host,
            "up": self.up,
            "pid": pid,
            "connected": self.connected,
            "last_healthy": self.last_healthy_s.map(utc),
            "last_healthy_unix": self.last_healthy_s,
            "lost": self.lost,
            "events": events_json(&self.events, EVENTS),
        })
    }

    /// Reads what [`Known::to_json`] wrote; fields of later versions are skipped.
    pub fn from_text(text: &str) -> Option<Known> {
        let mut fields = Fields::parse(text).ok()?;
        let last_healthy_s = fields.take("last_healthy_unix").and_then(|value| value.as_u64());
        let Some(Value::Array(rows)) = fields.take("events") else { return None };
        let event = |row: Value| {
            let mut fields = Fields::of(row, "").ok()?;
            let at_s = fields.int("at_unix", 0..=u64::MAX).ok()?;
            Some(Event { at_s, what: fields.string("what").ok()? })
        };
        Some(Known {
            up: fields.bool("up").ok()?,
            connected: fields.bool("connected").ok()?,
            last_healthy_s,
            lost: fields.take("lost").and_then(|why| Some(why.as_str()?.to_owned())),
            events: rows.into_iter().filter_map(event).collect(),
        })
    }
}

/// The newest `most` of them, oldest first.
pub fn events_json(events: &[Event], most: usize) -> Value {
    let newest = events.iter().skip(events.len().saturating_sub(most));
    let row =
        |event: &Event| json!({"at": utc(event.at_s), "at_unix": event.at_s, "what": event.what});
    newest.map(row).collect()
}

/// The last that is known of a host, from its file.
pub fn last_known(paths: &Paths, host: &str) -> Option<Known> {
    Known::from_text(&file::read_private(&paths.tunnel_file(host)).ok()?)
}

/// Keeps the file as true as is worth it. What cannot be written is said once in the log.
pub struct Record {
    path: PathBuf,
    host: String,
    known: Known,
    written_s: u64,
    failing: bool,
}

impl Record {
    /// Goes on with the events of earlier sessions.
    pub fn open(paths: &Paths, host: &str) -> Record {
        let events = last_known(paths, host).map(|known| known.events).unwrap_or_default();
        let mut record = Record {
            path: paths.tunnel_file(host),
            host: host.to_owned(),
            known: Known { events, ..Known::default() },
            written_s: 0,
            failing: false,
        };
        if let Err(error) = paths.ensure_tunnels() {
            record.failed(&error.to_string());
        }
        record
    }

    pub fn events(&self) -> &[Event] {
        &self.known.events
    }

    /// Notes what happened; written with the next [`Record::note`].
    pub fn event(&mut self, at_s: u64, what: &str) {
        let what = what.chars().take(EVENT_CHARS).collect();
        self.known.events.push(Event { at_s, what });
        let surplus = self.known.events.len().saturating_sub(EVENTS);
        self.known.events.drain(..surplus);
        self.written_s = 0;
    }

    /// Notes why the session ends; written with the next [`Record::note`].
    pub fn lost(&mut self, why: &str) {
        self.known.lost = Some(why.chars().take(EVENT_CHARS).collect());
    }

    /// Notes how it is, and writes it if that is news or the file is old.
    pub fn note(&mut self, up: bool, connected: bool, last_healthy_s: Option<u64>) {
        let (now_s, _) = clock::wall();
        let news = self.known.up != up || self.known.connected != connected;
        self.known.last_healthy_s = last_healthy_s.or(self.known.last_healthy_s);
        (self.known.up, self.known.connected) = (up, connected);
        if news || now_s.saturating_sub(self.written_s) >= REFRESH_S || now_s < self.written_s {
            self.write(now_s);
        }
    }

    fn write(&mut self, now_s: u64) {
        let text = crate::text::json(&self.known.to_json(&self.host, std::process::id()));
        // Also after a failure: a full disk is not asked again with every answer.
        self.written_s = now_s;
        match file::replace(&self.path, text.as_bytes()) {
            Ok(()) => self.failing = false,
            Err(error) => self.failed(&write_error(&error)),
        }
    }

    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            log(&format!(
                "cannot write {}: {why}; the tunnel is not affected",
                self.path.display()
            ));
        }
    }
}

fn write_error(error: &io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn scratch(what: &str) -> (PathBuf, Paths) {
        let root = std::env::temp_dir().join(format!("hopbox-state-{what}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        (root.clone(), Paths::below(&root))
    }

    #[test]
    fn what_is_written_is_read_and_events_go_on_in_the_next_session() {
        let (root, paths) = scratch("file");
        let mut record = Record::open(&paths, "mybox");
        record.event(1_800_000_000, "up");
        record.note(true, true, Some(1_800_000_001));
        let path = paths.tunnel_file("mybox");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value["connected"], true);
        assert_eq!(value["last_healthy"], "2027-01-15T08:00:01Z");
        drop(record);

        let mut record = Record::open(&paths, "mybox");
        for n in 0..250 {
            record.event(1_800_000_100 + n, &"long ".repeat(100));
        }
        record.note(false, false, None);
        let known = last_known(&paths, "mybox").unwrap();
        assert_eq!((known.events.len(), known.up, known.connected), (EVENTS, false, false));
        assert!(fs::metadata(&path).unwrap().len() < 64 * 1024, "it can be read back");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_changes_nothing() {
        let (root, paths) = scratch("full");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("config"), "a file where a directory should be").unwrap();
        let mut record = Record::open(&paths, "mybox");
        record.event(1, "up");
        record.note(true, true, Some(1));
        assert!(record.failing);
        assert_eq!(record.events().len(), 1);
        assert_eq!(last_known(&paths, "mybox"), None);
        assert!(Path::new(&root).exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nonsense_is_not_known() {
        for text in ["", "{}", "[]", r#"{"up":1}"#, r#"{"events":[]}"#] {
            assert_eq!(Known::from_text(text), None, "{text}");
        }
    }
}
