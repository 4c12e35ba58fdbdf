//! Changes of the agent's files: one at a time, whoever makes them, and each a whole or nothing.
//!
//! Rotation of keys, as it is on the disk. P is a laptop's entry, K the agent's key it knows:
//!
//! 1. `begin`: `agent.key.new` holds a new key K' (unless one that P has not seen is there
//!    already); then `agent.json` has P' with K' beside P. Both are accepted. Only now is the
//!    laptop told, and only when it has written down what it was told does it use it.
//! 2. A handshake of P' has been seen: `confirm`. `agent.key.bak` becomes K, `agent.key.new` is
//!    renamed to `agent.key`, `agent.json` loses P, in this order.
//!
//! Killed anywhere, the next start finds P alone, P and P', or P' alone, and for each the key file
//! it names: `config::load` goes by the public key, not by the name of the file. The laptop uses P
//! until its own file names P', so what it uses is always among what is accepted. Begun again, P'
//! of the attempt before is forgotten. Other laptops keep K: it is not replaced a second time
//! before all of them have come over.
//!
//! Must not know: the tunnel, HTTP.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::config::{self, AgentConfig, KEY_FILE, NEW_KEY_FILE, OLD_KEY_FILE, PEERS, Peer};
use super::{names, read_checked};
use crate::base::failure::{Failure, Fault};
use crate::base::file;
use crate::base::key::{self, KEY_BYTES, Secret};
use crate::fix;
use crate::sys::lock::Lock;
use crate::sys::{process, random};
use crate::tunnel;

/// How long another change may take.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const FIRST_LAPTOP: u8 = 1;
const AGENT: u8 = 2;
const LAST_HOST: u8 = 254;

/// The agent's files, ours alone while this value lives.
pub struct Store {
    path: PathBuf,
    owner: Option<(u32, u32)>,
    _lock: Lock,
}

