//! `hop`, `hop help`, `hop <command> --help`: text made from the command table.

use super::command::{Call, Command, Flag, GLOBAL_FLAGS, Table, Takes};
use super::page::Page;
use super::typo::closest;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::fix;
use crate::text::fix::Fix;

pub const COMMAND: Command = Command {
    name: "help",
    summary: "show help for a command",
    usage: "hop help [command]",
    details: "The same as hop <command> --help.",
    flags: &[],
    operands: (0, 2),
    takes: Takes::Command,
    hidden: false,
    run,
};

const INTRO: &str = "hop makes your own Linux server part of this laptop.\n";
const OUTRO: &str = "\nhop help <command> says more about one command.\n";

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let table = call.table;
    let name = call.args.operands.join(" ");
    if name.is_empty() {
        return show(call, None);
    }
    if let Some(command) = table.listed().find(|command| command.name == name) {
        return show(call, Some(command));
    }
    if table.listed().any(|command| command.name.starts_with(&format!("{name} "))) {
        return verbs(call, &name);
    }
    let (why, next) = match closest(&name, table.listed().map(|command| command.name)) {
        Some(near) => (format!("did you mean \"{near}\"?"), fix!("hop help {}", Fix::from(near))),
        None => ("hop help lists all commands".to_owned(), "hop help".into()),
    };
    Err(Failure::usage(format!("no command {name:?}"), why, next))
}

/// Help for one command, or the list of all.
pub fn show(call: &mut Call, command: Option<&Command>) -> Result<Code, Failure> {
    let text = match command {
        Some(command) => of_command(command),
        None => of_all(call.table),
    };
    call.out.text(Page::of(&text))?;
    Ok(Code::Done)
}

/// Help for the first of two words: its commands.
pub fn verbs(call: &mut Call, noun: &str) -> Result<Code, Failure> {
    call.out.text(Page::of(&of_noun(call.table, noun))).map(|()| Code::Done)
}

/// A noun without its verb: what could follow.
pub fn noun(table: &Table, noun: &str) -> Result<Code, Failure> {
    let verbs: Vec<&str> = table
        .listed()
        .filter_map(|command| command.name.strip_prefix(noun)?.strip_prefix(' '))
        .collect();
    let why = format!("one of: {}", verbs.join(", "));
    let next = fix!("hop {} {}", noun, verbs.first().unwrap_or(&"--help"));
    Err(Failure::usage(format!("hop {noun} needs a verb"), why, next))
}

fn of_all(table: &Table) -> String {
    let mut text = format!("{INTRO}\nusage: hop <command> [flags]\n\n");
    text += &commands(table.listed());
    text += "\nflags of every command:\n";
    text += &flags(GLOBAL_FLAGS);
    text + OUTRO
}

fn of_noun(table: &Table, noun: &str) -> String {
    commands(table.listed().filter(|command| command.name.starts_with(&format!("{noun} "))))
}

fn of_command(command: &Command) -> String {
    let mut text = format!("{}: {}\n\nusage: {}\n", command.name, command.summary, command.usage);
    if !command.details.is_empty() {
        text += &format!("\n{}\n", command.details);
    }
    if !command.flags.is_empty() {
        text += &format!("\nflags:\n{}", flags(command.flags));
    }
    text + "\nflags of every command:\n" + &flags(GLOBAL_FLAGS)
}

fn commands(all: impl Iterator<Item = &'static Command>) -> String {
    // Wide enough for the longest name, "autostart status".
    all.map(|command| format!("  {:16} {}\n", command.name, command.summary)).collect()
}

fn flags(all: &[Flag]) -> String {
    let row = |flag: &Flag| {
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let name = format!("{short}--{}{value}", flag.long);
        format!("  {name:18} {}\n", flag.help)
    };
    all.iter().map(row).collect()
}
