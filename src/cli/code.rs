//! `hop code`: an editor on this machine, its files and programs on the host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::deploy::ssh_entry;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::store;
use crate::host::workspace;
use crate::session::control;
use crate::sys::child;
use crate::text::fix::Fix;

/// Its command ends when the editor has been told, or is the editor, which stays.
const STARTED_AFTER: Duration = Duration::from_secs(20);

pub const COMMAND: Command = Command {
    name: "code",
    summary: "open an editor on a host",
    usage: "hop code [path] [--editor EDITOR]",
    details: "Opens the directory on the host in Visual Studio Code, Cursor, VSCodium or Zed, over\n\
              SSH through the tunnel. The path is the argument, else editor.path of hopbox.yaml,\n\
              else your home there; a path is one of the host, and ~ your home there. Writes one\n\
              block at the top of ~/.ssh/config, with the host keys that setup recorded; nothing\n\
              outside the block changes. Exits 3 when the host is not up.",
    example: "hop code ~/src/app\n\
              hop code --editor zed",
    group: Group::Daily,
    flags: &[Flag {
        short: Some('e'),
        long: "editor",
        value: Some("EDITOR"),
        help: "code, cursor, codium or zed (else editor.type of hopbox.yaml, else code)",
    }],
    operands: (0, 1),
    takes: Takes::Path,
    hidden: false,
    run,
};

/// An editor that can work over SSH.
struct Editor {
    /// Its command, and what else `editor.type` may call it.
    program: &'static str,
    others: &'static [&'static str],
    name: &'static str,
    /// Where its command is when it is not on PATH.
    elsewhere: &'static [&'static str],
    /// `--remote ssh-remote+<name>` as Visual Studio Code has it; else a ssh:// address.
    remote_flag: bool,
}

const EDITORS: [Editor; 4] = [
    Editor {
        program: "code",
        others: &["vscode", "vscode-remote"],
        name: "Visual Studio Code",
        elsewhere: &["/Applications/Visual Studio Code.app/Contents/Resources/app/bin/code"],
        remote_flag: true,
    },
    Editor {
        program: "cursor",
        others: &["cursor-remote"],
        name: "Cursor",
        elsewhere: &["/Applications/Cursor.app/Contents/Resources/app/bin/cursor"],
        remote_flag: true,
    },
    Editor {
        program: "codium",
        others: &["vscodium", "vscodium-remote"],
        name: "VSCodium",
        elsewhere: &["/Applications/VSCodium.app/Contents/Resources/app/bin/codium"],
        remote_flag: true,
    },
    Editor {
        program: "zed",
        others: &["zed-remote"],
        name: "Zed",
        elsewhere: &["/Applications/Zed.app/Contents/MacOS/cli"],
        remote_flag: false,
    },
];

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let host = target_host::host_beside(call, &paths)?;
    let workspace = workspace::local(Path::new("."))?.map(|found| found.editor).unwrap_or_default();
    let editor = editor(call.args.value("editor").or(workspace.kind.as_deref()))?;
    if control::facts(&paths, &host).is_none() {
        let why = "the editor reaches it through the tunnel";
        return Err(Failure::new(
            Fault::No,
            format!("{host} is not up"),
            why,
            fix!("hop up {}", host),
        ));
    }
    let host = store::load(&paths, &host)?;
    let program = find(editor, &host)?;
    let given = call.args.operands.first().or(workspace.path.as_ref()).cloned();
    let places = places(given.as_deref(), std::env::var_os("HOME"), &host)?;
    let written = ssh_entry::write(call, &paths, &host)?;
    let path = match given {
        Some(_) => Some(there(call, &places, &host)?),
        None => places.into_iter().next(),
    };
    let words = words(editor, &host.hop_name(), path.as_deref());
    // The answer on standard output is ours alone.
    let mut process = Process::new(&program);
    process.args(&words).stdout(Stdio::from(std::io::stderr()));
    let status = child::launch(&mut process, STARTED_AFTER);
    match status.map_err(|error| failed(editor, error.to_string()))? {
        Some(status) if !status.success() => {
            return Err(failed(editor, format!("it ended with {status}")));
        }
        _ => {}
    }
    let at = path.as_deref().unwrap_or("no directory yet");
    let data = json!({
        "host": host.name, "name": host.hop_name(), "editor": editor.program, "path": path,
        "config_changed": written,
    });
    call.out.answer("code", data, format!("{} is open on {}: {at}", editor.name, host.name))?;
    Ok(Code::Done)
}

