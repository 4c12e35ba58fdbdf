//! What `hop doctor` says of a host's snapshots: which restic is there and what that one does not
//! promise, and workspaces that have gone without one for too long. Nothing of it is in a tunnel's
//! way, so it comes last.

use std::time::Duration;

use crate::base::time_text::utc;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::method::SnapHealth;
use crate::rpc::types::Nothing;
use crate::rpc::types::snap::{Health, LateOne};
use crate::session::diagnose::Check;
use crate::session::through;

const LIMIT: Duration = Duration::from_secs(3);
const WHAT: &str = "snapshots";

/// Nothing of a host that is not up, or has an older agent, or no workspace with a repository.
pub fn checks(paths: &Paths, host: &HostConfig) -> Vec<Check> {
    let client = through::with_token(paths, host);
    let asked = client.and_then(|client| client.call(SnapHealth, &Nothing, LIMIT).ok());
    asked.filter(|health| health.is_wanted).map_or_else(Vec::new, |health| judged(host, &health))
}

fn judged(host: &HostConfig, health: &Health) -> Vec<Check> {
    let restic = match &health.restic {
        Some(version) => {
            let notes = health.notes.join("; ");
            let cause = if notes.is_empty() { format!("restic {version}") } else { notes };
            Check::fine(WHAT, cause)
        }
        None => Check::fault(
            WHAT,
            "no_restic",
            "a workspace names a repository, and nothing can be put into it",
            health.notes.join("; "),
            fix!("hop snap ls -H {}", host.name),
        ),
    };
    let late = health.late.iter().map(|late| of_late(host, late));
    std::iter::once(restic).chain(late).collect()
}

fn of_late(host: &HostConfig, late: &LateOne) -> Check {
    let since = match late.made_ms {
        Some(made) => format!("{} has had no snapshot since {}", late.workspace, utc(made / 1000)),
        None => format!("{} has had no snapshot yet", late.workspace),
    };
    let why = late.why.as_deref().unwrap_or("none was tried in vain");
    Check::fault(WHAT, "snapshot_late", since, why, fix!("hop snap ls -H {}", host.name))
}
