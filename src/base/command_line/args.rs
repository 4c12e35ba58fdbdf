//! The flags and operands of one call; who reads them from the command line is `parse`.

/// The flags and operands of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub(super) flags: Vec<(&'static str, String)>,
    pub operands: Vec<String>,
    /// How many of them stand before `--`, where there is one.
    pub before_dashes: Option<usize>,
}

impl Args {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag)
    }

    /// The same for the host that was meant: in its place, or as a flag where a variable or a file
    /// named another.
    pub fn with_host(&self, typed: &str, meant: &str) -> Args {
        let mut args = self.clone();
        let flags = args.flags.iter_mut().filter(|(name, _)| *name == "host").map(|(_, it)| it);
        // The words of a command that is to run there may be the same.
        let place = flags.chain(&mut args.operands).find(|word| **word == typed);
        if place.map(|place| meant.clone_into(place)).is_none() {
            args.flags.push(("host", meant.to_owned()));
        }
        args
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
