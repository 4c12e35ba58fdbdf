//! The rules of CONTRIBUTING.md that a program can check.

#[path = "tidy/advice.rs"]
mod advice;
#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/protocol.rs"]
mod protocol;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below `dir` with this ending, as paths relative to the root, sorted.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(dir)];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

/// Of hop, its agent and its self test.
fn of_hop() -> Vec<PathBuf> {
    let mut all = files("src", ".rs");
    all.extend(files("tests/selftest", ".rs"));
    all
}

fn sources() -> Vec<PathBuf> {
    let mut all = of_hop();
    all.extend(files("helper", ".rs"));
    all
}

fn is_test(path: &Path) -> bool {
    let p = path.to_string_lossy();
    let rooms = ["tests/", "helper/tests/"];
    let is_program = p.starts_with("tests/selftest/src/");
    !is_program && rooms.iter().any(|room| p.starts_with(room)) || p.ends_with("tests.rs")
}

/// Lines of code, without comments; string contents stay.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l.split("//").next().unwrap_or("")))
        .filter(|(_, l)| !l.trim().is_empty())
}

/// The part of a file before its inline tests.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

fn has_word(line: &str, word: &str) -> bool {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        boundary(line[..at].chars().next_back()) && boundary(line[at + word.len()..].chars().next())
    })
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn unsafe_code_lives_in_the_sys_modules_alone() {
    let mut found = Vec::new();
    for path in sources() {
        let p = path.to_string_lossy();
        let rooms = ["src/sys/", "src/simd/", "helper/src/sys/", "helper/src/sys.rs"];
        if rooms.iter().any(|room| p.starts_with(room)) {
            continue;
        }
        let text = read(&path);
        found.extend(
            code(&text)
                .filter(|(_, l)| has_word(l, "unsafe") && !l.contains("unsafe_"))
                .map(|(n, l)| format!("{p}:{n}: {}", l.trim())),
        );
    }
    none("unsafe outside its rooms", found);
}

