//! A server over SSH: for what must work while the tunnel does not, and for what needs root there.
//!
//! What failed over there is told in three parts, whoever tells it: our program there, sudo, or a
//! shell; in the last case the server is looked at once more for what helps.

use std::cell::OnceCell;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use super::console::Console;
use super::identity;
use super::obstacle::{self, Obstacle};
use super::options;
use super::preflight::{self, Survey};
use super::verify::target;
use crate::base::failure::{Failure, Fault};
use crate::base::json::{Fields, ReadError};
use crate::base::key;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::ssh::connection::Connection;
use crate::ssh::right::{FENCED, Right};
use crate::ssh::scratch_dir::{NotDone, ScratchDir};
use crate::ssh::script::WHOLE;
use crate::ssh::target::Target;
use crate::ssh::words::Asking;
use crate::sys::child::Done;
use crate::sys::interrupt;
use crate::text::fix::Fix;

pub const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
pub const HELPER: &str = "/usr/libexec/hopbox/hop-helper";
pub const SERVER_HELPER: &str = "/usr/libexec/hopbox/hop-helper-server";
/// Longest an ordinary command there may take.
const LIMIT: Duration = Duration::from_secs(60);
const SURVEY_LIMIT: Duration = Duration::from_secs(30);

/// Whoever can read this file may ask the agent: its own user, and root. An older agent has it in
/// another place.
pub const AGENT_FILES: [&str; 2] = ["/var/lib/hopbox-agent/agent.json", "/etc/hopbox/agent.json"];

/// A connection to a server.
pub struct Remote {
    /// Ends before the connection does.
    scratch_dir: OnceCell<ScratchDir>,
    pub connection: Connection,
    pub target: Target,
    /// What it is called in what is told of it.
    pub name: String,
    /// The same work once more, and with a login that needs no sudo.
    pub again: Fix,
    pub by_root: Fix,
    survey: OnceCell<Survey>,
    may_ask_agent: OnceCell<bool>,
}

/// Words that tell an agent what this laptop calls it: `hop-agent start` takes them.
pub fn called(paths: &Paths, host: &str) -> Result<String, Failure> {
    let key = identity::public_key(paths, host)?;
    Ok(format!("--laptop {} --name {host}", key::encode(&key).as_str()))
}

impl Remote {
    /// A host that is set up.
    pub fn open(
        console: &mut dyn Console,
        paths: &Paths,
        host: &HostConfig,
    ) -> Result<Remote, Failure> {
        let by_root = fix!("hop setup {} -u root", host.name);
        let (target, again) = (target(paths, host)?, console.repeat());
        let remote = Remote::connect(console, paths, target, &host.name, (again, by_root));
        remote.map_err(|failure| match failure.fault {
            // Whoever knows that the server was made anew sets it up anew.
            Fault::HostKeyChanged => {
                let next = fix!("hop host rm {} && {}", host.name, options::command_for(host));
                Failure { next, ..failure }
            }
            _ => failure,
        })
    }

    /// The same on the side: nobody is asked, and little is waited for.
    pub fn glance(paths: &Paths, host: &HostConfig) -> Result<Remote, Failure> {
        let (target, again) = (target(paths, host)?, fix!("hop setup {}", host.name));
        paths.ensure_runtime()?;
        heed(&again)?;
        let connection = Connection::open(&target, paths.ssh_socket(), Asking::Briefly)?;
        let (name, by_root) = (host.name.clone(), again.clone());
        let (scratch_dir, survey, may_ask_agent) = Default::default();
        Ok(Remote { scratch_dir, connection, target, name, again, by_root, survey, may_ask_agent })
    }

    pub fn connect(
        console: &mut dyn Console,
        paths: &Paths,
        target: Target,
        name: &str,
        (again, by_root): (Fix, Fix),
    ) -> Result<Remote, Failure> {
        paths.ensure_runtime()?;
        heed(&again)?;
        let (connection, name) = (reached(console, paths, &target)?, name.to_owned());
        let (scratch_dir, survey, may_ask_agent) = Default::default();
        Ok(Remote { scratch_dir, connection, target, name, again, by_root, survey, may_ask_agent })
    }

    /// Any command of the login's shell; its status is the caller's to judge.
    pub fn run(&self, script: &str, input: &[u8]) -> Result<Done, Failure> {
        self.connection.run(script, input, LIMIT)
    }

