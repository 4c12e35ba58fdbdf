//! The process that may change the firewall, and the way to it. The daemon, which reads what users
//! write, has no right to change anything and runs no program; it asks this one, its child, in
//! typed words alone: whoever takes the daemon over can ask for rules, and for no other program and
//! no other table. One question at a time. Must not know: users, state.

use crate::core::access::Access;
use crate::core::sandbox;
use crate::proto::Args;
use crate::server::firewall::rule::Spec;
use crate::server::firewall::store::is_id;
use crate::server::firewall::table::{self, Rule};
use crate::server::nft::{self, Failed};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How the daemon starts it, with a socket as its standard input.
pub const WORD: &str = "--worker";
/// All that it runs for one question has to end within this.
const LIMIT: Duration = Duration::from_secs(10);
/// After this the daemon gives it up.
const GIVEN_UP: Duration = Duration::from_secs(15);
/// Longest question and head of an answer, in bytes.
const LINE_MAX: u64 = 1 << 20;
const ANSWER_MAX: usize = LINE_MAX as usize + 3 * nft::OUTPUT_MAX as usize;
/// What nft may read and run: itself and its libraries; and what it may read: the names of numbers.
const RUNS: [&str; 3] = ["/usr", "/lib", "/lib64"];
const READS: [&str; 3] = ["/etc/ld.so.cache", "/etc/protocols", "/etc/services"];

/// Our table and all tables, as nft lists them; `None` where there is no such table, or where all
/// of them are too much to be looked through.
pub struct Seen {
    pub own: Option<Value>,
    pub all: Option<Value>,
    /// All of them for people, where JSON does not say everything.
    pub text: String,
}

/// The daemon's end.
pub struct Worker {
    stream: UnixStream,
    input: Vec<u8>,
    asked: Option<Instant>,
    pub lost: bool,
}

impl Worker {
    pub fn start() -> Result<Worker, String> {
        let failed = |e: io::Error| format!("start the worker: {e}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let own = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(own);
        command.arg(WORD).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        command.spawn().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        Ok(Worker { stream: ours, input: Vec::new(), asked: None, lost: false })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Asks it to make the table of these rules, or with `None` only to look.
    pub fn ask(&mut self, rules: Option<&[Rule]>) {
        let row = |(id, spec): &Rule| json!({"rule_id": id, "spec": spec.to_json()});
        let rules = rules.map(|rules| rules.iter().map(row).collect::<Value>());
        let line = format!("{}\n", json!({"rules": rules}));
        self.asked = Some(Instant::now());
        // It reads while it has nothing to do, and so much fits into the socket.
        let sent = self.stream.write(line.as_bytes());
        self.lost |= !sent.is_ok_and(|sent| sent == line.len());
    }

    /// Nothing has come of a question for too long.
    pub fn is_overdue(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() > GIVEN_UP)
    }

    /// The answer, when all of it has come; an error is what nft said.
    pub fn answer(&mut self) -> Option<Result<Seen, String>> {
        let mut buf = [0; 16_384];
        loop {
            match self.stream.read(&mut buf) {
                Ok(count) if count > 0 && self.input.len() <= ANSWER_MAX => {
                    self.input.extend(buf.iter().take(count));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.lost = true;
                    return None;
                }
            }
        }
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let head: Value = serde_json::from_slice(self.input.get(..end)?).unwrap_or_default();
        let len = |key: &str| head.get(key).and_then(Value::as_u64).map(|len| len as usize);
        let body = self.input.get(end + 1..)?;
        let (own, rest) = body.split_at_checked(len("own").unwrap_or(0))?;
        let (all, rest) = rest.split_at_checked(len("all").unwrap_or(0))?;
        let text = String::from_utf8_lossy(rest.get(..len("text").unwrap_or(0))?).into_owned();
        let json = |bytes| serde_json::from_slice(bytes).ok();
        let answer = match head.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(Seen { own: json(own), all: json(all), text }),
        };
        (self.input, self.asked) = (Vec::new(), None);
        Some(answer)
    }
}

/// The other end: answers until nobody asks any more.
pub fn serve() -> Result<(), String> {
    let failed = |e: io::Error| format!("worker: {e}");
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(failed)?;
    // Where they lead to, of which a part is links.
    let real = |path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let allow = |paths: [&'static str; 3], what| paths.map(|path| (real(path), what));
    sandbox::confine(&[allow(RUNS, Access::Run), allow(READS, Access::Read)].concat());
    let mut questions = BufReader::new(stream.try_clone().map_err(failed)?);
    loop {
        let mut line = Vec::new();
        let read = questions.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        let answer = question(&line).ok_or_else(|| Failed::Said("no question".to_owned()));
        let answer = answer.and_then(|rules| answer_to(rules, stream.as_fd()));
        let (error, lists) = match answer {
            Ok(lists) => (None, lists),
            Err(Failed::Said(why)) => (Some(why), Lists::default()),
            Err(Failed::TooLong) => (Some("nft writes too much".to_owned()), Lists::default()),
        };
        let [own, all, text] = lists.each_ref().map(|list| list.as_ref().map(Vec::len));
        let head = json!({"error": error, "own": own, "all": all, "text": text});
        let mut bytes = format!("{head}\n").into_bytes();
        lists.into_iter().flatten().for_each(|list| bytes.extend(list));
        if (&stream).write_all(&bytes).is_err() {
            return Ok(());
        }
    }
}

/// The rules to make, checked as if a stranger had asked; without any, only a look.
fn question(line: &[u8]) -> Option<Option<Vec<Rule>>> {
    let question: Value = serde_json::from_slice(line).ok()?;
    let rule = |row: &Value| {
        let id = row.get("rule_id")?.as_str().filter(|id| is_id(id))?.to_owned();
        Some((id, Spec::read(&Args(row.get("spec")?.as_object()?)).ok()?))
    };
    match question.get("rules")? {
        Value::Null => Some(None),
        rules => rules.as_array()?.iter().map(rule).collect::<Option<_>>().map(Some),
    }
}

/// Our table, all tables, and all of them for people.
type Lists = [Option<Vec<u8>>; 3];

fn answer_to(rules: Option<Vec<Rule>>, asker: BorrowedFd) -> Result<Lists, Failed> {
    let deadline = Instant::now() + LIMIT;
    let list = |words: &[&str]| nft::run(words, "", deadline, asker);
    if let Some(rules) = rules {
        nft::run(&["-f", "-"], &table::script(&rules), deadline, asker)?;
    }
    let tables = list(&["-j", "list", "tables"])?;
    let tables: Value = serde_json::from_slice(&tables).unwrap_or_default();
    let ours = table::is_among(&tables);
    let ours = ours.ok_or_else(|| Failed::Said("nft lists what nobody can read".to_owned()))?;
    let own =
        ours.then(|| list(&["-j", "list", "table", table::FAMILY, table::NAME])).transpose()?;
    let optional = |words: &[&str]| match list(words) {
        Err(Failed::TooLong) => Ok(None),
        listed => listed.map(Some),
    };
    // Without what is in sets: that may be very long.
    let all = optional(&["-j", "-t", "list", "ruleset"])?;
    // Conditions of iptables are for people alone.
    let xt = all.as_ref().is_some_and(|all| all.windows(4).any(|word| word == b"\"xt\""));
    let text = if xt { optional(&["-t", "-a", "list", "ruleset"])? } else { None };
    Ok([own, all, text])
}
