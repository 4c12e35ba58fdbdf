//! What wl-copy and wl-paste are told to do (wl-clipboard 2.1 to 2.2).

use super::words::{Known, read};
use super::x::kind;
use super::{Display, From, LineEnd, Meant};
use crate::rpc::types::bridge::Kind;

const COPY: &[Known] = &[
    Known(Some('o'), "paste-once", false),
    Known(Some('f'), "foreground", false),
    Known(Some('c'), "clear", false),
    Known(Some('p'), "primary", false),
    Known(Some('n'), "trim-newline", false),
    Known(Some('t'), "type", true),
    Known(Some('s'), "seat", true),
    Known(None, "sensitive", false),
    Known(Some('v'), "version", false),
    Known(Some('h'), "help", false),
];

pub fn copy(line: &[String]) -> Meant {
    let Some(words) = read(line, COPY) else { return Meant::Real };
    if words.has("seat") || words.has("version") || words.has("help") {
        return Meant::Real;
    }
    let from = match (words.has("clear"), words.rest.is_empty()) {
        (true, _) => From::Text(String::new()),
        (false, true) => From::Input,
        (false, false) => From::Text(words.rest.join(" ")),
    };
    let meant = match words.value("type") {
        Some(target) if kind(target).is_none() => Meant::NoSuchType(target.to_owned()),
        _ => Meant::Copy { from, trims: words.has("trim-newline"), echoes: false },
    };
    or_primary(words.has("primary"), meant)
}

const PASTE: &[Known] = &[
    Known(Some('n'), "no-newline", false),
    Known(Some('l'), "list-types", false),
    Known(Some('p'), "primary", false),
    Known(Some('w'), "watch", false),
    Known(Some('t'), "type", true),
    Known(Some('s'), "seat", true),
    Known(Some('v'), "version", false),
    Known(Some('h'), "help", false),
];

pub fn paste(line: &[String]) -> Meant {
    let words = match read(line, PASTE) {
        Some(words) if words.rest.is_empty() => words,
        _ => return Meant::Real,
    };
    if ["watch", "seat", "version", "help"].into_iter().any(|name| words.has(name)) {
        return Meant::Real;
    }
    let wanted = words.value("type").map_or(Some(Kind::Text), kind);
    let meant = match wanted {
        _ if words.has("list-types") => Meant::Types(Display::Wayland),
        None => Meant::NoSuchType(words.value("type").unwrap_or_default().to_owned()),
        Some(kind) => {
            let adds = kind == Kind::Text && !words.has("no-newline");
            Meant::Paste { kind, end: if adds { LineEnd::Added } else { LineEnd::Kept } }
        }
    };
    or_primary(words.has("primary"), meant)
}

fn or_primary(is_primary: bool, meant: Meant) -> Meant {
    if is_primary { Meant::Primary(Box::new(meant)) } else { meant }
}
