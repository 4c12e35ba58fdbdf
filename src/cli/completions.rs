//! `hop completions <shell>`, and the hidden command that the shells' scripts ask: what can follow
//! on a command line, read from the command table and the hosts that are set up.

use std::path::Path;

use super::code;
use super::command::{Call, Command, Flag, GLOBAL_FLAGS, Group, MANY, Table, Takes};
use super::setup::SECOND_PORTS;
use super::{run_wanted, service_names};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::host::config::Transport;
use crate::host::store;
use crate::sys::bounded;

pub const COMMAND: Command = Command {
    name: "completions",
    summary: "print the completion script for a shell",
    usage: "hop completions <shell>",
    details: "The shell is bash, zsh or fish. make install puts the scripts where the shells find\n\
              them; otherwise: source <(hop completions bash).",
    example: "source <(hop completions bash)",
    group: Group::Other,
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
    example: "",
    group: Group::Other,
    flags: &[],
    operands: (0, MANY),
    takes: Takes::Word,
    hidden: true,
    run: run_complete,
};

/// Most files in ~/.ssh that are looked at.
const KEYS: usize = 1000;
/// Most names of ~/.ssh/config that are offered.
const NAMES: usize = 1000;

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
    let hosts = call.paths().ok().and_then(|paths| store::names(&paths).ok()).unwrap_or_default();
    let (services, scripts) = (service_names::here_all, run_wanted::here_all);
    let known = Known { hosts, keys: ssh_keys, addresses: ssh_names, services, scripts };
    let found = candidates(call.table, &call.args.operands, &known);
    call.out.candidates(&found).map(|()| Code::Done)
}

type Candidates = Vec<(String, String)>;

/// What can be completed that is no word of ours.
struct Known {
    hosts: Vec<String>,
    /// The user's private keys; looked for only where one is wanted. `~` as it was typed.
    keys: fn(&str) -> Vec<String>,
    /// What the user calls servers with ssh(1), in the same way.
    addresses: fn() -> Vec<String>,
    /// Of the project here.
    services: fn() -> Vec<String>,
    scripts: fn() -> Vec<String>,
}

