//! New keys for a host, on the laptop's side, in an order that no kill can spoil:
//!
//! 1. `offer`: a new key, in memory alone. The agent is told its public half (`keys.rotate`), and
//!    from then on accepts both pairs. Killed here, the laptop goes on with the old one.
//! 2. `accept`: the new pair is written down as a whole (`host::store`). From this moment it is
//!    the laptop's, and the agent has accepted it since before.
//! 3. `switch`: a running session takes it; one handshake. The agent hears it and forgets the old
//!    pair. Killed before, the next `hop up` does the same.
//!
//! Nothing has to be taken back on this side: a pair is used only after both have it on disk.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control;
use super::through;
use super::tunnel_config::tunnel_config;
use crate::base::failure::{Failure, Fault};
use crate::base::file::DirLock;
use crate::base::key::Secret;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::method::{KeysRotate, PeersList};
use crate::rpc::types::{Message, Nothing, Pair, Peers, PublicKey, Rotate};
use crate::tunnel::{self, Tunnel};

/// How long the agent may take to answer through the tunnel, and after the change.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How often it is asked, once in that time, where there is no other way to it. Another machine
/// that has our key has the tunnel for some seconds at a time, and new keys are what parts the two.
const TIMES: usize = 4;
const CONFIRM_WITHIN: Duration = Duration::from_secs(15);
const CONFIRM_PAUSE: Duration = Duration::from_millis(100);

/// A rotation that has begun. One at a time for all hosts.
pub struct Rotation {
    pub host: HostConfig,
    new: Secret,
    old_public: PublicKey,
    new_public: PublicKey,
    _alone: DirLock,
}

/// Step 1: a new key for `name`.
pub fn offer(paths: &Paths, name: &str) -> Result<Rotation, Failure> {
    paths.ensure_state()?;
    let alone = DirLock::take(&paths.hosts_dir())?;
    let (host, old) = store::load_with_key(paths, name)?;
    let new = tunnel::generate_key().map_err(|error| {
        let why = error.to_string();
        Failure::new(Fault::Failed, "no random numbers", why, "ls -l /dev/urandom")
    })?;
    let (old_public, new_public) = (tunnel::public_key(&old), tunnel::public_key(&new));
    Ok(Rotation { host, new, old_public, new_public, _alone: alone })
}

impl Rotation {
    /// Asks the agent through the tunnel, again where it is silent and there is no other way to
    /// it; `None` when the host is not up.
    pub fn ask_agent(&self, paths: &Paths) -> Option<Result<Pair, CallError>> {
        let more = if self.host.ssh.is_some() { 0 } else { TIMES - 1 };
        for _ in 0..more {
            let began = Instant::now();
            match self.ask_once(paths) {
                Some(Err(CallError::Unreachable(_) | CallError::Timeout(_))) => {}
                asked => return asked,
            }
            // A refusal comes at once, and may be of the time in which the tunnel was another's.
            thread::sleep(ASK_LIMIT.saturating_sub(began.elapsed()));
        }
        self.ask_once(paths)
    }

    fn ask_once(&self, paths: &Paths) -> Option<Result<Pair, CallError>> {
        let client = through::with_token(paths, &self.host)?;
        let params = Rotate { public_key: self.new_public, old: None };
        Some(client.call(KeysRotate, &params, ASK_LIMIT))
    }

    /// What `hop-agent rotate` is told on its standard input where the tunnel is down.
    pub fn request(&self) -> Value {
        let mut request =
            Rotate { public_key: self.new_public, old: Some(self.old_public) }.to_json();
        request["version"] = json!(1);
        request
    }

    /// Step 2, with the agent's answer. Whether the agent's key is a new one, too.
    pub fn accept(&mut self, paths: &Paths, pair: Pair) -> Result<bool, Failure> {
        let name = self.host.name.clone();
        if pair.laptop_address != self.host.local_ip {
            let what = format!("the agent on {name} gave an answer that is none");
            let why = "it is for another address than ours, which a setup puts right";
            return Err(Failure::new(Fault::Failed, what, why, fix!("hop setup {}", name)));
        }
        let mut host = self.host.clone();
        host.public_key = pair.agent_public_key;
        host.preshared_key = pair.preshared_key;
        host.token = pair.token;
        store::renew(paths, &mut host, &self.new, &tunnel::public_key(&self.new))?;
        let agent_too = host.public_key != self.host.public_key;
        self.host = host;
        Ok(agent_too)
    }

    /// Step 3: false when no session runs, and the next `hop up` will use the new pair.
    pub fn switch(&self, paths: &Paths) -> Result<bool, Failure> {
        let name = &self.host.name;
        let failed = |why: String| {
            let what = format!("the session of {name} did not take the new keys");
            let next = fix!("hop down {} && hop up {}", name, name);
            Failure::new(Fault::Failed, what, why, next)
        };
        let told = control::rekey(paths, name).map_err(|error| failed(error.to_string()))?;
        let Some(told) = told else { return Ok(false) };
        if told["rekeyed"] == json!(true) {
            return Ok(true);
        }
        Err(failed(told["why"].as_str().unwrap_or("it is just starting").to_owned()))
    }

    /// Waits until the agent has answered under the new pair and forgotten the old one.
    pub fn confirm(&self, paths: &Paths) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut last = "no answer".to_owned();
        while began.elapsed() < CONFIRM_WITHIN {
            let client = through::with_token(paths, &self.host);
            match client.map(|it| it.call(PeersList, &Nothing, ASK_LIMIT)) {
                Some(Ok(answer)) if self.is_alone(&answer) => return Ok(began.elapsed()),
                Some(Ok(_)) => last = "it still accepts the old pair".to_owned(),
                Some(Err(error)) => last = error.to_string(),
                None => last = "the session has ended".to_owned(),
            }
            thread::sleep(CONFIRM_PAUSE);
        }
        let name = &self.host.name;
        let what = format!("{name} has not confirmed the new keys");
        let why = format!("{last}; both pairs are accepted until it has");
        Err(Failure::new(Fault::Timeout, what, why, fix!("hop status {}", name)))
    }

    /// The agent knows us by the new key, and by no other.
    fn is_alone(&self, answer: &Peers) -> bool {
        let known = |key: &PublicKey| answer.peers.iter().any(|peer| peer.public_key == *key);
        answer.you == Some(self.new_public) && known(&self.new_public) && !known(&self.old_public)
    }
}

/// Gives a running tunnel the keys that are on the disk now; packets wait for one handshake.
pub fn rekey(
    paths: &Paths,
    running: &HostConfig,
    remotes: &[SocketAddr],
    tunnel: &Tunnel,
) -> Result<(), String> {
    let (host, key) =
        store::load_with_key(paths, &running.name).map_err(|error| error.to_string())?;
    // Where it answers now, which is one of them, if the name has several.
    let peer = tunnel.status().ok().and_then(|status| status.peers.into_iter().next());
    let known = peer.and_then(|peer| peer.endpoint).map_or(remotes.to_vec(), |at| vec![at]);
    let port = tunnel.listen_port();
    let mut config = tunnel_config(&host, &key, &known, paths.stamp_file(&host.name));
    config.listen_port = port;
    tunnel.apply(config.request()).map_err(|errno| {
        let error = std::io::Error::from_raw_os_error(errno);
        format!("the tunnel refused: {error}")
    })?;
    // A keepalive goes out when a peer is new and wants them; else something must want to.
    tunnel.network_changed();
    Ok(())
}
