//! `hop setup`: a server is made ready over SSH, and the tunnel to it proven.

use std::time::Instant;

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::page::Page;
use super::running_view;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::deploy::options::Options;
use crate::deploy::proposal::{Plan, Proposal};
use crate::deploy::running::Judged;
use crate::deploy::setup::{self, Ready};
use crate::deploy::ssh_entry;
use crate::fix;
use crate::host::config::{HostConfig, hop_name};
use crate::host::paths::Paths;
use crate::host::{store, workspace};
use crate::rpc::types::snap::Health;
use crate::sys::interrupt;

/// Where a server is, and how to get there: also of `hop to`.
pub const ADDRESS: Flag = Flag {
    short: Some('a'),
    long: "address",
    value: Some("ADDRESS"),
    help: "where the server is; needed the first time",
};
pub const USER: Flag =
    Flag { short: Some('u'), long: "user", value: Some("USER"), help: "the login on the server" };
pub const KEY: Flag = Flag {
    short: Some('k'),
    long: "key",
    value: Some("KEY"),
    help: "the file of the ssh key to log in with",
};
pub const PORT: Flag =
    Flag { short: Some('p'), long: "port", value: Some("PORT"), help: "the port of its sshd" };
pub const ENDPOINT: Flag = Flag {
    short: None,
    long: "endpoint",
    value: Some("HOST[:PORT]"),
    help: "where UDP reaches the server, if not where ssh does; kept",
};
/// What `--second-port` may say.
pub const SECOND_PORTS: &str = "443|53|off";
const SECOND_PORT: Flag = Flag {
    short: None,
    long: "second-port",
    value: Some(SECOND_PORTS),
    help: "a second UDP port to answer at, for networks that let out no other; kept",
};
pub const AGENT_DIR: Flag = Flag {
    short: None,
    long: "agent-dir",
    value: Some("DIR"),
    help: "where hop-agent and hop-helper for the server are (else libexec/hopbox/agents)",
};

