//! The text of a `hopbox.yaml` that is made: its values in the order in which they were put, and
//! quotes wherever a text could mean something else.

use serde_json::Value as Json;

use super::note::Note;
use crate::workspace::read;
use crate::workspace::wrong::Wrong;

/// A manifest's text, and what is to be known of it.
#[derive(Debug)]
pub struct Imported {
    pub text: String,
    pub notes: Vec<Note>,
    /// What of it the reader refuses, if anything: the text has to be mended first.
    pub wrong: Vec<Wrong>,
}

/// A value to be written.
#[derive(Clone, Debug)]
pub enum Draft {
    Text(String),
    /// As it is: a number, or true.
    Plain(String),
    List(Vec<Draft>),
    Map(Vec<(String, Draft)>),
}

impl Draft {
    pub fn text(text: impl Into<String>) -> Draft {
        Draft::Text(text.into())
    }

    pub fn texts(all: impl IntoIterator<Item = impl Into<String>>) -> Draft {
        Draft::List(all.into_iter().map(Draft::text).collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Draft::List(list) => list.is_empty(),
            Draft::Map(map) => map.is_empty(),
            Draft::Text(_) | Draft::Plain(_) => false,
        }
    }
}

/// A map that is filled key by key; what is empty is left out.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, Draft)>);

impl Fields {
    pub fn put(&mut self, key: &str, value: Draft) {
        if !value.is_empty() {
            self.0.push((key.to_owned(), value));
        }
    }

    pub fn opt(&mut self, key: &str, value: Option<Draft>) {
        value.into_iter().for_each(|value| self.put(key, value));
    }

    pub fn map(self) -> Draft {
        Draft::Map(self.0)
    }
}

/// The whole text, checked by the reader of all manifests.
pub fn finish(from: &str, keys: Fields, notes: Vec<Note>) -> Imported {
    let from = one_line(from);
    let mut text = format!("# Made by hop init from {from}. hopbox.yaml(5) explains every key.\n");
    if !notes.is_empty() {
        text += "#\n# What is not as it was:\n";
    }
    for note in &notes {
        text += &format!("# - {}\n", one_line(&note.to_string()));
    }
    for (key, value) in &keys.0 {
        text += "\n";
        entry(&mut text, 0, key, value);
    }
    let wrong = read::manifest(&text).err().unwrap_or_default();
    Imported { text, notes, wrong }
}

/// A comment ends with its line, whatever is in it.
fn one_line(text: &str) -> String {
    crate::text::shown(text).into_owned()
}

fn entry(text: &mut String, depth: usize, key: &str, value: &Draft) {
    *text += &"  ".repeat(depth);
    *text += &scalar(key);
    *text += ":";
    match value {
        Draft::Map(map) => {
            *text += "\n";
            map.iter().for_each(|(key, value)| entry(text, depth + 1, key, value));
        }
        Draft::List(list) if !flat(list) => {
            *text += "\n";
            for item in list {
                *text += &format!("{}- {}\n", "  ".repeat(depth + 1), flow(item));
            }
        }
        other => *text += &format!(" {}\n", flow(other)),
    }
}

fn flat(list: &[Draft]) -> bool {
    let short = |item: &Draft| matches!(item, Draft::Text(_) | Draft::Plain(_));
    list.iter().all(short) && list.iter().map(|item| flow(item).len() + 2).sum::<usize>() < 80
}

fn flow(value: &Draft) -> String {
    match value {
        Draft::Text(text) => scalar(text),
        Draft::Plain(text) => text.clone(),
        Draft::List(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Draft::Map(map) => {
            let entry =
                |(key, value): &(String, Draft)| format!("{}: {}", scalar(key), flow(value));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Plain where every reader of YAML sees the same text in it, and no reader anything else.
fn scalar(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./~+-@:=".contains(c) || c == ' ';
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let spaced = text.contains(": ") || text.ends_with([':', ' ']) || text.contains("  ");
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let special = words.contains(&text.to_ascii_lowercase().as_str());
    if starts && text.chars().all(inner) && !spaced && !special && text.len() < 200 {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for c in Json::from(text).to_string().chars() {
        match c {
            // What YAML does not take as it is.
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                quoted += &format!("\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml::{self, Value};

    #[test]
    fn every_text_comes_back_as_it_was() {
        let texts = [
            "",
            " ",
            "a",
            "a b",
            "a: b",
            "a #b",
            "- a",
            "7",
            "1.5",
            "0x7",
            "true",
            "No",
            "~",
            "null",
            "[a",
            "{a}",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "\"a\"",
            "'a'",
            "a\nb\n",
            "a\tb",
            "\u{1b}[2J",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "ü",
            "🦀",
            "a:",
            "a  b",
            "/x",
            "=a",
            "<<",
            "\\",
            "$x",
            "? a",
            "a,b",
            "12:30:45",
            "2024-01-01",
        ];
        for text in texts {
            for yaml in [format!("k: {}\n", scalar(text)), format!("k: [{}]\n", scalar(text))] {
                let root = yaml::parse(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
                let node = root.get("k").unwrap();
                let node = node.unwrap_or_else(|| panic!("{yaml}: nothing"));
                let node = match &node.value {
                    Value::List(list) => &list[0],
                    _ => node,
                };
                assert_eq!(node.text(), Ok(text), "{yaml}");
            }
            let root = yaml::parse(&format!("{}: x\n", scalar(text))).unwrap();
            let Value::Map(map) = root.value else { panic!("{text}") };
            assert_eq!(map[0].key, text);
        }
    }

    #[test]
    fn a_comment_stays_one() {
        let note = Note {
            file: None,
            at: yaml::START,
            path: "x\nhost: evil".to_owned(),
            what: "\u{85}host: evil\r\nhost: evil\u{2028}host: evil".to_owned(),
        };
        let mut keys = Fields::default();
        keys.put("name", Draft::text("a"));
        let made = finish("a\nhost: evil", keys, vec![note]);
        assert!(made.wrong.is_empty(), "{made:?}");
        assert_eq!(read::manifest(&made.text).unwrap().host, None);
    }
}
