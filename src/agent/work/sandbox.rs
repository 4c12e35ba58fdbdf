//! Who listens behind the wall of a sandbox: in network namespaces that this login made (rootless
//! containers, bwrap, unshare), which have a loopback of their own; and connections there. Inward
//! alone: nothing in there gets anything of what is outside.
//!
//! Whose a namespace is, is the kernel's word: that of the user who made the user namespace that
//! owns it. The system's and other users' are not looked at, whoever has processes in there. A
//! connection is made by a child (`hop-agent dial`), which looks at that once more.
//!
//! Bounds: looked at once a second, and only while somebody wants to know; 32,768 processes, 64
//! namespaces, 256 listeners of each; 8 children at a time, 3 s each, for which others wait 2 s.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::work::state::Room;
use crate::sys::loopback::{self, Listener};
use crate::sys::net_space::{self, NetSpace};

const LOOK_EVERY: Duration = Duration::from_secs(1);
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
    thorough: Option<Instant>,
    /// Processes: since when they are known, and the namespace that each is in if that is no home.
    processes: HashMap<u32, (Instant, Option<u64>)>,
    /// The namespaces of this login's, in the order in which they came, each with a process.
    spaces: Vec<(u64, u32)>,
    all: Vec<Sandboxed>,
    are_unwanted: bool,
}

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of them, at most a second old: of those at the same port the sandbox that came first is
/// first. None where a workspace of this login's wants none.
pub fn listeners() -> Vec<Sandboxed> {
    let (mut seen, now) = (seen(), Instant::now());
    if seen.looked.is_none_or(|looked| now - looked >= LOOK_EVERY) {
        seen.look(now);
    }
    seen.all.clone()
}

/// A connection to whoever listens there at this port, if anybody does.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    // The program that runs, also where its file was replaced.
    connect_by(Path::new("/proc/self/exe"), port)
}

/// The same by a child of this program.
pub fn connect_by(program: &Path, port: u16) -> io::Result<TcpStream> {
    let at = |all: &[Sandboxed]| all.iter().find(|one| one.listener.port == port).copied();
    let found = at(&listeners()).or_else(|| {
        // It may be new.
        let mut seen = seen();
        seen.look(Instant::now());
        at(&seen.all)
    });
    let Sandboxed { listener, pid, space } =
        found.filter(|_| are_wanted()).ok_or(ErrorKind::NotFound)?;
    let _place = Place::take()?;
    let at = SocketAddr::new(if listener.ip.is_ipv4() { V4 } else { V6 }, port);
    let mut command = Command::new(program);
    let words = [VERB.to_owned(), pid.to_string(), space.to_string(), at.to_string()];
    net_space::dialled(command.args(words).env_clear().current_dir("/"), CHILD_LIMIT)
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What the child does; its words are those that [`connect`] gave it.
pub fn main(words: &[String]) -> u8 {
    let [pid, space, to] = words else { return 2 };
    match (pid.parse(), space.parse(), to.parse()) {
        (Ok(pid), Ok(space), Ok(to)) => u8::from(!net_space::dial(pid, space, to, CONNECT_LIMIT)),
        _ => 2,
    }
}

impl Seen {
    fn look(&mut self, now: Instant) {
        self.looked = Some(now);
        let thorough = self.thorough.is_none_or(|last| now - last >= THOROUGH_EVERY);
        if thorough {
            self.thorough = Some(now);
            self.are_unwanted = !are_wanted();
        }
        if self.are_unwanted {
            (self.spaces, self.all) = (Vec::new(), Vec::new());
            return self.processes.clear();
        }
        let Ok(home) = NetSpace::of("self").and_then(|home| home.number()) else { return };
        let before = std::mem::take(&mut self.processes);
        for pid in processes() {
            let known = before.get(&pid).copied();
            let known = known.filter(|(since, _)| !thorough && now - *since >= YOUNG);
            let of = || space_of(pid).filter(|space| *space != home);
            let since = before.get(&pid).map_or(now, |(since, _)| *since);
            self.processes.insert(pid, known.unwrap_or_else(|| (since, of())));
        }
        self.find_spaces();
        let all = self.spaces.iter().flat_map(|(space, pid)| in_space(*space, *pid));
        self.all = all.collect();
    }

    /// Those that are still there keep their places.
    fn find_spaces(&mut self) {
        let mut there: BTreeMap<u64, u32> = BTreeMap::new();
        for (pid, (_, space)) in &self.processes {
            if let Some(space) = space {
                there.entry(*space).and_modify(|first| *first = *pid.min(first)).or_insert(*pid);
            }
        }
        self.spaces.retain_mut(|(space, pid)| match there.remove(space) {
            Some(now) => {
                *pid = now;
                true
            }
            None => false,
        });
        // Others' come again and again, and are as few as their processes that we may look at.
        for (space, pid) in there {
            if self.spaces.len() >= SPACES {
                return;
            }
            if NetSpace::of(&pid.to_string()).is_ok_and(|space| space.is_own()) {
                self.spaces.push((space, pid));
            }
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

/// The network namespace that a process is in, if we may know.
fn space_of(pid: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Who can be reached on its loopback.
fn in_space(space: u64, pid: u32) -> impl Iterator<Item = Sandboxed> {
    let is_reached = |one: &Listener| [V4, V6].contains(&one.ip) || one.ip.is_unspecified();
    let all = loopback::listeners_of(&pid.to_string()).into_iter().flatten().filter(is_reached);
    all.take(LISTENERS).map(move |listener| Sandboxed { listener, pid, space })
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
