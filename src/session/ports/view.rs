//! What is told of one port: who listens on the server, where this laptop answers for it, and why
//! not at the same number. What is asked of the mirror at its socket, and answered.
//!
//! Text of the server's is in it: data, whoever shows it.

use serde_json::{Value, json};

use crate::base::json::{Fields, ReadError};
use crate::rpc::types::Message;
use crate::rpc::types::ports::{PORTS, PortView};

/// Longest name of a program here that is told.
const BY_BYTES: usize = 256;

/// How it is with a port, as far as somebody has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Somebody listens there; nobody has connected.
    Listening,
    /// A connection was taken.
    Ready,
    Refused,
    /// It listens, and takes no connection.
    Hung,
    /// Nobody listens there now; what was chosen for it is kept.
    Gone,
}

const STATES: [(PortState, &str); 5] = [
    (PortState::Listening, "listening"),
    (PortState::Ready, "ready"),
    (PortState::Refused, "refused"),
    (PortState::Hung, "hung"),
    (PortState::Gone, "gone"),
];

impl PortState {
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("gone", |(_, word)| word)
    }

    fn of(word: &str) -> Result<PortState, String> {
        let found = STATES.iter().find(|(_, known)| *known == word);
        found.map(|(state, _)| *state).ok_or_else(|| format!("must be a state, not {word:?}"))
    }
}

/// Why this laptop does not answer at the port's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Another program has it here, as far as is known which: a name and a process.
    Taken {
        by: Option<String>,
    },
    /// The user's own ssh(1) leads that port here.
    SshForward {
        by: Option<String>,
    },
    /// The system lets no user have a port below 1024.
    Privileged,
    /// Its number was taken once, and is free; it has kept the other, which may be in a bookmark.
    Kept,
    /// The user wants another number.
    Pinned,
    Excluded,
    /// `ports: {auto: false}`, and it is not pinned.
    Off,
    /// As many are answered for as there can be.
    Full,
}

impl WhyNot {
    pub fn word(&self) -> &'static str {
        match self {
            WhyNot::Taken { .. } => "taken",
            WhyNot::SshForward { .. } => "ssh_forward",
            WhyNot::Privileged => "privileged",
            WhyNot::Kept => "kept",
            WhyNot::Pinned => "pinned",
            WhyNot::Excluded => "excluded",
            WhyNot::Off => "off",
            WhyNot::Full => "full",
        }
    }

    fn of(word: &str, by: Option<String>) -> Option<WhyNot> {
        Some(match word {
            "taken" => WhyNot::Taken { by },
            "ssh_forward" => WhyNot::SshForward { by },
            "privileged" => WhyNot::Privileged,
            "kept" => WhyNot::Kept,
            "pinned" => WhyNot::Pinned,
            "excluded" => WhyNot::Excluded,
            "off" => WhyNot::Off,
            "full" => WhyNot::Full,
            _ => return None,
        })
    }

    /// Who has it here.
    pub fn by(&self) -> Option<&str> {
        match self {
            WhyNot::Taken { by } | WhyNot::SshForward { by } => by.as_deref(),
            _ => None,
        }
    }
}

/// One port of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorView {
    pub port: u16,
    /// `None`: nobody listens there now.
    pub server: Option<PortView>,
    /// Where this laptop answers for it.
    pub local: Option<u16>,
    /// Why not at its own number, or not at all.
    pub why_not: Option<WhyNot>,
    pub is_pinned: bool,
    pub state: PortState,
    /// From here to the server, and back, since this mirror began.
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Open now.
    pub connections: u32,
}

impl Message for MirrorView {
    fn to_json(&self) -> Value {
        json!({
            "port": self.port, "server": self.server.as_ref().map(PortView::to_json),
            "local": self.local, "why_not": self.why_not.as_ref().map(WhyNot::word),
            "by": self.why_not.as_ref().and_then(WhyNot::by),
            "pinned": self.is_pinned, "state": self.state.word(),
            "bytes_up": self.bytes_up, "bytes_down": self.bytes_down,
            "connections": self.connections,
        })
    }

