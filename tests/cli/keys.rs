//! Keys on a real terminal, in the three shells: what Tab makes of a line.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::Home;

const TAB: &str = "\t";
/// Has the shell write its line into a file, and empty it. Ctrl-T.
const KEEP: &str = "\x14";
const LIMIT: Duration = Duration::from_secs(60);

const BASH: &str = r#"
source <(hop completions bash)
keep() { printf '%s\n' "$READLINE_LINE" >"$OUT.new"; mv "$OUT.new" "$OUT"; READLINE_LINE=; }
bind -x '"\C-t": keep'
PS1='READY> '
"#;
const ZSH: &str = r#"
autoload -U compinit
compinit -u -D
source <(hop completions zsh)
keep() { print -r -- "$BUFFER" >"$OUT.new"; mv "$OUT.new" "$OUT"; BUFFER=; }
zle -N keep
bindkey '^T' keep
PS1='READY> '
"#;
const FISH: &str = r#"
hop completions fish | source
function fish_prompt; printf 'READY> '; end
function fish_greeting; end
function keep
    commandline >"$OUT.new"; mv "$OUT.new" "$OUT"; commandline ''
end
bind \ct keep
"#;

/// A shell that somebody sits at.
struct Shell {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    kept: PathBuf,
}

impl Shell {
    /// `None` where the shell is missing.
    fn start(home: &Home, name: &str) -> Option<Shell> {
        let rc = home.0.join("rc");
        fs::create_dir_all(rc.join("fish")).unwrap();
        fs::write(rc.join("bashrc"), BASH).unwrap();
        fs::write(rc.join(".zshrc"), ZSH).unwrap();
        fs::write(rc.join("fish/config.fish"), FISH).unwrap();
        let words = match name {
            "bash" => vec!["bash", "--noprofile", "--rcfile", "../rc/bashrc", "-i"],
            "zsh" => vec!["zsh", "-d", "-i"],
            _ => vec!["fish", "-i"],
        };
        let there = home.hop_env("/bin/sh").args(["-c", &format!("command -v {name}")]).output();
        if !there.unwrap().status.success() {
            println!("SKIP {name}: not installed");
            return None;
        }
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let kept = home.0.join("kept");
        let bin = std::path::Path::new(env!("CARGO_BIN_EXE_hop")).parent().unwrap();
        let mut command = home.hop_env("setsid");
        command.args(["--ctty", "--wait"]).args(words).env("OUT", &kept).env("TERM", "xterm");
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("ZDOTDIR", &rc);
        command.env("LANG", "C.UTF-8").env("XDG_DATA_HOME", home.0.join("data"));
        // fish has its own file there; hosts are found by their own variable in the others.
        if name == "fish" {
            std::os::unix::fs::symlink(home.0.join("config/hopbox"), rc.join("hopbox")).unwrap();
            command.env("XDG_CONFIG_HOME", &rc);
        }
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        drop((command, pty.slave));
        let keys = File::from(pty.master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, seen) = (keys.try_clone().unwrap(), shown.clone());
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        let mut shell = Shell { child, keys, shown, kept };
        shell.until("READY> ");
        Some(shell)
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn until(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.shown().contains(text) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What the line is after those keys and Tab.
    fn completed(&mut self, line: &str) -> String {
        let _ = fs::remove_file(&self.kept);
        self.press(&format!("{line}{TAB}{KEEP}"));
        let end = Instant::now() + LIMIT;
        loop {
            match fs::read_to_string(&self.kept) {
                Ok(kept) => return kept.trim_end().to_owned(),
                Err(_) if Instant::now() > end => panic!("{line}: {:?}", self.shown()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tab_completes_commands_hosts_keys_editors_and_files_in_every_shell() {
    for name in ["bash", "zsh", "fish"] {
        let home = Home::new();
        home.add_host("mybox", 0);
        home.add_host("other", 1);
        for file in [
            ".ssh/id_work",
            ".ssh/id_work.pub",
            "work/key-file.pem",
            "work/with space",
            "work/dir-one/x",
        ] {
            fs::create_dir_all(home.0.join(file).parent().unwrap()).unwrap();
            fs::write(home.0.join(file), "x").unwrap();
        }
        let Some(mut shell) = Shell::start(&home, name) else { continue };
        let key = format!("hop setup x -k {}/.ssh/id_work", home.0.display());
        let mut wrong = Vec::new();
        for (line, expected) in [
            ("hop stat", "hop status"),
            ("hop host rev", "hop host revoke"),
            ("hop up oth", "hop up other"),
            ("hop up mybox ", "hop up mybox other"),
            ("hop up --host=oth", "hop up --host=other"),
            ("hop up --fore", "hop up --foreground"),
            ("hop code -e cur", "hop code -e cursor"),
            ("hop setup x -k ", &key),
            ("hop setup x -k ~/.ssh/i", "hop setup x -k ~/.ssh/id_work"),
            ("hop setup x --key=~/.ssh/i", "hop setup x --key=~/.ssh/id_work"),
            ("hop setup x -k ./key-f", "hop setup x -k ./key-file.pem"),
            ("hop setup x --key=./key-f", "hop setup x --key=./key-file.pem"),
            ("hop setup x -k ./wi", "hop setup x -k ./with\\ space"),
            ("hop upgrade --agent-dir ./di", "hop upgrade --agent-dir ./dir-one/"),
            ("hop upgrade --agent-dir ./key", "hop upgrade --agent-dir ./key"),
            ("hop completions fi", "hop completions fish"),
        ] {
            let line = shell.completed(line);
            if line != expected {
                wrong.push(format!("{line} instead of {expected}"));
            }
        }
        assert_eq!(wrong, Vec::<String>::new(), "{name}: {:?}", shell.shown());
        shell.press(&format!("hop down {TAB}{TAB}"));
        shell.until("mybox");
        shell.until("other");
    }
}
