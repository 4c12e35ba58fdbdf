//! What a comparison of what is written with what is there has found, in numbers.

use serde_json::{Value, json};

/// What a look at all leases and names has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// As they should be.
    pub verified: usize,
    /// Changed by somebody else and put right.
    pub reapplied: usize,
    /// Taken off the machine.
    pub removed: usize,
    /// Forgotten: the machine had them no more.
    pub dropped: usize,
}

impl Report {
    pub fn to_json(self) -> Value {
        json!({
            "verified": self.verified, "reapplied": self.reapplied,
            "removed": self.removed, "dropped": self.dropped,
        })
    }
}
