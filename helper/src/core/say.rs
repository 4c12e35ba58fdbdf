//! What a person or a log reads: one line, in which nothing but plain ASCII stands as it is. A name
//! of a device or a file may hold anything.

use std::io::Write;

/// `text` without control characters, turning or invisible ones.
pub fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ' '..='~') { line.push(c) } else { line.extend(c.escape_unicode()) }
    }
    line
}

/// One line on standard error; that nobody listens stops nothing.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "hop-helper: {}", plain(text));
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_stays_a_line() {
        let said = super::plain("a b~\n\u{1b}[2J\u{9b}\u{202e}\u{7f}é");
        assert_eq!(said, r"a b~\u{a}\u{1b}[2J\u{9b}\u{202e}\u{7f}\u{e9}");
    }
}