    /// The same for one that must succeed.
    pub fn must(&self, script: &str, input: &[u8]) -> Result<Done, Failure> {
        let done = self.run(script, input)?;
        self.succeeded(done)
    }

    /// What a command did, or the failure that it tells.
    pub fn succeeded(&self, done: Done) -> Result<Done, Failure> {
        if done.status.success() {
            return Ok(done);
        }
        let what = format!("a command on {} failed", self.name);
        Err(self.told(&done).map(of_agent).unwrap_or_else(|| self.refused(&what, &done)))
    }

    /// A file in the login's private directory there.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let script = format!("sh -c 'umask 077; cat >{}/{name}'", self.scratch_dir()?.path());
        self.must(&script, bytes).map(drop)
    }

    /// The login's private directory there, made when it is first asked for.
    pub fn scratch_dir(&self) -> Result<&ScratchDir, Failure> {
        if let Some(dir) = self.scratch_dir.get() {
            return Ok(dir);
        }
        match ScratchDir::make(&self.connection) {
            Ok(dir) => Ok(self.scratch_dir.get_or_init(|| dir)),
            Err(NotDone::Here(failure)) => Err(failure),
            Err(NotDone::There(done)) => {
                Err(self.refused(&format!("there is no room in your home on {}", self.name), &done))
            }
        }
    }

    /// What the server is; asked once.
    pub fn survey(&self) -> Result<&Survey, Failure> {
        if let Some(survey) = self.survey.get() {
            return Ok(survey);
        }
        let done = self.connection.run(WHOLE, preflight::script().as_bytes(), SURVEY_LIMIT)?;
        let mut survey = Survey::parse(&done.text()).ok_or_else(|| {
            let what = format!("{} does not run commands", self.target.address);
            Failure::new(Fault::Unreachable, what, done.complaint(), self.target.command())
        })?;
        survey.sudo = survey.sudo.settled(&self.connection)?;
        Ok(self.survey.get_or_init(|| survey))
    }

    /// How a command there becomes root's; a failure where it cannot.
    pub fn right(&self, console: &dyn Console) -> Result<Right, Failure> {
        let survey = self.survey()?;
        let user = survey.get("user");
        let never = match survey.sudo {
            Right::Fenced => FENCED,
            Right::None => "there is no sudo",
            Right::Asks if !console.may_ask() => {
                let what = format!("sudo on {} asks {user} for a password", self.target.address);
                let why = "nobody can be asked: this is no terminal, or --no-input forbids it";
                return Err(Failure::new(Fault::Input, what, why, self.again.clone()));
            }
            right => return Ok(right),
        };
        let what = format!("{user} may not do this on {}", self.name);
        Err(Failure::new(Fault::Failed, what, never, self.becomes_root(survey, survey.sudo)))
    }

    /// `hop-agent` there, by whoever may ask it: its answer, or the failure it tells.
    pub fn agent<T>(
        &self,
        console: &mut dyn Console,
        words: &str,
        input: &[u8],
        read: impl FnOnce(Value) -> Result<T, ReadError>,
    ) -> Result<T, Failure> {
        let done = match self.may_ask_agent()? {
            true => self.run(&format!("{AGENT} {words}"), input)?,
            false => self.root_command(console, &format!("{AGENT} {words} <root.in"), input)?,
        };
        if let Some(failure) = self.told(&done) {
            return Err(of_agent(failure));
        }
        let complaint = done.complaint();
        let text = Zeroizing::new(done.stdout);
        let none = |why: String| {
            let what = format!("the agent on {} gave an answer that is none", self.name);
            Failure::new(Fault::Remote, what, why, fix!("hop upgrade {}", self.name))
        };
        let answer = serde_json::from_slice(&text).map_err(|_| none(complaint))?;
        read(answer).map_err(|error| none(error.to_string()))
    }

    /// Whether the login is the agent's own user, or root. Asked once: nobody wants to know it
    /// both before and after an agent is installed.
    pub fn may_ask_agent(&self) -> Result<bool, Failure> {
        if let Some(may) = self.may_ask_agent.get() {
            return Ok(*may);
        }
        let [new, old] = AGENT_FILES;
        let look = format!("sh -c 'test -r {new} || test -r {old}'");
        let may = self.run(&look, b"")?.status.success();
        Ok(*self.may_ask_agent.get_or_init(|| may))
    }

    /// The failure that our program there tells in the last line of its output.
    pub fn told(&self, done: &Done) -> Option<Failure> {
        let text = done.text();
        let mut error = Fields::parse(text.lines().last()?).ok()?.opt_object("error").ok()??;
        let mut part = |key: &str| error.string(key).unwrap_or_default();
        let what = format!("on {}: {}", self.name, part("what"));
        let (why, next) = (part("why"), advised(&self.target, &self.name, &part("fix")));
        Some(Failure::new(Fault::told(&mut error), what, why, next))
    }

    /// What keeps the server from what is wanted of it, as far as its answers show.
    pub fn obstacle(&self, survey: &Survey) -> Option<Obstacle> {
        obstacle::find(survey, &self.target, &|| self.becomes_root(survey, survey.sudo))
    }

    /// What the server did not explain.
    pub fn refused(&self, what: &str, done: &Done) -> Failure {
        Failure::new(Fault::Remote, what, done.complaint(), self.helps())
    }

    /// What helps then: it is looked at once more.
    pub fn helps(&self) -> Fix {
        let asked = self.connection.run(WHOLE, preflight::script().as_bytes(), SURVEY_LIMIT);
        let survey = asked.ok().and_then(|done| Survey::parse(&done.text()));
        let obstacle = survey.as_ref().and_then(|survey| self.obstacle(survey));
        match (obstacle, survey) {
            (Some(obstacle), _) => obstacle.next,
            (None, Some(survey)) if !survey.get("selinux").is_empty() => {
                self.target.by_hand("sudo ausearch -m avc -ts recent")
            }
            _ => self.target.by_hand("sudo journalctl -n 50"),
        }
    }

    /// For a login that may not become root: root's own login, where this user is let in there;
    /// else what root's password gives this one.
    pub fn becomes_root(&self, survey: &Survey, right: Right) -> Fix {
        let root = Target { user: Some("root".to_owned()), ..self.target.clone() };
        if root.lets_in() {
            return self.by_root.clone();
        }
        let (user, group) = (survey.get("user"), survey.get("admins"));
        let join = fix!("/usr/sbin/usermod -aG {} {}", group, user);
        // Quoted twice, a name that has to be quoted itself would be read by nobody.
        let plain =
            |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let script = match right {
            Right::Fenced => "/usr/sbin/visudo".into(),
            _ if group.is_empty() || !plain(user) || !plain(group) => "/usr/sbin/visudo".into(),
            Right::None => fix!("{} && {}", survey.installs("sudo"), join),
            _ => join,
        };
        self.target.by_hand(fix!("su -c {}", &*script))
    }
}