pub const COMMAND: Command = Command {
    name: "setup",
    summary: "make a server ready, and prove the tunnel to it",
    usage: "hop setup <name> [-a ADDRESS] [-u USER] [-k KEY] [-p PORT] \
            [--endpoint HOST[:PORT]] [--second-port 443|53|off] [--agent-dir DIR] [--dry-run]",
    details: "Logs in with ssh, installs hop-helper and hop-agent there, exchanges keys and ends\n\
              when the agent has answered through the tunnel. Your ssh configuration, agent and\n\
              jump hosts are used; nothing is downloaded. May be repeated at any time: what is in\n\
              place stays, and an interrupted setup goes on. A second laptop is added beside the\n\
              first. ADDRESS may be an address, a name or an alias of your ssh configuration. At\n\
              the end it asks whether `ssh <name>.hop` shall know login, key and host key, which\n\
              takes a block at the top of ~/.ssh/config.",
    example: "hop setup mybox -a 203.0.113.7 -u dev -k ~/.ssh/id_ed25519",
    group: Group::Daily,
    flags: &[
        ADDRESS,
        USER,
        KEY,
        PORT,
        ENDPOINT,
        SECOND_PORT,
        AGENT_DIR,
        Flag {
            short: None,
            long: "dry-run",
            value: None,
            help: "look at the server and say what would be done",
        },
    ],
    operands: (1, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let began = Instant::now();
    let paths = call.paths()?;
    let name = call.args.operands.first().map_or("", String::as_str);
    let _ = interrupt::heed();
    let options = Options::read(&paths, name, |flag| call.args.value(flag))?;
    let has_provider = store::load(&paths, name).is_ok_and(|host| host.provider.is_some());
    call.out.plan(if options.dry { 2 } else { 7 + usize::from(has_provider) });
    if options.dry {
        let plan = setup::plan(call, &paths, &options)?;
        let told = ssh_entry::is_written(&paths, &options.name).unwrap_or(false);
        return tell_plan(call, &options.name, &plan, told);
    }
    let Ready { host, verified, sent_bytes, running } = setup::run(call, &paths, &options)?;
    let name = &host.name;
    let ssh = tell_ssh(call, &paths, &host)?;
    running_view::tell(call, name, &running);
    tell_snapshots(call, verified.snapshots.as_ref());
    let next = fix!("hop up {}", name);
    let data = json!({
        "host": name, "endpoint": host.endpoint.to_string(), "local_ip": host.local_ip.to_string(),
        "peer_ip": host.peer_ip.to_string(), "agent_version": verified.agent_version,
        "handshake_us": verified.handshake_us, "sent_bytes": sent_bytes, "next": &*next,
        "ssh_config": ssh, "programs": running.iter().map(Judged::to_json).collect::<Vec<_>>(),
        "took_us": u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    });
    let text = format!("{name} is ready after {}; next: {next}", took(began.elapsed()));
    call.out.answer("setup", data, &text)?;
    Ok(Code::Done)
}

/// Has this laptop's ssh(1) use the login, key and host key of the host, if its user wants that.
/// True where it does. The host is set up, whatever becomes of this; who stops it here is asked
/// once more by the next setup.
fn tell_ssh(call: &mut Call, paths: &Paths, host: &HostConfig) -> Result<bool, Failure> {
    let name = host.hop_name();
    let question = format!("Let `ssh {name}` know login and key, by a block in ~/.ssh/config?");
    let agreed = match ssh_entry::is_written(paths, &host.name) {
        Ok(false) if !call.args.has("yes") && !call.may_ask() => Ok(false),
        Ok(false) => call.confirm(&question),
        is_there => is_there,
    };
    let written = match agreed {
        Ok(true) => ssh_entry::write(call, paths, host).map(|_| true),
        no => no,
    };
    match written {
        Ok(false) => {
            let next = fix!("hop setup {} --yes", host.name);
            call.out.say(&format!("for `ssh {name}` to know login and key: {next}"));
            Ok(false)
        }
        Ok(true) => Ok(true),
        Err(failure) if failure.fault == Fault::Stopped => Err(failure),
        Err(Failure { what, why, next, .. }) => {
            let text = format!("`ssh {name}` knows no login and key: {what}: {why}: {next}");
            call.out.warn("ssh_config_not_written", &text);
            Ok(false)
        }
    }
}

/// What the restic there cannot do, where a workspace there, or the one here, wants snapshots.
fn tell_snapshots(call: &mut Call, health: Option<&Health>) {
    let here = || {
        let manifest = workspace::manifest(&std::env::current_dir().ok()?).ok()??;
        manifest.desired.backup
    };
    let health = health.filter(|health| !health.notes.is_empty());
    let Some(health) = health.filter(|health| health.is_wanted || here().is_some()) else { return };
    let notes = health.notes.join("; ");
    match health.restic {
        Some(_) => call.out.say(&format!("snapshots there: {notes}")),
        None => call.out.warn("no_restic", &format!("no snapshot can be taken there: {notes}")),
    }
}

fn tell_plan(call: &mut Call, name: &str, plan: &Plan, ssh_told: bool) -> Result<Code, Failure> {
    let take = plan.take.as_ref().map(|Proposal { interface, port, number }| {
        json!({
            "interface": interface, "listen_port": port, "number": number,
            "local_ip": format!("10.10.{number}.1"), "peer_ip": format!("10.10.{number}.2"),
        })
    });
    let data = json!({
        "host": name, "dry_run": true, "machine": plan.machine, "kernel": plan.kernel,
        "user": plan.user, "send": plan.send, "sudo_asks": plan.asks_password, "take": take,
    });
    let mut page = Page::from(match plan.send[..] {
        [] => "the server has its programs already".to_owned(),
        _ => format!("would send {}, and install as root", plan.send.join(", ")),
    });
    page.add(format!("would run the agent as {} under systemd", plan.user));
    page.add(match &plan.take {
        Some(Proposal { interface, port, number }) => format!(
            "would take UDP {port}, the addresses 10.10.{number}.1 and 10.10.{number}.2, and the \
             interface {interface} there"
        ),
        None => "the agent there keeps its UDP port, addresses and interface".to_owned(),
    });
    if let Some(Proposal { port, .. }) = &plan.take {
        page.add(format!("UDP {port} must be open at your provider"));
    }
    if plan.asks_password {
        page.add("sudo there will ask for a password");
    }
    if !ssh_told {
        let name = hop_name(name);
        page.add(format!("would offer a block for `ssh {name}` at the top of ~/.ssh/config"));
    }
    page.add("nothing has been changed");
    call.out.answer("setup", data, page)?;
    Ok(Code::Done)
}
