//! Why something could not be done, in the three parts a user is shown: what failed, why, and one
//! command that helps. Programs decide on the [`Fault`]; the sentences are for people alone.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::discriminant;
use std::path::Path;

use serde_json::{Value, json};

use super::exit::Code;
use super::json::Fields;
use crate::fix;
use crate::text::fix::Fix;

/// What is at fault, as far as a program may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The system refused, or something broke.
    Failed,
    /// A command line or a request that cannot be understood.
    Usage,
    /// A file that is not what it must be: its content, its owner or its mode.
    Config,
    /// A secret that others may read.
    Open,
    /// A file that a later version wrote.
    Newer,
    /// The answer is no.
    No,
    /// There is no such thing.
    NotFound,
    /// No laptop is called so.
    NoPeer,
    /// It exists already and must not be replaced.
    Exists,
    /// The helper is missing, refuses, or does not fit.
    Helper,
    Unreachable,
    /// A server answers no handshake.
    NoHandshake,
    /// It does, and its agent does not answer.
    AgentSilent,
    Timeout,
    /// Something else is in the way.
    Busy,
    /// The network 10.10.N.0/24 of a server cannot be used on this machine.
    NumberTaken(u8),
    /// A server that is not the one that was set up: its agent has another key, or none.
    OtherServer,
    /// Another session of the host has the lock.
    Held,
    /// The other side reported an error.
    Remote,
    /// It said more than it may.
    Loud,
    /// Somebody said no.
    Declined,
    /// Input is needed, and there is nobody to ask.
    Input,
    NotStarted,
    /// Some of it was done.
    Partial,
    Interrupted,
    /// Somebody stopped a command that goes on where it was.
    Stopped,
    /// There is no ssh(1), or it cannot be started.
    NoSsh,
    /// A login or a file that ssh cannot be given.
    Unsayable,
    /// Nobody may be asked, or somebody said no, and the server's key is not known.
    HostKeyUnknown,
    /// The server's key is another one than before.
    HostKeyChanged,
    /// The server knows neither key nor password.
    Denied,
    /// The user's key has a passphrase, and nobody may be asked.
    KeyLocked,
}

/// Every fault, its word between programs of ours, and how a program ends by it.
const FAULTS: [(Fault, &str, Code); 32] = [
    (Fault::Failed, "failed", Code::Failed),
    (Fault::Usage, "usage", Code::Usage),
    (Fault::Config, "config", Code::Usage),
    (Fault::Open, "open", Code::Usage),
    (Fault::Newer, "newer", Code::Usage),
    (Fault::No, "no", Code::No),
    (Fault::NotFound, "not_found", Code::NotFound),
    (Fault::NoPeer, "no_peer", Code::NotFound),
    (Fault::Exists, "exists", Code::Busy),
    (Fault::Helper, "helper", Code::Helper),
    (Fault::Unreachable, "unreachable", Code::Unreachable),
    (Fault::NoHandshake, "no_handshake", Code::Unreachable),
    (Fault::AgentSilent, "agent_silent", Code::Unreachable),
    (Fault::Timeout, "timeout", Code::Timeout),
    (Fault::Busy, "busy", Code::Busy),
    (Fault::NumberTaken(0), "number_taken", Code::Busy),
    (Fault::OtherServer, "other_server", Code::Busy),
    (Fault::Held, "held", Code::Busy),
    (Fault::Remote, "remote", Code::Remote),
    (Fault::Loud, "loud", Code::Remote),
    (Fault::Declined, "declined", Code::Declined),
    (Fault::Input, "input_needed", Code::Input),
    (Fault::NotStarted, "not_started", Code::NotStarted),
    (Fault::Partial, "partial", Code::Partial),
    (Fault::Interrupted, "interrupted", Code::Interrupted),
    (Fault::Stopped, "stopped", Code::Interrupted),
    (Fault::NoSsh, "no_ssh", Code::Failed),
    (Fault::Unsayable, "unsayable", Code::Usage),
    (Fault::HostKeyUnknown, "host_key_unknown", Code::Input),
    (Fault::HostKeyChanged, "host_key_changed", Code::Busy),
    (Fault::Denied, "denied", Code::Unreachable),
    (Fault::KeyLocked, "key_locked", Code::Input),
];

impl Fault {
    /// How a program ends that could not do better.
    pub fn code(self) -> Code {
        self.row().map_or(Code::Failed, |(.., code)| *code)
    }

