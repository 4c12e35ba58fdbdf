//! Every command that is advised stands in src/text/advice.rs, and a cure has a test that runs it.

use std::collections::BTreeSet;

use super::{code, files, is_test, none, read, without_tests};

/// What a command begins with.
const PROGRAMS: &str = "hop sudo sudoedit ls ssh ssh-add ssh-keygen cat man systemctl journalctl \
    getent ip export env make file newgrp timedatectl df quota findmnt tail ping id loginctl \
    launchctl chmod uname ps grep ${EDITOR:-vi} $EDITOR hop-agent hop-helper su mkdir ss";
/// Those that are a command alone.
const ALONE: [&str; 2] = ["quota", "timedatectl"];
/// Sentences and lists that begin like one.
const PROSE: [&str; 22] = [
    "hop ",
    "hop down",
    "hop down ends it, hop up begins it anew",
    "hop help lists all commands",
    "hop setup mybox -a <address>",
    "hop up",
    "hop up begins anew what hop down ended",
    "hop wg: {}",
    "hop-agent ",
    "hop-helper and hop-agent",
    "ls list hosts machines nodes devices servers all",
    "make sure that root can write there",
    "man manual usage commands",
    "ssh ended",
    "ssh ended without a word",
    "ssh has no way to quote control characters and ${ in it",
    "ssh key",
    "ssh shell sh bash exec cmd console terminal login attach enter",
    "ssh would rewrite the file of pinned keys",
    "su ",
    "sudo ",
    "sudo may have to ask for a password, and nobody can be asked",
];

/// The rows: form, and what follows it.
fn rows() -> Vec<(String, String)> {
    let table = read("src/text/advice.rs");
    let lines = table.lines().filter_map(|line| line.trim().strip_prefix("(\""));
    let rows = lines.filter_map(|line| line.rsplit_once("\", "));
    rows.map(|(form, effect)| (form.to_owned(), effect.to_owned())).collect()
}

/// Literals of a line that stand where a command is given, and end as an argument does.
fn commands(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((_, from)) = rest.split_once('"') {
        let Some((text, after)) = from.split_once('"') else { break };
        let text = text.strip_prefix("fix: ").unwrap_or(text);
        let ends = [")", ".into()", ";", ","].iter().any(|end| after.starts_with(end));
        let program = text.split(' ').next().unwrap_or_default();
        let is_known = PROGRAMS.split_whitespace().any(|p| p == program);
        let is_one = is_known && (text.contains(' ') || ALONE.contains(&text));
        // What is put into a sentence is no form of a command.
        let plain = !text.contains("\\n") && !text.replace("{}", "").contains(['{', '`'])
            || text.starts_with('$');
        let is_prose = PROSE.contains(&text) || text.ends_with('.') && !text.ends_with(" .");
        if (ends || after.is_empty()) && is_one && plain && !is_prose {
            found.push(text.to_owned());
        }
        rest = after;
    }
    found
}

#[test]
fn nothing_is_advised_that_is_not_in_the_table() {
    let known: BTreeSet<String> = rows().into_iter().map(|(form, _)| form).collect();
    assert!(known.len() > 100, "the table is read");
    let mut found = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !is_test(path)) {
        let p = path.to_string_lossy().into_owned();
        if p.starts_with("src/text") || p.starts_with("src/cli/selftest") {
            continue;
        }
        let text = read(&path);
        for (n, line) in code(without_tests(&text)) {
            // What a manual says, and what is printed.
            let words =
                ["summary:", "usage:", "help:", "details:", "example:", "format!", "page.add("];
            if words.iter().any(|word| line.contains(word)) {
                continue;
            }
            let strange = commands(line).into_iter().filter(|command| !known.contains(command));
            found.extend(strange.map(|command| format!("{p}:{n}: {command}")));
        }
    }
    none("commands that src/text/advice.rs does not list", found);
}

#[test]
fn nothing_is_in_the_table_that_is_not_advised() {
    let sources = ["src", "tests/selftest/src"].into_iter().flat_map(|dir| files(dir, ".rs"));
    let others = sources.filter(|path| !path.ends_with("text/advice.rs"));
    let text: String = others.map(read).collect();
    let forms = rows().into_iter().map(|(form, _)| form);
    let unused = forms.filter(|form| !text.contains(&format!("\"{form}\"")));
    none("rows that nothing uses", unused.collect());
}

/// Of whole commands; a part is in those that have it.
#[test]
fn every_command_has_a_test_that_runs_it() {
    let table = read("src/text/advice.rs");
    let mut found = Vec::new();
    let mut whole = 0;
    for (form, effect) in rows().into_iter().filter(|(_, effect)| effect != "Part),") {
        let (_, name) = effect.split_once('(').unwrap_or_default();
        let name = name.split(')').next().unwrap_or_default();
        whole += 1;
        let place = table.split(&format!("const {name}: &str")).nth(1).unwrap_or_default();
        let place = place.split('"').nth(1).unwrap_or_default();
        let (file, test) = place.split_once("::").unwrap_or_default();
        if !read(format!("tests/{file}")).contains(&format!("fn {test}()")) {
            found.push(format!("{form}: {place}"));
        }
    }
    assert!(whole > 100, "{whole}");
    none("commands that no test runs", found);
}