/// What `--editor` takes.
pub fn editors() -> impl Iterator<Item = &'static str> {
    EDITORS.iter().map(|editor| editor.program)
}

fn editor(wanted: Option<&str>) -> Result<&'static Editor, Failure> {
    let wanted = wanted.unwrap_or("code");
    let known = |editor: &&Editor| editor.program == wanted || editor.others.contains(&wanted);
    EDITORS.iter().find(known).ok_or_else(|| {
        let names: Vec<&str> = editors().collect();
        let why = format!("hop code knows {}", names.join(", "));
        let here = EDITORS.iter().find(|other| installed(other).is_some()).unwrap_or(&EDITORS[0]);
        Failure::usage(format!("no editor {wanted:?}"), why, with(here))
    })
}

fn with(editor: &Editor) -> Fix {
    fix!("hop code --editor {}", editor.program)
}

/// The editor's command. Where there is none at all, the host has some of its own.
fn find(editor: &Editor, host: &HostConfig) -> Result<PathBuf, Failure> {
    if let Some(found) = installed(editor) {
        return Ok(found);
    }
    let what = format!("{} is not installed on this machine", editor.name);
    let why = format!("its command, {}, is not on PATH", editor.program);
    let other = EDITORS.iter().find(|other| installed(other).is_some());
    let next = other.map_or_else(|| fix!("ssh {}", host.hop_name()), with);
    Err(Failure::new(Fault::NotFound, what, why, next))
}

fn installed(editor: &Editor) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&dirs).filter(|dir| dir.is_absolute()).collect();
    let on_path = dirs.iter().map(|dir| dir.join(editor.program));
    let runs = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    on_path.chain(editor.elsewhere.iter().map(PathBuf::from)).find(runs)
}

/// Where on the host the directory may be, the likeliest first; nowhere leaves it to the editor.
fn places(
    given: Option<&str>,
    own_home: Option<OsString>,
    host: &HostConfig,
) -> Result<Vec<String>, Failure> {
    let home = host.ssh.as_ref().and_then(|ssh| ssh.home.as_deref());
    let Some(given) = given else {
        return Ok(home.map(str::to_owned).into_iter().collect());
    };
    if given.contains(char::is_control) {
        let why = "it has control characters";
        return Err(Failure::usage("the path is not valid", why, "hop code"));
    }
    let below = |home: &str, rest: &Path| Path::new(home).join(rest).display().to_string();
    // A shell has made this machine's home of a `~`.
    let own_home = own_home.map(PathBuf::from).filter(|own| own.parent().is_some());
    let own_home = own_home.filter(|own| home.map(Path::new) != Some(own));
    let own = own_home.as_ref().and_then(|own| Path::new(given).strip_prefix(own).ok());
    let plain = given.strip_prefix("~/").unwrap_or(if given == "~" { "" } else { given });
    match (home, own) {
        (Some(home), Some(rest)) => Ok(vec![below(home, rest), given.to_owned()]),
        _ if given.starts_with('/') => Ok(vec![given.to_owned()]),
        (Some(home), None) => Ok(vec![below(home, Path::new(plain))]),
        (None, _) => {
            let why = format!("your home on {} is not known", host.name);
            Err(Failure::usage("the path must be absolute", why, "hop code"))
        }
    }
}

