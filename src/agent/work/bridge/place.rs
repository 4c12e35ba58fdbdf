//! Where a login's programs find this agent: one directory below its state, for nobody else to
//! enter. The socket, the shims, and a file that says what else there is. What hides one from a
//! program hides the others, too, and a directory of a session's may be gone when nobody is logged
//! in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::agent::work::state::{self, own_dir};
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::rpc::types::Message;
use crate::sys::{bounded, process};

/// The agent itself, among the programs.
pub const OWN: &str = "hop-agent";
const DIR: &str = ".bridge";
const HERE_BYTES: u64 = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    /// Of this agent.
    pub fn own() -> io::Result<Place> {
        own_dir().map(|dir| Place(dir.join(DIR)))
    }

    /// Where a program may find it: as the environment says, and as the system does.
    pub fn candidates() -> Vec<Place> {
        let home = process::login().map(|login| PathBuf::from(login.home));
        let usual = home.map(|home| home.join(".local/state/hopbox-agent"));
        let mut all = Vec::new();
        for dir in own_dir().ok().into_iter().chain(usual) {
            let place = Place(dir.join(DIR));
            if !all.contains(&place) {
                all.push(place);
            }
        }
        all
    }

    pub fn make(&self) -> io::Result<()> {
        state::private_dir(&self.0)
    }

    /// Takes away what is of this agent, and directories in which nothing is left.
    pub fn leave(&self) {
        for file in [self.here(), self.socket(), self.bin().join(OWN)] {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(self.bin());
        // Up to the login's home: the agent's, `state`, `.local`.
        for dir in self.0.ancestors().take(4) {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    /// What is found before other programs.
    pub fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    fn here(&self) -> PathBuf {
        self.0.join("here.json")
    }

    pub fn put(&self, here: &Here) -> io::Result<()> {
        file::replace(&self.here(), here.to_json().to_string().as_bytes())
    }

    /// Nothing if there is none, or it cannot be read.
    pub fn read(&self) -> Option<Here> {
        let bytes = bounded::read(self.here(), HERE_BYTES).ok()?;
        Here::of(serde_json::from_slice(&bytes).ok()?).ok()
    }
}

/// What there is of the agent, for its login's eyes only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// Where it runs: another one is a sandbox's.
    pub namespaces: Vec<String>,
    /// On 127.0.0.1, with what proves that somebody has read this.
    pub tcp: Option<(u16, String)>,
    /// Where a browser of a laptop's answers.
    pub browser: Option<u16>,
}

impl Message for Here {
    fn to_json(&self) -> Value {
        let tcp = self.tcp.as_ref();
        json!({
            "namespaces": self.namespaces, "port": tcp.map(|(port, _)| port),
            "secret": tcp.map(|(_, secret)| secret), "browser": self.browser,
        })
    }

    fn read(fields: &mut Fields) -> Result<Here, ReadError> {
        let mut port = |name: &str| {
            let number = fields.take(name).and_then(|value| value.as_u64());
            number.and_then(|number| u16::try_from(number).ok())
        };
        let (port, browser) = (port("port"), port("browser"));
        let secret = fields.take("secret").and_then(|value| Some(value.as_str()?.to_owned()));
        let namespaces = match fields.take("namespaces") {
            Some(Value::Array(all)) => {
                all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Ok(Here { namespaces, tcp: port.zip(secret), browser })
    }
}

/// Of this process: its network, its files, its users.
pub fn namespaces() -> Vec<String> {
    let of = |name: &str| fs::read_link(Path::new("/proc/self/ns").join(name)).ok();
    let all = ["net", "mnt", "user"].into_iter().filter_map(of);
    all.map(|link| link.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_nothing() {
        let here = Here {
            namespaces: namespaces(),
            tcp: Some((40_000, "secret".to_owned())),
            browser: Some(9222),
        };
        assert_eq!(Here::of(here.to_json()), Ok(here));
        assert_eq!(Here::of(json!({"port": 70_000, "secret": "x"})), Ok(Here::default()));
        assert_eq!(Here::of(json!({"port": 7, "namespaces": 8})), Ok(Here::default()));
    }
}
