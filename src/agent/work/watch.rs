//! Services as they change: whoever watches is told where each of them is, and from then on each
//! that is elsewhere, up to its removal. What changed twice between two looks is told as it is
//! then, and its counters tell of the rest.

use std::io;

use super::services::{self, Unable};
use crate::rpc::code::Code;
use crate::rpc::types::services::ServiceView;
use crate::sys::clock;

/// Until nobody wants it any more.
pub fn watch(
    workspace: Option<&str>,
    tell: &mut dyn FnMut(&ServiceView) -> io::Result<()>,
    rest: &mut dyn FnMut() -> io::Result<()>,
) -> Result<(), Unable> {
    let mut known = services::list(workspace)?;
    let mut told = known.iter().try_for_each(&mut *tell);
    while told.is_ok() && rest().is_ok() {
        let mut now = match services::list(workspace) {
            Ok(now) => now,
            Err(unable) if unable.code == Code::NotFound => Vec::new(),
            // A workspace that cannot be read now may be read again later.
            Err(_) => continue,
        };
        let is_new = |view: &&ServiceView| !known.contains(view);
        told = now.iter().filter(is_new).try_for_each(&mut *tell);
        let is_missing = |view: &ServiceView| !now.iter().any(|other| other.name == view.name);
        known.retain(is_missing);
        let (gone, kept): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|view| services::is_removed(&view.name));
        let mut gone = gone.into_iter().map(|view| view.removed(clock::wall_ms()));
        told = told.and_then(|()| gone.try_for_each(|view| tell(&view)));
        now.extend(kept);
        known = now;
    }
    Ok(())
}
