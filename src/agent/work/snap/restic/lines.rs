//! What restic says while it works: a line of JSON each. What is none, or too long, says nothing.

use serde_json::Value;

use crate::rpc::types::snap::Far;

const LINE_BYTES: usize = 256 * 1024;

/// Lines out of pieces.
#[derive(Default)]
pub struct Lines {
    open: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    pub fn add(&mut self, piece: &[u8], mut hear: impl FnMut(Value)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.open.len());
            self.is_too_long |= part.len() > room;
            self.open.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if part.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.open);
                if !std::mem::take(&mut self.is_too_long) {
                    serde_json::from_slice(&line).into_iter().for_each(&mut hear);
                }
            }
        }
    }
}

/// One of its lines, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Far(Far),
    /// A file that could not be read or written.
    Error(String),
    Summary(Value),
    /// Why it ends.
    End(String),
    Other,
}

impl Said {
    pub fn of(line: Value) -> Said {
        let number = |key: &str| line.get(key).and_then(Value::as_u64);
        match line.get("message_type").and_then(Value::as_str) {
            Some("status") => Said::Far(Far {
                files: number("files_done").or_else(|| number("files_restored")).unwrap_or(0),
                files_of: number("total_files").unwrap_or(0),
                bytes: number("bytes_done").or_else(|| number("bytes_restored")).unwrap_or(0),
                bytes_of: number("total_bytes").unwrap_or(0),
                left_s: number("seconds_remaining"),
            }),
            Some("error") => Said::Error(error(&line)),
            Some("summary") => Said::Summary(line),
            Some("exit_error") => {
                let why = line.get("message").and_then(Value::as_str).unwrap_or_default();
                Said::End(why.to_owned())
            }
            _ => Said::Other,
        }
    }
}

/// 0.14 has an object with what Go has of an error, 0.17 a message in it.
fn error(line: &Value) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let error = line.get("error");
    let why = error.and_then(|error| error.get("message").or(error.get("Err")));
    let why = match why {
        Some(Value::String(why)) => why.clone(),
        Some(Value::Number(number)) => {
            let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
            std::io::Error::from_raw_os_error(number.unwrap_or(0)).to_string()
        }
        _ => "it cannot be read".to_owned(),
    };
    match text("item") {
        "" => why,
        item if why.contains(item) => why,
        item => format!("{item}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_come_in_any_pieces_and_a_flood_is_none() {
        let text = b"{\"message_type\":\"x\"}\nno json\n{\"a\":1}\n{";
        for size in 1..text.len() {
            let (mut lines, mut heard) = (Lines::default(), Vec::new());
            text.chunks(size).for_each(|piece| lines.add(piece, |line| heard.push(line)));
            assert_eq!(heard, [json!({"message_type": "x"}), json!({"a": 1})], "{size}");
        }
        let (mut lines, mut heard) = (Lines::default(), Vec::new());
        (0..100).for_each(|_| lines.add(&[b'1'; 8192], |line| heard.push(line)));
        assert!(lines.open.len() <= LINE_BYTES);
        lines.add(b"\n7\n", |line| heard.push(line));
        assert_eq!(heard, [json!(7)]);
    }

    #[test]
    fn errors_of_both_versions_are_read() {
        let old = json!({"message_type": "error", "item": "/a",
            "error": {"Op": "open", "Path": "/a", "Err": 13}});
        assert_eq!(Said::of(old), Said::Error("/a: Permission denied (os error 13)".to_owned()));
        let new = json!({"message_type": "error", "item": "/a", "during": "archival",
            "error": {"message": "open /a: permission denied"}});
        assert_eq!(Said::of(new), Said::Error("open /a: permission denied".to_owned()));
        assert_eq!(Said::of(json!([])), Said::Other);
    }
}
