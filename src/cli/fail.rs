//! How a command ends: the exit codes, and a failure in the three parts a user is shown.

use serde_json::{Value, json};

use crate::base::failure::{HostError, Kind as FileKind};
use crate::session::{Kind as SessionKind, Trouble};
use crate::ssh::fail::{SshError, Trouble as SshTrouble};
use crate::text::fix::Fix;
use crate::text::shown;

/// Exit codes. Scripts rely on them: changing one is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done, or already so.
    Done = 0,
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The answer is "no": not up, degraded.
    No = 3,
    NotFound = 4,
    /// Helper missing, refusing or incompatible.
    Helper = 5,
    /// VPS or agent unreachable.
    Unreachable = 6,
    Timeout = 7,
    /// Conflict or busy.
    Busy = 8,
    /// The agent reported an error.
    Remote = 9,
    Declined = 10,
    Partial = 11,
    /// Input needed and nobody to ask.
    Input = 13,
    /// `hop run` could not start the command.
    NotStarted = 125,
    Interrupted = 130,
}

impl Code {
    const ALL: [Code; 15] = [
        Code::Done,
        Code::Failed,
        Code::Usage,
        Code::No,
        Code::NotFound,
        Code::Helper,
        Code::Unreachable,
        Code::Timeout,
        Code::Busy,
        Code::Remote,
        Code::Declined,
        Code::Partial,
        Code::Input,
        Code::NotStarted,
        Code::Interrupted,
    ];

    /// What a word of another program's JSON means; one that we do not know is a failure.
    pub fn from_word(word: &str) -> Code {
        Code::ALL.into_iter().find(|code| code.word() == word).unwrap_or(Code::Failed)
    }

    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Code::Done => "done",
            Code::Failed => "failed",
            Code::Usage => "usage",
            Code::No => "no",
            Code::NotFound => "not_found",
            Code::Helper => "helper",
            Code::Unreachable => "unreachable",
            Code::Timeout => "timeout",
            Code::Busy => "busy",
            Code::Remote => "remote",
            Code::Declined => "declined",
            Code::Partial => "partial",
            Code::Input => "input_needed",
            Code::NotStarted => "not_started",
            Code::Interrupted => "interrupted",
        }
    }
}

/// What failed, why, and the one command that fixes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub what: String,
    pub why: String,
    pub next: Fix,
    pub code: Code,
}

impl Failure {
    pub fn new(
        code: Code,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<Fix>,
    ) -> Failure {
        Failure { what: what.into(), why: why.into(), next: next.into(), code }
    }

    /// A command line that cannot be understood.
    pub fn usage(what: impl Into<String>, why: impl Into<String>, next: impl Into<Fix>) -> Failure {
        Failure::new(Code::Usage, what, why, next)
    }

    pub fn to_json(&self) -> Value {
        let message = format!("{}: {}", shown(&self.what), shown(&self.why));
        json!({"code": self.code.word(), "message": message, "fix": &*self.next})
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        let code = match error.kind {
            FileKind::Config => Code::Usage,
            FileKind::NotFound => Code::NotFound,
            FileKind::Exists => Code::Busy,
            FileKind::Io => Code::Failed,
        };
        Failure { what: error.what, why: error.why, next: error.next, code }
    }
}

impl From<SshError> for Failure {
    fn from(error: SshError) -> Failure {
        let code = match error.trouble {
            SshTrouble::Program => Code::Failed,
            SshTrouble::Unsayable => Code::Usage,
            SshTrouble::KeyUnknown | SshTrouble::KeyLocked => Code::Input,
            SshTrouble::KeyChanged => Code::Busy,
            SshTrouble::Denied | SshTrouble::Unreachable => Code::Unreachable,
            SshTrouble::Slow => Code::Timeout,
            SshTrouble::Loud => Code::Remote,
        };
        Failure { what: error.what, why: error.why, next: error.next, code }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        let code = match trouble.kind {
            SessionKind::Failed => Code::Failed,
            SessionKind::Config => Code::Usage,
            SessionKind::NotFound => Code::NotFound,
            SessionKind::Helper => Code::Helper,
            SessionKind::Unreachable => Code::Unreachable,
            SessionKind::Timeout => Code::Timeout,
            SessionKind::Busy | SessionKind::Held => Code::Busy,
            SessionKind::Interrupted => Code::Interrupted,
        };
        Failure { what: trouble.what, why: trouble.why, next: trouble.next, code }
    }
}
