//! The first look for the VPS's addresses, while who asked waits.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::fix;
use crate::host::config::HostConfig;
use crate::session::limits;
use crate::session::requests::WhileStarting;
use crate::session::resolver::Resolver;

/// The VPS's addresses, which the protocol never looks up itself (R93).
pub fn resolve(
    host: &HostConfig,
    requests: &mut WhileStarting<'_>,
) -> Result<Vec<SocketAddr>, Failure> {
    let fail = |why: String| {
        let what = format!("cannot find the address of {}", host.endpoint.host);
        let next = fix!("getent hosts {}", host.endpoint.host);
        Failure::new(Fault::Unreachable, what, why, next)
    };
    let mut resolver = Resolver::new(&host.endpoint).map_err(|error| fail(error.to_string()))?;
    if let Some(address) = resolver.literal() {
        return Ok(vec![address]);
    }
    resolver.ask();
    let end = Instant::now() + limits::RESOLVE;
    loop {
        match resolver.take() {
            Some(Ok(found)) if found.is_empty() => {
                return Err(fail("the name has no address".to_owned()));
            }
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) => return Err(fail(error.to_string())),
            None => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(fail(format!("no answer from the resolver in {}", took(limits::RESOLVE))));
        }
        if requests.pause(Some(resolver.as_fd()), left) {
            return Err(Failure { fault: Fault::Interrupted, ..fail("stopped".to_owned()) });
        }
    }
}
