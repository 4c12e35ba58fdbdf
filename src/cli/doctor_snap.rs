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
use crate::text::fix::Fix;

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
            Check { what: WHAT, fault: None, cause, evidence: String::new(), fix: Fix::from("") }
        }
        None => Check {
            what: WHAT,
            fault: Some("no_restic"),
            cause: "a workspace names a repository, and nothing can be put into it".to_owned(),
            evidence: health.notes.join("; "),
            fix: fix!("hop snap ls -H {}", host.name),
        },
    };
    let late = health.late.iter().map(|late| of_late(host, late));
    std::iter::once(restic).chain(late).collect()
}

fn of_late(host: &HostConfig, late: &LateOne) -> Check {
    let since = match late.made_ms {
        Some(made) => format!("{} has had no snapshot since {}", late.workspace, utc(made / 1000)),
        None => format!("{} has had no snapshot yet", late.workspace),
    };
    Check {
        what: WHAT,
        fault: Some("snapshot_late"),
        cause: since,
        evidence: late.why.clone().unwrap_or_else(|| "none was tried in vain".to_owned()),
        fix: fix!("hop snap ls -H {}", host.name),
    }
}
