//! What was changed, as the audit log has it: the end of it, of whoever asks, and of all for root.
//! Must not know: what a change does.

use crate::core::files;
use crate::core::peer_cred::Caller;
use crate::proto::OpError;
use crate::server::rows::fitting;
use crate::sys;
use serde_json::{Map, Value, json};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How far back in the file is looked, in bytes.
const TAIL: u64 = 256 * 1024;
const ENTRIES_MAX: usize = 200;
const KEYS: [&str; 6] = ["ts", "uid", "op", "outcome", "code", "changes"];

/// The last one first.
pub fn of(log: &Path, who: Caller) -> Result<Value, OpError> {
    let text = tail(log).map_err(|e| OpError::kernel(format!("read {}: {e}", log.display())))?;
    let all = text.split(|b| *b == b'\n').rev().filter_map(|line| entry(line, who));
    let (entries, _) = fitting(all.take(ENTRIES_MAX));
    Ok(json!({"entries": entries}))
}

/// One that was rotated away is nobody's any more.
fn tail(log: &Path) -> io::Result<Vec<u8>> {
    let file = match sys::open_at(None, log, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let size = files::check(&file)?.len();
    let from = size.saturating_sub(TAIL);
    let mut text = vec![0; usize::try_from(size - from).unwrap_or_default()];
    let mut read = 0;
    while let Some(room) = text.get_mut(read..).filter(|room| !room.is_empty()) {
        match file.read_at(room, from + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    text.truncate(read);
    Ok(text)
}

/// The end of a change, where a line is one; the first may be the rest of one.
fn entry(line: &[u8], who: Caller) -> Option<Value> {
    let line: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let uid = u32::try_from(line.get("uid")?.as_u64()?).ok()?;
    if line.get("phase")? != "done" || !who.owns(uid) {
        return None;
    }
    let told = KEYS.iter().filter_map(|key| Some(((*key).to_owned(), line.get(*key)?.clone())));
    Some(Value::Object(told.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32) -> Caller {
        Caller { uid, ..Caller::default() }
    }

    #[test]
    fn each_is_told_of_its_own_changes_and_of_no_more_than_fits() {
        let line = |uid: u32, at: u32, phase: &str| {
            format!(
                "{{\"ts\":{at}.000,\"seq\":1,\"phase\":\"{phase}\",\"conn\":1,\"uid\":{uid},\
                 \"gid\":1,\"pid\":1,\"op\":\"firewall.add_rule\",\"id\":\"1\",\
                 \"outcome\":\"ok\",\"changes\":[\"open {at}\"]}}\n"
            )
        };
        let log = std::env::temp_dir().join(format!("hopbox-history-{}", std::process::id()));
        let told = |uid: u32| of(&log, who(uid)).map(|mut said| said["entries"].take());
        // Not there, and not root's: the second is believed nothing.
        assert_eq!(told(0).ok(), Some(json!([])));
        let text = line(7, 1, "begin") + &line(7, 1, "done") + "{\"cut" + &line(8, 2, "done");
        let entry = |line: &str, uid: u32| super::entry(line.trim().as_bytes(), who(uid));
        assert_eq!(entry(&line(7, 1, "begin"), 7), None);
        assert_eq!(entry(&line(8, 1, "done"), 7), None, "another user's");
        let root = entry(&line(8, 1, "done"), 0).unwrap();
        assert_eq!(
            root,
            json!({"ts": 1.0, "uid": 8, "op": "firewall.add_rule", "outcome": "ok",
                   "changes": ["open 1"]})
        );
        if crate::core::start::as_root().is_ok() {
            std::fs::write(&log, &text).unwrap();
            assert_eq!(told(7).unwrap()[0]["changes"], json!(["open 1"]));
            assert_eq!(told(8).unwrap(), json!([]), "what is cut is no line");
            let many: String = (0..5000).map(|at| line(7, at, "done")).collect();
            std::fs::write(&log, many).unwrap();
            let told = told(7).unwrap();
            assert_eq!(told.as_array().unwrap().len(), ENTRIES_MAX);
            assert_eq!(told[0]["changes"], json!(["open 4999"]));
            std::fs::remove_file(&log).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
            assert!(of(&log, who(0)).is_err(), "a link");
            std::fs::remove_file(log).unwrap();
        }
    }
}
