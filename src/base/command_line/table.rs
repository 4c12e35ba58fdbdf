//! What can be typed: commands, their flags and operands, and what a program does for each. Knows
//! no command.

/// A flag, its value's name in capitals if it takes one, and what it does. Values named `HOST`,
/// `KEY`, `EDITOR`, `FILE` and `DIR` are completed as what they are.
pub struct Flag {
    pub short: Option<char>,
    pub long: &'static str,
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// One command; `run` is what its program does for it.
pub struct Command<Run> {
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
    pub run: Run,
}

impl<Run> Command<Run> {
    /// One without flags and operands, of which no more is said.
    pub const fn new(run: Run, name: &'static str, summary: &'static str) -> Self {
        Command {
            name,
            summary,
            usage: "",
            details: "",
            example: "",
            group: Group::Other,
            flags: &[],
            operands: (0, 0),
            takes: Takes::Nothing,
            hidden: false,
            run,
        }
    }
}

/// What commands are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Daily,
    Project,
    Between,
    Hosts,
    Trouble,
    Upkeep,
    Other,
}

impl Group {
    /// In the order of the help.
    pub const ALL: [(Group, &str); 7] = [
        (Group::Daily, "every day"),
        (Group::Project, "what a project runs on its host"),
        (Group::Between, "what a host and this laptop share"),
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
    /// A service of a workspace; several where `operands` allows them.
    Service,
    /// The same after `service:`.
    Waited,
    /// A script of a workspace, up to `--`, behind which is what nobody here knows.
    Script,
    /// A name of a command.
    Command,
    /// A file or directory on this machine.
    Path,
    /// One of these words first, each with its meaning; more may follow.
    OneOf(&'static [(&'static str, &'static str)]),
    /// Something else: nothing to complete.
    Word,
}

/// As many operands as the command line holds.
pub const MANY: usize = usize::MAX;

/// All that can be typed.
pub struct Table<Run: 'static> {
    /// The program's name.
    pub program: &'static str,
    /// In the order of the help.
    pub commands: &'static [Command<Run>],
    /// First words of the commands that have two.
    pub nouns: &'static [Noun],
    /// Of every command. `help` and `version` are answered before anything else is looked at.
    pub flags: &'static [Flag],
}

impl<Run> Table<Run> {
    /// The commands that lists show.
    pub fn listed(&self) -> impl Iterator<Item = &'static Command<Run>> + Clone + use<Run> {
        self.commands.iter().filter(|command| !command.hidden)
    }

    /// The one of this name, if lists show it.
    pub fn find(&self, name: &str) -> Option<&'static Command<Run>> {
        self.listed().find(|command| command.name == name)
    }

    /// What can follow a noun, and the commands that it makes with it.
    pub fn verbs(&self, noun: &str) -> impl Iterator<Item = (&'static str, &'static Command<Run>)> {
        self.listed().filter_map(move |command| {
            Some((command.name.strip_prefix(noun)?.strip_prefix(' ')?, command))
        })
    }
}
