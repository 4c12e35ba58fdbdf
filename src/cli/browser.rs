//! This machine's browser: `$BROWSER`, else what the system opens addresses with.
//!
//! Bound: one that goes on is left alone after 2 s.

use std::env;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys::child;

const USUAL: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
const STARTED_AFTER: Duration = Duration::from_secs(2);

/// Opens an address of ours.
pub fn open(url: &str, host: &str) -> Result<(), Failure> {
    let wanted = env::var_os("BROWSER").filter(|program| !program.is_empty());
    let program = wanted.unwrap_or_else(|| USUAL.into());
    let mut command = Command::new(&program);
    // The answer on standard output is ours alone.
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |why: String| {
        let what = format!("{url} was not opened");
        let why = format!("{}: {why}", program.to_string_lossy());
        Failure::new(Fault::Failed, what, why, fix!("hop ports ls -H {}", host))
    };
    match child::launch(&mut command, STARTED_AFTER) {
        Ok(Some(status)) if !status.success() => Err(failed(format!("it ended with {status}"))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(failed("there is no such program on PATH".to_owned()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
