//! A migration as people, and programs, see it.

use std::time::Duration;

use serde_json::{Value, json};

use super::grid::Grid;
use super::migration_look::{Plan, Target};
use super::page::{Colour, Line, Page};
use super::services_view::bytes;
use crate::base::time_text::took;
use crate::fix;
use crate::host::migration::{Migration, State, Step};
use crate::host::paths::Paths;
use crate::rpc::types::migration::Pass;
use crate::session::diagnose::Check;

/// What would be done, before anybody says yes to it.
pub fn plan(it: &Migration, plan: &Plan) -> Page {
    let Migration { workspace, from, to, .. } = it;
    let mut page = Page::from(format!("{workspace} moves from {from} to {to}:"));
    match &plan.target {
        Target::New { login, .. } => {
            page.add(format!("  {to} is set up over ssh, as {login}, and the tunnel to it proven"));
        }
        Target::Known(found) => page.add(format!("  {to} is set up already, as {}", found.login)),
    }
    let (files, size) = (plan.files(), bytes(plan.bytes()));
    page.add(format!("  {files} files, {size}, are copied through this laptop while services run"));
    for place in &plan.source.places {
        let more = if place.is_cut { ", and more that was not counted" } else { "" };
        page.add(format!(
            "    {}: {} files, {}{more}",
            place.path,
            place.files,
            bytes(place.bytes)
        ));
        if !place.is_there {
            let why = "nothing is there";
            page.add(Line::from("      ").in_colour(Colour::Yellow, why));
        }
        for path in &place.left_out {
            let line = Line::from("      ").in_colour(Colour::Yellow, "not moved: ");
            page.add(line.and(path));
        }
        if place.more > 0 {
            page.add(format!("      and {} more that are not", place.more));
        }
        if place.foreign > 0 && !plan.are_owners_kept() {
            let whose = match place.whose.as_str() {
                "" => String::new(),
                whose => format!(" ({whose})"),
            };
            let text =
                format!("{} of them are others'{whose}, and become the login's", place.foreign);
            page.add(Line::from("      ").in_colour(Colour::Yellow, text));
        }
    }
    let services = match plan.services.is_empty() {
        true => "nothing".to_owned(),
        false => plan.services.join(", "),
    };
    page.add(format!(
        "  {services} stops on {from} while what changed is copied and compared, and starts on {to}"
    ));
    for service in &plan.public {
        page.add(format!("  {service} is open to everybody on {to} then, as it is on {from}"));
    }
    page.add(format!("  what is on {from} stays as it is: hop to {to} --rollback goes back"));
    page
}

pub fn pass(pass: &Pass) -> String {
    let (files, all) = (pass.files_sent, pass.files);
    format!("{} sent, {files} of {all} files", bytes(pass.bytes_sent))
}

pub fn moved(it: &Migration, last: &Pass, without_ms: Option<u64>, is_up: bool) -> Page {
    let Migration { workspace, from, to, .. } = it;
    let size = match last.files {
        0 => String::new(),
        files => format!(": {files} files, {}, the same on both sides", bytes(last.bytes)),
    };
    let mut page = Page::from(format!("{workspace} is on {to} now{size}"));
    if let Some(ms) = without_ms {
        page.add(format!("it was without service for {}", took(Duration::from_millis(ms))));
    }
    if !is_up {
        page.add(format!("{to} is not up here: hop up {to}"));
    }
    page.add(format!("what is on {from} is as it was: hop to {to} --rollback goes back"));
    page
}

fn state(it: &Migration) -> (&'static str, &'static str) {
    match it.state {
        State::At(step) => ("at", step.name()),
        State::Back(_, back) => ("going back", back.name()),
        State::Moved => ("moved", ""),
        State::Undone => ("taken back", ""),
    }
}

pub fn to_json(it: &Migration) -> Value {
    let (state, step) = state(it);
    json!({
        "workspace": it.workspace, "from": it.from, "to": it.to, "id": it.id,
        "state": state.replace(' ', "_"), "step": step, "over": it.is_over(),
    })
}

pub fn list(all: &[Migration], room: Option<usize>) -> Page {
    if all.is_empty() {
        return Page::from("no workspace has moved, or is on its way");
    }
    let mut grid = Grid::new(["WORKSPACE", "FROM", "TO", "STATE"]);
    for it in all {
        let (state, step) = state(it);
        let state = format!("{state} {step}").trim_end().replace('_', " ");
        grid.row([it.workspace.clone(), it.from.clone(), it.to.clone(), state]);
    }
    let mut page = grid.page(room);
    all.iter().filter(|it| !it.is_over()).for_each(|it| page.add(unfinished(it)));
    page
}

/// Where its services are, and what goes on or back.
pub fn unfinished(it: &Migration) -> String {
    let Migration { workspace, from, to, .. } = it;
    let lead = format!("{workspace} is on its way from {from} to {to}");
    match it.state {
        State::Back(..) => format!("{lead}, and back: hop to {to} --rollback goes on"),
        State::At(step) if step < Step::Leave => {
            format!("{lead}, and runs on {from}: hop to {to} goes on")
        }
        State::At(step) if step < Step::Switch => format!(
            "{lead}, and may run nowhere: hop to {to} goes on, hop to {to} --rollback goes back"
        ),
        _ => format!("{lead}, and runs on {to}: hop to {to} goes on"),
    }
}

/// For `hop status` and `hop doctor`: those that this host is one end of.
pub fn of_host(paths: &Paths, host: &str) -> Vec<Migration> {
    let mut all = crate::host::migration::unfinished(paths);
    all.retain(|it| it.from == host || it.to == host);
    all
}

pub fn checks(paths: &Paths, host: &str) -> Vec<Check> {
    let check = |it: Migration| Check {
        what: "move",
        fault: Some("move_unfinished"),
        cause: unfinished(&it),
        evidence: format!("its journal is at {}", state(&it).1),
        fix: match it.state {
            State::Back(..) => fix!("hop to {} --rollback", it.to),
            _ => fix!("hop to {}", it.to),
        },
    };
    of_host(paths, host).into_iter().map(check).collect()
}
