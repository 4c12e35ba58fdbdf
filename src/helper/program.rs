//! Which program a helper is: its release, and the file that it was started from. Must not know:
//! what is made of it.

use super::client::Helper;
use super::connection::socket_path;
use super::error::HelperError;
use super::firewall;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(1);

/// Where a program's file lay when it was started, and which one that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedFrom {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
}

pub struct Program {
    pub version: String,
    /// `None` from one that does not tell.
    pub file: Option<StartedFrom>,
}

impl Program {
    pub fn of_helper() -> Result<Program, HelperError> {
        Program::at(&socket_path())
    }

    pub fn of_server_helper() -> Result<Program, HelperError> {
        Program::at(&firewall::socket())
    }

    fn at(socket: &Path) -> Result<Program, HelperError> {
        let mut helper = Helper::connect_within(socket, LIMIT)?;
        let told = helper.call("daemon.version", json!({}))?.result;
        let file = told.get("program").and_then(started_from);
        Ok(Program { version: helper.version().to_owned(), file })
    }
}

fn started_from(told: &Value) -> Option<StartedFrom> {
    let number = |key: &str| told.get(key)?.as_u64();
    let path = told.get("path")?.as_str().map(PathBuf::from)?;
    Some(StartedFrom { path, device: number("device")?, inode: number("inode")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_whole_or_not_at_all() {
        let whole =
            json!({"path": "/usr/libexec/hopbox/hop-helper", "device": 7, "inode": u64::MAX});
        let file = started_from(&whole).unwrap();
        assert_eq!((file.device, file.inode), (7, u64::MAX));
        for key in ["path", "device", "inode"] {
            for bad in [Value::Null, json!(-1), json!([])] {
                let mut told = whole.clone();
                told[key] = bad;
                assert_eq!(started_from(&told), None, "{key}");
            }
        }
        assert_eq!(started_from(&Value::Null), None);
    }
}
