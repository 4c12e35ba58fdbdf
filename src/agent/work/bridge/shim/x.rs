//! What xclip and xsel are told to do (xclip 0.13, xsel 1.2.1).

use std::io::{IsTerminal, stdin};

use super::words::{Known, by_name, read};
use super::{Display, From, LineEnd, Meant};
use crate::base::terminal;
use crate::rpc::types::bridge::Kind;

/// With one dash; Xlib takes any beginning that is of one option alone.
const XCLIP: &[Known] = &[
    Known(None, "loops", true),
    Known(None, "display", true),
    Known(None, "selection", true),
    Known(None, "filter", false),
    Known(None, "in", false),
    Known(None, "out", false),
    Known(None, "version", false),
    Known(None, "help", false),
    Known(None, "silent", false),
    Known(None, "quiet", false),
    Known(None, "verbose", false),
    Known(None, "noutf8", false),
    Known(None, "target", true),
    Known(None, "rmlastnl", false),
    Known(None, "sensitive", false),
];

pub fn xclip(line: &[String]) -> Meant {
    let (mut options, mut files, mut line) = (Vec::new(), Vec::new(), line.iter());
    while let Some(word) = line.next() {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            files.push(word.clone());
            continue;
        };
        // `-s` is what both `-selection` and `-silent` begin with.
        let Some(Known(_, name, takes)) = by_name(name, XCLIP) else { return Meant::Real };
        let value = if *takes { line.next().map(String::as_str) } else { Some("") };
        let Some(value) = value else { return Meant::Real };
        options.push((*name, value));
    }
    let has = |name: &str| options.iter().any(|(known, _)| *known == name);
    let value = |name: &str| options.iter().rev().find(|(known, _)| *known == name);
    if ["display", "version", "help"].into_iter().any(has) {
        return Meant::Real;
    }
    let target = value("target").map_or("UTF8_STRING", |(_, target)| *target);
    let trims = has("rmlastnl");
    let meant = match (has("out") && !has("in"), kind(target)) {
        (true, _) if target == "TARGETS" => Meant::Types(Display::X),
        (true, Some(kind)) => {
            Meant::Paste { kind, end: if trims { LineEnd::Taken } else { LineEnd::Kept } }
        }
        (false, Some(_)) => {
            let from = if files.is_empty() { From::Input } else { From::Files(files) };
            Meant::Copy { from, trims, echoes: has("filter") }
        }
        (_, None) => Meant::NoSuchType(target.to_owned()),
    };
    // By its first letter alone, as xclip looks at it.
    match value("selection").map_or('p', |(_, which)| first_letter(which)) {
        'c' => meant,
        'p' => Meant::Primary(Box::new(meant)),
        _ => Meant::Real,
    }
}

fn first_letter(word: &str) -> char {
    word.chars().next().unwrap_or_default().to_ascii_lowercase()
}

/// What is meant by a type of content, if it is one that crosses.
pub fn kind(target: &str) -> Option<Kind> {
    let text = ["UTF8_STRING", "STRING", "TEXT", "COMPOUND_TEXT", "text"];
    match target {
        "image/png" => Some(Kind::Png),
        _ if text.contains(&target) => Some(Kind::Text),
        _ => target.starts_with("text/plain").then_some(Kind::Text),
    }
}

const XSEL: &[Known] = &[
    Known(Some('a'), "append", false),
    Known(Some('f'), "follow", false),
    Known(Some('z'), "zeroflush", false),
    Known(Some('i'), "input", false),
    Known(Some('o'), "output", false),
    Known(Some('c'), "clear", false),
    Known(Some('d'), "delete", false),
    Known(Some('p'), "primary", false),
    Known(Some('s'), "secondary", false),
    Known(Some('b'), "clipboard", false),
    Known(Some('k'), "keep", false),
    Known(Some('x'), "exchange", false),
    Known(None, "display", true),
    Known(Some('t'), "selectionTimeout", true),
    Known(Some('l'), "logfile", true),
    Known(Some('n'), "nodetach", false),
    Known(None, "trim", false),
    Known(Some('h'), "help", false),
    Known(Some('v'), "verbose", false),
    Known(None, "version", false),
];

const OF_X_ALONE: [&str; 11] = [
    "append",
    "follow",
    "zeroflush",
    "delete",
    "secondary",
    "keep",
    "exchange",
    "display",
    "help",
    "version",
    "logfile",
];

pub fn xsel(line: &[String]) -> Meant {
    let words = match read(line, XSEL) {
        Some(words) if words.rest.is_empty() => words,
        _ => return Meant::Real,
    };
    if OF_X_ALONE.into_iter().any(|name| words.has(name)) {
        return Meant::Real;
    }
    let trims = words.has("trim");
    let copy = |from| Meant::Copy { from, trims, echoes: false };
    let paste = Meant::Paste { kind: Kind::Text, end: LineEnd::Kept };
    let meant = match (words.has("input"), words.has("output")) {
        _ if words.has("clear") => copy(From::Text(String::new())),
        (true, false) => copy(From::Input),
        (false, true) => paste,
        (true, true) => Meant::PasteAndCopy,
        // Nothing is said: whichever of both is no terminal.
        (false, false) => match (stdin().is_terminal(), terminal::is_stdout()) {
            (false, true) => copy(From::Input),
            (false, false) => Meant::PasteAndCopy,
            (true, _) => paste,
        },
    };
    if words.has("clipboard") { meant } else { Meant::Primary(Box::new(meant)) }
}
