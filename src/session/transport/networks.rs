//! The networks in which UDP does not pass to a host: there SSH need not wait for it.
//!
//! A network is known by the hardware address of its first router and by its prefix. Neither is
//! written down: a hash of both with a random word of the file is. It is this user's own, and is
//! sent nowhere.

use std::net::SocketAddr;
use std::path::PathBuf;

use blake2::Blake2s256;
use blake2::digest::Digest as _;
use serde_json::{Value, json};

use crate::base::file;
use crate::base::hex;
use crate::base::json::Fields;
use crate::host::paths::Paths;
use crate::session::log::log;
use crate::session::source_addrs::source_for;
use crate::sys::{iface, neighbour, random};

/// Networks of one host that are remembered; the one seen longest ago is forgotten first.
const MOST: usize = 32;
/// Bytes of a hash that are kept, and of the random word.
const ID_BYTES: usize = 16;

/// A network, as this file knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network(String);

pub struct Networks {
    path: PathBuf,
    salt: String,
    /// The one seen longest ago first.
    silent: Vec<Network>,
}

impl Networks {
    /// Of `host`. One that cannot be read is as one that is not there.
    pub fn open(paths: &Paths, host: &str) -> Networks {
        let path = paths.networks_file(host);
        let text = file::read_private(&path).ok();
        let (salt, silent) =
            text.and_then(|text| read(&text)).unwrap_or_else(|| (new_salt(), Vec::new()));
        Networks { path, salt, silent }
    }

    /// The network that datagrams to `server` leave through; `None` where nobody can tell, as
    /// before its router has said anything, or with none.
    pub fn here(&self, server: &[SocketAddr]) -> Option<Network> {
        let to = server.first()?.ip();
        let router = neighbour::first_hop(to)?;
        let prefix = iface::prefix_of(source_for(to).ok()?)?;
        Some(self.network(&router, &prefix))
    }

    fn network(&self, router: &[u8], prefix: &str) -> Network {
        let mut hash = Blake2s256::new();
        for part in [self.salt.as_bytes(), router, prefix.as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Network(hex::encode(hash.finalize().get(..ID_BYTES).unwrap_or_default()))
    }

    /// Whether UDP did not pass there.
    pub fn is_silent(&self, network: &Network) -> bool {
        self.silent.contains(network)
    }

    /// How UDP is there now.
    pub fn note(&mut self, network: &Network, is_silent: bool) {
        if !is_silent && !self.is_silent(network)
            || self.silent.last() == Some(network) && is_silent
        {
            return;
        }
        self.silent.retain(|other| other != network);
        if is_silent {
            self.silent.push(network.clone());
        }
        let surplus = self.silent.len().saturating_sub(MOST);
        self.silent.drain(..surplus);
        let ids: Vec<&str> = self.silent.iter().map(|network| network.0.as_str()).collect();
        let text = crate::text::json(&json!({"version": 1, "salt": self.salt, "silent": ids}));
        if let Err(error) = file::replace(&self.path, text.as_bytes()) {
            log(&format!("cannot remember this network in {}: {error}", self.path.display()));
        }
    }
}

fn read(text: &str) -> Option<(String, Vec<Network>)> {
    let mut fields = Fields::parse(text).ok()?;
    fields.int::<u32>("version", 1..=1).ok()?;
    let salt = fields.meant("salt", id).ok()?;
    let Some(Value::Array(all)) = fields.take("silent") else { return None };
    let ids = all.iter().take(MOST).filter_map(|one| id(one.as_str()?).ok());
    Some((salt, ids.map(Network).collect()))
}

fn id(text: &str) -> Result<String, String> {
    let plain = text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { Ok(text.to_owned()) } else { Err("must be 32 hex digits".to_owned()) }
}

fn new_salt() -> String {
    let mut bytes = [0; ID_BYTES];
    // Without randomness the hash is only easier to guess at.
    let _ = random::fill(&mut bytes);
    hex::encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn networks_are_remembered_in_private_and_the_oldest_are_forgotten() {
        let root = std::env::temp_dir().join(format!("hopbox-networks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let paths = Paths::below(&root);
        paths.ensure_state().unwrap();
        let mut networks = Networks::open(&paths, "mybox");
        let at = |networks: &Networks, n: u8| networks.network(&[2, 0, 0, 0, 0, n], "192.0.2.0/24");
        let home = at(&networks, 0);
        networks.note(&home, false);
        assert!(!paths.networks_file("mybox").exists(), "where UDP passes there is nothing to say");
        for n in 0..=MOST as u8 {
            let network = at(&networks, n);
            networks.note(&network, true);
            assert!(networks.is_silent(&network));
        }
        assert!(!networks.is_silent(&home));
        assert_ne!(networks.network(&[2, 0, 0, 0, 0, 1], "192.0.2.0/25"), at(&networks, 1));

        let mut again = Networks::open(&paths, "mybox");
        assert_eq!((again.silent.len(), again.is_silent(&at(&again, 1))), (MOST, true));
        let one = at(&again, 1);
        again.note(&one, false);
        assert!(!Networks::open(&paths, "mybox").is_silent(&one));
        let file = paths.networks_file("mybox");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("192.0.2") && !text.contains("02:00"), "{text}");

        for damaged in ["", "{}", "[]", r#"{"version":1,"salt":"x","silent":[]}"#] {
            file::replace(&file, damaged.as_bytes()).unwrap();
            assert_eq!(Networks::open(&paths, "mybox").silent, [], "{damaged}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