/// Module → modules of ours that it must never name, and words it must not contain.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    (
        // Crates of their own: that they name nothing else of ours, cargo sees to.
        "src/wg/",
        &[],
        &[
            "std::time::Instant",
            "SystemTime",
            "UdpSocket",
            "std::thread",
            "std::env",
            "std::fs",
            "libc",
            "nix",
            "serde_json",
            "HashMap",
            "HashSet",
            "println",
            "eprintln",
        ],
    ),
    ("src/simd/", &[], &["libc", "nix", "std::thread", "std::fs", "std::env", "serde_json"]),
    (
        "src/sys/",
        &["wg", "base", "tunnel", "helper", "host", "http", "rpc", "session", "agent", "cli"],
        &["serde_json"],
    ),
    // Who makes namespaces and mounts is the self test, and no program that is there every day.
    ("src/", &[], &["nix::sched", "nix::mount", "hopbox_selftest"]),
    (
        "tests/selftest/src/",
        &[],
        &["hopbox::wg", "hopbox::ssh", "hopbox::deploy", "hopbox::agent", "hop_helper"],
    ),
    (
        "src/workspace/",
        &[
            "wg", "simd", "sys", "tunnel", "helper", "host", "http", "rpc", "ssh", "session",
            "agent", "cli",
        ],
        &[
            "libc",
            "nix",
            "std::fs",
            "std::env",
            "std::net",
            "std::thread",
            "std::process",
            "Instant",
        ],
    ),
    (
        "src/tunnel/",
        &["workspace", "helper", "host", "http", "rpc", "session", "agent", "cli"],
        &["serde_json"],
    ),
    (
        "src/netstack/",
        &[
            "wg",
            "tunnel",
            "helper",
            "host",
            "http",
            "rpc",
            "ssh",
            "workspace",
            "session",
            "agent",
            "cli",
        ],
        &["libc", "nix", "serde_json"],
    ),
    (
        "src/relay/",
        &[
            "wg",
            "base",
            "text",
            "tunnel",
            "netstack",
            "helper",
            "host",
            "http",
            "rpc",
            "ssh",
            "workspace",
            "session",
            "agent",
            "cli",
        ],
        &["libc", "nix", "serde_json"],
    ),
    (
        "src/datagrams/",
        &[
            "wg",
            "base",
            "text",
            "tunnel",
            "netstack",
            "relay",
            "helper",
            "host",
            "http",
            "rpc",
            "ssh",
            "workspace",
            "session",
            "agent",
            "cli",
        ],
        &["libc", "nix", "serde_json"],
    ),
    (
        "src/helper/",
        &["cloud", "wg", "tunnel", "host", "http", "rpc", "session", "agent", "cli"],
        &[],
    ),
    (
        "src/base/",
        &[
            "wg", "simd", "tunnel", "helper", "host", "http", "rpc", "ssh", "session", "agent",
            "cli",
        ],
        &["libc", "nix"],
    ),
    (
        "src/http/",
        &["wg", "base", "tunnel", "helper", "host", "rpc", "ssh", "session", "agent", "cli"],
        &[],
    ),
    (
        "src/cloud/",
        &["wg", "tunnel", "helper", "host", "ssh", "session", "agent", "cli"],
        &["libc", "nix"],
    ),
    (
        "src/rpc/",
        &["cloud", "wg", "tunnel", "helper", "host", "ssh", "session", "agent", "cli"],
        &[],
    ),
    ("src/host/", &["cloud", "wg", "tunnel", "helper", "ssh", "session", "agent", "cli"], &[]),
    (
        "src/text",
        &[
            "wg", "simd", "base", "sys", "tunnel", "helper", "host", "http", "rpc", "ssh",
            "session", "agent", "cli",
        ],
        &["libc", "nix", "std::thread", "std::fs", "std::env"],
    ),
    ("src/ssh/", &["cloud", "wg", "tunnel", "helper", "host", "session", "agent", "cli"], &[]),
    ("src/session/", &["cloud", "wg", "agent", "cli"], &[]),
    ("src/agent/", &["cloud", "wg", "host", "session", "cli"], &[]),
    (
        "src/agent/work/",
        &["agent::front", "agent::config", "agent::store", "tunnel", "helper"],
        &["TcpListener"],
    ),
    ("src/agent/front/", &["agent::work"], &["Command::new"]),
    (
        "src/agent/keeper/",
        &[
            "agent::front",
            "agent::work",
            "agent::joint",
            "http",
            "rpc",
            "tunnel",
            "helper",
            "workspace",
        ],
        &[],
    ),
    ("src/deploy/", &["wg", "http", "agent", "cli"], &[]),
    ("src/cli/", &["wg", "ssh"], &[]),
    ("helper/src/", &[], &["hopbox::", " nix::", "tokio::"]),
    (
        "helper/src/proto/",
        &["core", "net", "server", "install", "macos", "sys"],
        &["libc", "std::fs"],
    ),
    ("helper/src/core/", &["net", "server", "install"], &[]),
    ("helper/src/net/", &["server", "install"], &[]),
    (
        "helper/src/server/",
        &["net::lease", "net::link", "net::linux", "net::state", "net::hosts", "install"],
        &[],
    ),
];

#[test]
fn nothing_below_knows_a_name_above() {
    let mut found = Vec::new();
    for path in sources() {
        let p = path.to_string_lossy().into_owned();
        if is_test(&path) {
            continue;
        }
        let text = read(&path);
        for (room, modules, words) in LAYERS.iter().filter(|(room, ..)| p.starts_with(room)) {
            for (n, line) in code(without_tests(&text)) {
                let named = |m: &&&str| {
                    line.contains(&format!("crate::{m}::"))
                        || line.contains(&format!("crate::{m};"))
                };
                let bad = modules.iter().find(named).or_else(|| {
                    words
                        .iter()
                        .find(|w| line.contains(*w) && (w.ends_with(':') || has_word(line, w)))
                });
                if let Some(bad) = bad {
                    found.push(format!("{p}:{n}: {room} must not use {bad}"));
                }
            }
        }
        // What runs as root is linked, and not called, by anybody else.
        let roots = |l: &str| l.contains("hop_helper::") && !l.contains("hop_helper::proto");
        if p.starts_with("src/") {
            let called = code(without_tests(&text)).filter(|(_, line)| roots(line));
            found.extend(called.map(|(n, line)| format!("{p}:{n}: {}", line.trim())));
        }
        let above = p.starts_with("src/deploy/") || p.starts_with("src/cli/");
        let lines = code(without_tests(&text)).filter(|(_, line)| line.contains("crate::deploy"));
        found.extend(
            lines.filter(|_| !above).map(|(n, _)| format!("{p}:{n}: only cli uses deploy")),
        );
        // The proof is the user's own `hop up`; a laptop's key is the tunnel's.
        let doors = [("session", "verify.rs"), ("tunnel", "identity.rs")];
        for (module, door) in doors {
            if p.starts_with("src/deploy/") && !p.ends_with(door) {
                let uses = |line: &str| line.contains(&format!("crate::{module}"));
                let lines = code(without_tests(&text)).filter(|(_, line)| uses(line));
                found.extend(lines.map(|(n, _)| format!("{p}:{n}: only {door} uses {module}")));
            }
        }
        if p.starts_with("src/cli/") && p != "src/cli/wg.rs" {
            for (n, line) in code(without_tests(&text)) {
                // Other programs and other people's files have limits everywhere.
                let bounds = ["child", "bounded", "interrupt", "threads"];
                let bounds = bounds.map(|module| format!("crate::sys::{module}"));
                let sys = line.contains("crate::sys")
                    && !bounds.iter().any(|b| line.contains(b.as_str()));
                if line.contains("crate::tunnel") || sys {
                    found.push(format!("{p}:{n}: cli must not use tunnel or sys"));
                }
            }
        }
    }
    none("layers", found);
}

