//! Files that import each other in a loop cannot be read one after the other, so there are none.
//! What a file takes from which other is read from its paths: `use` trees and `crate::`, `super::`
//! and `self::` in the code, followed through what a module re-exports to where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, read, sources};

/// A file as a module: its path in the crate, its code without comments and tests, and what it
/// hands on as `(name, path)`; the name of a glob is `*`.
struct Module {
    text: String,
    exports: Vec<(String, Vec<String>)>,
    children: BTreeSet<String>,
}

type Modules = BTreeMap<Vec<String>, Module>;

fn words(path: &str) -> Vec<String> {
    path.split("::").map(|word| word.trim().to_owned()).collect()
}

/// `a::{b, c::{d, self}}` as `a::b`, `a::c::d`, `a::c`, each with the name that it gets here.
fn tree(base: &[String], text: &str, found: &mut Vec<(String, Vec<String>)>) {
    let text = text.trim();
    if let Some((head, rest)) = text.split_once('{') {
        let head = head.trim().trim_end_matches("::");
        let mut base = base.to_vec();
        if !head.is_empty() {
            base.extend(words(head));
        }
        let inner = rest.rfind('}').map_or(rest, |end| &rest[..end]);
        let (mut depth, mut from) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    tree(&base, &inner[from..at], found);
                    from = at + 1;
                }
                _ => {}
            }
        }
        return tree(&base, &inner[from..], found);
    }
    if text.is_empty() {
        return;
    }
    let (path, name) = text.split_once(" as ").map_or((text, None), |(a, b)| (a, Some(b)));
    let mut all = base.to_vec();
    all.extend(words(path).into_iter().filter(|word| word != "self" || base.is_empty()));
    let last = all.last().cloned().unwrap_or_default();
    found.push((name.map_or(last, |name| name.trim().to_owned()), all));
}

/// All `use` declarations as `(public, name, path)`.
fn uses(text: &str) -> Vec<(bool, String, Vec<String>)> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].trim_end_matches(' ');
        let line = before.rsplit('\n').next().unwrap_or_default().trim();
        let (head, tail) = rest[at + 4..].split_once(';').unwrap_or_default();
        if line.is_empty() || line.starts_with("pub") {
            let mut found = Vec::new();
            tree(&[], head, &mut found);
            let public = line.starts_with("pub");
            all.extend(found.into_iter().map(|(name, path)| (public, name, path)));
            rest = tail;
        } else {
            rest = &rest[at + 4..];
        }
    }
    all
}

/// Paths in the code itself that begin with `crate`, `super` or `self`.
fn inline(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' || before == ':' || before == '$' {
                continue;
            }
            let rest = &text[at..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let path = &rest[..end.unwrap_or(rest.len())];
            // With a brace behind it, it is a tree, which `uses` has read.
            if !path.ends_with(':') {
                all.push(words(path));
            }
        }
    }
    all
}