/// Ctrl-C ends waits from now on, and what was begun is cleaned up.
fn heed(again: &Fix) -> Result<(), Failure> {
    interrupt::heed().map_err(|error| {
        let what = "cannot hear signals";
        Failure::new(Fault::Failed, what, error.to_string(), again.clone())
    })
}

/// A connection. What is under way is seen until it is known that somebody has to be asked.
fn reached(
    console: &mut dyn Console,
    paths: &Paths,
    target: &Target,
) -> Result<Connection, Failure> {
    let open = |asking: Asking<'_>| Connection::open(target, paths.ssh_socket(), asking);
    if !console.may_ask() {
        return open(Asking::Never);
    }
    let mut told = |line: &str| console.say(&format!("| {line}"));
    let opened = open(Asking::NotYet(&mut told));
    // A locked key is one that was denied: which it is is asked where nobody can be.
    let helps = |failure: &Failure| matches!(failure.fault, Fault::Denied | Fault::HostKeyUnknown);
    match opened {
        Err(failure) if helps(&failure) => {
            console.hold();
            let opened = open(Asking::AtTerminal);
            console.resume();
            opened
        }
        opened => opened,
    }
}

/// One that only the agent could have, and not this laptop.
fn of_agent(failure: Failure) -> Failure {
    match failure.fault {
        Fault::NotFound | Fault::NoPeer => failure,
        _ => Failure { fault: Fault::Remote, ..failure },
    }
}

/// What our program on a server says that helps. What is to be typed there cannot be typed here.
fn advised(target: &Target, host: &str, fix: &str) -> Fix {
    match Fix::of_agent(fix) {
        // It knows itself by no name of ours.
        Some(fix) if &*fix == "hop host ls" => fix,
        Some(fix) if fix.starts_with("hop ") => fix!("{} {}", fix, host),
        Some(fix) => target.by_hand(fix),
        None => target.by_hand(fix!("sudo {} status", AGENT)),
    }
}
