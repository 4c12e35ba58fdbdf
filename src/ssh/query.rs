//! What the user's own configuration says to a target, and whether the server behind it shows a
//! pinned key, or accepts a locked one: asked of ssh(1), which logs in nowhere for that. Only
//! to see whether a path is there it does.

use std::process::Command;
use std::time::Duration;

use super::error::{self, classify};
use super::quote;
use super::target::Target;
use crate::base::failure::{Failure, Fault};
use crate::sys::child::{self, Limits};

/// Seconds until a server that does not answer is given up.
pub(super) const CONNECT_S: u32 = 15;
pub(super) const BRIEF_CONNECT_S: u32 = 4;
/// For an ssh that asks nothing and does nothing on the other side: it looks something up there,
/// or in its configuration, which may run commands for that.
const LOOK_LIMITS: Limits = Limits { time: Duration::from_secs(30), bytes: 256 * 1024 };

/// Where a connection would lead.
pub struct Resolved {
    pub host: String,
    pub user: String,
}

impl Target {
    /// What ssh can be given of this, or why it cannot. To be asked before anything is done.
    pub fn settled(&self) -> Result<Target, Failure> {
        let pinned = self.pinned.as_ref().map(|(_, file)| file);
        for file in self.identity.iter().chain(pinned) {
            if file.to_str().and_then(quote::path).is_none() {
                return Err(error::unsayable(&format!("the file {file:?}"), "ls -l ~/.ssh".into()));
            }
        }
        // Which logins it takes in arguments depends on its version; its configuration takes more.
        let usual = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
        let Some(user) = self.user.as_ref().filter(|user| !user.chars().all(usual)) else {
            return Ok(self.clone());
        };
        let alone = Target { user: None, ..self.clone() };
        if alone.resolved().is_ok_and(|found| found.user == *user) {
            return Ok(alone);
        }
        match self.resolved() {
            Ok(found) if found.user == *user => Ok(self.clone()),
            _ => {
                let next = "${EDITOR:-vi} ~/.ssh/config".into();
                Err(error::unsayable(&format!("the login {user:?}"), next))
            }
        }
    }

    /// The host that ssh would connect to, and as whom: an alias of the user's configuration is
    /// looked up.
    pub fn resolved(&self) -> Result<Resolved, Failure> {
        let (said, complaint) = self.looked_up(&[])?;
        let of =
            |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        match (of("hostname "), of("user ")) {
            (Some(host), Some(user)) => Ok(Resolved { host, user }),
            _ => Err(classify(self, &complaint)),
        }
    }

    /// The keys that the user's configuration names for this host, as they stand there; none when
    /// it leaves ssh to its own. Those with tokens mean something else for another name.
    pub fn identities(&self) -> Result<Vec<String>, Failure> {
        let keys = |said: String| -> Vec<String> {
            let keys = said.lines().filter_map(|line| line.strip_prefix("identityfile "));
            keys.filter(|key| same_elsewhere(key) && *key != "none").map(str::to_owned).collect()
        };
        let configured = keys(self.looked_up(&[])?.0);
        let usual = keys(self.looked_up(&["-F", "none"])?.0);
        Ok(if configured == usual { Vec::new() } else { configured })
    }

    /// What ssh makes of its configuration for this host, and what it complains of.
    fn looked_up(&self, more: &[&str]) -> Result<(String, String), Failure> {
        let mut command = Command::new("ssh");
        self.arguments(&mut command);
        command.args(more).args(["-G", "--"]).arg(&self.address);
        let out = child::run(&mut command, LOOK_LIMITS);
        let out = out.map_err(|broken| error::broken(self, &broken))?;
        Ok((out.text(), String::from_utf8_lossy(&out.stderr).into_owned()))
    }

    /// Connects without logging in, to learn whether the server's key is a pinned one. `proxy` is
    /// a ProxyCommand that leads there.
    pub(super) fn key_is_pinned(&self, proxy: Option<&str>) -> Result<bool, Failure> {
        let mut command = self.silent();
        command.args(["-o", "PreferredAuthentications=none"]);
        if let Some(proxy) = proxy {
            command.arg(format!("-oProxyCommand={proxy}")).arg("-oProxyUseFdpass=no");
        }
        let (said, ended_well) = self.complaint(&mut command)?;
        match classify(self, &said).fault {
            Fault::Denied => Ok(true),
            Fault::HostKeyUnknown | Fault::HostKeyChanged => Ok(false),
            // One that let us in with none.
            _ if ended_well => Ok(true),
            _ => Err(classify(self, &said)),
        }
    }

