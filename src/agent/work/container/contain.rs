//! `hop-agent contain DIR`: one run of a container, as the process that a keeper keeps. The
//! engine's client is attached, so that what the container says goes to the keeper's pipes. Asked
//! to end, it has the engine end the container, which knows by which signal; its exit status is
//! the container's.
//!
//! Killed, it leaves a container that runs. `hop-agent contain --end DIR`, which the keeper runs
//! then, ends that one, and so does the next run: there are never two.
//!
//! Bounds: a call of an engine has a minute, an end its own time and some more; an engine whose
//! daemon has gone is waited for for two minutes.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Found, MADE};
use super::{Now, Recipe};
use crate::agent::log;
use crate::base::file;
use crate::sys::child::{self, Limits};
use crate::sys::children;
use crate::sys::poll::{self, Interest};
use crate::sys::signal::{Kind as Signal, Signals};

/// It could not be started: what an engine's client ends with, too.
const NOT_STARTED: u8 = 125;
const ENV: &str = "container.env";
const OUT_OF_MEMORY: &str = "the kernel ended it: it has no more memory than its limit";
/// Beside the time that the container has.
const STOP_MORE: Duration = Duration::from_secs(15);
const DAEMON_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Until it is known which process it is; it may be one that ends at once.
const LOOKS: u32 = 60;

/// The whole life of this process.
pub fn main(dir: &Path, only_end: bool) -> u8 {
    let ended = match only_end {
        true => end(dir).map(|()| 0),
        false => contain(dir),
    };
    ended.unwrap_or_else(|why| {
        log(&why);
        NOT_STARTED
    })
}

/// Nothing of it runs then. One that is somebody else's stays as it is.
pub fn end(dir: &Path) -> Result<(), String> {
    let Some(recipe) = Recipe::load(dir).transpose()? else { return Ok(()) };
    match found(&recipe)? {
        Some(found) if found.is_running => stop(&recipe, &found.id),
        _ => Ok(()),
    }
}

/// It is gone then, and with it what is in volumes without a name if that is said.
pub fn remove(dir: &Path, with_volumes: bool) -> Result<(), String> {
    let Some(recipe) = Recipe::load(dir).transpose()? else { return Ok(()) };
    match found(&recipe)? {
        Some(found) => discard(&recipe, &found, with_volumes),
        None => Ok(()),
    }
}

/// The container of this name if it is this service's.
fn found(recipe: &Recipe) -> Result<Option<Found>, String> {
    Ok(recipe.engine.container(&recipe.name)?.filter(|found| recipe.is_ours(found)))
}

/// Somebody else's container in this one's place is said, and not touched.
pub fn is_free(recipe: &Recipe) -> Result<Option<Found>, String> {
    let (engine, name) = (recipe.engine.kind.word(), &recipe.name);
    match recipe.engine.container(name)? {
        Some(found) if !recipe.is_ours(&found) => Err(format!(
            "{engine} has a container {name} that hopbox has not made, and it is not touched; \
             what gives it another name: {engine} rename {name} my-{name}"
        )),
        found => Ok(found),
    }
}

fn discard(recipe: &Recipe, found: &Found, with_volumes: bool) -> Result<(), String> {
    if found.is_running {
        stop(recipe, &found.id)?;
    }
    let volumes: &[&str] = if with_volumes { &["--volumes"] } else { &[] };
    let words = [&["rm", "--force"], volumes].concat();
    let done = recipe.engine.run(&[&words[..], &[&found.id]].concat())?;
    match done.status.success() {
        true => Ok(()),
        false => Err(recipe.engine.complaint(&done)),
    }
}

fn stop(recipe: &Recipe, id: &str) -> Result<(), String> {
    let time = Duration::from_secs(recipe.stop_s.into()) + STOP_MORE;
    let limits = Limits { time, ..Limits::brief(0) };
    let seconds = recipe.stop_s.to_string();
    let done = recipe.engine.run_within(&["stop", "-t", &seconds, id], limits)?;
    // One that has ended meanwhile is as it should be.
    match recipe.engine.container(&recipe.name)? {
        Some(found) if found.id == id && found.is_running => {
            Err(format!("it does not end: {}", recipe.engine.complaint(&done)))
        }
        _ => Ok(()),
    }
}

fn contain(dir: &Path) -> Result<u8, String> {
    let recipe = Recipe::load(dir).transpose()?.ok_or("there is no recipe")?;
    let kinds = [Signal::Terminate, Signal::Interrupt, Signal::Child];
    let mut signals = Signals::catch(&kinds).map_err(|error| error.to_string())?;
    let before = ready(&recipe, dir)?;
    Now::of(&before).save(dir)?;
    let mut run = Run { dir, recipe: &recipe, before, is_asked: false };
    run.is_asked = is_asked(&mut signals);
    if run.is_asked {
        return Ok(0);
    }
    let start = ["start", "--attach", &run.before.id].map(str::to_owned);
    let attach = ["attach", "--no-stdin", "--sig-proxy=false", &run.before.id].map(str::to_owned);
    let mut words = start.to_vec();
    loop {
        let code = run.client(&words, &mut signals)?;
        let Some(now) = run.look()? else {
            return Err("the container was removed while it ran".to_owned());
        };
        Now::of(&now).save(dir)?;
        if !now.is_running {
            return Ok(run.code(&now, code));
        }
        // The client alone was lost, or the container was started by another.
        words = attach.to_vec();
        thread::sleep(LOOK_EVERY * 10);
    }
}