    fn read(fields: &mut Fields) -> Result<MirrorView, ReadError> {
        let server = match fields.take("server") {
            None | Some(Value::Null) => None,
            Some(view) => Some(PortView::of(view)?),
        };
        let by = text(fields, "by")?.map(|by| cut(&by));
        let why_not = match text(fields, "why_not")? {
            None => None,
            Some(word) => {
                let why = WhyNot::of(&word, by);
                Some(why.ok_or_else(|| fields.error("why_not", "is no reason"))?)
            }
        };
        Ok(MirrorView {
            port: fields.int("port", 1..=u16::MAX)?,
            server,
            local: number(fields, "local")?,
            why_not,
            is_pinned: fields.bool("pinned")?,
            state: fields.meant("state", PortState::of)?,
            bytes_up: fields.int("bytes_up", 0..=u64::MAX)?,
            bytes_down: fields.int("bytes_down", 0..=u64::MAX)?,
            connections: fields.int("connections", 0..=u32::MAX)?,
        })
    }
}

fn text(fields: &mut Fields, name: &str) -> Result<Option<String>, ReadError> {
    match fields.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(fields.error(name, "must be a string or null")),
    }
}

fn number(fields: &mut Fields, name: &str) -> Result<Option<u16>, ReadError> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    match fields.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match port(&value).filter(|port| *port > 0) {
            Some(port) => Ok(Some(port)),
            None => Err(fields.error(name, "must be a port or null")),
        },
    }
}

fn cut(by: &str) -> String {
    let fits = |end: &usize| *end <= BY_BYTES;
    let end = by.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(fits).last();
    by.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// All of them, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorViews {
    pub ports: Vec<MirrorView>,
    /// Whether the server is asked at this moment: else it is what was known last.
    pub is_live: bool,
}

impl Message for MirrorViews {
    fn to_json(&self) -> Value {
        let ports: Vec<Value> = self.ports.iter().map(MirrorView::to_json).collect();
        json!({"ports": ports, "live": self.is_live})
    }

    fn read(fields: &mut Fields) -> Result<MirrorViews, ReadError> {
        let ports = fields.objects("ports", 2 * PORTS)?.into_iter();
        let ports = ports.map(|mut fields| MirrorView::read(&mut fields)).collect::<Result<_, _>>();
        Ok(MirrorViews { ports: ports?, is_live: fields.bool("live")? })
    }
}

/// A line of those that a watch is answered with, after the first, which is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorEvent {
    Is(Box<MirrorView>),
    /// Nothing more is known of it.
    Forgotten(u16),
}

impl Message for MirrorEvent {
    fn to_json(&self) -> Value {
        match self {
            MirrorEvent::Is(view) => json!({"is": view.to_json()}),
            MirrorEvent::Forgotten(port) => json!({"forgotten": port}),
        }
    }

    fn read(fields: &mut Fields) -> Result<MirrorEvent, ReadError> {
        match fields.take("is") {
            Some(view) => Ok(MirrorEvent::Is(Box::new(MirrorView::of(view)?))),
            None => Ok(MirrorEvent::Forgotten(fields.int("forgotten", 1..=u16::MAX)?)),
        }
    }
}

/// What is asked of the mirror: one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorAsk {
    /// Answered with [`MirrorViews`].
    List,
    /// The same, then a [`MirrorEvent`] for each change, until whoever asks has gone.
    Watch,
    /// Answered with the port's [`MirrorView`] when it is so, or with why it cannot be.
    Change(PortChange),
    /// Whether ports are answered for that are not pinned; answered with [`MirrorViews`].
    Auto(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// It is always answered for, at `local` here, or at the number where it is answered for now.
    Pin {
        port: u16,
        local: Option<u16>,
    },
    Unpin(u16),
    Exclude(u16),
    Include(u16),
}

impl PortChange {
    pub fn port(self) -> u16 {
        match self {
            PortChange::Pin { port, .. } => port,
            PortChange::Unpin(port) | PortChange::Exclude(port) | PortChange::Include(port) => port,
        }
    }

    fn to_json(self) -> Value {
        match self {
            PortChange::Pin { port, local: None } => json!({"pin": {"port": port}}),
            PortChange::Pin { port, local } => json!({"pin": {"port": port, "local": local}}),
            PortChange::Unpin(port) => json!({"unpin": port}),
            PortChange::Exclude(port) => json!({"exclude": port}),
            PortChange::Include(port) => json!({"include": port}),
        }
    }