/// What the last word can become, with a word on each. `:files` and `:dirs` stand for what the
/// shell knows itself.
fn candidates(table: &Table, line: &[String], known: &Known) -> Candidates {
    // bash makes words of `--host=my` and `service:web` where the others do not.
    let is_cut = |word: &&str| matches!(*word, "=" | ":");
    let is_at_cut = line.last().is_some_and(|word| is_cut(&word.as_str()));
    let line = line.iter().flat_map(|word| split(word)).filter(|word| !is_cut(word));
    let line: Vec<&str> = line.chain(is_at_cut.then_some("")).collect();
    let Some((current, before)) = line.split_last() else { return Vec::new() };
    let (mut verb, mut operands) = (String::new(), Vec::new());
    let mut command: Option<&Command> = None;
    let mut expected: Option<&Flag> = None;
    let mut is_behind = false;
    for word in before {
        if expected.take().is_some() {
            continue;
        }
        if *word == "--" && !is_behind {
            is_behind = true;
        } else if word.starts_with('-') && !is_behind {
            let mut known = command.map_or(&[][..], |c| c.flags).iter().chain(GLOBAL_FLAGS);
            expected = known.find(|flag| flag.value.is_some() && is(flag, word));
        } else if command.is_none() {
            verb = if verb.is_empty() { (*word).to_owned() } else { format!("{verb} {word}") };
            command = table.commands.iter().find(|command| command.name == verb);
        } else {
            operands.push(*word);
        }
    }
    let all = match (expected, command) {
        (Some(flag), _) => values(flag, current, known),
        (None, _) if current.starts_with('-') && !is_behind => flags(command),
        (None, None) => verbs(table, &verb),
        (None, Some(command)) if command.takes == Takes::Script && is_behind => Vec::new(),
        (None, Some(command)) => more_operands(table, command, &operands, known),
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

fn values(flag: &Flag, current: &str, known: &Known) -> Candidates {
    let all = |words: Vec<String>, what: &str| {
        words.into_iter().map(|word| (word, what.to_owned())).collect()
    };
    match flag.value {
        Some("HOST") => all(known.hosts.clone(), "host"),
        Some("TRANSPORT") => {
            all(Transport::ALL.map(|it| it.word().to_owned()).to_vec(), "transport")
        }
        Some(SECOND_PORTS) => all(SECOND_PORTS.split('|').map(str::to_owned).collect(), "UDP port"),
        Some("EDITOR") => all(code::editors().map(str::to_owned).collect(), "editor"),
        Some("KEY") => {
            let keys = (known.keys)(current).into_iter().filter(|key| key.starts_with(current));
            let keys: Candidates = all(keys.collect(), "ssh key");
            if keys.is_empty() { one(":files") } else { keys }
        }
        Some("ADDRESS") => all((known.addresses)(), "of ssh"),
        Some("FILE") => one(":files"),
        Some("DIR") => one(":dirs"),
        _ => Vec::new(),
    }
}

fn one(word: &str) -> Candidates {
    vec![(word.to_owned(), String::new())]
}

/// Private keys where ssh(1) has them: beside a public one of the same name.
fn ssh_keys(current: &str) -> Vec<String> {
    let Some(home) = std::env::var_os("HOME") else { return Vec::new() };
    let shown = if current.starts_with('~') { "~".into() } else { home.to_string_lossy() };
    let entries = std::fs::read_dir(Path::new(&home).join(".ssh")).into_iter().flatten();
    let names =
        entries.flatten().take(KEYS).filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> =
        names.filter(|name| name.bytes().all(|b| b.is_ascii_graphic())).collect();
    let mut keys: Vec<String> =
        names.iter().filter_map(|name| name.strip_suffix(".pub")).map(str::to_owned).collect();
    keys.retain(|key| names.contains(key));
    keys.sort();
    keys.into_iter().map(|key| format!("{shown}/.ssh/{key}")).collect()
}

/// Names after `Host` in ~/.ssh/config, without patterns; files that it includes are not read.
fn ssh_names() -> Vec<String> {
    let config = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/config"));
    let text = config.and_then(|path| bounded::text(path).ok()).unwrap_or_default();
    names_in(&text)
}

fn names_in(ssh_config: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in ssh_config.lines() {
        // `Host a b`, `Host=a`, `Host "a"`.
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("host")) {
            names.extend(
                words.map(|word| word.trim_matches('"')).take_while(|w| !w.starts_with('#')),
            );
        }
    }
    names.retain(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:@".contains(&b)));
    names.retain(|name| !name.starts_with('-') && !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names.into_iter().take(NAMES).map(str::to_owned).collect()
}

fn flags(command: Option<&Command>) -> Candidates {
    let own = command.map_or(&[][..], |command| command.flags);
    let all = own.iter().chain(GLOBAL_FLAGS);
    all.map(|flag| (format!("--{}", flag.long), flag.help.to_owned())).collect()
}

/// First words where `verb` is empty, else what can follow that noun.
fn verbs(table: &Table, verb: &str) -> Candidates {
    let own = |(word, help): (&str, &str)| (word.to_owned(), help.to_owned());
    if verb.is_empty() {
        let single = table.listed().filter(|command| !command.name.contains(' '));
        let single = single.map(|command| (command.name, command.summary));
        let nouns = table.nouns.iter().map(|noun| (noun.name, noun.summary));
        return single.chain(nouns).map(own).collect();
    }
    table.verbs(verb).map(|(word, command)| own((word, command.summary))).collect()
}

fn more_operands(table: &Table, command: &Command, typed: &[&str], known: &Known) -> Candidates {
    if typed.len() >= command.operands.1 {
        return Vec::new();
    }
    match command.takes {
        Takes::Host => {
            let left = known.hosts.iter().filter(|host| !typed.contains(&host.as_str()));
            left.map(|host| (host.clone(), "host".to_owned())).collect()
        }
        Takes::Service => {
            let left = (known.services)().into_iter().filter(|s| !typed.contains(&s.as_str()));
            left.map(|service| (service, "service".to_owned())).collect()
        }
        Takes::Waited => {
            // What stands before the colon is a word of its own where bash has cut it.
            let kind = if typed.last() == Some(&"service") { "" } else { "service:" };
            let all = (known.services)().into_iter().map(|service| format!("{kind}{service}"));
            let left = all.filter(|service| !typed.contains(&service.as_str()));
            left.map(|service| (service, "service".to_owned())).collect()
        }
        Takes::Script if typed.is_empty() => {
            let all = (known.scripts)().into_iter();
            all.map(|script| (script, "script".to_owned())).collect()
        }
        Takes::Command => verbs(table, &typed.join(" ")),
        Takes::Path => one(":files"),
        Takes::Word if command.name == COMMAND.name => {
            SCRIPTS.iter().map(|(name, _)| ((*name).to_owned(), "shell".to_owned())).collect()
        }
        Takes::OneOf(words) if typed.is_empty() => {
            words.iter().map(|(word, help)| ((*word).to_owned(), (*help).to_owned())).collect()
        }
        Takes::Nothing | Takes::Word | Takes::Script | Takes::OneOf(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let hosts = vec!["mybox".to_owned(), "other".to_owned()];
        let keys = |current: &str| {
            let home = if current.starts_with('~') { "~" } else { "/home/me" };
            vec![format!("{home}/.ssh/id_a"), format!("{home}/.ssh/id_b")]
        };
        let addresses = || vec!["vps.example".to_owned(), "work".to_owned()];
        let services = || vec!["db".to_owned(), "web".to_owned()];
        let scripts = || vec!["migrate".to_owned(), "test".to_owned()];
        let known = Known { hosts, keys, addresses, services, scripts };
        let found = candidates(&TABLE, &line, &known);
        found.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn commands_flags_and_hosts_complete() {
        assert_eq!(words("stat"), ["status"]);
        assert_eq!(words("up "), ["mybox", "other"]);
        assert_eq!(words("up mybox "), ["other"], "each once");
        assert!(words("status mybox ").is_empty(), "it takes one");
        assert_eq!(words("--json up my"), ["mybox"]);
        assert_eq!(words("-H o"), ["other"]);
        for line in ["up --host=my", "up --host = my", "up --host my"] {
            assert_eq!(words(line), ["mybox"], "{line}");
        }
        assert_eq!(words("up --fore"), ["--foreground"]);
        assert_eq!(words("completions "), ["bash", "zsh", "fish"]);
        assert!(words("host ").contains(&"ls".to_owned()));
        assert_eq!(words("logs "), ["db", "web"]);
        assert_eq!(words("services stop db "), ["web"]);
        assert_eq!(words("services stop -- db "), ["web"]);
        assert_eq!(words("wait "), ["service:db", "service:web"]);
        assert_eq!(words("wait service:db service:"), ["service:web"]);
        // As bash cuts them.
        for line in ["wait service :", "wait service : w", "wait service : db service : w"] {
            assert!(words(line).contains(&"web".to_owned()), "{line}");
        }
        assert_eq!(words("run "), ["migrate", "test"]);
        assert_eq!(words("run -t mi"), ["migrate"]);
        for behind in ["run test ", "run -- ", "run -- -", "run test -- --ta", "run -- t"] {
            assert!(words(behind).is_empty(), "{behind}");
        }
        assert_eq!(words("help host re"), ["revoke"]);
        assert_eq!(words("bridge allow p"), ["paste"]);
        assert!(words("bridge allow open ").is_empty());
        assert_eq!(words("help auto"), ["autostart"]);
        assert!(words("").contains(&"doctor".to_owned()));
        assert!(!words("").iter().any(|word| word == "complete"));
        assert!(words("ping -c ").is_empty() && words("nonsense ").is_empty());
    }

    #[test]
    fn files_keys_and_editors_complete() {
        assert_eq!(words("setup x --second-port "), ["443", "53", "off"]);
        assert_eq!(words("setup x -k "), ["/home/me/.ssh/id_a", "/home/me/.ssh/id_b"]);
        assert_eq!(words("setup x --key=~/.ssh/id_b"), ["~/.ssh/id_b"]);
        assert_eq!(words("setup x -k ./k"), [":files"]);
        assert_eq!(words("code ~/src/"), [":files"], "the home here is the one there");
        assert_eq!(words("upgrade --agent-dir "), [":dirs"]);
        assert_eq!(words("code -e "), ["code", "cursor", "codium", "zed"]);
        assert_eq!(words("setup my"), ["mybox"], "it may be repeated");
        assert_eq!(words("setup x -a "), ["vps.example", "work"]);
        assert_eq!(words("setup x --address=w"), ["work"]);
    }

    #[test]
    fn servers_of_ssh_complete_without_patterns() {
        let config = "Host *\n  User me\nhost work \"vps.example\" # mine\n\tHost=b ?c !d\n\
                      Match host e\nHostName f\n#Host g\nHost -x h$(i) work 2001:db8::1\nHost\n";
        assert_eq!(names_in(config), ["2001:db8::1", "b", "vps.example", "work"]);
    }
}
