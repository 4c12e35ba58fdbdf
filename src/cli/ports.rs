//! `hop ports`: what listens on a host, and where this machine answers for it.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::page::{Line, Page};
use super::ports_view::{sentence, table, url};
use super::ports_why::{Found, why};
use super::{browser, target_host};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::Client;
use crate::rpc::types::Message;
use crate::session::ports::client::{self, MirrorError};
use crate::session::ports::probe;
use crate::session::ports::view::{
    MirrorEvent, MirrorView, MirrorViews, PortChange, PortState, WhyNot,
};
use crate::session::through;

pub const LS: Command = Command {
    name: "ports ls",
    summary: "what listens on a host, and where it is here",
    usage: "hop ports ls [--watch] [--no-probe]",
    details: "The ports at which programs of your login and its containers listen there, by the\n\
              checkout that the programs run in: the number there and the one here, whether a\n\
              connection is taken, the program, for how long, the bytes that went through this\n\
              machine, and what to open in a browser. The state is found by one connection for\n\
              each, which is closed at once; ports that are in use need none. hop ports alone\n\
              does the same.",
    example: "hop ports ls\n\
              hop ports ls --watch --json",
    group: Group::Between,
    flags: &[
        Flag {
            short: Some('w'),
            long: "watch",
            value: None,
            help: "tell each change as it comes, until Ctrl-C; connects to nothing",
        },
        Flag {
            short: None,
            long: "no-probe",
            value: None,
            help: "connect to nothing: what is not in use is listening, and no more is known",
        },
    ],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: ls,
};

const OF_ONE: Command = Command {
    name: "",
    summary: "",
    usage: "",
    details: "",
    example: "",
    group: Group::Between,
    flags: &[],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run: ls,
};

pub const WHY: Command = Command {
    name: "ports why",
    summary: "what happens with a port, and why",
    usage: "hop ports why PORT",
    details: "PORT is the number on the host. Exits 3 where nothing answers for it here, or\n\
              nobody takes a connection there.",
    example: "hop ports why 3000",
    run: tell_why,
    ..OF_ONE
};

pub const OPEN: Command = Command {
    name: "ports open",
    summary: "open a port in the browser here",
    usage: "hop ports open PORT",
    details: "Opens http://localhost:N with this machine's browser ($BROWSER, else xdg-open),\n\
              where N is the number at which PORT of the host is here.",
    example: "hop ports open 3000",
    run: open,
    ..OF_ONE
};

pub const PIN: Command = Command {
    name: "ports pin",
    summary: "keep a port at one number here",
    usage: "hop ports pin PORT [LOCAL]",
    details: "PORT of the host is at LOCAL here from now on, or stays where it is. Exits 8 where\n\
              another program has that number. It is answered for although the host's workspace\n\
              says ports: {auto: false}.",
    example: "hop ports pin 3000\n\
              hop ports pin 80 8080",
    operands: (1, 2),
    run: pin,
    ..OF_ONE
};

pub const UNPIN: Command = Command {
    name: "ports unpin",
    summary: "let a port be where there is room again",
    usage: "hop ports unpin PORT",
    example: "hop ports unpin 3000",
    run: |call| change(call, PortChange::Unpin),
    ..OF_ONE
};

pub const EXCLUDE: Command = Command {
    name: "ports exclude",
    summary: "do not answer for a port here",
    usage: "hop ports exclude PORT",
    details: "Its connections here end, and it stays so until hop ports include.",
    example: "hop ports exclude 9229",
    run: |call| change(call, PortChange::Exclude),
    ..OF_ONE
};

pub const INCLUDE: Command = Command {
    name: "ports include",
    summary: "answer for a port again that was excluded",
    usage: "hop ports include PORT",
    example: "hop ports include 9229",
    run: |call| change(call, PortChange::Include),
    ..OF_ONE
};

/// The host that is meant.
struct There {
    paths: Paths,
    host: String,
}

impl There {
    fn of(call: &mut Call) -> Result<There, Failure> {
        let paths = call.paths()?;
        let host = target_host::host_beside(call, &paths)?;
        Ok(There { paths, host })
    }

    fn all(&self) -> Result<MirrorViews, Failure> {
        let mut all = client::list(&self.paths, &self.host).map_err(|error| self.failed(error))?;
        self.name_mirrors(&mut all.ports);
        Ok(all)
    }

