//! What there is of a container: `container.now` in its service's directory, written by the process
//! that contains it, so that nobody has to ask an engine for a look.

use std::path::Path;

use serde_json::{Value, json};

use super::engine::Found;
use crate::agent::keeper::process::Process;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;

const NOW: &str = "container.now";
const BYTES: u64 = 64 * 1024;
/// More than an image has.
const VOLUMES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    pub id: String,
    /// Its first one, while it runs.
    pub process: Option<Process>,
    /// Directories that nobody has named: what is in them ends with the container.
    pub volumes: Vec<String>,
}

impl Now {
    pub fn of(found: &Found) -> Now {
        let process = Some(found.pid).filter(|pid| found.is_running && *pid > 1);
        let volumes = found.volumes.iter().take(VOLUMES).cloned().collect();
        Now { id: found.id.clone(), process: process.and_then(Process::of), volumes }
    }

    /// It runs at this moment.
    pub fn running(&self) -> Option<&Process> {
        self.process.as_ref().filter(|process| process.is_there())
    }

    /// The container of this directory's service does.
    pub fn is_running(dir: &Path) -> bool {
        Now::load(dir).is_some_and(|now| now.running().is_some())
    }

    pub fn load(dir: &Path) -> Option<Now> {
        let bytes = bounded::read(dir.join(NOW), BYTES).ok()?;
        Now::read(&String::from_utf8(bytes).ok()?).ok()
    }

    pub fn save(&self, dir: &Path) -> Result<(), String> {
        let json = json!({
            "id": self.id,
            "process": self.process.as_ref().map(Process::to_json),
            "volumes": self.volumes,
        });
        let written = file::replace(&dir.join(NOW), json.to_string().as_bytes());
        written.map_err(|error| format!("cannot write {NOW}: {error}"))
    }

    fn read(text: &str) -> Result<Now, ReadError> {
        let mut fields = Fields::parse(text)?;
        let process = match fields.take("process") {
            None | Some(Value::Null) => None,
            Some(process) => Some(Process::read(&mut Fields::of(process, "process")?)?),
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let volumes = fields.take("volumes");
        let volumes = volumes.and_then(|all| all.as_array()?.iter().map(text).collect());
        Ok(Now { id: fields.string("id")?, process, volumes: volumes.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_known_by_more_than_its_number() {
        let dir = std::env::temp_dir().join(format!("hopbox-now-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(Now::load(&dir), None);
        let found = Found {
            id: "c1".to_owned(),
            is_running: true,
            pid: std::process::id(),
            volumes: vec!["/data".to_owned()],
            ..Found::default()
        };
        let now = Now::of(&found);
        now.save(&dir).unwrap();
        assert_eq!(Now::load(&dir).as_ref(), Some(&now));
        assert!(now.running().is_some());
        assert_eq!(Now::of(&Found { is_running: false, ..found }).process, None);
        let reused = now.process.map(|own| Process { start: own.start + 1, ..own });
        assert!(Now { process: reused, ..Now::load(&dir).unwrap() }.running().is_none());
        std::fs::write(dir.join(NOW), "{").unwrap();
        assert_eq!(Now::load(&dir), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
