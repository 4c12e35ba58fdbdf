//! Command line → command, flags and operands. Everything it knows about commands it reads from
//! the table that it is given; it does not know what any of them does.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use super::args::Args;
use super::table::{Command, Flag, Table};
use super::typo::closest;
use crate::base::failure::Failure;
use crate::fix;
use crate::text::fix::Fix;

/// The verb that a noun alone stands for.
const LIST: &str = "ls";

/// What a command line asks for.
pub enum Asked<Run: 'static> {
    /// Nothing: a first look.
    Nothing,
    /// General help, or that of one command.
    Help(Option<&'static Command<Run>>),
    /// The first of two words without the second, of which none is a list.
    Noun(&'static str),
    /// What can follow that word.
    NounHelp(&'static str),
    /// A command that is none, and what follows it.
    Unknown(Vec<String>),
    Version,
    Run(&'static Command<Run>),
}

/// Reads a command line, its program name already taken off. Global flags may stand before or
/// after the verb, a command's own only after it. The flags read so far come back also with a
/// failure, because they may say how that is printed.
pub fn parse<Run>(
    table: &Table<Run>,
    line: impl IntoIterator<Item = OsString>,
) -> (Args, Result<Asked<Run>, Failure>) {
    let mut args = Args::default();
    let asked = read(table, &mut Parser::from_args(line), &mut args);
    (args, asked)
}

fn read<Run>(
    table: &Table<Run>,
    parser: &mut Parser,
    args: &mut Args,
) -> Result<Asked<Run>, Failure> {
    let bad = |why: &str, verb: &Verb<Run>| bad_line(table, why, verb);
    let flags = |verb: &Verb<Run>| verb.flags(table);
    let mut verb = Verb::None;
    let mut help = false;
    let mut version = false;
    loop {
        note_dashes(parser, args);
        let next = parser.next().map_err(|error| bad(&error.to_string(), &verb))?;
        let Some(arg) = next else { break };
        let (flag, typed) = match arg {
            Arg::Value(word) => {
                let word = word.into_string().map_err(|word| {
                    bad(&format!("{} is not valid UTF-8", word.to_string_lossy()), &verb)
                })?;
                verb = verb.next(table, word, args);
                continue;
            }
            Arg::Short(letter) => {
                (flags(&verb).find(|flag| flag.short == Some(letter)), format!("-{letter}"))
            }
            Arg::Long(name) => (flags(&verb).find(|flag| flag.long == name), format!("--{name}")),
        };
        let Some(flag) = flag else {
            if let Verb::Unknown(_) = verb {
                // Whatever it is, it is that command's.
                let _ = parser.optional_value();
                continue;
            }
            return Err(unknown_flag(table, &typed, &verb));
        };
        match flag.long {
            "help" => help = true,
            "version" => version = true,
            name if flag.value.is_none() => args.flags.push((name, String::new())),
            name => {
                let value = parser.value().and_then(|value| Ok(value.into_string()?));
                let value = value.map_err(|error| bad(&error.to_string(), &verb))?;
                args.flags.push((name, value));
            }
        }
    }
    let meant = verb.command(table);
    match (verb, meant) {
        (Verb::Unknown(words), _) => Ok(Asked::Unknown(words)),
        _ if version => Ok(Asked::Version),
        (Verb::Noun(noun), _) if help => Ok(Asked::NounHelp(noun)),
        (_, Some(command)) if help => Ok(Asked::Help(Some(command))),
        (_, Some(command)) => check(table, command, args).map(|()| Asked::Run(command)),
        (Verb::Noun(noun), None) => Ok(Asked::Noun(noun)),
        _ if help => Ok(Asked::Help(None)),
        _ => Ok(Asked::Nothing),
    }
}

/// Whether `--` comes next: from there on all words are operands.
fn note_dashes(parser: &mut Parser, args: &mut Args) {
    let comes = parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|w| w == "--"));
    if comes && args.before_dashes.is_none() {
        args.before_dashes = Some(args.operands.len());
    }
}

/// How much of the verb has been read.
enum Verb<Run: 'static> {
    None,
    /// The first of two words.
    Noun(&'static str),
    Command(&'static Command<Run>),
    /// None that we have, with all words so far.
    Unknown(Vec<String>),
}

impl<Run> Verb<Run> {
    fn next(self, table: &Table<Run>, word: String, args: &mut Args) -> Self {
        let mut words = match self {
            Verb::Command(_) => {
                args.operands.push(word);
                return self;
            }
            Verb::None => Vec::new(),
            Verb::Noun(noun) => vec![noun.to_owned()],
            Verb::Unknown(mut words) => {
                words.push(word);
                return Verb::Unknown(words);
            }
        };
        words.push(word);
        let full = words.join(" ");
        if let Some(command) = table.commands.iter().find(|command| command.name == full) {
            return Verb::Command(command);
        }
        let noun = table.nouns.iter().find(|noun| noun.name == full);
        noun.map_or(Verb::Unknown(words), |noun| Verb::Noun(noun.name))
    }

    /// A noun alone is its list, where it has one.
    fn command(&self, table: &Table<Run>) -> Option<&'static Command<Run>> {
        match self {
            Verb::Command(command) => Some(command),
            Verb::Noun(noun) => table.verbs(noun).find(|(verb, _)| *verb == LIST).map(|(_, c)| c),
            Verb::None | Verb::Unknown(_) => None,
        }
    }

    /// Its own flags, and those of every command.
    fn flags(&self, table: &Table<Run>) -> impl Iterator<Item = &'static Flag> + use<Run> {
        let own = self.command(table).map_or(&[] as &[Flag], |command| command.flags);
        own.iter().chain(table.flags)
    }
}

