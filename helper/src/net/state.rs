//! What outlives the helper: its leases and names, and an edit of /etc/hosts that is under way.
//!
//! The file never says less than the machine holds: it is written before a name appears and
//! before a device leaves our hands. It is replaced as a whole, so that it is always the old one
//! or the new one. What is read back is checked as if a stranger had written it. Must not know:
//! connections, how devices and names are made.

use crate::core::files;
use crate::core::peer_cred::Caller;
use crate::core::state_file::StateFile;
use crate::net::block::{Edit, Entry, Memory};
use crate::net::link::Device;
use crate::net::pool::Endpoints;
use crate::proto::{OpError, valid_device};
use crate::sys;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

const VERSION: u64 = 1;
/// Words for how far the work on a row has come.
const APPLIED: &str = "applied";
const REMOVING: &str = "removing";
/// Where a file goes that cannot be read.
const ASIDE: &str = "state.json.damaged";
/// Largest file that is read, in bytes: all rows, and an edit that moves a block of 1 MiB.
const SIZE_MAX: u64 = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: String,
    pub device: Device,
    pub label: Option<String>,
    pub ends: Option<Endpoints>,
    pub uid: u32,
    /// Its end has begun.
    pub removing: bool,
    /// None after a restart of the helper.
    pub holder: Option<Caller>,
}

