//! Runs that go on without a laptop: what each said and how it ended is kept, in a directory of its
//! own below the login's state. Whoever attends to one holds the lock there.
//!
//! | file | what |
//! |---|---|
//! | `run.json` | what was asked for, when, and by which laptop |
//! | `output`, `output.old` | lines as a stream has them, the last of them the end |
//! | `lock` | held, with the number of the process, as long as it runs |
//! | `told` | its end has been told |
//!
//! Bounds: 16 at a time; 64 are kept; of each the last 4 MiB and the 4 before.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::agent::work::state;
use crate::base::file;
use crate::base::json::Fields;
use crate::http::LINE_BYTES;
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Run, RunState, RunView};
use crate::sys::bounded;
use crate::sys::clock;
use crate::sys::line;
use crate::sys::lock::Lock;
use crate::sys::signal::{self, Kind};

const AT_ONCE: usize = 16;
const KEPT: usize = 64;
const OUTPUT_BYTES: u64 = 4 * 1024 * 1024;
const RECORD_BYTES: u64 = 2 * 1024 * 1024;
/// What is not attended to yet may still be about to be.
const START_MS: u64 = 5_000;
const COMMAND_CHARS: usize = 200;
const STOP_LOOKS: usize = 30;
const STOP_EVERY: Duration = Duration::from_millis(50);

/// Where runs are. No workspace, which have theirs beside it, is called so.
fn root() -> io::Result<PathBuf> {
    Ok(state::own_dir()?.join(".runs"))
}

/// None where nothing was ever run without a laptop.
fn numbers(root: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut all: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    all.sort_unstable();
    Ok(all)
}

fn is_running(dir: &Path) -> bool {
    Lock::is_held(&dir.join("lock")).unwrap_or(false)
}

/// A directory for one run more that a laptop with this key wants, with its number.
pub fn create(run: &Run, laptop: &str) -> io::Result<(u32, PathBuf)> {
    let root = root()?;
    DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
    let mut all = numbers(&root)?;
    let runs = |number: u32| {
        let view = view(number, &root.join(number.to_string()));
        view.is_some_and(|view| view.state == RunState::Running)
    };
    let before = all.len();
    all.retain(|number| !runs(*number));
    if before - all.len() >= AT_ONCE {
        let why = format!("{AT_ONCE} go on already, which is the most");
        return Err(io::Error::new(ErrorKind::QuotaExceeded, why));
    }
    for number in all.iter().take((all.len() + 1).saturating_sub(KEPT)) {
        fs::remove_dir_all(root.join(number.to_string()))?;
    }
    let mut number = numbers(&root)?.last().map_or(1, |last| last.saturating_add(1));
    loop {
        let dir = root.join(number.to_string());
        match DirBuilder::new().mode(0o700).create(&dir) {
            // Another call took it a moment ago.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(()) => {
                let began_unix_ms = clock::wall_ms();
                let (run, laptop) = (run.to_json(), Some(laptop).filter(|key| !key.is_empty()));
                let record = json!({"run": run, "began_unix_ms": began_unix_ms, "laptop": laptop});
                file::create(&dir.join("run.json"), record.to_string().as_bytes())?;
                return Ok((number, dir));
            }
        }
    }
}

fn dir_of(number: u32) -> io::Result<PathBuf> {
    let dir = root()?.join(number.to_string());
    match dir.is_dir() {
        true => Ok(dir),
        false => Err(io::Error::new(ErrorKind::NotFound, format!("there is no run {number}"))),
    }
}

pub fn list() -> io::Result<Vec<RunView>> {
    all(&root()?)
}

fn all(root: &Path) -> io::Result<Vec<RunView>> {
    let view = |number: u32| view(number, &root.join(number.to_string()));
    Ok(numbers(root)?.into_iter().filter_map(view).collect())
}

/// Those that this laptop wanted, or nobody knows which, and of which the end has not been told;
/// from then on it has.
pub fn untold(laptop: &str) -> io::Result<Vec<RunView>> {
    untold_in(&root()?, laptop)
}

fn untold_in(root: &Path, laptop: &str) -> io::Result<Vec<RunView>> {
    let mut all = all(root)?;
    all.retain(|run| {
        let dir = root.join(run.number.to_string());
        let is_its = || wanted_by(&dir).is_none_or(|key| key == laptop);
        run.state != RunState::Running && !dir.join("told").exists() && is_its()
    });
    for run in &all {
        File::create(root.join(run.number.to_string()).join("told"))?;
    }
    Ok(all)
}

fn record(dir: &Path) -> Option<Fields> {
    let record = bounded::read(dir.join("run.json"), RECORD_BYTES).ok()?;
    Fields::parse(std::str::from_utf8(&record).ok()?).ok()
}

fn wanted_by(dir: &Path) -> Option<String> {
    record(dir)?.opt_string("laptop").ok()?
}

fn view(number: u32, dir: &Path) -> Option<RunView> {
    let mut record = record(dir)?;
    let run = Run::read(&mut record.opt_object("run").ok()??).ok()?;
    let began_unix_ms = record.int("began_unix_ms", 0..=u64::MAX).ok()?;
    let running = is_running(dir);
    let state = match end(dir) {
        Some(ended) => RunState::Ended(ended),
        None if running || clock::wall_ms().saturating_sub(began_unix_ms) < START_MS => {
            RunState::Running
        }
        None => RunState::Lost,
    };
    let command = run.line().chars().take(COMMAND_CHARS).collect();
    Some(RunView { number, command, began_unix_ms, state })
}

