//! What can be typed after `hop-agent`, and the help that is made of it. Does none of it.

use crate::base::command_line::{Command, Flag, MANY, Noun, Table, Takes, closest};
use crate::base::failure::Failure;

/// What a command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Serve,
    Work,
    Keep,
    Attend,
    Guard,
    Contain,
    Dial,
    Datagrams,
    Status,
    Install,
    Setup,
    Start,
    Rollback,
    PeersList,
    PeersRemove,
    Clip,
    Paste,
    Open,
    Notify,
    Ask,
    Cdp,
    Rotate,
    Uninstall,
    Url,
    Port,
    Version,
    Help,
}

pub static TABLE: Table<Verb> = Table {
    program: "hop-agent",
    commands: COMMANDS,
    nouns: &[Noun { name: "peers", summary: "the laptops" }],
    flags: &[
        Flag { short: Some('h'), ..flag("help", None) },
        Flag { short: Some('V'), ..flag("version", None) },
    ],
};

// What runs as root over SSH has no such flag: where its files are found is settled.
const CONFIG: Flag = flag("config", Some("FILE"));
const LAPTOP: Flag = flag("laptop", Some("KEY"));

const COMMANDS: &[Command<Verb>] = &[
    Command {
        usage: "hop-agent serve [--config FILE]",
        flags: &[CONFIG],
        ..Command::new(
            Verb::Serve,
            "serve",
            "run in the foreground\n(FILE: /var/lib/hopbox-agent/agent.json)",
        )
    },
    Command {
        usage: "hop-agent work [--config FILE]",
        flags: &[CONFIG],
        ..Command::new(Verb::Work, "work", "the same for its part with the login's rights")
    },
    Command {
        operands: (3, 3),
        takes: Takes::Word,
        hidden: true,
        ..Command::new(Verb::Dial, "dial", "")
    },
    Command { hidden: true, ..Command::new(Verb::Attend, "attend", "") },
    Command {
        operands: (1, MANY),
        takes: Takes::Word,
        hidden: true,
        ..Command::new(Verb::Guard, "guard", "")
    },
    Command {
        usage: "hop-agent contain [--end] DIR",
        flags: &[flag("end", None)],
        operands: (1, 1),
        takes: Takes::Word,
        hidden: true,
        ..Command::new(Verb::Contain, "contain", "run the container of a service's directory")
    },
    Command {
        usage: "hop-agent keep DIR",
        operands: (1, 1),
        takes: Takes::Word,
        hidden: true,
        ..Command::new(Verb::Keep, "keep", "keep the service of a directory")
    },
    Command {
        usage: "hop-agent datagrams [--config FILE]",
        flags: &[CONFIG],
        ..Command::new(
            Verb::Datagrams,
            "datagrams",
            "carry a laptop's tunnel over standard input and\noutput, where no UDP passes",
        )
    },
    Command {
        usage: "hop-agent status [--json]",
        flags: &[flag("json", None), CONFIG],
        ..Command::new(Verb::Status, "status", "what the running agent does; exit 3 if none runs")
    },
    Command {
        usage: "hop-agent install",
        ..Command::new(Verb::Install, "install", "as root: put this program in its place")
    },
    Command {
        usage: "hop-agent setup",
        flags: &[CONFIG],
        ..Command::new(
            Verb::Setup,
            "setup",
            "as root: keys, configuration and unit; request on\nstandard input",
        )
    },
    Command {
        usage: "hop-agent start [--restart] [--laptop KEY --name NAME]",
        flags: &[flag("restart", None), LAPTOP, flag("name", Some("NAME"))],
        ..Command::new(
            Verb::Start,
            "start",
            "as root: enable and start the unit, wait until it\n\
             serves; the laptop with that public key calls this\n\
             server NAME.hop",
        )
    },
    Command {
        usage: "hop-agent rollback",
        ..Command::new(
            Verb::Rollback,
            "rollback",
            "as root: the program before the last install, and\nrestart",
        )
    },
    Command {
        usage: "hop-agent peers list",
        flags: &[CONFIG],
        ..Command::new(Verb::PeersList, "peers list", "the laptops")
    },
    Command {
        usage: "hop-agent peers remove <NAME|KEY>",
        flags: &[CONFIG],
        operands: (1, 1),
        takes: Takes::Word,
        ..Command::new(Verb::PeersRemove, "peers remove", "lock a laptop out")
    },
    Command {
        usage: "hop-agent rotate",
        flags: &[CONFIG],
        ..Command::new(Verb::Rotate, "rotate", "new keys for a laptop; request on standard input")
    },
    Command {
        usage: "hop-agent uninstall [--purge] [--laptop KEY]",
        flags: &[flag("purge", None), LAPTOP],
        ..Command::new(
            Verb::Uninstall,
            "uninstall",
            "as root: stop and remove it; --purge: its keys and\n\
             state, too; --laptop: where there are others, only\n\
             the entry of that public key",
        )
    },
    Command {
        usage: "hop-agent clip",
        ..Command::new(Verb::Clip, "clip", "standard input to the laptop's clipboard")
    },
    Command {
        usage: "hop-agent paste [--png]",
        flags: &[flag("png", None)],
        ..Command::new(Verb::Paste, "paste", "the laptop's clipboard, if its owner allows it")
    },
    Command {
        usage: "hop-agent open URL",
        operands: (1, 1),
        takes: Takes::Word,
        ..Command::new(Verb::Open, "open", "a page in the laptop's browser")
    },
    Command {
        usage: "hop-agent notify TITLE [TEXT]",
        operands: (1, 2),
        takes: Takes::Word,
        ..Command::new(Verb::Notify, "notify", "a notice on the laptop, at once or when it is back")
    },
    Command {
        usage: "hop-agent ask [--options A,B] [--timeout SECONDS] QUESTION",
        flags: &[flag("options", Some("A,B")), flag("timeout", Some("SECONDS"))],
        operands: (1, 1),
        takes: Takes::Word,
        ..Command::new(
            Verb::Ask,
            "ask",
            "ask at the laptop, and wait; exit status 0: the\nfirst answer (yes), 10: another one, 7: none in\n\
             time",
        )
    },
    Command {
        usage: "hop-agent url PORT",
        flags: &[CONFIG],
        operands: (1, 1),
        takes: Takes::Word,
        ..Command::new(Verb::Url, "url", "where a port of this server is on the laptop")
    },
    Command {
        usage: "hop-agent port [--release | --list] [NAME]",
        flags: &[flag("release", None), flag("list", None)],
        operands: (0, 1),
        takes: Takes::Word,
        ..Command::new(
            Verb::Port,
            "port",
            "a port that is kept for this git worktree or\n\
             directory, and a name in it",
        )
    },
    Command {
        usage: "hop-agent cdp",
        ..Command::new(Verb::Cdp, "cdp", "where the laptop's browser can be steered from")
    },
    Command {
        usage: "hop-agent version",
        ..Command::new(Verb::Version, "version", "show the version")
    },
    Command {
        usage: "hop-agent help",
        operands: (0, 2),
        takes: Takes::Command,
        ..Command::new(Verb::Help, "help", "show this")
    },
];

