//! The one thing that can go wrong.

/// The sealed bytes did not authenticate.
#[derive(Debug, PartialEq, Eq)]
pub struct Forged;
