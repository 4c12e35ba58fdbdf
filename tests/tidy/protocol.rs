//! hopbox-protocol(7) names every operation, method, parameter, key of an answer and error code
//! that the sources have, each where it belongs, and none that they do not have.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, has_word, none, read, without_tests};

const PAGE: &str = "man/hopbox-protocol.7";
const METHODS: &str = "src/rpc/method.rs";

/// What is listed in a section: its names, and what is said of it.
type Entries = BTreeMap<String, String>;

/// By section, its entries that are words of the protocol.
fn sections() -> BTreeMap<String, Entries> {
    let (page, mut all) = (read(PAGE), BTreeMap::<String, Entries>::new());
    let (mut section, mut names) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix(".Ss ").or_else(|| line.strip_prefix(".Sh ")) {
            (section, names) = (title.to_owned(), Vec::new());
        } else if let Some(listed) = line.strip_prefix(".It ") {
            let listed = listed.strip_prefix("Li ").unwrap_or("").split(" , ");
            names = listed.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        }
        for name in &names {
            let said = all.entry(section.clone()).or_default().entry(name.clone()).or_default();
            *said = format!("{said}{line}\n");
        }
    }
    all
}

fn named(sections: &BTreeMap<String, Entries>, titles: &[&str]) -> BTreeSet<String> {
    let of = |title: &&str| sections.get(*title).into_iter().flat_map(|all| all.keys().cloned());
    titles.iter().flat_map(of).collect()
}

/// Both ways: what the page lacks, and what it has made up.
fn differences(what: &str, is: &BTreeSet<String>, page: &BTreeSet<String>) -> Vec<String> {
    let missing = is.difference(page).map(|name| format!("{what} {name} is not in {PAGE}"));
    let made_up =
        page.difference(is).map(|name| format!("{PAGE} has {what} {name}, which is none"));
    missing.chain(made_up).collect()
}

/// The texts between quotation marks.
fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What stands between the two, the first time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(found, _)| found)
}

/// Operations of a helper's table, each with its arguments.
fn operations(table: &str, rooms: &str) -> Vec<(String, Vec<String>)> {
    let table = read(table);
    let arguments = |word: &str| {
        if word.starts_with('&') {
            return quoted(word);
        }
        let (module, name) = word.split_once("::").unwrap_or(("", word));
        let rooms = files(rooms, ".rs").into_iter().filter(|path| {
            let path = path.to_string_lossy();
            path.contains(&format!("/{module}/"))
                || path.ends_with(&format!("/{module}.rs"))
                || module.is_empty()
        });
        let sources: String = rooms.map(read).collect();
        quoted(between(&sources, &format!("const {name}: &[&str] ="), ";"))
    };
    let rows = table.lines().filter_map(|line| line.trim().strip_prefix("row(\""));
    rows.filter_map(|row| {
        let (name, rest) = row.split_once("\", ")?;
        let mut words = rest.splitn(3, ", ").skip(2);
        let list = words.next()?;
        let list = if list.starts_with('&') {
            list.split_inclusive(']').next()?
        } else {
            list.split(',').next()?
        };
        Some((name.to_owned(), arguments(list)))
    })
    .collect()
}

#[test]
fn the_page_has_every_operation_of_the_helpers() {
    let sections = sections();
    let [both, net, server] =
        ["both helpers", "hop-helper", "hop-helper-server"].map(|of| format!("Operations of {of}"));
    let of_net = operations("helper/src/net/ops.rs", "helper/src/net");
    let of_server = operations("helper/src/server/ops.rs", "helper/src/server");
    assert!(of_net.len() > 10 && of_server.len() > 24, "{of_net:?} {of_server:?}");
    let mut wrong = Vec::new();
    for (title, table) in [(&net, &of_net), (&server, &of_server)] {
        let is = table.iter().map(|(name, _)| name.clone()).collect();
        wrong.extend(differences("operation", &is, &named(&sections, &[&both, title])));
        for (name, arguments) in table {
            let said = [&both, title].into_iter().find_map(|title| sections.get(title)?.get(name));
            let said = said.map_or("", String::as_str);
            let lost = arguments.iter().filter(|argument| !has_word(said, argument));
            wrong.extend(lost.map(|argument| format!("{name}: {argument} is not said")));
        }
    }
    none("the page and the tables of the helpers", wrong);
}

