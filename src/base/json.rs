//! Strict reading of JSON objects: every field is asked for by name and type, and what nobody
//! asked for is an error. Used for requests, answers and the files in the configuration folder.
//!
//! Knows nothing of what the fields mean. Two things `serde_json` alone would let pass are caught
//! here: a key that occurs twice, and a key nobody reads.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::{Map, Value};

/// What is wrong with a JSON text, and at which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Path of the key, such as `peers[0].address`; empty when the text itself is at fault.
    pub key: String,
    pub why: String,
}

impl ReadError {
    fn new(key: impl Into<String>, why: impl Into<String>) -> ReadError {
        ReadError { key: key.into(), why: why.into() }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return out.write_str(&self.why);
        }
        write!(out, "\"{}\": {}", self.key, self.why)
    }
}

/// The fields of one object that have not been read yet.
pub struct Fields {
    left: Map<String, Value>,
    at: String,
}

impl Fields {
    /// Reads a text that must be one JSON object without any key twice.
    pub fn parse(text: &str) -> Result<Fields, ReadError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| ReadError::new("", format!("not valid JSON: {error}")))?;
        if let Some(key) = duplicate_key(text) {
            return Err(ReadError::new(key, "occurs twice"));
        }
        Fields::of(value, "")
    }

    /// The fields of a value that sits at path `at` of the whole.
    pub fn of(value: Value, at: &str) -> Result<Fields, ReadError> {
        match value {
            Value::Object(left) => Ok(Fields { left, at: at.to_owned() }),
            other => Err(ReadError::new(at, format!("must be an object, not {}", kind(&other)))),
        }
    }

    /// A string that must be there.
    pub fn string(&mut self, key: &str) -> Result<String, ReadError> {
        self.opt_string(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn opt_string(&mut self, key: &str) -> Result<Option<String>, ReadError> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a string", &other)),
        }
    }

    /// A string with a meaning: `read` gives the value or says what the text should be.
    pub fn meant<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ReadError> {
        self.opt_meant(key, read)?.ok_or_else(|| self.missing(key))
    }

    pub fn opt_meant<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ReadError> {
        match self.opt_string(key)? {
            None => Ok(None),
            Some(text) => read(&text).map(Some).map_err(|why| ReadError::new(self.path(key), why)),
        }
    }

    /// A string that the type itself can parse, such as an address; `what` names it.
    pub fn parsed<T: FromStr>(&mut self, key: &str, what: &str) -> Result<T, ReadError> {
        self.meant(key, |text| text.parse().map_err(|_| format!("must be {what}, not {text:?}")))
    }

    /// An integer within `range`, or nothing when the key is absent. `1.0` and `true` are refused.
    pub fn opt_int<T>(
        &mut self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ReadError>
    where
        T: TryFrom<u64> + PartialOrd + fmt::Display,
    {
        let Some(value) = self.left.remove(key) else { return Ok(None) };
        match value.as_u64().and_then(|number| T::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let wanted = match (range.start(), range.end()) {
                    (least, most) if least == most => least.to_string(),
                    (least, most) => format!("a whole number from {least} to {most}"),
                };
                Err(self.wrong(key, &wanted, &value))
            }
        }
    }

    pub fn int<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Result<T, ReadError>
    where
        T: TryFrom<u64> + PartialOrd + fmt::Display,
    {
        self.opt_int(key, range)?.ok_or_else(|| self.missing(key))
    }

    pub fn bool(&mut self, key: &str) -> Result<bool, ReadError> {
        match self.left.remove(key) {
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(self.wrong(key, "true or false", &other)),
            None => Err(self.missing(key)),
        }
    }

    /// A list of at most `most` objects, each as its own `Fields`.
    pub fn objects(&mut self, key: &str, most: usize) -> Result<Vec<Fields>, ReadError> {
        let items = match self.left.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong(key, "a list", &other)),
        };
        if items.len() > most {
            return Err(ReadError::new(self.path(key), format!("has more than {most} entries")));
        }
        let at = self.path(key);
        let each = items.into_iter().enumerate();
        each.map(|(place, item)| Fields::of(item, &format!("{at}[{place}]"))).collect()
    }

    /// An object that must be there, or may be absent.
    pub fn opt_object(&mut self, key: &str) -> Result<Option<Fields>, ReadError> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(value) => Fields::of(value, &self.path(key)).map(Some),
        }
    }

    /// Any value, unread.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    /// Refuses what nobody asked for.
    pub fn finish(self) -> Result<(), ReadError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(ReadError::new(self.path(key), "is not a known key")),
        }
    }

    /// An error at `key` of this object, for checks that span several fields.
    pub fn error(&self, key: &str, why: impl Into<String>) -> ReadError {
        ReadError::new(self.path(key), why)
    }

    fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    fn missing(&self, key: &str) -> ReadError {
        ReadError::new(self.path(key), "is missing")
    }

    /// Names the kind of what was found, never its text: the field may hold a secret.
    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> ReadError {
        ReadError::new(self.path(key), format!("must be {wanted}, not {}", kind(found)))
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The first key that occurs twice in one object of a text that is already known to be valid JSON.
/// `serde_json` would keep the last of them, so that two readers of one file could see two things.
fn duplicate_key(text: &str) -> Option<String> {
    let mut objects: Vec<Option<BTreeSet<String>>> = Vec::new();
    let mut expects_key = false;
    let mut rest = text;
    while let Some(found) = rest.find(['{', '}', '[', ']', ',', '"']) {
        let (_, from) = rest.split_at_checked(found)?;
        let mut token = from.chars();
        let first = token.next()?;
        rest = token.as_str();
        match first {
            '{' => {
                objects.push(Some(BTreeSet::new()));
                expects_key = true;
            }
            '[' => {
                objects.push(None);
                expects_key = false;
            }
            '}' | ']' => {
                objects.pop();
                expects_key = false;
            }
            ',' => expects_key = matches!(objects.last(), Some(Some(_))),
            _ => {
                let length = string_length(from)?;
                let (quoted, after) = from.split_at_checked(length)?;
                rest = after;
                if expects_key {
                    let key: String = serde_json::from_str(quoted).ok()?;
                    let seen = objects.last_mut()?.as_mut()?;
                    if !seen.insert(key.clone()) {
                        return Some(key);
                    }
                    expects_key = false;
                }
            }
        }
    }
    None
}

/// Bytes of the quoted string that `text` begins with, both quotes included.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.checked_add(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        let mut fields = match Fields::parse(text) {
            Ok(fields) => fields,
            Err(error) => return error.to_string(),
        };
        let read = (|| {
            fields.string("name")?;
            fields.opt_int::<u16>("port", 1..=65535)?;
            for mut peer in fields.objects("peers", 2)? {
                peer.parsed::<std::net::Ipv4Addr>("address", "an IPv4 address")?;
                peer.finish()?;
            }
            fields.finish()
        })();
        read.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_fault_names_its_key() {
        let table = [
            (r#"{"name":"a"}"#, ""),
            (r#"{"name":"a","port":4200,"peers":[{"address":"10.10.0.2"}]}"#, ""),
            (r#"{}"#, r#""name": is missing"#),
            (r#"[]"#, "must be an object, not a list"),
            (r#"{"name":1}"#, r#""name": must be a string, not 1"#),
            (
                r#"{"name":"a","port":0}"#,
                r#""port": must be a whole number from 1 to 65535, not 0"#,
            ),
            (
                r#"{"name":"a","port":1.0}"#,
                r#""port": must be a whole number from 1 to 65535, not 1.0"#,
            ),
            (
                r#"{"name":"a","port":true}"#,
                r#""port": must be a whole number from 1 to 65535, not true or false"#,
            ),
            (r#"{"name":"a","nmae":"b"}"#, r#""nmae": is not a known key"#),
            (r#"{"name":"a","peers":[{},{},{}]}"#, r#""peers": has more than 2 entries"#),
            (
                r#"{"name":"a","peers":[{"address":"10.10.0.02"}]}"#,
                r#""peers[0].address": must be an IPv4 address, not "10.10.0.02""#,
            ),
            (r#"{"name":"a","name":"b"}"#, r#""name": occurs twice"#),
            (r#"{"name":"a","n\u0061me":"b"}"#, r#""name": occurs twice"#),
            (
                r#"{"name":"{\"x\":","peers":[{"address":"10.0.0.1","address":"10.0.0.2"}]}"#,
                r#""address": occurs twice"#,
            ),
        ];
        for (text, expected) in table {
            assert_eq!(why(text), expected, "{text}");
        }
    }

    #[test]
    fn equal_keys_in_different_objects_are_fine() {
        assert_eq!(duplicate_key(r#"{"a":{"a":[{"a":1},{"a":"a"}]},"b":"a","c":["b","b"]}"#), None);
    }

    #[test]
    fn a_value_is_never_quoted_where_the_kind_is_wrong() {
        let mut fields = Fields::parse(r#"{"token":["hunter2"]}"#).unwrap();
        assert!(!fields.string("token").unwrap_err().to_string().contains("hunter2"));
    }
}
