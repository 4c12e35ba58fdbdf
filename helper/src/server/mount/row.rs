//! A mount that a user asks for, typed, and the file of those that there are. Whatever comes in,
//! from a request or from the disk, is read by `What::read` and `target`. Pure. Must not know: how
//! one is made.

use crate::proto::{Args, Code, OpError, required};
use crate::server::rows::{Status, has_only, is_id};
use serde_json::{Map, Value, json};

pub const TMPFS: &[&str] = &["target", "size"];
pub const BIND: &[&str] = &["target", "source", "read_only"];
pub const TARGET: &[&str] = &["target"];
/// Longest path, in bytes, and its most steps.
const PATH_MAX: usize = 200;
const STEPS_MAX: usize = 16;
/// Smallest and largest tmpfs, in bytes.
const SIZES: (u64, u64) = (64 << 10, 64 << 30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes.
    Tmpfs { size: u64 },
    /// A directory that root has put on its list.
    Bind { source: String, read_only: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Make(String, What),
    End(String),
    List,
}

/// What tells a bind mount from another one at the same place: the kernel's number of it, and
/// device and inode of its directory.
pub type Mark = [u64; 3];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `mount-` and 16 hexadecimal digits; a tmpfs has it as its source.
    pub id: String,
    pub uid: u32,
    pub gid: u32,
    pub target: String,
    pub what: What,
    pub status: Status,
    pub mark: Mark,
}

impl Wish {
    pub fn read(op: &str, a: &Args) -> Result<Wish, OpError> {
        Ok(match op {
            "mount.tmpfs" => Wish::Make(target(a)?, tmpfs(a)?),
            "mount.bind" => Wish::Make(target(a)?, bind(a)?),
            "mount.unmount" => Wish::End(target(a)?),
            "mount.list" => Wish::List,
            _ => return Err(OpError::new(Code::UnknownOp, "there is no such operation")),
        })
    }
}

fn tmpfs(a: &Args) -> Result<What, OpError> {
    Ok(What::Tmpfs { size: required("size", a.int("size", SIZES.0, SIZES.1)?)? })
}

fn bind(a: &Args) -> Result<What, OpError> {
    let read_only = match a.0.get("read_only") {
        None => true,
        Some(Value::Bool(read_only)) => *read_only,
        Some(_) => return Err(OpError::field("read_only", "read_only must be true or false")),
    };
    let source = path(a, "source")?;
    match source.strip_prefix('/') {
        Some(rest) if is_plain(rest) => Ok(What::Bind { source, read_only }),
        _ => Err(OpError::field("source", "source must be the path of a directory, from / on")),
    }
}

fn target(a: &Args) -> Result<String, OpError> {
    let why = "target must lead down from the caller's home directory: names of A-Z, a-z, 0-9, \
               ., _, @, + and -";
    Some(path(a, "target")?).filter(|path| is_plain(path)).ok_or(OpError::field("target", why))
}

fn path(a: &Args, key: &str) -> Result<String, OpError> {
    let text = required(key, a.0.get(key))?.as_str().filter(|text| text.len() <= PATH_MAX);
    text.map(str::to_owned).ok_or_else(|| {
        OpError::field(key, format!("{key} must be a path of at most {PATH_MAX} bytes"))
    })
}

/// Of names alone, none of which leads up, or says something to whoever carries it further.
pub fn is_plain(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
    let step =
        |step: &str| !step.is_empty() && step != "." && step != ".." && step.bytes().all(plain);
    path.split('/').count() <= STEPS_MAX && path.split('/').all(step)
}

impl Row {
    /// For whoever asks.
    pub fn to_json(&self) -> Value {
        match &self.what {
            What::Tmpfs { size } => json!({"target": self.target, "size": size}),
            What::Bind { source, read_only } => {
                json!({"target": self.target, "source": source, "read_only": read_only})
            }
        }
    }

    /// For the audit log.
    pub fn text(&self) -> String {
        let (target, uid) = (&self.target, self.uid);
        match &self.what {
            What::Tmpfs { size } => format!("a tmpfs of {size} bytes at {target} of {uid}"),
            What::Bind { source, .. } => format!("{source} at {target} of {uid}"),
        }
    }

    fn render(&self) -> Value {
        json!({
            "id": self.id, "uid": self.uid, "gid": self.gid, "mount": self.to_json(),
            "status": self.status.name(), "mark": self.mark,
        })
    }

    fn parse(row: &Value) -> Option<Row> {
        let row = row.as_object().filter(|row| row.len() == 6)?;
        let number = |key: &str| u32::try_from(row.get(key)?.as_u64()?).ok();
        let mount = Args(row.get("mount")?.as_object()?);
        let what = match mount.0.contains_key("size") {
            true => tmpfs(&mount).ok().filter(|_| has_only(mount.0, TMPFS))?,
            false => bind(&mount).ok().filter(|_| has_only(mount.0, BIND))?,
        };
        let id = row.get("id")?.as_str()?;
        Some(Row {
            id: is_id(id, "mount").then(|| id.to_owned())?,
            uid: number("uid")?,
            gid: number("gid")?,
            target: target(&mount).ok()?,
            what,
            status: Status::read(row.get("status")?.as_str()?)?,
            mark: mark(row.get("mark")?)?,
        })
    }
}

pub fn mark(value: &Value) -> Option<Mark> {
    let numbers: Option<Vec<u64>> = value.as_array()?.iter().map(Value::as_u64).collect();
    numbers?.try_into().ok()
}

pub fn render(rows: &[Row]) -> String {
    let rows: Vec<Value> = rows.iter().map(Row::render).collect();
    format!("{}\n", json!({"version": 1, "mounts": rows}))
}

pub fn parse(text: &[u8]) -> Option<Vec<Row>> {
    let top: Map<String, Value> = serde_json::from_slice(text).ok()?;
    (top.get("version")?.as_u64()? == 1 && top.len() == 2).then_some(())?;
    top.get("mounts")?.as_array()?.iter().map(Row::parse).collect()
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
