//! Why something could not be done, in the three parts a user is shown: what failed, why, and one
//! command that helps. Programs decide on the enum; the sentences are for people alone.

use std::fmt;
use std::path::Path;

use crate::fix;
use crate::text::fix::Fix;

/// What kind of trouble a file is in; chooses the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The content, the owner or the mode is not what it must be.
    Config,
    /// There is no such file.
    NotFound,
    /// It exists already and must not be replaced.
    Exists,
    /// The operating system refused.
    Io,
}

/// What is the matter with a file that cannot be used, for who decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Others may read a secret.
    Open,
    /// A later version of hop wrote it.
    Newer,
    /// Everything else.
    Other,
}

/// Why something on disk could not be used, in the three parts a user is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    pub kind: Kind,
    pub fault: Fault,
    pub what: String,
    pub why: String,
    /// One command that fixes it.
    pub next: Fix,
}

impl HostError {
    pub(crate) fn new(
        kind: Kind,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<Fix>,
    ) -> HostError {
        let fault = Fault::Other;
        HostError { kind, fault, what: what.into(), why: why.into(), next: next.into() }
    }

    /// The operating system's refusal to do `act` to `path`.
    pub(crate) fn io(act: &str, path: &Path, error: &std::io::Error) -> HostError {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::AlreadyExists => Kind::Exists,
            _ => Kind::Io,
        };
        let what = format!("cannot {act} {}", path.display());
        HostError::new(kind, what, error.to_string(), fix!("ls -la {}", path))
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for HostError {}
