//! Advice that needs no host: whether it can be typed at all, and what is said of variables.

use super::Home;
use hopbox::cli::TABLE;
use hopbox::text::advice::{self, Effect};

/// Every `hop` line that is advised is one that our own parser takes.
#[test]
fn what_is_advised_can_be_typed() {
    let known: Vec<&str> = TABLE.commands.iter().map(|command| command.name).collect();
    let mut lines = 0;
    for (form, _) in advice::TABLE {
        for line in form.split(" && ").filter(|line| line.starts_with("hop ")) {
            // Whole words; a command that is put in has its own row.
            let line = line.replace("{}", " mybox").replace("  ", " ");
            let words: Vec<&str> =
                line.split(' ').skip(1).filter(|word| !word.is_empty()).collect();
            if words.first() == Some(&"mybox") || words.is_empty() {
                continue;
            }
            let (_, asked) =
                hopbox::base::command_line::parse(&TABLE, words.iter().map(|w| w.into()));
            let is_known = known.iter().any(|name| line.contains(&format!("hop {name}")));
            // One may be cut off before its host, which hop asks for.
            let whole = asked.is_ok() || ["hop setup", "hop help up"].contains(&line.trim());
            assert!(is_known && whole, "{form}: {:?}", asked.err().map(|failure| failure.why));
            lines += 1;
        }
    }
    assert!(lines > 30, "{lines}");
}

/// What only explains does so, whatever else is wrong.
#[test]
fn what_is_to_be_read_is_there() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let mut read = 0;
    for (form, effect) in advice::TABLE {
        if *effect != Effect::Shows(advice::READ) {
            continue;
        }
        let line = form.replace("{}", "host");
        let out = home.run(&line.split(' ').skip(1).collect::<Vec<_>>());
        assert!(out.status.success() && !out.stdout.is_empty(), "{line}: {out:?}");
        read += 1;
    }
    assert!(read > 4, "{read}");
}

/// Variables that say nothing hop can use: what is advised is typed into the same shell.
#[test]
fn what_is_advised_for_a_variable_is_the_cure() {
    let home = Home::new();
    let both = |spoil: &str, line: &str| {
        let hop = env!("CARGO_BIN_EXE_hop");
        let script = format!(
            "{spoil}; {hop} {line} 2>first; eval \"$(sed -n 's/^fix: //p' first)\"; \
             {hop} {line} 2>second; cat first; echo then; cat second"
        );
        let mut shell = home.hop_env("/bin/sh");
        let out = shell.env("PATH", "/usr/bin:/bin").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        let (first, second) = said.split_once("then\n").unwrap();
        (first.to_owned(), second.to_owned())
    };
    let (first, second) = both("unset HOME XDG_CONFIG_HOME XDG_STATE_HOME", "status");
    assert!(first.contains("no place for configuration"), "{first}");
    assert!(!second.contains("no place for configuration"), "{first}{second}");
    let setup = "--no-input setup mybox -a 127.0.0.1 -p 9";
    let (first, second) = both("XDG_RUNTIME_DIR=$HOME/'a${b'; export XDG_RUNTIME_DIR", setup);
    assert!(first.contains("fix: unset XDG_RUNTIME_DIR"), "{first}");
    assert!(second.contains("cannot reach 127.0.0.1"), "{first}{second}");
}
