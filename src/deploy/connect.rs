//! Steps 1 and 2 of a setup: the connection, the server's host keys, and what the server is.
//! Changes nothing there.

use std::net::IpAddr;

use super::artifacts::{self, Programs};
use super::console::Console;
use super::obstacle::{self, Obstacle};
use super::options::Options;
use super::preflight::Survey;
use super::proposal;
use super::remote::Remote;
use super::setup_conflict;
use crate::base::failure::{Failure, Fault};
use crate::base::field;
use crate::base::file::DirLock;
use crate::host::paths::Paths;
use crate::ssh::known_hosts;

/// A server that is being set up.
pub struct Server {
    pub remote: Remote,
    /// Where ssh connects to.
    pub endpoint_host: String,
    /// As whom ssh logs in: the server may know the same user by another name.
    pub login: String,
}

/// Step 1: the connection.
pub fn connect(
    console: &mut dyn Console,
    paths: &Paths,
    options: &Options,
) -> Result<Server, Failure> {
    // Before ssh is asked for the first time: its configuration may run commands.
    console.begin(&format!("reaching {}", options.target.address));
    let target = options.target.settled()?;
    let found = target.resolved()?;
    let login = field::login(&found.user).map_err(|why| {
        let what = format!("the login {:?} of your ssh configuration is not usable", found.user);
        Failure::usage(what, why, "${EDITOR:-vi} ~/.ssh/config")
    })?;
    let endpoint_host = match target.address.parse::<IpAddr>() {
        Ok(_) => target.address.clone(),
        Err(_) => found.host,
    };
    let lines = (options.command(), options.by_root());
    let remote = Remote::connect(console, paths, target, "the server", lines);
    let remote = remote.map_err(|failure| {
        setup_conflict::other_key(paths, options, declined(failure, console.may_ask()))
    })?;
    Ok(Server { remote, endpoint_host, login })
}

/// The rest of step 1, and step 2: what the server is, and its keys.
pub fn look(
    console: &mut dyn Console,
    paths: &Paths,
    options: &Options,
    remote: &Remote,
) -> Result<Programs, Failure> {
    let survey = remote.survey()?;
    let pinned = if options.dry { "" } else { pin(console, paths, options, remote, survey)? };
    console.done(&format!("logged in as {}{pinned}", survey.get("user")));
    console.begin("looking at the server");
    if let Some(Obstacle { why, next }) = remote.obstacle(survey) {
        let what = format!("{} cannot be set up", remote.target.address);
        return Err(Failure::new(Fault::Failed, what, why, next));
    }
    if let Some(text) = obstacle::clock(survey, &remote.target) {
        console.warn("server_clock", &text);
    }
    remote.right(console)?;
    let programs = artifacts::load(options.agent_dir.as_deref(), survey.machine())?;
    let text = format!("{}, Linux {}, systemd", survey.machine(), survey.get("kernel"));
    let proposal = proposal::of(paths, options, survey)?;
    console.done(&(text + &proposal.map(|proposal| proposal.in_short()).unwrap_or_default()));
    Ok(programs)
}

/// Pins the server's keys. They come over a connection whose key ssh has verified.
fn pin(
    console: &mut dyn Console,
    paths: &Paths,
    options: &Options,
    remote: &Remote,
    survey: &Survey,
) -> Result<&'static str, Failure> {
    paths.ensure_config()?;
    // Two setups at once would each lose the other's line.
    let _alone = DirLock::take(&paths.keys_dir())?;
    let (alias, file) = (known_hosts::alias(&options.name), paths.known_hosts());
    if survey.keys.is_empty() || !known_hosts::pin(&file, &alias, &survey.keys)? {
        return Ok("");
    }
    // Not a matter of trust: an sshd may use other keys than those in /etc/ssh.
    if remote.connection.key_is_pinned(&alias, &file, survey.sshd_port())? {
        return Ok(", host keys recorded");
    }
    known_hosts::forget(&file, &alias)?;
    console
        .warn("host_keys_not_pinned", "its sshd does not use the keys in /etc/ssh: ssh will ask");
    Ok("")
}

/// With somebody there to ask, an unknown key means that the answer was no.
fn declined(failure: Failure, asked: bool) -> Failure {
    let declined = asked && failure.fault == Fault::HostKeyUnknown;
    if declined { Failure { fault: Fault::Declined, ..failure } } else { failure }
}
