//! `hop-agent port`: a port that is kept for the git worktree or directory here, the same one each
//! time, so that two checkouts of one project do not want the same. A ledger says whose each is:
//! of a hash two could be alike, and one that others listen at could not be passed over.
//!
//! Ports 20000 to 29999: above those of common programs, below those that the kernel gives out by
//! itself. Whoever has one need not listen at it, and nobody is kept from it but by this ledger.
//!
//! Bounds: 1024 ports, of which those of directories that are gone are free again; 5 s for the
//! ledger to be let go by others.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::state;
use crate::agent::say::print;
use crate::base::failure::{Failure, Fault};
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::fix;
use crate::sys::listeners::Listener;
use crate::sys::lock::Lock;
use crate::sys::{bounded, listener, listeners, process};
use crate::text::shown;

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// Ports of one user's begin that far from the next one's.
const STRIDE: u32 = 100;
const MOST: usize = 1024;
const FILE: &str = "ports.json";
const LOCK: &str = "ports.lock";
const FILE_BYTES: u64 = 8 << 20;
const PATH_BYTES: usize = 4096;
const NAME_BYTES: usize = 64;
const UPWARDS: usize = 64;
const LOCK_WITHIN: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What is asked for.
pub enum Asked<'a> {
    Port(&'a str),
    Release(&'a str),
    List,
}

pub fn main(asked: &Asked) -> Result<u8, Failure> {
    let dir = state::own_dir().and_then(|dir| state::private_dir(&dir).map(|()| dir));
    let dir = dir.map_err(|error| failed("the ledger cannot be kept", error.to_string()))?;
    let _alone = alone(&dir.join(LOCK))?;
    let path = dir.join(FILE);
    let mut ledger = Ledger::load(&path)?;
    match asked {
        Asked::List => Ok(print(&ledger.text())),
        Asked::Port(name) => {
            let (port, is_new) = ledger.take(&place(name)?, used)?;
            if is_new {
                ledger.save(&path)?;
            }
            Ok(print(&format!("{port}\n")))
        }
        Asked::Release(name) => {
            let place = place(name)?;
            let port = ledger.release(&place).ok_or_else(|| none(&place))?;
            ledger.save(&path)?;
            Ok(print(&format!("{port}\n")))
        }
    }
}

fn failed(what: &str, why: String) -> Failure {
    Failure::new(Fault::Failed, what, why, "man hop-agent")
}

fn none(place: &Place) -> Failure {
    let what = format!("no port is kept for {}", place.directory);
    let why = match place.name.is_empty() {
        true => "none was asked for".to_owned(),
        false => format!("none was asked for under the name {:?}", place.name),
    };
    Failure::new(Fault::NotFound, what, why, "/usr/libexec/hopbox/hop-agent --help")
}

fn alone(path: &Path) -> Result<Lock, Failure> {
    let end = Instant::now() + LOCK_WITHIN;
    loop {
        match Lock::take(path) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
            Ok(None) => {
                let why = "another hop-agent has it";
                return Err(Failure::new(
                    Fault::Busy,
                    "the ledger is in use",
                    why,
                    "man hop-agent",
                ));
            }
            Err(error) => return Err(Failure::io("lock", path, &error)),
        }
    }
}

/// What a port is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    directory: String,
    /// Empty for the one without.
    name: String,
}

fn place(name: &str) -> Result<Place, Failure> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_plain || name.len() > NAME_BYTES {
        let why = format!("a name has at most {NAME_BYTES} of a-z, A-Z, 0-9, '.', '_' and '-'");
        let next = "/usr/libexec/hopbox/hop-agent --help";
        return Err(Failure::usage(format!("no name {name:?}"), why, next));
    }
    let here =
        env::current_dir().map_err(|error| failed("this is no directory", error.to_string()))?;
    let root = worktree(&here).unwrap_or(here);
    match root.to_str().filter(|path| path.len() <= PATH_BYTES) {
        Some(directory) => Ok(Place { directory: directory.to_owned(), name: name.to_owned() }),
        None => Err(failed("no port can be kept here", "the path is too long, or no UTF-8".into())),
    }
}

