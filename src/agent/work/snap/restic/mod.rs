//! restic as it is asked: by its own program, in an environment that is ours. What it did is known
//! by its exit status where its version has them, by a look at the repository where not, and never
//! by a sentence.
//!
//! It is cancelled by SIGINT and waited for: at SIGTERM 0.14 leaves its lock, by which `forget`
//! and `check` are refused from then on. A cache is always named: without one, and without HOME,
//! 0.19 refuses what 0.14 did. Lines come ten times a second.
//!
//! Bounds: 24 h for whatever it does; 60 s for its end once it is told; 4 MiB of an answer.

mod lines;
pub mod locks;
pub mod repository;
mod sftp;
pub mod version;
mod waits;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::lines::Lines;
pub use self::lines::Said;
use self::repository::Repository;
use self::version::{OLDEST, Version};
use self::waits::Waits;
use crate::agent::work::state;
use crate::rpc::types::snap::Far;
use crate::sys::child::{self, Broken, Limits, Stream, Talk};
use crate::sys::signal::Kind;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const WHOLE: Limits = Limits { time: Duration::from_secs(24 * 3600), bytes: 4 * 1024 * 1024 };
const END_WITHIN: Duration = Duration::from_secs(60);
const OF_THE_LOGIN: [&str; 4] = ["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK"];
const FPS: &str = "10";
const ERRORS: usize = 64;
const WHY_CHARS: usize = 400;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no restic, or one that is too old.
    Absent(String),
    NoRepository,
    WrongPassword,
    /// Somebody has it.
    Locked,
    /// Whoever wanted it has gone.
    Cancelled,
    /// ssh does not get to where the repository is: in its words, and what to type there.
    Away(String, String),
    Failed(String),
}

/// What it said at its end.
#[derive(Debug, Default)]
pub struct Told {
    pub summary: Option<Value>,
    /// What it answered, where that is no line each.
    pub answer: Vec<u8>,
    /// Of single files; and how many more there were.
    pub errors: Vec<String>,
    pub more: usize,
    /// It did the rest, and said so by its exit status 3.
    pub is_partial: bool,
}

impl Told {
    pub fn json(&self) -> Result<Value, Trouble> {
        let bad = |error| Trouble::Failed(format!("its answer cannot be read: {error}"));
        serde_json::from_slice(&self.answer).map_err(bad)
    }
}

pub struct Restic {
    program: PathBuf,
    pub version: Version,
    pub repository: Repository,
    cache: PathBuf,
}

/// What is heard of it while it runs.
pub enum Going {
    Far(Far),
    /// Nothing goes on; a sentence.
    Waits(String),
}

/// Who wants it, and hears how far it is.
pub struct For<'a> {
    pub hear: &'a mut dyn FnMut(Going),
    pub is_wanted: &'a dyn Fn() -> bool,
}

fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let dirs = env::split_paths(&path).filter(|dir| dir.is_absolute());
    dirs.map(|dir| dir.join("restic")).find(|path| path.is_file())
}

/// A program as it was asked for its version: another file, or one written anew, is asked again.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    program: PathBuf,
    file: (u64, u64, i64, i64),
}

impl Asked {
    fn of(program: &Path) -> Option<Asked> {
        let found = program.metadata().ok()?;
        let file = (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
        Some(Asked { program: program.to_owned(), file })
    }
}

static LAST: Mutex<Option<(Asked, Version)>> = Mutex::new(None);

/// The version of the one that is installed. It is asked once: `hop status --watch` looks every
/// two seconds.
pub fn installed() -> Result<(PathBuf, Version), Trouble> {
    let absent = |why: &str| Trouble::Absent(why.to_owned());
    let program = program().ok_or_else(|| absent("restic is not installed on this server"))?;
    let asked = Asked::of(&program);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, version)) = last.filter(|(last, _)| asked.as_ref() == Some(last)) {
        return Ok((program, version));
    }
    let version = version(&program)?;
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = asked.map(|asked| (asked, version));
    Ok((program, version))
}

