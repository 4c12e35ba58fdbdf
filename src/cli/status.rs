//! `hop status`: what the live sessions say about their hosts, looked at layer by layer. Exit 0
//! while all is well, 3 otherwise.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::page::Page;
use super::{detached_runs, migration_view, running_view, snap_view, status_view, target_host};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::base::task::Tasks;
use crate::base::time_text::utc;
use crate::deploy::running::Judged;
use crate::helper::guards::Guards;
use crate::helper::{Device, Helper, socket_path};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::method::SnapHealth;
use crate::rpc::types::snap::LateOne;
use crate::rpc::types::{Message, Nothing};
use crate::session::elsewhere;
use crate::session::{control, state, through};
use crate::sys::threads;

pub const COMMAND: Command = Command {
    name: "status",
    summary: "show what a host's tunnel is doing",
    usage: "hop status [host] [--all] [--watch] [-v]",
    details: "Asks the live session, which looks at every layer: helper, interface, route,\n\
              handshake, agent, name. The first broken one is what to mend. Without a session\n\
              the last that is known is shown and marked so. Where no host is named and there\n\
              are several, or with --all, shows one line for each. Exits 0 when all is well and\n\
              3 otherwise; a host that was taken down on purpose is no trouble for --all as long\n\
              as another one is up. With -v also what every layer says, dropped packets by\n\
              reason, all remembered events, and which programs run on the server.",
    example: "hop status\n\
              hop status mybox -v",
    group: Group::Daily,
    flags: &[
        Flag { short: Some('a'), long: "all", value: None, help: "all hosts, one line each" },
        Flag {
            short: Some('w'),
            long: "watch",
            value: None,
            help: "again every 2 s, until Ctrl-C",
        },
    ],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

const EVERY: Duration = Duration::from_secs(2);
const HELPER_LIMIT: Duration = Duration::from_millis(500);
const LATE_LIMIT: Duration = Duration::from_millis(500);

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let names = store::names(&paths)?;
    let one = match call.args.has("all") || several(call, &names)? {
        true => None,
        false => Some(target_host::host(call, &paths)?),
    };
    let watch = call.args.has("watch");
    loop {
        let began = Instant::now();
        let (what, data, page, well) = match &one {
            Some(name) => of_one(call, &paths, name),
            None => of_all(&paths, &store::names(&paths)?, call.out.room()),
        };
        if !watch {
            call.out.answer(what, data, page)?;
        } else {
            call.out.refresh(what, data, page)?;
        }
        if let (Some(name), false, true) = (&one, watch, well) {
            notice(call, &paths, name);
        }
        if !watch || call.out.is_closed() {
            return Ok(if well { Code::Done } else { Code::No });
        }
        thread::sleep(EVERY.saturating_sub(began.elapsed()));
    }
}

/// What has ended there that nobody waited for.
fn notice(call: &mut Call, paths: &Paths, name: &str) {
    let host = store::load(paths, name).ok();
    if let Some(client) = host.and_then(|host| through::with_token(paths, &host)) {
        detached_runs::notice(call, &client);
    }
}

/// Nobody and nothing here names a host, and there are several: then all are meant.
fn several(call: &Call, names: &[String]) -> Result<bool, Failure> {
    Ok(names.len() > 1 && target_host::named(call, call.args.operands.first().cloned())?.is_none())
}

