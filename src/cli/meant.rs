//! A command that hop does not have: what other programs call so, a slip of the keys, or a noun's
//! verb that is none. Says what was meant, and how it is typed here.

use super::command::{Call, Command, Table};
use super::target_host;
use crate::base::command_line::closest;
use crate::base::failure::Failure;
use crate::fix;
use crate::host::config::hop_name;
use crate::text::fix::Fix;

/// What other programs do themselves, once they have the host's name.
const SSH: &str = "ssh";
const COPY: &str = "sftp";
/// Down and up.
const AGAIN: &str = "again";

/// What it is called elsewhere, and what does it here: a command, or one of the programs above.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ssh shell sh bash exec cmd console terminal login attach enter", SSH),
    ("cp scp copy rsync sftp put get push pull sync upload download mount", COPY),
    ("ls list hosts machines nodes devices servers all", "host ls"),
    ("peers laptops clients members users", "host peers"),
    ("add create new install register enroll provision bootstrap auth", "setup"),
    ("rm remove delete del forget destroy", "host rm"),
    ("connect start on join link tunnel vpn", "up"),
    ("disconnect stop off leave quit exit close kill logout", "down"),
    ("restart reconnect reload", AGAIN),
    ("log journal history tail", "logs"),
    ("events", "services watch"),
    ("info show state stat st ps ip top", "status"),
    ("check diagnose debug troubleshoot netcheck test why repair", "doctor"),
    ("report bug support", "bugreport"),
    ("latency trace traceroute", "ping"),
    ("open edit editor vscode cursor codium zed ide", "code"),
    ("use switch select", "host default"),
    ("revoke kick ban block lock", "host revoke"),
    ("keys rekey renew keygen key", "rotate"),
    ("update self-update", "upgrade"),
    ("purge clean", "uninstall"),
    ("enable boot", "autostart on"),
    ("disable", "autostart off"),
    ("completion autocomplete", "completions"),
    ("man manual usage commands", "help"),
    ("about ver", "version"),
    ("services-list services-ps services-status services-show services-top", "services ls"),
    ("services-up services-run services-begin", "services start"),
    ("services-down services-end services-kill", "services stop"),
    ("services-reload services-again", "services restart"),
    ("services-events services-follow", "services watch"),
    ("services-logs services-log services-tail", "logs"),
    ("port forward expose mirror", "ports ls"),
    ("ports-list ports-ps ports-show ports-status ports-watch ports-forward", "ports ls"),
    ("ports-info ports-explain ports-check", "ports why"),
    ("ports-set ports-map ports-add ports-keep", "ports pin"),
    ("ports-rm ports-remove ports-close ports-ignore ports-block", "ports exclude"),
    ("autostart-start autostart-yes autostart-add", "autostart on"),
    ("autostart-stop autostart-no autostart-rm autostart-remove", "autostart off"),
    ("autostart-show autostart-ls autostart-list autostart-check", "autostart status"),
];