#[test]
fn lines_are_short_and_nothing_is_left_to_do() {
    let mut found = Vec::new();
    let mut all = sources();
    all.extend(files("tests", ".rs"));
    all.sort();
    all.dedup();
    for path in all {
        let p = path.to_string_lossy().into_owned();
        for (i, line) in read(&path).lines().enumerate() {
            let width = line.chars().count();
            if width > 100 && !line.contains('"') {
                found.push(format!("{p}:{}: {width} columns", i + 1));
            }
            // Spelled in two halves, so that this file is no hit.
            for word in
                [concat!("todo", "!("), concat!("unimpl", "emented!("), concat!("#[ign", "ore")]
            {
                if line.contains(word) {
                    found.push(format!("{p}:{}: {word}", i + 1));
                }
            }
        }
    }
    none("house style", found);
}

/// What writes where people read, or makes a line of a whole text, and the files that may: each
/// gives it only what went through `text` (or the helper's `say`).
const WRITERS: &[(&str, &[&str])] = &[
    ("println!", &[]),
    ("eprintln!", &[]),
    ("print!", &[]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    (
        "stdout()",
        &[
            "src/agent/say.rs",
            // What was pasted, byte for byte.
            "src/agent/work/bridge/verbs.rs",
            // Asks how wide it is.
            "src/base/terminal.rs",
            "src/cli/out.rs",
            // The pipe to `hop up`.
            "src/session/daemon/child.rs",
            // Takes a socket away from there.
            "src/sys/process.rs",
            // What a command on a host says, byte for byte.
            "src/session/remote.rs",
            // Looks whether somebody reads it.
            "src/session/unread.rs",
            "helper/src/core/start.rs",
            "helper/src/server/mount/make.rs",
            "helper/src/install/files.rs",
        ],
    ),
    (
        "stderr()",
        &[
            "src/agent/say.rs",
            "src/base/terminal.rs",
            "src/cli/prompt.rs",
            // A child that speaks for itself: an editor.
            "src/cli/code.rs",
            "src/cli/out.rs",
            "src/session/log.rs",
            "src/session/remote.rs",
            "src/tunnel/wg_command.rs",
            "helper/src/core/say.rs",
        ],
    ),
    // Not escaped: what `cli::page` made, and what goes through `Aside`.
    ("Stderr", &["src/base/terminal.rs", "src/cli/progress.rs"]),
    (
        "terminal::aside",
        &[
            // What a program says that is talked to.
            "src/deploy/local_helper.rs",
            "src/deploy/root_script.rs",
            "src/ssh/connection.rs",
        ],
    ),
    // Our own words over several lines.
    ("Page::of(", &["src/cli/help.rs"]),
    // From another process of ours, of the same user.
    (
        "Fix::carried(",
        &["src/session/report.rs", "src/session/transport/told.rs", "src/deploy/verify.rs"],
    ),
];

#[test]
fn text_of_others_has_one_way_out() {
    let mut found = Vec::new();
    for path in sources().iter().filter(|path| !is_test(path)) {
        let p = path.to_string_lossy();
        if p.starts_with("src/text") || p.ends_with("_tests.rs") {
            continue;
        }
        let text = read(path);
        for (word, files) in WRITERS {
            let at_start = |line: &str, at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            };
            let writes = |line: &str| line.match_indices(word).any(|(at, _)| at_start(line, at));
            let lines = code(without_tests(&text)).filter(|(_, line)| writes(line));
            let lines = lines.filter(|_| !files.contains(&&*p));
            found.extend(lines.map(|(n, line)| format!("{p}:{n}: {}", line.trim())));
        }
    }
    none("written past src/text", found);
}

