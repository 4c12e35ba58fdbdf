//! The files of docker compose that are read together: those that were named, and what they include
//! or extend. Those are read by whoever has files, each once, if they lie in the project's
//! directory or below it, with a `.env` beside the first and beside each that is included.
//!
//! Bounds: 16 files, and a `.env` for each.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::from::word;
use super::given::{Given, Read};
use crate::base::yaml::{self, Entry, Node, Value};
use crate::workspace::import::note::Note;
use crate::workspace::import::variables;
use crate::workspace::wrong::{Refusal, Wrong};

const FILES: usize = 16;

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
    /// What stands for its variables.
    given: Rc<Given>,
    root: Node,
}

/// How a file comes to another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Include,
    Extends,
}

pub struct Files {
    all: Vec<File>,
    /// So many of them were named.
    named: usize,
    unread: BTreeMap<String, String>,
    /// What there is to say of each `.env`.
    pub notes: Vec<Note>,
}

impl Files {
    pub fn of(named: &[Named], read: Read) -> Result<Files, Wrong> {
        let (all, unread, mut notes) = (Vec::new(), BTreeMap::new(), Vec::new());
        // As docker compose has it: the first one's directory is that of all.
        let first = named.first().and_then(|first| below("", &first.path));
        let dir = first.map(|path| parent(&path).to_owned());
        let given = match &dir {
            Some(dir) => Given::of(dir, &Given::default(), read, &mut notes),
            None => Given::default(),
        };
        let given = Rc::new(given);
        let mut files = Files { all, named: named.len(), unread, notes };
        for Named { path, text } in named {
            let root = parse(text, files.all.len())?;
            let (dir, given) = (dir.clone(), Rc::clone(&given));
            files.all.push(File { path: below("", path), dir, given, root });
        }
        let mut at = 0;
        while let Some(file) = files.all.get(at) {
            let paths = others(&file.root).into_iter();
            let paths = paths.filter_map(|(node, by)| Some((files.path(node).ok()?, by)));
            for (path, by) in paths.collect::<Vec<_>>() {
                files.add(path, at, by, read);
            }
            at += 1;
        }
        Ok(files)
    }

    fn add(&mut self, path: String, from: usize, by: By, read: Read) {
        let is_known = |file: &File| file.path.as_ref() == Some(&path);
        if self.all.iter().any(is_known) || self.unread.contains_key(&path) {
            return;
        }
        let number = self.all.len();
        let text = match number {
            0..FILES => read(&path).and_then(|text| text.ok_or(format!("{path} is not there"))),
            _ => Err(format!("more than {FILES} files")),
        };
        let root = text.and_then(|text| {
            parse(&text, number).map_err(|wrong| format!("{path} cannot be read: {wrong}"))
        });
        match root {
            Ok(root) => {
                let dir = Some(parent(&path).to_owned());
                let given = self.given_in(from, dir.as_deref(), by, read);
                self.all.push(File { path: Some(path), dir, given, root });
            }
            Err(why) => drop(self.unread.insert(path, why)),
        }
    }

    /// What is included has a `.env` of its own, under that of what includes it.
    fn given_in(&mut self, from: usize, dir: Option<&str>, by: By, read: Read) -> Rc<Given> {
        let Some(from) = self.all.get(from) else { return Rc::default() };
        match dir.filter(|dir| by == By::Include && from.dir.as_deref() != Some(dir)) {
            Some(dir) => Rc::new(Given::of(dir, &from.given, read, &mut self.notes)),
            None => Rc::clone(&from.given),
        }
    }

    /// The path that a node is, from the project's directory.
    fn path(&self, node: &Node) -> Result<String, String> {
        let file = self.all.get(usize::from(node.at.file));
        let given = file.map(|file| Rc::clone(&file.given)).unwrap_or_default();
        let replaced = word(node).and_then(|text| variables::replace(text, &given.values).ok());
        let text = replaced.filter(|replaced| replaced.missing.is_empty());
        let text = text.ok_or("it should be a path, and its variables in .env")?.text;
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

    /// What stands for variables in each.
    pub fn given(&self) -> Vec<Rc<Given>> {
        self.all.iter().map(|file| Rc::clone(&file.given)).collect()
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
fn others(root: &Node) -> Vec<(&Node, By)> {
    let mut found: Vec<_> = includes(root).into_iter().map(|node| (node, By::Include)).collect();
    for entry in services(root) {
        let extends = entry.node.get("extends").ok().flatten();
        let file = extends.filter(|node| matches!(node.value, Value::Map(_)));
        let file = file.and_then(|node| node.get("file").ok().flatten());
        found.extend(file.map(|node| (node, By::Extends)));
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
