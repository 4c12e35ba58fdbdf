//! `hop setup`: a server is made ready over SSH, and the tunnel to it proven.
//!
//! Reading order: this file (the order of the steps) → `wish` (what was asked for) → `reach` (steps
//! 1 and 2, with `survey`, `programs` and `plan`) → `laptop` (3) → `install` (4 to 6, with `root`
//! and `clash`) → `answer` (the host file) → `verify` (7, with `blame`). Every step may be
//! repeated: an interrupted setup goes on where it was.

mod answer;
mod blame;
mod clash;
mod install;
pub(super) mod laptop;
pub(super) mod obstacle;
mod pairs;
mod plan;
pub(super) mod programs;
mod reach;
mod root;
mod survey;
mod there;
pub(super) mod verify;
mod wish;

use std::time::{Duration, Instant};

use serde_json::json;

use super::command::{Call, Command, Flag, Takes};
use super::trial::{self, Ended, Trial};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::file::DirLock;
use crate::base::time_text::took;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::VERSION;
use crate::ssh::freight::Freight;
use crate::ssh::run::{Connection, Target};
use survey::Survey;
use verify::Verified;
use wish::Wish;

pub const COMMAND: Command = Command {
    name: "setup",
    summary: "make a server ready, and prove the tunnel to it",
    usage: "hop setup <name> [-a ADDRESS] [-u USER] [-k FILE] [-p PORT] \
            [--endpoint HOST[:PORT]] [--agent-dir DIR] [--dry-run]",
    details: "Logs in with ssh, installs hop-helper and hop-agent there, exchanges keys and ends\n\
              when the agent has answered through the tunnel. Your ssh configuration, agent and\n\
              jump hosts are used; nothing is downloaded. May be repeated at any time: what is in\n\
              place stays, and an interrupted setup goes on. A second laptop is added beside the\n\
              first. ADDRESS may be an address, a name or an alias of your ssh configuration.",
    flags: &[
        Flag {
            short: Some('a'),
            long: "address",
            value: Some("ADDRESS"),
            help: "where the server is; needed the first time",
        },
        Flag {
            short: Some('u'),
            long: "user",
            value: Some("USER"),
            help: "the login on the server",
        },
        Flag {
            short: Some('k'),
            long: "key",
            value: Some("FILE"),
            help: "the ssh key to log in with",
        },
        Flag { short: Some('p'), long: "port", value: Some("PORT"), help: "the port of its sshd" },
        Flag {
            short: None,
            long: "endpoint",
            value: Some("HOST[:PORT]"),
            help: "where UDP reaches the server, if not where ssh does; kept",
        },
        Flag {
            short: None,
            long: "agent-dir",
            value: Some("DIR"),
            help: "where hop-agent and hop-helper for the server are (else libexec/hopbox/agents)",
        },
        Flag {
            short: None,
            long: "dry-run",
            value: None,
            help: "look at the server and say what would be done",
        },
    ],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let began = Instant::now();
    let paths = call.paths()?;
    let wish = Wish::read(call, &paths)?;
    call.out.plan(if wish.dry { 2 } else { 7 });
    let mut setup = Setup::reach(call, &paths, &wish)?;
    let (survey, programs) = setup.look(call)?;
    if wish.dry {
        return setup.tell_plan(call, &survey, programs);
    }
    if let Some(theirs) = there::newer(&survey) {
        let text = format!(
            "the server has hop-agent {theirs}, which stays; hop on this laptop is older \
             ({VERSION}): upgrade it"
        );
        call.out.warn("server_is_newer", &text);
    }
    let by_group = laptop::helper(call)?;
    let sent = setup.send(call, &survey, programs)?;
    let answer = setup.as_root(call, &survey);
    let before = setup.before.as_ref();
    let answer = answer.map_err(|failure| clash::explain(&paths, &wish, before, failure))?;
    if answer.by_root {
        let text = "the agent runs as root there; with another login (-u) it may do less";
        call.out.warn("agent_runs_as_root", text);
    }
    let host = setup.keep(&survey, &answer)?;
    let proven = setup.prove(call, &survey, &host, by_group);
    let verified = setup.settle(proven)?;
    let name = &host.name;
    let mut next = fix!("hop up {}", name);
    if by_group {
        call.out.warn("log_in_again", "you are in the group hopbox from your next login on");
        next = fix!("newgrp {}", verify::GROUP);
    }
    let data = json!({
        "host": name, "endpoint": host.endpoint.to_string(), "local_ip": host.local_ip.to_string(),
        "peer_ip": host.peer_ip.to_string(), "agent_version": verified.agent_version,
        "handshake_us": verified.handshake_us, "sent_bytes": sent, "next": &*next,
        "took_us": u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    });
    let text = format!("{name} is ready after {}; next: {next}", took(began.elapsed()));
    call.out.answer("setup", data, &text)?;
    Ok(Code::Done)
}

/// A setup with its connection.
struct Setup<'a> {
    paths: &'a Paths,
    wish: &'a Wish,
    target: Target,
    connection: Connection,
    endpoint_host: String,
    /// As whom ssh logs in: the server may know the same user by another name.
    login: String,
    /// What was known of the host, and nobody else changes while `alone` is held.
    before: Option<HostConfig>,
    alone: Option<DirLock>,
    trial: Trial,
    /// What was sent in this run.
    sent: Vec<Freight>,
}

impl Setup<'_> {
    /// Step 7. Where the tunnel does not work, the server is asked over SSH what it saw.
    fn prove(
        &self,
        call: &mut Call,
        survey: &Survey,
        host: &HostConfig,
        by_group: bool,
    ) -> Result<Verified, Failure> {
        call.out.begin("trying the tunnel");
        let server = blame::Server {
            connection: &self.connection,
            target: &self.target,
            login: survey.get("user"),
            right: survey.sudo,
            firewall: survey.get("firewall"),
        };
        let was_up = verify::clear(self.paths, host)?;
        let before = server.status();
        let verified = verify::attempt(self.paths, host, was_up, by_group)
            .map_err(|failure| blame::explain(&server, host, before.as_ref(), failure))?;
        let shake = verified.handshake_us.map(|us| took(Duration::from_micros(us)));
        let shake = shake.map(|time| format!(", handshake {time}")).unwrap_or_default();
        call.out.done(&format!("agent {} answered{shake}", verified.agent_version));
        Ok(verified)
    }
}

impl Setup<'_> {
    /// Says whether what was replaced may stay so.
    fn settle(&self, proven: Result<Verified, Failure>) -> Result<Verified, Failure> {
        if !trial::is_pending(&self.connection)? {
            return proven;
        }
        let settled = self.trial.end(&self.connection, proven.is_ok())?;
        match (proven, settled) {
            (Ok(verified), Ended::Done | Ended::TakenOver) => Ok(verified),
            (Ok(_), Ended::Stuck) => {
                let what = "the server did not keep the programs that were installed";
                let why = "it was not told in time that they work";
                Err(Failure::new(Fault::Failed, what, why, self.wish.command()))
            }
            (Err(failure), Ended::Done) => Err(install::is_back(failure)),
            (Err(failure), Ended::Stuck | Ended::TakenOver) => Err(failure),
        }
    }
}

/// The survey's name for an installed program's hash.
fn fact(program: &str) -> &str {
    program.strip_prefix("hop-").unwrap_or(program)
}