/// The absolute path of what `path` says in `module`, or nothing for another crate's.
fn absolute(module: &[String], of: &Module, path: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        first if of.children.contains(first) => {}
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Whether `name` is said to be something in this text.
fn defines(text: &str, name: &str) -> bool {
    ["fn ", "struct ", "enum ", "type ", "const ", "static ", "trait ", "union ", "macro_rules! "]
        .iter()
        .flat_map(|kind| text.match_indices(kind).map(|(at, kind)| &text[at + kind.len()..]))
        .any(|rest| {
            rest.strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
}

/// The module in which the thing at an absolute path is defined.
fn home(modules: &Modules, path: &[String], limit: u8) -> Option<Vec<String>> {
    let deepest = (0..=path.len()).rev().find(|n| modules.contains_key(&path[..*n]))?;
    let (at, rest) = path.split_at(deepest);
    let module = &modules[at];
    let Some(name) = rest.first().filter(|_| limit > 0) else { return Some(at.to_vec()) };
    if defines(&module.text, name) {
        return Some(at.to_vec());
    }
    let exact = module.exports.iter().filter(|(of, _)| of == name);
    let globs = module.exports.iter().filter(|(of, _)| of == "*");
    for (of, target) in exact.chain(globs) {
        let mut target = absolute(at, module, target)?;
        if of == "*" {
            target.pop();
            target.push(name.clone());
        }
        target.extend(rest[1..].iter().cloned());
        let found = home(modules, &target, limit - 1)?;
        if of != "*" || defines(&modules[&found].text, name) {
            return Some(found);
        }
    }
    Some(at.to_vec())
}

fn modules(dir: &str) -> (Modules, BTreeMap<Vec<String>, String>) {
    let mut all = Modules::new();
    let mut names = BTreeMap::new();
    for path in sources() {
        let file = path.to_string_lossy().replace('\\', "/");
        let Some(inside) = file.strip_prefix(dir) else { continue };
        // What is a crate of its own below another's directory.
        let is_inner = dir == "src/" && ["wg/", "simd/"].iter().any(|of| inside.starts_with(of));
        if is_inner
            || inside.starts_with("bin/")
            || inside.ends_with("tests.rs")
            || inside.contains("tests/")
        {
            continue;
        }
        let mut module = words(&inside.trim_end_matches(".rs").replace('/', "::"));
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        let text = read(&path);
        let text: Vec<&str> = code(super::without_tests(&text)).map(|(_, line)| line).collect();
        let text = text.join("\n");
        let exports = uses(&text).into_iter().filter(|(public, ..)| *public);
        let exports = exports.map(|(_, name, path)| (name, path)).collect();
        names.insert(module.clone(), file.clone());
        all.insert(module, Module { text, exports, children: BTreeSet::new() });
    }
    for module in all.keys().cloned().collect::<Vec<_>>() {
        let Some((last, parent)) = module.split_last() else { continue };
        if let Some(parent) = all.get_mut(parent) {
            parent.children.insert(last.clone());
        }
    }
    (all, names)
}

/// Who takes what from whom. What a module only hands on is no arrow of its own.
fn arrows(modules: &Modules) -> BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>> {
    let mut arrows: BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>> = BTreeMap::new();
    for (from, module) in modules {
        let own = uses(&module.text).into_iter().filter(|(public, ..)| !public);
        let paths = own.map(|(_, _, path)| path).chain(inline(&module.text));
        let exported: BTreeSet<_> = module.exports.iter().map(|(_, path)| path.clone()).collect();
        for path in paths.filter(|path| !exported.contains(path)) {
            let Some(full) = absolute(from, module, &path) else { continue };
            let Some(to) = home(modules, &full, 8).filter(|to| to != from) else { continue };
            arrows.entry(from.clone()).or_default().insert(to, path.join("::"));
        }
    }
    arrows
}

/// One loop that can be walked from `at`, if there is any.
fn walk(
    at: &Vec<String>,
    arrows: &BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>>,
    way: &mut Vec<Vec<String>>,
    done: &mut BTreeSet<Vec<String>>,
) -> Option<Vec<Vec<String>>> {
    if let Some(from) = way.iter().position(|step| step == at) {
        return Some(way[from..].to_vec());
    }
    if !done.insert(at.clone()) {
        return None;
    }
    way.push(at.clone());
    let found =
        arrows.get(at).into_iter().flatten().find_map(|(to, _)| walk(to, arrows, way, done));
    way.pop();
    found
}

#[test]
fn no_files_import_each_other_in_a_loop() {
    let mut found = Vec::new();
    let crates = [
        ("helper/src/", 20),
        ("tests/selftest/src/", 10),
        ("src/wg/", 20),
        ("src/simd/", 9),
        ("src/", 100),
    ];
    for (dir, least) in crates {
        let (modules, names) = modules(dir);
        let arrows = arrows(&modules);
        assert!(modules.len() > least && arrows.len() > least / 2, "{dir}: nothing was read");
        let mut done = BTreeSet::new();
        for start in modules.keys() {
            if let Some(circle) = walk(start, &arrows, &mut Vec::new(), &mut done) {
                let step = |(at, of): (usize, &Vec<String>)| {
                    let to = &circle[(at + 1) % circle.len()];
                    format!("{} (takes {})", names[of], arrows[of][to])
                };
                let steps: Vec<_> = circle.iter().enumerate().map(step).collect();
                found.push(steps.join(" -> "));
            }
        }
    }
    super::none("circles", found);
}
