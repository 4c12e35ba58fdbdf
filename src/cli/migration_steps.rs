//! The steps of a migration, one after the other, each written down before the next is begun. What
//! a failure or Ctrl-C leaves is said: where the services run, and what goes on or back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::command::Call;
use super::migration_sides::{Move, project, proposed};
use super::service_names::{LIMIT, There};
use super::snap_shown::{Shown, follow, held};
use super::{migration_look, migration_pass, migration_view, workspace};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::moment::now_ms;
use crate::deploy::options::Options;
use crate::deploy::setup;
use crate::fix;
use crate::host::migration::{self, Migration, State, Step};
use crate::host::paths::Paths;
use crate::host::workspace::{FILE, Project};
use crate::host::{consent, store};
use crate::rpc::client::CallError;
use crate::rpc::method::{
    MigrationDigest, MigrationLeave, MigrationPause, MigrationPlace, MigrationPrepare,
    MigrationStanding, MigrationStart,
};
use crate::rpc::types::migration::{
    AskDigest, Digested, Held, Leave, Paused, Place, Placed, Prepare, Side, Standing, Start,
    Started,
};
use crate::session::daemon;
use crate::sys::interrupt::{self, Shield};

/// Once more over what changed while the pass before went on, where that was much.
const PASSES: u32 = 3;
const MUCH_BYTES: u64 = 64 << 20;
const MUCH_PART: u64 = 10;
/// For the services of a source that nobody pauses any more; and for one that does not answer.
const RUNS_AGAIN_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Move<'_> {
    pub fn carry_out(mut self, call: &mut Call) -> Result<Code, Failure> {
        let began = Instant::now();
        match self.steps(call) {
            Ok(()) => self.has_moved(call, began),
            Err(failure) => {
                self.tell_where(call);
                Err(failure)
            }
        }
    }

    fn steps(&mut self, call: &mut Call) -> Result<(), Failure> {
        migration::save(self.paths, &self.it)?;
        while let State::At(step) = self.it.state {
            if interrupt::is_due() {
                return Err(Failure::stopped(call.again("")));
            }
            self.step(call, step)?;
            // What was compared is written down with the step that follows.
            if self.it.state == State::At(step) {
                self.it.done();
            }
            migration::save(self.paths, &self.it)?;
        }
        Ok(())
    }

    fn step(&mut self, call: &mut Call, step: Step) -> Result<(), Failure> {
        match step {
            // Before there is anything to write down; what is there is looked at again below.
            Step::Look => Ok(()),
            Step::SetUp => self.set_up(call),
            Step::Prepare => self.prepare(call),
            Step::Copy => self.copy(call),
            Step::Pause => self.begin_pause(call),
            Step::CopyRest => self.copy_rest(call),
            Step::Verify => self.verify(call),
            Step::Leave => self.leave(call),
            Step::Place => self.place(call),
            Step::Start => self.start(call),
            Step::Switch => self.switch(call),
        }
    }

    fn set_up(&mut self, call: &mut Call) -> Result<(), Failure> {
        let is_known = store::names(self.paths)?.contains(&self.it.to);
        if !is_known || call.args.value("address").is_some() {
            let options = Options::read(self.paths, &self.it.to, |flag| call.args.value(flag))?;
            setup::run(call, self.paths, &options)?;
        }
        call.out.done("");
        call.out.wait(&format!("reaching {}", self.it.to));
        self.target()?;
        call.out.done("");
        Ok(())
    }

    fn prepare(&mut self, call: &mut Call) -> Result<(), Failure> {
        let project = project(&self.it.dir)?;
        migration_look::look_again(call, self, &project)?;
        call.out.begin(&format!("preparing {} on {}", self.it.workspace, self.it.to));
        let (id, there) = (self.it.id.clone(), self.target()?);
        let proposal = proposed(there, &project)?;
        let asked = Prepare { digest: proposal.plan.digest, id };
        let mut shown = workspace::Shown::of(&proposal);
        let done = workspace::follow(call, &there.client, MigrationPrepare, &asked, &mut shown);
        done.map_err(|error| stopped_or(call, there, error))
    }

    fn copy(&mut self, call: &mut Call) -> Result<(), Failure> {
        if !self.is_looked_at {
            migration_look::look_at_source(call, self)?;
        }
        for number in 1..=PASSES {
            let title = match number {
                1 => "copying while services run",
                _ => "copying what changed meanwhile",
            };
            call.out.begin(title);
            let pass = migration_pass::pass(call, self, false)?;
            call.out.done(&migration_view::pass(&pass));
            let is_much = pass.bytes_sent > MUCH_BYTES || pass.bytes_sent > pass.bytes / MUCH_PART;
            if !is_much {
                break;
            }
        }
        // While services run: in the pause only what changed since is read again.
        call.out.begin("reading both sides");
        self.digests(call)?;
        call.out.done("");
        Ok(())
    }

    fn digests(&mut self, call: &mut Call) -> Result<(Digested, Digested), Failure> {
        let ask = |side| AskDigest { of: self.of(), side };
        let (ours, theirs) = (ask(Side::Source), ask(Side::Target));
        let ours = follow(call, self.source()?, MigrationDigest, &ours, Shown::part())?;
        Ok((ours, follow(call, self.target()?, MigrationDigest, &theirs, Shown::part())?))
    }

    fn begin_pause(&mut self, call: &mut Call) -> Result<(), Failure> {
        call.out.begin(&format!("stopping services on {}", self.it.from));
        let (of, now) = (self.of(), now_ms());
        let there = self.source()?;
        let (paused, events): (Paused, _) = held(call, there, MigrationPause, &of, Shown::part())?;
        (self.it.services, self.it.paused_ms) = (paused.services, Some(now));
        self.pause = Some(events);
        call.out.done("");
        Ok(())
    }

    fn copy_rest(&mut self, call: &mut Call) -> Result<(), Failure> {
        call.out.begin("copying what changed last");
        self.last = migration_pass::pass(call, self, true)?;
        call.out.done(&migration_view::pass(&self.last));
        Ok(())
    }

    fn verify(&mut self, call: &mut Call) -> Result<(), Failure> {
        call.out.begin("comparing both sides");
        let (ours, theirs) = self.digests(call)?;
        let has_all = ours.files == theirs.files && ours.bytes == theirs.bytes;
        let [source, target] = [&ours, &theirs].map(|side| side.digest.to_string());
        if !has_all || self.it.verified(&source, &target).is_err() {
            let what = format!("{} has not what {} has", self.it.to, self.it.from);
            let why = format!(
                "{} files of {} bytes there, {} of {} here",
                theirs.files, theirs.bytes, ours.files, ours.bytes
            );
            return Err(Failure::new(Fault::Failed, what, why, fix!("hop to {}", self.it.to)));
        }
        call.out.done(&format!("the same, {} files", ours.files));
        Ok(())
    }

    fn leave(&mut self, call: &mut Call) -> Result<(), Failure> {
        let asked = Leave { of: self.of(), to: self.it.to.clone() };
        let there = self.source()?;
        let left = there.client.call(MigrationLeave, &asked, LIMIT);
        let on = fix!("hop to {}", asked.to);
        left.map_err(|error| Failure { next: on, ..there.failed(error) })?;
        self.pause = None;
        call.out.say(&format!("{} has left {}", self.it.workspace, self.it.from));
        Ok(())
    }

    fn place(&mut self, call: &mut Call) -> Result<(), Failure> {
        call.out.begin("putting it in its place");
        let digest = self.it.digest().and_then(|digest| digest.parse().ok());
        let digest = digest.ok_or_else(|| {
            let what = "it is not known what was compared";
            Failure::new(Fault::Config, what, "the journal has no digest", self.back())
        })?;
        let asked = Place { of: self.of(), digest };
        let placed: Placed = follow(call, self.target()?, MigrationPlace, &asked, Shown::part())?;
        let kept = placed.aside.map(|id| format!("what was there is kept as {id}"));
        call.out.done(&kept.unwrap_or_default());
        Ok(())
    }

    fn start(&mut self, call: &mut Call) -> Result<(), Failure> {
        call.out.begin(&format!("starting services on {}", self.it.to));
        let asked = Start { of: self.of(), services: self.it.services.clone() };
        let started: Started = follow(call, self.target()?, MigrationStart, &asked, Shown::part())?;
        call.out.done(&format!("{} run", started.services.len()));
        self.bring_the_rest(call)
    }

    /// What is no service: ports, sites, and the hook of a start; as `hop up` does it.
    fn bring_the_rest(&mut self, call: &mut Call) -> Result<(), Failure> {
        let project = project(&self.it.dir)?;
        let there = self.target()?;
        let proposal = proposed(there, &project)?;
        let mut shown = workspace::Shown::of(&proposal);
        let done = workspace::carried_out(call, &there.client, &proposal, &mut shown);
        done.map_err(|error| stopped_or(call, there, error))
    }

    /// What commands are for, here.
    fn switch(&mut self, call: &mut Call) -> Result<(), Failure> {
        let Migration { workspace, from, to, .. } = &self.it;
        if let Ok(project) = project(&self.it.dir) {
            let Project { consent: content, host, .. } = &project;
            if consent::is_given(self.paths, from, workspace, *content)? {
                consent::give(self.paths, to, workspace, *content)?;
            }
            if host.as_ref() == Some(from) {
                let text = format!("{FILE} here says host: {from}; it has to say host: {to} now");
                call.out.warn("manifest_names_old_host", &text);
            }
        }
        if self.it.takes_default() {
            store::set_default_host(self.paths, Some(to))?;
            call.out.say(&format!("{to} is the default host"));
        }
        Ok(())
    }

    fn has_moved(mut self, call: &mut Call, began: Instant) -> Result<Code, Failure> {
        // What the target knows of it is what it is taken back by.
        self.forget(call, Side::Source);
        let without = self.it.paused_ms.map(|since| now_ms().saturating_sub(since));
        let (it, last) = (self.it.clone(), self.last.clone());
        let paths = self.paths;
        // The key is free from here on.
        drop(self);
        let is_up = !call.args.has("no-up") && bring_up(call, paths, &it.to);
        let data = json!({
            "move": migration_view::to_json(&it), "without_service_ms": without, "up": is_up,
            "files": last.files, "bytes": last.bytes,
            "took_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        call.out.answer("to", data, migration_view::moved(&it, &last, without, is_up))?;
        Ok(Code::Done)
    }

    fn back(&self) -> crate::text::fix::Fix {
        fix!("hop to {} --rollback", self.it.to)
    }

    /// After a failure, or Ctrl-C: where the services are now.
    fn tell_where(&mut self, call: &mut Call) {
        let _shield = Shield::raise();
        let State::At(step) = self.it.state else { return };
        let (name, from, to) =
            (self.it.workspace.clone(), self.it.from.clone(), self.it.to.clone());
        call.out.done("not done");
        let (on, back) = (fix!("hop to {}", to), self.back());
        match step {
            Step::Look | Step::SetUp | Step::Prepare | Step::Copy => {
                call.out.say(&format!("{name} runs on {from} as before: {on} goes on"));
            }
            Step::Pause | Step::CopyRest | Step::Verify | Step::Leave => {
                self.pause = None;
                let text = match self.runs_again(call) {
                    Some(true) => format!("{name} runs on {from} again: {on} goes on"),
                    Some(false) => format!("{name} has left {from}: {on} goes on, {back} back"),
                    None => format!("{from} does not say whether {name} runs again: {on} goes on"),
                };
                call.out.warn("move_interrupted", &text);
            }
            Step::Start if self.may_run_there() => {
                let text = format!("{name} is starting on {to}: {on} goes on, {back} goes back");
                call.out.warn("move_interrupted", &text);
            }
            Step::Place | Step::Start => {
                let text = format!("{name} runs on neither host: {on} goes on, {back} goes back");
                call.out.warn("runs_nowhere", &text);
            }
            Step::Switch => {
                call.out.say(&format!("{name} runs on {to}: {on} goes on"));
            }
        }
    }

    /// The target has been let go: what was begun there goes on without anybody here.
    fn may_run_there(&mut self) -> bool {
        let of = self.of();
        let asked = self.target().ok().map(|it| it.client.call(MigrationStanding, &of, LIMIT));
        matches!(asked, Some(Ok(Standing { held: Held::No, .. })))
    }

    /// Whether the source has its services to itself again; `Some(false)`: the workspace has left.
    fn runs_again(&mut self, call: &mut Call) -> Option<bool> {
        call.out.wait(&format!("waiting for services on {}", self.it.from));
        let (began, end) = (Instant::now(), Instant::now() + RUNS_AGAIN_WITHIN);
        let (of, mut found) = (self.of(), None);
        while found.is_none() && Instant::now() < end && !interrupt::is_due() {
            let there = self.source().ok()?;
            found = match there.client.call(MigrationStanding, &of, LIMIT) {
                Ok(Standing { held: Held::No, .. }) => Some(true),
                Ok(Standing { held: Held::Left { .. }, .. }) => Some(false),
                Err(error) if !error.is_passing() || began.elapsed() > ANSWERS_WITHIN => break,
                _ => None,
            };
            std::thread::sleep(LOOK_EVERY);
        }
        call.out.done("");
        found
    }
}

fn stopped_or(call: &Call, there: &There, error: CallError) -> Failure {
    match interrupt::is_due() {
        true => Failure::stopped(call.again("")),
        false => there.failed(error),
    }
}

/// What has moved has moved, also where this fails.
fn bring_up(call: &mut Call, paths: &Paths, host: &str) -> bool {
    call.out.wait(&format!("bringing {host} up"));
    let up = daemon::start(paths, host, None, &mut call.out);
    call.out.done("");
    if let Err(failure) = &up {
        let text = format!("{host} is not up here: {failure}: {}", failure.next);
        call.out.warn("not_up", &text);
    }
    up.is_ok()
}