fn check<Run>(table: &Table<Run>, command: &Command<Run>, args: &Args) -> Result<(), Failure> {
    let next = help_of(table, command);
    let (program, name, usage) = (table.program, command.name, command.usage);
    let (least, most) = command.operands;
    if args.operands.len() < least {
        let what = format!("{program} {name} needs more");
        return Err(Failure::usage(what, format!("usage: {usage}"), next));
    }
    match args.operands.get(most) {
        Some(extra) => {
            let what = format!("{program} {name} cannot use {extra:?}");
            Err(Failure::usage(what, format!("usage: {usage}"), next))
        }
        None => Ok(()),
    }
}

fn help_of<Run>(table: &Table<Run>, command: &Command<Run>) -> Fix {
    fix!("{} {} --help", Fix::from(table.program), Fix::from(command.name))
}

fn bad_line<Run>(table: &Table<Run>, why: &str, verb: &Verb<Run>) -> Failure {
    let next = match verb.command(table) {
        Some(command) => help_of(table, command),
        None => fix!("{} help", Fix::from(table.program)),
    };
    Failure::usage("the command line is not valid", why, next)
}

fn unknown_flag<Run>(table: &Table<Run>, flag: &str, verb: &Verb<Run>) -> Failure {
    let known: Vec<String> = verb.flags(table).map(|flag| format!("--{}", flag.long)).collect();
    let why = match closest(flag, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => match verb.command(table) {
            Some(command) => format!("usage: {}", command.usage),
            None => "a flag of a command stands after the command".to_owned(),
        },
    };
    Failure { what: format!("no flag {flag}"), ..bad_line(table, &why, verb) }
}

#[cfg(test)]
mod tests {
    use super::super::table::Noun;
    use super::*;
    use crate::base::exit::Code;

    const fn command(name: &'static str, flags: &'static [Flag], most: usize) -> Command<u8> {
        Command { usage: "pip …", flags, operands: (0, most), ..Command::new(0, name, "") }
    }

    const fn flag(short: Option<char>, long: &'static str, value: Option<&'static str>) -> Flag {
        Flag { short, long, value, help: "" }
    }

    static TABLE: Table<u8> = Table {
        program: "pip",
        commands: &[
            command("up", &[flag(Some('f'), "foreground", None)], 9),
            command("status", &[], 1),
            Command { operands: (1, 1), ..command("wg", &[], 0) },
            command("host ls", &[flag(None, "all", None)], 0),
            command("host rm", &[], 1),
            command("key on", &[], 0),
            Command { hidden: true, ..command("inside", &[], 0) },
        ],
        nouns: &[Noun { name: "host", summary: "" }, Noun { name: "key", summary: "" }],
        flags: &[
            flag(Some('H'), "host", Some("HOST")),
            flag(None, "json", None),
            flag(Some('h'), "help", None),
            flag(Some('V'), "version", None),
        ],
    };

