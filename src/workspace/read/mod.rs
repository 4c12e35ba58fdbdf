//! `hopbox.yaml`, and what crosses to a server as JSON, into values: every key is known, every
//! text is checked, and every mistake is told with its place.
//!
//! Reading order: `reader` (a tree, key by key) → `keys` (all keys there are) → `service` → `top`.

pub mod keys;
mod reader;
mod service;
mod top;

pub use top::{desired, local, manifest};

#[cfg(test)]
mod tests;
