//! Text for a terminal that knows ASCII alone: what we write otherwise has a spelling in it, and
//! whatever others write is escaped.

use std::borrow::Cow;

/// Lines of text.
pub fn text(text: &str) -> Cow<'_, str> {
    spelled(text, |line, c| match c {
        '→' => line.push_str("->"),
        '…' => line.push_str("..."),
        '—' | '–' => line.push('-'),
        c => line.extend(c.escape_unicode()),
    })
}

/// JSON, which means the same afterwards: nothing but what is in strings is not ASCII.
pub fn json(json: &str) -> Cow<'_, str> {
    spelled(json, super::json_escape)
}

fn spelled(text: &str, spell: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii() { line.push(c) } else { spell(&mut line, c) }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_spelling() {
        assert_eq!(text("a → b… – — ü\n"), "a -> b... - - \\u{fc}\n");
        assert!(matches!(text("plain\n"), Cow::Borrowed("plain\n")));
        let value = serde_json::json!({"ü": "日😀…\u{e0041}"});
        let said = json(&value.to_string()).into_owned();
        assert!(said.is_ascii(), "{said}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), value);
    }
}
