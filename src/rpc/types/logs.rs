//! What services have said, as it is asked for and told.

use serde_json::{Map, Value, json};

use super::services::ServiceName;
use super::{Message, opt_number};
use crate::base::base64;
use crate::base::json::{Fields, ReadError};

/// Services of one view.
pub const SERVICES: usize = 256;

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// By the server's clock.
    AgoMs(u64),
    UnixMs(u64),
}

/// A place in a log, wherever that lies by now: behind so many lines of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub unix_ms: u64,
    pub lines: u32,
}

/// One of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneLog {
    pub name: ServiceName,
    /// Of whom it was read up to there, and is to go on: `last` and `since` are not for it.
    pub after: Option<Place>,
}

impl Message for OneLog {
    fn to_json(&self) -> Value {
        let mut all = self.name.to_json();
        if let Some(Place { unix_ms, lines }) = self.after {
            all["after_unix_ms"] = json!(unix_ms);
            all["after_lines"] = json!(lines);
        }
        all
    }

    fn read(fields: &mut Fields) -> Result<OneLog, ReadError> {
        let name = ServiceName::read(fields)?;
        let lines = fields.opt_int("after_lines", 0..=u32::MAX)?.unwrap_or(0);
        let at = opt_number(fields, "after_unix_ms")?;
        Ok(OneLog { name, after: at.map(|unix_ms| Place { unix_ms, lines }) })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLogs {
    pub services: Vec<OneLog>,
    /// So many of the last lines of each; all that are kept without.
    pub last: Option<u32>,
    pub since: Option<Since>,
    /// And what they say from now on.
    pub follow: bool,
}

impl Message for ReadLogs {
    fn to_json(&self) -> Value {
        let services: Vec<Value> = self.services.iter().map(OneLog::to_json).collect();
        let mut all = Map::from_iter([
            ("services".to_owned(), json!(services)),
            ("follow".to_owned(), json!(self.follow)),
        ]);
        if let Some(last) = self.last {
            all.insert("last".to_owned(), json!(last));
        }
        match self.since {
            Some(Since::AgoMs(ms)) => all.insert("since_ago_ms".to_owned(), json!(ms)),
            Some(Since::UnixMs(ms)) => all.insert("since_unix_ms".to_owned(), json!(ms)),
            None => None,
        };
        Value::Object(all)
    }

    fn read(fields: &mut Fields) -> Result<ReadLogs, ReadError> {
        let services = fields.objects("services", SERVICES)?.into_iter();
        let services = services.map(OneLog::read_strictly).collect::<Result<Vec<_>, _>>()?;
        if services.is_empty() {
            return Err(fields.error("services", "must name one at least"));
        }
        let ago = opt_number(fields, "since_ago_ms")?.map(Since::AgoMs);
        let at = opt_number(fields, "since_unix_ms")?.map(Since::UnixMs);
        Ok(ReadLogs {
            services,
            last: fields.opt_int("last", 0..=u32::MAX)?,
            since: ago.or(at),
            follow: fields.bool("follow")?,
        })
    }
}

/// Whose words they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Out,
    Err,
    /// Whoever keeps the service tells of it.
    Keeper,
}

const VOICES: [(Voice, &str); 3] =
    [(Voice::Out, "out"), (Voice::Err, "err"), (Voice::Keeper, "keeper")];

impl Voice {
    pub fn word(self) -> &'static str {
        VOICES.iter().find(|(voice, _)| *voice == self).map_or("out", |(_, word)| word)
    }

    fn read(word: &str) -> Result<Voice, String> {
        let found = VOICES.iter().find(|(_, known)| *known == word);
        found.map(|(voice, _)| *voice).ok_or_else(|| "must be out, err or keeper".to_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub name: ServiceName,
    pub unix_ms: u64,
    pub voice: Voice,
    /// It goes on in the next line of the same service and voice.
    pub more: bool,
    pub text: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// First of all, the moment by the server's clock: who asks for new lines alone goes on there.
    Begin(u64),
    Line(LogLine),
    /// What this service said here was deleted before it was read: its log is bounded.
    Skipped(ServiceName),
}

impl Message for LogEvent {
    /// Text as it is where it is text, else in base64, whole: `text` or `text64`.
    fn to_json(&self) -> Value {
        let line = match self {
            LogEvent::Begin(unix_ms) => return json!({"begin_unix_ms": unix_ms}),
            LogEvent::Line(line) => line,
            LogEvent::Skipped(name) => {
                return json!({
                    "workspace": name.workspace, "service": name.service, "skipped": true,
                });
            }
        };
        let (key, text) = match std::str::from_utf8(&line.text) {
            Ok(text) => ("text", text.to_owned()),
            Err(_) => ("text64", base64::encode(&line.text)),
        };
        json!({
            "workspace": line.name.workspace,
            "service": line.name.service,
            "unix_ms": line.unix_ms,
            "stream": line.voice.word(),
            "more": line.more,
            key: text,
        })
    }

    fn read(fields: &mut Fields) -> Result<LogEvent, ReadError> {
        if let Some(begin) = opt_number(fields, "begin_unix_ms")? {
            return Ok(LogEvent::Begin(begin));
        }
        let name = ServiceName::read(fields)?;
        if fields.take("skipped") == Some(Value::Bool(true)) {
            return Ok(LogEvent::Skipped(name));
        }
        let decoded = |text: &str| base64::decode(text).ok_or_else(|| "must be base64".to_owned());
        let text = match fields.opt_string("text")? {
            Some(text) => Some(text.into_bytes()),
            None => fields.opt_meant("text64", decoded)?,
        };
        Ok(LogEvent::Line(LogLine {
            name,
            unix_ms: fields.int("unix_ms", 0..=u64::MAX)?,
            voice: fields.meant("stream", Voice::read)?,
            more: fields.bool("more")?,
            text: text.ok_or_else(|| fields.error("text", "is missing"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_told_is_read_again() {
        let name = ServiceName { workspace: "app".to_owned(), service: "web".to_owned() };
        for since in [None, Some(Since::AgoMs(7)), Some(Since::UnixMs(8))] {
            for last in [None, Some(0), Some(9)] {
                let place = Place { unix_ms: 5, lines: 6 };
                let one = |after| OneLog { name: name.clone(), after };
                let services = vec![one(None), one(Some(place))];
                let asked = ReadLogs { services, last, since, follow: last.is_none() };
                let fields = Fields::of(asked.to_json(), "params").unwrap();
                assert_eq!(ReadLogs::read_strictly(fields), Ok(asked));
            }
        }
        for bad in [json!({"services": [], "follow": true}), json!({"follow": true})] {
            assert!(ReadLogs::of(bad).is_err());
        }
        for text in [&b""[..], b"a\x1b[2J", b"\xff\n"] {
            for (voice, _) in VOICES {
                let (name, text) = (name.clone(), text.to_vec());
                let line = LogLine { name, unix_ms: 7, voice, more: true, text };
                let event = LogEvent::Line(line);
                assert_eq!(LogEvent::of(event.to_json()), Ok(event));
            }
        }
        for event in [LogEvent::Skipped(name), LogEvent::Begin(7)] {
            assert_eq!(LogEvent::of(event.to_json()), Ok(event));
        }
    }
}
