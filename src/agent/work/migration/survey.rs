//! What a server is, and what there is of a workspace and of its data: before a move, so that
//! whatever stands in its way is said at once.
//!
//! Bounds: 60 s for all that is counted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};

use super::pause;
use super::places;
use crate::agent::work::container::engine::{Engine, Kind};
use crate::agent::work::held::Hold;
use crate::agent::work::services;
use crate::agent::work::snap::owners::{Login, Others};
use crate::agent::work::snap::{restic, tree};
use crate::agent::work::state::{self, Room};
use crate::rpc::types::migration::{AskSurvey, Held, Known, Spot, Standing, Surveyed};
use crate::rpc::types::services::ServiceName;
use crate::sys::{free_space, process};

const COUNT_WITHIN: Duration = Duration::from_secs(60);

pub fn survey(asked: &AskSurvey) -> Surveyed {
    let end = Instant::now() + COUNT_WITHIN;
    let login = process::login().map(|login| login.name.to_string_lossy().into_owned());
    Surveyed {
        architecture: std::env::consts::ARCH.to_owned(),
        login: login.unwrap_or_default(),
        home: state::home().map(|home| home.display().to_string()).unwrap_or_default(),
        restic: restic::installed().ok().map(|(_, version)| version.to_string()),
        has_docker: Engine::is_usable(Kind::Docker),
        has_podman: Engine::is_usable(Kind::Podman),
        workspace: asked.workspace.as_deref().and_then(known),
        places: asked.places.iter().map(|text| spot(text, end)).collect(),
    }
}

fn known(name: &str) -> Option<Known> {
    let desired = Room::own().ok()?.workspace(name).ok()?.desired;
    let (mut running, mut stopped) = (Vec::new(), Vec::new());
    for service in desired.services.into_keys() {
        let of = ServiceName { workspace: name.to_owned(), service: service.clone() };
        let is_wanted = services::view(&of).is_ok_and(|view| view.is_wanted);
        if is_wanted { &mut running } else { &mut stopped }.push(service);
    }
    Some(Known { running, stopped, standing: standing(name) })
}

/// Of one that is not known here, too: nothing holds it.
pub fn standing(name: &str) -> Standing {
    let (held, id) = match (pause::id(name), Hold::load(name)) {
        (Some(id), Ok(None)) => (Held::Paused, Some(id)),
        (_, Ok(None)) => (Held::No, None),
        (_, Ok(Some(hold))) => (hold.told(), Some(hold.id().to_owned())),
        (_, Err(_)) => (Held::Other, None),
    };
    Standing { held, id }
}

fn spot(text: &str, end: Instant) -> Spot {
    let mut spot = Spot { path: text.to_owned(), ..Spot::default() };
    if let Err(error) = look(text, end, &mut spot) {
        spot.left_out.push(format!("{text}: {error}"));
    }
    spot
}

fn look(text: &str, end: Instant, spot: &mut Spot) -> io::Result<()> {
    let path = places::of_source(text)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // What is not there yet is made, below what is.
    let there = parent.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    if let Ok(free) = free_space::at(there) {
        spot.free_bytes = free.bytes;
    }
    let found = fs::symlink_metadata(&path).ok();
    let device = fs::metadata(there)?.dev();
    let is_mount = found.as_ref().is_some_and(|found| found.dev() != device);
    spot.is_writable = access(there, AccessFlags::W_OK).is_ok() && !is_mount;
    let Some(found) = found else { return Ok(()) };
    let is_empty = found.is_dir() && fs::read_dir(&path)?.next().is_none();
    spot.is_there = !is_empty;
    let (mut files, mut bytes) = (0, 0);
    let (login, mut others) = (Login::own(), Others::default());
    let counted = tree::visit(
        &path,
        &mut |met| {
            if met.found.is_file() {
                access(met.seen, AccessFlags::R_OK)?;
                bytes += met.found.len();
            }
            files += u64::from(!met.found.is_dir());
            if !met.found.is_dir() {
                others.count(&login, met.found.uid(), met.found.gid());
            }
            Ok(())
        },
        &|| Instant::now() < end,
    );
    (spot.files, spot.bytes) = (files, bytes);
    (spot.foreign, spot.whose) = (others.files, others.whose());
    match counted {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => spot.is_cut = true,
        Err(error) => return Err(error),
        Ok(count) => (spot.left_out, spot.more) = (count.left_out, count.more),
    }
    Ok(())
}