fn rule_ids(text: &str) -> BTreeSet<u32> {
    let is_digit = |c: &u8| c.is_ascii_digit();
    let bytes = text.as_bytes();
    (0..bytes.len())
        .filter(|&i| bytes[i] == b'R' && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric()))
        .filter_map(|i| {
            let digits: Vec<u8> = bytes[i + 1..].iter().copied().take_while(is_digit).collect();
            let end = bytes.get(i + 1 + digits.len());
            let whole = !end.is_some_and(|c| c.is_ascii_alphanumeric());
            (whole && (2..=3).contains(&digits.len()))
                .then(|| String::from_utf8(digits).unwrap().parse().unwrap())
        })
        .collect()
}

/// Ids in comments; "R38–R40" and "R38-R40" name all three.
fn ids_in_comments(text: &str) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    for line in text.lines() {
        let Some(at) = line.find("//") else { continue };
        let comment = &line[at..];
        ids.extend(rule_ids(comment));
        for dash in ["–", "-"] {
            for (at, _) in comment.match_indices(dash) {
                let from = comment[..at].rsplit(|c: char| !c.is_alphanumeric()).next();
                let to = comment[at + dash.len()..].split(|c: char| !c.is_alphanumeric()).next();
                let id = |s: Option<&str>| s?.strip_prefix('R')?.parse::<u32>().ok();
                if let (Some(from), Some(to)) = (id(from), id(to)) {
                    ids.extend(from..=to);
                }
            }
        }
    }
    ids
}

fn ids_in<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<u32> {
    paths.flat_map(|p| ids_in_comments(&read(p))).collect()
}

#[test]
fn rule_ids_in_comments_are_rules() {
    let rules = rule_ids(&read("src/wg/RULES.md"));
    assert_eq!(rules, (1..=104).collect());
    let mut all = files("src/wg", ".rs");
    all.extend(files("src/tunnel", ".rs"));
    all.extend(files("tests/wg", ".rs"));
    let strange: Vec<_> = ids_in(all.iter()).difference(&rules).map(|r| format!("R{r}")).collect();
    none("no such rule", strange);
}

#[test]
fn every_rule_has_its_place_in_the_source_and_a_test() {
    let (mut source, mut tests) = (BTreeSet::new(), BTreeSet::new());
    let mut all = files("src", ".rs");
    all.extend(files("tests", ".rs"));
    for path in all {
        let text = read(&path);
        let code = if is_test(&path) { "" } else { without_tests(&text) };
        source.extend(ids_in_comments(code));
        tests.extend(ids_in_comments(&text[code.len()..]));
    }
    let missing = |seen: &BTreeSet<u32>| -> Vec<String> {
        (1..=104).filter(|r| !seen.contains(r)).map(|r| format!("R{r}")).collect()
    };
    none("rules that no source names", missing(&source));
    none("rules that no test names", missing(&tests));
}

/// Files that start programs by themselves, and why they may.
const STARTERS: &[(&str, &str)] = &[
    ("src/sys/child.rs", "the one way"),
    ("src/sys/started.rs", "runs as long as a laptop wants it, and is attended to until its end"),
    (
        "src/session/daemon/parent.rs",
        "a session stays; until it is ready it is watched and has a limit",
    ),
    (
        "src/session/companion/parent.rs",
        "a companion stays as long as its session, which hears it all the while",
    ),
    (
        "tests/selftest/src/outside.rs",
        "the inner process, watched, with a limit, and our own terminal",
    ),
    ("tests/selftest/src/programs.rs", "helper and agent of the self test, with a limit to files"),
    ("src/cli/selftest.rs", "becomes the self test, which has a limit of its own"),
    ("src/agent/work/bridge/shim/real.rs", "becomes the program that was called, as without it"),
    ("helper/src/install/sibling.rs", "becomes the program beside it, of which nothing is awaited"),
    ("helper/src/server/program.rs", "ten seconds, little of its output, killed when nobody waits"),
    ("helper/src/server/worker.rs", "the daemon's other half, which ends with it"),
    ("helper/src/macos/install.rs", "launchd's own tool, and nothing of it is read"),
    ("src/sys/net_space.rs", "one connection, awaited with a limit, and killed after it"),
    ("src/session/bridge/browser/chromium.rs", "watched by a thread as long as it lives"),
    ("src/session/bridge/notices.rs", "a question, which stays until it is answered"),
    ("src/session/bridge/programs.rs", "what keeps a clipboard stays; 64, a limit until then"),
    ("src/sys/children.rs", "services, which run as long as they like"),
];

