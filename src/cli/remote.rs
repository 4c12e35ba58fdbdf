//! A host over SSH: for what must work while the tunnel does not, and for what needs root there.
//!
//! A command of root's is a script that is put into the login's private directory and run with
//! sudo. Where sudo asks for a password it does so at the user's terminal, once for each script;
//! what the script reads and says goes through files beside it then, not through the terminal.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use super::command::Call;
use crate::base::failure::{Failure, Fault};
use crate::base::json::Fields;
use crate::base::key as wg_keys;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::session::identity;
use crate::ssh::keys;
use crate::ssh::right::{FENCED, IS_ROOT, LOOK, NOT_ROOT, Right};
use crate::ssh::run::{Connection, Done, Feed, Target};
use crate::ssh::script::READS_NOTHING;
use crate::text::aside::Aside;
use crate::text::fix::Fix;

pub const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
pub const HELPER: &str = "/usr/libexec/hopbox/hop-helper";
pub const INSTALLER: &str = "/usr/libexec/hopbox/hop-install";
/// Longest an ordinary command there may take.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Longest a command of root's may take, with time for a password to be typed.
pub const ROOT_LIMIT: Duration = Duration::from_secs(300);

/// Whoever can read this file may ask the agent: its own user, and root. An older agent has it in
/// another place.
pub const AGENT_FILES: [&str; 2] = ["/var/lib/hopbox-agent/agent.json", "/etc/hopbox/agent.json"];
/// Begins every script of root's: it is known to run, and where its files are.
const BEGIN: &str = "cd \"$(dirname \"$0\")\" || exit 1\n: >root.begun\n";

/// A connection to a host.
pub struct Remote {
    pub connection: Connection,
    host: String,
    target: Target,
    /// The login and its right, once they were asked for.
    login: Option<(String, Right)>,
}

