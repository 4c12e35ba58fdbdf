//! Programs that others call by their names: xclip, xsel, wl-copy, wl-paste, lemonade, xdg-open,
//! notify-send.
//! What a laptop can do is asked of it; everything else is the real program's, where there is one.
//! No process stays behind: who copies is done once the laptop has it, so that whoever waits for
//! the end of our output waits for nothing more.
//!
//! Reading order: `x` (xclip, xsel), `wayland`, `desktop` (what their words mean) → `act` (what is
//! done) → `real` (who else is called so).

mod act;
mod desktop;
pub mod real;
mod wayland;
mod words;
mod x;

use std::ffi::OsString;

use crate::rpc::types::bridge::Kind;
use crate::workspace::manifest::Bridge;

/// Each with the bridge that it needs.
pub const SHIMS: [(&str, Bridge); 7] = [
    ("xclip", Bridge::Clipboard),
    ("xsel", Bridge::Clipboard),
    ("wl-copy", Bridge::Clipboard),
    ("wl-paste", Bridge::Clipboard),
    // The one that neovim uses where there is no display.
    ("lemonade", Bridge::Clipboard),
    ("xdg-open", Bridge::XdgOpen),
    ("notify-send", Bridge::Notifications),
];

/// What is meant by a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    Copy {
        from: From,
        /// The last end of a line is none of it.
        trims: bool,
        /// It is on standard output, too.
        echoes: bool,
    },
    Paste {
        kind: Kind,
        end: LineEnd,
    },
    /// First what was copied before, then what is copied now, if anything is.
    PasteAndCopy,
    /// What can be pasted, in the words of this kind of program.
    Types(Display),
    Open(Vec<String>),
    Notify {
        title: String,
        body: String,
        prints_id: bool,
    },
    /// Nothing a laptop does, or a display that is here.
    Real,
    /// As `Real`, and as this where there is no display here.
    Primary(Box<Meant>),
    /// A clipboard of a laptop's holds no such thing.
    NoSuchType(String),
}

/// Where what is copied comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Input,
    Files(Vec<String>),
    Text(String),
}

/// What becomes of the last end of a line of what is pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    Kept,
    Taken,
    /// One more is written after a text.
    Added,
}

/// Whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    X,
    Wayland,
}

/// Whether a program of this name is one of these.
pub fn is_one(name: &str) -> bool {
    SHIMS.iter().any(|(known, _)| *known == name)
}

/// The whole of such a program.
pub fn main(name: &str, line: Vec<OsString>) -> u8 {
    let words: Option<Vec<String>> =
        line.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let meant = match (name, words) {
        // No word that we know is other than UTF-8.
        (_, None) => Meant::Real,
        ("xclip", Some(words)) => x::xclip(&words),
        ("xsel", Some(words)) => x::xsel(&words),
        ("wl-copy", Some(words)) => wayland::copy(&words),
        ("wl-paste", Some(words)) => wayland::paste(&words),
        ("lemonade", Some(words)) => desktop::lemonade(&words),
        ("xdg-open", Some(words)) => desktop::xdg_open(&words),
        ("notify-send", Some(words)) => desktop::notify_send(&words),
        (_, Some(_)) => Meant::Real,
    };
    act::act(name, &line, meant)
}

#[cfg(test)]
mod reach;
#[cfg(test)]
mod tests;
