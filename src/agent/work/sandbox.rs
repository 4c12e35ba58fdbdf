//! Who listens behind the wall of a sandbox: in network namespaces that this login made (rootless
//! containers, bwrap, unshare), which have a loopback of their own; and connections there. Inward
//! alone: nothing in there gets anything of what is outside.
//!
//! Whose a namespace is, is the kernel's word: that of the user who made the user namespace that
//! owns it. The system's and other users' are not looked at, whoever has processes in there. A
//! connection is made by a child (`hop-agent dial`), which looks at that once more.
//!
//! A namespace is asked by a socket of sock_diag(7) that such a child made in it, once: what
//! listens in one that is known is seen at the next look. The socket holds the namespace until a
//! look finds nobody in it.
//!
//! Bounds: looked at while somebody wants to know: every 150 ms at processes that are new, and at 4
//! namespaces, by turns where there are more; at all processes once a second; 32,768 processes, 64
//! namespaces, 256 listeners of each; 8 children at a time, 3 s each, for which others wait 2 s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::work::state::Room;
use crate::sys::listeners::{Listener, Listeners};
use crate::sys::net_space::{self, NetSpace};

const LOOK_EVERY: Duration = Duration::from_millis(150);
const ALL_EVERY: Duration = Duration::from_secs(1);
/// Processes that are looked at between those, if no more have begun.
const NEW: u32 = 64;
/// Namespaces that are looked at in one go.
const AT_ONCE: usize = 4;
/// A child that failed is not tried again at once.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A process may enter another namespace later; most do so when they are young.
const YOUNG: Duration = Duration::from_secs(3);
const THOROUGH_EVERY: Duration = Duration::from_secs(10);
const PROCESSES: usize = 32_768;
const SPACES: usize = 64;
const LISTENERS: usize = 256;
const CHILDREN: usize = 8;
const PLACE_LIMIT: Duration = Duration::from_secs(2);
pub const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const CHILD_LIMIT: Duration = Duration::from_secs(3);
/// The verb of the child.
pub const VERB: &str = "dial";

/// Somebody who listens on a sandbox's loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sandboxed {
    pub listener: Listener,
    /// A process in there, and the number of the namespace.
    pub pid: u32,
    pub space: u64,
}

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Seen {
    looked: Option<Instant>,
    looked_at_all: Option<Instant>,
    thorough: Option<Instant>,
    /// The kernel's last number of a process then.
    newest: Option<u32>,
    /// Processes: since when they are known, and the namespace that each is in if that is no home.
    processes: HashMap<u32, (Instant, Option<u64>)>,
    /// The namespaces of this login's, in the order in which they came.
    spaces: Vec<Space>,
    /// Namespaces of others, as far as they were looked at lately.
    others: BTreeSet<u64>,
    /// Whose turn it is.
    turn: usize,
    are_unwanted: bool,
}

struct Space {
    number: u64,
    /// One that is in there.
    pid: u32,
    listeners: Option<Listeners>,
    asked: Option<Instant>,
}

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of them: of those at the same port the sandbox that came first is first. None where a
/// workspace of this login's wants none.
pub fn listeners() -> Vec<Sandboxed> {
    // The program that runs, also where its file was replaced.
    listeners_by(Path::new(OWN))
}

/// The same by children of this program.
pub fn listeners_by(program: &Path) -> Vec<Sandboxed> {
    let (mut seen, now) = (seen(), Instant::now());
    if seen.looked.is_none_or(|looked| now - looked >= LOOK_EVERY) {
        seen.look(now, program);
    }
    seen.all()
}

/// A connection to whoever listens there at this port, if anybody does; and a socket by which is
/// asked what became of it, if that is wanted.
pub fn connect(port: u16, is_asked: bool) -> io::Result<(TcpStream, Option<OwnedFd>)> {
    let program = Path::new(OWN);
    let found = find(program, port)?;
    let asked = if is_asked { Some(look_into(program, found.pid, found.space)?) } else { None };
    dial(program, found).map(|stream| (stream, asked))
}

/// The same by a child of this program.
pub fn connect_by(program: &Path, port: u16) -> io::Result<TcpStream> {
    dial(program, find(program, port)?)
}

