//! A line that is longer than the terminal, broken between words. Counts columns as a terminal
//! does, near enough: it knows no grapheme clusters.

use std::ops::Range;

/// Below this a terminal breaks lines better than we do.
pub const NARROW: usize = 20;

/// Columns that a terminal gives to `text`.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Two for what East Asian typography draws wide, none for what joins the character before.
fn width(c: char) -> usize {
    match c {
        ' '..='~' => 1,
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{591}'..='\u{5bd}'
        | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}'
        | '\u{93a}'
        | '\u{93c}'
        | '\u{941}'..='\u{948}'
        | '\u{94d}'
        | '\u{e31}'
        | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}'
        | '\u{20d0}'..='\u{20f0}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The beginning of `text` that fits into `room` columns.
pub fn start(text: &str, room: usize) -> &str {
    let mut left = room;
    for (at, c) in text.char_indices() {
        match left.checked_sub(width(c)) {
            Some(rest) => left = rest,
            None => return text.get(..at).unwrap_or(text),
        }
    }
    text
}

/// The pieces of `text` that become lines of at most `room` columns, the second and all after it
/// `hang` columns to the right. A word that is longer than a line stays whole: it may be meant to
/// be copied. The spaces at a break are in no piece.
pub fn pieces(text: &str, room: usize, hang: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    if room < NARROW + hang || columns(text) <= room {
        pieces.push(0..text.len());
        return pieces;
    }
    let indent = text.len() - text.trim_start_matches(' ').len();
    let (mut start, mut end, mut used) = (0, indent, indent);
    let mut at = indent;
    for word in text.get(indent..).unwrap_or_default().split(' ') {
        let gap = at - end;
        let wide = columns(word);
        let room = if start == 0 { room } else { room - hang };
        if end > start.max(indent) && used + gap + wide > room && wide > 0 {
            pieces.push(start..end);
            (start, used) = (at, wide);
            end = at + word.len();
        } else if wide > 0 {
            used += gap + wide;
            end = at + word.len();
        }
        at += word.len() + 1;
    }
    pieces.push(start..end);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str, room: usize, hang: usize) -> Vec<&str> {
        pieces(text, room, hang).into_iter().map(|piece| &text[piece]).collect()
    }

    #[test]
    fn lines_break_between_words_alone() {
        let text = "  one two  three four five six";
        assert_eq!(broken(text, 80, 4), [text]);
        assert_eq!(broken(text, 24, 4), ["  one two  three four", "five six"]);
        assert_eq!(broken(text, 23, 4), [text], "too narrow to hang");
        let path = "see /a/very/long/path/that/is/no/words/at/all now or never";
        let lines = ["see", "/a/very/long/path/that/is/no/words/at/all", "now or never"];
        assert_eq!(broken(path, 30, 0), lines);
        assert_eq!(broken("x ", 30, 0), ["x "]);
        assert_eq!(broken(&" ".repeat(40), 30, 0).len(), 1);
    }

    /// Nothing is lost but spaces, no line is too long that could be shorter, whatever the text.
    #[test]
    fn every_word_is_in_one_piece() {
        let mut seed = 9_u64;
        for _ in 0..3000 {
            let mut text = String::new();
            for _ in 0..40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += ["a", "bc", "日本", "word", " ", "  ", " longer", "e\u{301}"]
                    [(seed >> 60) as usize % 8];
            }
            let (room, hang) = (20 + (seed >> 40) as usize % 30, (seed >> 50) as usize % 6);
            let lines = broken(&text, room, hang);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&lines.join(" ")), words(&text), "{text:?}");
            if room < NARROW + hang {
                continue;
            }
            for (n, line) in lines.iter().enumerate() {
                let wide = columns(line) + if n == 0 { 0 } else { hang };
                assert!(wide <= room || !line.trim().contains(' '), "{room} {hang}: {lines:?}");
            }
        }
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!(columns("aü→e\u{301}日本"), 8);
        assert_eq!((start("日本語", 3), start("abc", 9), start("abc", 0)), ("日", "abc", ""));
    }
}