/// Methods as `name: parameters`, of those that one macro makes.
fn made_by(text: &str, made: &str) -> Vec<(String, String)> {
    let rows = between(text, &format!("\n{made}! {{\n"), "\n}").lines();
    rows.filter_map(|row| {
        let (name, rest) = row.split_once(", \"")?.1.split_once("\": ")?;
        Some((name.to_owned(), rest.split(" =>").next()?.to_owned()))
    })
    .collect()
}

/// What a message is made of, as far as its own lines say: the keys.
fn keys(implementation: &str) -> BTreeSet<String> {
    let is_key = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let parts: Vec<&str> = implementation.split('"').collect();
    let keys = parts.windows(3).step_by(2).filter_map(|part| {
        let [before, text, after] = part else { return None };
        let is_taken = before.ends_with("fields, ") || before.ends_with('(');
        let is_put = after.starts_with(':') || before.ends_with('[');
        (is_key(text) && (is_taken || is_put)).then(|| (*text).to_owned())
    });
    keys.collect()
}

/// All messages of the API, each with its keys.
fn messages() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for path in files("src/rpc", ".rs") {
        let text = read(&path);
        for part in without_tests(&text).split("\nimpl Message for ").skip(1) {
            let (name, rest) = part.split_once(" {").unwrap_or((part, ""));
            all.insert(name.to_owned(), keys(rest.split("\n}\n").next().unwrap_or_default()));
        }
    }
    all
}

#[test]
fn the_page_has_every_method_of_the_agent() {
    let (sections, text) = (sections(), read(METHODS));
    let constants = text.lines().filter_map(|line| line.strip_prefix("pub const "));
    let constants = constants.flat_map(quoted);
    let (streams, bytes): (BTreeSet<_>, BTreeSet<_>) =
        constants.filter(|name| name.contains('.')).partition(|name| name == "run.start");
    let [once, lines] = ["methods", "streams"].map(|made| made_by(&text, made));
    assert!(once.len() > 20 && lines.len() > 20 && bytes.len() > 3, "{once:?} {lines:?} {bytes:?}");
    let names = |table: &[(String, String)]| -> BTreeSet<String> {
        table.iter().map(|(name, _)| name.clone()).collect()
    };
    let streams = &streams | &names(&lines);
    let mut wrong = Vec::new();
    for (is, titles) in [
        (names(&once), &["Methods", "Within the server"][..]),
        (streams, &["Streams"]),
        (bytes, &["Connections"]),
    ] {
        wrong.extend(differences("method", &is, &named(&sections, titles)));
    }
    let messages = messages();
    for (name, params) in once.iter().chain(&lines) {
        let said = sections.values().find_map(|all| all.get(name)).map_or("", String::as_str);
        let keys = messages.get(params).into_iter().flatten();
        let lost = keys.filter(|key| !has_word(said, key));
        wrong.extend(lost.map(|key| format!("{name}: its parameter {key} is not said")));
    }
    none("the page and the agent's methods", wrong);
}

#[test]
fn the_page_has_every_key_that_the_agent_sends() {
    let (page, messages) = (read(PAGE), messages());
    assert!(messages.len() > 60, "{messages:?}");
    let lost = messages.iter().flat_map(|(of, keys)| {
        let lost = keys.iter().filter(|key| !has_word(&page, key));
        lost.map(move |key| format!("{key} of {of}"))
    });
    none("keys that the page does not have", lost.collect());
}

#[test]
fn the_page_has_every_error() {
    let sections = sections();
    let set = |words: Vec<String>| words.into_iter().collect::<BTreeSet<String>>();
    let helper =
        set(quoted(between(&read("helper/src/proto/error.rs"), "as_str(self)", "\n    }")));
    let http = set(quoted(between(&read("src/http/mod.rs"), "pub mod code {", "\n}")));
    let agent = set(quoted(between(&read("src/rpc/code.rs"), "const WORDS", "];")));
    assert!(
        helper.len() > 10 && http.len() > 7 && agent.len() > 17,
        "{helper:?} {http:?} {agent:?}"
    );
    let of_agent = named(&sections, &["Errors of HTTP", "Errors of methods"]);
    let mut wrong = differences("code", &helper, &named(&sections, &["Errors of the helpers"]));
    wrong.extend(differences("code", &(&http | &agent), &of_agent));
    let of_http = named(&sections, &["Errors of HTTP"]);
    wrong.extend(http.difference(&of_http).map(|code| format!("{code} is one of HTTP's")));
    none("the page and the codes", wrong);
}