/// The end of a run that has ended, which is the last line of what it said.
fn end(dir: &Path) -> Option<Ended> {
    let tail = bounded::tail(dir.join("output"), 2 * 4096).ok()?;
    let mut last = Fields::parse(tail.lines().last()?).ok()?;
    if let Some(mut result) = last.opt_object("result").ok()? {
        return Ended::read(&mut result).ok();
    }
    let why = last.opt_object("error").ok()??.string("message").ok()?;
    Some(Ended::NotStarted(125, why))
}

/// Asks whoever attends to it to end it. Nothing where it has ended.
pub fn stop(number: u32) -> io::Result<()> {
    let dir = dir_of(number)?;
    let lock = dir.join("lock");
    for _ in 0..STOP_LOOKS {
        if Lock::is_held(&lock)? {
            if let Ok(pid) = bounded::text(&lock)?.trim().parse() {
                return signal::send(pid, Kind::Terminate);
            }
        } else if view(number, &dir).is_none_or(|it| it.state != RunState::Running) {
            return Ok(());
        }
        // It is about to begin.
        thread::sleep(STOP_EVERY);
    }
    Err(ErrorKind::TimedOut.into())
}

/// What is said from its beginning on, as far as it is kept, until it ends: each line goes to
/// `put`; `rest` waits a moment, and is an error once nobody wants it any more.
pub fn follow(
    number: u32,
    put: &mut dyn FnMut(&str) -> io::Result<()>,
    rest: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let dir = dir_of(number)?;
    let mut whole = match File::open(dir.join("output.old")) {
        Ok(old) => lines(old, put)?,
        Err(_) => false,
    };
    let mut file: Option<(u64, BufReader<File>)> = None;
    while !whole {
        let was_running = is_running(&dir);
        if let Some((_, from)) = &mut file {
            whole = more(from, put)?;
        }
        let is_another = |inode| file.as_ref().is_none_or(|(known, _)| *known != inode);
        match fs::metadata(dir.join("output")) {
            Ok(now) if !whole && is_another(now.ino()) => {
                file = Some((now.ino(), BufReader::new(File::open(dir.join("output"))?)));
                continue;
            }
            _ => {}
        }
        let runs = || view(number, &dir).is_some_and(|it| it.state == RunState::Running);
        if !whole && !was_running && !runs() {
            return Err(io::Error::other("it was killed, or the machine went down"));
        }
        if !whole {
            rest()?;
        }
    }
    Ok(())
}

fn lines(from: File, put: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<bool> {
    more(&mut BufReader::new(from), put)
}

/// The lines that are there. True after the last one of all.
fn more(
    from: &mut BufReader<File>,
    put: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<bool> {
    loop {
        let mut text = String::new();
        // Whole lines alone are written, each at once.
        if from.by_ref().take(LINE_BYTES as u64).read_line(&mut text)? == 0 {
            return Ok(false);
        }
        let text = text.trim_end_matches('\n');
        put(text)?;
        if !text.starts_with("{\"event\":") {
            return Ok(true);
        }
    }
}

/// Keeps what comes at a stream, until its end.
pub struct Kept {
    dir: PathBuf,
    file: File,
    bytes: u64,
    _lock: Lock,
}

impl Kept {
    /// Only one can attend to a run.
    pub fn begin(dir: &Path) -> io::Result<Kept> {
        let lock = Lock::take(&dir.join("lock"))?.ok_or(ErrorKind::AlreadyExists)?;
        lock.note(&std::process::id().to_string());
        Ok(Kept { dir: dir.to_owned(), file: output(dir)?, bytes: 0, _lock: lock })
    }

    pub fn keep(mut self, mut from: UnixStream) -> io::Result<()> {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let seen = bytes.len();
            match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => bytes.extend_from_slice(piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut seen = seen;
            while let Some(mut line) = line::take(&mut bytes, seen) {
                seen = 0;
                // An empty one says that the run lives, which the lock does, too.
                if !line.is_empty() {
                    line.push(b'\n');
                    // What there is no room for is not kept; the run goes on.
                    let _ = self.add(&line);
                }
            }
        }
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > OUTPUT_BYTES {
            fs::rename(self.dir.join("output"), self.dir.join("output.old"))?;
            (self.file, self.bytes) = (output(&self.dir)?, 0);
        }
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }
}

fn output(dir: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join("output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_and_to_the_laptop_that_wanted_it() {
        let root = std::env::temp_dir().join(format!("hopbox-untold-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let run = Run { words: vec!["make".to_owned()], ..Run::default() };
        let laptops = [json!("one"), json!("other"), json!(null), json!("one")];
        for (n, laptop) in laptops.into_iter().enumerate() {
            let dir = root.join((n + 1).to_string());
            fs::create_dir_all(&dir).unwrap();
            let began = if n == 3 { clock::wall_ms() + 60_000 } else { 1 };
            let record = json!({"run": run.to_json(), "began_unix_ms": began, "laptop": laptop});
            fs::write(dir.join("run.json"), record.to_string()).unwrap();
        }
        let end = json!({"result": Ended::Code(0).to_json()}).to_string();
        fs::write(root.join("1/output"), end.clone() + "\n").unwrap();
        fs::write(root.join("2/output"), end.clone() + "\n").unwrap();
        let told = |laptop: &str| {
            let all = untold_in(&root, laptop).unwrap();
            all.into_iter().map(|run| run.number).collect::<Vec<_>>()
        };
        // One of an older agent's is everybody's.
        assert_eq!(told("other"), [2, 3]);
        assert_eq!(told("one"), [1], "3 was told, and 4 runs");
        assert_eq!((told("one"), told("other")), (vec![], vec![]));
        fs::write(root.join("4/output"), end + "\n").unwrap();
        assert_eq!((told("other"), told("one")), (vec![], vec![4]));
        fs::remove_dir_all(&root).unwrap();
    }
}
