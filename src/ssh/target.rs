//! Where ssh(1) is to connect, as whom and with which key; and what the user's own configuration
//! says to that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::fail::{self, classify};
use super::run::CONNECT_S;
use super::{directives, quote};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys::child::{self, Limits};
use crate::text::fix::Fix;

/// For an ssh that asks nothing and does nothing on the other side: it looks something up there,
/// or in its configuration, which may run commands for that.
const LOOK_LIMITS: Limits = Limits { time: Duration::from_secs(30), bytes: 256 * 1024 };

/// Where to connect and as whom. What is `None` is left to the user's configuration.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub address: String,
    pub user: Option<String>,
    pub identity: Option<PathBuf>,
    pub port: Option<u16>,
    /// Alias and file of the host's pinned keys: no other key is accepted then.
    pub pinned: Option<(String, PathBuf)>,
}

impl Target {
    pub(super) fn arguments(&self, command: &mut Command) {
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(identity) = &self.identity {
            command
                .arg(format!("-oIdentityFile={}", sayable(identity)))
                .arg("-oIdentitiesOnly=yes");
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some((alias, file)) = &self.pinned {
            command.arg(format!("-oHostKeyAlias={alias}")).arg("-oStrictHostKeyChecking=yes");
            command.arg(format!("-oUserKnownHostsFile={}", sayable(file)));
        }
        command.args(directives::words(self.pinned.is_some()));
    }

    /// What ssh can be given of this, or why it cannot. To be asked before anything is done.
    pub fn settled(&self) -> Result<Target, Failure> {
        let pinned = self.pinned.as_ref().map(|(_, file)| file);
        for file in self.identity.iter().chain(pinned) {
            if file.to_str().and_then(quote::path).is_none() {
                return Err(fail::unsayable(&format!("the file {file:?}"), "ls -l ~/.ssh".into()));
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
                Err(fail::unsayable(&format!("the login {user:?}"), next))
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
        let out = out.map_err(|broken| fail::broken(self, &broken))?;
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
        let out = out.map_err(|broken| fail::broken(self, &broken))?;
        Ok((String::from_utf8_lossy(&out.stderr).into_owned(), out.status.success()))
    }

    /// The same connection by hand.
    pub fn command(&self) -> Fix {
        fix!("ssh {}", self.words())
    }

    fn words(&self) -> Fix {
        let login = match &self.user {
            Some(user) => format!("{user}@{}", self.address),
            None => self.address.clone(),
        };
        let port = self.port.map(|port| fix!("-p {}", port));
        let identity = self.identity.as_ref().map(|file| {
            // What -i says is looked for as it stands, and then has its tokens replaced.
            match file.to_string_lossy().contains('%') {
                true => fix!("-o {}", format!("IdentityFile={}", sayable(file))),
                false => fix!("-i {}", file),
            }
        });
        let words = [identity, port].into_iter().flatten().rev();
        words.fold(fix!("{}", login), |after, before| fix!("{} {}", before, after))
    }

    /// A command there, by hand; sudo may have to ask at a terminal.
    pub fn by_hand(&self, command: impl Into<Fix>) -> Fix {
        let command = command.into();
        match command.starts_with("sudo ") {
            true => fix!("ssh -t {} {}", self.words(), command.over_there()),
            false => fix!("ssh {} {}", self.words(), command.over_there()),
        }
    }
}

/// Where a connection would lead.
pub struct Resolved {
    pub host: String,
    pub user: String,
}

/// A path in an option; `settled` refused what cannot be one.
fn sayable(path: &Path) -> String {
    path.to_str().and_then(quote::path).unwrap_or_else(|| "none".to_owned())
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