    /// Nobody may look whose a mirror's sockets are, and nobody listens at a number that one only
    /// keeps; but each tells what it has.
    fn name_mirrors(&self, views: &mut [MirrorView]) {
        let unknown = |view: &&mut MirrorView| {
            matches!(view.why_not, Some(WhyNot::Taken { by: None } | WhyNot::Kept))
        };
        let mut unknown: Vec<&mut MirrorView> = views.iter_mut().filter(unknown).collect();
        let hosts = store::names(&self.paths).unwrap_or_default();
        for host in hosts.into_iter().filter(|host| *host != self.host) {
            if unknown.is_empty() {
                return;
            }
            let Ok(all) = client::list(&self.paths, &host) else { continue };
            let has: BTreeSet<u16> = all.ports.iter().filter_map(|view| view.local).collect();
            for view in unknown.iter_mut().filter(|view| has.contains(&view.port)) {
                view.why_not = Some(WhyNot::Taken { by: Some(format!("hop for {host}")) });
            }
        }
    }

    /// To ask its agent. `None` where that cannot be at this moment.
    fn agent(&self) -> Option<Client> {
        let config = store::load(&self.paths, &self.host).ok()?;
        through::with_token(&self.paths, &config)
    }

    /// Has a connection tell how those are that somebody listens at.
    fn probe(&self, views: &mut [MirrorView]) {
        let there = views.iter().filter(|view| view.server.is_some());
        let there: Vec<u16> = there.map(|view| view.port).collect();
        let Some(agent) = self.agent().filter(|_| !there.is_empty()) else { return };
        for (port, state) in probe::probe(&agent, &there) {
            for view in views.iter_mut().filter(|view| view.port == port) {
                view.state = state;
            }
        }
    }

    fn failed(&self, error: MirrorError) -> Failure {
        let host = &self.host;
        let what = format!("nothing here answers for the ports of {host}");
        match error {
            MirrorError::Down => {
                let why = format!("{host} is not up");
                Failure::new(Fault::No, what, why, fix!("hop up {}", host))
            }
            MirrorError::Absent => {
                let why = "the process that does it is not there; its session starts it again";
                Failure::new(Fault::Busy, what, why, fix!("hop ports ls -H {}", host))
            }
            MirrorError::Refused(why) => {
                let what = "it was not changed";
                Failure::new(Fault::Busy, what, why, fix!("hop ports ls -H {}", host))
            }
            MirrorError::Lost(error) => {
                let why = error.to_string();
                Failure::new(Fault::Failed, what, why, fix!("hop ports ls -H {}", host))
            }
        }
    }
}

fn ls(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of(call)?;
    if call.args.has("watch") {
        return watch(call, &there);
    }
    let mut all = there.all()?;
    if !call.args.has("no-probe") {
        there.probe(&mut all.ports);
    }
    let data: Vec<Value> = all.ports.iter().map(shown_json).collect();
    let mut page = match all.ports.is_empty() {
        true => Page::from(format!("nothing listens on {}", there.host)),
        false => table(&all.ports, call.out.room()),
    };
    if !all.is_live {
        page.add(Line::from("as it was last known: the agent does not answer now"));
    }
    let data = json!({"host": there.host, "live": all.is_live, "ports": data});
    call.out.answer("ports.ls", data, page)?;
    Ok(Code::Done)
}

fn shown_json(view: &MirrorView) -> Value {
    let mut json = view.to_json();
    json["url"] = json!(view.local.map(url));
    json
}

/// Through a mirror that is started again, to the end of its session.
fn watch(call: &mut Call, there: &There) -> Result<Code, Failure> {
    let mut told: Vec<MirrorView> = Vec::new();
    loop {
        let opened = client::watch(&there.paths, &there.host);
        let (all, mut events) = opened.map_err(|error| there.failed(error))?;
        let lost: Vec<u16> = told.iter().map(|view| view.port).collect();
        for port in lost.into_iter().filter(|port| all.ports.iter().all(|at| at.port != *port)) {
            tell(call, &mut told, MirrorEvent::Forgotten(port))?;
        }
        for view in all.ports {
            tell(call, &mut told, MirrorEvent::Is(Box::new(view)))?;
        }
        loop {
            match events.next_event() {
                Ok(event) => tell(call, &mut told, event)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Code::Done),
                Err(_) => break,
            }
            if call.out.is_closed() {
                return Ok(Code::Done);
            }
        }
    }
}

