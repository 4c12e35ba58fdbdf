//! The inner process: first process of its PID namespace. It ends when the outer one ends.

use std::io::{self, Read};
use std::path::Path;
use std::thread;

use hopbox::base::exit::Code;
use hopbox::base::failure::Failure;
use hopbox::cli::out::Out;
use hopbox::sys::process;

use crate::broken::broken;
use crate::course;

/// `mapped`: a user namespace stands in for root.
pub fn run(out: &mut Out, hop: &Path, mapped: bool) -> Result<Code, Failure> {
    hold_on_to_parent().map_err(|error| broken("cannot watch the outer process", &error))?;
    course::run(out, hop, mapped)
}

/// Ends this process when the outer one ends. Two ways, because a parent that died before the
/// first was set up is only noticed by the second.
fn hold_on_to_parent() -> io::Result<()> {
    process::die_with_parent()?;
    thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(Code::Interrupted as i32);
    })?;
    Ok(())
}
