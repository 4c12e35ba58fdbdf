//! A tree is read key by key; what is wrong is kept with its place, and the reading goes on.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::keys::{ELSEWHERE, SAME};
use crate::base::command_line::closest;
use crate::base::yaml::{Node, Place, Value, YamlError};
use crate::workspace::wrong::{Refusal, Wrong, Wrongs, cut, quoted};

/// A value and the way to it.
#[derive(Clone)]
pub struct At<'n> {
    pub node: &'n Node,
    pub path: String,
}

/// A map whose keys are all known.
pub struct Map<'n>(At<'n>);

pub struct Reader {
    pub needs_name: bool,
    pub(super) wrongs: Wrongs,
    pub(super) places: BTreeMap<String, Place>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { needs_name: true, wrongs: Wrongs::default(), places: BTreeMap::new() }
    }
}

impl<'n> Map<'n> {
    /// `None` without that key, or when it is left empty.
    pub fn get(&self, key: &str) -> Option<At<'n>> {
        let Value::Map(entries) = &self.0.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key && !entry.node.is_null())?;
        Some(At { node: &entry.node, path: below(&self.0.path, key) })
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn at(&self) -> &At<'n> {
        &self.0
    }
}

impl Reader {
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Wrong>> {
        match (self.wrongs.told(), value) {
            (None, Some(value)) => Ok(value),
            (Some(wrongs), _) => Err(wrongs),
            // A reader that gives nothing has said why.
            (None, None) => Err(Vec::new()),
        }
    }

    pub fn is_clean(&self) -> bool {
        self.wrongs.is_empty()
    }

    pub fn refuse(&mut self, at: &At<'_>, refusal: Refusal) {
        self.wrongs.push(refusal.at(at.node.at, &at.path));
    }

    /// Of a path that was read.
    pub fn refuse_path(&mut self, path: &str, refusal: Refusal) {
        let at = self.places.get(path).copied().unwrap_or_default();
        self.wrongs.push(refusal.at(at, path));
    }

    pub fn refuse_text(&mut self, wrong: YamlError) {
        self.wrongs.push(Refusal::new(wrong.why, wrong.fix).at(wrong.at, ""));
    }

    fn wanted(&mut self, at: &At<'_>, wanted: &str, fix: &str) {
        let why = match &at.node.value {
            _ if at.node.is_null() => format!("is empty, and must be {wanted}"),
            Value::List(_) => format!("must be {wanted}, not a list"),
            Value::Map(_) => format!("must be {wanted}, not a map"),
            Value::Scalar { text, .. } if at.node.int().is_some() => {
                format!("must be {wanted}, not {}", cut(text))
            }
            Value::Scalar { text, .. } if at.node.boolean().is_some() => {
                format!("must be {wanted}, not {text}")
            }
            // It may be a secret at the wrong place.
            Value::Scalar { .. } => format!("must be {wanted}, not a text"),
        };
        self.refuse(at, Refusal::new(why, fix));
    }

