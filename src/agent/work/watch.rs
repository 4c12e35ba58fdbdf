//! Services as they change: whoever watches is told where each of them is, and from then on each
//! that is elsewhere. What changed twice between two looks is told as it is then, and its counters
//! tell of the rest.

use std::io;

use super::services::{self, Unable};
use crate::rpc::types::services::ServiceView;

/// Until nobody wants it any more.
pub fn watch(
    workspace: Option<&str>,
    tell: &mut dyn FnMut(&ServiceView) -> io::Result<()>,
    rest: &mut dyn FnMut() -> io::Result<()>,
) -> Result<(), Unable> {
    let mut known = services::list(workspace)?;
    let mut told = known.iter().try_for_each(&mut *tell);
    while told.is_ok() && rest().is_ok() {
        // A workspace that cannot be read now may be read again later.
        let Ok(now) = services::list(workspace) else { continue };
        let is_new = |view: &&ServiceView| !known.contains(view);
        told = now.iter().filter(is_new).try_for_each(&mut *tell);
        known = now;
    }
    Ok(())
}
