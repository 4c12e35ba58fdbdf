//! `hop-agent url`: where a port of this server is on the laptop, as the laptop has told.

use std::path::Path;

use super::joint::Work;
use super::location;
use super::say::print;
use crate::base::failure::{Failure, Fault};
use crate::rpc::client::CallError;
use crate::rpc::method::WorkMapped;
use crate::rpc::types::Nothing;

/// As `http://localhost:N`. Without a laptop that has told of its ports the answer is no.
pub fn url(config: &Path, port: &str) -> Result<u8, Failure> {
    let number: u16 = port.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
        let next = "/usr/libexec/hopbox/hop-agent --help";
        Failure::usage(format!("no port {port:?}"), "a port is a number from 1 to 65535", next)
    })?;
    let what = format!("port {number} is not on a laptop");
    let work = Work::at(&location::state_of(config));
    let mapped = work.call(None, WorkMapped, &Nothing).map_err(|error| asked(&what, &error))?;
    if mapped.ports.is_empty() {
        let why = "no laptop has a tunnel to this server that mirrors its ports";
        return Err(Failure::new(Fault::No, what, why, STATUS));
    }
    match mapped.ports.iter().find(|(there, _)| *there == number) {
        Some((_, local)) => Ok(print(&format!("http://localhost:{local}\n"))),
        None => {
            let why = "nobody of this login listens there, or the laptop excludes it";
            Err(Failure::new(Fault::NotFound, what, why, STATUS))
        }
    }
}

const STATUS: &str = "/usr/libexec/hopbox/hop-agent status";

fn asked(what: &str, error: &CallError) -> Failure {
    let (fault, why) = match error {
        CallError::Unreachable(why) => (Fault::AgentSilent, format!("no agent answers: {why}")),
        other => (Fault::Failed, other.to_string()),
    };
    Failure::new(fault, what, why, STATUS)
}
