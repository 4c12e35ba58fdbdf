//! The strict reader of JSON: an object is taken only if no key occurs twice in it, at any depth,
//! and nothing is left unread. Also what is built on it: calls of the agent's methods, and the
//! lines a session in the background reports.

use super::agent::{LAPTOP, OneLaptop, dispatch};
use hopbox::base::json::Fields;
use hopbox::session::report::Event;
use serde_json::Value;

pub fn rpc_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let value = serde_json::from_str::<Value>(text);
    let twice = value.is_ok() && Scan { text: text.as_bytes(), at: 0, twice: false }.run();
    match (Fields::parse(text), &value) {
        (Ok(fields), Ok(Value::Object(map))) => {
            assert!(!twice, "a key occurs twice");
            assert_eq!(fields.finish().is_ok(), map.is_empty(), "what nobody asked for");
            read_all(text, map);
        }
        (Ok(_), other) => panic!("taken: {other:?}"),
        (Err(error), Ok(Value::Object(_))) => assert!(twice, "refused: {error}"),
        (Err(_), _) => {}
    }
    match dispatch::call(&OneLaptop, LAPTOP, text) {
        dispatch::Asked::Once(Ok(result)) => assert!(result.is_object()),
        dispatch::Asked::Once(Err(no)) => {
            assert!((200..600).contains(&no.status) && !no.why.is_empty())
        }
        dispatch::Asked::Stream(method, _) => assert!(!method.is_empty()),
    }
    if let Some(event) = Event::from_line(text) {
        let line = event.to_line();
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
        assert_eq!(Event::from_line(&line), Some(event));
    }
}

/// Every field under its own name, as one type or another.
fn read_all(text: &str, map: &serde_json::Map<String, Value>) {
    let mut fields = Fields::parse(text).unwrap_or_else(|e| panic!("taken before: {e}"));
    for (key, value) in map {
        let took = match value {
            Value::String(s) => fields.string(key).is_ok_and(|got| got == *s),
            Value::Bool(b) => fields.bool(key).is_ok_and(|got| got == *b),
            Value::Number(n) => {
                let got = fields.opt_int(key, 0..=u64::MAX);
                got.ok().flatten() == n.as_u64()
            }
            Value::Array(all) => {
                let objects = all.iter().all(Value::is_object) && all.len() <= 8;
                fields.objects(key, 8).is_ok() == objects
            }
            Value::Object(_) => fields.opt_object(key).is_ok_and(|got| got.is_some()),
            Value::Null => fields.take(key) == Some(Value::Null),
        };
        assert!(took, "{key}: {value}");
    }
    assert!(fields.finish().is_ok(), "all was read");
}

/// Walks over text that is JSON and looks for an object with a key twice.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    twice: bool,
}

impl Scan<'_> {
    fn run(mut self) -> bool {
        self.value();
        self.twice
    }

    fn peek(&mut self) -> u8 {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self) {
        match self.peek() {
            b'{' => self.items(b'}', true),
            b'[' => self.items(b']', false),
            b'"' => drop(self.string()),
            _ => {
                let ends = |b: &u8| b",]}".contains(b) || b.is_ascii_whitespace();
                while self.text.get(self.at).is_some_and(|b| !ends(b)) {
                    self.at += 1;
                }
            }
        }
    }

    fn items(&mut self, end: u8, keyed: bool) {
        let mut keys = std::collections::BTreeSet::new();
        self.at += 1;
        while self.peek() != end {
            if keyed {
                let key = self.string();
                self.twice |= !keys.insert(key);
                self.peek();
                self.at += 1;
            }
            self.value();
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn string(&mut self) -> String {
        self.peek();
        let from = self.at;
        self.at += 1;
        while self.text[self.at] != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_slice(&self.text[from..self.at]).expect("a string")
    }
}