impl Store {
    /// `path` is that of `agent.json`; files keep the owner that one has.
    pub fn open(path: &Path) -> Result<Store, Failure> {
        let lock = Store::lock(path)?;
        // Looked at under the lock: who had it before may have made the file.
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file());
        let owner = found.map(|found| (found.uid(), found.gid()));
        Ok(Store { path: path.to_owned(), owner, _lock: lock })
    }

    /// User and group of the files; those of `login` if there are none yet.
    pub fn owner_or(&mut self, login: (u32, u32)) -> (u32, u32) {
        *self.owner.get_or_insert(login)
    }

    pub fn lock(path: &Path) -> Result<Lock, Failure> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let failed = |why: String| {
            let next = fix!("ls -ld {}", dir);
            Failure::new(Fault::Busy, format!("cannot have {} alone", dir.display()), why, next)
        };
        let end = Instant::now() + LOCK_WITHIN;
        loop {
            match Lock::take_dir(dir) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
                Ok(None) => return Err(failed("another change is being made".to_owned())),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
    }

    pub fn load(&self) -> Result<AgentConfig, Failure> {
        config::load(&self.path)
    }

    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok()
    }

    pub fn save(&self, config: &AgentConfig) -> Result<(), Failure> {
        let text = config.to_text();
        // What could not be read back would be the end of every laptop.
        config::check_text(&text, config.keys.current()).map_err(|error| {
            Failure::new(
                Fault::Failed,
                "the change is not valid",
                error.to_string(),
                "/usr/libexec/hopbox/hop-agent status",
            )
        })?;
        self.put(&self.path, text.as_bytes())
    }

    /// The key in `agent.key`; made when there is none, and then true. One that cannot be read, or
    /// is somebody else's, stays as it is; one of root's becomes the agent's.
    pub fn key(&self) -> Result<(Secret, bool), Failure> {
        if let Some(key) = self.read_key(KEY_FILE)? {
            let found = fs::symlink_metadata(self.beside(KEY_FILE));
            if !found.is_ok_and(|found| found.uid() == self.uid()) {
                self.put_key(KEY_FILE, &key)?;
            }
            return Ok((key, false));
        }
        let key = tunnel::generate_key().map_err(|error| no_random(&error))?;
        self.put_key(KEY_FILE, &key)?;
        Ok((key, true))
    }

    /// Whether this is, was or is to be the agent's public key.
    pub fn knows(&self, public: &[u8; KEY_BYTES]) -> Result<bool, Failure> {
        let current = self.read_key(KEY_FILE)?;
        let others = [NEW_KEY_FILE, OLD_KEY_FILE].map(|name| self.read_key(name).ok().flatten());
        let mut all = current.into_iter().chain(others.into_iter().flatten());
        Ok(all.any(|key| tunnel::public_key(&key) == *public))
    }

    /// The laptop with this key, with an address of its own; added if it is new, and then true.
    pub fn add(
        &self,
        config: &mut AgentConfig,
        public_key: [u8; KEY_BYTES],
        name: &str,
    ) -> Result<(Peer, bool), Failure> {
        if let Some(known) = config.peer(&public_key) {
            return Ok((known.clone(), false));
        }
        let full = || {
            let why = format!("there are {PEERS} already: peers remove takes one's place");
            let next = "sudo /usr/libexec/hopbox/hop-agent peers list";
            Failure::new(Fault::Busy, "no room for another laptop", why, next)
        };
        if config.peers.len() >= PEERS {
            return Err(full());
        }
        if public_key == config.keys.current() {
            let why = "it is the agent's own public key";
            return Err(Failure::new(Fault::Busy, "no such laptop can be", why, "hop setup"));
        }
        let peer = Peer {
            name: free_name(config, name),
            public_key,
            preshared_key: Some(secret()?),
            address: free_address(config).ok_or_else(full)?,
            token: key::encode(&*secret()?),
            agent_key: config.keys.current(),
            replaces: None,
        };
        config.peers.push(peer.clone());
        self.save(config)?;
        Ok((peer, true))
    }

    /// What a laptop, by either of its keys, calls this server.
    pub fn call(
        &self,
        config: &mut AgentConfig,
        laptop: &[u8; KEY_BYTES],
        name: &str,
    ) -> Result<(), Failure> {
        let Some((peer, _)) = config.laptop(laptop) else { return Ok(()) };
        let address = peer.address;
        if config.names.insert(address, name.to_owned()).as_deref() == Some(name) {
            return Ok(());
        }
        self.put(&names::path(&config.state_dir), names::to_text(&config.names).as_bytes())
    }

    /// Removes a laptop by its name or one of its public keys: its entry and the one that was to
    /// take its place, so that no door stays open. Returns the entry.
    pub fn remove(&self, which: &str) -> Result<Peer, Failure> {
        let mut config = self.load()?;
        let has = |peer: &Peer| key::encode(&peer.public_key).as_str() == which;
        let named = |(peer, next): &(&Peer, Option<&Peer>)| {
            peer.name == which || has(peer) || next.is_some_and(has)
        };
        let Some(gone) = config.laptops().find(named).map(|(peer, _)| peer.clone()) else {
            let names: Vec<&str> = config.laptops().map(|(peer, _)| peer.name.as_str()).collect();
            return Err(super::no_laptop(which, &names));
        };
        let key = gone.public_key;
        config.peers.retain(|peer| peer.public_key != key && peer.replaces != Some(key));
        self.save(&config)?;
        // Whoever gets its address next has not said what it calls us.
        if config.names.remove(&gone.address).is_some() {
            self.put(&names::path(&config.state_dir), names::to_text(&config.names).as_bytes())?;
        }
        Ok(gone)
    }

    /// Step 1 of a rotation: the laptop with the key `old` is to have the key `new`. Asked again
    /// with the same keys, the answer is the same.
    pub fn begin(&self, old: &[u8; KEY_BYTES], new: [u8; KEY_BYTES]) -> Result<Peer, Failure> {
        let mut config = self.load()?;
        let begun = |peer: &&Peer| {
            peer.public_key == new && (peer.replaces == Some(*old) || config.peer(old).is_none())
        };
        if let Some(begun) = config.peers.iter().find(begun) {
            return Ok(begun.clone());
        }
        let Some(mut before) = config.peer(old).cloned() else {
            let why = "the agent does not know this laptop";
            return Err(Failure::new(Fault::NoPeer, "nothing to rotate", why, "hop setup"));
        };
        // Who names the key that was to come has its pair: the rotation before has come to its
        // end, though it has not been heard yet. An address is never three peers'.
        if self.confirm(old)? {
            config = self.load()?;
            before.replaces = None;
        }
        if config.peer(&new).is_some() || new == config.keys.current() {
            let why = "that public key is in use";
            return Err(Failure::new(Fault::Busy, "nothing was rotated", why, "hop rotate"));
        }
        config.peers.retain(|peer| peer.replaces != Some(*old));
        let peer = Peer {
            public_key: new,
            preshared_key: Some(secret()?),
            token: key::encode(&*secret()?),
            agent_key: self.next_key(&config, &before)?,
            replaces: Some(*old),
            ..before
        };
        config.peers.push(peer.clone());
        self.save(&config)?;
        Ok(peer)
    }

    /// The agent's key for a laptop that is rotating: one it has not seen, if that locks nobody
    /// out.
    fn next_key(&self, config: &AgentConfig, of: &Peer) -> Result<[u8; KEY_BYTES], Failure> {
        let current = config.keys.current();
        // Of an attempt before, perhaps of another laptop's: a file may name it already.
        if let Some(new) = self.read_key(NEW_KEY_FILE)? {
            return Ok(tunnel::public_key(&new));
        }
        let someone_is_behind = config.peers.iter().any(|peer| peer.agent_key != current);
        if of.agent_key != current || someone_is_behind {
            return Ok(current);
        }
        let key = tunnel::generate_key().map_err(|error| no_random(&error))?;
        self.put_key(NEW_KEY_FILE, &key)?;
        Ok(tunnel::public_key(&key))
    }

    /// Step 2: the laptop with the key `new` has been heard. False when nothing was to be done.
    pub fn confirm(&self, new: &[u8; KEY_BYTES]) -> Result<bool, Failure> {
        let mut config = self.load()?;
        let Some(old) = config.peer(new).and_then(|peer| peer.replaces) else { return Ok(false) };
        let current = config.keys.current();
        if config.peer(new).is_some_and(|peer| peer.agent_key != current) {
            let key =
                read_checked::key(&self.beside(KEY_FILE), self.uid()).map_err(config::refuse)?;
            self.put_key(OLD_KEY_FILE, &key)?;
            let (from, to) = (self.beside(NEW_KEY_FILE), self.beside(KEY_FILE));
            file::rename(&from, &to).map_err(|error| self.cannot("replace", &to, &error))?;
        }
        config.peers.retain(|peer| peer.public_key != old);
        if let Some(peer) = config.peers.iter_mut().find(|peer| peer.public_key == *new) {
            peer.replaces = None;
        }
        self.save(&config)?;
        Ok(true)
    }

    fn uid(&self) -> u32 {
        let kept = self.owner.filter(|_| process::is_root());
        kept.map_or_else(process::uid, |(uid, _)| uid)
    }

    fn read_key(&self, name: &str) -> Result<Option<Secret>, Failure> {
        match read_checked::key(&self.beside(name), self.uid()) {
            Ok(key) => Ok(Some(key)),
            Err(error) if error.fault == Fault::NotFound => Ok(None),
            Err(error) => Err(config::refuse(error)),
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    fn put_key(&self, name: &str, key: &Secret) -> Result<(), Failure> {
        let mut line = key::encode(key);
        line.push('\n');
        self.put(&self.beside(name), line.as_bytes())
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let owner = self.owner.filter(|(uid, _)| *uid != process::uid());
        file::replace_for(path, bytes, owner).map_err(|error| self.cannot("write", path, &error))
    }

    fn cannot(&self, act: &str, path: &Path, error: &std::io::Error) -> Failure {
        super::io(act, path, error)
    }
}

fn secret() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    random::fill(&mut bytes[..]).map_err(|error| no_random(&error))?;
    Ok(bytes)
}

fn no_random(error: &std::io::Error) -> Failure {
    Failure::new(Fault::Failed, "no random numbers", error.to_string(), "ls -l /dev/urandom")
}

/// The first laptop has .1, the agent .2, the others what is free from .3 on.
fn free_address(config: &AgentConfig) -> Option<Ipv4Addr> {
    let [a, b, c, own] = config.address.octets();
    let hosts = std::iter::once(FIRST_LAPTOP).chain(AGENT + 1..=LAST_HOST);
    let mut free = hosts.filter(|host| *host != own).map(|host| Ipv4Addr::new(a, b, c, host));
    free.find(|ip| config.peers.iter().all(|peer| peer.address != *ip))
}

/// `name`, or `name-2` and so on where that is taken.
fn free_name(config: &AgentConfig, name: &str) -> String {
    let taken = |name: &str| config.peers.iter().any(|peer| peer.name == name);
    let numbered = (2..=PEERS + 1).map(|n| {
        let end = format!("-{n}");
        format!("{}{end}", name.get(..name.len().min(63 - end.len())).unwrap_or("laptop"))
    });
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
