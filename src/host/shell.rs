//! Words for commands that a person may copy into a shell.

use std::borrow::Cow;

/// `text` as one word of sh(1), quoted only where it must be.
pub fn word(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn only_what_a_shell_would_read_otherwise_is_quoted() {
        for plain in ["mybox", "/home/me/.ssh/id_ed25519", "dev@203.0.113.7", "[2001"] {
            assert_eq!(word(plain) == plain, !plain.contains('['), "{plain}");
        }
        assert_eq!(word(""), "''");
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
    }
}