type Answer = (&'static str, Value, Page, bool);

fn of_one(call: &Call, paths: &Paths, name: &str) -> Answer {
    let mut data = look(paths, name, &OnceLock::new());
    if data["source"] == "session" {
        data["guards"] = guards().map(|guards| guards.to_json()).unwrap_or_default();
    }
    let host = store::load(paths, name).ok();
    if let Some(provider) = host.as_ref().and_then(|host| host.provider.as_ref()) {
        let backend = provider.backend.word();
        data["provider"] = json!({"backend": backend, "firewall": provider.firewall});
    }
    let host = host.filter(|_| data["state"] == "up");
    let late = host.as_ref().map(|host| late(paths, host)).unwrap_or_default();
    let running = host.filter(|_| call.out.is_verbose());
    let running = running.map(|host| running_view::look(paths, &host)).unwrap_or_default();
    if !running.is_empty() {
        data["programs"] = running.iter().map(Judged::to_json).collect();
    }
    if !late.is_empty() {
        data["snapshots_late"] = late.iter().map(LateOne::to_json).collect();
    }
    let moves = migration_view::of_host(paths, name);
    if !moves.is_empty() {
        data["moves"] = moves.iter().map(migration_view::to_json).collect();
    }
    let mut page = status_view::one(&data, call.out.is_verbose());
    running_view::add(&mut page, &running);
    late.iter().for_each(|one| page.add(snap_view::late(one)));
    moves.iter().for_each(|it| page.add(migration_view::unfinished(it)));
    let well = data["state"] == "up";
    ("status", data, page, well)
}

/// Workspaces there that have gone without a snapshot for too long; none of an older agent.
fn late(paths: &Paths, host: &HostConfig) -> Vec<LateOne> {
    let client = through::with_token(paths, host);
    let health = client.and_then(|client| client.call(SnapHealth, &Nothing, LATE_LIMIT).ok());
    health.map(|health| health.late).unwrap_or_default()
}

/// What the helper says of its own part; `None` from one that does not answer at once.
fn guards() -> Option<Guards> {
    let ask = || Helper::connect(&socket_path()).and_then(|mut helper| helper.guards()).ok();
    Tasks::one("guards", ask).ok()?.wait(HELPER_LIMIT)?
}

fn of_all(paths: &Paths, names: &[String], room: Option<usize>) -> Answer {
    let (mut rows, devices) = (Vec::with_capacity(names.len()), OnceLock::new());
    // A session may take seconds to answer: ask all at once. There are 256 hosts at most.
    thread::scope(|scope| {
        let devices = &devices;
        let ask = |name| {
            let look = move || look(paths, name, devices);
            // Where there is no thread it is asked in its turn.
            threads::start_within(scope, "status", look).map_err(|_| look())
        };
        let asked: Vec<_> = names.iter().map(|name| ask(name.as_str())).collect();
        let asked = asked.into_iter().map(|asked| asked.map_or_else(Some, |it| it.join().ok()));
        rows.extend(asked.flatten());
    });
    let page = status_view::all(&rows, room);
    let well = rows.iter().any(|row| row["state"] == "up")
        && rows.iter().all(|row| row["state"] == "up" || row["state"] == "down");
    ("status.all", json!({"hosts": rows}), page, well)
}

/// One host's state: of its session, or the last that is known. States besides the session's own:
/// `down`, `lost` (it should be up, and its session is gone), `silent` (its session hangs).
/// The helper is asked at most once for all of them.
pub fn look(paths: &Paths, name: &str, devices: &OnceLock<Vec<Device>>) -> Value {
    let (state, detail) = match control::status(paths, name) {
        Ok(Some(mut live)) => {
            live["source"] = "session".into();
            return live;
        }
        Ok(None) => {
            match elsewhere::look_twice(paths, name, devices.get_or_init(elsewhere::devices)) {
                Some(found) => ("silent", Some(found.told(name))),
                None => ("down", None),
            }
        }
        Err(error) => ("silent", Some(format!("its session does not answer: {error}"))),
    };
    let known = state::last_known(paths, name);
    let source = if known.is_some() { "last known" } else { "none" };
    let known = known.unwrap_or_default();
    let state = if state == "down" && known.up { "lost" } else { state };
    let detail = detail.or_else(|| {
        (state == "lost").then(|| "its session is gone without having taken it down".to_owned())
    });
    let endpoint = store::load(paths, name).ok().map(|host| host.endpoint.to_string());
    json!({
        "host": name,
        "state": state,
        "source": source,
        "detail": detail,
        "connected": false,
        "endpoint_name": endpoint,
        "last_healthy": known.last_healthy_s.map(utc),
        "last_healthy_unix": known.last_healthy_s,
        "events": state::events_json(&known.events, 20),
    })
}
