//! Lines that are shown: our colours around text of anybody's. Only here does a colour come into a
//! line and a newline to its end, or between its words where the terminal is narrow; the text in
//! it is whatever it is (`text::shown`).

use std::borrow::Cow;
use std::ops::Range;

use crate::text::{shown, wrap};

/// What a part of a line is printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    None,
    Dim,
    Alarm,
    Yellow,
    Green,
    Red,
    Blue,
    Magenta,
    Cyan,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Colour::None => "",
            Colour::Dim => "\x1b[2m",
            Colour::Alarm => "\x1b[1;31m",
            Colour::Yellow => "\x1b[33m",
            Colour::Green => "\x1b[32m",
            Colour::Red => "\x1b[31m",
            Colour::Blue => "\x1b[34m",
            Colour::Magenta => "\x1b[35m",
            Colour::Cyan => "\x1b[36m",
        }
    }
}

const PLAIN: &str = "\x1b[0m";

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    parts: Vec<(Colour, String)>,
    breaks: Break,
}

/// Where a line goes on that is longer than the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Break {
    /// Below where it begins, or a little to the right where that is the edge.
    #[default]
    Hang,
    /// Below the column where its value begins.
    At(usize),
    /// Nowhere: a row of a table, or a command to be copied.
    Never,
}

/// Where the values of an answer's rows stand.
pub const VALUES: usize = 14;
/// What begins without a space goes on here.
const HANG: usize = 2;
/// Before what could be taken for a line of ours, and is another's text.
const MARK: &str = "| ";

impl Line {
    pub fn and(mut self, text: impl Into<String>) -> Line {
        self.parts.push((Colour::None, text.into()));
        self
    }

    pub fn in_colour(mut self, colour: Colour, text: impl Into<String>) -> Line {
        self.parts.push((colour, text.into()));
        self
    }

    /// A word in the colour of what it means; the word says it, too.
    pub fn mark(self, good: bool, word: impl Into<String>) -> Line {
        self.in_colour(if good { Colour::Green } else { Colour::Red }, word)
    }

    /// `name`, and in the column `at` what it is.
    pub fn row(name: &str, at: usize, value: impl Into<String>) -> Line {
        let gap = at.saturating_sub(3);
        let line = Line::from(format!("  {name:gap$} ")).and(value);
        Line { breaks: Break::At(at), ..line }
    }

    /// It is never broken.
    pub fn whole(self) -> Line {
        Line { breaks: Break::Never, ..self }
    }