    fn read(mut fields: Fields) -> Result<PortChange, ReadError> {
        let number = || 1..=u16::MAX;
        let change = if let Some(mut pin) = fields.opt_object("pin")? {
            let (port, local) = (pin.int("port", number())?, pin.opt_int("local", number())?);
            pin.finish()?;
            PortChange::Pin { port, local }
        } else if let Some(port) = fields.opt_int("unpin", number())? {
            PortChange::Unpin(port)
        } else if let Some(port) = fields.opt_int("exclude", number())? {
            PortChange::Exclude(port)
        } else {
            PortChange::Include(fields.int("include", number())?)
        };
        fields.finish().map(|()| change)
    }
}

impl Message for MirrorAsk {
    fn to_json(&self) -> Value {
        match self {
            MirrorAsk::List => json!({"ask": "list"}),
            MirrorAsk::Watch => json!({"ask": "watch"}),
            MirrorAsk::Change(change) => json!({"change": change.to_json()}),
            MirrorAsk::Auto(is_on) => json!({"auto": is_on}),
        }
    }

    fn read(fields: &mut Fields) -> Result<MirrorAsk, ReadError> {
        if let Some(change) = fields.opt_object("change")? {
            return PortChange::read(change).map(MirrorAsk::Change);
        }
        if let Some(Value::Bool(is_on)) = fields.take("auto") {
            return Ok(MirrorAsk::Auto(is_on));
        }
        fields.meant("ask", |word| match word {
            "list" => Ok(MirrorAsk::List),
            "watch" => Ok(MirrorAsk::Watch),
            _ => Err("must be \"list\" or \"watch\"".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::ports::Owner;

    fn view() -> MirrorView {
        let owner = Owner { pid: Some(7), program: Some("node".to_owned()), ..Owner::default() };
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        let server = PortView { port: 3000, addresses, owner, since_unix_ms: 5, hidden: 2 };
        MirrorView {
            port: 3000,
            server: Some(server),
            local: Some(3001),
            why_not: Some(WhyNot::Taken { by: Some("python3 (pid 9)".to_owned()) }),
            is_pinned: false,
            state: PortState::Ready,
            bytes_up: 1,
            bytes_down: u64::MAX,
            connections: 3,
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        let mut gone = view();
        (gone.server, gone.local, gone.state) = (None, None, PortState::Gone);
        for why_not in [
            WhyNot::Taken { by: None },
            WhyNot::SshForward { by: Some("ssh".to_owned()) },
            WhyNot::Privileged,
            WhyNot::Kept,
            WhyNot::Pinned,
            WhyNot::Excluded,
            WhyNot::Off,
            WhyNot::Full,
        ] {
            gone.why_not = Some(why_not);
            assert_eq!(MirrorView::of(gone.to_json()).unwrap(), gone);
        }
        let all = MirrorViews { ports: vec![view(), gone], is_live: true };
        assert_eq!(MirrorViews::of(all.to_json()).unwrap(), all);
        for event in [MirrorEvent::Is(Box::new(view())), MirrorEvent::Forgotten(1)] {
            assert_eq!(MirrorEvent::of(event.to_json()).unwrap(), event);
        }
    }

    #[test]
    fn what_is_asked_is_read_strictly() {
        let strictly = |text: &str| {
            Fields::parse(text).and_then(MirrorAsk::read_strictly).map_err(|e| e.to_string())
        };
        for ask in [
            MirrorAsk::List,
            MirrorAsk::Watch,
            MirrorAsk::Auto(false),
            MirrorAsk::Change(PortChange::Pin { port: 1, local: Some(65535) }),
            MirrorAsk::Change(PortChange::Pin { port: 1, local: None }),
            MirrorAsk::Change(PortChange::Unpin(2)),
            MirrorAsk::Change(PortChange::Exclude(3)),
            MirrorAsk::Change(PortChange::Include(4)),
        ] {
            assert_eq!(strictly(&ask.to_json().to_string()), Ok(ask));
        }
        for bad in [
            "{}",
            r#"{"ask":"all"}"#,
            r#"{"ask":"list","change":{"unpin":1}}"#,
            r#"{"change":{}}"#,
            r#"{"change":{"unpin":0}}"#,
            r#"{"change":{"unpin":65536}}"#,
            r#"{"change":{"unpin":1,"include":1}}"#,
            r#"{"change":{"pin":{"port":1,"at":2}}}"#,
        ] {
            assert!(strictly(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_cut_between_its_letters() {
        let mut long = view();
        long.why_not = Some(WhyNot::Taken { by: Some("é".repeat(1000)) });
        let read = MirrorView::of(long.to_json()).unwrap();
        assert_eq!(read.why_not.unwrap().by().unwrap().len(), BY_BYTES);
    }
}
