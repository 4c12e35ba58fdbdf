//! The fuzz targets, for libFuzzer. `tests/corpus.rs` runs the same functions without it.

pub mod targets;
