//! Steps 4 to 6 of a setup: root puts in place what was sent, exchanges keys and starts the agent,
//! all in one script. The stages are told as they end.

use serde_json::json;
use zeroize::Zeroizing;

use super::artifacts::Sent;
use super::console::Console;
use super::host_file::Answer;
use super::options::Options;
use super::remote::{Remote, called};
use super::rollback_guard::Guard;
use super::root_script::{NotRun, ROOT_LIMIT, Script};
use super::server_helper;
use super::setup_conflict;
use super::traces::Traces;
use super::{identity, local_helper, numbers};
use crate::base::address_plan::Numbers;
use crate::base::failure::{Failure, Fault};
use crate::base::file::DirLock;
use crate::base::{field, key};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;

const STAGES: &[&str] = &["helper", "firewall", "install", "setup", "start"];

/// A helper or an agent that lies in the directory was sent and is to be installed.
const SCRIPT: &str = r#"
gone_wrong() { [ -d $mark ] && undo; }
# What works is kept, so that it can be put back.
works() {
    [ -d $mark ] && return
    [ -f hop-helper ] || [ -f hop-agent ] || [ -f hop-helper-server ] || return
    $lib/hop-agent version
}
helper() {
    if works >/dev/null 2>&1; then keep || return 1; fi
    unpack || return 1
    [ ! -f hop-helper ] || $here/hop-helper --install
}
install() { [ ! -f hop-agent ] || $here/hop-agent install; }
# The agent before can read what it writes itself, should it be put back.
setup() {
    agent=$lib/hop-agent
    if [ -x $mark/hop-agent ]; then
        agent=$mark/hop-agent
        sh $mark/trial.sh back || return 1
    fi
    $agent setup <request.json
}
# One that has the same version and yet does not know it is asked without our name for it.
start() {
    $lib/hop-agent start $restart @CALLED@
    status=$?
    [ $status = 2 ] || return $status
    $lib/hop-agent start $restart
}
restart=
[ ! -f hop-agent ] && [ ! -d $mark ] || restart=--restart
stage helper helper
stage firewall firewall
stage install install
stage setup setup
stage start start
"#;

/// What both sides have agreed on.
pub struct Agreed {
    pub answer: Answer,
    /// What was known of the host. Nobody else changes it, or chooses a number, while this is held.
    pub before: Option<HostConfig>,
    pub lock: DirLock,
}

pub fn install(
    console: &mut dyn Console,
    paths: &Paths,
    options: &Options,
    remote: &Remote,
    (guard, traces): (&Guard, &Traces),
    sent: &Sent,
) -> Result<Agreed, Failure> {
    let lock = DirLock::take_within(&paths.hosts_dir(), ROOT_LIMIT)?;
    let name = &options.name;
    let known = store::names(paths)?.contains(name);
    let before = known.then(|| store::load(paths, name)).transpose()?;
    let numbers = numbers::of(paths, name)?;
    let request =
        request(paths, name, before.as_ref(), &numbers, &login(remote)?, options.second_port)?;
    let text = guard.script() + &SCRIPT.replace("@CALLED@", &called(paths, name)?);
    let files: &[(&str, &[u8])] = &[("request.json", request.as_bytes())];
    let mut told = |console: &mut dyn Console, stage: &str| {
        // What comes next is that the agent admits this laptop; it may not come to say so.
        if stage == "install" {
            traces.stay(true);
        }
        tell(console, stage);
    };
    let ended = remote.as_root(console, &Script { text: &text, stages: STAGES, files }, &mut told);
    let ended = ended.map_err(|not| not_root(remote, sent, not))?;
    if let Some((stage, _)) = ended.failed {
        traces.stay(stage == "start");
        let failure = remote.stage_failed(stage);
        let failure = if ended.undone { is_back(failure) } else { failure };
        let keys = &remote.survey()?.keys;
        return Err(setup_conflict::explain(paths, options, before.as_ref(), keys, failure));
    }
    if sent.has(server_helper::NAME) {
        server_helper::tell(console, remote, "firewall")?;
    }
    sent.forget(remote);
    let is_new = remote.survey()?.get("agent").is_empty();
    let answer = answer(remote, before.as_ref(), &numbers, is_new)?;
    Ok(Agreed { answer, before, lock })
}

fn tell(console: &mut dyn Console, stage: &str) {
    let (said, next) = match stage {
        "install" => ("hop-helper and hop-agent", Some("exchanging keys")),
        "setup" => ("private keys stayed where they are", Some("starting the agent")),
        "start" => ("enabled and running", None),
        _ => return,
    };
    console.done(said);
    if let Some(next) = next {
        console.begin(next);
    }
}

/// What was sent stays for the next try where there can be one, and is not sent again then.
fn not_root(remote: &Remote, sent: &Sent, not: NotRun) -> Failure {
    if matches!(not, NotRun::Refused { mistyped: false, .. }) {
        sent.forget(remote);
    }
    not.into()
}

/// What the agent is told: nothing of it is secret.
fn request(
    paths: &Paths,
    name: &str,
    before: Option<&HostConfig>,
    numbers: &Numbers,
    login: &str,
    second_port: Option<u16>,
) -> Result<String, Failure> {
    let public_key = identity::public_key(paths, name)?;
    let mut request = json!({
        "version": 1,
        "public_key": key::encode(&public_key).as_str(),
        "name": local_helper::label(),
        "user": login,
        "numbers_taken": numbers.taken, "numbers_free": numbers.free,
    });
    if let Some(port) = second_port {
        request["second_port"] = port.into();
    }
    if let Some(host) = before {
        // Where it cannot be used any more the agent may choose another, if it has no other
        // laptops.
        if !numbers.taken.contains(&host.number) {
            request["number"] = host.number.into();
        }
        request["expected_agent_key"] = key::encode(&host.public_key).as_str().into();
    }
    Ok(request.to_string())
}

fn login(remote: &Remote) -> Result<String, Failure> {
    let user = remote.survey()?.get("user");
    field::login(user).map_err(|why| {
        let what = format!("the login {user:?} cannot be used");
        Failure::new(Fault::Failed, what, why, remote.target.command())
    })
}

/// A server that had no agent took a number that is free here; another keeps the one that it has,
/// unless that cannot be used, or is another than it was.
fn answer(
    remote: &Remote,
    before: Option<&HostConfig>,
    numbers: &Numbers,
    is_new: bool,
) -> Result<Answer, Failure> {
    let offered = |number: u8| match before {
        Some(host) if !numbers.taken.contains(&host.number) => host.number == number,
        Some(_) => numbers.free.contains(&number),
        None if is_new => numbers.free.contains(&number),
        None => !numbers.taken.contains(&number),
    };
    let text = Zeroizing::new(remote.said("setup")?.stdout);
    let text = std::str::from_utf8(&text).unwrap_or_default();
    Answer::parse(text, &offered).map_err(|error| {
        let what = "the agent's answer is not valid";
        Failure::new(Fault::Remote, what, error.to_string(), "hop version")
    })
}

/// After a failure that left the server as it was.
pub fn is_back(failure: Failure) -> Failure {
    Failure { why: format!("{}; the programs before are back", failure.why), ..failure }
}
