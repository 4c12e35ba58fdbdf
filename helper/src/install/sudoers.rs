//! Rules of sudo's that let a user of the helper reload nginx without a password: what the helper
//! does now needs them no more. Only whole rules of that kind go, aside, with every other byte of
//! their files as it was, and only where the helper answers. Must not know: how it reloads.

use super::files::{Installer, Outcome, say};
use crate::core::files;
use crate::server::program::{Program, Turn};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DIR: &str = "/etc/sudoers.d";
/// sudo reads no file with a dot in its name.
const ASIDE: &str = ".hopbox-retired";
const TEMPORARY: &str = ".hopbox-new";
/// Most files that are looked at, and the longest, in bytes.
const FILES_MAX: usize = 256;
const FILE_MAX: u64 = 64 * 1024;
const VISUDO: Program = Program {
    name: "visudo",
    paths: &["/usr/sbin/visudo", "/usr/bin/visudo", "/sbin/visudo"],
    package: "sudo",
};
const VISUDO_WITHIN: Duration = Duration::from_secs(10);

/// Commands, without the directories of their programs.
const COMMANDS: [&[&str]; 10] = [
    &["systemctl", "reload", "nginx"],
    &["systemctl", "restart", "nginx"],
    &["systemctl", "reload", "nginx.service"],
    &["systemctl", "restart", "nginx.service"],
    &["service", "nginx", "reload"],
    &["service", "nginx", "restart"],
    &["nginx", "-s", "reload"],
    &["nginx", "-t"],
    &["nginx", "-t", "-q"],
    &["nginx", "-T"],
];
const DIRS: [&str; 6] =
    ["/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/", "/usr/local/sbin/", "/usr/local/bin/"];

/// A file, its text, and what stays of it.
pub struct Fragment {
    path: PathBuf,
    kept: Vec<u8>,
}

/// Those that have such rules, for these users.
pub fn find(users: &[String]) -> Vec<Fragment> {
    let entries = fs::read_dir(DIR).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).take(FILES_MAX).collect();
    paths.sort();
    let fragment = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        if name.contains('.') || name.ends_with('~') {
            return None;
        }
        let text = files::read(&path, FILE_MAX).ok()?;
        let kept = without(&text, users);
        (kept != text).then_some(Fragment { path, kept })
    };
    paths.into_iter().filter_map(fragment).collect()
}

impl Installer {
    /// Takes the rules out of sudo's reach, or leaves all as it was.
    pub fn retire(&self, fragment: &Fragment) -> Outcome<()> {
        let Fragment { path, kept } = fragment;
        let aside = PathBuf::from(format!("{}{ASIDE}", path.display()));
        if !self.tell("retire the rules for nginx in", path) {
            return Ok(());
        }
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        fs::rename(path, &aside).map_err(failed)?;
        let prepare = |file: &File| file.set_permissions(Permissions::from_mode(0o440));
        let temporary =
            format!("{}{TEMPORARY}", path.file_name().unwrap_or_default().to_string_lossy());
        let written = match says_something(kept) {
            true => files::replace(path, &temporary, kept, prepare).map_err(failed),
            false => Ok(()),
        };
        if let Err(why) = written.and_then(|()| visudo()) {
            fs::rename(&aside, path).map_err(failed)?;
            return Err(format!("{} stays as it was: {why}", path.display()));
        }
        say!("they are in {} now, which sudo does not read", aside.display());
        Ok(())
    }
}

/// Where it is, it has to find nothing wrong.
fn visudo() -> Outcome<()> {
    if VISUDO.path().is_err() {
        return Ok(());
    }
    let asker = File::open("/dev/null").map_err(|e| e.to_string())?;
    let turn = Turn { deadline: Instant::now() + VISUDO_WITHIN, asker: asker.as_fd() };
    match VISUDO.run(&["-c"], "", turn) {
        Ok(ended) if ended.well => Ok(()),
        Ok(ended) => Err(format!("visudo -c: {}", String::from_utf8_lossy(&ended.complaint))),
        Err(_) => Err("visudo -c does not end".to_owned()),
    }
}

