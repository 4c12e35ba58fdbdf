//! How a command becomes root's on the other side: found out by trying, because what sudo says is
//! its administrator's to choose. Knows nothing of what root is to do there.

use std::time::Duration;

use super::connection::{Connection, Feed};
use crate::base::failure::Failure;

const LIMIT: Duration = Duration::from_secs(30);

/// Says one word, in sh. What root is to run must be able to run programs in turn.
pub const LOOK: &str = "if [ \"$(id -u)\" = 0 ]; then echo root; \
    elif ! command -v sudo >/dev/null; then echo none; \
    else case $(sudo -n sh -c \"echo in \\$(id -u)\" </dev/null 2>/dev/null) in \
    (\"in 0\") echo free ;; (in*) echo fenced ;; (*) echo asks ;; esac; fi";

/// Begins a script that is to be root's, wherever sudoers lets root look for programs.
pub const IS_ROOT: &str = "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
    export PATH\n[ \"$(id -u 2>/dev/null)\" = 0 ] || exit 97\n";
/// The status of a script that began, and was not root's.
pub const NOT_ROOT: i32 = 97;
/// The status of one that was stopped at the terminal.
pub const STOPPED: i32 = 130;
/// How sudo begins to ask: in our words, so that its questions can be counted.
pub const PROMPT: &str = "[sudo on ";
/// And why that is so.
pub const FENCED: &str = "its sudoers lets sudo run commands as another user, or forbids them to run \
    others (runas_default, noexec)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// The login is root.
    Root,
    /// sudo asks nothing.
    Free,
    /// Nor here, but it wants a terminal (requiretty).
    FreeAtTerminal,
    /// sudo asks for a password.
    Asks,
    /// What sudo runs is not root's, or may not run programs.
    Fenced,
    /// There is no sudo.
    None,
}

impl Right {
    /// What [`LOOK`] said.
    pub fn parse(said: &str) -> Right {
        match said.trim() {
            "root" => Right::Root,
            "free" => Right::Free,
            "fenced" => Right::Fenced,
            "asks" => Right::Asks,
            _ => Right::None,
        }
    }

    /// One that seems to be asked may just need a terminal.
    pub fn settled(self, connection: &Connection) -> Result<Right, Failure> {
        if self != Right::Asks {
            return Ok(self);
        }
        let look = format!("sh -c '{LOOK}'");
        let done = connection.stream(&look, Feed::TerminalThere, &mut |_| {}, LIMIT)?;
        Ok(match Right::parse(done.text().lines().last().unwrap_or_default()) {
            Right::Free => Right::FreeAtTerminal,
            Right::Fenced => Right::Fenced,
            _ => Right::Asks,
        })
    }

    /// The words before a command of root's that asks nothing.
    pub fn words(self) -> &'static str {
        if self == Right::Root { "" } else { "sudo -n " }
    }

    /// The command that runs a script as root on the server of this address, asking if it has to.
    /// sudo ends alike for who mistypes and for who presses Ctrl-C: a shell before it, at the same
    /// terminal, tells them apart.
    pub fn runs(self, script: &str, address: &str) -> String {
        if self != Right::Asks {
            return format!("{}sh {script}", self.words());
        }
        // As the user calls it: its own name may be anything, and is often localhost.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let server = if address.chars().all(plain) { address } else { "the server" };
        format!(
            "sh -c 'trap stopped=yes INT; sudo -p \"{PROMPT}{server}] password for %p: \" sh \
             {script}; status=$?; [ -z \"$stopped\" ] || exit {STOPPED}; exit $status'"
        )
    }

    /// What such a command reads that asks nothing and has no input.
    pub fn silence(self) -> Feed<'static> {
        match self {
            Right::FreeAtTerminal => Feed::TerminalThere,
            _ => Feed::Bytes(b""),
        }
    }
}