/// What was meant.
enum Meant {
    /// That command, which is called otherwise elsewhere.
    Other(&'static Command),
    /// That command, or the first of two words, but for a key or two.
    Near(&'static str),
    /// A program that takes the host's name.
    Program(&'static str),
    /// Down, and up once more.
    Again,
    /// Nothing that is known; there are these verbs.
    Verbs(&'static str, Vec<&'static str>),
    Unknown,
}

/// Why `words` are no command. What follows the verb in them goes along into the command that
/// helps.
pub fn failure(call: &mut Call, words: &[String]) -> Failure {
    let table = call.table;
    let (meant, taken) = find(table, words);
    let rest = words.get(taken..).unwrap_or_default();
    let what = no_command(words.get(..taken).unwrap_or_default());
    match meant {
        Meant::Program(program) => by_name(call, what, program, rest),
        Meant::Again => {
            let hosts = rest.iter().fold(Fix::from(""), |line, word| fix!("{} {}", line, word));
            let next = fix!("hop down{} && hop up{}", hosts, hosts);
            Failure::usage(what, "hop down ends it, hop up begins it anew", next)
        }
        meant => told(what, meant, |name| match table.find(name) {
            Some(command) => typed(command, rest),
            None => fix!("hop {}", Fix::from(name)),
        }),
    }
}

/// The same for `hop help`, which explains and runs nothing.
pub fn no_help(table: &Table, words: &[String]) -> Failure {
    told(no_command(words), find(table, words).0, |name| fix!("hop help {}", Fix::from(name)))
}

fn no_command(words: &[String]) -> String {
    format!("no command {:?}", words.join(" "))
}

/// `next` is what helps with a command, or the first of two words.
fn told(what: String, meant: Meant, next: impl Fn(&'static str) -> Fix) -> Failure {
    match meant {
        Meant::Other(Command { name, summary, .. }) => {
            Failure::usage(what, format!("hop {name}: {summary}"), next(name))
        }
        Meant::Near(near) => Failure::usage(what, format!("did you mean \"{near}\"?"), next(near)),
        Meant::Program(program) => Failure::usage(what, reaches(program), fix!("man {}", program)),
        Meant::Again => {
            Failure::usage(what, "hop up begins anew what hop down ended", "hop help up")
        }
        Meant::Verbs(noun, verbs) => {
            let why = format!("hop {noun} takes: {}", verbs.join(", "));
            Failure::usage(what, why, fix!("hop help {}", noun))
        }
        Meant::Unknown => Failure::usage(what, "hop help lists all commands", "hop help"),
    }
}

/// What the first word or two mean, and how many of them that took.
fn find(table: &Table, words: &[String]) -> (Meant, usize) {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let Some(noun) = table.nouns.iter().find(|noun| noun.name == word(0)) else {
        return (first(table, word(0), word(1)), 1);
    };
    let second = word(1);
    let whole = elsewhere(&format!("{}-{second}", noun.name));
    let name = whole.or_else(|| elsewhere(second)).unwrap_or(second);
    if let Some(command) = table.find(name) {
        return (Meant::Other(command), 2);
    }
    let verbs: Vec<&str> = table.verbs(noun.name).map(|(verb, _)| verb).collect();
    let near = closest(second, verbs.iter().copied());
    let near = near.and_then(|near| table.find(&format!("{} {near}", noun.name)));
    (near.map_or(Meant::Verbs(noun.name, verbs), |command| Meant::Near(command.name)), 2)
}

fn first(table: &Table, word: &str, second: &str) -> Meant {
    match elsewhere(word) {
        Some(SSH) => return Meant::Program(SSH),
        Some(COPY) => return Meant::Program(COPY),
        Some(AGAIN) => return Meant::Again,
        _ => {}
    }
    if let Some(command) = elsewhere(word).and_then(|name| table.find(name)) {
        return Meant::Other(command);
    }
    // "hots ls" is "host ls"; "hots" alone is "host".
    let nouns = table.nouns.iter().map(|noun| noun.name);
    let names = table.listed().map(|command| command.name).filter(|name| !name.contains(' '));
    let Some(near) = closest(word, names.chain(nouns)) else { return Meant::Unknown };
    let two = table.find(&format!("{near} {second}"));
    Meant::Near(two.map_or(near, |command| command.name))
}

fn elsewhere(word: &str) -> Option<&'static str> {
    let said = |row: &&(&str, &str)| row.0.split(' ').any(|other| other == word);
    ELSEWHERE.iter().find(said).map(|(_, here)| *here)
}

/// The command line that was meant; where it lacks something, what it needs.
fn typed(command: &'static Command, rest: &[String]) -> Fix {
    let (least, most) = command.operands;
    if rest.len() < least || rest.len() > most {
        return fix!("hop {} --help", Fix::from(command.name));
    }
    let line = fix!("hop {}", Fix::from(command.name));
    rest.iter().fold(line, |line, word| fix!("{} {}", line, word))
}

fn reaches(program: &str) -> String {
    format!("{program} itself goes there by the host's name, as every other program does")
}

/// A program that every host is open to under its name.
fn by_name(call: &mut Call, what: String, program: &'static str, rest: &[String]) -> Failure {
    let (named, words) = match (known(call, rest.first()), rest) {
        (Some(host), [_, words @ ..]) => (Some(host), words),
        _ => (chosen(call), rest),
    };
    let Some(host) = named else {
        let why = format!("{program} itself goes there, once there is a host");
        return Failure::usage(what, why, "hop setup mybox -a ADDRESS");
    };
    let line = fix!("{} {}", Fix::from(program), hop_name(&host));
    let words = if program == SSH { words } else { &[] };
    let next = words.iter().fold(line, |line, word| fix!("{} {}", line, word));
    Failure::usage(what, reaches(program), next)
}

/// The word, if it is a host.
fn known(call: &Call, word: Option<&String>) -> Option<String> {
    let word = word.map(|word| word.strip_suffix(".hop").unwrap_or(word).to_owned())?;
    let names = crate::host::store::names(&call.paths().ok()?).ok()?;
    names.contains(&word).then_some(word)
}

fn chosen(call: &mut Call) -> Option<String> {
    let paths = call.paths().ok()?;
    target_host::without_asking(call, &paths)
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    #[test]
    fn what_is_said_elsewhere_leads_to_commands_that_are_there() {
        let mut seen: Vec<&str> = Vec::new();
        for (words, here) in ELSEWHERE {
            let there = TABLE.find(here).is_some();
            assert!(there || [SSH, COPY, AGAIN].contains(here), "{here}");
            for word in words.split(' ') {
                assert!(!seen.contains(&word), "{word} twice");
                assert!(TABLE.find(word).is_none(), "{word} is ours");
                assert!(!TABLE.nouns.iter().any(|noun| noun.name == word), "{word} is ours");
                seen.push(word);
            }
        }
    }

    #[test]
    fn words_are_understood() {
        let meant = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            match find(&TABLE, &words).0 {
                Meant::Other(command) => command.name.to_owned(),
                Meant::Near(near) => format!("~{near}"),
                Meant::Program(program) => format!("!{program}"),
                Meant::Again => "again".to_owned(),
                Meant::Verbs(noun, verbs) => format!("{noun}: {}", verbs.join(" ")),
                Meant::Unknown => "?".to_owned(),
            }
        };
        for (line, expected) in [
            ("ssh mybox", "!ssh"),
            ("peers", "host peers"),
            ("connect mybox", "up"),
            ("restart", "again"),
            ("host list", "host ls"),
            ("host remove x", "host rm"),
            ("host up x", "up"),
            ("host foo", "host: ls add default rm peers revoke"),
            ("host rn x", "~host rm"),
            ("hots ls", "~host ls"),
            ("hots", "~host"),
            ("autostart enable", "autostart on"),
            ("autostart start", "autostart on"),
            ("autostart maybe", "autostart: on off status"),
            ("services list", "services ls"),
            ("services logs web", "logs"),
            ("services begin", "services start"),
            ("services strat", "~services start"),
            ("pu", "~up"),
            ("deploy", "?"),
        ] {
            assert_eq!(meant(line), expected, "{line}");
        }
    }
}
