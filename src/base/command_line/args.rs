//! The flags and operands of one call; who reads them from the command line is `parse`.

/// The flags and operands of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub(super) flags: Vec<(&'static str, String)>,
    pub operands: Vec<String>,
}

impl Args {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag)
    }

    /// The value of a flag; of several the last.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(name, _)| *name == flag).map(|(_, value)| value.as_str())
    }

    /// All flags in their order, with an empty text where they have no value.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.flags.iter().map(|(name, value)| (*name, value.as_str()))
    }
}