impl Lease {
    pub fn is_held_by(&self, conn: u64) -> bool {
        self.holder.is_some_and(|holder| holder.conn == conn)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    pub entry: Entry,
    pub lease: Option<String>,
    pub uid: u32,
    pub conn: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Of which boot the leases are.
    pub epoch: String,
    pub leases: Vec<Lease>,
    pub named: Vec<HostEntry>,
    /// See `block`.
    pub memory: Memory,
    pub edit: Option<Edit>,
}

/// The state of the run before this one. A file that cannot be understood is moved aside:
/// everything it could list can be found out again or ends with its holder. A file of a newer
/// helper is not ours to judge.
pub fn load(file: &StateFile) -> Result<State, String> {
    let path = file.path.display();
    let why = match file.read(SIZE_MAX) {
        Ok(None) => return Ok(State::default()),
        Ok(Some(text)) => match parse(&text) {
            Ok(state) => return Ok(state),
            Err(Unread::Newer) => return Err(format!("{path}: a newer helper wrote it")),
            Err(Unread::Damaged(why)) => why.to_string(),
        },
        Err(why) => why,
    };
    crate::core::say::tell(&format!("{path}: {why}; moved aside"));
    let aside = file.path.with_file_name(ASIDE);
    fs::rename(&file.path, &aside).map_err(|e| format!("{path}: {why}; {e}"))?;
    Ok(State::default())
}

pub fn save(file: &mut StateFile, state: &State) -> Result<(), OpError> {
    file.replace(&render(state))
}

/// The marker of this boot: the text of a file that does not outlive it, made when missing.
pub fn epoch(dir: &Path) -> Result<String, String> {
    files::own_dir(dir, 0o700)?;
    let path = dir.join("epoch");
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    match files::read(&path, SIZE_MAX) {
        Ok(text) if !text.is_empty() => return String::from_utf8(text).map_err(|e| e.to_string()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let text = format!("{:016x}", sys::random().map_err(failed)?);
    let file = files::create(&path, false);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
    Ok(text)
}

fn render(state: &State) -> String {
    let lease = |lease: &Lease| {
        json!({
            "id": lease.id, "name": lease.device.name, "ifindex": lease.device.ifindex,
            "mtu": lease.device.mtu, "label": lease.label, "uid": lease.uid,
            "status": if lease.removing { REMOVING } else { APPLIED },
            "local": lease.ends.map(|ends| ends.local),
            "peer": lease.ends.map(|ends| ends.peer),
            "prefix": lease.ends.map(|ends| ends.prefix),
        })
    };
    let named = |named: &HostEntry| {
        json!({
            "name": named.entry.name, "ip": named.entry.ip, "uid": named.uid, "lease": named.lease,
        })
    };
    let document = json!({
        "version": VERSION, "epoch": state.epoch,
        "leases": state.leases.iter().map(lease).collect::<Vec<Value>>(),
        "hosts": state.named.iter().map(named).collect::<Vec<Value>>(),
        "joined": state.memory.joined, "blank": state.memory.blank_json(),
        "edit": state.edit.as_ref().map(Edit::to_json),
    });
    format!("{document}\n")
}

enum Unread {
    Newer,
    Damaged(&'static str),
}

fn parse(text: &[u8]) -> Result<State, Unread> {
    let Ok(Value::Object(top)) = serde_json::from_slice(text) else {
        return Err(Unread::Damaged("is not a JSON object"));
    };
    match top.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(Unread::Newer),
        _ => return Err(Unread::Damaged("has no version")),
    }
    rows(&top).ok_or(Unread::Damaged("has rows of another form"))
}

fn rows(top: &Map<String, Value>) -> Option<State> {
    let list = |key: &str| top.get(key).and_then(Value::as_array);
    Some(State {
        epoch: text(top, "epoch")?,
        leases: list("leases")?.iter().map(lease).collect::<Option<Vec<Lease>>>()?,
        named: list("hosts")?.iter().map(named).collect::<Option<Vec<HostEntry>>>()?,
        memory: Memory::read(top.get("joined")?, top.get("blank"))?,
        edit: match top.get("edit")? {
            Value::Null => None,
            edit => Some(Edit::from_json(edit)?),
        },
    })
}

fn lease(row: &Value) -> Option<Lease> {
    let row = row.as_object()?;
    let ends = match row.get("prefix")? {
        Value::Null => None,
        prefix => Some(Endpoints {
            local: text(row, "local")?.parse().ok()?,
            peer: text(row, "peer")?.parse().ok()?,
            prefix: u8::try_from(prefix.as_u64()?).ok().filter(|n| (24..=32).contains(n))?,
        }),
    };
    Some(Lease {
        id: text(row, "id")?,
        device: Device {
            name: text(row, "name").filter(|name| valid_device(name))?,
            ifindex: number(row, "ifindex")?,
            mtu: u16::try_from(number(row, "mtu")?).ok()?,
        },
        label: text(row, "label"),
        ends,
        uid: number(row, "uid")?,
        removing: text(row, "status")? == REMOVING,
        holder: None,
    })
}

fn named(row: &Value) -> Option<HostEntry> {
    let row = row.as_object()?;
    Some(HostEntry {
        entry: Entry { name: text(row, "name")?, ip: text(row, "ip")?.parse().ok()? },
        lease: text(row, "lease"),
        uid: number(row, "uid")?,
        conn: None,
    })
}

fn text(row: &Map<String, Value>, key: &str) -> Option<String> {
    row.get(key)?.as_str().map(str::to_string)
}

fn number(row: &Map<String, Value>, key: &str) -> Option<u32> {
    u32::try_from(row.get(key)?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::block::Write;

    fn full() -> State {
        let ip = |n| std::net::Ipv4Addr::new(10, 10, 0, n);
        let lease = Lease {
            id: "L-0123456789abcdef".into(),
            device: Device { name: "hopbox0".into(), ifindex: 7, mtu: 1420 },
            label: Some("box".into()),
            ends: Some(Endpoints { local: ip(1), peer: ip(2), prefix: 32 }),
            uid: 1000,
            removing: true,
            holder: None,
        };
        let entry = Entry { name: "box.hop".into(), ip: ip(2) };
        let write = Write { at: 1, old: b"bc".to_vec(), new: b"xyz".to_vec() };
        let named = HostEntry { entry, lease: Some(lease.id.clone()), uid: 1000, conn: None };
        let bare = Lease { label: None, ends: None, removing: false, ..lease.clone() };
        State {
            epoch: "e".into(),
            leases: vec![lease, bare],
            named: vec![named],
            memory: Memory { joined: Some(3), blank: vec![7..9, 12..40] },
            edit: Some(Edit { writes: vec![write], len: 3 }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for state in [full(), State::default()] {
            let read = parse(render(&state).as_bytes());
            assert!(matches!(read, Ok(read) if read == state));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_damaged_and_the_newer_is_not_judged() {
        let whole = render(&full());
        for cut in 0..whole.len() - 2 {
            assert!(matches!(parse(&whole.as_bytes()[..cut]), Err(Unread::Damaged(_))), "{cut}");
        }
        let bad = ["[]", "{}", "null", r#"{"version":"1"}"#, r#"{"version":1,"leases":7}"#];
        assert!(bad.iter().all(|text| matches!(parse(text.as_bytes()), Err(Unread::Damaged(_)))));
        let wrong = [
            ("\"ifindex\":7", "\"ifindex\":\"7\""),
            ("\"prefix\":32", "\"prefix\":8"),
            ("hopbox0", "eth0"),
            ("\"uid\":1000", "\"uid\":4294967296"),
            ("10.10.0.2", "10.10.0"),
        ];
        for (from, to) in wrong {
            assert!(parse(whole.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        let newer = whole.replace("\"version\":1", "\"version\":2");
        assert!(matches!(parse(newer.as_bytes()), Err(Unread::Newer)));
    }
}
