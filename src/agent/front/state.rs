//! The running agent's tunnel and its laptops: who may ask, what they are told, and every change
//! of the files taken over without a restart.
//!
//! Must not know: HTTP, sockets, the helper.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use super::backend::{Backend, Caller};
use super::port_rule::PortRule;
use crate::agent::config::{AgentConfig, Peer};
use crate::agent::joint::Work;
use crate::agent::names::Names;
use crate::agent::store::Store;
use crate::base::failure::{Failure, Fault};
use crate::base::key::KEY_BYTES;
use crate::netstack::drop::Counters;
use crate::rpc::VERSION;
use crate::rpc::types::{PeerView, Seen, Status, TunnelMode};
use crate::sys::poll::Wake;
use crate::tunnel::{PeerState, Request, Tunnel};

/// How often a rotation under way is looked after: the laptop's packets wait for it.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// After this long it is looked after less often.
const WATCH_CLOSELY: Duration = Duration::from_secs(30);
const WATCH_LATER: Duration = Duration::from_secs(1);

/// Shared by the main thread and those of the connections.
pub struct AgentState {
    file: PathBuf,
    side: Side,
    tunnel: Arc<Tunnel>,
    work: Work,
    state: Mutex<State>,
    /// Woken where a rotation began, or a laptop has come: nobody has to look whether one did.
    begun: Wake,
    /// A laptop has connected.
    has_come: AtomicBool,
    port_rule: PortRule,
    /// The same laptops, for who asks: a change, which may wait for the disk, keeps nobody waiting.
    door: Mutex<Arc<Door>>,
}

/// The tunnel's inner side, as it is told of.
pub struct Side {
    pub interface: String,
    pub mode: TunnelMode,
    /// What went no further there.
    pub drops: Option<Arc<Counters>>,
}

/// Who may come in.
struct Door {
    peers: Vec<Peer>,
    names: Names,
}

impl Door {
    fn of(config: &AgentConfig) -> Arc<Door> {
        Arc::new(Door { peers: config.peers.clone(), names: config.names.clone() })
    }
}

struct State {
    config: AgentConfig,
    /// Since when a rotation waits for its handshake.
    waiting: Option<Instant>,
}

impl AgentState {
    pub fn new(
        file: PathBuf,
        config: AgentConfig,
        side: Side,
        tunnel: Arc<Tunnel>,
    ) -> io::Result<AgentState> {
        let waiting = config.peers.iter().any(|p| p.replaces.is_some()).then(Instant::now);
        let (address, api_port) = match side.mode {
            // What listens there is reached through the tunnel, which has no address here.
            TunnelMode::Userspace { .. } => (Ipv4Addr::LOCALHOST, None),
            TunnelMode::Kernel => (config.address, Some(config.api_port)),
        };
        let work = Work::at(&config.state_dir).with_address(address, api_port);
        let config_second = config.second_port;
        let door = Mutex::new(Door::of(&config));
        let state = Mutex::new(State { config, waiting });
        let (begun, has_come) = (Wake::new()?, AtomicBool::new(false));
        let port_rule = PortRule::keep(tunnel.listen_port(), config_second);
        Ok(AgentState { file, side, tunnel, work, state, begun, has_come, port_rule, door })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, Arc<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change of the files, and takes it over.
    fn change<T>(&self, change: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut state = self.state();
        let store = Store::open(&self.file)?;
        let done = change(&store)?;
        self.take_over(&mut state, store.load()?)?;
        Ok(done)
    }

    /// Tells the tunnel what is different. Sessions of peers that stay are not touched.
    fn take_over(&self, state: &mut State, new: AgentConfig) -> Result<(), Failure> {
        let request = difference(&state.config, &new);
        self.tunnel.apply(request).map_err(|errno| {
            let why = std::io::Error::from_raw_os_error(errno).to_string();
            let next = "sudo systemctl restart hop-agent";
            Failure::new(Fault::Failed, "the tunnel did not take the change", why, next)
        })?;
        let waits = new.peers.iter().any(|peer| peer.replaces.is_some());
        state.waiting = waits.then(|| state.waiting.unwrap_or_else(Instant::now));
        if waits {
            self.begun.wake();
        }
        // What a start alone can change stays as it was at the start.
        let AgentConfig { address, listen_port, second_port, mtu, api_port, interface, .. } =
            &state.config;
        state.config = AgentConfig {
            address: *address,
            listen_port: *listen_port,
            second_port: *second_port,
            mtu: *mtu,
            api_port: *api_port,
            interface: interface.clone(),
            ..new
        };
        *self.door() = Door::of(&state.config);
        Ok(())
    }

    /// The laptops, as the tunnel has `seen` them: during a rotation a laptop is still one.
    fn views(&self, seen: &[PeerState]) -> Vec<PeerView> {
        let one = |(peer, next): (&Peer, Option<&Peer>)| {
            let both = [Some(peer), next].into_iter().flatten();
            let both = both.filter_map(|p| seen.iter().find(|s| s.public_key == p.public_key));
            PeerView { seen: Some(seen_of(&both.collect::<Vec<_>>())), ..peer.view(next) }
        };
        self.state().config.laptops().map(one).collect()
    }

    /// Whether a laptop has connected since [`AgentState::let_come`]. Readable when one does.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    pub fn let_come(&self) {
        self.has_come.store(false, Ordering::Relaxed);
    }

