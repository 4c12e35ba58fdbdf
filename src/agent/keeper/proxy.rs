//! A service's own process may stand for what another program runs outside of the unit, as a
//! container is run. It alone is asked to end, and sees to the rest.

use std::process::Command;
use std::time::Duration;

use super::spec::Spec;
use crate::sys::child::{self, Limits};

/// Beside the service's own time to end.
const MORE: Duration = Duration::from_secs(45);

/// Where that process was killed, or may have been.
pub fn end_rest(spec: &Spec) -> Result<(), String> {
    let end = spec.proxy.as_ref().and_then(|proxy| proxy.end.split_first());
    let Some((program, words)) = end else { return Ok(()) };
    let time = Duration::from_millis(spec.stop_ms.into()) + MORE;
    let mut command = Command::new(program);
    command.args(words).envs(spec.env.iter().map(|(name, value)| (name, value)));
    match child::run(&mut command, Limits { time, ..Limits::brief(0) }) {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(done.complaint()),
        Err(broken) => Err(broken.to_string()),
    }
}
