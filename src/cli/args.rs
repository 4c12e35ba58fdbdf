//! Command line → command, flags and operands. Everything it knows about commands it reads from
//! the table in `cli/mod.rs`; it does not know what any of them does.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use super::fail::Failure;
use super::{COMMANDS, Command, Flag, GLOBAL_FLAGS, NOUNS};
use crate::fix;
use crate::text::fix::Fix;

/// What a command line asks for.
pub enum Asked {
    /// General help, or that of one command.
    Help(Option<&'static Command>),
    /// The first of two words without the second.
    Noun(&'static str),
    /// What can follow that word.
    NounHelp(&'static str),
    Version,
    Run(&'static Command),
}

/// The flags and operands of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    flags: Vec<(&'static str, String)>,
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

/// Reads a command line, its program name already taken off. Global flags may stand before or
/// after the verb, a command's own only after it. The flags read so far come back also with a
/// failure, because `--json` decides how that is printed.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> (Args, Result<Asked, Failure>) {
    let mut args = Args::default();
    let asked = read(&mut Parser::from_args(line), &mut args);
    (args, asked)
}

fn read(parser: &mut Parser, args: &mut Args) -> Result<Asked, Failure> {
    let mut verb = Verb::None;
    let mut help = false;
    let mut version = false;
    while let Some(arg) = parser.next().map_err(|error| bad_line(&error.to_string(), &verb))? {
        let flag = match arg {
            Arg::Value(word) => {
                let word = word.into_string().map_err(|word| {
                    bad_line(&format!("{} is not valid UTF-8", word.to_string_lossy()), &verb)
                })?;
                verb = verb.next(word, args)?;
                continue;
            }
            Arg::Short(letter) => {
                (find_flag(&verb, |flag| flag.short == Some(letter)), format!("-{letter}"))
            }
            Arg::Long(name) => (find_flag(&verb, |flag| flag.long == name), format!("--{name}")),
        };
        let (Some(flag), _) = flag else { return Err(unknown_flag(&flag.1, &verb)) };
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
        _ if version => Ok(Asked::Version),
        Verb::None => Ok(Asked::Help(None)),
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
}

impl Verb {
    fn next(self, word: String, args: &mut Args) -> Result<Verb, Failure> {
        let full = match self {
            Verb::Command(_) => {
                args.operands.push(word);
                return Ok(self);
            }
            Verb::None => word,
            Verb::Noun(noun) => format!("{noun} {word}"),
        };
        if let Some(command) = COMMANDS.iter().find(|command| command.name == full) {
            return Ok(Verb::Command(command));
        }
        match NOUNS.iter().find(|noun| noun.name == full) {
            Some(noun) => Ok(Verb::Noun(noun.name)),
            None => Err(unknown_command(&full)),
        }
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

fn unknown_command(word: &str) -> Failure {
    let known = COMMANDS.iter().filter(|command| !command.hidden).map(|command| command.name);
    let what = format!("no command {word:?}");
    match closest(word, known) {
        Some(near) => Failure::usage(
            what,
            format!("did you mean \"{near}\"?"),
            fix!("hop {}", Fix::from(near)),
        ),
        None => Failure::usage(what, "hop help lists all commands", "hop help"),
    }
}

/// The known word nearest to `word`, if it is near enough to be what was meant.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = if word.chars().count() < 4 { 1 } else { 2 };
    let near = known.map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(steps, _)| *steps <= far).min_by_key(|(steps, _)| *steps).map(|(_, word)| word)
}

/// Steps from one word to the other: a character put in, left out, changed, or two neighbours
/// swapped. Words are cut at 32 characters; nothing longer is a typo of ours.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(32).collect();
    let to: Vec<char> = to.chars().take(32).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |rows: &[Vec<usize>], up: usize, j: usize| {
                rows.get(i + 1 - up).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX - 1)
            };
            let left = row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&rows, 1, j + 1) + 1).min(left + 1);
            best = best.min(at(&rows, 1, j) + usize::from(a != b));
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&rows, 2, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> (Args, Result<Asked, Failure>) {
        parse(words.split_whitespace().map(OsString::from))
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
        assert!(matches!(line("").1, Ok(Asked::Help(None))));
        assert!(
            matches!(line("up --help").1, Ok(Asked::Help(Some(command))) if command.name == "up")
        );
        assert!(matches!(line("up -V").1, Ok(Asked::Version)));
    }

    #[test]
    fn faults_are_usage_failures_and_keep_json() {
        for words in ["pu", "--json up --colour", "status a b", "wg", "up -H", "-f up", "host rn"] {
            let (args, Err(failure)) = line(words) else { panic!("{words} accepted") };
            assert_eq!(failure.code, super::super::fail::Code::Usage, "{words}");
            assert_eq!(args.has("json"), words.contains("--json"));
        }
    }

    #[test]
    fn typos_find_their_command() {
        let near =
            |word| closest(word, ["up", "down", "version", "host ls", "selftest"].into_iter());
        assert_eq!(near("pu"), Some("up"));
        assert_eq!(near("donw"), Some("down"));
        assert_eq!(near("vresion"), Some("version"));
        assert_eq!(near("hots ls"), Some("host ls"));
        assert_eq!(near("deploy"), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("ca", "abc"), 3);
    }
}
