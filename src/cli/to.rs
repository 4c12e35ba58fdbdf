//! `hop to`: a workspace moves to another host. What is asked for, and which migration is meant.
//! Its steps are in `migration_steps`, what is looked at before them in `migration_look`, the way
//! back in `migration_back`, the two servers in `migration_sides`.

use std::env;
use std::path::Path;

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::migration_sides::{Move, project};
use super::setup::{ADDRESS, AGENT_DIR, ENDPOINT, KEY, PORT, USER};
use super::{migration_back, migration_look, migration_view, service_names, target_host};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::field::check_name;
use crate::fix;
use crate::host::migration::{self, Migration, State};
use crate::host::paths::Paths;
use crate::host::store;
use crate::sys::interrupt;

pub const COMMAND: Command = Command {
    name: "to",
    summary: "move a workspace to another host",
    usage: "hop to <newhost> [-a ADDRESS] [-u USER] [-k KEY] [-p PORT] [--dry-run] [--no-up]\n\
            hop to [newhost] --rollback [--confirm NAME] [--force]\n\
            hop to --status",
    details: "Moves the workspace of the hopbox.yaml here. Both servers are looked at, a plan is\n\
              shown and asked about; the new one is set up with -a, as by hop setup; its data is\n\
              copied while services run. Then they stop, what changed is copied, both sides are\n\
              compared, and the services start on the new host, which becomes the default. The\n\
              bytes go through this laptop, which has to stay. The data on the old host stays as\n\
              it is.\n\n\
              Interrupted at any step, hop to newhost goes on. --rollback goes back, also after\n\
              it has moved: what was written on the new host since does not come back, and stays\n\
              aside there.",
    example: "hop to newbox -a 203.0.113.9 -u dev\n\
              hop to newbox --rollback",
    group: Group::Project,
    flags: &[
        ADDRESS,
        USER,
        KEY,
        PORT,
        ENDPOINT,
        AGENT_DIR,
        Flag {
            short: None,
            long: "dry-run",
            value: None,
            help: "look at both and say what would be done",
        },
        Flag {
            short: None,
            long: "other-architecture",
            value: None,
            help: "also to a server of another processor architecture",
        },
        Flag {
            short: None,
            long: "empty",
            value: None,
            help: "also with places that are empty on the old host",
        },
        Flag {
            short: None,
            long: "leave-out",
            value: None,
            help: "also without what the old host's login cannot read",
        },
        Flag { short: None, long: "no-up", value: None, help: "do not bring the new host up here" },
        Flag { short: None, long: "rollback", value: None, help: "go back to the old host" },
        Flag {
            short: None,
            long: "confirm",
            value: Some("NAME"),
            help: "answer the question that wants the new host's name",
        },
        Flag {
            short: None,
            long: "force",
            value: None,
            help: "go back although the new host cannot be asked to stop",
        },
        Flag { short: None, long: "status", value: None, help: "show how far each move is" },
    ],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    check(call)?;
    if call.args.has("status") {
        return status(call, &paths);
    }
    let _ = interrupt::heed();
    if call.args.has("rollback") {
        let _held = alone(&paths)?;
        let it = remembered(call, &paths)?;
        return migration_back::run(call, &paths, it);
    }
    let to = call.args.operands.first().cloned();
    if let Some(it) = unfinished(&paths, to.as_deref())? {
        let _held = alone(&paths)?;
        return go_on(call, &paths, it);
    }
    let Some(to) = to else {
        let why = "no move is unfinished: the new host has to be named";
        return Err(Failure::usage("where to?", why, fix!("hop help {}", "to")));
    };
    begin(call, &paths, &to)
}

/// Before anything is looked at.
fn check(call: &Call) -> Result<(), Failure> {
    let wrong = |why: &str| Err(Failure::usage("that is no move", why, fix!("hop help {}", "to")));
    let has = |flag: &str| call.args.has(flag) || call.args.value(flag).is_some();
    let of_ssh = ["address", "user", "key", "port", "endpoint", "agent-dir"];
    let of_move = ["dry-run", "other-architecture", "empty", "leave-out", "no-up"];
    let is_move = of_ssh.into_iter().chain(of_move).any(has);
    let (is_back, is_status) = (has("rollback"), has("status"));
    if (is_back || is_status) && is_move || is_back && is_status {
        return wrong("--rollback and --status take nothing that a move does");
    }
    if !is_back && (has("force") || has("confirm")) {
        return wrong("--force and --confirm are for --rollback");
    }
    match call.args.operands.first() {
        Some(_) if is_status => wrong("--status takes no host"),
        Some(name) => check_name(name).map_err(|why| {
            Failure::usage(format!("no host can be named {name:?}"), why, fix!("hop help {}", "to"))
        }),
        None => Ok(()),
    }
}

