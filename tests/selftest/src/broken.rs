//! A self test that could not be played, which says nothing about hopbox.

use std::io;

use hopbox::base::failure::{Failure, Fault};

/// The command that shows more of it.
pub const NEXT: &str = "hop selftest -v";

pub fn broken(what: &str, error: &io::Error) -> Failure {
    Failure::new(Fault::Failed, what, error.to_string(), NEXT)
}
