//! The command line of a background session, by which it is known again, and those of its
//! companions.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::host::config::Transport;
use crate::host::paths::Paths;

/// The hidden first argument; the host's name follows, and where its file is.
pub const SESSION_ARGUMENT: &str = "--session";

/// The transport of one session, where it is not the host file's. No word of the command line: by
/// that a session of any version is known again.
const TRANSPORT: &str = "HOPBOX_SESSION_TRANSPORT";

/// This program, to be the session of a host.
pub fn command(paths: &Paths, host: &str, transport: Option<Transport>) -> Command {
    let mut command = companion(paths, host, SESSION_ARGUMENT);
    command.env_remove(TRANSPORT).envs(transport.map(|transport| (TRANSPORT, transport.word())));
    command
}

/// What [`command`] said to this process.
pub fn transport() -> Option<Transport> {
    Transport::of_word(&env::var(TRANSPORT).ok()?).ok()
}

/// The same, to be what another hidden argument says for that host.
pub fn companion(paths: &Paths, host: &str, argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // What ps(1) shows. The directory is not read: it is for [`is_session_of`].
    command.arg0("hop").arg(argument).arg(host).arg(paths.hosts_dir()).current_dir("/");
    command
}

/// Whether these are the words of that host's session. The user may have another host of this name,
/// below another home directory.
pub fn is_session_of(paths: &Paths, host: &str, words: &[String]) -> bool {
    let dir = paths.hosts_dir().to_string_lossy().into_owned();
    words.iter().skip(1).eq([SESSION_ARGUMENT, host, &dir])
}
