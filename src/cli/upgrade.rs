//! `hop upgrade`: helper and agent of a host become those of this hop, or stay what they were.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::command::{Call, Command, Flag, Takes};
use super::remote::{AGENT, HELPER, INSTALLER, LIMIT, Remote, called, target};
use super::setup::{laptop, obstacle, programs};
use super::target_host;
use super::trial::{self, Ended, Trial};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::{self, HostConfig};
use crate::host::paths::Paths;
use crate::rpc::VERSION;
use crate::session::{control, daemon, through};
use crate::ssh::freight::Freight;
use crate::ssh::run::Connection;
use crate::text::fix::Fix;

pub const COMMAND: Command = Command {
    name: "upgrade",
    summary: "bring a host's helper and agent to the version of this hop",
    usage: "hop upgrade [host] [--agent-dir DIR]",
    details: "Sends the programs that differ over SSH, puts them in place, restarts the agent and\n\
              asks it through the tunnel. Connections through the tunnel survive. If it does not\n\
              answer with the right version, the programs before are put back. This machine's\n\
              helper is brought along, with sudo. Nothing is downloaded: a newer hop comes from\n\
              the package manager or make install.",
    flags: &[Flag {
        short: None,
        long: "agent-dir",
        value: Some("DIR"),
        help: "where hop-agent and hop-helper for the server are (else libexec/hopbox/agents)",
    }],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

/// How long the new agent may take to answer through the tunnel.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const ASK_LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);

const LATER: &str = "the server puts the programs before back by itself within minutes";
/// Statuses of [`SCRIPT`] where what was installed fails: the programs before are back, or not.
const UNDONE: i32 = 3;
const STUCK: i32 = 4;
/// What makes it fail is what shall be told, and not what undoing it says.
const SCRIPT: &str = r#"
umask 077
new() {
    unpack || return 1
    [ ! -f hop-helper ] || $here/hop-helper --install || return 1
    [ ! -f hop-agent ] || $here/hop-agent install || return 1
    $lib/hop-agent start --restart @CALLED@
}
keep || exit 1
new || { undo >undo.out 2>&1 && exit 3; exit 4; }
"#;

fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let host = config::load(&paths, &name)?;
    call.out.plan(5);
    if daemon::facts(&paths, &name).is_some() && through::link(&paths, &host).is_none() {
        let what = format!("the session of {name} cannot show that the upgrade works");
        let why = "it began with an older hop, or with another host file";
        let next = fix!("hop down {} && hop up {}", name, name);
        return Err(Failure::new(Fault::Busy, what, why, next));
    }
    let own_helper = laptop::same_version(call)?;
    call.out.begin(&format!("reaching {name}"));
    let mut remote = Remote::open(call, &paths, &host)?;
    let missing = missing(call, &remote)?;
    call.out.done("");
    let (before, runs) = state(call, &mut remote, &paths, &host)?;
    let is_current = runs && before.as_deref() == Some(VERSION);
    // What was interrupted is settled even where nothing is to be sent.
    if missing.is_empty() && is_current && !trial::is_pending(&remote.connection)? {
        let text = format!("{name} has version {VERSION} already");
        call.out.answer("upgrade", data(&name, before.as_deref(), false, own_helper), &text)?;
        return Ok(Code::Done);
    }
    replace(call, &mut remote, &paths, &host, missing)?;
    let was = before.clone().unwrap_or_else(|| "no agent".to_owned());
    let text = format!("{name} has version {VERSION} now; before: {was}");
    call.out.answer("upgrade", data(&name, before.as_deref(), true, own_helper), &text)?;
    Ok(Code::Done)
}

/// Sends, installs and asks; undone if the answer is not right.
fn replace(
    call: &mut Call,
    remote: &mut Remote,
    paths: &Paths,
    host: &HostConfig,
    missing: Vec<Freight>,
) -> Result<(), Failure> {
    call.out.begin("sending");
    let target = target(paths, host)?;
    let by_root = fix!("hop setup {} -u root", host.name);
    let sent = send(remote, missing, &|there| obstacle::helps(there, &target, &by_root))?;
    call.out.done(&format!("{sent} bytes"));
    call.out.begin("putting it in place");
    let trial = Trial::new();
    let script = SCRIPT.replace("@CALLED@", &called(paths, &host.name)?);
    let done = remote.as_root(call, &(trial.script() + &script), b"")?;
    let status = done.status.code();
    if let Err(failure) = remote.succeeded(done) {
        let why = format!("{}: {}", failure.what, failure.why);
        return Err(match status {
            Some(UNDONE) => undone(paths, host, &why),
            Some(STUCK) => {
                stuck(host, &format!("{why}; nor could the programs before be put back"))
            }
            _ => failure,
        });
    }
    call.out.done("agent restarted");
    call.out.begin("asking through the tunnel");
    if let Err(why) = verify(paths, host) {
        call.out.begin("putting the programs before back");
        return Err(match trial.end(&remote.connection, false) {
            Ok(Ended::Done) => undone(paths, host, &why),
            Ok(Ended::Stuck) => {
                stuck(host, &format!("{why}; nor could the programs before be put back"))
            }
            Ok(Ended::TakenOver) => stuck(host, &format!("{why}; another run is at it by now")),
            Err(error) => stuck(host, &format!("{why}; {LATER} ({})", error.why)),
        });
    }
    match trial.end(&remote.connection, true) {
        Ok(Ended::Done | Ended::TakenOver) => {}
        Ok(Ended::Stuck) => return Err(stuck(host, &format!("it was not told in time: {LATER}"))),
        Err(error) => return Err(stuck(host, &format!("{}; {LATER}", error.why))),
    }
    call.out.done(&format!("agent {VERSION} answered"));
    Ok(())
}

