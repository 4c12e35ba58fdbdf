//! Takes back what a helper held that runs no more. Must not know: files but the helper's own.

use super::files::{Installer, Outcome, say};
use crate::core::paths::{RUN_DIR, STATE_DIR};
use crate::core::service::Service;
use crate::core::state_file::StateFile;
use crate::net::config::Config;
use crate::net::lease::Leases;
use crate::net::link::Links;
use crate::net::state;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a helper that was told to stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);

impl Installer {
    /// Wherever it kept its state; tells what was done.
    pub fn take_back(&self) -> Outcome<()> {
        for dir in [STATE_DIR, RUN_DIR].map(Path::new) {
            if dir.join("state.json").exists() && self.tell("take back all of", dir) {
                take_back(dir)?.iter().for_each(|change| say!("{change}"));
            }
        }
        Ok(())
    }
}

/// Ends what a helper left standing; waits for one that is just ending. Returns what was done.
fn take_back(dir: &Path) -> Outcome<Vec<String>> {
    let begun = Instant::now();
    let file = loop {
        match StateFile::open(dir) {
            Err(_) if begun.elapsed() < STOP_WITHIN => {
                std::thread::sleep(Duration::from_millis(50))
            }
            outcome => break outcome,
        }
    };
    let file = file.map_err(|e| format!("{e}: stop the helper first"))?;
    let links = Links::open().map_err(|e| format!("look at the network: {e}"))?;
    let mut leases =
        Leases::open(links, file, state::epoch(Path::new(RUN_DIR))?, Config::default())?;
    leases.end_all().map_err(|e| e.message)?;
    Ok(leases.take_changes())
}