/// The container as it is to be, not running: the one that is there, or a new one.
fn ready(recipe: &Recipe, dir: &Path) -> Result<Found, String> {
    let engine = &recipe.engine;
    let none = || format!("the image {} is not there any more", recipe.image);
    let image = engine.image(&recipe.image)?.ok_or_else(none)?;
    let made = recipe.digest(&image);
    let is_same = |found: &Found| found.labels.get(MADE) == Some(&made.to_string());
    match is_free(recipe)? {
        Some(found) if is_same(&found) && !found.is_stuck => {
            if found.is_running {
                // Of a process like this that was killed.
                stop(recipe, &found.id)?;
            }
            return Ok(Found { is_running: false, ..found });
        }
        Some(found) => {
            if !found.volumes.is_empty() {
                let all = found.volumes.join(", ");
                log(&format!("made anew; its volumes without a name are kept: {all}"));
            }
            discard(recipe, &found, false)?;
        }
        None => {}
    }
    for place in recipe.dirs.iter().filter(|place| !place.exists()) {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(place);
        made.map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    }
    let file = dir.join(ENV);
    let lines = recipe.env_file()?;
    let written = file::replace(&file, lines.as_bytes());
    written.map_err(|error| format!("cannot write {ENV}: {error}"))?;
    let mut command = engine.command();
    command.args(recipe.words(&made, &file));
    let own = recipe.plain_env().map(|(name, value)| (OsString::from(name), value));
    let done = child::run(command.envs(own), Limits::brief(120));
    let _ = fs::remove_file(&file);
    let done = done.map_err(|broken| format!("{}: {broken}", engine.kind.word()))?;
    if !done.status.success() {
        return Err(engine.complaint(&done));
    }
    found(recipe)?.ok_or_else(|| "the container that was made is not there".to_owned())
}

fn is_asked(signals: &mut Signals) -> bool {
    std::iter::from_fn(|| signals.take()).filter(|signal| *signal != Signal::Child).count() > 0
}

struct Run<'a> {
    dir: &'a Path,
    recipe: &'a Recipe,
    /// As it was before this run.
    before: Found,
    is_asked: bool,
}

impl Run<'_> {
    /// The engine's client, until it ends: its exit status.
    fn client(&mut self, words: &[String], signals: &mut Signals) -> Result<u8, String> {
        let mut command = self.recipe.engine.command();
        let client = children::start_aloud(command.args(words));
        let mut client = client.map_err(|error| error.to_string())?;
        let mut looks = 0;
        loop {
            if let Some(status) = client.try_wait().map_err(|error| error.to_string())? {
                return Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(NOT_STARTED));
            }
            let wait = (looks < LOOKS).then_some(LOOK_EVERY);
            let _ = poll::wait_one(signals.as_fd(), Interest::READ, wait);
            if is_asked(signals) {
                self.is_asked = true;
                // What cannot be asked is ended with this process's time.
                if let Err(why) = stop(self.recipe, &self.before.id) {
                    log(&why);
                }
            }
            if looks < LOOKS {
                looks = if self.is_known(&mut client)? { LOOKS } else { looks + 1 };
            }
        }
    }

    /// Writes down which process it is, once there is one.
    fn is_known(&self, client: &mut Child) -> Result<bool, String> {
        if client.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(true);
        }
        let Ok(Some(found)) = found(self.recipe) else { return Ok(false) };
        if found.is_running {
            Now::of(&found).save(self.dir)?;
        }
        Ok(found.is_running)
    }

    /// An engine's daemon may be just being started anew, and an end just being written down.
    fn look(&self) -> Result<Option<Found>, String> {
        let end = Instant::now() + DAEMON_WITHIN;
        let mut looks = 0;
        loop {
            match found(self.recipe) {
                Ok(Some(found)) if found.is_stuck && looks < LOOKS => {
                    looks += 1;
                    thread::sleep(LOOK_EVERY);
                }
                Err(_) if Instant::now() < end && !self.is_asked => thread::sleep(LOOK_EVERY * 10),
                looked => return looked,
            }
        }
    }

    /// That of the container; of the client if the container was never started.
    fn code(&self, now: &Found, client: u8) -> u8 {
        if now.is_out_of_memory {
            log(OUT_OF_MEMORY);
        }
        match now.started == self.before.started {
            true if client == 0 => NOT_STARTED,
            true => client,
            false => now.exit_code,
        }
    }
}