/// The uppermost directory of the git worktree that `dir` is in.
fn worktree(dir: &Path) -> Option<PathBuf> {
    let mut above = dir.ancestors().take(UPWARDS);
    above.find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

/// Who is at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Nobody,
    Own,
    Others,
}

fn used(port: u16, listeners: &[Listener]) -> Used {
    let mut there = listeners.iter().filter(|one| one.port == port).peekable();
    match there.peek().is_some() {
        true if there.any(|one| one.uid != process::uid()) => Used::Others,
        true => Used::Own,
        false if listener::is_free(port) => Used::Nobody,
        false => Used::Others,
    }
}

struct Entry {
    place: Place,
    port: u16,
}

struct Ledger(Vec<Entry>);

impl Ledger {
    fn load(path: &Path) -> Result<Ledger, Failure> {
        let text = match bounded::read(path, FILE_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ledger(Vec::new())),
            Err(error) => return Err(Failure::io("read", path, &error)),
        };
        Ledger::read(&text).map_err(|error| {
            let what = format!("{} is not valid", path.display());
            Failure::new(Fault::Config, what, error.to_string(), fix!("cat {}", path))
        })
    }

    fn read(text: &str) -> Result<Ledger, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        let entries = fields.objects("ports", MOST)?.into_iter();
        let entries = entries.map(|mut fields| {
            let place =
                Place { directory: fields.string("directory")?, name: fields.string("name")? };
            let port = fields.int("port", 1..=u16::MAX)?;
            fields.finish().map(|()| Entry { place, port })
        });
        let entries = entries.collect::<Result<_, _>>()?;
        fields.finish().map(|()| Ledger(entries))
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        let entry = |Entry { place, port }: &Entry| json!({"directory": place.directory, "name": place.name, "port": port});
        let entries: Vec<_> = self.0.iter().map(entry).collect();
        let text = json!({"version": 1, "ports": entries}).to_string();
        file::replace(path, text.as_bytes()).map_err(|error| Failure::io("write", path, &error))
    }

    /// The port of a place, and whether it is new: the first that nobody has, or the next where
    /// others listen meanwhile.
    fn take(
        &mut self,
        place: &Place,
        used: impl Fn(u16, &[Listener]) -> Used,
    ) -> Result<(u16, bool), Failure> {
        let listeners = listeners::all().map_err(|error| {
            Failure::io("see who listens here", Path::new("/proc/net/tcp"), &error)
        })?;
        let known = self.0.iter().find(|entry| entry.place == *place).map(|entry| entry.port);
        if let Some(port) = known.filter(|port| used(*port, &listeners) != Used::Others) {
            return Ok((port, false));
        }
        self.release(place);
        self.0.retain(|Entry { place, .. }| !is_gone(&place.directory));
        let is_kept = |port: &u16| self.0.iter().any(|entry| entry.port == *port);
        let mut free = ports().filter(|port| !is_kept(port) && Some(*port) != known);
        let free = free.find(|port| used(*port, &listeners) == Used::Nobody);
        match free.filter(|_| self.0.len() < MOST) {
            Some(port) => {
                self.0.push(Entry { place: place.clone(), port });
                Ok((port, true))
            }
            None => {
                let why = format!("{} are kept", self.0.len());
                let next = "/usr/libexec/hopbox/hop-agent --help";
                Err(Failure::new(Fault::Failed, "no port is left", why, next))
            }
        }
    }

    fn release(&mut self, place: &Place) -> Option<u16> {
        let at = self.0.iter().position(|entry| entry.place == *place)?;
        Some(self.0.remove(at).port)
    }

    /// A line for each: port, directory, name.
    fn text(&self) -> String {
        let line = |Entry { place, port }: &Entry| {
            let tab = if place.name.is_empty() { "" } else { "\t" };
            format!("{port}\t{}{tab}{}\n", shown(&place.directory), shown(&place.name))
        };
        self.0.iter().map(line).collect()
    }
}

/// All that there are, from where this user's begin.
fn ports() -> impl Iterator<Item = u16> {
    let all = u32::from(LAST - FIRST) + 1;
    let begin = process::uid().wrapping_mul(STRIDE) % all;
    (0..all).map(move |at| FIRST + u16::try_from((begin + at) % all).unwrap_or(0))
}