fn version(program: &Path) -> Result<Version, Trouble> {
    let absent = |why: &str| Trouble::Absent(why.to_owned());
    let mut command = Command::new(program);
    command.arg("version").env_clear().current_dir("/");
    let said = child::run(&mut command, Limits::brief(20));
    let said = said.map_err(|broken| Trouble::Absent(format!("restic: {broken}")))?;
    match Version::read(&said.text()) {
        Some(version) if version >= OLDEST => Ok(version),
        Some(version) => {
            Err(Trouble::Absent(format!("restic {version} is too old: {OLDEST} is needed")))
        }
        None => Err(absent("restic does not say its version")),
    }
}

impl Restic {
    pub fn of(repository: Repository) -> Result<Restic, Trouble> {
        let (program, version) = installed()?;
        let cache = state::own_dir().map(|dir| dir.join(".restic-cache"));
        let cache = cache.and_then(|cache| state::private_dir(&cache).map(|()| cache));
        let cache =
            cache.map_err(|error| Trouble::Failed(format!("no room for a cache: {error}")))?;
        Ok(Restic { program, version, repository, cache })
    }

    fn command(&self, words: &[&OsStr]) -> Command {
        let mut command = self.base(&self.program);
        command.env("RESTIC_PROGRESS_FPS", FPS);
        command.env("RESTIC_CACHE_DIR", &self.cache).envs(self.repository.variables());
        command.args(self.repository.server().map(|server| server.option()).into_iter().flatten());
        command.args(words);
        command
    }

