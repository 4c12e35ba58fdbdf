//! The fuzz targets, for libFuzzer. `tests/corpus.rs` runs the same functions without it.

// Files of hopbox that are compiled here as they are look for this at the root.
use hopbox::{sys, wg};

pub mod targets;
