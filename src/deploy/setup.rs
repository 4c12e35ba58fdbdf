//! A server is made ready, and the tunnel to it proven: the order of the steps. Each of them may be
//! repeated; an interrupted setup goes on where it was.

use std::time::Duration;

use super::artifacts;
use super::connect::{self, Server};
use super::console::Console;
use super::host_file;
use super::install;
use super::local_helper;
use super::options::Options;
use super::proposal::{self, Plan};
use super::provider;
use super::rollback_guard::{self, Ended, Guard};
use super::running::{self, Judged, Known};
use super::server_diagnosis;
use super::server_helper;
use super::traces::Traces;
use super::verify::{self, Verified};
use super::versions::{self, Policy};
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::VERSION;
use crate::rpc::types::TunnelMode;

/// A host that is set up.
pub struct Ready {
    pub host: HostConfig,
    pub verified: Verified,
    pub sent_bytes: u64,
    /// What runs there now.
    pub running: Vec<Judged>,
}

/// What would be done; nothing is changed there.
pub fn plan(console: &mut dyn Console, paths: &Paths, options: &Options) -> Result<Plan, Failure> {
    let server = connect::connect(console, paths, options)?;
    let programs = connect::look(console, paths, options, &server.remote)?;
    proposal::plan(paths, options, server.remote.survey()?, programs)
}

pub fn run(console: &mut dyn Console, paths: &Paths, options: &Options) -> Result<Ready, Failure> {
    let traces = Traces::before(paths, &options.name)?;
    let server = connect::connect(console, paths, options)?;
    let remote = &server.remote;
    let programs = connect::look(console, paths, options, remote)?;
    let survey = remote.survey()?;
    if let Some(theirs) = versions::newer(survey) {
        let text = format!(
            "the server has hop-agent {theirs}, which stays; hop on this laptop is older \
             ({VERSION}): upgrade it"
        );
        console.warn("server_is_newer", &text);
    }
    server_helper::tell_without_nft(console, survey);
    local_helper::ensure(console)?;
    console.begin("installing on the server");
    let known = Known::of(&programs);
    let missing = versions::missing(survey, programs, Policy::KeepWorking);
    let sent = artifacts::send(console, remote, missing)?;
    let guard = Guard::new();
    let agreed = install::install(console, paths, options, remote, (&guard, &traces), &sent)?;
    if agreed.answer.by_root {
        let text = "the agent runs as root there; with another login (-u) it may do less";
        console.warn("agent_runs_as_root", text);
    }
    let (answer, before) = (&agreed.answer, agreed.before.as_ref());
    let host = host_file::keep(paths, options, &server, answer, before)?;
    drop(agreed.lock);
    // Whatever fails from here on, what was replaced is put back.
    let proven = match provider::open_tunnel(console, &host, answer.listen_port) {
        Ok(opened) => {
            let proven = prove(console, paths, &server, &host);
            if proven.is_err() {
                opened.take_back(console);
            }
            proven
        }
        Err(failure) => Err(failure),
    };
    let verified = settle(&server, &guard, proven)?;
    if verified.tunnel_mode != TunnelMode::Kernel {
        let text = "the server has no TUN device to give, so the tunnel ends in userspace there: \
                    it reaches TCP ports at which your own user listens, and no other";
        console.warn("in_userspace", text);
    }
    let running = verified.running.as_ref().map_or_else(Vec::new, |it| running::judge(it, &known));
    Ok(Ready { host, verified, sent_bytes: sent.bytes, running })
}

/// Step 7. Where the tunnel does not work, the server is asked over SSH what it saw.
fn prove(
    console: &mut dyn Console,
    paths: &Paths,
    server: &Server,
    host: &HostConfig,
) -> Result<Verified, Failure> {
    let (remote, survey) = (&server.remote, server.remote.survey()?);
    if survey.get("agent").is_empty() && host.provider.is_none() {
        let port = host.endpoint.port;
        console
            .say(&format!("UDP {port} must be open at your provider, on the way to {}", host.name));
    }
    console.begin("trying the tunnel");
    let was_up = verify::clear(paths, host)?;
    let before = server_diagnosis::status(remote, survey);
    let verified = verify::attempt(paths, host, was_up).map_err(|failure| {
        let fault = failure.fault;
        let told = server_diagnosis::explain(remote, survey, host, before.as_ref(), failure);
        // Afterwards: what goes over SSH would count as heard by the server.
        if !verify::stands_in(paths, host, was_up, fault) {
            return told;
        }
        let over_ssh = "over SSH it answers, and hop up goes that way until UDP passes";
        Failure { why: format!("{}; {over_ssh}", told.why), ..told }
    })?;
    let shake = verified.handshake_us.map(|us| took(Duration::from_micros(us)));
    let shake = shake.map(|time| format!(", handshake {time}")).unwrap_or_default();
    console.done(&format!("agent {} answered{shake}", verified.agent_version));
    Ok(verified)
}

/// Says whether what was replaced may stay so.
fn settle(
    server: &Server,
    guard: &Guard,
    proven: Result<Verified, Failure>,
) -> Result<Verified, Failure> {
    let remote = &server.remote;
    if !rollback_guard::is_pending(&remote.connection)? {
        return proven;
    }
    let settled = guard.end(&remote.connection, proven.is_ok())?;
    match (proven, settled) {
        (Ok(verified), Ended::Done | Ended::TakenOver) => Ok(verified),
        (Ok(_), Ended::Stuck) => {
            let what = "the server did not keep the programs that were installed";
            let why = "it was not told in time that they work";
            Err(Failure::new(Fault::Failed, what, why, remote.again.clone()))
        }
        (Err(failure), Ended::Done) => Err(install::is_back(failure)),
        (Err(failure), Ended::Stuck | Ended::TakenOver) => Err(failure),
    }
}