/// After the programs before have been put back.
fn undone(paths: &Paths, host: &HostConfig, why: &str) -> Failure {
    let name = &host.name;
    let what = format!("the upgrade of {name} was undone");
    let why = match verify_any(paths, host) {
        Ok(version) => format!("{why}; {version} is back and answers"),
        Err(error) => format!("{why}; and afterwards: {error}"),
    };
    Failure::new(Fault::Failed, what, why, fix!("hop doctor {}", name))
}

/// What the next run has to settle.
fn stuck(host: &HostConfig, why: &str) -> Failure {
    let what = format!("the upgrade of {} did not come to its end", host.name);
    Failure::new(Fault::Failed, what, why, fix!("hop upgrade {}", host.name))
}

fn data(name: &str, before: Option<&str>, changed: bool, own_helper: bool) -> serde_json::Value {
    json!({
        "host": name, "version": VERSION, "before": before, "changed": changed,
        "own_helper_changed": own_helper,
    })
}

/// The version of the agent there, and whether it runs. Asked over SSH, because the tunnel may be
/// between two sessions; through it where SSH could not ask without a password.
fn state(
    call: &mut Call,
    remote: &mut Remote,
    paths: &Paths,
    host: &HostConfig,
) -> Result<(Option<String>, bool), Failure> {
    if remote.may_ask_agent()? || remote.is_free()? {
        let there = remote.agent(call, "status --json", b"").unwrap_or_default();
        let version = there["hop_version"].as_str().or(there["installed"].as_str());
        return Ok((version.map(str::to_owned), there["running"] == true));
    }
    let version = match daemon::facts(paths, &host.name) {
        Some(_) => version(paths, host).ok(),
        None => brought_up(paths, host).ok(),
    };
    Ok((version.clone(), version.is_some()))
}

/// The programs that the server does not have as they are here.
fn missing(call: &Call, remote: &Remote) -> Result<Vec<Freight>, Failure> {
    let there = remote
        .run(&format!("sh -c 'b2sum <{HELPER}; b2sum <{INSTALLER}; b2sum <{AGENT}'"), b"", LIMIT)?
        .text();
    let programs = programs::load(call, &machine(remote)?)?;
    let differs = |freight: &Freight| !there.split_whitespace().any(|word| word == freight.hash);
    Ok(programs::needed(programs, differs))
}

/// In the words of `uname -m`.
fn machine(remote: &Remote) -> Result<String, Failure> {
    Ok(remote.run("uname -m", b"", LIMIT)?.text().trim().to_owned())
}

fn send(
    remote: &Remote,
    missing: Vec<Freight>,
    helps: &dyn Fn(&Connection) -> Fix,
) -> Result<u64, Failure> {
    let mut sent = 0;
    for mut freight in missing {
        freight.send(&remote.connection, &mut |_| {}).map_err(|error| match error {
            Err(error) => error,
            Ok(done) => {
                let what = format!("{} could not be sent", freight.name);
                Failure::new(Fault::Failed, what, done.complaint(), helps(&remote.connection))
            }
        })?;
        programs::try_out(&freight, &remote.connection, &machine(remote)?)
            .inspect_err(|_| freight.forget(&remote.connection))?;
        // Not for a later run: it is all or nothing here.
        freight.forget(&remote.connection);
        sent += freight.bytes;
    }
    Ok(sent)
}

/// What the agent answers through the tunnel, if the host is up.
fn version(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let client = through::without_token(paths, host);
    let client = client.ok_or_else(|| format!("{} is not up", host.name))?;
    client.health(ASK_LIMIT).map(|health| health.version).map_err(|error| error.to_string())
}

fn verify(paths: &Paths, host: &HostConfig) -> Result<(), String> {
    match verify_any(paths, host)? {
        version if version == VERSION => Ok(()),
        version => Err(format!("the agent that answers has version {version}, not {VERSION}")),
    }
}

/// The version of the agent that answers through the tunnel, brought up for that if it is down.
fn verify_any(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let name = &host.name;
    if daemon::facts(paths, name).is_none() {
        return brought_up(paths, host);
    }
    // The new agent knows no session of ours: shake hands at once instead of after a silence.
    let _ = control::rekey(paths, name);
    let end = Instant::now() + ANSWER_WITHIN;
    loop {
        match version(paths, host) {
            Ok(version) => return Ok(version),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// The same, through a tunnel that is up just for that.
fn brought_up(paths: &Paths, host: &HostConfig) -> Result<String, String> {
    let up = super::setup::verify::tunnel(paths, host, false);
    up.map(|verified| verified.agent_version).map_err(|failure| failure.why)
}