fn find(program: &Path, port: u16) -> io::Result<Sandboxed> {
    let at = |all: &[Sandboxed]| all.iter().find(|one| one.listener.port == port).copied();
    let found = at(&listeners_by(program)).or_else(|| {
        // It may be new.
        let mut seen = seen();
        seen.look(Instant::now(), program);
        at(&seen.all())
    });
    found.filter(|_| are_wanted()).ok_or(ErrorKind::NotFound.into())
}

fn dial(program: &Path, Sandboxed { listener, pid, space }: Sandboxed) -> io::Result<TcpStream> {
    let ip = if listener.ip.is_ipv4() { V4 } else { V6 };
    child(program, pid, space, &SocketAddr::new(ip, listener.port).to_string()).map(TcpStream::from)
}

fn look_into(program: &Path, pid: u32, space: u64) -> io::Result<OwnedFd> {
    child(program, pid, space, LOOK)
}

/// What a child has made.
fn child(program: &Path, pid: u32, space: u64, what: &str) -> io::Result<OwnedFd> {
    let _place = Place::take()?;
    let mut command = Command::new(program);
    let words = [VERB.to_owned(), pid.to_string(), space.to_string(), what.to_owned()];
    net_space::handed(command.args(words).env_clear().current_dir("/"), CHILD_LIMIT)
}

const OWN: &str = "/proc/self/exe";
/// In place of an address.
const LOOK: &str = "look";
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What the child does; its words are those that it was given above.
pub fn main(words: &[String]) -> u8 {
    let [pid, space, what] = words else { return 2 };
    let (Ok(pid), Ok(space)) = (pid.parse(), space.parse()) else { return 2 };
    if what == LOOK {
        return u8::from(!net_space::look_into(pid, space));
    }
    what.parse().map_or(2, |to| u8::from(!net_space::dial(pid, space, to, CONNECT_LIMIT)))
}

impl Seen {
    fn look(&mut self, now: Instant, program: &Path) {
        self.looked = Some(now);
        let is_due = |last: Option<Instant>, every| last.is_none_or(|last| now - last >= every);
        let thorough = is_due(self.thorough, THOROUGH_EVERY);
        if thorough {
            self.thorough = Some(now);
            self.are_unwanted = !are_wanted();
            self.others.clear();
        }
        if self.are_unwanted {
            self.spaces.clear();
            return self.processes.clear();
        }
        let Some(home) = *HOME else { return };
        let newest = newest();
        if thorough || is_due(self.looked_at_all, ALL_EVERY) {
            self.looked_at_all = Some(now);
            self.look_at_all(now, home, thorough);
        } else {
            self.look_at_new(now, home, newest);
        }
        self.newest = newest;
        self.find_spaces();
        self.ask(now, program);
    }

    fn look_at_all(&mut self, now: Instant, home: u64, thorough: bool) {
        let before = std::mem::take(&mut self.processes);
        for pid in processes() {
            let known = before.get(&pid).copied();
            let known = known.filter(|(since, _)| !thorough && now - *since >= YOUNG);
            let of = || space_of(pid).filter(|space| *space != home);
            let since = before.get(&pid).map_or(now, |(since, _)| *since);
            self.processes.insert(pid, known.unwrap_or_else(|| (since, of())));
        }
    }

    /// At those that have begun since the last look, which have the numbers that follow, and at
    /// those that are young. Where they are many it is left to the next look at all.
    fn look_at_new(&mut self, now: Instant, home: u64, newest: Option<u32>) {
        let (Some(before), Some(newest)) = (self.newest, newest) else { return };
        let is_young = |since: &Instant| now - *since < YOUNG;
        let young = self.processes.iter().filter(|(_, (since, _))| is_young(since));
        let young = young.map(|(pid, _)| *pid).take(NEW as usize);
        let new = newest.checked_sub(before).filter(|count| *count <= NEW);
        let new = new.into_iter().flat_map(|count| newest - count + 1..=newest);
        let both: Vec<u32> = young.chain(new).collect();
        for pid in both {
            match space_of(pid) {
                Some(space) => {
                    let known = self.processes.entry(pid).or_insert((now, None));
                    known.1 = Some(space).filter(|space| *space != home);
                }
                // Another user's, or gone.
                None => drop(self.processes.remove(&pid)),
            }
        }
    }

