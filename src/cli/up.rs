//! `hop up`: a host becomes usable, in the background or in this terminal.

use serde_json::Value;

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::multi_host::MultiHost;
use super::service_names::There;
use super::target_host;
use super::wait::{self, TIMEOUT, WAIT};
use super::workspace;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::deploy::server_diagnosis;
use crate::deploy::verify::BY_SETUP;
use crate::fix;
use crate::host::config::{Transport, hop_name};
use crate::host::paths::Paths;
use crate::host::store;
use crate::host::workspace::Project;
use crate::session::control;
use crate::session::daemon::{self, Up};
use crate::session::http_proxy;
use crate::session::log::log;
use crate::session::ports;
use crate::session::report::Facts;
use crate::session::run;
use crate::session::supervise::End;
use crate::session::transport::Rung;

/// Also a flag of `hop wg`.
pub const FOREGROUND: Flag = Flag {
    short: Some('f'),
    long: "foreground",
    value: None,
    help: "stay in the terminal; Ctrl-C undoes everything",
};

/// Also a flag of `hop down`.
pub const ALL: Flag =
    Flag { short: Some('a'), long: "all", value: None, help: "every host that is set up" };

const TRANSPORT: Flag = Flag {
    short: None,
    long: "transport",
    value: Some("TRANSPORT"),
    help: "udp, ssh, or auto: UDP, and SSH where that does not pass",
};

pub const COMMAND: Command = Command {
    name: "up",
    summary: "bring hosts up: tunnel, address and name",
    usage: "hop up [host...] [-a] [-f] [--transport transport] [--wait [--timeout time]]",
    details: "Returns when the agent on the host has answered through the tunnel. Needs no\n\
              root: the helper makes the device. Says so and exits 0 when it is up already,\n\
              and 3 with the broken layer when it is up and degraded.\n\
              Where UDP gets no answer its datagrams go over SSH until it does.\n\
              Several hosts are started side by side; exits 11 when only some came up.\n\
              One host, in a directory with a hopbox.yaml for it, then gets what that says:\n\
              the plan is shown, and done after a yes, which the same content is not asked\n\
              for again. Exits 13 when nobody can be asked, 10 after a no; nothing has run.",
    example: "hop up\n\
              hop up mybox lab",
    group: Group::Daily,
    flags: &[ALL, FOREGROUND, TRANSPORT, WAIT, TIMEOUT],
    operands: (0, MANY),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let names = target_host::hosts(call, &paths)?;
    check_wait(call, names.len())?;
    let transport = transport(call)?;
    let [name] = names.as_slice() else { return several(call, &paths, &names, transport) };
    // At login it begins in whatever directory.
    let project = match call.args.has("foreground") {
        true => None,
        false => workspace::here(name)?,
    };
    if let Some(facts) = control::facts(&paths, name) {
        goes_that_way(&facts, transport)?;
        return tell(call, &facts, true, project);
    }
    call.out.wait(&format!("bringing {name} up"));
    if call.args.has("foreground") {
        return foreground(call, &paths, name, transport);
    }
    if call.out.is_verbose() {
        call.out.say(&format!("log: {}", paths.log_file(name).display()));
    }
    let up = daemon::start(&paths, name, transport, &mut call.out);
    let up = up.map_err(|failure| seen_from_there(call, &paths, name, failure))?;
    call.out.done("");
    match up {
        Up::Now(facts) => tell(call, &facts, false, project),
        Up::Already(facts) => {
            goes_that_way(&facts, transport)?;
            tell(call, &facts, true, project)
        }
    }
}

/// What `--transport` says.
fn transport(call: &Call) -> Result<Option<Transport>, Failure> {
    let Some(word) = call.args.value("transport") else { return Ok(None) };
    Transport::of_word(word).map(Some).map_err(|why| {
        let what = format!("--transport {word:?} is no transport");
        Failure::usage(what, why, fix!("hop help up"))
    })
}

/// A session that is up keeps the ways that it began with.
fn goes_that_way(facts: &Facts, asked: Option<Transport>) -> Result<(), Failure> {
    let has = facts.transport.as_ref().map(|told| told.choice);
    let (Some(asked), Some(has)) = (asked, has) else { return Ok(()) };
    if asked == has {
        return Ok(());
    }
    let (host, word) = (&facts.host, asked.word());
    let what = format!("{host} is up already, with transport {}", has.word());
    let next = fix!("hop down {} && hop up {} --transport {}", host, host, word);
    Err(Failure::new(Fault::No, what, "a session keeps the one that it began with", next))
}

/// Before anything is done.
fn check_wait(call: &Call, hosts: usize) -> Result<(), Failure> {
    wait::limit(call)?;
    let why = match (call.args.has("wait"), call.args.value("timeout")) {
        (false, Some(_)) => "--timeout is for --wait",
        (true, _) if hosts != 1 => "--wait is for the workspace of one host",
        (true, _) if call.args.has("foreground") => "--foreground brings no workspace up",
        _ => return Ok(()),
    };
    Err(Failure::usage("cannot wait for services", why, fix!("hop help up")))
}

/// A failure as the server sees it, where it can be asked over SSH. A setup that tries the tunnel
/// asks by itself.
fn seen_from_there(call: &mut Call, paths: &Paths, name: &str, failure: Failure) -> Failure {
    let Ok(host) = store::load(paths, name) else { return failure };
    match failure.fault {
        Fault::NoHandshake | Fault::AgentSilent if std::env::var_os(BY_SETUP).is_none() => {
            call.out.wait("asking the server over SSH what it saw");
            server_diagnosis::ask(paths, &host, failure)
        }
        _ => failure,
    }
}

