//! What a program on the server wants of the laptop, and what it was answered. The laptop asks for
//! it: the server opens no connection to a laptop, ever.

use serde_json::{Value, json};

use super::Message;
use super::details::list;
use crate::base::json::{Fields, ReadError};

/// Most bytes of what is copied or pasted.
pub const CLIPBOARD_BYTES: usize = 1024 * 1024;
/// Most bytes of any text below.
pub const TEXT_BYTES: usize = 16 * 1024;
/// Most answers to choose from.
pub const OPTIONS: usize = 16;

/// What is copied or pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Png,
}

const KINDS: [(Kind, &str); 2] = [(Kind::Text, "text"), (Kind::Png, "png")];

impl Kind {
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("text", |(_, word)| word)
    }

    pub fn of(word: &str) -> Result<Kind, String> {
        let found = KINDS.iter().find(|(_, known)| *known == word);
        found.map(|(kind, _)| *kind).ok_or_else(|| "must be \"text\" or \"png\"".to_owned())
    }
}

/// Something that is wanted of the laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// For `bridge.take` and `bridge.answer`.
    pub id: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The bytes are read from `bridge.take`.
    Copy {
        kind: Kind,
        bytes: u64,
    },
    /// The bytes are written to `bridge.take`.
    Paste {
        kind: Kind,
    },
    Open {
        url: String,
    },
    Notify {
        title: String,
        body: String,
    },
    Ask {
        question: String,
        options: Vec<String>,
    },
    /// A connection to the browser, through `bridge.take`.
    Browser,
    /// Whoever wanted it waits no more.
    TakenBack,
}

impl Message for Wish {
    fn to_json(&self) -> Value {
        let mut all = match &self.what {
            What::Copy { kind, bytes } => json!({"copy": kind.word(), "bytes": bytes}),
            What::Paste { kind } => json!({"paste": kind.word()}),
            What::Open { url } => json!({"open": url}),
            What::Notify { title, body } => json!({"notify": title, "body": body}),
            What::Ask { question, options } => json!({"ask": question, "options": options}),
            What::Browser => json!({"browser": true}),
            What::TakenBack => json!({"taken_back": true}),
        };
        all["id"] = self.id.into();
        all
    }

    fn read(fields: &mut Fields) -> Result<Wish, ReadError> {
        let id = fields.int("id", 0..=u64::MAX)?;
        Ok(Wish { id, what: what(fields)? })
    }
}

fn what(fields: &mut Fields) -> Result<What, ReadError> {
    if let Some(kind) = fields.opt_meant("copy", Kind::of)? {
        return Ok(What::Copy { kind, bytes: fields.int("bytes", 0..=CLIPBOARD_BYTES as u64)? });
    }
    if let Some(kind) = fields.opt_meant("paste", Kind::of)? {
        return Ok(What::Paste { kind });
    }
    if let Some(url) = fields.opt_meant("open", text)? {
        return Ok(What::Open { url });
    }
    if let Some(title) = fields.opt_meant("notify", text)? {
        return Ok(What::Notify { title, body: fields.meant("body", text)? });
    }
    if let Some(question) = fields.opt_meant("ask", text)? {
        let option = |value: &Value| text(value.as_str()?).ok();
        return Ok(What::Ask { question, options: list(fields, "options", OPTIONS, option)? });
    }
    if fields.take("browser").is_some() {
        return Ok(What::Browser);
    }
    fields.bool("taken_back").map(|_| What::TakenBack)
}

fn text(text: &str) -> Result<String, String> {
    match text.len() <= TEXT_BYTES {
        true => Ok(text.to_owned()),
        false => Err(format!("must be at most {TEXT_BYTES} bytes")),
    }
}

/// Which wish a connection is for (`bridge.take`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WishId {
    pub id: u64,
}

impl Message for WishId {
    fn to_json(&self) -> Value {
        json!({"id": self.id})
    }

    fn read(fields: &mut Fields) -> Result<WishId, ReadError> {
        Ok(WishId { id: fields.int("id", 0..=u64::MAX)? })
    }
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The laptop's owner is being asked: another answer follows.
    Asking,
    Done,
    /// The place of what was chosen, from 0.
    Chosen(u8),
    /// The laptop's owner, or what they have laid down, says no.
    Denied(String),
    /// It is allowed and did not work.
    Failed(String),
}

impl Message for Answer {
    fn to_json(&self) -> Value {
        match &self.outcome {
            Outcome::Asking => json!({"id": self.id, "asking": true}),
            Outcome::Done => json!({"id": self.id, "done": true}),
            Outcome::Chosen(place) => json!({"id": self.id, "chosen": place}),
            Outcome::Denied(why) => json!({"id": self.id, "denied": why}),
            Outcome::Failed(why) => json!({"id": self.id, "failed": why}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Answer, ReadError> {
        let id = fields.int("id", 0..=u64::MAX)?;
        let outcome = if let Some(place) = fields.opt_int("chosen", 0..=u8::MAX)? {
            Outcome::Chosen(place)
        } else if let Some(why) = fields.opt_meant("denied", text)? {
            Outcome::Denied(why)
        } else if let Some(why) = fields.opt_meant("failed", text)? {
            Outcome::Failed(why)
        } else if fields.take("asking").is_some() {
            Outcome::Asking
        } else {
            fields.bool("done").map(|_| Outcome::Done)?
        };
        Ok(Answer { id, outcome })
    }
}
