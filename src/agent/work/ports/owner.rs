//! What there is of a process that listens: its program, where it works, and the service that it is
//! of, by the files of the kernel.
//!
//! Bounds: 512 characters of each path, 4 MiB of an environment.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::checkout::Checkout;
use crate::agent::keeper::group::MARK;
use crate::agent::work::state;
use crate::rpc::types::Message;
use crate::rpc::types::ports::Owner;
use crate::rpc::types::services::ServiceName;
use crate::sys::bounded;

const TEXT_CHARS: usize = 512;
/// What the kernel adds to the name of a file that is gone.
const GONE: &str = " (deleted)";

/// As it is now; the service does not change.
pub fn of(pid: u32, dir: Option<&Path>, service: Option<&ServiceName>) -> Owner {
    Owner {
        pid: Some(pid),
        program: program(pid),
        directory: dir.map(text),
        service: service.cloned(),
        ..Owner::default()
    }
}

/// The same with what it works in.
pub fn with_checkout(owner: &Owner, checkout: Option<&Checkout>) -> Owner {
    Owner {
        checkout: checkout.map(|checkout| text(&checkout.root)),
        branch: checkout.and_then(|checkout| checkout.branch.clone()),
        ..owner.clone()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().chars().take(TEXT_CHARS).collect()
}

/// Its working directory.
pub fn dir(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Of the file that it runs, or what it is called.
pub fn program(pid: u32) -> Option<String> {
    let file = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let file = file.as_deref().and_then(Path::file_name).map(|name| text(Path::new(name)));
    let name = file.map(|name| name.strip_suffix(GONE).unwrap_or(&name).to_owned());
    name.or_else(|| {
        let called = bounded::text(format!("/proc/{pid}/comm")).ok()?;
        Some(called.trim_end().to_owned()).filter(|name| !name.is_empty())
    })
}

/// Whether it runs this program, or the one that had its place before. Only names are looked at: a
/// file may be where nobody answers.
pub fn is_ours(pid: u32) -> bool {
    let run = |pid: &str| {
        let name = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = name.to_string_lossy().into_owned();
        Some(name.strip_suffix(GONE).unwrap_or(&name).to_owned())
    };
    run(&pid.to_string()).is_some_and(|its| Some(its) == run("self"))
}

/// A keeper leaves its mark in what it starts, and that in what it starts itself.
pub fn service(pid: u32) -> Option<ServiceName> {
    let all = bounded::read(format!("/proc/{pid}/environ"), bounded::TEXT_BYTES).ok()?;
    let mut all = all.split(|byte| *byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
    let dir = all.find_map(|one| one.strip_prefix(MARK)?.strip_prefix('='))?;
    let (workspace, service) = Path::new(dir)
        .strip_prefix(state::own_dir().ok()?)
        .ok()?
        .to_str()?
        .split_once("/services/")?;
    ServiceName::of(json!({"workspace": workspace, "service": service})).ok()
}