    /// Those that are still there keep their places.
    fn find_spaces(&mut self) {
        let mut there: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        for (pid, (_, space)) in &self.processes {
            if let Some(space) = space {
                there.entry(*space).or_default().insert(*pid);
            }
        }
        let one_in = |space: u64, pids: &BTreeSet<u32>| {
            pids.iter().copied().find(|pid| space_of(*pid) == Some(space))
        };
        self.spaces.retain_mut(|space| {
            let pids = there.remove(&space.number).unwrap_or_default();
            let pid = one_in(space.number, &pids);
            space.pid = pid.unwrap_or(space.pid);
            pid.is_some()
        });
        for (number, pids) in there {
            if self.spaces.len() >= SPACES {
                return;
            }
            if self.others.contains(&number) {
                continue;
            }
            let Some(pid) = one_in(number, &pids) else { continue };
            if NetSpace::of(&pid.to_string()).is_ok_and(|space| space.is_own()) {
                self.spaces.push(Space { number, pid, listeners: None, asked: None });
            } else {
                self.others.insert(number);
            }
        }
    }

    /// Some of them, by turns.
    fn ask(&mut self, now: Instant, program: &Path) {
        let count = self.spaces.len();
        for _ in 0..count.min(AT_ONCE) {
            self.turn = (self.turn + 1) % count;
            self.spaces.get_mut(self.turn).into_iter().for_each(|space| space.look(now, program));
        }
    }

    /// Who can be reached on its loopback.
    fn all(&self) -> Vec<Sandboxed> {
        let is_reached = |one: &&Listener| [V4, V6].contains(&one.ip) || one.ip.is_unspecified();
        let of = |space: &Space| {
            let known = space.listeners.iter().flat_map(Listeners::known).filter(is_reached);
            let (pid, space) = (space.pid, space.number);
            let told = known.take(LISTENERS).map(|one| Sandboxed { listener: *one, pid, space });
            told.collect::<Vec<_>>()
        };
        self.spaces.iter().flat_map(of).collect()
    }
}

impl Space {
    fn look(&mut self, now: Instant, program: &Path) {
        if self.listeners.is_none() && self.asked.is_none_or(|last| now - last >= ASK_AGAIN) {
            self.asked = Some(now);
            let asked = look_into(program, self.pid, self.number).ok();
            self.listeners = asked.map(Listeners::asked_by);
        }
        // One that does not answer is asked by another socket, later.
        if self.listeners.as_mut().is_some_and(|listeners| listeners.look().is_err()) {
            self.listeners = None;
        }
    }
}

/// Whether no workspace of this login's has `ports: {sandboxes: false}`.
fn are_wanted() -> bool {
    let all = Room::own().map(|room| room.workspaces()).unwrap_or_default();
    all.iter().all(|workspace| workspace.desired.sandboxed_ports)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(PROCESSES)
}

/// The network namespace that this process is in, which it never leaves.
static HOME: LazyLock<Option<u64>> =
    LazyLock::new(|| NetSpace::of("self").and_then(|home| home.number()).ok());

/// The network namespace that a process is in, if we may know.
fn space_of(pid: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Kept open: each read of it from its beginning is one of now.
static LOAD: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/loadavg").ok());

/// The number of the process that began last, which the next one's follows.
fn newest() -> Option<u32> {
    // Three averages, two counts and this.
    let mut room = [0; 128];
    let count = LOAD.as_ref()?.read_at(&mut room, 0).ok()?;
    let text = std::str::from_utf8(room.get(..count)?).ok()?;
    text.split_whitespace().nth(4)?.parse().ok()
}

/// One of the children that may be.
struct Place;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Place {
    fn take() -> io::Result<Place> {
        let taken = TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = TAKEN.1.wait_timeout_while(taken, PLACE_LIMIT, |taken| *taken >= CHILDREN);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let why = "too many connections are being made into sandboxes";
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        *taken += 1;
        Ok(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        TAKEN.1.notify_one();
    }
}