/// `if let … && …`, which Rust knows from 1.88 on: Debian 13 has 1.85, and here is a newer one.
#[test]
fn conditions_are_those_of_the_oldest_rust() {
    let mut found = Vec::new();
    for path in sources() {
        let text = read(&path);
        for (start, _) in text.match_indices("if let ").chain(text.match_indices("while let ")) {
            let condition = text[start..].split_once(" {\n").map_or("", |(condition, _)| condition);
            let (mut depth, mut is_chain) = (0, false);
            for (at, letter) in condition.char_indices() {
                depth += i32::from("([{".contains(letter)) - i32::from(")]}".contains(letter));
                is_chain |= depth == 0 && condition[at..].starts_with("&& ");
            }
            if is_chain || condition.contains("&& let ") {
                found.push(format!("{}: {condition}", path.display()));
            }
        }
    }
    none("chains of conditions", found);
}

#[test]
fn every_program_that_is_run_has_limits() {
    let mut found = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test(path)) {
        let (p, text) = (path.to_string_lossy().into_owned(), read(&path));
        let text = without_tests(&text);
        let starts = ["Command::new(", "Process::new(", "root_command("];
        let starts = starts.iter().any(|word| text.contains(word));
        if STARTERS.iter().any(|(file, _)| p == *file) {
            continue;
        }
        found.extend(
            code(text)
                .filter(|(_, l)| {
                    l.contains(".output()")
                        || l.contains(".spawn()")
                        || l.contains(".exec()")
                        || (starts && l.contains(".status()"))
                })
                .map(|(n, l)| format!("{p}:{n}: {}", l.trim())),
        );
    }
    none("programs without limits: see sys::child", found);
}

#[test]
fn a_thread_that_the_system_does_not_give_is_no_panic() {
    let mut found = Vec::new();
    for path in of_hop().into_iter().filter(|path| path.starts_with("src") && !is_test(path)) {
        let (p, text) = (path.to_string_lossy().into_owned(), read(&path));
        let panics =
            |line: &str| ["thread::spawn(", "scope.spawn("].iter().any(|w| line.contains(w));
        let lines = code(without_tests(&text)).filter(|(_, line)| panics(line));
        found.extend(lines.map(|(n, l)| format!("{p}:{n}: {}", l.trim())));
        let scopes = code(without_tests(&text)).filter(|(_, line)| line.contains("thread::scope("));
        let named = scopes.filter(|(_, line)| !line.contains("thread::scope(|scope|"));
        found.extend(named.map(|(n, _)| format!("{p}:{n}: a scope is called scope")));
    }
    none("threads that panic where there are none: see sys::threads", found);
}

#[test]
fn no_script_is_read_from_what_its_programs_read() {
    let mut found = Vec::new();
    for path in of_hop().into_iter().filter(|path| !is_test(path)) {
        let (p, text) = (path.to_string_lossy().into_owned(), read(&path));
        let shares = |line: &str| {
            let words: Vec<&str> = line.split([' ', '"', '\'', '`', '(', ';', '|']).collect();
            words.windows(2).any(|pair| {
                ["sh", "bash", "dash"].contains(&pair[0])
                    && ["-s", "-", "/dev/stdin"].contains(&pair[1])
            })
        };
        let text = without_tests(&text);
        found.extend(text.lines().filter(|l| shares(l)).map(|l| format!("{p}: {}", l.trim())));
    }
    none("scripts on standard input: see ssh::script", found);
}

/// Files with a bound of their own that this test does not see.
const READERS: &[(&str, &str)] = &[("src/sys/bounded.rs", "the one way")];

