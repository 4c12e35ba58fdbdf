//! Data as one argument of a line of ssh_config(5), or of ssh(1)'s `-o`.
//!
//! ssh splits a line at blanks, ends it at `#`, and reads quotes and some backslashes; then tokens
//! (`%h`) and environment variables (`${HOME}`) of paths are replaced.

/// `text` as ssh reads it back; tokens in it keep their meaning. `None`: there is no way.
pub fn argument(text: &str) -> Option<String> {
    if text.is_empty() || text.contains(char::is_control) {
        return None;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+~,$".contains(&byte);
    if text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    let mut quoted = String::from("\"");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // Only where it would mean something: ssh before 8.7 knows no escapes at all.
        let escapes = matches!(rest.peek(), None | Some('\\' | '"' | '\''));
        if c == '"' || c == '\\' && escapes {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Some(quoted)
}

/// A path of which nothing is replaced. `None`: ssh has no way to say it.
pub fn path(text: &str) -> Option<String> {
    argument(&tokens(text)?)
}

/// The same for ssh's own arguments, such as that of `-S`, which are not split.
pub fn tokens(text: &str) -> Option<String> {
    let fits = !text.contains("${") && !text.starts_with('~');
    fits.then(|| text.replace('%', "%%"))
}

/// One word of the shell that a ProxyCommand is given to.
pub fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word that every login shell reads as it stands. What fish or csh reads otherwise in quotes is
/// no word here: a path may come from a file of somebody else's.
pub(super) fn any_shell(path: &str) -> Option<String> {
    let plain = !path.contains(['\'', '\\', '!']) && !path.contains(char::is_control);
    plain.then(|| shell(path))
}

#[cfg(test)]
mod tests;
