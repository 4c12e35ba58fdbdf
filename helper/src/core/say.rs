//! What a person or a log reads: one line, in which nothing but plain ASCII stands as it is. A name
//! of a device or a file may hold anything.

use std::io::Write;
use std::sync::OnceLock;

/// Which program speaks.
static NAME: OnceLock<&str> = OnceLock::new();

/// Said once, first of all, by a program that is not hop-helper.
pub fn name(name: &'static str) {
    let _ = NAME.set(name);
}

/// `text` without control characters, turning or invisible ones: they are escaped as in JSON, so
/// that what was JSON stays the same JSON.
pub fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => line.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| line += &format!("\\u{u:04x}")),
        }
    }
    line
}

/// One line on standard error; that nobody listens stops nothing.
pub fn tell(text: &str) {
    let name = NAME.get().unwrap_or(&"hop-helper");
    let _ = writeln!(std::io::stderr(), "{name}: {}", plain(text));
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_stays_a_line() {
        let said = super::plain("a b~\n\u{1b}[2J\u{9b}\u{202e}\u{7f}é");
        assert_eq!(said, r"a b~\u000a\u001b[2J\u009b\u202e\u007f\u00e9");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({"a": "x\u{1b}[31m\n\u{202e}\u{1F600}\u{7f}"});
        let text = super::plain(&value.to_string());
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
