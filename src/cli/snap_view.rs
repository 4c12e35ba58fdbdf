//! Snapshots as people see them.

use std::time::Duration;

use super::grid::Grid;
use super::page::{Colour, Line, Page, VALUES};
use super::services_view::bytes;
use crate::base::time_text::{took, utc};
use crate::rpc::types::snap::{BackPlan, Checked, Created, Forgotten, LateOne, Listed, Restored};
use crate::text::cell;

/// Of an id as it is typed.
const SHORT: usize = 8;

pub fn short(id: &str) -> &str {
    if id.starts_with("f-") { id } else { id.get(..SHORT).unwrap_or(id) }
}

pub fn created(workspace: &str, made: &Created) -> Page {
    let pause = match made.pause_ms {
        None => "nothing was paused".to_owned(),
        Some(ms) => format!("services were paused for {}", took(Duration::from_millis(ms))),
    };
    let mut page = Page::from(format!(
        "{} is a snapshot of {workspace}: {} files, {}, of which {} were new; {pause}",
        short(&made.id),
        made.files,
        bytes(made.bytes),
        bytes(made.added_bytes)
    ));
    if !made.left_out.is_empty() {
        let line = Line::default().in_colour(Colour::Yellow, "not in it:");
        page.add(line);
        made.left_out.iter().for_each(|path| page.add(format!("  {path}")));
    }
    if made.more > 0 {
        page.add(format!("  and {} more", made.more));
    }
    page
}

pub fn list(workspace: &str, listed: &Listed, room: Option<usize>) -> Page {
    let mut page = Page::default();
    match (&listed.repository, listed.snapshots.is_empty()) {
        (Some(repository), true) => {
            page.add(format!("no snapshots of {workspace} in {repository}"))
        }
        (Some(repository), false) => {
            let mut grid = Grid::new(["SNAPSHOT", "TIME", "HOST", "PATHS"]);
            for snapshot in &listed.snapshots {
                let time = snapshot.time.get(..19).unwrap_or(&snapshot.time).replace('T', " ");
                grid.row(
                    [short(&snapshot.id), &time, &snapshot.host, &snapshot.paths.join(" ")]
                        .map(|text| cell(text).into_owned()),
                );
            }
            page.add(format!("in {repository}, in UTC:"));
            page.append(grid.page(room));
        }
        (None, _) => page.add(format!("{workspace} has no repository")),
    }
    if !listed.frozen.is_empty() {
        let mut grid = Grid::new(["PUT ASIDE", "TIME", "FOR", "BYTES", "PATHS"]);
        for frozen in &listed.frozen {
            let reason = frozen.reason.as_deref().unwrap_or("stale");
            let time = utc(frozen.made_ms / 1000);
            let size = bytes(frozen.bytes);
            let paths = frozen.paths.join(" ");
            grid.row(
                [&frozen.id, &time, reason, &size, &paths].map(|text| cell(text).into_owned()),
            );
        }
        page.append(grid.page(room));
    }
    listed.notes.iter().for_each(|note| page.add(note.as_str()));
    page
}

pub fn checked(checked: &Checked) -> Page {
    let how = match checked.is_compared {
        true => "it is what was read for it",
        false => "it is what the repository says; what was read for it is not known here",
    };
    let size = bytes(checked.bytes);
    let id = short(&checked.id);
    Page::from(format!("{id} can be restored: {} files, {size}; {how}", checked.files))
}

pub fn forgotten(forgotten: &Forgotten) -> Page {
    let ids: Vec<&str> = forgotten.removed.iter().map(|id| short(id)).collect();
    let removed = match ids.as_slice() {
        [] => "nothing was removed".to_owned(),
        ids => format!("removed {}", ids.join(", ")),
    };
    let locks = match forgotten.unlocked {
        0 => String::new(),
        some => format!("; {some} left locks were removed"),
    };
    Page::from(format!("{removed}; {} stay{locks}", forgotten.kept))
}

pub fn plan(workspace: &str, plan: &BackPlan) -> Page {
    let time = plan.time.get(..19).unwrap_or(&plan.time).replace('T', " ");
    let mut page =
        Page::from(format!("{} of {workspace}, of {time} UTC, comes back:", short(&plan.id)));
    for part in &plan.parts {
        let there = match part.is_there {
            true => "what is there goes aside",
            false => "nothing is there now",
        };
        let (files, size) = (part.files, bytes(part.bytes));
        page.add(format!("  {}: {files} files, {size}; {there}", part.path));
    }
    match plan.paused.as_slice() {
        [] => page.add("no service is paused for it"),
        some => page.add(format!("paused meanwhile: {}", some.join(", "))),
    }
    plan.notes.iter().for_each(|note| page.add(note.as_str()));
    page
}

pub fn restored(restored: &Restored) -> Page {
    let pause = took(Duration::from_millis(restored.pause_ms));
    let mut page = Page::from(format!(
        "{} is back: {} files, {}, after a pause of {pause}; what was there is {}, and hop snap undo \
         brings it back",
        short(&restored.id),
        restored.files,
        bytes(restored.bytes),
        restored.aside
    ));
    restored.notes.iter().for_each(|note| page.add(note.as_str()));
    page
}

/// In `hop status`.
pub fn late(late: &LateOne) -> Line {
    let since = match late.made_ms {
        Some(made) => format!("no snapshot of {} since {}", late.workspace, utc(made / 1000)),
        None => format!("no snapshot of {} yet", late.workspace),
    };
    let line = Line::row("snapshots", VALUES, "").in_colour(Colour::Yellow, since);
    match &late.why {
        Some(why) => line.and(format!(": {why}")),
        None => line,
    }
}
