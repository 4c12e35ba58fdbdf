//! The clipboard here, by the programs that desktops have for it. What is copied or pasted goes by
//! a pipe and is never an argument; nothing of it is kept or told.
//!
//! Bounds: 1 MiB; 5 s for a program to take or to give it.

use std::process::Command;
use std::time::Duration;

use super::programs::Programs;
use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Kind};
use crate::sys::child::{self, Broken, Limits};

const TIME: Duration = Duration::from_secs(5);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

struct Tool {
    /// The variable by which its kind of desktop is known.
    desktop: &'static str,
    program: &'static str,
    way: Way,
    kind: Kind,
    words: &'static [&'static str],
}

const fn tool(
    desktop: &'static str,
    program: &'static str,
    (way, kind): (Way, Kind),
    words: &'static [&'static str],
) -> Tool {
    Tool { desktop, program, way, kind, words }
}

const WAYLAND: &str = "WAYLAND_DISPLAY";
const X11: &str = "DISPLAY";
/// In the order in which they are tried.
#[cfg(not(target_os = "macos"))]
const TOOLS: [Tool; 10] = [
    tool(WAYLAND, "wl-copy", (Way::In, Kind::Text), &["--type", "text/plain"]),
    tool(WAYLAND, "wl-copy", (Way::In, Kind::Png), &["--type", "image/png"]),
    tool(WAYLAND, "wl-paste", (Way::Out, Kind::Text), &["--no-newline", "--type", "text"]),
    tool(WAYLAND, "wl-paste", (Way::Out, Kind::Png), &["--type", "image/png"]),
    tool(X11, "xclip", (Way::In, Kind::Text), &["-selection", "clipboard", "-in"]),
    tool(
        X11,
        "xclip",
        (Way::In, Kind::Png),
        &["-selection", "clipboard", "-in", "-target", "image/png"],
    ),
    tool(
        X11,
        "xclip",
        (Way::Out, Kind::Text),
        &["-selection", "clipboard", "-out", "-target", "UTF8_STRING"],
    ),
    tool(
        X11,
        "xclip",
        (Way::Out, Kind::Png),
        &["-selection", "clipboard", "-out", "-target", "image/png"],
    ),
    tool(X11, "xsel", (Way::In, Kind::Text), &["--clipboard", "--input"]),
    tool(X11, "xsel", (Way::Out, Kind::Text), &["--clipboard", "--output"]),
];
#[cfg(target_os = "macos")]
const TOOLS: [Tool; 2] = [
    tool("HOME", "pbcopy", (Way::In, Kind::Text), &[]),
    tool("HOME", "pbpaste", (Way::Out, Kind::Text), &[]),
];

fn choose(
    wanted: (Way, Kind),
    is_set: &dyn Fn(&str) -> bool,
    find: &dyn Fn(&str) -> Option<Command>,
) -> Result<Command, String> {
    let here: Vec<&Tool> = TOOLS.iter().filter(|tool| is_set(tool.desktop)).collect();
    if here.is_empty() {
        let why = format!("no desktop is known here: neither {WAYLAND} nor {X11} is set");
        return Err(why + " (hop bridge restart, typed on the desktop, says which)");
    }
    let fit: Vec<&&Tool> = here.iter().filter(|tool| (tool.way, tool.kind) == wanted).collect();
    for tool in &fit {
        if let Some(mut command) = find(tool.program) {
            command.args(tool.words);
            return Ok(command);
        }
    }
    let names: Vec<&str> = fit.iter().map(|tool| tool.program).collect();
    Err(match names.is_empty() {
        true => format!("this system has no program for {}", wanted.1.word()),
        false => format!("there is no {} here", names.join(" and no ")),
    })
}

fn chosen(programs: &Programs, way: Way, kind: Kind) -> Result<Command, String> {
    let is_set = |name: &str| programs.variable(name).is_some_and(|value| !value.is_empty());
    choose((way, kind), &is_set, &|name| programs.find(name))
}

/// Puts it into the clipboard.
pub fn put(programs: &Programs, kind: Kind, bytes: &[u8]) -> Result<(), String> {
    if !is_of(kind, bytes) {
        return Err(format!("it is no {}", kind.word()));
    }
    let mut command = chosen(programs, Way::In, kind)?;
    let name = command.get_program().to_string_lossy().into_owned();
    match programs.run(&mut command, bytes, TIME) {
        Ok(None) => Ok(()),
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// What is in it.
pub fn get(programs: &Programs, kind: Kind) -> Result<Vec<u8>, String> {
    let mut command = chosen(programs, Way::Out, kind)?;
    let done = child::run(&mut command, Limits { time: TIME, bytes: CLIPBOARD_BYTES });
    match done {
        Ok(done) if done.status.success() && is_of(kind, &done.stdout) => Ok(done.stdout),
        Ok(_) => Err(format!("there is no {} in the clipboard", kind.word())),
        Err(Broken::Loud(_)) => Err("there is more than 1 MiB in the clipboard".to_owned()),
        Err(broken) => Err(broken.to_string()),
    }
}

/// A program that pastes a picture is given one, and one that pastes text likewise.
fn is_of(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Png => bytes.starts_with(PNG),
        Kind::Text => std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')),
    }
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::*;

    fn program(set: &[&str], there: &[&str], wanted: (Way, Kind)) -> Result<String, String> {
        let find = |name: &str| there.contains(&name).then(|| Command::new(name));
        let command = choose(wanted, &|name| set.contains(&name), &find)?;
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(words.fold(name, |line, word| line + " " + &word))
    }

    #[test]
    fn the_program_is_that_of_the_desktop() {
        let (text, png) = ((Way::In, Kind::Text), (Way::In, Kind::Png));
        let all = ["wl-copy", "wl-paste", "xclip", "xsel"];
        let of = |set: &[&str], there: &[&str], wanted| program(set, there, wanted).unwrap();
        assert_eq!(of(&[WAYLAND, X11], &all, text), "wl-copy --type text/plain");
        assert_eq!(of(&[X11], &all, text), "xclip -selection clipboard -in");
        assert_eq!(of(&[WAYLAND, X11], &["xsel"], text), "xsel --clipboard --input");
        assert_eq!(of(&[WAYLAND], &all, (Way::Out, Kind::Png)), "wl-paste --type image/png");
        let why = program(&[X11], &["xsel"], png).unwrap_err();
        assert_eq!(why, "there is no xclip here");
        assert!(program(&[WAYLAND], &["xclip"], text).unwrap_err().contains("no wl-copy"));
        assert!(program(&[], &all, text).unwrap_err().contains("bridge restart, typed"));
    }

    #[test]
    fn what_is_said_to_be_a_picture_is_one() {
        assert!(is_of(Kind::Png, b"\x89PNG\r\n\x1a\nrest") && !is_of(Kind::Png, b"<html>"));
        assert!(is_of(Kind::Text, "grüße\x1b[2J\n".as_bytes()) && is_of(Kind::Text, b""));
        assert!(!is_of(Kind::Text, b"\xff\xfe") && !is_of(Kind::Text, b"a\0b"));
    }
}
