//! `hop snap create`, `ls`, `check`, `forget` and `rm`: snapshots of a workspace's data on a host.

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::service_names::{There, here};
use super::snap_shown::{Shown, follow};
use super::snap_view;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::method::{SnapCheck, SnapCreate, SnapForget, SnapList, SnapRemove};
use crate::rpc::types::Message;
use crate::rpc::types::snap::OfSnaps;

/// Of all of them.
pub const WORKSPACE: Flag = Flag {
    short: Some('w'),
    long: "workspace",
    value: Some("NAME"),
    help: "of this workspace (else that of the hopbox.yaml here, or the only one)",
};

pub const CREATE: Command = Command {
    name: "snap create",
    summary: "take a snapshot of a workspace's data",
    usage: "hop snap create [-w name]",
    details: "All directories under data of the workspace's services go into the restic repository\n\
              that backup names; it is made where there is none. Where the file system shares\n\
              blocks (XFS, btrfs) services are paused for a moment, and restic reads what was\n\
              frozen; elsewhere they are paused while it reads, which is said before. A service\n\
              with snapshot.pre is not paused. Exits 11 when some files could not be read.",
    example: "hop snap create",
    group: Group::Project,
    flags: &[WORKSPACE],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: create,
};

pub const LS: Command = Command {
    name: "snap ls",
    summary: "the snapshots of a workspace, and what was put aside",
    usage: "hop snap ls [-w name]",
    details: "Those in the repository, the newest last, and the frozen trees on the server: what a\n\
              restore put aside, with its size. One that a kill has left is stale. Below stands\n\
              what the restic there does not promise.",
    example: "hop snap ls --json",
    group: Group::Project,
    flags: &[WORKSPACE],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: ls,
};

pub const CHECK: Command = Command {
    name: "snap check",
    summary: "see whether a snapshot can be restored",
    usage: "hop snap check [id] [-w name]",
    details: "The newest, or the one that is named: the repository is checked, the snapshot restored\n\
              into a scratch directory on the server, and that compared with the digest of what\n\
              was read for it, where data was frozen; else with what the repository says.",
    example: "hop snap check",
    group: Group::Project,
    flags: &[WORKSPACE],
    operands: (0, 1),
    takes: Takes::Word,
    hidden: false,
    run: check,
};

pub const FORGET: Command = Command {
    name: "snap forget",
    summary: "remove snapshots that backup.keep does not keep",
    usage: "hop snap forget [-w name]",
    details: "With the data that no other snapshot has. Those of all hosts that the workspace was\n\
              on count as one row. Locks that processes on this server have left are removed\n\
              before; those of others are named.",
    example: "hop snap forget --yes",
    group: Group::Project,
    flags: &[WORKSPACE],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: forget,
};

pub const RM: Command = Command {
    name: "snap rm",
    summary: "remove one snapshot, or what was put aside",
    usage: "hop snap rm id [-w name]",
    details: "By its id, as hop snap ls shows it. It cannot be had back.",
    example: "hop snap rm 0af31c2b",
    group: Group::Project,
    flags: &[WORKSPACE],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run: rm,
};

/// That is meant: named, here, or the only one there.
pub fn workspace(call: &Call, there: &There) -> Result<String, Failure> {
    if let Some(name) = call.args.value("workspace") {
        return Ok(name.to_owned());
    }
    if let Some(name) = here() {
        return Ok(name);
    }
    let mut names: Vec<String> = there.all()?.into_iter().map(|view| view.name.workspace).collect();
    names.dedup();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let what = format!("no workspace on {}", there.host);
            let why = "it has no services";
            Err(Failure::new(Fault::NotFound, what, why, fix!("hop services ls -H {}", there.host)))
        }
        several => {
            let why = format!("there are {}", several.join(", "));
            Err(Failure::usage("which workspace?", why, fix!("hop services ls -H {}", there.host)))
        }
    }
}

/// Of the workspace that is meant, and what the operand says.
pub fn asked(call: &mut Call) -> Result<(There, OfSnaps), Failure> {
    let there = There::of(call)?;
    let workspace = workspace(call, &there)?;
    let id = call.args.operands.first().cloned();
    if let Some(id) = id.as_deref().filter(|id| OfSnaps::of(of(&workspace, id)).is_err()) {
        let why = "an id is made of 0-9, a-f and -, as hop snap ls shows it";
        let next = fix!("hop snap ls -H {}", there.host);
        return Err(Failure::usage(format!("{id:?} is no id"), why, next));
    }
    Ok((there, OfSnaps { workspace, id }))
}

fn of(workspace: &str, id: &str) -> serde_json::Value {
    OfSnaps { workspace: workspace.to_owned(), id: Some(id.to_owned()) }.to_json()
}

fn create(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let made = follow(call, &there, SnapCreate, &asked, Shown::default())?;
    let data =
        json!({"host": there.host, "workspace": asked.workspace, "snapshot": made.to_json()});
    let is_whole = made.left_out.is_empty();
    call.out.answer("snap.create", data, snap_view::created(&asked.workspace, &made))?;
    Ok(if is_whole { Code::Done } else { Code::Partial })
}

fn ls(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let listed = follow(call, &there, SnapList, &asked, Shown::default());
    // The list is what is advised elsewhere.
    let listed = listed.map_err(|failure| match failure.fault {
        Fault::NotFound => Failure { next: fix!("hop up {}", there.host), ..failure },
        _ => failure,
    })?;
    let data =
        json!({"host": there.host, "workspace": asked.workspace, "snapshots": listed.to_json()});
    let page = snap_view::list(&asked.workspace, &listed, call.out.room());
    call.out.answer("snap.ls", data, page)?;
    Ok(Code::Done)
}

fn check(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let checked = follow(call, &there, SnapCheck, &asked, Shown::default())?;
    let data =
        json!({"host": there.host, "workspace": asked.workspace, "check": checked.to_json()});
    call.out.answer("snap.check", data, snap_view::checked(&checked))?;
    Ok(Code::Done)
}

fn forget(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let question =
        format!("Remove the snapshots of {} that backup.keep does not keep?", asked.workspace);
    let again = call.again("");
    call.consent(&question, again)?;
    let forgotten = follow(call, &there, SnapForget, &asked, Shown::default())?;
    let data =
        json!({"host": there.host, "workspace": asked.workspace, "forgotten": forgotten.to_json()});
    call.out.answer("snap.forget", data, snap_view::forgotten(&forgotten))?;
    Ok(Code::Done)
}

fn rm(call: &mut Call) -> Result<Code, Failure> {
    let (there, asked) = asked(call)?;
    let id = asked.id.as_deref().unwrap_or_default();
    let again = call.again("");
    call.consent(&format!("Remove {id} of {}, for good?", asked.workspace), again)?;
    let forgotten = follow(call, &there, SnapRemove, &asked, Shown::default())?;
    let data =
        json!({"host": there.host, "workspace": asked.workspace, "forgotten": forgotten.to_json()});
    call.out.answer("snap.rm", data, snap_view::forgotten(&forgotten))?;
    Ok(Code::Done)
}