const fn flag(long: &'static str, value: Option<&'static str>) -> Flag {
    Flag { short: None, long, value, help: "" }
}

/// Whether help can be asked about it: nothing, a command, or the first of two words.
pub fn is_known(words: &[String]) -> bool {
    let name = words.join(" ");
    let is_noun = || TABLE.nouns.iter().any(|noun| noun.name == name);
    name.is_empty() || TABLE.find(&name).is_some() || is_noun()
}

/// The first of two words alone.
pub fn half(noun: &str) -> Failure {
    let verbs: Vec<&str> = TABLE.verbs(noun).map(|(verb, _)| verb).collect();
    let why = format!("one of: {}", verbs.join(", "));
    Failure::usage(format!("hop-agent {noun} needs a verb"), why, "")
}

/// Words that are no command.
pub fn unknown(words: &[String]) -> Failure {
    let nouns = TABLE.nouns.iter().map(|noun| noun.name);
    let first = words.first().map_or("", String::as_str);
    let taken = if nouns.clone().any(|noun| noun == first) { 2 } else { 1 };
    let typed = words.get(..taken).unwrap_or(words).join(" ");
    let why = match closest(&typed, TABLE.listed().map(|command| command.name).chain(nouns)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "hop-agent help lists all commands".to_owned(),
    };
    Failure::usage(format!("no command {typed:?}"), why, "")
}

