//! Makes, ends and looks at mounts, in the machine's own mounts; one run for each. A place is a
//! descriptor, got by single steps down from the caller's home directory, none of which follows a
//! link or leaves a directory that is the caller's own: whoever exchanges a directory meanwhile has
//! the mount where the descriptor leads to, which was his all the same. Must not know: requests.

use crate::core::files;
use crate::net::invited;
use crate::proto::{Code, OpError};
use crate::server::mount::row::{self, Mark, Row, What};
use crate::sys;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How it is started: with the directory of the rows, what to do, and which row's.
pub const WORD: &str = "--mount";
/// Which directories may be mounted elsewhere: one in a line, with ` rw` behind it where that may
/// be written, too. Root's.
const SOURCES: &str = "/etc/hopbox/bind-sources";
const FILE_MAX: u64 = 1 << 20;
const MOUNTS_MAX: u64 = 8 << 20;

/// Writes what it comes to, as JSON, to standard output.
pub fn run(dir: &Path, verb: &str, id: &str) -> Result<(), String> {
    let answer = act(dir, verb, id).unwrap_or_else(|error| json!({"error": error.to_json()}));
    io::stdout().write_all(answer.to_string().as_bytes()).map_err(|e| e.to_string())
}

fn act(dir: &Path, verb: &str, id: &str) -> Result<Value, OpError> {
    let rows = rows(dir)?;
    let row = || rows.iter().find(|row| row.id == id);
    let row = || row().ok_or_else(|| OpError::conflict("there is no such mount"));
    match verb {
        "make" => make(row()?),
        "end" => end(row()?).map(|()| json!({})),
        _ => {
            // One that cannot be got at is there.
            let is_there = |row: &&Row| !there(row).is_ok_and(|mounts| mounts.is_empty());
            let ids: Vec<&str> = rows.iter().filter(is_there).map(|row| &*row.id).collect();
            Ok(json!({"there": ids}))
        }
    }
}

fn rows(dir: &Path) -> Result<Vec<Row>, OpError> {
    let text = files::read(&dir.join("state.json"), FILE_MAX).map_err(failed("the rows"))?;
    row::parse(&text).ok_or_else(|| OpError::kernel("the rows cannot be read"))
}

fn end(row: &Row) -> Result<(), OpError> {
    for mount in there(row)? {
        sys::unmount(&mount).map_err(failed("unmount"))?;
    }
    let left = there(row)?.len();
    if left == 0 { Ok(()) } else { Err(OpError::kernel("it is still mounted")) }
}

/// Of every row: for whoever takes all of it away.
pub fn end_all(dir: &Path) -> Result<(), OpError> {
    rows(dir)?.iter().try_for_each(end)
}

fn failed(what: &str) -> impl Fn(io::Error) -> OpError {
    move |e| match e.raw_os_error() {
        Some(libc::ENOSYS) => {
            OpError::new(Code::NotSupported, format!("{what}: needs Linux 5.12 or newer"))
        }
        _ => OpError::kernel(format!("{what}: {e}")),
    }
}

fn make(row: &Row) -> Result<Value, OpError> {
    let denied = |why: String| OpError::new(Code::PermissionDenied, why);
    let (dir, name) = walk(row)?;
    let place = step(&dir, name, row.uid)?;
    if mount_id(&place) != mount_id(&dir) {
        return Err(OpError::conflict(format!("something is mounted at {} already", row.target)));
    }
    if let Some(below) = below(&place)? {
        let why = format!("{} is mounted below it, and would not be seen", below.display());
        return Err(OpError::conflict(why));
    }
    match &row.what {
        What::Tmpfs { size } => {
            let (uid, gid) = (row.uid, row.gid);
            // As many files as there is room for a page of each.
            let inodes = (size / 4096).max(16);
            let options = format!("size={size},nr_inodes={inodes},uid={uid},gid={gid},mode=0700");
            sys::mount_tmpfs(&row.id, &place, &options).map_err(failed("mount"))?;
        }
        What::Bind { source, read_only } => {
            let list = match files::read(Path::new(SOURCES), FILE_MAX) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
                list => list.map_err(failed(SOURCES))?,
            };
            if !is_listed(&list, source, *read_only) {
                let so = if *read_only { "" } else { " rw" };
                return Err(denied(format!("{SOURCES} has no line {source}{so}")));
            }
            let source = sys::open_beneath(None, Path::new(source)).map_err(failed(source))?;
            sys::mount_bind(&source, &place, *read_only).map_err(failed("mount"))?;
        }
    }
    // What is mounted, or was, is looked at, whatever the kernel said.
    let mounts = there(row)?;
    let [mount] = &mounts[..] else {
        return Err(OpError::kernel("the kernel does not show it as one mount"));
    };
    Ok(json!({"mark": mark(mount)?}))
}

/// Whether root allows it.
fn is_listed(list: &[u8], source: &str, read_only: bool) -> bool {
    let list = String::from_utf8_lossy(list);
    let mut lines = list.lines().map(str::trim);
    lines.any(|line| match line.strip_suffix(" rw") {
        Some(path) => path.trim_end() == source,
        None => read_only && line == source,
    })
}