fn says_something(text: &[u8]) -> bool {
    text.split(|b| *b == b'\n').any(|line| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#") || line.starts_with(b"#include")
    })
}

/// All but the rules of that kind, each with the lines that it goes on in.
fn without(text: &[u8], users: &[String]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rule: Vec<u8> = Vec::new();
    for line in text.split_inclusive(|b| *b == b'\n') {
        rule.extend(line);
        if line.trim_ascii_end().ends_with(b"\\") {
            continue;
        }
        let words = String::from_utf8_lossy(&rule).replace("\\\n", " ");
        if !is_one(&words, users) {
            kept.extend(&rule);
        }
        rule.clear();
    }
    kept.extend(rule);
    kept
}

/// `user ALL=(root) NOPASSWD: /usr/sbin/nginx -t, …`, and nothing else.
fn is_one(rule: &str, users: &[String]) -> bool {
    let Some((whose, what)) = rule.split_once('=') else { return false };
    let [user, "ALL"] = whose.split_whitespace().collect::<Vec<_>>()[..] else { return false };
    let what = what.trim_start();
    let what = match what.strip_prefix('(') {
        None => what,
        Some(rest) => match rest.split_once(')') {
            Some((whom, what))
                if ["root", "ALL", "ALL:ALL", "ALL : ALL"].contains(&whom.trim()) =>
            {
                what.trim_start()
            }
            _ => return false,
        },
    };
    let Some(commands) = what.strip_prefix("NOPASSWD:") else { return false };
    let is_command = |command: &str| {
        let words: Vec<&str> = command.split_whitespace().collect();
        let Some((program, arguments)) = words.split_first() else { return false };
        let name = DIRS.iter().find_map(|dir| program.strip_prefix(dir)).unwrap_or_default();
        COMMANDS.iter().any(|known| known.split_first() == Some((&name, arguments)))
    };
    users.iter().any(|known| known == user) && commands.split(',').all(is_command)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &str = "hop3 ALL=(root) NOPASSWD: /bin/systemctl reload nginx, \\\n    \
                        /bin/systemctl restart nginx, /usr/sbin/nginx -s reload, /usr/sbin/nginx -t\n";

    #[test]
    fn only_whole_rules_of_that_kind_go() {
        let users = ["hop3".to_owned(), "dev".to_owned()];
        let after = |text: &str| String::from_utf8(without(text.as_bytes(), &users)).unwrap();
        assert_eq!(after(FOUR), "");
        let around = format!("# by hand\nDefaults !lecture\n{FOUR}pat ALL=(ALL) ALL");
        let rest = "# by hand\nDefaults !lecture\npat ALL=(ALL) ALL";
        assert_eq!(after(&around), rest);
        assert_eq!(after("dev ALL = NOPASSWD:/usr/sbin/nginx  -t"), "");
        for other in [
            "other ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n",
            "%hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n",
            "hop3 ALL=(root) /usr/sbin/nginx -t\n",
            "hop3 ALL=(www-data) NOPASSWD: /usr/sbin/nginx -t\n",
            "hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx\n",
            "hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -t, /usr/bin/apt\n",
            "hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -t, PASSWD: /usr/bin/apt\n",
            "hop3 ALL=(root) NOPASSWD: /tmp/nginx -t\n",
            "hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -c /tmp/x\n",
            "hop3 ALL=(root) NOPASSWD: ALL\n",
            "hop3 web=(root) NOPASSWD: /usr/sbin/nginx -t\n",
            "hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -t : web=(root) /usr/bin/apt\n",
            "# hop3 ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n",
            "hop3 ALL=(root) NOPASSWD: \\\n",
            "#1001 ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n\\",
        ] {
            assert_eq!(after(other), other);
            let both = after(&format!("{other}{FOUR}"));
            assert!(both.contains(other.trim_end()), "{both}");
        }
    }

    #[test]
    fn comments_are_nothing_that_is_left() {
        assert!(!says_something(b"# a\n\n  # b\n"));
        assert!(says_something(b"# a\nDefaults !lecture\n") && says_something(b"#includedir /x\n"));
    }
}