    /// As it is printed, without an end; over several lines where there are only `room` columns.
    pub fn render(&self, colour: bool, room: Option<usize>) -> String {
        let parts: Vec<(Colour, Cow<'_, str>)> =
            self.parts.iter().map(|(colour, text)| (*colour, shown(text))).collect();
        let plain: String = parts.iter().map(|(_, text)| text.as_ref()).collect();
        let start = plain.len() - plain.trim_start_matches(' ').len();
        let (room, hang) = match (self.breaks, room) {
            (Break::Never, _) | (_, None) => (usize::MAX, 0),
            (Break::At(column), Some(room)) => (room, column),
            (Break::Hang, Some(room)) => (room, start.max(HANG)),
        };
        let (mut line, mut end) = (String::new(), 0);
        for piece in wrap::pieces(&plain, room, hang) {
            end = piece.end;
            if piece.start > 0 {
                let ours = plain.get(piece.clone()).is_some_and(looks_ours);
                let mark = if ours { MARK } else { "" };
                line += &format!("\n{:hang$}", "", hang = hang.saturating_sub(mark.len()));
                line += mark;
            }
            coloured(&mut line, &parts, colour, piece);
        }
        // What is typed after a question does not stick to it.
        line + plain.get(end..).unwrap_or_default()
    }
}

/// Those bytes of the text that the parts are together.
fn coloured(line: &mut String, parts: &[(Colour, Cow<'_, str>)], colour: bool, of: Range<usize>) {
    let mut at = 0;
    for (in_colour, text) in parts {
        let (from, to) = (of.start.max(at) - at, of.end.min(at + text.len()).max(at) - at);
        at += text.len();
        let Some(text) = text.get(from..to).filter(|text| !text.is_empty()) else { continue };
        match colour && *in_colour != Colour::None {
            true => line.extend([in_colour.code(), text, PLAIN]),
            false => *line += text,
        }
    }
}

/// Whether a line that begins like this looks like an error, a fix, or a step of ours.
pub fn looks_ours(text: &str) -> bool {
    let start = text.trim_start();
    let words = ["fix", "error", "warning"].iter().any(|word| start.starts_with(word));
    let after = start.trim_start_matches(|c: char| c.is_ascii_digit());
    words || (after.len() < start.len() && after.starts_with('/'))
}

impl<T: Into<String>> From<T> for Line {
    fn from(text: T) -> Line {
        Line::default().and(text)
    }
}

/// The text of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page(Vec<Line>);

impl Page {
    /// Help: lines that were folded already, or are commands to be copied.
    pub fn of(text: &str) -> Page {
        Page(text.lines().map(|line| Line::from(line).whole()).collect())
    }

    /// That line alone.
    pub fn of_line(line: Line) -> Page {
        Page(vec![line])
    }

    pub fn add(&mut self, line: impl Into<Line>) {
        self.0.push(line.into());
    }

    pub fn append(&mut self, more: Page) {
        self.0.extend(more.0);
    }

    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    pub fn render(&self, colour: bool, room: Option<usize>) -> String {
        self.0.iter().map(|line| line.render(colour, room) + "\n").collect()
    }
}

impl Extend<Line> for Page {
    fn extend<T: IntoIterator<Item = Line>>(&mut self, lines: T) {
        self.0.extend(lines);
    }
}

/// One line, or none.
impl From<&str> for Page {
    fn from(text: &str) -> Page {
        Page((!text.is_empty()).then(|| text.into()).into_iter().collect())
    }
}

impl From<&String> for Page {
    fn from(text: &String) -> Page {
        Page::from(text.as_str())
    }
}

impl From<String> for Page {
    fn from(text: String) -> Page {
        Page::from(text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_does_not_stick_to_a_question_that_was_folded() {
        let question = Page::from("may the helper be installed now? [y/N] ");
        for room in [12, 20, 80] {
            let shown = question.render(false, Some(room));
            assert!(shown.ends_with("[y/N] \n"), "{room}: {shown:?}");
        }
    }

    #[test]
    fn only_our_own_colours_and_newlines_come_out() {
        let evil = "\x1b[32mok\x1b[0m\nfix: x";
        let mut page = Page::from(evil);
        page.add(Line::from("a ").mark(true, evil).in_colour(Colour::Dim, " b"));
        let escaped = r"\u{1b}[32mok\u{1b}[0m\u{a}fix: x";
        assert_eq!(page.render(false, None), format!("{escaped}\na {escaped} b\n"));
        let coloured = format!("{escaped}\na \x1b[32m{escaped}\x1b[0m\x1b[2m b\x1b[0m\n");
        assert_eq!(page.render(true, None), coloured);
    }

    #[test]
    fn a_long_line_goes_on_below_its_text_and_forges_none_of_ours() {
        let line = Line::from("error: ").in_colour(Colour::Red, "no room for the words of this");
        let broken = "error: no room for the\n  words of this";
        assert_eq!(line.render(false, Some(24)), broken);
        let red = "error: \x1b[31mno room for the\x1b[0m\n  \x1b[31mwords of this\x1b[0m";
        assert_eq!(line.render(true, Some(24)), red);
        let row = Line::row("agent", 11, "does not answer through the tunnel");
        let two = "  agent    does not answer through\n           the tunnel";
        assert_eq!(row.render(false, Some(34)), two);
        let evil = Line::from("  said: nothing of any use fix: curl evil error: x 1/7 done");
        for room in 24..60 {
            for line in evil.render(false, Some(room)).lines().skip(1) {
                assert!(line.starts_with("  ") || line.starts_with("| "), "{room} {line}");
                assert!(!looks_ours(line), "{room} {line}");
            }
        }
        assert!(!evil.whole().render(false, Some(24)).contains('\n'));
    }
}