/// The directory above the place, and the name of the place in it.
fn walk(row: &Row) -> Result<(File, &str), OpError> {
    let users = files::read(Path::new(invited::USERS), FILE_MAX).map_err(failed("users"))?;
    let home = home(&users, row.uid);
    let home = home.ok_or_else(|| OpError::conflict("the caller has no home in /etc/passwd"))?;
    let mut dir =
        sys::open_at(None, &home, sys::LOOK | libc::O_DIRECTORY).map_err(failed("home"))?;
    own(&dir, row.uid, "the home directory")?;
    let mut steps: Vec<&str> = row.target.split('/').collect();
    let last = steps.pop().unwrap_or_default();
    for name in steps {
        let next = step(&dir, name, row.uid)?;
        if mount_id(&next) != mount_id(&dir) {
            return Err(OpError::conflict(format!("{name} in {} is a mount", row.target)));
        }
        dir = next;
    }
    Ok((dir, last))
}

fn home(users: &[u8], uid: u32) -> Option<PathBuf> {
    let line = users.split(|b| *b == b'\n').find(|line| invited::number(line) == Some(uid))?;
    let home =
        PathBuf::from(std::ffi::OsString::from_vec(line.split(|b| *b == b':').nth(5)?.into()));
    home.is_absolute().then_some(home)
}

fn step(dir: &File, name: &str, uid: u32) -> Result<File, OpError> {
    let file =
        sys::open_beneath(Some(dir), Path::new(name)).map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP | libc::ENOTDIR | libc::ENOENT) => {
                OpError::conflict(format!("{name} is no directory: {e}"))
            }
            _ => failed(name)(e),
        })?;
    own(&file, uid, name)?;
    Ok(file)
}

fn own(dir: &File, uid: u32, name: &str) -> Result<(), OpError> {
    let denied = || OpError::new(Code::PermissionDenied, format!("{name} is not the caller's own"));
    if dir.metadata().map_err(failed(name))?.uid() == uid { Ok(()) } else { Err(denied()) }
}

/// The kernel's number of the mount that a descriptor leads to.
fn mount_id(file: &File) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

fn mark(mount: &File) -> Result<Mark, OpError> {
    let of = mount.metadata().map_err(failed("look"))?;
    let id = mount_id(mount).ok_or_else(|| OpError::kernel("a mount has no number"))?;
    Ok([id, of.dev(), of.ino()])
}

/// What is mounted below a directory.
fn below(place: &File) -> Result<Option<PathBuf>, OpError> {
    let path = fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let path = path.map_err(failed("place"))?;
    let table = table()?;
    let mut points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(points.find(|point| point.starts_with(&path) && *point != path))
}

fn table() -> Result<String, OpError> {
    let mut text = Vec::new();
    let table = File::open("/proc/self/mountinfo").map_err(failed("mounts"))?;
    table.take(MOUNTS_MAX).read_to_end(&mut text).map_err(failed("mounts"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The mounts of a row, each held by its own root. A tmpfs has its name, wherever its directory
/// was moved to; a bind mount is the one of its mark, or, where that was not written yet, what
/// stands at its place and is its source. An error where there is one that cannot be got at.
fn there(row: &Row) -> Result<Vec<File>, OpError> {
    let text = table()?;
    let wanted = if row.mark[0] == 0 { at_place(row).unwrap_or(row.mark) } else { row.mark };
    let of_row = |line: &&str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = fields.iter().position(|field| *field == "-").map_or(0, |dash| dash + 1);
        match row.what {
            What::Tmpfs { .. } => fields.get(kind..kind + 2) == Some(&["tmpfs", &*row.id]),
            What::Bind { .. } => fields.first().and_then(|id| id.parse().ok()) == Some(wanted[0]),
        }
    };
    let open = |line: &str| {
        let [id, _, _, _, point] = line.split(' ').take(5).collect::<Vec<_>>()[..] else {
            return Ok(None);
        };
        let point = unescaped(point);
        let tmpfs = matches!(row.what, What::Tmpfs { .. });
        let held = sys::open_beneath(None, &point).ok();
        let held = held.and_then(|held| Some((mark(&held).ok()?, held)));
        match held.filter(|(found, _)| Some(found[0]) == id.parse().ok()) {
            // Numbers of mounts are used again.
            Some((found, held)) => Ok((tmpfs || found == wanted).then_some(held)),
            None if !tmpfs && !point.ends_with(&row.target) => Ok(None),
            None => Err(OpError::conflict(format!("something is mounted over {}", row.target))),
        }
    };
    text.lines().filter(of_row).filter_map(|line| open(line).transpose()).collect()
}

/// The mark of a bind mount that stands at its place.
fn at_place(row: &Row) -> Option<Mark> {
    let What::Bind { source, .. } = &row.what else { return None };
    let (dir, name) = walk(row).ok()?;
    let place = sys::open_beneath(Some(&dir), Path::new(name)).ok()?;
    let source = sys::open_beneath(None, Path::new(source)).ok()?.metadata().ok()?;
    let found = mark(&place).ok()?;
    let is_its = found[1..] == [source.dev(), source.ino()] && Some(found[0]) != mount_id(&dir);
    is_its.then_some(found)
}

/// A path as mountinfo writes it: blanks and the like as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(digits, 8));
        bytes.extend(rest.as_bytes());
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
#[path = "make_tests.rs"]
mod tests;