    /// How soon [`AgentState::watch`] wants to be called again; besides when this is readable.
    pub fn patience(&self) -> Option<Duration> {
        let since = self.state().waiting?;
        Some(if since.elapsed() < WATCH_CLOSELY { WATCH_EVERY } else { WATCH_LATER })
    }

    /// Ends the rotations whose new pair has been heard.
    pub fn watch(&self) -> Result<(), Failure> {
        self.begun.drain();
        let mut state = self.state();
        if state.waiting.is_none() {
            return Ok(());
        }
        let Ok(status) = self.tunnel.status() else { return Ok(()) };
        let heard = |peer: &&Peer| {
            let seen = status.peers.iter().find(|seen| seen.public_key == peer.public_key);
            peer.replaces.is_some() && seen.is_some_and(|seen| seen.last_handshake.is_some())
        };
        let keys: Vec<_> = state.config.peers.iter().filter(heard).map(|p| p.public_key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let ended = Store::open(&self.file).and_then(|store| {
            keys.iter().try_for_each(|key| store.confirm(key).map(drop))?;
            store.load()
        });
        // After a failure, such as a full disk, it is tried again at leisure.
        state.waiting = Instant::now().checked_sub(WATCH_CLOSELY);
        self.take_over(&mut state, ended?)
    }
}

impl Backend for AgentState {
    /// The laptop that has this token. It is not told apart by time how much of a token is right,
    /// nor whose; and one laptop's token is of no use to another.
    fn caller(&self, token: &str, from: Ipv4Addr) -> Option<Caller> {
        let door = self.door().clone();
        let mut found = None;
        for peer in &door.peers {
            if bool::from(peer.token.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(peer);
            }
        }
        let other = |peer: &Peer| peer.address != from;
        let foreign = door.peers.iter().any(|peer| peer.address == from);
        match found {
            Some(peer) if foreign && other(peer) => None,
            Some(peer) => Some(Caller::Laptop(peer.public_key)),
            None => None,
        }
    }

    fn is_laptop(&self, from: Ipv4Addr) -> bool {
        let is_one = self.door().peers.iter().any(|peer| peer.address == from);
        if is_one && !self.has_come.swap(true, Ordering::Relaxed) {
            self.begun.wake();
        }
        is_one
    }

    fn is_called(&self, name: &str) -> bool {
        self.door().names.values().any(|known| known == name)
    }

    fn work(&self) -> &Work {
        &self.work
    }

    fn tunnel_mode(&self) -> TunnelMode {
        self.side.mode.clone()
    }

