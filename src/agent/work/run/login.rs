//! What a login's own shell would have: home, search path and the rest of its environment, as its
//! profile makes it. The shell is asked: it runs as a login shell and prints what it has.
//!
//! Bounds: 10 s and 1 MiB for the shell; one that does not answer is done without.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::sys::child::{self, Limits};
use crate::sys::process;

const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 1024 * 1024 };
/// Before what is asked for, whatever a profile prints.
const MARK: &[u8] = b"hopbox-environment\n";
/// Understood by every shell that may be a login's.
const ASK: &str = "echo hopbox-environment; env -0";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// What a shell says of itself alone.
const OF_THE_SHELL: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

pub type Variables = Vec<(OsString, OsString)>;

pub struct Login {
    pub home: PathBuf,
    pub variables: Variables,
}

/// Of this process's user.
pub fn login() -> Login {
    let base = base();
    let of = |name: &str| base.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let home = of("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let shell = of("SHELL").cloned().unwrap_or_else(|| "/bin/sh".into());
    let variables = ask(&shell, &home, &base).unwrap_or(base);
    Login { home, variables }
}

/// What there is before a profile: as login(1) makes it, and the language of the service.
fn base() -> Variables {
    // A service has them from systemd, which also knows logins of a directory service.
    let (name, home, shell) = match process::login() {
        Some(login) => (Some(login.name), Some(login.home), Some(login.shell)),
        None => (None, None, None),
    };
    let own = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut all: Variables = vec![("PATH".into(), PATH.into())];
    let mut add = |name: &str, value: Option<OsString>| {
        all.extend(value.map(|value| (name.into(), value)));
    };
    add("HOME", own("HOME").or(home));
    add("USER", own("USER").or(name.clone()));
    add("LOGNAME", own("LOGNAME").or(name));
    add("SHELL", own("SHELL").or(shell));
    let runtime = PathBuf::from(format!("/run/user/{}", process::uid()));
    if runtime.is_dir() {
        let bus = runtime.join("bus");
        let address = bus.exists().then(|| format!("unix:path={}", bus.display()).into());
        add("XDG_RUNTIME_DIR", Some(runtime.into()));
        add("DBUS_SESSION_BUS_ADDRESS", address);
    }
    all.extend(
        env::vars_os().filter(|(name, _)| {
            name == "LANG" || name == "TZ" || name.as_bytes().starts_with(b"LC_")
        }),
    );
    all
}

fn ask(shell: &OsStr, home: &Path, base: &Variables) -> Option<Variables> {
    let mut command = Command::new(shell);
    command.args(["-l", "-c", ASK]).env_clear().envs(base.iter().cloned());
    if home.is_dir() {
        command.current_dir(home);
    }
    let done = child::run(&mut command, LIMITS).ok()?;
    variables(&done.stdout)
}

fn variables(said: &[u8]) -> Option<Variables> {
    let at = said.windows(MARK.len()).rposition(|window| window == MARK)?;
    let all = said.get(at + MARK.len()..)?.split(|byte| *byte == 0);
    let pair = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let (name, value) = (entry.get(..at)?, entry.get(at + 1..)?);
        let is_shells = OF_THE_SHELL.iter().any(|known| known.as_bytes() == name);
        (!is_shells).then(|| (text(name), text(value)))
    };
    let all: Variables = all.filter_map(pair).collect();
    (!all.is_empty()).then_some(all)
}

fn text(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_profile_prints_is_no_environment() {
        let said = b"Welcome!\nX=1\nhopbox-environment\nHOME=/h\0A=b\nc=d\0SHLVL=1\0=x\0E=\0";
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let all = vec![pair("HOME", "/h"), pair("A", "b\nc=d"), pair("E", "")];
        assert_eq!(variables(said), Some(all));
        assert_eq!(variables(b"This account is not available.\n"), None);
        assert_eq!(variables(b"hopbox-environment\nsh: env: not found\n"), None);
    }

    /// Whatever shell there is: its profile says what the variables are.
    #[test]
    fn a_shell_is_asked_and_one_that_does_not_answer_is_done_without() {
        let home = env::temp_dir().join(format!("hopbox-login-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(".profile"), "echo hi; read x; export MINE=\"a  b\"\n").unwrap();
        let base = vec![("HOME".into(), home.clone().into()), ("PATH".into(), PATH.into())];
        let found = |shell: &str| ask(OsStr::new(shell), &home, &base);
        for shell in ["/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/fish", "/bin/zsh"] {
            let Some(all) = found(shell) else {
                assert!(!Path::new(shell).exists(), "{shell}");
                continue;
            };
            let mine = all.iter().find(|(name, _)| name == "MINE").map(|(_, value)| value.clone());
            let reads =
                ["sh", "bash", "dash"].iter().any(|name| shell.ends_with(&format!("/{name}")));
            assert_eq!(mine, reads.then(|| "a  b".into()), "{shell}");
        }
        for none in ["/bin/false", "/usr/sbin/nologin", "/nowhere"] {
            assert_eq!(found(none), None);
        }
        std::fs::remove_dir_all(home).unwrap();
    }
}