fn is_gone(directory: &str) -> bool {
    let found: io::Result<_> = fs::symlink_metadata(directory);
    found.is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn place(directory: &str, name: &str) -> Place {
        Place { directory: directory.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn each_place_keeps_its_own_port_and_none_is_anothers() {
        let mut ledger = Ledger(Vec::new());
        let nobody = |_: u16, _: &[Listener]| Used::Nobody;
        let mut take = |place: &Place| ledger.take(place, nobody).unwrap();
        let all = [place("/", ""), place("/", "api"), place("/tmp", ""), place("/usr", "")];
        let ports = all.each_ref().map(|place| take(place).0);
        let mut sorted = ports;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|two| two[0] < two[1]), "{ports:?}");
        assert_eq!(all.each_ref().map(&mut take), ports.map(|port| (port, false)));
        let text = ledger.text();
        assert_eq!(text.lines().nth(1).unwrap(), format!("{}\t/\tapi", ports[1]));

        // A server of one's own that runs there is why it was wanted; others' is passed over.
        let own = |_: u16, _: &[Listener]| Used::Own;
        assert_eq!(ledger.take(&all[0], own).unwrap(), (ports[0], false));
        let others = |port: u16, _: &[Listener]| match port == ports[0] {
            true => Used::Others,
            false => Used::Nobody,
        };
        let (other, is_new) = ledger.take(&all[0], others).unwrap();
        assert!(is_new && !ports.contains(&other), "{other}");
        assert_eq!(ledger.take(&all[0], nobody).unwrap(), (other, false));

        // What is let go, or of a directory that is no more, is free again.
        assert_eq!(ledger.release(&all[2]), Some(ports[2]));
        assert_eq!(ledger.release(&all[2]), None);
        ledger.0.push(Entry { place: place("/nowhere/at/all", ""), port: ports[0] });
        assert_eq!(ledger.take(&place("/etc", ""), nobody).unwrap(), (ports[0], true));
        assert_eq!(ledger.take(&place("/var", ""), nobody).unwrap(), (ports[2], true));
    }

    #[test]
    fn a_ledger_has_its_bound_and_is_read_strictly() {
        let entry = |n: usize| Entry { place: place("/", &n.to_string()), port: 1 };
        let mut full = Ledger((0..MOST).map(entry).collect());
        let nobody = |_: u16, _: &[Listener]| Used::Nobody;
        assert!(full.take(&place("/etc", ""), nobody).is_err());
        let path = env::temp_dir().join(format!("hopbox-kept-{}", std::process::id()));
        full.save(&path).unwrap();
        assert_eq!(Ledger::load(&path).unwrap().0.len(), MOST);
        for bad in ["", "{}", r#"{"version":2,"ports":[]}"#, r#"{"version":1,"ports":[{}]}"#] {
            fs::write(&path, bad).unwrap();
            assert_eq!(Ledger::load(&path).err().unwrap().fault, Fault::Config, "{bad}");
        }
        fs::remove_file(&path).unwrap();
        assert!(Ledger::load(&path).unwrap().0.is_empty());
    }

    #[test]
    fn whose_a_listener_is_decides() {
        let of = |uid| Listener { ip: Ipv4Addr::LOCALHOST.into(), port: 1, uid, inode: 1 };
        let (own, other) = (of(process::uid()), of(process::uid() + 1));
        assert_eq!(used(1, &[own]), Used::Own);
        assert_eq!(used(1, &[own, other]), Used::Others);
        assert_eq!(used(1, &[other]), Used::Others);
    }

    #[test]
    fn every_port_is_within_bounds_and_comes_once() {
        let mut all: Vec<u16> = ports().collect();
        all.sort_unstable();
        assert_eq!(all, (FIRST..=LAST).collect::<Vec<_>>());
    }

    #[test]
    fn a_worktree_is_one_place_wherever_in_it() {
        let root = env::temp_dir().join(format!("hopbox-worktree-{}", std::process::id()));
        let below = root.join("main/a/b");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(worktree(&below), worktree(&env::temp_dir()));
        // A second worktree has a file there.
        fs::write(root.join("main/.git"), "gitdir: /x\n").unwrap();
        assert_eq!(worktree(&below), Some(root.join("main")));
        fs::remove_dir_all(&root).unwrap();
    }
}
