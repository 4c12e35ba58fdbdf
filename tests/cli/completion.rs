//! The completion scripts in the shells they are for.

use std::fs;
use std::process::Stdio;

use crate::Home;

/// What `shell` prints for `script`, with `hop` on its PATH; `None` where the shell is missing.
fn in_shell(home: &Home, shell: &str, words: &[&str]) -> Option<String> {
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_hop")).parent().unwrap().to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = home.hop_env(shell);
    let output = command.env("PATH", path).args(words).stdin(Stdio::null()).output();
    let Ok(output) = output else {
        println!("SKIP {shell}: not installed");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_completes_commands_flags_and_hosts() {
    let home = Home::new();
    home.add_host("mybox", 0);
    home.add_host("other", 1);
    let play = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let quoted: String = words.iter().map(|word| format!("'{word}' ")).collect();
        let script = format!(
            "source <(hop completions bash); COMP_WORDS=({quoted}); COMP_CWORD={}; _hop; \
             echo ${{COMPREPLY[*]}}",
            words.len() - 1
        );
        in_shell(&home, "bash", &["--norc", "-c", &script])
    };
    for (line, expected) in [
        ("hop stat", "status\n"),
        ("hop up ", "mybox other\n"),
        ("hop up --host = my", "mybox\n"),
        ("hop up --fore", "--foreground\n"),
        ("hop -H o", "other\n"),
        ("hop completions z", "zsh\n"),
        ("hop nonsense ", "\n"),
    ] {
        let Some(said) = play(line) else { return };
        assert_eq!(said, expected, "{line}");
    }
}

#[test]
fn the_scripts_are_valid_for_their_shells() {
    let home = Home::new();
    home.add_host("mybox", 0);
    for (shell, file) in [("bash", "hop.bash"), ("zsh", "_hop"), ("fish", "hop.fish")] {
        let path = format!("{}/completion/{file}", env!("CARGO_MANIFEST_DIR"));
        in_shell(&home, shell, &["-n", &path]);
        let printed = home.run(&["completions", shell]).stdout;
        assert_eq!(printed, fs::read(&path).unwrap(), "{shell}");
    }
    let script = "hop completions fish | source; complete -C 'hop up my'";
    if let Some(said) = in_shell(&home, "fish", &["--no-config", "-c", script]) {
        assert!(said.starts_with("mybox\t"), "{said}");
    }
}
