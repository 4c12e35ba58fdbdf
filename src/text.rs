//! Text of others made fit to be seen: what a server, a file, a name or another program said is
//! data, and neither moves a cursor nor begins a line.
//!
//! Everything that ends on a terminal or in a log goes through [`shown`] or [`json`], at the place
//! where it is written. Knows nothing of who says what.

pub mod advice;
pub mod ascii;
pub mod aside;
pub mod fix;
pub mod osc52;
pub mod said;
pub mod wrap;

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// Longest line that is shown, in characters, before the mark of a cut.
pub const LINE_CHARS: usize = 1000;
/// The same for a cell of a table.
pub const CELL_CHARS: usize = 64;
const CUT: char = '…';

/// One line: control characters, invisible and turning ones are escaped as `\u{1b}`; longer than
/// [`LINE_CHARS`] it is cut. What was shown once comes through unchanged.
pub fn shown(text: &str) -> Cow<'_, str> {
    bounded(text, LINE_CHARS)
}

/// A word in a table; more than one is quoted, so that it is seen to be one name.
pub fn cell(text: &str) -> Cow<'_, str> {
    match text.contains(' ') && !text.starts_with('"') {
        true => Cow::Owned(format!("\"{}\"", bounded(text, CELL_CHARS))),
        false => bounded(text, CELL_CHARS),
    }
}

fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    // Bytes are never fewer than characters, so that most text is looked at once.
    if text.len() <= most && text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut line = String::new();
    let (mut room, mut rest) = (most, text.chars());
    while let Some(c) = rest.next() {
        let length = if is_visible(c) { 1 } else { c.escape_unicode().len() };
        let was_cut = c == CUT && rest.as_str().is_empty();
        let Some(left) = room.checked_sub(length).or(was_cut.then_some(0)) else {
            line.push(CUT);
            break;
        };
        room = left;
        push(&mut line, c);
    }
    Cow::Owned(line)
}

/// `c`, or its escape.
pub fn push(line: &mut String, c: char) {
    if is_visible(c) { line.push(c) } else { line.extend(c.escape_unicode()) }
}

/// JSON for somebody's eyes: a reader of JSON finds the same text in it, a terminal none of what
/// [`shown`] would escape.
pub fn json(value: &Value) -> String {
    escaped(&value.to_string())
}

/// The same over several lines.
pub fn json_lines(value: &Value) -> String {
    escaped(&format!("{value:#}"))
}

/// Outside of strings JSON has nothing that would be escaped here but its own newlines.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_visible(c) { text.push(c) } else { json_escape(&mut text, c) }
    }
    text
}

/// `c` as a string in JSON may have it instead.
fn json_escape(line: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(line, "\\u{unit:04x}");
    }
}

/// Whether a terminal shows `c` as what it is, at its place. Not: C0, DEL, C1, format characters
/// (among them those that turn the direction), separators of lines and paragraphs, spaces other
/// than the usual one, and what has no glyph.
fn is_visible(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    !is_blank(c) && is_printable(c)
}

/// Rust's own tables, for a character that is not the first of its text: combining marks belong to
/// many languages.
fn is_printable(c: char) -> bool {
    let mut pair = [b'a'; 5];
    let (_, rest) = pair.split_at_mut(1);
    let length = 1 + c.encode_utf8(rest).len();
    let pair = pair.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    pair.is_some_and(|pair| pair.escape_debug().count() == 2)
}

/// Printable by name only: fillers, selectors of variants, the empty pattern of Braille.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_turns_or_hides_is_escaped_and_nothing_else() {
        let mut bad: Vec<char> = ('\0'..' ').collect();
        bad.extend('\u{7f}'..='\u{a0}');
        bad.extend("\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}".chars());
        bad.extend('\u{2028}'..='\u{202f}');
        bad.extend('\u{2060}'..='\u{206f}');
        bad.extend("\u{feff}\u{fff9}\u{fe0f}\u{e0001}\u{e0041}\u{e000}\u{3164}\u{34f}".chars());
        for c in bad {
            assert_eq!(shown(&c.to_string()), format!("{}", c.escape_unicode()), "{c:?}");
        }
        for good in
            ["", "a b~", "Zoë → ü…", "e\u{301}", "日本", "😀", "नमस्ते", "\u{fffd}", r"\u{1b}"]
        {
            assert!(matches!(shown(good), Cow::Borrowed(text) if text == good), "{good:?}");
        }
    }

    #[test]
    fn long_text_is_cut_once() {
        for long in ["x".repeat(5000), "\x1b[31m\n".repeat(5000), "日".repeat(5000)] {
            let cut = shown(&long).into_owned();
            assert!(cut.ends_with(CUT) && cut.chars().count() <= LINE_CHARS + 1, "{cut}");
            assert_eq!(shown(&cut), cut);
        }
        assert_eq!(cell(&"ü".repeat(64)).chars().count(), 64);
        assert_eq!(cell(&"ü".repeat(65)).chars().count(), 65);
        assert_eq!(cell("fix: curl x"), "\"fix: curl x\"");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "\0\x1b[2J\n\"\\\x7f\u{9b}\u{202e}\u{2028}\u{e0041}ü😀";
        let value = serde_json::json!({"a\u{202e}": [text, 1]});
        for json in [json(&value), json_lines(&value)] {
            assert!(json.chars().all(|c| c == '\n' || is_visible(c)), "{json}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
        }
    }
}