    pub fn word(self) -> &'static str {
        self.row().map_or("failed", |(_, word, _)| word)
    }

    fn row(self) -> Option<&'static (Fault, &'static str, Code)> {
        FAULTS.iter().find(|(fault, ..)| discriminant(fault) == discriminant(&self))
    }

    fn known(word: &str) -> Option<Fault> {
        FAULTS.iter().find(|(_, known, _)| *known == word).map(|(fault, ..)| *fault)
    }

    /// The fault of a [`Failure::to_json`]. An older program tells no more than how it ended, and
    /// the number; of a later one's fault we may know no more.
    pub fn told(error: &mut Fields) -> Fault {
        let mut known = |key| error.string(key).ok().and_then(|word| Fault::known(&word));
        let fault = known("fault").or_else(|| known("code")).unwrap_or(Fault::Failed);
        let number = error.opt_int("number", 0..=255).ok().flatten();
        match fault {
            Fault::NumberTaken(_) | Fault::Busy => number.map_or(Fault::Busy, Fault::NumberTaken),
            fault => fault,
        }
    }
}

/// What failed, why, and the one command that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    pub what: String,
    pub why: String,
    /// More of the same kind, each with its own line.
    pub also: Vec<String>,
    pub next: Fix,
}

impl Failure {
    pub fn new(
        fault: Fault,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<Fix>,
    ) -> Failure {
        Failure { fault, what: what.into(), why: why.into(), also: Vec::new(), next: next.into() }
    }

    /// A command line that cannot be understood.
    pub fn usage(what: impl Into<String>, why: impl Into<String>, next: impl Into<Fix>) -> Failure {
        Failure::new(Fault::Usage, what, why, next)
    }

    /// Somebody stopped it here; `again` goes on where it was.
    pub fn stopped(again: impl Into<Fix>) -> Failure {
        let again = again.into();
        let why = format!("`{again}` goes on where it was");
        Failure::new(Fault::Stopped, "stopped", why, again)
    }

    /// The operating system's refusal to do `act` to `path`.
    pub fn io(act: &str, path: &Path, error: &io::Error) -> Failure {
        let fault = match error.kind() {
            ErrorKind::NotFound => Fault::NotFound,
            ErrorKind::AlreadyExists => Fault::Exists,
            _ => Fault::Failed,
        };
        let what = format!("cannot {act} {}", path.display());
        Failure::new(fault, what, error.to_string(), fix!("ls -la {}", path))
    }

    pub fn code(&self) -> Code {
        self.fault.code()
    }

    /// As one program of ours tells it to another: the fault, how a program ends by it, and words.
    pub fn to_json(&self) -> Value {
        let Failure { fault, what, why, also: _, next } = self;
        let (fault_word, code) = (fault.word(), fault.code().word());
        let mut error =
            json!({"fault": fault_word, "code": code, "what": what, "why": why, "fix": &**next});
        if let Fault::NumberTaken(number) = fault {
            error["number"] = (*number).into();
        }
        error
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_keeps_its_word() {
        for (fault, word, code) in FAULTS {
            let known = Fault::known(word);
            assert_eq!((known, fault.word(), fault.code()), (Some(fault), word, code));
        }
        assert_eq!(Fault::NumberTaken(7).word(), Fault::NumberTaken(0).word());
        assert_eq!(Fault::known("of a later version"), None);
    }

    #[test]
    fn a_fault_crosses_to_another_program_whatever_the_sentences_are() {
        let told = |error: Value| Fault::told(&mut Fields::of(error, "error").unwrap());
        for (fault, _, code) in FAULTS {
            let fault = if fault == Fault::NumberTaken(0) { Fault::NumberTaken(7) } else { fault };
            for words in ["a", "fault: no_peer", "\"code\":\"busy\"", "10.10.3.0/24"] {
                let error = Failure::new(fault, words, words, "hop status").to_json();
                assert_eq!((told(error.clone()), &error["code"]), (fault, &json!(code.word())));
            }
        }
        // As older programs tell it, and later ones may.
        assert_eq!(told(json!({"code": "busy", "number": 0})), Fault::NumberTaken(0));
        assert_eq!(told(json!({"code": "busy", "fault": "other_server"})), Fault::OtherServer);
        assert_eq!(told(json!({"code": "not_found", "number": 3})), Fault::NotFound);
        for number in [json!(256), json!("7"), json!(null)] {
            assert_eq!(told(json!({"fault": "number_taken", "number": number})), Fault::Busy);
        }
        assert_eq!(told(json!({"fault": "of a later version", "code": "busy"})), Fault::Busy);
        assert_eq!(told(json!({"fault": "of a later version"})), Fault::Failed);
        assert_eq!(told(json!({"fault": 7})), Fault::Failed);
    }
}