#[test]
fn everything_that_others_write_is_read_up_to_a_limit() {
    let mut found = Vec::new();
    for path in of_hop().into_iter().filter(|path| !is_test(path)) {
        let (p, text) = (path.to_string_lossy().into_owned(), read(&path));
        if READERS.iter().any(|(file, _)| p == *file) {
            continue;
        }
        let whole = |line: &str| {
            let reads =
                ["read_to_end(&mut", "read_to_string(&mut", "read_line(&mut", "read_until("];
            let reads = reads.iter().any(|word| line.contains(word)) && !line.contains("take(");
            (reads && !line.contains("&mut self"))
                || line.contains("fs::read(")
                || line.contains("fs::read_to_string(")
        };
        let text = without_tests(&text);
        found.extend(
            code(text).filter(|(_, l)| whole(l)).map(|(n, l)| format!("{p}:{n}: {}", l.trim())),
        );
    }
    none("reads without a limit: see sys::bounded", found);
}

/// Others can make and remove there, and a janitor does: no file of what runs as root or as a
/// service is in a directory that all share (C27).
#[test]
fn nothing_of_the_servers_lies_in_a_shared_directory() {
    let mut all: Vec<PathBuf> = sources().into_iter().filter(|path| !is_test(path)).collect();
    all.extend(files("src/agent", ".sh"));
    all.extend(files("src/agent", ".service"));
    let mut found = Vec::new();
    for path in all {
        let (p, text) = (path.to_string_lossy().into_owned(), read(&path));
        if !p.starts_with("src/agent/") && !p.starts_with("helper/src/") {
            continue;
        }
        let shared = ["/tmp", "/dev/shm", "temp_dir("];
        let text = without_tests(&text);
        found.extend(
            code(text)
                .filter(|(_, l)| shared.iter().any(|word| l.contains(word)))
                .map(|(n, l)| format!("{p}:{n}: {}", l.trim())),
        );
    }
    none("paths in shared directories", found);
}

