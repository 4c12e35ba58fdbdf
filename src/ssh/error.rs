//! Why a connection could not be made, read from what ssh(1) says. Its words are not translated
//! and have been the same for decades.

use std::process::Command;

use super::target::Target;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys::child::{self, Broken, Limits};
use crate::text::fix::Fix;

pub(super) fn program(error: &std::io::Error) -> Failure {
    let (what, next) = ("cannot run ssh", "ssh -V");
    Failure::new(Fault::NoSsh, what, error.to_string(), next)
}

pub(super) fn unsayable(thing: &str, next: Fix) -> Failure {
    let what = format!("ssh on this machine cannot be given {thing}");
    let why = "it refuses some characters in arguments, and ${ has a meaning in paths; what \
               stands in ~/.ssh/config for the address need not be given"
        .to_owned();
    Failure::new(Fault::Unsayable, what, why, next)
}

pub(super) fn locked(file: &str) -> Failure {
    let what = format!("the key {file} has a passphrase");
    let why = "it would be accepted, but nobody can be asked: this is no terminal, or \
               --no-input forbids it";
    let next = fix!("ssh-add {}", file);
    Failure::new(Fault::KeyLocked, what, why, next)
}

/// Logged in, but no command runs.
pub(super) fn no_session(target: &Target, said: &[u8]) -> Failure {
    // Those after the first tell of what ssh tried then.
    let said = String::from_utf8_lossy(said);
    let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("ssh ended");
    let what = format!("{} opens no session more", target.address);
    let why = format!("{said}; two at a time are needed (MaxSessions in its sshd_config)");
    let next = target.by_hand("grep -ri MaxSessions /etc/ssh");
    Failure::new(Fault::Unreachable, what, why, next)
}

/// One of our own ssh(1) did not come to its end.
pub(super) fn broken(target: &Target, broken: &Broken) -> Failure {
    let (fault, what) = match broken {
        Broken::Start(error) | Broken::Lost(error) => return program(error),
        Broken::Stopped => return Failure::stopped(target.command()),
        Broken::Slow(_) => (Fault::Timeout, format!("{} does not answer", target.address)),
        Broken::Loud(_) => (Fault::Loud, format!("{} does not stop talking", target.address)),
    };
    Failure::new(fault, what, broken.to_string(), target.command())
}

/// What ssh's last words mean.
pub fn classify(target: &Target, said: &str) -> Failure {
    let has = |text: &str| said.contains(text);
    let address = &target.address;
    let (fault, what) = if has("IDENTIFICATION HAS CHANGED") || has("differs from the key") {
        (Fault::HostKeyChanged, format!("the host key of {address} has changed"))
    } else if has("Host key verification failed") || has("host key is known for") {
        (Fault::HostKeyUnknown, format!("the host key of {address} is not known"))
    } else if has("Permission denied") || has("Too many authentication failures") {
        (Fault::Denied, format!("{address} does not let you in"))
    } else {
        (Fault::Unreachable, format!("cannot reach {address}"))
    };
    let (why, next) = match fault {
        Fault::HostKeyChanged => {
            let why = "somebody may be in between, or the server was installed anew; if you know \
                       that it was, forget the old key";
            (why.to_owned(), forget(target, said))
        }
        Fault::HostKeyUnknown => {
            let why = "nobody confirmed that it is the right one: connect once by hand";
            (why.to_owned(), target.command())
        }
        // A jump host that closes its end has the last word, and is not to blame for what was said.
        _ => {
            let denied = said.lines().rfind(|line| line.contains("Permission denied"));
            (last_line(denied.unwrap_or(said)), fix!("{} -v", target.command()))
        }
    };
    Failure::new(fault, what, why, next)
}

/// Whether ssh says this as it ends, and nothing after it.
pub(super) fn is_last(line: &str) -> bool {
    let starts = ["ssh: ", "kex_exchange_identification: ", "Connection "];
    let line = line.trim();
    starts.iter().any(|start| line.starts_with(start))
        || line.starts_with("Host key verification failed")
        || line.contains(": Permission denied (")
        || line.contains("Too many authentication failures")
}

