//! `hop completions <shell>`, and the hidden command that the shells' scripts ask: what can follow
//! on a command line, read from the command table and the hosts that are set up.

use super::command::{Call, Command, Flag, GLOBAL_FLAGS, MANY, Table, Takes};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::host::store;

pub const COMMAND: Command = Command {
    name: "completions",
    summary: "print the completion script for a shell",
    usage: "hop completions <shell>",
    details: "The shell is bash, zsh or fish. make install puts the scripts where the shells find\n\
              them; otherwise: source <(hop completions bash).",
    flags: &[],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run,
};

pub const COMMAND_COMPLETE: Command = Command {
    name: "complete",
    summary: "what can follow on a command line",
    usage: "asked by the shells' completion scripts",
    details: "",
    flags: &[],
    operands: (0, MANY),
    takes: Takes::Word,
    hidden: true,
    run: run_complete,
};

const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("../../completion/hop.bash")),
    ("zsh", include_str!("../../completion/_hop")),
    ("fish", include_str!("../../completion/hop.fish")),
];

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let shell = call.args.operands.first().map_or("", String::as_str);
    match SCRIPTS.iter().find(|(name, _)| *name == shell) {
        Some((_, script)) => call.out.script(script).map(|()| Code::Done),
        None => {
            let what = format!("no completions for {shell:?}");
            Err(Failure::usage(what, "one of: bash, zsh, fish", "hop completions bash"))
        }
    }
}

fn run_complete(call: &mut Call) -> Result<Code, Failure> {
    let names = call.paths().ok().and_then(|paths| store::names(&paths).ok()).unwrap_or_default();
    let found = candidates(call.table, &call.args.operands, &names);
    call.out.candidates(&found).map(|()| Code::Done)
}

type Candidates = Vec<(String, String)>;

/// What the last word can become, with a word on each. `:files` and `:dirs` stand for what the
/// shell knows itself.
fn candidates(table: &Table, line: &[String], hosts: &[String]) -> Candidates {
    // bash makes words of `--host=my` where the others do not.
    let line: Vec<&str> = line.iter().flat_map(|word| split(word)).filter(|w| *w != "=").collect();
    let Some((current, before)) = line.split_last() else { return Vec::new() };
    let mut verb = String::new();
    let mut command: Option<&Command> = None;
    let mut expected: Option<&Flag> = None;
    for word in before {
        if expected.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            let mut known = command.map_or(&[][..], |c| c.flags).iter().chain(GLOBAL_FLAGS);
            expected = known.find(|flag| flag.value.is_some() && is(flag, word));
        } else if command.is_none() {
            verb = if verb.is_empty() { (*word).to_owned() } else { format!("{verb} {word}") };
            command = table.commands.iter().find(|command| command.name == verb);
        }
    }
    let all = match (expected, command) {
        (Some(flag), _) => values(flag, hosts),
        (None, _) if current.starts_with('-') => flags(command),
        (None, None) => verbs(table, &verb),
        (None, Some(command)) => operands(table, command, hosts),
    };
    all.into_iter().filter(|(w, _)| w.starts_with(current) || w.starts_with(':')).collect()
}

fn split(word: &str) -> Vec<&str> {
    match word.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => vec![flag, value],
        _ => vec![word],
    }
}

fn is(flag: &Flag, word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => flag.long == long,
        None => flag.short.is_some_and(|short| word == format!("-{short}")),
    }
}

fn values(flag: &Flag, hosts: &[String]) -> Candidates {
    match flag.value {
        Some("HOST") => of_hosts(hosts),
        Some("FILE") => one(":files"),
        Some("DIR") => one(":dirs"),
        _ => Vec::new(),
    }
}

fn one(word: &str) -> Candidates {
    vec![(word.to_owned(), String::new())]
}

fn of_hosts(hosts: &[String]) -> Candidates {
    hosts.iter().map(|host| (host.clone(), "host".to_owned())).collect()
}

fn flags(command: Option<&Command>) -> Candidates {
    let own = command.map_or(&[][..], |command| command.flags);
    let all = own.iter().chain(GLOBAL_FLAGS);
    all.map(|flag| (format!("--{}", flag.long), flag.help.to_owned())).collect()
}

/// First words where `verb` is empty, else what can follow that noun.
fn verbs(table: &Table, verb: &str) -> Candidates {
    let listed = table.listed();
    let own = |command: &Command| (command.name.to_owned(), command.summary.to_owned());
    if verb.is_empty() {
        let nouns = table.nouns.iter().map(|noun| (noun.name.to_owned(), noun.summary.to_owned()));
        return listed.filter(|c| !c.name.contains(' ')).map(own).chain(nouns).collect();
    }
    let prefix = format!("{verb} ");
    let rest =
        |(name, help): (String, String)| Some((name.strip_prefix(&prefix)?.to_owned(), help));
    listed.map(own).filter_map(rest).collect()
}

fn operands(table: &Table, command: &Command, hosts: &[String]) -> Candidates {
    match command.takes {
        Takes::Host => of_hosts(hosts),
        Takes::Command => verbs(table, ""),
        Takes::Path => one(":files"),
        Takes::Word if command.name == COMMAND.name => {
            SCRIPTS.iter().map(|(name, _)| ((*name).to_owned(), "shell".to_owned())).collect()
        }
        Takes::Nothing | Takes::Word => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let hosts = ["mybox".to_owned(), "other".to_owned()];
        candidates(&TABLE, &line, &hosts).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_flags_and_hosts_complete() {
        assert_eq!(words("stat"), ["status"]);
        assert_eq!(words("up "), ["mybox", "other"]);
        assert_eq!(words("--json up my"), ["mybox"]);
        assert_eq!(words("-H o"), ["other"]);
        for line in ["up --host=my", "up --host = my", "up --host my"] {
            assert_eq!(words(line), ["mybox"], "{line}");
        }
        assert_eq!(words("up --fore"), ["--foreground"]);
        assert_eq!(words("completions "), ["bash", "zsh", "fish"]);
        assert!(words("host ").contains(&"ls".to_owned()));
        assert!(words("").contains(&"doctor".to_owned()));
        assert!(!words("").iter().any(|word| word == "complete" || word.contains("inside")));
        assert!(words("ping -c ").is_empty() && words("nonsense ").is_empty());
    }
}
