//! What xdg-open, notify-send and lemonade are told to do (xdg-utils 1.1, libnotify 0.8, lemonade
//! 1.1).

use super::words::{Known, read};
use super::{From, LineEnd, Meant};
use crate::rpc::types::bridge::Kind;

/// More than a program that is somebody's browser is given at a time.
const PAGES: usize = 5;

pub fn lemonade(line: &[String]) -> Meant {
    let words: Vec<&str> = line.iter().map(String::as_str).collect();
    let copy = |from| Meant::Copy { from, trims: false, echoes: false };
    match words.as_slice() {
        ["copy"] => copy(From::Input),
        ["copy", text] if !text.starts_with('-') => copy(From::Text((*text).to_owned())),
        ["paste"] => Meant::Paste { kind: Kind::Text, end: LineEnd::Kept },
        ["open", _] => xdg_open(line.get(1..).unwrap_or_default()),
        _ => Meant::Real,
    }
}

/// Pages are the laptop's; files and all else are this machine's.
pub fn xdg_open(line: &[String]) -> Meant {
    let is_page = |word: &String| {
        let scheme = word.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https"))
    };
    match (1..=PAGES).contains(&line.len()) && line.iter().all(is_page) {
        true => Meant::Open(line.to_vec()),
        false => Meant::Real,
    }
}

const NOTIFY: &[Known] = &[
    Known(Some('u'), "urgency", true),
    Known(Some('t'), "expire-time", true),
    Known(Some('a'), "app-name", true),
    Known(Some('i'), "icon", true),
    Known(Some('n'), "app-icon", true),
    Known(Some('c'), "category", true),
    Known(Some('e'), "transient", false),
    Known(Some('h'), "hint", true),
    Known(Some('p'), "print-id", false),
    Known(Some('r'), "replace-id", true),
    Known(Some('w'), "wait", false),
    Known(Some('A'), "action", true),
    Known(Some('v'), "version", false),
    Known(Some('?'), "help", false),
];

/// How it looks there is the laptop's business; who waits for a button has to be at its display.
pub fn notify_send(line: &[String]) -> Meant {
    let Some(words) = read(line, NOTIFY) else { return Meant::Real };
    if ["wait", "action", "version", "help"].into_iter().any(|name| words.has(name)) {
        return Meant::Real;
    }
    let prints_id = words.has("print-id");
    match words.rest.as_slice() {
        [title] => Meant::Notify { title: title.clone(), body: String::new(), prints_id },
        [title, body] => Meant::Notify { title: title.clone(), body: body.clone(), prints_id },
        _ => Meant::Real,
    }
}
