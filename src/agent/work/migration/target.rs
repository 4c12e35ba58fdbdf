//! What the target does once all is there: it takes its place, its services start; and to go back
//! they end, and what is there goes aside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::digest::Reading;
use super::places;
use super::room::{self, MoveRoom};
use super::stamps::Stamps;
use crate::agent::work::held::{self, Hold};
use crate::agent::work::services::{self, Done, failed, unable};
use crate::agent::work::snap::aside::{self, Reason};
use crate::agent::work::snap::journal::{Journal, Swap};
use crate::agent::work::snap::listener::Listener;
use crate::agent::work::snap::pause::{self, Paused};
use crate::agent::work::snap::remove::remove_tree;
use crate::agent::work::snap::{place, repository};
use crate::agent::work::startup;
use crate::rpc::code::Code;
use crate::rpc::types::migration::{
    AskDigest, Digested, OfMove, Place, Placed, Side, Start, Started,
};
use crate::rpc::types::snap::Stage;
use crate::workspace::manifest::Desired;

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Of either tree.
pub fn digest(asked: &AskDigest, to: &dyn Listener) -> Done<Digested> {
    let desired = repository::workspace(&asked.of.workspace)?;
    let _alone = room::alone(&asked.of.workspace)?;
    read(&asked.of, asked.side, &desired, to)
}

fn read(of: &OfMove, side: Side, desired: &Desired, to: &dyn Listener) -> Done<Digested> {
    to.stage(Stage::Verify);
    let room = MoveRoom::of(of)?;
    let mut all = Vec::new();
    for text in places::texts(desired) {
        let path = match side {
            Side::Source => places::of_source(&text),
            Side::Target => places::staging(&of.workspace, &of.id, &text),
        };
        all.push((text.clone(), path.map_err(failed(&text))?));
    }
    let mut stamps = Stamps::load(&room.stamps(side));
    let owned = (room.outcome().1, side == Side::Target);
    let (mut far, is_wanted) = (|far| to.far(far), || to.is_wanted());
    let digested = Reading::of(&mut stamps, owned, &mut far, &is_wanted).all(&all);
    stamps.save(&room.stamps(side)).map_err(failed("cannot write"))?;
    digested.map_err(failed("it cannot be read"))
}

fn coming(of: &OfMove) -> Done<()> {
    match held::hold(&of.workspace)? {
        Some(Hold::Coming { id, .. }) if id == of.id => Ok(()),
        _ => Err(unable(Code::Conflict, "the workspace is not on its way here by this move")),
    }
}

/// What came takes its place; what was there is kept.
pub fn put_in_place(asked: &Place, to: &dyn Listener) -> Done<Placed> {
    let of = &asked.of;
    let desired = repository::workspace(&of.workspace)?;
    coming(of)?;
    let _alone = room::alone(&of.workspace)?;
    let _no_snapshot = repository::in_turn(&of.workspace, to)?;
    pause::recover(&desired)?;
    let room = MoveRoom::of(of)?;
    let mut moves = Vec::new();
    for text in places::texts(&desired) {
        let path = places::of_target(&text).map_err(failed(&text))?;
        let new = places::staging(&of.workspace, &of.id, &text).map_err(failed(&text))?;
        if is_there(&new) {
            moves.push((path, new));
        }
    }
    if let (Some(aside), true) = (room.placed(), moves.is_empty()) {
        // It was done, and not heard.
        tidy(of, &desired);
        return Ok(Placed { aside });
    }
    let found = read(of, Side::Target, &desired, to)?;
    if found.digest != asked.digest {
        let why = "what has come is not what is at the source: copy it again".to_owned();
        return Err(unable(Code::Conflict, why));
    }
    let aside = switch(of, &desired, moves, &room, to)?;
    tidy(of, &desired);
    Ok(Placed { aside })
}

fn switch(
    of: &OfMove,
    desired: &Desired,
    moves: Vec<(PathBuf, PathBuf)>,
    room: &MoveRoom,
    to: &dyn Listener,
) -> Done<Option<String>> {
    let id = aside::new_id().map_err(failed("no name for what is there"))?;
    let (mut swaps, mut replaced) = (Vec::new(), Vec::new());
    for (path, new) in moves {
        let old = place::make(&path, &of.workspace, &id).map_err(failed("no room beside it"))?;
        let was_there = is_there(&path);
        replaced.extend(was_there.then(|| path.clone()));
        swaps.push(Swap { place: path, new, old, was_there });
    }
    let paths: Vec<PathBuf> = swaps.iter().map(|swap| swap.place.clone()).collect();
    let aside = (!replaced.is_empty()).then(|| id.clone());
    let paused = Paused::begin(desired, Journal { services: Vec::new(), swaps }, to)?;
    to.stage(Stage::Switch);
    let mut done = paused.journal().switch().map_err(failed("it cannot take its place"));
    if done.is_ok() && aside.is_some() {
        done = aside::record(&of.workspace, &id, Reason::Move, &replaced)
            .map_err(failed("cannot write"));
    }
    let done =
        done.and_then(|()| room.put_placed(aside.as_deref()).map_err(failed("cannot write")));
    if let Err(why) = done {
        room.forget_placed();
        let _ = aside::forget(&of.workspace, &id);
        return Err(paused.back(why));
    }
    paused.end(to)?;
    if aside.is_none() {
        paths.iter().for_each(|path| place::tidy(path, &of.workspace, &id));
    }
    Ok(aside)
}