    /// After a login without questions was denied: the key that the server would have accepted.
    pub(super) fn locked_key(&self) -> Option<String> {
        accepted(&self.complaint(self.silent().arg("-v")).ok()?.0).map(str::to_owned)
    }

    /// Whether one gets in without a question.
    pub fn lets_in(&self) -> bool {
        self.complaint(&mut self.silent()).is_ok_and(|(_, ended_well)| ended_well)
    }

    /// A connection of its own that asks nothing.
    fn silent(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-T");
        self.arguments(&mut command);
        ask_nothing(&mut command);
        command.args(["-o", "ControlPath=none", "-o", &format!("ConnectTimeout={CONNECT_S}")]);
        command
    }

    /// What is said on standard error of a command that does nothing there, and whether it did.
    fn complaint(&self, command: &mut Command) -> Result<(String, bool), Failure> {
        command.args(["--", &self.address, "true"]);
        let out = child::run(command, LOOK_LIMITS);
        let out = out.map_err(|broken| error::broken(self, &broken))?;
        Ok((String::from_utf8_lossy(&out.stderr).into_owned(), out.status.success()))
    }
}

/// Whether a path is there on the host of this name, seen as an editor comes to it; `None` where
/// ssh would have to ask somebody, or does not get there.
pub fn has_path(name: &str, path: &str) -> Option<bool> {
    let mut ssh = Command::new("ssh");
    ask_nothing(&mut ssh);
    ssh.args(["-T", "-oConnectTimeout=5", "--", name]);
    ssh.arg(format!("test -e {}", quote::any_shell(path)?));
    match child::run(&mut ssh, Limits::brief(10)).ok()?.status.code()? {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    }
}

/// Whether the tokens in a path stand for the same when it is another host's: those of this machine
/// and its user do.
fn same_elsewhere(path: &str) -> bool {
    let mut parts = path.split('%').skip(1);
    while let Some(part) = parts.next() {
        match part.chars().next() {
            // The other half of %%.
            None => drop(parts.next()),
            Some('d' | 'i' | 'L' | 'l' | 'u') => {}
            Some(_) => return false,
        }
    }
    true
}

/// Lets ssh end where it would ask. The ssh that leads to a jump host gets the environment, but
/// not the options.
pub(super) fn ask_nothing(command: &mut Command) {
    command.args(["-o", "BatchMode=yes"]);
    command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
}

/// The file of the key that was accepted last in what `ssh -v` says, and did not log in: on the
/// way there the jump host's key may have.
fn accepted(said: &str) -> Option<&str> {
    let since = ["Authenticated to ", "Authentication succeeded"];
    let since = since.iter().filter_map(|text| said.rfind(text)).max().unwrap_or(0);
    let (_, key) = said.get(since..)?.rsplit_once("Server accepts key: ")?;
    let (file, rest) = key.lines().next()?.rsplit_once(" SHA256:")?;
    // An agent's key needs no passphrase; its agent said no.
    (!rest.ends_with(" agent")).then(|| file.rsplit_once(' ').map(|(file, _)| file))?
}

#[cfg(test)]
mod tests {
    use super::{accepted, same_elsewhere};

    #[test]
    fn tokens_of_this_machine_stand_for_the_same_elsewhere() {
        for path in ["~/.ssh/id", "%d/.ssh/id", "/a/100%%", "/%%h/%u"] {
            assert!(same_elsewhere(path), "{path}");
        }
        for path in ["/k/%h", "/k/%%%r", "%n", "/%d/%C"] {
            assert!(!same_elsewhere(path), "{path}");
        }
    }

    #[test]
    fn the_key_that_was_accepted_and_did_not_log_in_is_found() {
        let key = |file: &str, more: &str| {
            format!("debug1: Server accepts key: {file} ED25519 SHA256:abc/+{more}\r\nx\r\n")
        };
        let jump = key("/k/gate", "") + "Authenticated to gate ([203.0.113.2]:22).\r\n";
        assert_eq!(accepted(&key("/home/me/my key", " explicit")), Some("/home/me/my key"));
        assert_eq!(accepted(&key("/k/a", " agent")), None);
        assert_eq!(accepted(&jump), None);
        assert_eq!(accepted(&(jump + &key("/k/b", ""))), Some("/k/b"));
        assert_eq!(accepted("Permission denied (publickey).\r\n"), None);
    }
}
