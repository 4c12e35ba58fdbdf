//! The files of docker compose that are read together: those that were named, and what they include
//! or extend. Those are read by whoever has files, each once, if they lie in the project's
//! directory or below it.
//!
//! Bounds: 16 files.

use std::collections::{BTreeMap, BTreeSet};

use super::from::word;
use crate::base::yaml::{self, Entry, Node, Value};
use crate::workspace::import::variables;
use crate::workspace::wrong::{Refusal, Wrong};

const FILES: usize = 16;

/// The text of a file, by its path from the project's directory, or why there is none.
pub type Read<'r> = &'r mut dyn FnMut(&str) -> Result<String, String>;

/// A file that was named by whoever wants it carried over.
pub struct Named {
    pub path: String,
    pub text: String,
}

struct File {
    /// From the project's directory; nothing where it lies elsewhere.
    path: Option<String>,
    /// Where its relative paths begin, if that is known.
    dir: Option<String>,
    root: Node,
}

pub struct Files {
    all: Vec<File>,
    /// So many of them were named.
    named: usize,
    unread: BTreeMap<String, String>,
}

impl Files {
    pub fn of(named: &[Named], read: Read) -> Result<Files, Wrong> {
        let mut files = Files { all: Vec::new(), named: named.len(), unread: BTreeMap::new() };
        // As docker compose has it: the first one's directory is that of all.
        let first = named.first().and_then(|first| below("", &first.path));
        let dir = first.map(|path| parent(&path).to_owned());
        for Named { path, text } in named {
            let root = parse(text, files.all.len())?;
            files.all.push(File { path: below("", path), dir: dir.clone(), root });
        }
        let mut at = 0;
        while let Some(file) = files.all.get(at) {
            let paths = others(&file.root).into_iter().filter_map(|node| files.path(node).ok());
            for path in paths.collect::<Vec<String>>() {
                files.add(path, read);
            }
            at += 1;
        }
        Ok(files)
    }

    fn add(&mut self, path: String, read: Read) {
        let is_known = |file: &File| file.path.as_ref() == Some(&path);
        if self.all.iter().any(is_known) || self.unread.contains_key(&path) {
            return;
        }
        let number = self.all.len();
        let root = match number {
            0..FILES => read(&path).and_then(|text| {
                parse(&text, number).map_err(|wrong| format!("{path} cannot be read: {wrong}"))
            }),
            _ => Err(format!("more than {FILES} files")),
        };
        match root {
            Ok(root) => {
                let dir = Some(parent(&path).to_owned());
                self.all.push(File { path: Some(path), dir, root });
            }
            Err(why) => drop(self.unread.insert(path, why)),
        }
    }

    /// The path that a node is, from the project's directory.
    fn path(&self, node: &Node) -> Result<String, String> {
        let replaced = word(node).and_then(|text| variables::replace(text).ok());
        let text = replaced.filter(|replaced| replaced.missing.is_empty());
        let text = text.ok_or("it should be a path without variables")?.text;
        let file = self.all.get(usize::from(node.at.file));
        let dir = file.and_then(|file| file.dir.as_deref());
        dir.and_then(|dir| below(dir, &text))
            .ok_or_else(|| "what lies outside of the project's directory is not read".to_owned())
    }

    fn find(&self, node: &Node) -> Result<(usize, &File), String> {
        let path = self.path(node)?;
        let found = self.all.iter().enumerate().find(|(_, file)| file.path.as_ref() == Some(&path));
        found.ok_or_else(|| self.unread.get(&path).cloned().unwrap_or_default())
    }

    /// Where relative paths of each begin, from the project's directory.
    pub fn dirs(&self) -> Vec<String> {
        self.all.iter().map(|file| file.dir.clone().unwrap_or_default()).collect()
    }

    /// As they are called, where there are several.
    pub fn names(&self, named: &[Named]) -> Vec<String> {
        let read = self.all.iter().skip(self.named).filter_map(|file| file.path.clone());
        let names = named.iter().map(|named| named.path.clone()).chain(read);
        if self.all.len() > 1 { names.collect() } else { Vec::new() }
    }

    /// Each behind what it includes.
    pub fn in_order(&self) -> Visit<'_> {
        let mut visit = Visit { seen: BTreeSet::new(), order: Vec::new(), wrong: Vec::new() };
        (0..self.named).for_each(|at| self.visit(at, &mut visit));
        visit
    }

    fn visit<'f>(&'f self, at: usize, visit: &mut Visit<'f>) {
        let Some(file) = self.all.get(at).filter(|_| visit.seen.insert(at)) else { return };
        for node in includes(&file.root) {
            match self.find(node) {
                Ok((other, _)) => self.visit(other, visit),
                Err(why) => visit.wrong.push((node, why)),
            }
        }
        visit.order.push((&file.root, at < self.named));
    }

    /// A service of the file that `file` names, or of the one in which `of` stands.
    pub fn service(
        &self,
        of: &Node,
        file: Option<&Node>,
        name: &str,
    ) -> Result<Option<&Node>, String> {
        let file = match file {
            Some(node) => Some(self.find(node)?.1),
            None => self.all.get(usize::from(of.at.file)),
        };
        let entries = file.map_or(&[][..], |file| services(&file.root));
        Ok(entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node))
    }
}

pub struct Visit<'f> {
    /// A circle ends at these.
    seen: BTreeSet<usize>,
    /// Files, and whether each was named itself.
    pub order: Vec<(&'f Node, bool)>,
    /// What cannot be included, with the reason.
    pub wrong: Vec<(&'f Node, String)>,
}

pub fn services(root: &Node) -> &[Entry] {
    match root.get("services").ok().flatten().map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        _ => &[],
    }
}

/// Paths in `include`: texts, or maps with one or several of them.
fn includes(root: &Node) -> Vec<&Node> {
    let items = match root.get("include").ok().flatten() {
        Some(Node { value: Value::List(items), .. }) => items.as_slice(),
        _ => &[],
    };
    let mut found = Vec::new();
    for item in items {
        let named = match &item.value {
            Value::Map(_) => item.get("path").ok().flatten(),
            _ => Some(item),
        };
        match named {
            Some(Node { value: Value::List(paths), .. }) => found.extend(paths),
            Some(path) => found.push(path),
            None => {}
        }
    }
    found
}

/// Every path of another file.
fn others(root: &Node) -> Vec<&Node> {
    let mut found = includes(root);
    for entry in services(root) {
        let extends = entry.node.get("extends").ok().flatten();
        let file = extends.filter(|node| matches!(node.value, Value::Map(_)));
        found.extend(file.and_then(|node| node.get("file").ok().flatten()));
    }
    found
}

fn parse(text: &str, number: usize) -> Result<Node, Wrong> {
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    let parsed = yaml::parse_foreign(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut root = parsed.map_err(|error| {
        let fix = "docker compose config shows what docker makes of it";
        let at = yaml::Place { file: number, ..error.at };
        Refusal::new(error.why, fix).at(at, "")
    })?;
    root.of_file(number);
    match root.value {
        Value::Map(_) => Ok(root),
        _ => Err(Refusal::new("is no file of docker compose", "").at(root.at, "")),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Without a way out of the directory in which both begin.
fn below(dir: &str, path: &str) -> Option<String> {
    let is_other = path.starts_with(['/', '~']) || path.contains([':', '\\', '\0']);
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!is_other && !parts.is_empty()).then(|| parts.join("/"))
}