    fn status(&self) -> Status {
        let seen = self.tunnel.status().ok();
        let second_port = seen.as_ref().and_then(|seen| seen.second_port);
        let (seen, drops) = seen.map(|seen| (seen.peers, seen.drops)).unwrap_or_default();
        let peers = self.views(&seen);
        let from_wire = drops.iter().filter(|(why, _)| FROM_WIRE.contains(why));
        let refused_datagrams: u64 = from_wire.map(|(_, count)| *count).sum();
        let inside = self.side.drops.iter().flat_map(|drops| drops.all());
        let counted = drops.iter().copied().chain(inside).filter(|(_, count)| *count > 0);
        let received = |peer: &PeerView| peer.seen.as_ref().is_some_and(|seen| seen.rx_bytes > 0);
        let config = &self.state().config;
        Status {
            hop_version: VERSION.to_owned(),
            pid: std::process::id(),
            interface: self.side.interface.clone(),
            tunnel_mode: self.side.mode.clone(),
            agent_address: config.address,
            listen_port: self.tunnel.listen_port(),
            second_port,
            api_port: config.api_port,
            public_key: config.keys.current(),
            heard: peers.iter().any(received) || refused_datagrams > 0,
            refused_datagrams,
            drops: counted.map(|(why, count)| (why.to_owned(), count)).collect(),
            peers,
            firewall: self.port_rule.seen(),
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        self.views(&self.tunnel.status().map(|status| status.peers).unwrap_or_default())
    }

    fn add(&self, public_key: [u8; KEY_BYTES], name: &str) -> Result<(Peer, bool), Failure> {
        self.change(|store| store.add(&mut store.load()?, public_key, name))
    }

    fn remove(&self, which: &str) -> Result<Peer, Failure> {
        self.change(|store| store.remove(which))
    }

    fn rotate(&self, old: &[u8; KEY_BYTES], new: [u8; KEY_BYTES]) -> Result<Peer, Failure> {
        self.change(|store| store.begin(old, new))
    }

    /// Reads the files again.
    fn reload(&self) -> Result<(), Failure> {
        self.change(|_| Ok(()))
    }
}

impl AsFd for AgentState {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.begun.as_fd()
    }
}

/// What the tunnel knows of a laptop by its keys: the younger session is the one in use.
fn seen_of(both: &[&PeerState]) -> Seen {
    let used = both.iter().min_by_key(|seen| seen.last_handshake_age.unwrap_or(Duration::MAX));
    let at = used.and_then(|seen| seen.last_handshake);
    Seen {
        endpoint: used.and_then(|seen| seen.endpoint).map(|at| at.to_string()),
        last_handshake_age_s: used.and_then(|seen| seen.last_handshake_age).map(|a| a.as_secs()),
        last_handshake_unix_us: at.map(|at| at.secs * 1_000_000 + u64::from(at.nanos / 1000)),
        rx_bytes: both.iter().map(|seen| seen.rx_bytes).sum(),
        tx_bytes: both.iter().map(|seen| seen.tx_bytes).sum(),
    }
}

/// Reasons for a drop that only a datagram from outside can have.
const FROM_WIRE: [&str; 16] = [
    "malformed",
    "bad_mac1",
    "cookie_sent",
    "rate_limited",
    "handshake_forged",
    "low_order",
    "unknown_peer",
    "old_timestamp",
    "initiation_flood",
    "unknown_index",
    "bad_cookie",
    "counter_limit",
    "expired",
    "forged",
    "replayed",
    "oversize",
];

/// The change that makes a tunnel with `old` one with `new`.
fn difference(old: &AgentConfig, new: &AgentConfig) -> Request {
    let (was, is) = (old.tunnel(), new.tunnel());
    let gone = was.peers.iter().filter(|peer| new.peer(&peer.public_key).is_none());
    let gone = gone.map(|peer| peer.public_key).collect::<Vec<_>>();
    let keys = was.private_key != is.private_key || was.other_private_keys != is.other_private_keys;
    is.change(keys, &gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::Keys;
    use crate::agent::location;
    use crate::base::key;
    use crate::tunnel;
    use zeroize::Zeroizing;

    #[test]
    fn only_what_changed_is_told() {
        let peer = |n: u8| Peer {
            name: n.to_string(),
            public_key: [n; 32],
            preshared_key: None,
            address: Ipv4Addr::new(10, 10, 0, n),
            token: key::encode(&[n; 32]),
            agent_key: tunnel::public_key(&[7; 32]),
            replaces: None,
        };
        let before = AgentConfig {
            interface: None,
            address: Ipv4Addr::new(10, 10, 0, 2),
            listen_port: 51820,
            second_port: None,
            mtu: 1420,
            api_port: 4200,
            state_dir: location::DIR.into(),
            peers: vec![peer(1), peer(3)],
            names: Default::default(),
            keys: Keys::new(Zeroizing::new([7; 32])),
        };
        let mut after = before.clone();
        after.peers.remove(0);
        let told = difference(&before, &after);
        assert!(told.peers.iter().any(|peer| peer.public_key == [1; 32] && peer.remove));
        assert!(told.private_key.is_none() && told.other_private_keys.is_none());
        assert!(!told.replace_peers);
        after.keys.push(Zeroizing::new([8; 32]));
        let told = difference(&before, &after);
        assert_eq!(told.other_private_keys.as_ref().map(Vec::len), Some(1));
        assert_eq!(told.listen_port, None);
        let told = difference(&after, &before);
        assert_eq!(told.other_private_keys, Some(Vec::new()), "taken away");
    }
}
