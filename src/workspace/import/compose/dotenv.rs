//! `.env` in the dialect of docker compose (its `dotenv`, since v2), which reads it for `${X}` in
//! its files. It is not the one in which services see the same file here (`workspace::dotenv`): a
//! comment begins with a blank and `#`, `NAME: value` is a variable, variables are replaced but in
//! single quotes, and a backslash means something in double ones.

use std::collections::BTreeMap;

use crate::workspace::env::{Env, VARIABLES};
use crate::workspace::import::variables;

/// Beyond these, variables that are made of each other would grow without end.
const VALUES_BYTES: usize = 256 * 1024;

#[derive(Default)]
pub struct Read {
    pub env: Env,
    /// Where each name stands last.
    pub lines: BTreeMap<String, usize>,
    /// Names whose values are made of what only the shell has, if anything, and of what.
    pub shell: BTreeMap<String, Vec<String>>,
}

/// `base` wins over what the file says, as does the shell for docker compose. `Err` is the line and
/// why docker compose would stop there.
pub fn parse(text: &str, base: &Env) -> Result<Read, (usize, String)> {
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = File { rest, line: 1, bytes: 0, base, read: Read::default() };
    while file.find_statement() {
        let line = file.line;
        file.statement().map_err(|why| (line, why))?;
    }
    Ok(file.read)
}

struct File<'t> {
    rest: &'t str,
    line: usize,
    bytes: usize,
    base: &'t Env,
    read: Read,
}

