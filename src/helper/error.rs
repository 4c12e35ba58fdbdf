//! What can go wrong with the helper, and the command that mends it.

use crate::base::own_program;
use crate::fix;
use crate::sys::process;
use crate::text::fix::Fix;
use hop_helper::proto::Code;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LOCKDOWN: &str = "/etc/hopbox/lockdown";
/// Where sudo(8) looks for programs, whatever the user's PATH is.
const SUDO_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Longest wait for connecting, and for each request from its first byte to its reply's last.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The command that makes the helper a service of this machine, or starts the one that is, and has
/// it admit this user. It names the program by its path where sudo would not find it.
pub fn install_command() -> Fix {
    let name = "hop-helper";
    if SUDO_PATH.iter().any(|dir| Path::new(dir).join(name).exists()) {
        return fix!("sudo {} --install", name);
    }
    let path = own_program::find(name).unwrap_or_else(|_| PathBuf::from(name));
    fix!("sudo {} --install", path)
}

/// How sudo asks at this machine, where it may ask at another one, too.
const PROMPT: &str = "[sudo on this machine] password for %p: ";

/// `program` as root: with sudo, unless this is root. Without `ask` sudo asks nothing.
pub fn root_command(program: &Path, ask: bool) -> Command {
    if process::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    if ask {
        command.args(["-p", PROMPT])
    } else {
        command.arg("-n")
    };
    command.arg(program);
    command
}

/// Why the helper did not do what was asked.
#[derive(Debug)]
pub enum HelperError {
    /// Nobody listens at `path`.
    Missing {
        path: PathBuf,
        source: io::Error,
    },
    /// What listens at `path` is not root's.
    Stranger {
        path: PathBuf,
        uid: u32,
    },
    /// This user is not admitted: no right to connect, or closed without a word.
    Refused {
        path: PathBuf,
    },
    /// The two ends speak different versions of the protocol.
    Incompatible {
        ours: u64,
        theirs: u64,
        message: String,
    },
    /// The helper's own answer. `code` is one of `hop_helper::proto::Code`, or newer than those.
    Op {
        code: String,
        message: String,
        field: Option<String>,
        retry: bool,
        /// What was asked for is another user's.
        of_another: bool,
    },
    /// The helper said something that it must not say.
    Protocol(String),
    Io(io::Error),
}

impl fmt::Display for HelperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelperError::Missing { path, source } => {
                write!(f, "no helper answers at {}: {source}", path.display())
            }
            HelperError::Stranger { path, uid } => {
                write!(f, "user {uid} listens at {}, and not root", path.display())
            }
            HelperError::Refused { path } => {
                let member = "a new member of the group hopbox: from the next login on";
                write!(f, "the helper at {} does not admit this user ({member})", path.display())
            }
            HelperError::Incompatible { ours, theirs, message } => {
                write!(f, "the helper speaks protocol {theirs}, hop speaks {ours}: {message}")
            }
            HelperError::Op { code, message, field: Some(field), .. } => {
                write!(f, "the helper refused {field}: {message} ({code})")
            }
            HelperError::Op { code, message, .. } => {
                write!(f, "the helper refused: {message} ({code})")
            }
            HelperError::Protocol(what) => write!(f, "the helper broke its protocol: {what}"),
            HelperError::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                write!(f, "the helper did not answer within {} s", TIMEOUT.as_secs())
            }
            HelperError::Io(e) => write!(f, "the connection to the helper failed: {e}"),
        }
    }
}

impl HelperError {
    /// Whether this is the helper's own answer, with this code.
    pub fn is(&self, asked: Code) -> bool {
        matches!(self, HelperError::Op { code, .. } if *code == asked.as_str())
    }

    /// It does not know what was asked for.
    pub fn is_older(&self) -> bool {
        self.is(Code::UnknownOp)
    }

    /// The one command that mends it.
    pub fn remedy(&self) -> Fix {
        match self {
            HelperError::Missing { .. }
            | HelperError::Stranger { .. }
            | HelperError::Refused { .. }
            // The one that came with this hop, whichever of the two is newer.
            | HelperError::Incompatible { .. } => install_command(),
            _ if self.is(Code::StateConflict) => "ip address".into(),
            _ if self.is(Code::LockdownActive) => {
                // Root's word; or a directory that is not root's alone, which an install closes.
                match std::fs::symlink_metadata(LOCKDOWN) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => install_command(),
                    _ => "sudo rm /etc/hopbox/lockdown".into(),
                }
            }
            _ if cfg!(target_os = "macos") => {
                "sudo launchctl print system/dev.hopbox.helper".into()
            }
            _ => "systemctl status hop-helper".into(),
        }
    }

    /// Whether the same request on the same connection will succeed a moment later.
    pub(super) fn too_often(&self) -> bool {
        matches!(self, HelperError::Op { code, retry: true, .. }
            if *code == Code::LimitExceeded.as_str())
    }

    /// Whether the same may succeed a moment later, with a helper that is just starting. One that
    /// is just ending closes without a word, which looks like a refusal.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            HelperError::Missing { .. } | HelperError::Refused { .. } | HelperError::Io(_) => true,
            HelperError::Op { code, retry, .. } => *retry || *code == Code::LimitExceeded.as_str(),
            HelperError::Stranger { .. }
            | HelperError::Incompatible { .. }
            | HelperError::Protocol(_) => false,
        }
    }
}

impl std::error::Error for HelperError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HelperError::Missing { source, .. } => Some(source),
            HelperError::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for HelperError {
    fn from(e: io::Error) -> HelperError {
        HelperError::Io(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_installed_by_root() {
        assert!(
            install_command().starts_with("sudo ") && install_command().ends_with(" --install")
        );
    }
}