/// Several at once: a line for each as it is done, and one code for all.
fn several(
    call: &mut Call,
    paths: &Paths,
    names: &[String],
    transport: Option<Transport>,
) -> Result<Code, Failure> {
    if call.args.has("foreground") {
        let why = "a session in the terminal is one host's";
        let next = fix!("hop up --foreground {}", names.first().map_or("", String::as_str));
        return Err(Failure::usage("one host at a time", why, next));
    }
    let mut sum = MultiHost::default();
    call.out.wait(&format!("bringing {} hosts up", names.len()));
    daemon::start_all(paths, names, transport, |name, outcome| match outcome {
        Ok(up) => {
            let (facts, already) = match &up {
                Up::Now(facts) => (facts, false),
                Up::Already(facts) => (facts, true),
            };
            match degraded(paths, facts, already) {
                Some(failure) => sum.failed(&mut call.out, name, failure),
                None => {
                    let text = line(facts, already);
                    sum.done(&mut call.out, &text, with_already(facts, already));
                }
            }
        }
        Err(trouble) => sum.failed(&mut call.out, name, trouble),
    })?;
    call.out.done("");
    if let Some(name) = names.first() {
        proxied(call, &hop_name(name));
    }
    sum.answer(call, "up")
}

/// A host that is up, and that programs here ask somebody else for.
fn proxied(call: &mut Call, name: &str) {
    if let Some((variable, name)) = http_proxy::of_this_process(name) {
        let cure = http_proxy::exception();
        let text = format!("{variable} sends programs here to a proxy for {name}: {cure}");
        call.out.warn("http_proxy", &text);
    }
}

fn tell(
    call: &mut Call,
    facts: &Facts,
    already: bool,
    project: Option<Project>,
) -> Result<Code, Failure> {
    let paths = call.paths()?;
    if let Some(failure) = degraded(&paths, facts, already) {
        return Err(failure);
    }
    if facts.agent_version != crate::rpc::VERSION {
        let (agent, hop) = (&facts.agent_version, crate::rpc::VERSION);
        let text = format!("the agent is {agent}, this hop {hop}: hop upgrade {}", facts.host);
        call.out.warn("agent_version", &text);
    }
    proxied(call, &facts.name);
    let (mut data, mut text) = (with_already(facts, already), line(facts, already));
    if let Some(project) = project {
        if !call.out.is_json() {
            call.out.text(std::mem::take(&mut text))?;
        }
        let services = wait::names(&project.desired);
        let auto = project.desired.auto_ports;
        if let Some(brought) = workspace::bring_up(call, &paths, &facts.host, project)? {
            data["workspace"] = brought.data;
            text = brought.text;
            mirror(call, &paths, &facts.host, auto);
        }
        if call.args.has("wait") {
            let limit = wait::limit(call)?;
            let mut there = There::at(&paths, facts.host.clone())?;
            let views = wait::until(call, &mut there, &services, limit)?;
            data["workspace"]["services"] = wait::data(&views);
            text += match views.is_empty() {
                true => ", and has no services",
                false => ", and its services work",
            };
        }
    }
    call.out.answer("up", data, text)?;
    Ok(Code::Done)
}

/// What the session of a host that is up already says to be broken, as `hop status` does, once it
/// has had the time to mend it. A session that cannot be asked is no answer.
fn degraded(paths: &Paths, facts: &Facts, already: bool) -> Option<Failure> {
    let host = &facts.host;
    let live = already.then(|| control::mended(paths, host).ok().flatten())??;
    let (layer, detail) = live.broken?;
    let why = format!("{layer}: {detail}");
    let what = format!("{host} is up already, and does not work as it should");
    Some(Failure::new(Fault::No, what, why, fix!("hop doctor {}", host)))
}

fn line(facts: &Facts, already: bool) -> String {
    let Facts { host, name, peer_ip, total, endpoint, transport, .. } = facts;
    let over_ssh = transport.as_ref().filter(|told| told.rung == Some(Rung::Ssh));
    let way = over_ssh.map_or(String::new(), |told| format!(", over {}", told.in_words(endpoint)));
    match already {
        // Which way it goes now hop status knows.
        true => format!("{host} is up already: {name} is {peer_ip}"),
        false => format!("{host} is up: {name} is {peer_ip}, usable after {}{way}", took(*total)),
    }
}

fn with_already(facts: &Facts, already: bool) -> Value {
    let mut data = facts.to_json();
    data["already"] = already.into();
    data
}

/// Stays until Ctrl-C, `hop down` or the end of the tunnel. Being stopped while up is a good end.
fn foreground(
    call: &mut Call,
    paths: &Paths,
    name: &str,
    transport: Option<Transport>,
) -> Result<Code, Failure> {
    match run::run(paths, name, transport, &mut call.out)? {
        End::Asked => {
            log("down");
            Ok(Code::Done)
        }
        End::Lost(why) => {
            let what = format!("{name} went down");
            let next = fix!("hop up {}", name);
            Err(Failure::new(Fault::Failed, what, format!("{why}; everything is undone"), next))
        }
    }
}

/// `ports: {auto: false}` of what was agreed to: only pinned ports are answered for here then.
fn mirror(call: &mut Call, paths: &Paths, host: &str, is_auto: bool) {
    if let Err(error) = ports::client::set_auto(paths, host, is_auto) {
        let text = format!("ports: {{auto: {is_auto}}} is not carried out: {error}");
        call.out.warn("ports_auto", &text);
    }
}
