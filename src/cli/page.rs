//! Lines that are shown: our colours around text of anybody's. Only here does a colour come into a
//! line and a newline to its end; the text in it is whatever it is (`text::shown`).

use crate::text::shown;

/// What a part of a line is printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    None,
    Dim,
    Alarm,
    Yellow,
    Green,
    Red,
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
        }
    }
}

const PLAIN: &str = "\x1b[0m";

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Colour, String)>);

impl Line {
    pub fn and(mut self, text: impl Into<String>) -> Line {
        self.0.push((Colour::None, text.into()));
        self
    }

    pub fn in_colour(mut self, colour: Colour, text: impl Into<String>) -> Line {
        self.0.push((colour, text.into()));
        self
    }

    /// A word in the colour of what it means; the word says it, too.
    pub fn mark(self, good: bool, word: impl Into<String>) -> Line {
        self.in_colour(if good { Colour::Green } else { Colour::Red }, word)
    }

    /// As it is printed, without an end.
    pub fn render(&self, colour: bool) -> String {
        let mut line = String::new();
        for (in_colour, text) in &self.0 {
            match colour && *in_colour != Colour::None {
                true => line.extend([in_colour.code(), &shown(text), PLAIN]),
                false => line += &shown(text),
            }
        }
        line
    }
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
    /// Our own text, such as help, in lines.
    pub fn of(text: &str) -> Page {
        Page(text.lines().map(Line::from).collect())
    }

    pub fn add(&mut self, line: impl Into<Line>) {
        self.0.push(line.into());
    }

    pub fn render(&self, colour: bool) -> String {
        self.0.iter().map(|line| line.render(colour) + "\n").collect()
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
    fn only_our_own_colours_and_newlines_come_out() {
        let evil = "\x1b[32mok\x1b[0m\nfix: x";
        let mut page = Page::from(evil);
        page.add(Line::from("a ").mark(true, evil).in_colour(Colour::Dim, " b"));
        let escaped = r"\u{1b}[32mok\u{1b}[0m\u{a}fix: x";
        assert_eq!(page.render(false), format!("{escaped}\na {escaped} b\n"));
        let coloured = format!("{escaped}\na \x1b[32m{escaped}\x1b[0m\x1b[2m b\x1b[0m\n");
        assert_eq!(page.render(true), coloured);
    }
}
