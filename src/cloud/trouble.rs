//! Why a provider did not do what it was asked for, and what that means to whoever asked.

use std::fmt;
use std::time::Duration;

use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::text::fix::Fix;
use crate::text::shown;

/// Longest text of a provider's that is told, in characters.
const SHOWN: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The file of the token cannot be used.
    NoToken(Box<Failure>),
    /// There is no curl(1) to ask with, or it cannot be started.
    NoCurl(String),
    /// No connection stood: nothing was asked.
    Unreachable(String),
    /// Whoever answers there has not shown who it is.
    Untrusted(String),
    /// No answer in this time. What was asked for may have been done.
    Slow(Duration),
    /// The connection broke in the middle of an answer.
    Cut(String),
    /// The answer is longer than any that is expected.
    Loud(usize),
    /// It is none of that API's.
    Strange(String),
    Refused(Refusal),
    /// What was begun did not succeed, in the provider's words.
    Action(String),
    /// The firewall has as many rules as it may have.
    Full,
    /// Somebody else changes the same firewall, again and again.
    Contended,
    /// Whether it was done is not known: it was asked for, and nothing can be read since.
    Unknown(Box<Trouble>),
}

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// A word of the API's documentation, such as `locked`.
    pub code: String,
    pub message: String,
    /// When it may be asked again, if it says so.
    pub wait: Option<Duration>,
}

impl Trouble {
    /// Nothing was asked for.
    pub fn is_unsent(&self) -> bool {
        let no_way = matches!(self, Trouble::NoToken(_) | Trouble::NoCurl(_));
        no_way || matches!(self, Trouble::Unreachable(_) | Trouble::Untrusted(_))
    }

    /// A later try may do.
    pub fn is_passing(&self) -> bool {
        match self {
            Trouble::Unreachable(_) | Trouble::Cut(_) | Trouble::Contended => true,
            Trouble::Refused(Refusal { status, code, .. }) => {
                let passing = ["locked", "conflict", "rate_limit_exceeded", "resource_unavailable"];
                matches!(status, 408 | 429 | 500..=599) || passing.contains(&code.as_str())
            }
            _ => false,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Trouble::NoToken(failure) => failure.fault,
            Trouble::NoCurl(_) => Fault::Failed,
            Trouble::Unreachable(_) | Trouble::Untrusted(_) | Trouble::Cut(_) => Fault::Unreachable,
            Trouble::Slow(_) => Fault::Timeout,
            Trouble::Loud(_) => Fault::Loud,
            Trouble::Strange(_) | Trouble::Action(_) => Fault::Remote,
            Trouble::Full | Trouble::Contended => Fault::Busy,
            Trouble::Unknown(why) => why.fault(),
            Trouble::Refused(refusal) => match refusal.status {
                404 => Fault::NotFound,
                409 | 423 | 429 => Fault::Busy,
                _ => Fault::Remote,
            },
        }
    }

    /// For people.
    pub fn failure(&self, what: impl Into<String>, next: impl Into<Fix>) -> Failure {
        let next = match self {
            Trouble::NoToken(failure) => failure.next.clone(),
            Trouble::NoCurl(_) => fix!("{} --version", "curl"),
            _ => next.into(),
        };
        Failure::new(self.fault(), what, self.to_string(), next)
    }
}

fn short(text: &str) -> String {
    shown(&text.chars().take(SHOWN).collect::<String>()).into_owned()
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoToken(failure) => write!(out, "{}: {}", failure.what, failure.why),
            Trouble::NoCurl(why) => write!(out, "curl cannot be run: {}", short(why)),
            Trouble::Unreachable(why) => write!(out, "no connection: {}", short(why)),
            Trouble::Untrusted(why) => write!(out, "no connection can be trusted: {}", short(why)),
            Trouble::Slow(limit) => write!(out, "no answer within {} s", limit.as_secs()),
            Trouble::Cut(why) => write!(out, "the connection broke: {}", short(why)),
            Trouble::Loud(most) => write!(out, "the answer is longer than {most} bytes"),
            Trouble::Strange(why) => write!(out, "not an answer of that API: {}", short(why)),
            Trouble::Action(why) => write!(out, "it began and did not succeed: {}", short(why)),
            Trouble::Full => out.write_str("that firewall has as many rules as it may have"),
            Trouble::Contended => out.write_str("somebody else changes the same firewall just now"),
            Trouble::Unknown(why) => write!(out, "whether it was done is not known: {why}"),
            Trouble::Refused(Refusal { status, code, message, wait }) => {
                write!(out, "{status} {}: {}", short(code), short(message))?;
                match status {
                    401 => out.write_str("; the token is not known there"),
                    403 => out.write_str("; the token may not do that: it has to read and write"),
                    404 => out.write_str("; there is no such firewall for this token"),
                    _ => Ok(()),
                }?;
                match wait {
                    Some(wait) => write!(out, "; again in {} s", wait.as_secs()),
                    None => Ok(()),
                }
            }
        }
    }
}
