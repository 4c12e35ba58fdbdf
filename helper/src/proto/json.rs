//! Strict JSON: an object in which no key stands twice, nested as deep as a request has to be, so
//! that no two programs can read one line in two ways. Must not know: what it says.

use serde_json::{Map, Value};

/// Deepest nesting of objects and arrays in a request, the envelope being 1.
const MAX_DEPTH: usize = 4;

/// Parses `line` as one JSON object in which no object has a key twice and nothing is nested
/// deeper than `MAX_DEPTH`.
pub fn read_object(line: &[u8]) -> Result<Map<String, Value>, &'static str> {
    read_within(line, MAX_DEPTH)
}

/// The same with another bound.
pub fn read_within(line: &[u8], deepest: usize) -> Result<Map<String, Value>, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    let written = keys_written(text, deepest)?;
    let value = serde_json::from_str(text).map_err(|_| "the line is not valid JSON")?;
    // Of two twins serde_json keeps the last, whatever their spelling: then there are fewer.
    if keys_read(&value) != written {
        return Err("a key occurs twice");
    }
    match value {
        Value::Object(top) => Ok(top),
        _ => Err("a request is a JSON object"),
    }
}

/// How many keys the text has: one for each colon outside of strings. Not a JSON parser: whatever
/// is not valid JSON fails in serde_json afterwards.
fn keys_written(text: &str, deepest: usize) -> Result<usize, &'static str> {
    let (mut keys, mut depth, mut quoted, mut escaped) = (0, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b':' => keys += 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > deepest {
            return Err("the line is nested too deeply");
        }
    }
    Ok(keys)
}

fn keys_read(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(keys_read).sum::<usize>(),
        Value::Array(list) => list.iter().map(keys_read).sum(),
        _ => 0,
    }
}