// R98
#[test]
fn what_macos_has_of_its_own_offers_what_linux_has() {
    // Called by tests of Linux alone.
    let of_linux = ["open_bare_tun", "without_checksums"];
    let offered = |path: &Path| -> BTreeSet<String> {
        let text = read(path);
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub fn "));
        names.map(|rest| rest.split(['(', '<']).next().unwrap_or(rest).to_owned()).collect()
    };
    let twins = files("src/sys/darwin", ".rs");
    assert!(twins.len() > 5, "{twins:?}");
    let mut missing = Vec::new();
    for twin in twins {
        let linux = Path::new("src/sys").join(twin.file_name().unwrap());
        let all = offered(&linux);
        let known = |name: &&String| of_linux.contains(&name.as_str());
        let has = offered(&twin);
        let lacks = all.difference(&has).filter(|name| !known(name)).cloned();
        missing.extend(lacks.map(|name| format!("{}: {name}", twin.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn randomness_outside_tests_is_the_systems_alone() {
    let mut found = Vec::new();
    for path in of_hop().into_iter().filter(|path| !is_test(path)) {
        let text = read(&path);
        if path != Path::new("src/tunnel/entropy.rs")
            && without_tests(&text).contains("Entropy for")
        {
            found.push(path.display().to_string());
        }
    }
    none("another source of randomness", found);
}

// R99
#[test]
fn what_holds_secrets_cannot_be_printed() {
    let holders = [
        "Secret",
        "Identity",
        "Remote",
        "Initiated",
        "Claimed",
        "Consumed",
        "SessionKeys",
        "Aead",
        "Session",
        "Keys",
        "Transcript",
        "Checker",
        "Jar",
        "Shared",
        "Peer",
        "Device",
        "PeerUpdate",
        "PeerStatus",
        "Config",
        "Env",
        "PeerConfig",
        "HostConfig",
        "AgentConfig",
    ];
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in ["src/wg", "src/tunnel", "src/host", "src/agent", "src/workspace"]
        .iter()
        .flat_map(|d| files(d, ".rs"))
    {
        let text = read(&path);
        let mut derived = String::new();
        for line in text.lines() {
            let name = line.trim_start().strip_prefix("pub ").unwrap_or(line.trim_start());
            let name = name.strip_prefix("struct ").unwrap_or("");
            let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
            if let Some(holder) = holders.iter().find(|h| **h == name) {
                seen.insert(*holder);
                if derived.contains("Debug") {
                    found.push(format!("{}: {name} has Debug", path.display()));
                }
            }
            let line = line.trim_start();
            if line.starts_with("#[derive") {
                derived = line.to_string();
            } else if !line.starts_with('#') && !line.starts_with("//") {
                derived.clear();
            }
        }
    }
    none("secrets that can be printed", found);
    assert_eq!(seen.len(), holders.len(), "every holder was found: {seen:?}");
}

/// Files that a packet may pass in each direction.
const WALK_MAX: usize = 15;

#[test]
fn a_packet_passes_few_files_and_those_that_are_named() {
    let head = read("src/tunnel/mod.rs");
    let head: Vec<&str> = head.lines().map_while(|l| l.strip_prefix("//!")).collect();
    let head = head.join("\n");
    let mut found = Vec::new();
    for way in ["TUN to wire:", "Wire to TUN:"] {
        let list = head.split(way).nth(1).and_then(|l| l.split("\n\n").next()).unwrap();
        let list = list.split("\n - ").next().unwrap();
        let names: Vec<&str> =
            list.split('`').skip(1).step_by(2).filter(|n| *n != "simd").collect();
        assert!(names.len() > 10, "{way} the list was read: {names:?}");
        if names.len() > WALK_MAX {
            found.push(format!("{way} {} files", names.len()));
        }
        for name in names {
            let room = ["wg/", "sys/"].iter().any(|room| name.starts_with(room));
            let path =
                if room { format!("src/{name}.rs") } else { format!("src/tunnel/{name}.rs") };
            // Whatever a packet passes takes bytes.
            let takes = |text: &str| without_tests(text).contains("[u8");
            if !Path::new(&path).exists() || !takes(&read(&path)) {
                found.push(format!("{way} {path}"));
            }
        }
    }
    none("the way of a packet", found);
}

#[test]
fn every_crate_of_the_lock_file_has_its_reason() {
    let ledger = read("CONTRIBUTING.md");
    let lock = read("Cargo.lock");
    let names: Vec<_> = lock
        .lines()
        .filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|n| !n.starts_with("hopbox") && *n != "hop-helper")
        .collect();
    assert!(names.len() > 20, "the lock file was read");
    let missing = names.iter().filter(|n| !ledger.contains(&format!("`{n}`")));
    none("crates without a line in CONTRIBUTING.md", missing.map(|n| n.to_string()).collect());
    // syn and defmt are only in the lock file: crates that are never built ask for different ones.
    // smoltcp's bitflags is the one before nix's, as small and with other types.
    let known = ["syn", "defmt", "bitflags"];
    let twice = names.windows(2).filter(|w| w[0] == w[1] && !known.contains(&w[0]));
    none("crates in two versions", twice.map(|w| w[0].to_string()).collect());
}

#[test]
fn the_helper_has_two_crates_and_no_name_of_ours() {
    let manifest = read("helper/Cargo.toml");
    let deps = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: BTreeSet<_> =
        deps.lines().filter_map(|l| Some(l.split_once('=')?.0.trim())).collect();
    assert_eq!(names, BTreeSet::from(["libc", "serde_json"]));
}

#[test]
fn the_readme_and_ci_name_the_same_commands() {
    let readme = read("README.md");
    for command in ["make demo", "make check"] {
        assert!(readme.contains(command), "README.md: {command}");
    }
    assert!(read(".ci/run").contains("make check"));
}

#[test]
fn every_recipe_is_of_this_version() {
    let manifest = read("Cargo.toml");
    let version = manifest.split("version = \"").nth(1).unwrap().split('"').next().unwrap();
    for (recipe, line) in [
        ("debian/changelog", format!("hopbox ({version}-1) ")),
        ("rpm/hopbox.spec", format!("Version:        {version}\n")),
        ("arch/PKGBUILD", format!("pkgver={version}\n")),
        ("alpine/APKBUILD", format!("pkgver={version}\n")),
        ("nix/package.nix", format!("version = \"{version}\";")),
        ("homebrew/hopbox.rb", format!("hopbox-{version}.tar.xz\"")),
    ] {
        assert!(read(Path::new("packaging").join(recipe)).contains(&line), "{recipe}: {line}");
    }
    let told = read("CHANGELOG.md");
    let releases: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(releases.iter().any(|one| one.starts_with(&format!("{version} ("))), "{releases:?}");
    let open = |one: &&&str| one.ends_with("(not released yet)");
    assert!(releases.iter().skip(1).filter(open).count() == 0, "{releases:?}");
}
