//! `hop snap restore` and `hop snap undo`: what is planned is shown, and what was shown is done.

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::service_names::There;
use super::snap::{WORKSPACE, asked};
use super::snap_shown::{Shown, follow};
use super::snap_view;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::method::{SnapPlan, SnapRestore};
use crate::rpc::types::Message;
use crate::rpc::types::snap::{BackPlan, WantedBack};
use crate::rpc::types::workspace::Apply;

const DRY_RUN: Flag = Flag {
    short: Some('n'),
    long: "dry-run",
    value: None,
    help: "show what would be done, and do nothing",
};

pub const RESTORE: Command = Command {
    name: "snap restore",
    summary: "bring a snapshot back",
    usage: "hop snap restore id [path] [--service name] [-n] [-w name]",
    details: "All of it, one path of it, or what one service has. It is restored beside what is\n\
              there while services go on; then they are paused, what is there goes aside, and\n\
              what was restored takes its place. If they are not healthy then, what was there is\n\
              back at once. The id is one of hop snap ls, or latest. A login that is not root\n\
              cannot give files away: what belongs to others becomes its own, and PostgreSQL's\n\
              directory of another user is refused.",
    example: "hop snap restore latest --dry-run\n\
              hop snap restore 0af31c2b ~/app/uploads",
    group: Group::Project,
    flags: &[
        WORKSPACE,
        DRY_RUN,
        Flag {
            short: None,
            long: "service",
            value: Some("NAME"),
            help: "only what this service has",
        },
        Flag {
            short: None,
            long: "as-root",
            value: None,
            help: "as root also with a restic before 0.20: the repository is nobody else's",
        },
    ],
    operands: (1, 2),
    takes: Takes::Word,
    hidden: false,
    run: restore,
};

pub const UNDO: Command = Command {
    name: "snap undo",
    summary: "bring back what the last restore put aside",
    usage: "hop snap undo [-n] [-w name]",
    details: "What is there now goes aside in its turn, so that an undo can be undone. Nothing is\n\
              copied.",
    example: "hop snap undo",
    group: Group::Project,
    flags: &[WORKSPACE, DRY_RUN],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: undo,
};

fn restore(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let path = call.args.operands.get(1).cloned();
    let wanted = WantedBack {
        workspace: asked.workspace,
        id: asked.id,
        path,
        service: call.args.value("service").map(str::to_owned),
        may_be_root: call.args.has("as-root"),
    };
    if WantedBack::of(wanted.to_json()).is_err() {
        let why = "a path is one of the server: absolute, or ~/…";
        let next = fix!("hop snap ls -H {}", there.host);
        return Err(Failure::usage("that cannot be restored", why, next));
    }
    back(call, &there, wanted, "snap.restore")
}

fn undo(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let workspace = asked.workspace;
    let wanted = WantedBack { workspace, id: None, path: None, service: None, may_be_root: false };
    back(call, &there, wanted, "snap.undo")
}

fn back(
    call: &mut Call,
    there: &There,
    wanted: WantedBack,
    what: &'static str,
) -> Result<Code, Failure> {
    let plan: BackPlan = follow(call, there, SnapPlan, &wanted, Shown::default())?;
    let page = snap_view::plan(&wanted.workspace, &plan);
    let mut data = json!({
        "host": there.host, "workspace": wanted.workspace, "plan": plan.to_json(), "done": false,
    });
    if call.args.has("dry-run") {
        call.out.answer(what, data, page)?;
        return Ok(Code::Done);
    }
    if !call.confirm_shown(page, &format!("Do this on {}?", there.host))? {
        let again = call.again("");
        return Err(Failure::new(
            Fault::Declined,
            "nothing has been changed",
            "it was a no",
            again,
        ));
    }
    let apply = Apply { digest: plan.digest };
    let restored = follow(call, there, SnapRestore, &apply, Shown::default())?;
    data["done"] = true.into();
    data["restored"] = restored.to_json();
    call.out.answer(what, data, snap_view::restored(&restored))?;
    Ok(Code::Done)
}
