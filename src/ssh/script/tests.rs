use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::sys::child::{self, Input, Limits};

const SHELLS: [&str; 3] = ["/bin/dash", "/bin/bash", "/bin/busybox"];
const LOGINS: [&str; 5] = ["/bin/sh", "/bin/bash", "/usr/bin/zsh", "/usr/bin/fish", "/bin/csh"];

/// Directories of programs that first read all that they can, one for each shell that is here
/// as `sh`.
pub fn greedy(test: &str) -> Vec<PathBuf> {
    let here = SHELLS.iter().filter(|shell| Path::new(shell).exists());
    here.enumerate()
        .map(|(n, shell)| {
            let dir = format!("hopbox-greedy-{test}-{}-{n}", std::process::id());
            let dir = std::env::temp_dir().join(dir);
            fs::create_dir_all(&dir).unwrap();
            symlink(shell, dir.join("sh")).unwrap();
            symlink("/bin/cat", dir.join("cat")).unwrap();
            let real: Vec<_> = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
                .iter()
                .flat_map(|from| fs::read_dir(from).into_iter().flatten().flatten())
                .map(|entry| entry.path())
                .collect();
            for tool in ["sudo", "systemctl", "uname", "id", "df", "timeout", "ls", "date"] {
                let found = real.iter().find(|path| path.ends_with(tool));
                let found = found.map_or("/bin/true".into(), |path| path.display().to_string());
                let text = format!("#!/bin/dash\n/bin/cat >/dev/null\nexec {found} \"$@\"\n");
                fs::write(dir.join(tool), text).unwrap();
                fs::set_permissions(dir.join(tool), fs::Permissions::from_mode(0o755)).unwrap();
            }
            dir
        })
        .collect()
}

/// Runs a script as a login would, with the programs of `dir` before all others.
pub fn play(login: &str, dir: &Path, words: &str, script: &str) -> child::Done {
    let mut command = Command::new(login);
    command.args(["-c", words]).env("PATH", format!("{}:/usr/bin:/bin", dir.display()));
    let mut script = script.as_bytes();
    let input = Input::From(&mut script);
    child::talk(&mut command, input, &mut |_, _| {}, Limits::brief(60)).unwrap()
}

#[test]
fn a_script_is_not_read_by_what_it_runs() {
    for dir in greedy("script") {
        let script = "id -u >/dev/null; echo one\nuname >/dev/null\nsudo -n true\ncat\necho two\n";
        for login in LOGINS.iter().filter(|login| Path::new(login).exists()) {
            let done = play(login, &dir, WHOLE, script);
            assert_eq!(done.text(), "one\ntwo\n", "{login} {dir:?} {done:?}");
        }
        let shared = play("/bin/sh", &dir, "sh -s", script).text();
        // One that reads by blocks may have all of it before.
        let bash = dir.join("sh").read_link().unwrap().ends_with("bash");
        assert!(!bash || !shared.contains("two"), "{shared}");
        fs::remove_dir_all(dir).unwrap();
    }
}