    /// With what ssh(1) and rclone(1) need of the login.
    fn base(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        command.env("LC_ALL", "C").current_dir("/");
        for name in OF_THE_LOGIN {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command.envs(state::home().map(|home| ("HOME", home)));
        command
    }

    /// Until it has ended, or nobody wants it any more.
    pub fn run(&self, words: &[&OsStr], whom: &mut For<'_>) -> Result<Told, Trouble> {
        self.hear(words, whom, &mut |_| {})
    }

    /// The same, each line of which goes to `take` as well; of an answer nothing is kept then but
    /// its beginning.
    pub fn hear(
        &self,
        words: &[&OsStr],
        whom: &mut For<'_>,
        take: &mut dyn FnMut(&Value),
    ) -> Result<Told, Trouble> {
        let (ended, told) = self.talk(words, whom, take)?;
        match ended {
            0 => Ok(told),
            3 if words.first().is_some_and(|word| *word == "backup") => {
                Ok(Told { is_partial: true, ..told })
            }
            status => Err(self.judge(status, told, whom)),
        }
    }

    fn talk(
        &self,
        words: &[&OsStr],
        whom: &mut For<'_>,
        take: &mut dyn FnMut(&Value),
    ) -> Result<(i32, Told), Trouble> {
        let lost = |broken: Broken| Trouble::Failed(format!("restic: {broken}"));
        let mut talk = Talk::start(&mut self.command(words), false, WHOLE).map_err(lost)?;
        talk.end_by(Kind::Interrupt, END_WITHIN);
        talk.hear_all();
        let mut password = self.repository.password.as_bytes().chain(&b"\n"[..]);
        let (mut out, mut err) = (Lines::default(), Lines::default());
        let mut told = Told::default();
        let mut end = None;
        let mut waits = Waits::new(Instant::now());
        let status = loop {
            let mut hear = |stream, piece: &[u8]| {
                if stream == Stream::Err {
                    waits.complains(piece);
                }
                let lines = if stream == Stream::Out { &mut out } else { &mut err };
                lines.add(piece, |line| {
                    take(&line);
                    match Said::of(line) {
                        Said::Far(far) => {
                            waits.far(&far, Instant::now());
                            (whom.hear)(Going::Far(far));
                        }
                        Said::Error(why) if told.errors.len() < ERRORS => {
                            told.errors.push(self.repository.hide(&why));
                        }
                        Said::Error(_) => told.more += 1,
                        Said::Summary(summary) => told.summary = Some(summary),
                        Said::End(why) => end = Some(why),
                        Said::Other => {}
                    }
                });
            };
            let stepped = talk.step(Some(&mut password), &mut hear);
            if let Some(status) = stepped.map_err(lost)? {
                break status;
            }
            if !(whom.is_wanted)() {
                return Err(Trouble::Cancelled);
            }
            if let Some(told) = waits.told(Instant::now()) {
                (whom.hear)(Going::Waits(self.repository.hide(&told)));
            }
        };
        told.answer = talk.said().to_vec();
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        if status != 0 && told.errors.is_empty() {
            let complaint = end.unwrap_or_else(|| complaint(talk.complained(), status));
            told.errors.push(self.repository.hide(&complaint));
        }
        Ok((status, told))
    }

    fn judge(&self, status: i32, told: Told, whom: &mut For<'_>) -> Trouble {
        let why = told.errors.last().cloned().unwrap_or_default();
        let why: String = why.replace('\n', ": ").chars().take(WHY_CHARS).collect();
        match status {
            10 if self.version.tells_by_status() => Trouble::NoRepository,
            11 if self.version.tells_by_status() => Trouble::Locked,
            12 if self.version.tells_by_status() => Trouble::WrongPassword,
            130 => Trouble::Cancelled,
            _ => self.look(whom).unwrap_or(Trouble::Failed(why)),
        }
    }

    /// Why it may have failed, where its status is 1 for this and that.
    fn look(&self, whom: &mut For<'_>) -> Option<Trouble> {
        if let Some(server) = self.repository.server() {
            let said = server.complaint(|program| self.base(program));
            if let Some(said) = said {
                return Some(Trouble::Away(said, server.by_hand()));
            }
        }
        if self.version.tells_by_status() {
            return None;
        }
        let is_there = self.repository.path().map(|path| path.join("config").is_file());
        if is_there == Some(false) {
            return Some(Trouble::NoRepository);
        }
        let words = ["cat", "config", "--no-lock", "-q"].map(OsStr::new);
        match self.talk(&words, whom, &mut |_| {}) {
            Ok((0, _)) => match self.locks(whom.is_wanted) {
                Ok(locks) if !locks.is_empty() => Some(Trouble::Locked),
                _ => None,
            },
            // What is there can be read, and not opened.
            Ok(_) if is_there.is_some() && self.is_readable() => Some(Trouble::WrongPassword),
            _ => None,
        }
    }

    fn is_readable(&self) -> bool {
        let open = |path: &Path| std::fs::File::open(path.join("config")).is_ok();
        self.repository.path().is_some_and(open)
    }

    /// Makes the repository where none is. Whether it did.
    pub fn init(&self, whom: &mut For<'_>) -> Result<bool, Trouble> {
        let config = ["cat", "config", "--no-lock", "-q"].map(OsStr::new);
        let opened = self.run(&config, whom);
        let is_unknown = match opened {
            Ok(_) => return Ok(false),
            Err(Trouble::NoRepository) => false,
            // An older one does not tell of what is elsewhere; what is there is not overwritten.
            Err(Trouble::Failed(_)) if !self.version.tells_by_status() => true,
            Err(trouble) => return Err(trouble),
        };
        let words = ["init", "-q"].map(OsStr::new);
        match (self.run(&words, whom), opened) {
            (Ok(_), _) => Ok(true),
            (Err(_), Err(first)) if is_unknown => Err(first),
            (Err(trouble), _) => Err(trouble),
        }
    }
}

/// Its last word, which lines of advice follow.
fn complaint(said: &[u8], status: i32) -> String {
    const FATAL: &str = "Fatal: ";
    let text = String::from_utf8_lossy(said);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let fatal = lines().rfind(|line| line.starts_with(FATAL)).or_else(|| lines().next_back());
    fatal.map_or_else(
        || format!("it ended with {status}"),
        |line| line.trim_start_matches(FATAL).to_owned(),
    )
}

/// A path as a pattern of restic's that means it alone.
pub fn pattern(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut pattern = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if b"\\*?[".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}