    /// A map with these keys and no others.
    pub fn map<'n>(&mut self, at: &At<'n>, known: &[&'static str]) -> Option<Map<'n>> {
        let Value::Map(entries) = &at.node.value else {
            self.wanted(at, "a map (key: value)", "write its keys below it, indented");
            return None;
        };
        for entry in entries {
            let path = below(&at.path, &entry.key);
            // What it is near to takes a while to be found.
            if !known.contains(&entry.key.as_str()) && !self.wrongs.is_full() {
                let refusal = unknown(&entry.key, known);
                self.wrongs.push(refusal.at(entry.at, &path));
            }
            self.places.insert(path, entry.node.at);
        }
        Some(Map(at.clone()))
    }

    /// A map whose keys are names that somebody chose.
    pub fn named<'n>(
        &mut self,
        at: &At<'n>,
        most: usize,
        check: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Vec<(&'n str, At<'n>)> {
        let Value::Map(entries) = &at.node.value else {
            self.wanted(at, "a map (name: value)", "write its names below it, indented");
            return Vec::new();
        };
        if entries.len() > most {
            self.refuse(at, Refusal::new(format!("has more than {most} entries"), "remove some"));
            return Vec::new();
        }
        let mut all = Vec::new();
        for entry in entries {
            let path = below(&at.path, &entry.key);
            if let Err(refusal) = check(&entry.key) {
                self.wrongs.push(refusal.at(entry.at, &path));
            }
            self.places.insert(path.clone(), entry.node.at);
            all.push((entry.key.as_str(), At { node: &entry.node, path }));
        }
        all
    }

    pub fn list<'n>(&mut self, at: &At<'n>, most: usize) -> Vec<At<'n>> {
        let Value::List(items) = &at.node.value else {
            self.wanted(at, "a list", "write it as [a, b], or each behind a -");
            return Vec::new();
        };
        if items.len() > most {
            self.refuse(at, Refusal::new(format!("has more than {most} entries"), "remove some"));
            return Vec::new();
        }
        let item = |(number, node): (usize, &'n Node)| {
            let path = format!("{}[{number}]", at.path);
            self.places.insert(path.clone(), node.at);
            At { node, path }
        };
        items.iter().enumerate().map(item).collect()
    }

    pub fn need<'n>(&mut self, map: &Map<'n>, key: &str, fix: &str) -> Option<At<'n>> {
        let found = map.get(key);
        if found.is_none() {
            let refusal = Refusal::new("is missing", fix);
            self.wrongs.push(refusal.at(map.0.node.at, &below(&map.0.path, key)));
        }
        found
    }

    /// A text that means no number, truth value or nothing.
    pub fn text<'n>(&mut self, at: &At<'n>) -> Option<&'n str> {
        let text = at.node.text().ok();
        if text.is_none() {
            let special = at.node.int().is_some() || at.node.boolean().is_some();
            let fix = match &at.node.value {
                Value::Scalar { text, .. } if special => format!("write \"{text}\" with quotes"),
                _ => "write a text here".to_owned(),
            };
            self.wanted(at, "text", &fix);
        }
        text
    }

    /// A text, a number or a truth value, as it is written.
    pub fn word<'n>(&mut self, at: &At<'n>) -> Option<&'n str> {
        match &at.node.value {
            Value::Scalar { text, .. } if !at.node.is_null() => Some(text),
            _ => {
                self.wanted(at, "text", "write a text here");
                None
            }
        }
    }

    pub fn meant<T>(
        &mut self,
        at: &At<'_>,
        read: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let text = self.text(at)?;
        self.checked(at, read(text))
    }

    /// The same of a number, too.
    pub fn meant_word<T>(
        &mut self,
        at: &At<'_>,
        read: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let text = self.word(at)?;
        self.checked(at, read(text))
    }

    pub fn checked<T>(&mut self, at: &At<'_>, read: Result<T, Refusal>) -> Option<T> {
        read.map_err(|refusal| self.refuse(at, refusal)).ok()
    }

    pub fn one_of<T: Copy>(&mut self, at: &At<'_>, all: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        let pick = |text: &str| match all.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let same = SAME.iter().find(|(other, _)| *other == text).map(|(_, word)| *word);
                let same = same.filter(|word| words.contains(word));
                let near = same.or_else(|| closest(text, words.iter().copied()));
                let near = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                let why = format!("{} is not known here{near}", quoted(text));
                Err(Refusal::new(why, format!("write {}", words.join(", "))))
            }
        };
        match &at.node.value {
            Value::Scalar { .. } if !at.node.is_null() => self.meant_word(at, pick),
            _ => {
                self.wanted(at, "one word", &format!("write {}", words.join(", ")));
                None
            }
        }
    }

    pub fn number(&mut self, at: &At<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let number = at.node.int().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.wanted(at, &wanted, "write one, without quotes");
        }
        number
    }

    pub fn boolean(&mut self, at: &At<'_>) -> Option<bool> {
        let value = at.node.boolean();
        if value.is_none() {
            self.wanted(at, "true or false", "write one of them, without quotes");
        }
        value
    }
}

pub fn below(path: &str, key: &str) -> String {
    let key = cut(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn unknown(key: &str, known: &[&'static str]) -> Refusal {
    let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == key).map(|(_, fix)| *fix);
    let fix = match (elsewhere, closest(key, known.iter().copied())) {
        (Some(fix), _) => fix.to_owned(),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => format!("the keys here are: {}", known.join(", ")),
    };
    Refusal::new("is not a known key", fix)
}
