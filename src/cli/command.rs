//! What a command is: its line in the table, and what it is given when it runs. Knows no command.

use super::args::Args;
use super::out::{Out, Volume};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::host::paths::Paths;

/// A flag, its value's name in capitals if it takes one, and what it does. Values named `HOST`,
/// `KEY`, `EDITOR`, `FILE` and `DIR` are completed as what they are.
pub struct Flag {
    pub short: Option<char>,
    pub long: &'static str,
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// One command.
pub struct Command {
    /// One word or two, such as `up` or `host ls`.
    pub name: &'static str,
    pub summary: &'static str,
    pub usage: &'static str,
    /// What the summary leaves out; where its lines end means nothing.
    pub details: &'static str,
    /// How it is typed, a line for each.
    pub example: &'static str,
    /// Where lists show it.
    pub group: Group,
    pub flags: &'static [Flag],
    /// Least and most operands.
    pub operands: (usize, usize),
    /// What the operands are, for completion.
    pub takes: Takes,
    /// Not in any list.
    pub hidden: bool,
    pub run: fn(&mut Call) -> Result<Code, Failure>,
}

/// What commands are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Daily,
    Hosts,
    Trouble,
    Upkeep,
    Other,
}

impl Group {
    /// In the order of the help.
    pub const ALL: [(Group, &str); 5] = [
        (Group::Daily, "every day"),
        (Group::Hosts, "hosts"),
        (Group::Trouble, "when something is wrong"),
        (Group::Upkeep, "upkeep"),
        (Group::Other, "besides"),
    ];
}

/// A first word that needs a second, such as `host`. Its verbs are the commands that begin with it.
pub struct Noun {
    pub name: &'static str,
    pub summary: &'static str,
}

/// What the operands of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It has none.
    Nothing,
    /// A host that is set up; several where `operands` allows them.
    Host,
    /// A name of a command.
    Command,
    /// A file or directory on this machine.
    Path,
    /// Something else: nothing to complete.
    Word,
}

/// As many operands as the command line holds.
pub const MANY: usize = usize::MAX;

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
    Flag { short: None, long: "no-input", value: None, help: "never ask; exit 13 instead" },
    Flag { short: Some('y'), long: "yes", value: None, help: "answer ordinary questions with yes" },
    Flag { short: Some('q'), long: "quiet", value: None, help: "only the answer and errors" },
    Flag { short: Some('v'), long: "verbose", value: None, help: "say more" },
    Flag { short: Some('h'), long: "help", value: None, help: "show help" },
    Flag { short: Some('V'), long: "version", value: None, help: "show the version" },
];

/// All that can be typed.
pub struct Table {
    /// In the order of the help.
    pub commands: &'static [Command],
    /// First words of the commands that have two.
    pub nouns: &'static [Noun],
}

impl Table {
    /// The commands that lists show.
    pub fn listed(&self) -> impl Iterator<Item = &'static Command> + Clone + use<> {
        self.commands.iter().filter(|command| !command.hidden)
    }

    /// What can follow a noun.
    pub fn verbs(&self, noun: &str) -> impl Iterator<Item = &'static str> {
        self.listed().filter_map(move |command| command.name.strip_prefix(noun)?.strip_prefix(' '))
    }
}

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
}

impl Call {
    pub fn new(table: &'static Table, name: &'static str, args: Args) -> Call {
        Call { name, out: out_for(&args), args, table, commit: None }
    }

    pub fn paths(&self) -> Result<Paths, Failure> {
        Paths::from_env()
    }
}

fn out_for(args: &Args) -> Out {
    let volume = match (args.has("quiet"), args.has("verbose")) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    };
    Out::new(args.has("json"), volume, args.has("no-color"))
}
