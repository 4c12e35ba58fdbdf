//! Command line → command, flags and operands. Everything it knows about commands it reads from
//! the table that it is given; it does not know what any of them does.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use super::args::Args;
use super::command::{Command, Flag, GLOBAL_FLAGS, Table};
use super::typo::closest;
use crate::base::failure::Failure;
use crate::fix;
use crate::text::fix::Fix;

/// What a command line asks for.
pub enum Asked {
    /// Nothing: a first look.
    Nothing,
    /// General help, or that of one command.
    Help(Option<&'static Command>),
    /// The first of two words without the second.
    Noun(&'static str),
    /// What can follow that word.
    NounHelp(&'static str),
    /// A command that is none, and what follows it.
    Unknown(Vec<String>),
    Version,
    Run(&'static Command),
}

/// Reads a command line, its program name already taken off. Global flags may stand before or
/// after the verb, a command's own only after it. The flags read so far come back also with a
/// failure, because `--json` decides how that is printed.
pub fn parse(
    table: &Table,
    line: impl IntoIterator<Item = OsString>,
) -> (Args, Result<Asked, Failure>) {
    let mut args = Args::default();
    let asked = read(table, &mut Parser::from_args(line), &mut args);
    (args, asked)
}

fn read(table: &Table, parser: &mut Parser, args: &mut Args) -> Result<Asked, Failure> {
    let mut verb = Verb::None;
    let mut help = false;
    let mut version = false;
    while let Some(arg) = parser.next().map_err(|error| bad_line(&error.to_string(), &verb))? {
        let flag = match arg {
            Arg::Value(word) => {
                let word = word.into_string().map_err(|word| {
                    bad_line(&format!("{} is not valid UTF-8", word.to_string_lossy()), &verb)
                })?;
                verb = verb.next(table, word, args);
                continue;
            }
            Arg::Short(letter) => {
                (find_flag(&verb, |flag| flag.short == Some(letter)), format!("-{letter}"))
            }
            Arg::Long(name) => (find_flag(&verb, |flag| flag.long == name), format!("--{name}")),
        };
        let (Some(flag), _) = flag else {
            if let Verb::Unknown(_) = verb {
                // Whatever it is, it is that command's.
                let _ = parser.optional_value();
                continue;
            }
            return Err(unknown_flag(&flag.1, &verb));
        };
        match flag.long {
            "help" => help = true,
            "version" => version = true,
            name if flag.value.is_none() => args.flags.push((name, String::new())),
            name => {
                let value = parser.value().and_then(|value| Ok(value.into_string()?));
                let value = value.map_err(|error| bad_line(&error.to_string(), &verb))?;
                args.flags.push((name, value));
            }
        }
    }
    match verb {
        Verb::Unknown(words) => Ok(Asked::Unknown(words)),
        _ if version => Ok(Asked::Version),
        Verb::None if help => Ok(Asked::Help(None)),
        Verb::None => Ok(Asked::Nothing),
        Verb::Noun(noun) if help => Ok(Asked::NounHelp(noun)),
        Verb::Noun(noun) => Ok(Asked::Noun(noun)),
        Verb::Command(command) if help => Ok(Asked::Help(Some(command))),
        Verb::Command(command) => check(command, args).map(|()| Asked::Run(command)),
    }
}

/// How much of the verb has been read.
enum Verb {
    None,
    /// The first of two words.
    Noun(&'static str),
    Command(&'static Command),
    /// None that we have, with all words so far.
    Unknown(Vec<String>),
}

impl Verb {
    fn next(self, table: &Table, word: String, args: &mut Args) -> Verb {
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

    fn command(&self) -> Option<&'static Command> {
        match self {
            Verb::Command(command) => Some(command),
            _ => None,
        }
    }
}

fn find_flag(verb: &Verb, fits: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
    let own = verb.command().map_or(&[] as &[Flag], |command| command.flags);
    own.iter().chain(GLOBAL_FLAGS).find(|flag| fits(flag))
}

fn check(command: &Command, args: &Args) -> Result<(), Failure> {
    let next = fix!("hop {} --help", Fix::from(command.name));
    let (least, most) = command.operands;
    if args.operands.len() < least {
        let why = format!("usage: {}", command.usage);
        return Err(Failure::usage(format!("hop {} needs more", command.name), why, next));
    }
    match args.operands.get(most) {
        Some(extra) => {
            let what = format!("hop {} cannot use {extra:?}", command.name);
            Err(Failure::usage(what, format!("usage: {}", command.usage), next))
        }
        None => Ok(()),
    }
}

fn bad_line(why: &str, verb: &Verb) -> Failure {
    let next = match verb.command() {
        Some(command) => fix!("hop {} --help", Fix::from(command.name)),
        None => "hop help".into(),
    };
    Failure::usage("the command line is not valid", why, next)
}

fn unknown_flag(flag: &str, verb: &Verb) -> Failure {
    let own = verb.command().map_or(&[] as &[Flag], |command| command.flags);
    let known: Vec<String> =
        own.iter().chain(GLOBAL_FLAGS).map(|flag| format!("--{}", flag.long)).collect();
    let why = match closest(flag, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => match verb.command() {
            Some(command) => format!("usage: {}", command.usage),
            None => "a flag of a command stands after the command".to_owned(),
        },
    };
    Failure { what: format!("no flag {flag}"), ..bad_line(&why, verb) }
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    fn line(words: &str) -> (Args, Result<Asked, Failure>) {
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
        assert!(matches!(line("host").1, Ok(Asked::Noun("host"))));
        assert!(matches!(line("host -h").1, Ok(Asked::NounHelp("host"))));
        assert!(matches!(line("").1, Ok(Asked::Nothing)));
        assert!(matches!(line("-h").1, Ok(Asked::Help(None))));
        let unknown = |words: &str| match line(words).1 {
            Ok(Asked::Unknown(words)) => words.join(" "),
            _ => panic!("{words} is known"),
        };
        assert_eq!(unknown("ssh --foo=x -p22 mybox --json ls"), "ssh mybox ls");
        assert_eq!(unknown("host foo bar -h -V"), "host foo bar");
        assert!(
            matches!(line("up --help").1, Ok(Asked::Help(Some(command))) if command.name == "up")
        );
        assert!(matches!(line("up -V").1, Ok(Asked::Version)));
    }

    #[test]
    fn faults_are_usage_failures_and_keep_json() {
        for words in ["--json up --colour", "status a b", "wg", "up -H", "-f up"] {
            let (args, Err(failure)) = line(words) else { panic!("{words} accepted") };
            assert_eq!(failure.code(), crate::base::exit::Code::Usage, "{words}");
            assert_eq!(args.has("json"), words.contains("--json"));
        }
    }
}