    fn line(words: &str) -> (Args, Result<Asked<u8>, Failure>) {
        parse(&TABLE, words.split_whitespace().map(OsString::from))
    }

    fn run(words: &str) -> (&'static str, Args) {
        match line(words) {
            (args, Ok(Asked::Run(command))) => (command.name, args),
            _ => panic!("{words} does not run"),
        }
    }

    #[test]
    fn global_flags_stand_before_or_after_the_verb() {
        for words in ["--json -H mybox up -f", "up --json -f -Hmybox", "up --host=mybox -f --json"]
        {
            let (name, args) = run(words);
            assert_eq!(name, "up", "{words}");
            assert!(args.has("json") && args.has("foreground"), "{words}");
            assert_eq!(args.value("host"), Some("mybox"), "{words}");
        }
    }

    #[test]
    fn verbs_of_two_words_and_operands() {
        assert_eq!(run("host ls").0, "host ls");
        assert_eq!(run("up mybox").1.operands, ["mybox"]);
        assert_eq!(run("inside").0, "inside", "hidden, not gone");
        assert!(matches!(line("up -V").1, Ok(Asked::Version)));
        for (words, before, operands) in [
            ("up a b", None, &["a", "b"][..]),
            ("up -f -- a -f --", Some(0), &["a", "-f", "--"]),
            ("up a -- -x", Some(1), &["a", "-x"]),
            ("up -H -- a", None, &["a"]),
        ] {
            let (_, args) = run(words);
            assert_eq!(args.operands, operands, "{words}");
            assert_eq!(args.before_dashes, before, "{words}");
        }
    }

    #[test]
    fn help_halves_and_words_that_are_no_command() {
        assert!(matches!(line("").1, Ok(Asked::Nothing)));
        assert!(matches!(line("-h").1, Ok(Asked::Help(None))));
        assert!(matches!(line("key --json").1, Ok(Asked::Noun("key"))));
        for words in ["host", "host --all", "--json host"] {
            assert_eq!(run(words).0, "host ls", "{words}");
        }
        assert!(line("key --all").1.is_err() && line("host --al").1.is_err());
        assert!(matches!(line("host -h").1, Ok(Asked::NounHelp("host"))));
        assert!(matches!(line("up --help").1, Ok(Asked::Help(Some(up))) if up.name == "up"));
        assert_eq!(TABLE.verbs("host").map(|(verb, _)| verb).collect::<Vec<_>>(), ["ls", "rm"]);
        let unknown = |words: &str| match line(words).1 {
            Ok(Asked::Unknown(words)) => words.join(" "),
            _ => panic!("{words} is known"),
        };
        assert_eq!(unknown("ssh --foo=x -p22 mybox --json ls"), "ssh mybox ls");
        assert_eq!(unknown("host foo bar -h -V"), "host foo bar");
    }

    #[test]
    fn faults_are_usage_failures_and_keep_json() {
        let faults = [
            ("--json up --jsno", "no flag --jsno", "did you mean --json?", "pip up --help"),
            ("up --colour", "no flag --colour", "usage: pip …", "pip up --help"),
            ("-f up", "no flag -f", "stands after the command", "pip help"),
            ("up -H", "the command line is not valid", "", "pip up --help"),
            ("up --json=x", "the command line is not valid", "", "pip up --help"),
            ("status a b", "pip status cannot use \"b\"", "usage: pip …", "pip status --help"),
            ("wg", "pip wg needs more", "usage: pip …", "pip wg --help"),
        ];
        for (words, what, why, next) in faults {
            let (args, Err(failure)) = line(words) else { panic!("{words} accepted") };
            assert_eq!(failure.code(), Code::Usage, "{words}");
            assert_eq!((&failure.what[..], &*failure.next), (what, next), "{words}");
            assert!(failure.why.contains(why), "{words}: {}", failure.why);
            assert_eq!(args.has("json"), words.contains("--json"));
        }
    }
}
