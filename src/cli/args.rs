//! The flags and operands of one call; who reads them from the command line is `parse`.

use crate::fix;
use crate::text::fix::Fix;

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

    /// The same command line once more, for people, with `more` at its end. Flags that say how it
    /// is to be told are left out, and the one that forbade to ask.
    pub fn again(&self, command: &'static str, more: Fix) -> Fix {
        const TELLING: [&str; 5] = ["json", "no-color", "no-input", "quiet", "verbose"];
        let mut line = fix!("hop {}", Fix::from(command));
        for operand in &self.operands {
            line = fix!("{} {}", line, operand);
        }
        for (name, value) in self.flags.iter().filter(|(name, _)| !TELLING.contains(name)) {
            line = fix!("{} --{}", line, Fix::from(*name));
            if !value.is_empty() {
                line = fix!("{} {}", line, value);
            }
        }
        if more.is_empty() { line } else { fix!("{} {}", line, more) }
    }

    /// The value of a flag; of several the last.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(name, _)| *name == flag).map(|(_, value)| value.as_str())
    }
}
