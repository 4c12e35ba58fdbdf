//! Where ssh(1) is to connect, as whom and with which key: its words for that. Asks nobody.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{directives, quote};
use crate::fix;
use crate::text::fix::Fix;

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

    /// A command there, by hand; sudo and su may have to ask at a terminal.
    pub fn by_hand(&self, command: impl Into<Fix>) -> Fix {
        let command = command.into();
        match command.starts_with("sudo ") || command.starts_with("su ") {
            true => fix!("ssh -t {} {}", self.words(), command.over_there()),
            false => fix!("ssh {} {}", self.words(), command.over_there()),
        }
    }
}

/// A path in an option; `settled` refused what cannot be one.
fn sayable(path: &Path) -> String {
    path.to_str().and_then(quote::path).unwrap_or_else(|| "none".to_owned())
}
