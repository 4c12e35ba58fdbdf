//! `hop`, `hop help`, `hop <command> --help`: text made from the command table.

use super::command::{Call, Command, Flag, GLOBAL_FLAGS, Group, Table, Takes};
use super::meant;
use super::page::Page;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::fix;
use crate::text::wrap;

pub const COMMAND: Command = Command {
    name: "help",
    summary: "show help for a command",
    usage: "hop help [command]",
    details: "The same as hop <command> --help.",
    example: "hop help host revoke",
    group: Group::Other,
    flags: &[],
    operands: (0, 2),
    takes: Takes::Command,
    hidden: false,
    run,
};

/// Widest that a page is laid out.
const WIDTH: usize = 80;
/// Where summaries stand: two columns right of the longest name, "autostart status".
const SUMMARIES: usize = 20;
/// And where a noun takes one row with all its verbs: "completions".
const OVERVIEW: usize = 15;
/// Where the help of flags stands.
const FLAGS: usize = 23;
/// Where all of these stand on a narrow terminal.
const NARROWED: usize = 8;

const INTRO: &str = "hop makes your own Linux server part of this laptop.";
const OUTRO: &str = "hop help <command> says more about one, with an example; man hop says it all.";
/// What somebody needs who has never seen hop, in less than a screen.
const FIRST_LOOK: &[(&str, &str)] = &[
    ("hop setup mybox -a <address>", "once: make a server ready, over ssh"),
    ("hop up", "mybox.hop is that server, for every program here"),
    ("hop status", "what the tunnel is doing"),
    ("hop code", "an editor here, its files there"),
    ("hop down", "undo what up did"),
    ("hop doctor", "what is wrong, and the command that mends it"),
];
/// Where it says what they do.
const LOOKS: usize = 32;
const MORE: &str = "hop help lists all commands, hop help <command> explains one.";

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let table = call.table;
    let name = call.args.operands.join(" ");
    if name.is_empty() {
        return show(call, None);
    }
    if let Some(command) = table.find(&name) {
        return show(call, Some(command));
    }
    if table.nouns.iter().any(|noun| noun.name == name) {
        return verbs(call, &name);
    }
    Err(meant::no_help(table, &call.args.operands))
}

/// `hop` alone.
pub fn first_look(call: &mut Call) -> Result<Code, Failure> {
    let text = of_nothing(width(call));
    call.out.text(Page::of(&text)).map(|()| Code::Done)
}

/// Help for one command, or the list of all.
pub fn show(call: &mut Call, command: Option<&Command>) -> Result<Code, Failure> {
    let width = width(call);
    let text = match command {
        Some(command) => of_command(command, width),
        None => of_all(call.table, width),
    };
    call.out.text(Page::of(&text))?;
    Ok(Code::Done)
}

/// Help for the first of two words: its commands.
pub fn verbs(call: &mut Call, noun: &str) -> Result<Code, Failure> {
    let text = of_noun(call.table, noun, width(call));
    call.out.text(Page::of(&text)).map(|()| Code::Done)
}

/// A noun without its verb: what could follow.
pub fn noun(table: &Table, noun: &str) -> Result<Code, Failure> {
    let verbs: Vec<&str> = table.verbs(noun).map(|(verb, _)| verb).collect();
    let why = format!("one of: {}", verbs.join(", "));
    let next = fix!("hop help {}", noun);
    Err(Failure::usage(format!("hop {noun} needs a verb"), why, next))
}

fn width(call: &Call) -> usize {
    call.out.room().map_or(WIDTH, |room| room.min(WIDTH))
}

fn of_nothing(width: usize) -> String {
    let rows = FIRST_LOOK.iter().map(|(line, what)| row(line, LOOKS, what, width));
    let (intro, more) = (folded(INTRO, width, 0), folded(MORE, width, 0));
    format!("{intro}\n{}\n{more}", rows.collect::<String>())
}

fn of_all(table: &Table, width: usize) -> String {
    let mut text = format!("{}\nusage: hop <command> [flags]\n", folded(INTRO, width, 0));
    for (group, title) in Group::ALL {
        text += &format!("\n{title}:\n");
        text += &overview(table, group, width);
    }
    text += "\nflags of every command:\n";
    text += &flags(GLOBAL_FLAGS, width);
    text + "\n" + &folded(OUTRO, width, 0)
}

/// One row for each command, and one for all that begin with the same noun.
fn overview(table: &Table, group: Group, width: usize) -> String {
    let line = |command: &'static Command| {
        let Some((noun, _)) = command.name.split_once(' ') else {
            return row(command.name, OVERVIEW, command.summary, width);
        };
        let verbs: Vec<&str> = table.verbs(noun).map(|(verb, _)| verb).collect();
        let is_first = command.name.ends_with(&format!(" {}", verbs.first().unwrap_or(&"")));
        let known = table.nouns.iter().find(|known| known.name == noun);
        let what = format!("{}: {}", known.map_or("", |it| it.summary), verbs.join(", "));
        if is_first { row(noun, OVERVIEW, &what, width) } else { String::new() }
    };
    table.listed().filter(|command| command.group == group).map(line).collect()
}

fn of_noun(table: &Table, noun: &str, width: usize) -> String {
    let summary = table.nouns.iter().find(|known| known.name == noun);
    let text = format!("hop {noun}: {}", summary.map_or("", |noun| noun.summary));
    let all = table.verbs(noun).map(|(_, command)| command);
    folded(&text, width, 2) + "\n" + &commands(all, width)
}

