//! A repository behind ssh(1): restic runs that, with all that its login has for it, so that keys,
//! jumps and known hosts are those of `ssh HOST` typed there. It asks nobody anything, and notices
//! a server that has gone. What stands in its way is asked of it alone, since restic 0.19 keeps to
//! itself what ssh says of a host key (tests/agent/snap_remote.rs).

use std::ffi::OsString;
use std::process::Command;

use crate::sys::child::{self, Limits};

/// Two minutes without an answer are the end; a network that is away for one is none.
const OPTIONS: [&str; 4] =
    ["BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=30", "ServerAliveCountMax=4"];
const LIMITS: Limits = Limits::brief(40);
/// Its status where it was no connection, rather than what was run through it.
const NO_CONNECTION: i32 = 255;
/// Of what it says: why, and what it makes of that.
const LINES: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    /// `-p`, `-l` and theirs.
    words: Vec<String>,
}

impl Server {
    /// `sftp:user@host:path` and `sftp://user@host:port/path`; `None` as well for names that
    /// restic's shell-like splitting, or ssh, could take for something else.
    pub fn of(target: &str) -> Option<Server> {
        let rest = target.strip_prefix("sftp:")?;
        let (login, port) = match rest.strip_prefix("//") {
            Some(url) => with_port(url.split('/').next()?),
            None => (rest.split(':').next()?, None),
        };
        let (user, host) = match login.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, login),
        };
        let plain = |word: &str| {
            let is = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@+".contains(&byte);
            !word.is_empty() && !word.starts_with('-') && word.bytes().all(is)
        };
        let mut words = Vec::new();
        for (flag, word) in [("-p", port), ("-l", user)] {
            let Some(word) = word else { continue };
            words.extend(plain(word).then(|| [flag.to_owned(), word.to_owned()])?);
        }
        plain(host).then(|| Server { host: host.to_owned(), words })
    }

    fn command(&self) -> Vec<&str> {
        let mut all = vec!["ssh"];
        all.extend(OPTIONS.iter().flat_map(|option| ["-o", option]));
        all.extend(self.words.iter().map(String::as_str));
        all.extend(["-s", &self.host, "sftp"]);
        all
    }

    /// As restic is told it.
    pub fn option(&self) -> [OsString; 2] {
        ["-o".into(), format!("sftp.command={}", self.command().join(" ")).into()]
    }

    /// As somebody types it.
    pub fn by_hand(&self) -> String {
        let mut all = vec!["ssh"];
        all.extend(self.words.iter().map(String::as_str));
        all.push(&self.host);
        all.join(" ")
    }

    /// Why ssh does not get there, in its words. `None`: it does. `base` is a command in the
    /// environment that restic has.
    pub fn complaint(&self, base: impl FnOnce(&str) -> Command) -> Option<String> {
        let all = self.command();
        let mut command = base(all.first()?);
        command.args(all.iter().skip(1));
        let done = match child::run(&mut command, LIMITS) {
            Ok(done) if done.status.code() == Some(NO_CONNECTION) => done,
            Ok(_) => return None,
            Err(broken) => return Some(format!("ssh: {broken}")),
        };
        let text = String::from_utf8_lossy(&done.stderr);
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LINES)).copied();
        Some(last.collect::<Vec<_>>().join(": "))
    }
}

/// `host:22`, `[::1]:22`, and without.
fn with_port(authority: &str) -> (&str, Option<&str>) {
    let (login, port) = match authority.rsplit_once(':') {
        Some((login, port)) if !port.contains(']') => (login, Some(port)),
        _ => (authority, None),
    };
    (login.strip_prefix('[').and_then(|login| login.strip_suffix(']')).unwrap_or(login), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant_is_read_as_restic_reads_it() {
        let typed = |target: &str| Server::of(target).map(|server| server.by_hand());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(typed("sftp:box:/srv/r"), some("ssh box"));
        assert_eq!(typed("sftp:me@there.example:r"), some("ssh -l me there.example"));
        assert_eq!(typed("sftp:a@b@box:/r"), some("ssh -l a@b box"));
        assert_eq!(typed("sftp://me@box:2222//srv/r"), some("ssh -p 2222 -l me box"));
        assert_eq!(typed("sftp://[::1]:2222/r"), some("ssh -p 2222 ::1"));
        assert_eq!(typed("sftp://[::1]/r"), some("ssh ::1"));
        assert_eq!(typed("sftp://box/r"), some("ssh box"));
        let not =
            ["sftp:-oProxyCommand=x:/r", "sftp:a b:/r", "sftp:'x':/r", "sftp:", "sftp:-x@h:/"];
        for bad in not.into_iter().chain(["sftp://me@box:-p/r", "/srv/sftp:x", "rest:http://h/"]) {
            assert_eq!(typed(bad), None, "{bad}");
        }
        let option = Server::of("sftp://me@box:22/r").unwrap().option();
        assert_eq!(
            option[1],
            "sftp.command=ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=30 -o \
             ServerAliveCountMax=4 -p 22 -l me -s box sftp"
        );
    }
}