/// What is new; how many bytes went through is no news.
fn tell(call: &mut Call, told: &mut Vec<MirrorView>, event: MirrorEvent) -> Result<(), Failure> {
    let what = "ports.watch";
    match event {
        MirrorEvent::Forgotten(port) => {
            told.retain(|view| view.port != port);
            let data = json!({"port": port, "state": "forgotten"});
            call.out.answer(what, data, format!("{port} is forgotten"))
        }
        MirrorEvent::Is(view) => {
            let known = told.iter_mut().find(|told| told.port == view.port);
            match known {
                Some(known) if is_same(known, &view) => return Ok(()),
                Some(known) => *known = (*view).clone(),
                None => told.push((*view).clone()),
            }
            call.out.answer(what, shown_json(&view), Page::of_line(sentence(&view)))
        }
    }
}

fn is_same(one: &MirrorView, other: &MirrorView) -> bool {
    let plain = |view: &MirrorView| MirrorView {
        bytes_up: 0,
        bytes_down: 0,
        connections: 0,
        ..view.clone()
    };
    plain(one) == plain(other)
}

fn tell_why(call: &mut Call) -> Result<Code, Failure> {
    let (there, port) = (There::of(call)?, port(call, 0)?);
    let all = there.all()?;
    let mut view = all.ports.into_iter().find(|view| view.port == port);
    there.probe(view.as_mut_slice());
    let found = Found { host: &there.host, port, view: view.as_ref(), is_live: all.is_live };
    let (works, text) = why(&found);
    let data = json!({
        "host": there.host, "port": port, "works": works, "why": text,
        "view": view.as_ref().map(shown_json),
    });
    call.out.answer("ports.why", data, text)?;
    Ok(if works { Code::Done } else { Code::No })
}

fn open(call: &mut Call) -> Result<Code, Failure> {
    let (there, port) = (There::of(call)?, port(call, 0)?);
    let all = there.all()?;
    let found = all.ports.iter().find(|view| view.port == port);
    let local = found.filter(|view| view.state != PortState::Gone).and_then(|view| view.local);
    let Some(local) = local else {
        let found = Found { host: &there.host, port, view: found, is_live: all.is_live };
        let (what, why) = (format!("port {port} of {} is not here", there.host), why(&found).1);
        let next = fix!("hop ports why {} -H {}", port, there.host);
        return Err(Failure::new(Fault::No, what, why, next));
    };
    let url = url(local);
    browser::open(&url, &there.host)?;
    let data = json!({"host": there.host, "port": port, "local": local, "url": url});
    call.out.answer("ports.open", data, format!("{url} is open in the browser"))?;
    Ok(Code::Done)
}

fn pin(call: &mut Call) -> Result<Code, Failure> {
    let local = call.args.operands.get(1).is_some().then(|| port(call, 1)).transpose()?;
    change(call, |port| PortChange::Pin { port, local })
}

fn change(call: &mut Call, change: impl Fn(u16) -> PortChange) -> Result<Code, Failure> {
    let (there, port) = (There::of(call)?, port(call, 0)?);
    let done = client::change(&there.paths, &there.host, change(port));
    let view = done.map_err(|error| there.failed(error))?;
    let found = Found { host: &there.host, port, view: Some(&view), is_live: true };
    let text = super::ports_why::here(&found);
    let what = call.name.replace(' ', ".");
    call.out.answer(&what, json!({"host": there.host, "port": shown_json(&view)}), text)?;
    // It is written down, and waits for whoever has the number it is to have.
    let is_held = matches!(
        view.why_not,
        Some(WhyNot::Taken { .. } | WhyNot::SshForward { .. } | WhyNot::Privileged)
    );
    Ok(if is_held && view.local.is_none() { Code::Busy } else { Code::Done })
}

fn port(call: &Call, at: usize) -> Result<u16, Failure> {
    let word = call.args.operands.get(at).map_or("", String::as_str);
    let number = word.parse().ok().filter(|port: &u16| *port > 0 && !word.starts_with('+'));
    number.ok_or_else(|| {
        let why = "a port is a number from 1 to 65535";
        Failure::usage(format!("no port {word:?}"), why, fix!("hop help {}", "ports"))
    })
}
