//! What a program and this agent say to each other at the local sockets: a line of JSON each way.
//! The bytes of a copy follow the request, those of a paste the answer.

use std::io;

use serde_json::{Value, json};

use crate::base::hex;
use crate::base::json::{Fields, ReadError};
use crate::rpc::types::Message;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Outcome, What, Wish};
use crate::sys::random;

/// Of a request: all of its text escaped, and more.
pub const REQUEST_BYTES: usize = 256 * 1024;
pub const REPLY_BYTES: usize = 256 * 1024;

/// What is wanted. A connection that does not say whose it is proves that it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub what: What,
    pub proof: Option<String>,
}

impl Message for Request {
    fn to_json(&self) -> Value {
        let wish = Wish { id: 0, what: self.what.clone() };
        json!({"wish": wish.to_json(), "proof": self.proof})
    }

    fn read(fields: &mut Fields) -> Result<Request, ReadError> {
        let missing = fields.error("wish", "is missing");
        let wish = Wish::of(fields.take("wish").ok_or(missing)?)?;
        let proof = match fields.take("proof") {
            Some(Value::String(proof)) => Some(proof),
            _ => None,
        };
        Ok(Request { what: wish.what, proof })
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Outcome(Outcome),
    /// So many bytes follow.
    Pasted(usize),
    /// It is told as soon as a laptop is there.
    Held,
    /// No laptop is there, or it does not answer.
    Away(String),
    /// Too many at a time, or in a row.
    Busy(String),
    /// It is nothing that is asked for.
    Wrong(String),
}

/// A reply, of its reason.
type Of = fn(String) -> Reply;

impl Message for Reply {
    fn to_json(&self) -> Value {
        match self {
            Reply::Outcome(Outcome::Done) => json!({"done": true}),
            Reply::Outcome(Outcome::Chosen(place)) => json!({"chosen": place}),
            Reply::Outcome(Outcome::Asking) => json!({"asking": true}),
            Reply::Outcome(Outcome::Denied(why)) => json!({"denied": why}),
            Reply::Outcome(Outcome::Failed(why)) => json!({"failed": why}),
            Reply::Pasted(bytes) => json!({"pasted": bytes}),
            Reply::Held => json!({"held": true}),
            Reply::Away(why) => json!({"away": why}),
            Reply::Busy(why) => json!({"busy": why}),
            Reply::Wrong(why) => json!({"wrong": why}),
        }
    }

    fn read(fields: &mut Fields) -> Result<Reply, ReadError> {
        let texts: [(&str, Of); 5] = [
            ("denied", |why| Reply::Outcome(Outcome::Denied(why))),
            ("failed", |why| Reply::Outcome(Outcome::Failed(why))),
            ("away", Reply::Away),
            ("busy", Reply::Busy),
            ("wrong", Reply::Wrong),
        ];
        for (word, of) in texts {
            if let Some(why) = fields.opt_string(word)? {
                return Ok(of(why));
            }
        }
        if let Some(place) = fields.opt_int("chosen", 0..=u8::MAX)? {
            return Ok(Reply::Outcome(Outcome::Chosen(place)));
        }
        if let Some(bytes) = fields.opt_int("pasted", 0..=CLIPBOARD_BYTES as u64)? {
            return Ok(Reply::Pasted(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
        if fields.take("held").is_some() {
            return Ok(Reply::Held);
        }
        fields.bool("done").map(|_| Reply::Outcome(Outcome::Done))
    }
}

/// What tells both ends of a TCP connection that the other has read the same file: the secret
/// itself does not cross.
pub fn proof(whose: Side, secret: &str, nonce: &str) -> String {
    let whose = match whose {
        Side::Agent => "hopbox.bridge.agent/1",
        Side::Program => "hopbox.bridge.program/1",
    };
    crate::workspace::digest::Digest::of(whose, &json!([secret, nonce]).to_string()).to_string()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Agent,
    Program,
}

/// As a program that has no other way begins, and as it is answered.
pub fn nonce_line(nonce: &str) -> String {
    json!({"nonce": nonce}).to_string()
}

pub fn welcome_line(proof: &str, nonce: &str) -> String {
    json!({"proof": proof, "nonce": nonce}).to_string()
}

/// 128 bits that nobody can guess.
pub fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes)?;
    Ok(hex::encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_were_written() {
        let texts = ["x\u{1b}[2J", ""].map(str::to_owned);
        let [one, other] = texts;
        for reply in [
            Reply::Outcome(Outcome::Done),
            Reply::Outcome(Outcome::Chosen(15)),
            Reply::Outcome(Outcome::Denied(one.clone())),
            Reply::Outcome(Outcome::Failed(other.clone())),
            Reply::Pasted(0),
            Reply::Pasted(CLIPBOARD_BYTES),
            Reply::Held,
            Reply::Away(one.clone()),
            Reply::Busy(other),
            Reply::Wrong(one),
        ] {
            assert_eq!(Reply::of(reply.to_json()), Ok(reply));
        }
        assert!(Reply::of(json!({"pasted": CLIPBOARD_BYTES + 1})).is_err());
        assert!(Reply::of(json!({})).is_err());
    }

    #[test]
    fn a_proof_is_of_one_side_one_secret_and_one_nonce() {
        let all = [
            proof(Side::Agent, "s", "n"),
            proof(Side::Program, "s", "n"),
            proof(Side::Agent, "t", "n"),
            proof(Side::Agent, "s", "m"),
            proof(Side::Agent, "sn", ""),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