/// ssh names the file and line of the old key. ssh-keygen -R takes every line that matches, with
/// the keys of all others that the line is for: such a line is its owner's to change.
fn forget(target: &Target, said: &str) -> Fix {
    if let Some((alias, file)) = &target.pinned {
        return fix!("ssh-keygen -R {} -f {}", alias, file);
    }
    let port = target.port.filter(|port| *port != 22);
    let name = match port {
        Some(port) => format!("[{}]:{port}", target.address),
        None => target.address.clone(),
    };
    let offending = said.lines().find(|line| line.contains("Offending"));
    let file = offending.and_then(|line| line.split(" in ").nth(1));
    let Some((file, line)) = file.and_then(|file| file.trim().rsplit_once(':')) else {
        return fix!("ssh-keygen -F {}", name);
    };
    match (is_alone(&name, file), line.parse::<u32>()) {
        (true, _) => fix!("ssh-keygen -R {} -f {}", name, file),
        (false, Ok(line)) => fix!("${EDITOR:-vi} +{} {}", line.to_string(), file),
        (false, Err(_)) => fix!("ssh-keygen -F {} -f {}", name, file),
    }
}

/// Whether all lines of the file that are for this host are for no other.
fn is_alone(name: &str, file: &str) -> bool {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-F", name, "-f", file]);
    let Ok(found) = child::run(&mut keygen, Limits::brief(10)) else { return false };
    let text = found.text();
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
    let one =
        |line: &str| !line.split(' ').next().unwrap_or_default().contains([',', '*', '?', '@']);
    lines.peek().is_some() && lines.all(one)
}

fn last_line(said: &str) -> String {
    let words = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    let words = words.unwrap_or("ssh ended without a word");
    words.strip_prefix("ssh: ").unwrap_or(words).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            address: "203.0.113.7".to_owned(),
            user: Some("gandalf".to_owned()),
            port: Some(2222),
            ..Target::default()
        }
    }

    /// What ssh-keygen(1) would do with the same lines is in findings/.
    #[test]
    fn no_neighbours_key_is_forgotten() {
        let file = std::env::temp_dir().join(format!("hopbox-known-{}", std::process::id()));
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4rq0jnZ2J6r0v1m4zqKQpQ2VbW8nq1aC9vT3yYb0Xh";
        let path = file.display();
        let remove = format!("ssh-keygen -R '[203.0.113.7]:2222' -f {path}");
        let edit = format!("${{EDITOR:-vi}} +1 {path}");
        for (hosts, next) in [
            ("[203.0.113.7]:2222", &remove),
            ("[203.0.113.7]:2222,neighbour", &edit),
            ("[203.0.113.*]:2222", &edit),
            ("*,!other", &edit),
            ("other", &edit),
        ] {
            std::fs::write(&file, format!("{hosts} {key}\nneighbour {key}\n")).unwrap();
            let said = format!("IDENTIFICATION HAS CHANGED!\nOffending key in {path}:1\r\n");
            assert_eq!(&*classify(&target(), &said).next, next, "{hosts}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn ssh_words_have_a_meaning_and_a_fix() {
        let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key \
                       in /home/me/.ssh/known_hosts:12\nHost key verification failed.\n";
        let table = [
            (
                changed,
                Fault::HostKeyChanged,
                // A file that cannot be read is nobody's to judge.
                "${EDITOR:-vi} +12 /home/me/.ssh/known_hosts",
            ),
            (
                "Host key verification failed.\n",
                Fault::HostKeyUnknown,
                "ssh -p 2222 gandalf@203.0.113.7",
            ),
            (
                "x\ngandalf@203.0.113.7: Permission denied (publickey).\r\n",
                Fault::Denied,
                "ssh -p 2222 gandalf@203.0.113.7 -v",
            ),
            (
                "ssh: connect to host 203.0.113.7 port 22: Connection refused\r\n",
                Fault::Unreachable,
                "ssh -p 2222 gandalf@203.0.113.7 -v",
            ),
            ("", Fault::Unreachable, "ssh -p 2222 gandalf@203.0.113.7 -v"),
        ];
        for (said, trouble, next) in table {
            let error = classify(&target(), said);
            assert_eq!((error.fault, &*error.next), (trouble, next), "{said}");
            assert!(!error.why.is_empty() && !error.why.starts_with("ssh: "));
        }
    }
}
