//! A script of a workspace as it is run: its text for sh(1), and what that is given.

use super::digest::Digest;
use super::manifest::Desired;

/// By which a script's text is known to be the same here and there.
pub fn digest(text: &str) -> Digest {
    Digest::of("hopbox.script/1", text)
}

impl Desired {
    /// The words of its command. What is given is `$1`, `$2` and so on; where its text has no word
    /// of those, it stands at its end, as if it had been typed there.
    pub fn script(&self, name: &str, given: &[String]) -> Option<Vec<String>> {
        let text = self.scripts.get(name)?.trim_end();
        let text = match given.is_empty() || names_what_is_given(text) {
            true => text.to_owned(),
            false => format!("{text} \"$@\""),
        };
        let start = ["/bin/sh", "-c", &text, name].map(str::to_owned);
        Some(start.into_iter().chain(given.iter().cloned()).collect())
    }
}

fn names_what_is_given(text: &str) -> bool {
    text.match_indices('$').any(|(at, dollar)| {
        let rest = text.get(at + dollar.len()..).unwrap_or_default();
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.starts_with(|c: char| matches!(c, '@' | '*' | '1'..='9'))
    })
}

#[cfg(test)]
mod tests {
    use crate::workspace::read;

    #[test]
    fn what_is_given_is_where_the_text_says_or_at_its_end_and_never_a_shells_to_read() {
        let text = "name: a\nscripts:\n  plain: echo x\n  mine: 'echo \"$1\"'\n  braces: 'echo \
                    ${2:-no}'\n  money: 'echo $HOME ${#HOME}'\n  lines: |\n    one\n    two\n";
        let desired = read::manifest(text).unwrap().desired;
        let of = |name: &str, given: &[&str]| {
            let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
            desired.script(name, &given).unwrap()
        };
        assert_eq!(of("plain", &[]), ["/bin/sh", "-c", "echo x", "plain"]);
        let evil = "; rm -rf ~ $(id)";
        assert_eq!(of("plain", &[evil]), ["/bin/sh", "-c", "echo x \"$@\"", "plain", evil]);
        assert_eq!(of("mine", &["a"])[2], "echo \"$1\"");
        assert_eq!(of("braces", &["a"])[2], "echo ${2:-no}");
        assert_eq!(of("money", &["a"])[2], "echo $HOME ${#HOME} \"$@\"");
        assert_eq!(of("lines", &["a"])[2], "one\ntwo \"$@\"");
        assert_eq!(desired.script("other", &[]), None);
    }
}
