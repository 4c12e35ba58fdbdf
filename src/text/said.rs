//! What another program has said, made fit for a terminal: the words as they are, and nothing that
//! would move its cursor, change its colours, or be taken for what it is not.

use super::push;

/// A terminal's usual stops.
const TAB: usize = 8;
const ESCAPE: char = '\u{1b}';

/// One line of it, however long. Colours are left out; what else is no text is escaped.
pub fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    let (mut line, mut rest) = (String::with_capacity(text.len()), text);
    let mut column = 0;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = colour(rest) {
            rest = after;
            continue;
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\t' {
            let gap = TAB - column % TAB;
            line.extend(std::iter::repeat_n(' ', gap));
            column += gap;
        } else {
            push(&mut line, c);
            column += 1;
        }
    }
    line
}

/// What follows a colour, if one is first: `ESC [ digits ; digits m`.
fn colour(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(ESCAPE)?.strip_prefix('[')?;
    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through_and_nothing_else_does() {
        for (bytes, shown) in [
            (&b"plain \xc3\xa4"[..], "plain \u{e4}"),
            (b"\x1b[31;1mred\x1b[0m\r", "red"),
            (b"a\tb\t\tc", "a       b               c"),
            (b"\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            (b"\x1b[31", "\\u{1b}[31"),
            (b"a\rb\x08\xff\x00", "a\\u{d}b\\u{8}\u{fffd}\\u{0}"),
            ("\u{202e}\u{9b}31m".as_bytes(), "\\u{202e}\\u{9b}31m"),
        ] {
            assert_eq!(said(bytes), shown, "{bytes:?}");
        }
        assert_eq!(said(&[b'x'; 9000]).len(), 9000);
    }
}