/// Blank, and no end of a line.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'t> File<'t> {
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn blank(&mut self, is_blank: impl Fn(char) -> bool) {
        let left = self.rest.trim_start_matches(is_blank).len();
        self.take(self.rest.len() - left);
    }

    /// Whether there is one; what is before it is passed.
    fn find_statement(&mut self) -> bool {
        self.blank(char::is_whitespace);
        while self.rest.starts_with('#') {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            self.blank(char::is_whitespace);
        }
        !self.rest.is_empty()
    }

    fn statement(&mut self) -> Result<(), String> {
        let line = self.line;
        if self
            .rest
            .strip_prefix("export")
            .is_some_and(|rest| rest.starts_with(char::is_whitespace))
        {
            self.take("export".len());
            self.blank(char::is_whitespace);
        }
        let is_name = |c: char| c.is_alphanumeric() || "_.-[]".contains(c) || is_space(c);
        let key = self.take(self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len())).trim();
        if key.contains(' ') {
            return Err("a name cannot contain a space".to_owned());
        }
        let key = key.to_owned();
        self.read.lines.insert(key.clone(), line);
        match self.rest.chars().next() {
            // Its value is that of the shell.
            None | Some('\n') => {
                self.unset(&key, vec![key.clone()]);
                Ok(())
            }
            Some('=' | ':') => {
                self.take(1);
                self.blank(is_space);
                self.value(&key)
            }
            Some(_) => Err("is no NAME=value".to_owned()),
        }
    }

    fn value(&mut self, key: &str) -> Result<(), String> {
        let Some(quote) = self.rest.chars().next().filter(|c| ['"', '\''].contains(c)) else {
            let line = self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
            return self.replaced(key, value);
        };
        self.take(1);
        let bytes = self.rest.as_bytes();
        let is_end = |at: &usize| {
            bytes.get(*at) == Some(&(quote as u8)) && bytes.get(at.wrapping_sub(1)) != Some(&b'\\')
        };
        let end =
            (0..bytes.len()).find(is_end).ok_or_else(|| format!("{quote} is never closed"))?;
        let value = self.take(end);
        self.take(1);
        match quote {
            '"' => self.replaced(key, &unescaped(value)),
            _ => self.set(key, value),
        }
    }

    fn replaced(&mut self, key: &str, text: &str) -> Result<(), String> {
        let known = self.read.env.under(self.base);
        let replaced = variables::replace(text, &known)?;
        if replaced.missing.is_empty() {
            return self.set(key, &replaced.text);
        }
        self.unset(key, replaced.missing);
        Ok(())
    }

    fn unset(&mut self, key: &str, needed: Vec<String>) {
        self.read.env.remove(key);
        self.read.shell.insert(key.to_owned(), needed);
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        self.read.shell.remove(key);
        self.bytes += value.len();
        self.read.env.set(key, value);
        match self.read.env.len() <= VARIABLES && self.bytes <= VALUES_BYTES {
            true => Ok(()),
            false => {
                Err(format!("more than {VARIABLES} variables, or {VALUES_BYTES} bytes of them"))
            }
        }
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out += before;
        let (meant, taken) = match after.chars().next() {
            Some('a') => ("\x07", 1),
            Some('b') => ("\x08", 1),
            Some('f') => ("\x0c", 1),
            Some('n') => ("\n", 1),
            Some('r') => ("\r", 1),
            Some('t') => ("\t", 1),
            Some('v') => ("\x0b", 1),
            Some('"') => ("\"", 1),
            Some('\\') => ("\\", 1),
            // A dollar that is no variable's.
            Some('$') => ("$$", 1),
            _ => ("\\", 0),
        };
        out += meant;
        rest = after.get(taken..).unwrap_or_default();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the source of compose-go's parser says it (v1.18 and later, that of docker compose 2.20).
    #[test]
    fn what_docker_compose_reads_is_read_as_it_does() {
        for (text, expected) in [
            ("A=a#b\n", &[("A", "a#b")][..]),
            ("A=a #b\nB=a\t#b\n", &[("A", "a"), ("B", "a\t#b")]),
            ("A=#x\n", &[("A", "#x")]),
            ("A=\"a#b\" # c\nB='a #b' # c\n", &[("A", "a#b"), ("B", "a #b")]),
            ("A: 1\nB : 2\nC:x=y\n", &[("A", "1"), ("B", "2"), ("C", "x=y")]),
            ("export A=1\nexport\tB=2\nexportC=3\n", &[("A", "1"), ("B", "2"), ("exportC", "3")]),
            ("A= a b  \r\nB=\r\nC=''\n", &[("A", "a b"), ("B", ""), ("C", "")]),
            ("A=\"x\ny\"\nB='p\nq'\n", &[("A", "x\ny"), ("B", "p\nq")]),
            ("A='x\\ny'\nB=x\\ny\n", &[("A", "x\\ny"), ("B", "x\\ny")]),
            ("A=\"x\\ny\\t\\\\\\q\\\"z\"\n", &[("A", "x\ny\t\\\\q\"z")]),
            (
                "A=1\nB=$A\nC=\"${A}x\"\nD='$A'\n",
                &[("A", "1"), ("B", "1"), ("C", "1x"), ("D", "$A")],
            ),
            ("A=${B:-x}\nB=2\nC=${B:+y}\n", &[("A", "x"), ("B", "2"), ("C", "y")]),
            ("A=$$B\nC=\"\\$B\"\nD=5$\n", &[("A", "$B"), ("C", "$B"), ("D", "5$")]),
            ("A==b=\nA.B-C=2\n", &[("A", "=b="), ("A.B-C", "2")]),
            ("A=1\nA=2\n", &[("A", "2")]),
            ("A=it's\nB=\"it's\"\n", &[("A", "it's"), ("B", "it's")]),
            ("\u{feff}# A=1\n  # x\n\n B=2", &[("B", "2")]),
            ("A=ü\n", &[("A", "ü")]),
            ("", &[]),
        ] {
            let read = parse(text, &Env::default());
            let read = read.unwrap_or_else(|wrong| panic!("{text:?}: {wrong:?}"));
            assert_eq!(read.env.iter().collect::<Vec<_>>(), expected, "{text:?}");
            assert!(read.shell.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_it_stops_at_is_told_with_its_line_and_without_a_value() {
        for (text, line) in [
            ("A=1\nB C=2\n", 2),
            ("A=1\n\nB+C=hunter2\n", 3),
            ("A=\"x\ny\"\nB=\"hunter2\n", 3),
            ("A='hunter2", 1),
            ("A='a\n' hunter2 x\n", 2),
            ("A=1\nB=${hunter2\n", 2),
        ] {
            let (at, why) = parse(text, &Env::default()).err().expect(text);
            assert_eq!(at, line, "{text:?}: {why}");
            assert!(!why.contains("hunter2"), "{text:?}: {why}");
        }
    }

    #[test]
    fn what_is_of_the_shell_is_no_value_and_what_includes_wins() {
        let text = "A\nB=$HOME/x\nC=1\nC=${HOME}\nD=${HOME:-d}\nE\nE=5\nF=$B";
        let read = parse(text, &Env::default()).ok().unwrap();
        assert_eq!(read.env.iter().collect::<Vec<_>>(), [("D", "d"), ("E", "5")]);
        assert_eq!(read.shell.keys().collect::<Vec<_>>(), ["A", "B", "C", "F"]);
        let mut base = Env::default();
        base.set("HOME", "/h");
        let read = parse(text, &base).ok().unwrap();
        assert_eq!(read.env.get("F"), Some("/h/x"));
    }

    #[test]
    fn everything_has_a_bound() {
        let bomb: String = (1..40).map(|n| format!("A{n}=$A{0}$A{0}\n", n - 1)).collect();
        assert!(parse(&format!("A0=xxxxxxxxxxxx\n{bomb}"), &Env::default()).is_err());
        let many: String = (0..=VARIABLES).map(|n| format!("A{n}=1\n")).collect();
        assert!(parse(&many, &Env::default()).is_err());
        for text in ["A='\n".repeat(60_000), "A\n".repeat(60_000), "\\\"".repeat(60_000)] {
            let _ = parse(&text, &Env::default());
        }
    }
}
