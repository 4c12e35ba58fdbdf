//! One session from lock to clean-up: what both `hop up --foreground` and the background process
//! do. While the host is up, `supervise` has the word.

use serde_json::json;

use super::in_use::{self, Holder, InUse, Refused};
use super::report::Report;
use super::requests::{Requests, WhileStarting};
use super::state::Record;
use super::supervise::{End, Supervisor};
use super::up;
use crate::base::failure::{Failure, Fault};
use crate::base::key;
use crate::fix;
use crate::host::config::{HostConfig, Transport};
use crate::host::paths::Paths;
use crate::host::store;

/// Brings a host up, says so through `report`, and stays until it ends. Everything is undone
/// when this returns.
/// `transport` is for this session; without it that of the host file is.
pub fn run(
    paths: &Paths,
    name: &str,
    transport: Option<Transport>,
    report: &mut dyn Report,
) -> Result<End, Failure> {
    let (mut host, key) = store::load_with_key(paths, name)?;
    host.transport = transport.unwrap_or(host.transport);
    let lock = take_lock(paths, name)?;
    let mut requests = Requests::open(paths, name)?;
    let outcome = live(paths, &host, &key, &mut requests, report);
    let farewell = requests.control.close();
    drop(lock);
    farewell.tell();
    outcome
}

fn live(
    paths: &Paths,
    host: &HostConfig,
    key: &key::Secret,
    requests: &mut Requests,
    report: &mut dyn Report,
) -> Result<End, Failure> {
    let answer = json!({
        "state": "starting", "host": host.name, "name": host.hop_name(), "pid": std::process::id(),
    });
    let mut starting = WhileStarting { requests, answer };
    let mut running = up::bring_up(paths, host, key, report, &mut starting)?;
    report.ready(&running.facts);
    let record = Record::open(paths, &host.name);
    let end = match Supervisor::new(paths, host, &mut running, requests, record) {
        Ok(mut supervisor) => supervisor.run(),
        Err(error) => End::Lost(format!("cannot watch over the tunnel: {error}")),
    };
    requests.control.begin_end();
    running.take_down();
    Ok(end)
}

/// One session per host. The lock ends with the process, however that ends.
fn take_lock(paths: &Paths, name: &str) -> Result<InUse, Failure> {
    in_use::take(paths, name).map_err(|refused| match refused {
        Refused::Held(Holder { pid }) => {
            let what = format!("another session of {name} is running or ending");
            let who = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            let why = format!("{who} uses this laptop's key for it");
            Failure::new(Fault::Held, what, why, fix!("hop down {}", name))
        }
        Refused::Failed(path, why) => {
            let what = format!("cannot lock {}", path.display());
            Failure::new(Fault::Failed, what, why, fix!("ls -la {}", path))
        }
    })
}
