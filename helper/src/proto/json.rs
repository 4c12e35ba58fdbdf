//! Strict JSON: an object in which no key stands twice, nested as deep as a request has to be, so
//! that no two programs can read one line in two ways. Must not know: what it says.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Deepest nesting of objects and arrays, the envelope being 1.
const MAX_DEPTH: usize = 4;

/// Parses `line` as one JSON object in which no object has a key twice and nothing is nested
/// deeper than `MAX_DEPTH`.
pub fn read_object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    check_structure(text)?;
    match serde_json::from_str(text) {
        Ok(Value::Object(top)) => Ok(top),
        Ok(_) => Err("a request is a JSON object".to_string()),
        Err(_) => Err("the line is not valid JSON".to_string()),
    }
}

/// Depth and duplicate keys, which serde_json does not check (the last twin would win).
///
/// Not a JSON parser: it is sound on valid JSON, where a string followed by a colon is always a
/// key, and whatever is not valid JSON fails in serde_json afterwards. Keys are compared after
/// decoding, so `"o\u0070"` is a twin of `"op"`.
fn check_structure(text: &str) -> Result<(), &'static str> {
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '{', '[', '}', ']']) {
        let (_, from) = rest.split_at(at);
        match from.as_bytes().first() {
            Some(b'{' | b'[') => open.push(BTreeSet::new()),
            Some(b'"') => {
                let (literal, after) = split_string(from).ok_or("a string does not end")?;
                if after.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(':') {
                    let key = serde_json::from_str(literal).map_err(|_| "a key is not valid")?;
                    let twin = open.last_mut().is_some_and(|keys| !keys.insert(key));
                    if twin {
                        return Err("a key occurs twice");
                    }
                }
                rest = after;
                continue;
            }
            _ => drop(open.pop()),
        }
        if open.len() > MAX_DEPTH {
            return Err("the request is nested too deeply");
        }
        rest = from.get(1..).unwrap_or("");
    }
    Ok(())
}

/// Splits after the string literal that `text` starts with.
fn split_string(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.split_at_checked(at + 1),
            _ => {}
        }
    }
    None
}