fn of_command(command: &Command, width: usize) -> String {
    let mut text = folded(&format!("hop {}: {}", command.name, command.summary), width, 2);
    let hang = "usage: hop ".len() + command.name.len() + 1;
    text += "\n";
    for (number, usage) in command.usage.lines().enumerate() {
        let before = if number == 0 { "usage: " } else { "       " };
        text += &folded(&format!("{before}{}", whole_words(usage)), width, hang);
    }
    for paragraph in command.details.split("\n\n").filter(|text| !text.is_empty()) {
        text += &format!("\n{}", folded(&paragraph.replace('\n', " "), width, 0));
    }
    text += "\nfor example:\n";
    text.extend(command.example.lines().map(|line| format!("  {line}\n")));
    if !command.flags.is_empty() {
        text += &format!("\nflags:\n{}", flags(command.flags, width));
    }
    let every = GLOBAL_FLAGS.iter().map(|flag| match (flag.short, flag.value) {
        (Some(letter), value) => format!("-{letter}{}", value.map_or("", |_| " HOST")),
        (None, _) => format!("--{}", flag.long),
    });
    let every: Vec<String> = every.collect();
    let every = format!("flags of every command, see hop help: {}", every.join(", "));
    (text + "\n" + &folded(&every, width, 2)).replace(GLUE, " ")
}

/// Stands for a space at which no line ends.
const GLUE: char = '\u{a0}';

/// A flag and its value stay together.
fn whole_words(usage: &str) -> String {
    let mut depth = 0_u32;
    let glued = usage.chars().map(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ' ' && depth > 0 { GLUE } else { c }
    });
    glued.collect()
}

fn commands(all: impl Iterator<Item = &'static Command>, width: usize) -> String {
    all.map(|command| row(command.name, SUMMARIES, command.summary, width)).collect()
}

fn flags(all: &[Flag], width: usize) -> String {
    let line = |flag: &Flag| {
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        row(&format!("{short}--{}{value}", flag.long), FLAGS, flag.help, width)
    };
    all.iter().map(line).collect()
}

/// A name, and at a column what it is; below the name where that is too long.
fn row(name: &str, at: usize, what: &str, width: usize) -> String {
    let at = narrowed(at, what, width);
    let gap = at.saturating_sub(2);
    match name.len() + 4 <= at {
        true => folded(&format!("  {name:gap$}{what}"), width, at),
        false => format!("  {name}\n{}", folded(&format!("{:at$}{what}", ""), width, at)),
    }
}

/// The column `at`, or one further left where `what` would have no room right of it.
fn narrowed(at: usize, what: &str, width: usize) -> usize {
    let widest = what.split(' ').map(wrap::columns).max().unwrap_or_default();
    if width < at + widest.max(wrap::NARROW) { at.min(NARROWED) } else { at }
}

/// As lines of at most `width` columns, the second and all after it indented by `hang`.
fn folded(text: &str, width: usize, hang: usize) -> String {
    let hang = narrowed(hang, text, width);
    let mut lines = String::new();
    for piece in wrap::pieces(text, width, hang) {
        let indent = if piece.start == 0 { 0 } else { hang };
        let piece = text.get(piece).unwrap_or_default();
        lines += &format!("{:indent$}{piece}\n", "");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    #[test]
    fn every_page_fits_and_a_first_look_is_short() {
        for width in [40, 50, 60, 80] {
            let mut pages = vec![of_all(&TABLE, width)];
            pages.extend(TABLE.listed().map(|command| of_command(command, width)));
            pages.extend(TABLE.nouns.iter().map(|noun| of_noun(&TABLE, noun.name, width)));
            for page in &pages {
                let examples = page.split("for example:\n").nth(1).unwrap_or_default();
                let examples: Vec<&str> = examples.lines().take_while(|l| !l.is_empty()).collect();
                let long = page.lines().find(|l| l.len() > width && !examples.contains(l));
                assert_eq!(long, None, "{width}: {page}");
                // Examples are copied: not even the terminal's width cuts one.
                assert_eq!(Page::of(page).render(false, Some(width)), *page);
            }
        }
        for width in [40, 50, 60, 80] {
            let look = of_nothing(width);
            assert!(width < 60 || look.lines().count() <= 20, "{look}");
            assert!(look.lines().all(|line| line.len() <= width), "{width}: {look}");
        }
        for (line, _) in FIRST_LOOK {
            let verb = line.split(' ').nth(1).unwrap();
            assert!(TABLE.find(verb).is_some(), "{verb}");
        }
    }

    #[test]
    fn every_command_stands_in_the_list_once_with_an_example_in_its_own_page() {
        let all = of_all(&TABLE, WIDTH);
        for command in TABLE.listed() {
            let (listed, in_pages) = match command.name.split_once(' ') {
                None => (command.name, all.clone()),
                Some((noun, _)) => (noun, of_noun(&TABLE, noun, WIDTH)),
            };
            assert_eq!(all.matches(&format!("\n  {listed} ")).count(), 1, "{}", command.name);
            let line = format!("\n  {} ", command.name);
            assert_eq!(in_pages.matches(&line).count(), 1, "{}", command.name);
            assert!(of_command(command, WIDTH).contains("for example:\n  "), "{}", command.name);
        }
        let setup = TABLE.find("setup").unwrap();
        let usage =
            "usage: hop setup <name> [-a ADDRESS] [-u USER] [-k KEY]\n                 [-p PORT] ";
        assert!(of_command(setup, 60).contains(usage), "{}", of_command(setup, 60));
    }
}
