//! Helper and agent of a host become those of this hop, or stay what they were.

use super::agent_status::AgentStatus;
use super::artifacts;
use super::console::Console;
use super::remote::{Remote, called};
use super::rollback_guard::{self, Ended, Guard};
use super::root_script::Script;
use super::server_helper;
use super::verify;
use super::versions::{self, Policy};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::VERSION;
use crate::ssh::right::Right;
use crate::ssh::upload::Upload;
use std::path::Path;

const LATER: &str = "the server puts the programs before back by itself within minutes";
const STAGES: &[&str] = &["keep", "upgrade"];
/// What makes it fail is what shall be told, and not what undoing it says.
const SCRIPT: &str = r#"
gone_wrong() { [ $1 = upgrade ] && undo; }
upgrade() {
    unpack || return 1
    [ ! -f hop-helper ] || $here/hop-helper --install || return 1
    firewall || return 1
    [ ! -f hop-agent ] || $here/hop-agent install || return 1
    $lib/hop-agent start --restart @CALLED@
}
stage keep keep
stage upgrade upgrade
"#;

/// What became of it.
pub struct Upgraded {
    /// The version of the agent that was there.
    pub before: Option<String>,
    /// False where everything was there already.
    pub changed: bool,
}

pub fn run(
    console: &mut dyn Console,
    paths: &Paths,
    host: &HostConfig,
    agent_dir: Option<&Path>,
) -> Result<Upgraded, Failure> {
    console.begin(&format!("reaching {}", host.name));
    let remote = Remote::open(console, paths, host)?;
    let survey = remote.survey()?;
    let programs = artifacts::load(agent_dir, survey.machine())?;
    let again = verify::replaced(paths, host);
    let missing = versions::missing(survey, programs, Policy::Exact { again: &again });
    console.done("");
    let (before, runs) = state(console, &remote, paths, host)?;
    let is_current = runs && before.as_deref() == Some(VERSION);
    // What was interrupted is settled even where nothing is to be sent.
    let changed =
        !missing.is_empty() || !is_current || rollback_guard::is_pending(&remote.connection)?;
    if changed {
        replace(console, &remote, paths, host, missing)?;
    }
    Ok(Upgraded { before, changed })
}

/// Sends, installs and asks; undone if the answer is not right.
fn replace(
    console: &mut dyn Console,
    remote: &Remote,
    paths: &Paths,
    host: &HostConfig,
    missing: Vec<Upload>,
) -> Result<(), Failure> {
    console.begin("sending");
    let sent = artifacts::send(console, remote, missing)?;
    // Not for a later run: it is all or nothing here.
    sent.forget(remote);
    console.done(&format!("{} bytes", sent.bytes));
    console.begin("putting it in place");
    let guard = Guard::new();
    let text = guard.script() + &SCRIPT.replace("@CALLED@", &called(paths, &host.name)?);
    let script = Script { text: &text, stages: STAGES, files: &[] };
    let ended = remote.as_root(console, &script, &mut |_, _| {})?;
    if let Some((stage, _)) = ended.failed {
        let failure = remote.stage_failed(stage);
        let why = format!("{}: {}", failure.what, failure.why);
        return Err(match (stage, ended.undone) {
            ("upgrade", true) => undone(paths, host, &why),
            ("upgrade", false) => {
                stuck(host, &format!("{why}; nor could the programs before be put back"))
            }
            _ => failure,
        });
    }
    if sent.has(server_helper::NAME) {
        server_helper::tell(console, remote, "upgrade")?;
    }
    console.done("agent restarted");
    console.begin("asking through the tunnel");
    if let Err(why) = verify::serves(paths, host, VERSION) {
        console.begin("putting the programs before back");
        return Err(match guard.end(&remote.connection, false) {
            Ok(Ended::Done) => undone(paths, host, &why),
            Ok(Ended::Stuck) => {
                stuck(host, &format!("{why}; nor could the programs before be put back"))
            }
            Ok(Ended::TakenOver) => stuck(host, &format!("{why}; another run is at it by now")),
            Err(error) => stuck(host, &format!("{why}; {LATER} ({})", error.why)),
        });
    }
    match guard.end(&remote.connection, true) {
        Ok(Ended::Done | Ended::TakenOver) => {}
        Ok(Ended::Stuck) => return Err(stuck(host, &format!("it was not told in time: {LATER}"))),
        Err(error) => return Err(stuck(host, &format!("{}; {LATER}", error.why))),
    }
    console.done(&format!("agent {VERSION} answered"));
    Ok(())
}

/// After the programs before have been put back.
fn undone(paths: &Paths, host: &HostConfig, why: &str) -> Failure {
    let name = &host.name;
    let what = format!("the upgrade of {name} was undone");
    let why = match verify::answering(paths, host) {
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

/// The version of the agent there, and whether it runs. Asked over SSH, because the tunnel may be
/// between two sessions; through it where SSH could not ask without a password.
fn state(
    console: &mut dyn Console,
    remote: &Remote,
    paths: &Paths,
    host: &HostConfig,
) -> Result<(Option<String>, bool), Failure> {
    let free = [Right::Root, Right::Free, Right::FreeAtTerminal];
    if remote.may_ask_agent()? || free.contains(&remote.survey()?.sudo) {
        let there = remote.agent(console, "status --json", b"", AgentStatus::read).ok();
        let runs = there.as_ref().is_some_and(AgentStatus::is_running);
        return Ok((there.and_then(|there| there.version), runs));
    }
    let version = verify::version(paths, host).ok();
    Ok((version.clone(), version.is_some()))
}
