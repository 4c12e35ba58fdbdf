//! A migration at work, and the two servers that it is between: each is reached when it is first
//! asked, and the way to it stays open.

use std::path::Path;

use super::command::Call;
use super::service_names::There;
use super::snap_shown::{Shown, follow};
use super::workspace::ask;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::migration::{self, Migration};
use crate::host::paths::Paths;
use crate::host::workspace::{self, FILE, Project};
use crate::rpc::client::Events;
use crate::rpc::method::{MigrationForget, MigrationPause};
use crate::rpc::types::Nothing;
use crate::rpc::types::migration::{OfMove, Pass, Side};
use crate::rpc::types::workspace::Proposal;
use crate::session::migration::Reached;
use crate::session::through::Watch;

/// A migration at work.
pub struct Move<'a> {
    pub paths: &'a Paths,
    pub it: Migration,
    source: Option<Asked>,
    target: Option<Asked>,
    /// The source's services are stopped as long as it is there.
    pub pause: Option<Events<MigrationPause>>,
    /// Bytes and files that there were when it was looked at, once this process has done so.
    pub expected: (u64, u64),
    pub is_looked_at: bool,
    /// What the last pass came to.
    pub last: Pass,
}

/// One of the two servers.
struct Asked {
    there: There,
    /// What the way to it needs.
    _reached: Reached,
}

impl<'a> Move<'a> {
    pub fn new(paths: &'a Paths, it: Migration) -> Move<'a> {
        let last = Pass::default();
        let (expected, is_looked_at) = ((0, 0), false);
        Move { paths, it, source: None, target: None, pause: None, expected, is_looked_at, last }
    }

    pub fn source(&mut self) -> Result<&There, Failure> {
        asked(self.paths, &self.it.from, &mut self.source)
    }

    pub fn target(&mut self) -> Result<&There, Failure> {
        asked(self.paths, &self.it.to, &mut self.target)
    }

    /// Both of them.
    pub fn sides(&mut self) -> Result<(&There, &There), Failure> {
        let source = asked(self.paths, &self.it.from, &mut self.source)?;
        Ok((source, asked(self.paths, &self.it.to, &mut self.target)?))
    }

    pub fn of(&self) -> OfMove {
        OfMove { workspace: self.it.workspace.clone(), id: self.it.id.clone() }
    }

    /// The step is done, and that is written down.
    pub fn done(&mut self) -> Result<(), Failure> {
        self.it.done();
        migration::save(self.paths, &self.it)
    }

    /// What nobody needs any more on one side. It is in nobody's way if it stays.
    pub fn forget(&mut self, call: &mut Call, side: Side) {
        let of = self.of();
        call.out.wait("removing what the move needed");
        let (name, there) = match side {
            Side::Source => (self.it.from.clone(), self.source()),
            Side::Target => (self.it.to.clone(), self.target()),
        };
        let done: Result<Nothing, Failure> =
            there.and_then(|there| follow(call, there, MigrationForget, &of, Shown::part()));
        call.out.done("");
        if let Err(failure) = done {
            let text = format!("what the move needed stays on {name}: {}", failure.why);
            call.out.warn("move_not_forgotten", &text);
        }
    }
}

fn asked<'s>(paths: &Paths, host: &str, side: &'s mut Option<Asked>) -> Result<&'s There, Failure> {
    let asked = match side.take() {
        Some(asked) => asked,
        None => {
            let reached = Reached::to(paths, host)?;
            let client = reached.client(paths).ok_or_else(|| {
                let (what, next) = (format!("{host} went down"), fix!("hop up {}", host));
                Failure::new(Fault::No, what, "its session ended just now", next)
            })?;
            let there = There { host: host.to_owned(), client, watch: Watch::default() };
            Asked { there, _reached: reached }
        }
    };
    Ok(&side.insert(asked).there)
}

/// What it would take for a server to have this.
pub fn proposed(there: &There, project: &Project) -> Result<Proposal, Failure> {
    ask(&there.client, project).map_err(|error| there.failed(error))
}

/// What is to be moved, as its directory says it.
pub fn project(dir: &Path) -> Result<Project, Failure> {
    workspace::project(dir)?.ok_or_else(|| {
        let what = format!("there is no {FILE} in {}", dir.display());
        let why = "a workspace is moved from where its file is";
        Failure::new(Fault::NotFound, what, why, fix!("hop help {}", "init"))
    })
}
