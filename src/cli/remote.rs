//! The agent's program on a host, over SSH: for what must work while the tunnel does not.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;

use super::Call;
use super::fail::{Code, Failure};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::read::Fields;
use crate::ssh::freight::DIR;
use crate::ssh::keys;
use crate::ssh::run::{Connection, Done, Feed, Target};

pub const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
pub const HELPER: &str = "/usr/libexec/hopbox/hop-helper";
/// Longest an ordinary command there may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A connection, and how a command becomes root's on it.
pub struct Remote {
    pub connection: Connection,
    host: String,
    sudo: &'static str,
}

/// Where SSH finds a host, with the keys that setup pinned.
pub fn target(paths: &Paths, host: &HostConfig) -> Result<Target, Failure> {
    let (alias, file) = (keys::alias(&host.name), paths.known_hosts());
    let pinned = keys::has(&file, &alias)?.then_some((alias, file));
    let ssh = host.ssh.as_ref();
    Ok(Target {
        address: ssh.map_or_else(|| host.endpoint.host.clone(), |ssh| ssh.address.clone()),
        user: host.user.clone(),
        identity: host.identity.clone().map(Into::into),
        port: ssh.and_then(|ssh| ssh.port),
        pinned,
    })
}

impl Remote {
    pub fn open(call: &mut Call, paths: &Paths, host: &HostConfig) -> Result<Remote, Failure> {
        paths.ensure_runtime()?;
        let target = target(paths, host)?;
        let socket = paths.ssh_socket();
        let ask = !call.args.has("no-input");
        call.out.hold();
        let connection = Connection::open(&target, &socket, ask);
        call.out.resume();
        let connection = connection.map_err(Failure::from)?;
        let mut remote = Remote { connection, host: host.name.clone(), sudo: "" };
        let id = remote.run("id -u", b"", LIMIT)?;
        if id.text().trim() != "0" {
            remote.sudo = "sudo -n ";
        }
        Ok(remote)
    }

    /// Any command of the login's shell; its status is the caller's to judge.
    pub fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Done, Failure> {
        self.connection.run(script, input, limit).map_err(Failure::from)
    }

    /// The same as root, and it must succeed.
    pub fn root(&self, script: &str, input: &[u8], limit: Duration) -> Result<Done, Failure> {
        let done = self.run(&format!("{}{script}", self.sudo), input, limit)?;
        if done.status.success() {
            return Ok(done);
        }
        self.check_sudo(&done)?;
        let what = format!("a command on {} failed", self.host);
        Err(Failure::new(Code::Failed, what, done.complaint(), self.by_hand(script)))
    }

    /// Puts a script beside what was sent and runs it as root with one word. sudo asks for its
    /// password at the terminal where it needs one and there is one.
    pub fn script(
        &mut self,
        call: &mut Call,
        text: &str,
        word: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        let put = format!("umask 077; mkdir -p {DIR} && cat >{DIR}/root.sh");
        let done = self.run(&format!("sh -c '{put}'"), text.as_bytes(), LIMIT)?;
        let what = || format!("a script on {} failed", self.host);
        if !done.status.success() {
            let next = self.by_hand("df -h");
            return Err(Failure::new(Code::Failed, what(), done.complaint(), next));
        }
        let script = format!("sh \"$HOME\"/{DIR}/root.sh {word}");
        let free = self.sudo.is_empty() || self.run("sudo -n true", b"", LIMIT)?.status.success();
        let may_ask = !call.args.has("no-input") && std::io::stdin().is_terminal();
        if free || !may_ask {
            return self.root(&script, b"", limit).map(drop);
        }
        call.out.hold();
        let mut told = |bytes: &[u8]| {
            let _ = std::io::stderr().write_all(bytes);
        };
        let feed = Feed::Terminal;
        let done = self.connection.stream(&format!("sudo {script}"), feed, &mut told, limit);
        call.out.resume();
        let done = done.map_err(Failure::from)?;
        if done.status.success() {
            return Ok(());
        }
        let next = self.by_hand("sudo -v");
        Err(Failure::new(Code::Failed, what(), format!("it ended with {}", done.status), next))
    }

    /// `hop-agent` there: its JSON answer, or the failure it tells.
    pub fn agent(&self, words: &str, input: &[u8], as_root: bool) -> Result<Value, Failure> {
        let sudo = if as_root { self.sudo } else { "" };
        let done = self.run(&format!("{sudo}{AGENT} {words}"), input, LIMIT)?;
        let text = done.text();
        let Ok(mut fields) = Fields::parse(text.trim()) else {
            self.check_sudo(&done)?;
            let what = format!("the agent on {} gave no answer", self.host);
            return Err(Failure::new(Code::Remote, what, done.complaint(), self.by_hand("true")));
        };
        let failed = fields.opt_object("error").ok().flatten();
        let Some(mut error) = failed else {
            return serde_json::from_str(text.trim()).map_err(|error| {
                let what = format!("the agent on {} gave no answer", self.host);
                Failure::new(Code::Remote, what, error.to_string(), self.by_hand("true"))
            });
        };
        let mut part = |key: &str| error.string(key).unwrap_or_default();
        let what = format!("on {}: {}", self.host, part("what"));
        let code = if part("code") == "not_found" { Code::NotFound } else { Code::Remote };
        Err(Failure::new(code, what, part("why"), part("fix")))
    }

    /// Tells a sudo that wants a password from a command that failed.
    fn check_sudo(&self, done: &Done) -> Result<(), Failure> {
        let said = String::from_utf8_lossy(&done.stderr);
        if !said.contains("sudo:") {
            return Ok(());
        }
        let what = format!("sudo on {} does not let us", self.host);
        Err(Failure::new(Code::Input, what, done.complaint(), self.by_hand("sudo -v")))
    }

    fn by_hand(&self, script: &str) -> String {
        format!("ssh {}.hop {script}", self.host)
    }
}
