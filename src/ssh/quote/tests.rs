//! Hostile text in every place where ssh(1) of this machine reads it: it reads back exactly that,
//! or was refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::any_shell;
use crate::base::field::{login, ssh_address};
use crate::ssh::config::{Entry, Keys, install};
use crate::ssh::target::Target;

const PARTS: &[&str] = &[
    "a",
    "Z",
    "0",
    "-",
    "--",
    "-oProxyCommand=x",
    "$",
    "${HOME}",
    "$HOME",
    "$(x)",
    "`x`",
    "\\",
    "\\\\",
    "\\n",
    "\\\"",
    "\\'",
    "\\ ",
    "\n",
    "\r",
    "\0",
    "\t",
    " ",
    "  ",
    "%",
    "%%",
    "%h",
    "%d",
    "%u",
    "%C",
    "\"",
    "'",
    "\"\"",
    "#",
    " #",
    "~",
    "*",
    "?",
    "!",
    ",",
    "=",
    ";",
    "&",
    "|",
    "@",
    ":",
    "/",
    ".",
    "..",
    "é",
    "\u{202e}",
    "\u{a0}",
    "\u{9b}",
    "\x1b[",
    "none",
    "yes",
    "+",
    "Host x",
    "[",
    "]",
    "{",
    "}",
    "(",
    "<",
];

/// Each part alone, at either end, inside; and random mixtures.
fn texts() -> Vec<String> {
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let around = PARTS.iter().flat_map(|part| {
        [(*part).to_owned(), format!("{part}b"), format!("a{part}b"), format!("a{part}")]
    });
    let mut texts: Vec<String> = around.collect();
    for _ in 0..80 {
        let count = 1 + random(6);
        texts.push((0..count).map(|_| PARTS[random(PARTS.len())]).collect());
    }
    texts
}

fn ssh(words: &[&str]) -> Option<Vec<(String, String)>> {
    let out = Command::new("ssh").args(words).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    // ssh itself ends its lines at \n only.
    out.status.success().then(|| text.split('\n').filter_map(pair).collect())
}

fn values<'a>(said: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    said.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
}

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_the_block_says_is_what_ssh_reads_or_it_is_refused() {
    let place = Place(std::env::temp_dir().join(format!("hopbox-quote-{}", std::process::id())));
    std::fs::create_dir(&place.0).unwrap();
    let file = place.0.join("config");
    let mut written = [0, 0];
    for text in texts() {
        let path = format!("/k/{text}");
        let known_hosts = Path::new(&path);
        let user = login(&text).ok();
        let entry = Entry {
            name: "mybox.hop",
            user: user.as_deref(),
            keys: Keys::File(path.clone()),
            port: 22,
            pinned: Some(("hopbox-mybox", known_hosts)),
        };
        let _ = std::fs::remove_file(&file);
        if install(&file, &entry).is_err() {
            // Only for a reason.
            assert!(text.contains(char::is_control) || path.contains("${"), "{text:?}");
            assert!(!file.exists());
            continue;
        }
        let said = ssh(&["-F", file.to_str().unwrap(), "-G", "--", "mybox.hop"]);
        let said = said.unwrap_or_else(|| panic!("{text:?}: {}", read(&file)));
        // This one is printed with its tokens.
        let keys = values(&said, "identityfile");
        assert_eq!(keys, [path.replace('%', "%%")], "{}", read(&file));
        assert_eq!(values(&said, "userknownhostsfile"), [path.as_str()], "{}", read(&file));
        if let Some(user) = &user {
            assert_eq!(values(&said, "user"), [user.as_str()], "{}", read(&file));
            written[1] += 1;
        }
        assert_eq!(values(&said, "hostkeyalias"), ["hopbox-mybox"], "{text:?}");
        assert_eq!(values(&said, "hostname"), ["mybox.hop"], "{text:?}");
        // Nothing of it leaks into another host's.
        let others = ssh(&["-F", file.to_str().unwrap(), "-G", "--", "other"]).unwrap();
        assert!(!values(&others, "identityfile").contains(&path.as_str()), "{text:?}");
        written[0] += 1;
    }
    assert!(written[0] > 150 && written[1] > 80, "{written:?}");
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[test]
fn what_an_argument_says_is_what_ssh_reads_or_it_is_refused() {
    let known_hosts = PathBuf::from("/k/known_hosts");
    let mut accepted = [0; 3];
    for text in texts() {
        let mut target = Target { address: "203.0.113.7".to_owned(), ..Target::default() };
        if let Ok(address) = ssh_address(&text) {
            target.address = address;
            accepted[0] += 1;
        }
        if let Ok(user) = login(&text) {
            target.user = Some(user);
            accepted[1] += 1;
        }
        let path = PathBuf::from(format!("/k/{text}"));
        target.identity = Some(path.clone());
        target.pinned = Some(("hopbox-mybox".to_owned(), known_hosts.with_file_name(&text)));
        // Newer versions take these in their configuration alone.
        let newer = |user: &String| user.contains(['$', '\\']);
        if target.user.as_ref().is_some_and(newer) && target.settled().is_err() {
            target.user = None;
        }
        if target.settled().is_err() {
            assert!(text.contains(char::is_control) || text.contains("${"), "{text:?}");
            continue;
        }
        let mut command = Command::new("ssh");
        target.arguments(&mut command);
        let words: Vec<&str> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        let words = [&words[..], &["-F", "none", "-G", "--", &target.address]].concat();
        let said = ssh(&words).unwrap_or_else(|| panic!("{words:?}"));
        let path = path.to_str().unwrap();
        assert_eq!(values(&said, "identityfile"), [path.replace('%', "%%")], "{words:?}");
        let pinned = known_hosts.with_file_name(&text);
        assert_eq!(values(&said, "userknownhostsfile"), [pinned.to_str().unwrap()], "{words:?}");
        // ssh looks names up in small letters, and writes numbers as addresses.
        let host = &target.address;
        let is_number = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let found = values(&said, "hostname");
        assert!(is_number || found.iter().all(|one| one.eq_ignore_ascii_case(host)), "{words:?}");
        assert_eq!(found.len(), 1, "{words:?}");
        if let Some(user) = &target.user {
            assert_eq!(values(&said, "user"), [user.as_str()], "{words:?}");
        }
        assert!(values(&said, "proxycommand").is_empty(), "{words:?}");
        accepted[2] += 1;
    }
    assert!(accepted[0] > 10 && accepted[1] > 80 && accepted[2] > 150, "{accepted:?}");
}

#[test]
fn no_shell_reads_more_than_a_path() {
    assert_eq!(any_shell("/a b;$(x)`y`\"&").as_deref(), Some("'/a b;$(x)`y`\"&'"));
    for path in ["/a'b", "/a\\'; x; '", "/a!x", "/a\\", "/a\nb"] {
        assert_eq!(any_shell(path), None, "{path:?}");
    }
}