/// Words that tell an agent what this laptop calls it: `hop-agent start` takes them.
pub fn called(paths: &Paths, host: &str) -> Result<String, Failure> {
    let key = identity::public_key(paths, host)?;
    Ok(format!("--laptop {} --name {host}", wg_keys::encode(&key).as_str()))
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

/// What our program on a server says that helps. What is to be typed there cannot be typed here.
pub fn advised(target: &Target, fix: &str) -> Fix {
    match Fix::of_agent(fix) {
        Some(fix) if fix.starts_with("hop ") => fix,
        Some(fix) => target.by_hand(fix),
        None => target.by_hand(fix!("sudo {} status", AGENT)),
    }
}

impl Remote {
    pub fn open(call: &mut Call, paths: &Paths, host: &HostConfig) -> Result<Remote, Failure> {
        paths.ensure_runtime()?;
        let target = target(paths, host)?;
        let ask = call.may_ask();
        if ask {
            call.out.hold();
        }
        let connection = Connection::open(&target, &paths.ssh_socket(), ask);
        call.out.resume();
        let connection = connection?;
        Ok(Remote { connection, host: host.name.clone(), target, login: None })
    }

    /// Any command of the login's shell; its status is the caller's to judge.
    pub fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Done, Failure> {
        self.connection.run(script, input, limit)
    }

    pub fn room(&self) -> Result<&str, Failure> {
        self.connection.room().map_err(|error| match error {
            Err(error) => error,
            Ok(done) => {
                let what = format!("there is no room in your home on {}", self.host);
                let next = self.target.by_hand("ls -ld . .hopbox-setup");
                Failure::new(Fault::Failed, what, done.complaint(), next)
            }
        })
    }

    /// The same for one that must succeed.
    fn must(&self, script: &str, input: &[u8]) -> Result<Done, Failure> {
        let done = self.run(script, input, LIMIT)?;
        self.succeeded(done)
    }

    /// What a script did, or the failure that it tells.
    pub fn succeeded(&self, done: Done) -> Result<Done, Failure> {
        if done.status.success() {
            return Ok(done);
        }
        Err(self.told(&done).unwrap_or_else(|| {
            let what = format!("a command on {} failed", self.host);
            let next = self.target.by_hand("sudo journalctl -n 50");
            Failure::new(Fault::Failed, what, done.complaint(), next)
        }))
    }

    /// The failure that our program there tells in the last line of its output.
    fn told(&self, done: &Done) -> Option<Failure> {
        let text = done.text();
        let mut error = Fields::parse(text.lines().last()?).ok()?.opt_object("error").ok()??;
        let mut part = |key: &str| error.string(key).unwrap_or_default();
        let what = format!("on {}: {}", self.host, part("what"));
        let is_gone = Fault::from_word(&part("code")) == Fault::NotFound;
        let fault = if is_gone { Fault::NotFound } else { Fault::Remote };
        let next = advised(&self.target, &part("fix"));
        Some(Failure::new(fault, what, part("why"), next))
    }

    fn login(&mut self) -> Result<(String, Right), Failure> {
        if let Some(known) = &self.login {
            return Ok(known.clone());
        }
        let text = self.must(&format!("sh -c 'id -un; {LOOK}'"), b"")?.text();
        let mut lines = text.lines();
        let user = lines.next().unwrap_or("the login").to_owned();
        let right = Right::parse(lines.next().unwrap_or_default());
        let right = right.settled(&self.connection)?;
        Ok(self.login.insert((user, right)).clone())
    }

    /// True where nobody has to be asked to become root.
    pub fn is_free(&mut self) -> Result<bool, Failure> {
        Ok(matches!(self.login()?.1, Right::Root | Right::Free | Right::FreeAtTerminal))
    }

    /// A script of root's, which must succeed. It begins in the directory of what was sent.
    pub fn script(&mut self, call: &mut Call, text: &str) -> Result<Done, Failure> {
        let done = self.as_root(call, text, b"")?;
        self.succeeded(done)
    }

    /// Runs a script as root. A failure is sudo's, or the connection's; the script's own status is
    /// the caller's to judge.
    pub fn as_root(&mut self, call: &mut Call, text: &str, input: &[u8]) -> Result<Done, Failure> {
        let (user, right) = self.login()?;
        let never = match right {
            Right::Fenced => Some(FENCED),
            Right::None => Some("there is no sudo"),
            _ => None,
        };
        if let Some(why) = never {
            let what = format!("{user} may not do this on {}", self.host);
            let next = fix!("hop setup {} -u root", self.host);
            return Err(Failure::new(Fault::Failed, what, why, next));
        }
        if right == Right::Asks && !call.may_ask() {
            let what = format!("sudo on {} asks {user} for a password", self.host);
            let why = "nobody can be asked: this is no terminal, or --no-input forbids it";
            return Err(Failure::new(Fault::Input, what, why, call.again("")));
        }
        let room = self.room()?;
        let put = |name: &str| format!("sh -c 'umask 077; cat >{room}/{name}'");
        let reads = if input.is_empty() { READS_NOTHING } else { "" };
        self.must(&put("root.sh"), format!("{IS_ROOT}{BEGIN}{reads}{text}").as_bytes())?;
        self.must(&put("root.in"), input)?;
        let script = format!("{}sh ./root.sh <root.in", right.words(true));
        let done = match right {
            Right::Asks | Right::FreeAtTerminal => self.at_terminal(call, room, &script, right),
            _ => self.run(&format!("sh -c 'cd {room} && {script}'"), b"", ROOT_LIMIT),
        };
        let done = done.and_then(|done| self.not_refused(done, room));
        // Answers may hold secrets; the rest goes with the connection.
        let _ = self.run(&format!("sh -c 'rm -f {room}/root.*'"), b"", LIMIT);
        done
    }

    /// With sudo's question, if it has one, at the user's terminal.
    fn at_terminal(
        &self,
        call: &mut Call,
        room: &str,
        script: &str,
        right: Right,
    ) -> Result<Done, Failure> {
        // The shell stays, and the terminal with it: one that nobody has open for a moment, such as
        // a sudo that has not come to its question, is gone for sshd.
        let script =
            format!("sh -c 'cd {room} && umask 077 && {script} >root.out 2>root.err; exit $?'");
        let asks = right == Right::Asks;
        let feed = if asks { Feed::Terminal } else { right.silence() };
        if asks {
            call.out.hold();
        }
        let mut aside = Aside::new(std::io::stderr());
        let mut shown = |bytes: &[u8]| {
            let _ = aside.write_all(bytes).and_then(|()| aside.flush());
        };
        let done = self.connection.stream(&script, feed, &mut shown, ROOT_LIMIT);
        call.out.resume();
        let status = done?.status;
        let stdout = self.must(&format!("cat {room}/root.out"), b"")?.stdout;
        let stderr = self.must(&format!("cat {room}/root.err"), b"")?.stdout;
        Ok(Done { status, stdout, stderr })
    }

    /// Tells a script that failed from one that sudo did not let run.
    fn not_refused(&self, done: Done, room: &str) -> Result<Done, Failure> {
        let begun = || self.run(&format!("test -e {room}/root.begun"), b"", LIMIT);
        if done.status.success() || begun()?.status.success() {
            return Ok(done);
        }
        let what = format!("sudo on {} does not let us", self.host);
        let (why, next) = match done.status.code() {
            Some(NOT_ROOT) => (FENCED.to_owned(), fix!("hop setup {} -u root", self.host)),
            _ => (done.complaint(), self.target.by_hand("sudo -v")),
        };
        Err(Failure::new(Fault::Failed, what, why, next))
    }

    /// `hop-agent` there, by whoever may ask it: its JSON answer, or the failure it tells.
    pub fn agent(&mut self, call: &mut Call, words: &str, input: &[u8]) -> Result<Value, Failure> {
        if self.may_ask_agent()? {
            let done = self.run(&format!("{AGENT} {words}"), input, LIMIT)?;
            return self.answer(done);
        }
        let done = self.as_root(call, &format!("exec {AGENT} {words}\n"), input)?;
        self.answer(done)
    }

    /// Whether the login is the agent's own user, or root.
    pub fn may_ask_agent(&self) -> Result<bool, Failure> {
        let [new, old] = AGENT_FILES;
        Ok(self
            .run(&format!("sh -c 'test -r {new} || test -r {old}'"), b"", LIMIT)?
            .status
            .success())
    }

    fn answer(&self, done: Done) -> Result<Value, Failure> {
        if let Some(failure) = self.told(&done) {
            return Err(failure);
        }
        let complaint = done.complaint();
        let text = Zeroizing::new(done.stdout);
        serde_json::from_slice(&text).map_err(|_| {
            let what = format!("the agent on {} gave no answer", self.host);
            Failure::new(Fault::Remote, what, complaint, fix!("hop upgrade {}", self.host))
        })
    }
}