/// One page for all.
pub fn help() -> String {
    let mut text = "hop-agent is the VPS's end of a hopbox tunnel.\n\n\
                    usage: hop-agent <command>\n\n"
        .to_owned();
    let indent = format!("\n{:1$}", "", WIDTH + 2);
    for command in TABLE.listed() {
        let usage = command.usage.trim_start_matches("hop-agent ");
        // Below it where it does not fit beside it.
        let gap = if usage.len() + 2 > WIDTH { indent.clone() } else { String::new() };
        text += &format!("  {usage:WIDTH$}{gap}{}\n", command.summary.replace('\n', &indent));
    }
    text + "\ninstall, setup, start, rollback, peers, rotate, uninstall and status --json\nanswer with one JSON object on standard output.\n"
}

/// Of the first column.
const WIDTH: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command_line::{Asked, parse};

    fn told(failure: Failure) -> Result<Verb, String> {
        Err(format!("{}: {}", failure.what, failure.why))
    }

    fn line(words: &str) -> Result<Verb, String> {
        match parse(&TABLE, words.split_whitespace().map(Into::into)).1 {
            Ok(Asked::Run(command)) => Ok(command.run),
            Ok(Asked::Nothing | Asked::Help(_) | Asked::NounHelp(_)) => Ok(Verb::Help),
            Ok(Asked::Version) => Ok(Verb::Version),
            Ok(Asked::Noun(noun)) => told(half(noun)),
            Ok(Asked::Unknown(words)) => told(unknown(&words)),
            Err(failure) => told(failure),
        }
    }

    #[test]
    fn every_command_line_that_hop_and_the_units_use_is_known() {
        let known = [
            ("serve --config /x/agent.json", Verb::Serve),
            ("work --config=/x/agent.json", Verb::Work),
            ("datagrams", Verb::Datagrams),
            ("status --json", Verb::Status),
            ("install", Verb::Install),
            ("setup", Verb::Setup),
            ("start --restart --laptop k --name mybox", Verb::Start),
            ("rollback", Verb::Rollback),
            ("peers list", Verb::PeersList),
            ("peers remove laptop-2", Verb::PeersRemove),
            ("rotate", Verb::Rotate),
            ("clip", Verb::Clip),
            ("paste --png", Verb::Paste),
            ("open http://x", Verb::Open),
            ("notify -- -i/etc/x --text", Verb::Notify),
            ("ask --options a,b --timeout 5 deploy?", Verb::Ask),
            ("uninstall --purge --laptop k", Verb::Uninstall),
            ("version", Verb::Version),
            ("-V", Verb::Version),
            ("", Verb::Help),
            ("help peers list", Verb::Help),
            ("peers --help", Verb::Help),
        ];
        for (words, verb) in known {
            assert_eq!(line(words), Ok(verb), "{words}");
        }
    }

    #[test]
    fn a_flag_of_another_command_is_none() {
        for words in [
            "install --config x",
            "start --purge",
            "uninstall --restart",
            "serve --json",
            "peers list --laptop k",
            "rotate --name mybox",
            "peers remove",
            "peers remove a b",
            "version x",
        ] {
            assert!(line(words).is_err(), "{words}");
        }
        let said = |words: &str| line(words).unwrap_err();
        assert!(said("uninstall --prge").ends_with("did you mean --purge?"));
        assert!(said("sreve --config x").ends_with("did you mean \"serve\"?"));
        assert!(said("peers lst").ends_with("did you mean \"peers list\"?"));
        assert!(said("nonsense").ends_with("hop-agent help lists all commands"));
        assert!(said("peers").ends_with("one of: list, remove"));
    }

    #[test]
    fn help_is_a_table_that_fits_a_terminal() {
        let help = help();
        for command in TABLE.listed() {
            assert!(command.usage.starts_with(&format!("hop-agent {}", command.name)));
            assert!(help.contains(command.usage.trim_start_matches("hop-agent ")), "{help}");
        }
        assert!(help.lines().all(|line| line.len() < 80), "{help}");
    }

    #[test]
    fn help_is_asked_about_what_is_there() {
        let known = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            is_known(&words)
        };
        assert!(known("") && known("serve") && known("peers") && known("peers list"));
        assert!(!known("peer") && !known("serve now") && !known("nonsense"));
    }
}