/// The first of these that is on the host. What ssh cannot tell is left to the editor.
fn there(call: &mut Call, places: &[String], host: &HostConfig) -> Result<String, Failure> {
    let name = host.hop_name();
    let first = places.first().map_or("", String::as_str);
    call.out.wait(&format!("looking for {first}"));
    let found = places.iter().find(|path| ssh_entry::has_path(&name, path) != Some(false));
    call.out.done("");
    found.cloned().ok_or_else(|| {
        let what = format!("{first} is not on {}", host.name);
        let why = "a path is one of the host, and ~ your home there";
        let next = fix!("ssh {} {}", name, fix!("mkdir -p {}", first).over_there());
        Failure::new(Fault::NotFound, what, why, next)
    })
}

fn words(editor: &Editor, name: &str, path: Option<&str>) -> Vec<String> {
    if editor.remote_flag {
        let mut words = vec!["--remote".to_owned(), format!("ssh-remote+{name}")];
        words.extend(path.map(str::to_owned));
        return words;
    }
    vec![format!("ssh://{name}{}", url_path(path.unwrap_or("/")))]
}

/// A path as part of an address: everything but the plainest characters becomes `%XX`.
fn url_path(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

fn failed(editor: &Editor, why: String) -> Failure {
    let what = format!("{} did not start", editor.name);
    Failure::new(Fault::Failed, what, why, fix!("{} --version", editor.program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_of_the_host() {
        let mut host = crate::host::config::tests::sample();
        let ssh = |home: &str| {
            let address = "203.0.113.7".to_owned();
            let home = Some(home.to_owned());
            crate::host::config::Ssh { address, port: None, listens: 22, home, hostname: None }
        };
        host.ssh = Some(ssh("/home/dev"));
        let of =
            |host: &HostConfig, given, own: &str| places(given, Some(own.into()), host).unwrap();
        for (given, own, found) in [
            (None, "/home/me", &["/home/dev"][..]),
            (Some("src/app"), "/home/me", &["/home/dev/src/app"]),
            (Some("~/src/app"), "/home/me", &["/home/dev/src/app"]),
            (Some("~"), "/home/me", &["/home/dev/"]),
            (Some("/home/me/src/app"), "/home/me", &["/home/dev/src/app", "/home/me/src/app"]),
            (Some("/home/me"), "/home/me", &["/home/dev/", "/home/me"]),
            (Some("/Users/me/a b"), "/Users/me/", &["/home/dev/a b", "/Users/me/a b"]),
            (Some("/home/mere/x"), "/home/me", &["/home/mere/x"]),
            (Some("/home/dev/x"), "/home/dev", &["/home/dev/x"]),
            (Some("/home/dev/x"), "/home", &["/home/dev/dev/x", "/home/dev/x"]),
            (Some("/srv/x"), "/", &["/srv/x"]),
        ] {
            assert_eq!(of(&host, given, own), found, "{given:?}");
        }
        host.ssh = None;
        assert_eq!(of(&host, Some("/home/me/x"), "/home/me"), ["/home/me/x"]);
        assert!(places(Some("x"), None, &host).is_err());
        assert!(places(Some("a\nb"), None, &host).is_err());
    }

    #[test]
    fn editors_get_what_they_understand() {
        let of = |program: &str| EDITORS.iter().find(|editor| editor.program == program).unwrap();
        for program in ["code", "cursor", "codium"] {
            let said = words(of(program), "mybox.hop", Some("/home/me/a b"));
            assert_eq!(said, ["--remote", "ssh-remote+mybox.hop", "/home/me/a b"]);
        }
        assert_eq!(words(of("code"), "mybox.hop", None), ["--remote", "ssh-remote+mybox.hop"]);
        let said = words(of("zed"), "mybox.hop", Some("/home/me/a b#ü"));
        assert_eq!(said, ["ssh://mybox.hop/home/me/a%20b%23%C3%BC"]);
    }
}