/// Rooms that nothing is in any more.
fn tidy(of: &OfMove, desired: &Desired) {
    for path in places::texts(desired).iter().filter_map(|text| places::of_target(text).ok()) {
        place::tidy(&path, &of.workspace, &places::staging_id(&of.id));
    }
}

/// They run, and are healthy.
pub fn start(asked: &Start, to: &dyn Listener) -> Done<Started> {
    let of = &asked.of;
    let desired = repository::workspace(&of.workspace)?;
    let mut all = BTreeSet::new();
    for service in &asked.services {
        if !desired.services.contains_key(service) {
            let why = format!("{} has no service {service:?}", of.workspace);
            return Err(unable(Code::BadParams, why));
        }
        all.extend(startup::with_needs(&desired, service));
    }
    let is_placed = MoveRoom::of(of)?.placed().is_some();
    match held::hold(&of.workspace)? {
        None => {}
        Some(Hold::Coming { id, .. }) if id == of.id && is_placed => {}
        Some(Hold::Coming { id, .. }) if id == of.id => {
            let why = "its data has not taken its place here yet".to_owned();
            return Err(unable(Code::Conflict, why));
        }
        Some(_) => return held::check(&of.workspace).map(|()| Started::default()),
    }
    let _no_snapshot = repository::in_turn(&of.workspace, to)?;
    let services: Vec<String> = all.into_iter().collect();
    pause::start_again(&desired, &services, to, || {
        Hold::remove(&of.workspace).map_err(failed("cannot write"))
    })?;
    Ok(Started { services })
}

/// They end, and what is there goes aside; nothing starts after that.
pub fn stop(of: &OfMove, to: &dyn Listener) -> Done<Placed> {
    let desired = match repository::workspace(&of.workspace) {
        // It did not come as far as here.
        Err(unable) if unable.code == Code::NotFound => return Ok(Placed::default()),
        desired => desired?,
    };
    let room = MoveRoom::of(of)?;
    match held::hold(&of.workspace)? {
        Some(Hold::Coming { id, .. }) if id == of.id => {}
        Some(_) => held::check(&of.workspace)?,
        None if room.placed().is_none() => return nothing_runs(&desired),
        None => {
            let hold = Hold::Coming { id: of.id.clone(), before: None };
            hold.put(&of.workspace).map_err(failed("cannot write"))?;
        }
    }
    let _no_snapshot = repository::in_turn(&of.workspace, to)?;
    pause::recover(&desired)?;
    let all: BTreeSet<String> = desired.services.keys().cloned().collect();
    let paused = Paused::for_a_move(&desired, pause::ended(&desired, &all), to)?;
    // With the hold there nothing is started again, whatever ends in the middle of this.
    paused.leave();
    if room.placed().is_none() {
        return Ok(Placed::default());
    }
    let mut there = Vec::new();
    for text in places::texts(&desired) {
        let path = places::of_target(&text).map_err(failed(&text))?;
        there.extend(is_there(&path).then_some(path));
    }
    let id = aside::new_id().map_err(failed("no name for what is there"))?;
    if !there.is_empty() {
        aside::record(&of.workspace, &id, Reason::Move, &there).map_err(failed("cannot write"))?;
    }
    for path in &there {
        let old = place::make(path, &of.workspace, &id).map_err(failed("no room beside it"))?;
        crate::base::file::rename_to_free(path, &old).map_err(failed("it cannot go aside"))?;
    }
    room.forget_placed();
    Ok(Placed { aside: (!there.is_empty()).then_some(id) })
}

/// Of a workspace that no move has brought here: what runs of it is none of a move's to stop, and
/// whoever hears that all is well starts it elsewhere.
fn nothing_runs(desired: &Desired) -> Done<Placed> {
    let all = desired.services.keys().cloned().collect();
    let running = pause::ended(desired, &all);
    if running.is_empty() {
        return Ok(Placed::default());
    }
    let why = format!("it runs here, and not by this move: {}", running.join(", "));
    Err(unable(Code::Conflict, why))
}

/// What was only on its way goes, on either side; a workspace that has left stays so.
pub fn forget(of: &OfMove) -> Done<()> {
    let _alone = room::alone(&of.workspace)?;
    if let Ok(desired) = repository::workspace(&of.workspace) {
        for path in places::texts(&desired).iter().filter_map(|text| places::of_target(text).ok()) {
            let id = places::staging_id(&of.id);
            if let Ok(staging) = place::twin(&path, &of.workspace, &id) {
                let removed = staging.parent().map_or(Ok(()), remove_tree);
                removed.map_err(failed("what has come cannot be removed"))?;
                place::tidy(&path, &of.workspace, &id);
            }
        }
    }
    if let Some(Hold::Coming { id, before }) = held::hold(&of.workspace)? {
        if id == of.id {
            let put = match before {
                Some(left) => Hold::Left(left).put(&of.workspace),
                // It was known for the move alone.
                None => services::room()?
                    .forget(&of.workspace)
                    .and_then(|()| Hold::remove(&of.workspace)),
            };
            put.map_err(failed("cannot write"))?;
        }
    }
    MoveRoom::of(of)?.remove().map_err(failed("what is known of it cannot be removed"))
}
