//! What a command of `hop` is: its line in the table, and what it is given when it runs. Knows no
//! command.

use super::out::{Out, Volume};
use crate::base::command_line::{self, Args};
pub use crate::base::command_line::{Flag, Group, MANY, Noun, Takes};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::host::paths::Paths;

/// What a command does.
pub type Run = fn(&mut Call) -> Result<Code, Failure>;
pub type Command = command_line::Command<Run>;
/// All that can be typed.
pub type Table = command_line::Table<Run>;

/// Flags of every command.
pub const GLOBAL_FLAGS: &[Flag] = &[
    Flag {
        short: Some('H'),
        long: "host",
        value: Some("HOST"),
        help: "the host to act on (else $HOPBOX_HOST, hopbox.yaml's, the default, the only one)",
    },
    Flag { short: None, long: "json", value: None, help: "answer with one JSON object" },
    Flag { short: None, long: "no-color", value: None, help: "no colour ($NO_COLOR works too)" },
    Flag {
        short: None,
        long: "no-input",
        value: None,
        help: "never ask ($HOP_NO_INPUT works too); exit 13",
    },
    Flag { short: Some('y'), long: "yes", value: None, help: "answer ordinary questions with yes" },
    Flag { short: Some('q'), long: "quiet", value: None, help: "only the answer and errors" },
    Flag { short: Some('v'), long: "verbose", value: None, help: "say more" },
    Flag { short: Some('h'), long: "help", value: None, help: "show help" },
    Flag { short: Some('V'), long: "version", value: None, help: "show the version" },
];

/// Those among them that say how it is told, and whether anybody is asked.
pub const TELLING: [&str; 5] = ["json", "no-color", "no-input", "quiet", "verbose"];

/// What a command is given.
pub struct Call {
    /// The command's name, as the user would type it.
    pub name: &'static str,
    pub args: Args,
    /// All commands, for those that speak of others.
    pub table: &'static Table,
    pub out: Out,
    /// What this program was built from, if the build knew.
    pub commit: Option<&'static str>,
    /// How the program ends if that is another program's to say.
    pub status: Option<u8>,
}

impl Call {
    pub fn new(table: &'static Table, name: &'static str, args: Args) -> Call {
        Call { name, out: out_for(&args), args, table, commit: None, status: None }
    }

    pub fn paths(&self) -> Result<Paths, Failure> {
        Paths::from_env()
    }
}

/// As the flags say it.
pub fn out_for(args: &Args) -> Out {
    let volume = match (args.has("quiet"), args.has("verbose")) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    };
    Out::new(args.has("json"), volume, args.has("no-color"))
}
