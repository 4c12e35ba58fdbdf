//! `hop code`: an editor on this machine, its files and programs on the host.

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

/// Its command ends when the editor has been told, or is the editor, which stays.
const STARTED_AFTER: Duration = Duration::from_secs(20);

pub const COMMAND: Command = Command {
    name: "code",
    summary: "open an editor on a host",
    usage: "hop code [path] [--editor EDITOR]",
    details: "Opens the directory on the host in Visual Studio Code, Cursor, VSCodium or Zed, over\n\
              SSH through the tunnel. The path is the argument, else editor.path of hopbox.yaml,\n\
              else your home there. Writes one block at the top of ~/.ssh/config, with the host\n\
              keys that setup recorded; nothing outside the block changes. Exits 3 when the host\n\
              is not up.",
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
    takes: Takes::Word,
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
    let workspace = workspace::load(Path::new("."))?.unwrap_or_default();
    let editor = editor(call.args.value("editor").or(workspace.editor_type.as_deref()))?;
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
    let program = find(editor)?;
    let given = call.args.operands.first().or(workspace.editor_path.as_ref());
    let path = path(given.map(String::as_str), &host)?;
    let written = ssh_entry::write(call, &paths, &host, &host.hop_name())?;
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
        Failure::usage(format!("no editor {wanted:?}"), why, "hop code --editor code")
    })
}

/// The editor's command.
fn find(editor: &Editor) -> Result<PathBuf, Failure> {
    if let Some(found) = installed(editor) {
        return Ok(found);
    }
    let what = format!("{} is not installed on this machine", editor.name);
    let why = format!("its command, {}, is not on PATH", editor.program);
    let next = match EDITORS.iter().find(|other| installed(other).is_some()) {
        Some(other) => fix!("hop code --editor {}", other.program),
        None => fix!("command -v {}", editor.program),
    };
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

/// The directory on the host; `None` leaves it to the editor.
fn path(given: Option<&str>, host: &HostConfig) -> Result<Option<String>, Failure> {
    let home = host.ssh.as_ref().and_then(|ssh| ssh.home.as_deref());
    let Some(given) = given else {
        return Ok(home.map(str::to_owned));
    };
    if given.contains(char::is_control) {
        return Err(Failure::usage(
            "the path is not valid",
            "it has control characters",
            "hop code",
        ));
    }
    let below_home = given.strip_prefix("~/").unwrap_or(if given == "~" { "" } else { given });
    match home {
        _ if given.starts_with('/') => Ok(Some(given.to_owned())),
        Some(home) => Ok(Some(Path::new(home).join(below_home).display().to_string())),
        None => {
            let why = format!("your home on {} is not known", host.name);
            Err(Failure::usage("the path must be absolute", why, "hop code /home/you/project"))
        }
    }
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