fn status(call: &mut Call, paths: &Paths) -> Result<Code, Failure> {
    let all = migration::all(paths);
    let data: Vec<Value> = all.iter().map(migration_view::to_json).collect();
    call.out.answer(
        "to.status",
        json!({"moves": data}),
        migration_view::list(&all, call.out.room()),
    )?;
    let is_open = all.iter().any(|it| !it.is_over());
    Ok(if is_open { Code::No } else { Code::Done })
}

/// One migration at a time: each has tunnels, and may stop services.
fn alone(paths: &Paths) -> Result<migration::Held, Failure> {
    migration::hold(paths)?.ok_or_else(|| {
        let why = "another hop to is at work on this laptop";
        Failure::new(Fault::Busy, "nothing is moved", why, "hop to --status")
    })
}

/// The one that was begun and is not over: to this host, where one is named. That of the workspace
/// here, where there are several.
fn unfinished(paths: &Paths, to: Option<&str>) -> Result<Option<Migration>, Failure> {
    let mut all = migration::unfinished(paths);
    all.retain(|it| to.is_none_or(|to| it.to == to));
    one(all)
}

/// The one that is taken back: also one that has moved.
fn remembered(call: &Call, paths: &Paths) -> Result<Migration, Failure> {
    let to = call.args.operands.first().map(String::as_str);
    let mut all = migration::all(paths);
    all.retain(|it| it.state != State::Undone && to.is_none_or(|to| it.to == to));
    one(all)?.ok_or_else(|| {
        let why = "no workspace is on its way to another host, or has moved";
        Failure::new(Fault::NotFound, "there is nothing to take back", why, "hop to --status")
    })
}

fn one(mut all: Vec<Migration>) -> Result<Option<Migration>, Failure> {
    if all.len() > 1 {
        let here = service_names::here();
        all.retain(|it| Some(&it.workspace) == here.as_ref());
        if all.len() != 1 {
            let why = "there are several, and the hopbox.yaml here is of none of them";
            return Err(Failure::usage("which move?", why, "hop to --status"));
        }
    }
    Ok(all.pop())
}

fn begin(call: &mut Call, paths: &Paths, to: &str) -> Result<Code, Failure> {
    let project = project(Path::new("."))?;
    let from = target_host::host_beside(call, paths)?;
    if from == to {
        let why = format!("{} is on {from} already", project.desired.workspace);
        return Err(Failure::usage("that is no move", why, "hop host ls"));
    }
    let _held = alone(paths)?;
    let workspace = &project.desired.workspace;
    if let Some(other) = migration::load(paths, workspace)?.filter(|it| !it.is_over()) {
        let what = format!("{workspace} is on its way to {} already", other.to);
        let why = "one move at a time: it goes on, or back";
        return Err(Failure::new(Fault::Busy, what, why, fix!("hop to {}", other.to)));
    }
    let dir = env::current_dir().map_err(|error| Failure::io("find", Path::new("."), &error))?;
    let default = store::default_host(paths)?;
    let mut it = Migration::begin(migration::new_id()?, workspace, (&from, to), dir, default);
    agree(call, &mut it);
    let mut work = Move::new(paths, it);
    let plan = migration_look::look(call, &mut work, &project)?;
    let (page, data) = (migration_view::plan(&work.it, &plan), plan.to_json());
    if call.args.has("dry-run") {
        let mut page = page;
        page.add("nothing has been changed");
        call.out.answer("to", json!({"dry_run": true, "plan": data}), page)?;
        return Ok(Code::Done);
    }
    if !call.confirm_shown(page, &format!("Move {workspace} from {from} to {to}?"))? {
        let again = call.again("");
        let what = "nothing has been changed";
        return Err(Failure::new(Fault::Declined, what, "it was a no", again));
    }
    // It has been looked at.
    work.it.done();
    work.carry_out(call)
}

/// What was agreed to is so for the whole move.
fn agree(call: &Call, it: &mut Migration) {
    let has = |flag: &str| call.args.has(flag);
    it.agreed.other_architecture |= has("other-architecture");
    it.agreed.empty |= has("empty");
    it.agreed.leave_out |= has("leave-out");
}

fn go_on(call: &mut Call, paths: &Paths, mut it: Migration) -> Result<Code, Failure> {
    if let State::Back(..) = it.state {
        return migration_back::run(call, paths, it);
    }
    if call.args.has("dry-run") {
        return status(call, paths);
    }
    agree(call, &mut it);
    let was = it.state;
    let mut work = Move::new(paths, it.clone());
    it.resumed(it.asks_source() && migration_look::has_left(call, &mut work)?);
    work.it = it;
    if let (State::At(was), State::At(now)) = (was, work.it.state) {
        let text = format!("{} to {}: goes on at {}", work.it.workspace, work.it.to, now.name());
        call.out.say(&text);
        if now < was {
            call.out.say("its services were running again: what changed is copied once more");
        }
    }
    work.carry_out(call)
}
